//! Layer stacks to mountable root directories, and what happened in them to layers.
//!
//! Purpose: a layer is a directory in overlay form ([`LayerFormat`]); this crate mounts stacks of them, finds out what
//! a step changed, and converts between such directories and layer archives.
//!
//! Entry points: [`Snapshotter`] ([`OverlaySnapshotter`], or [`CopySnapshotter`] where overlay is refused) to mount
//! and [`commit()`]; [`write_layer`], [`unpack`] and [`complete`] for archives; [`MergedView`] to look into a stack;
//! [`LayerTree`] to look into one layer;
//! [`digest_tree`] for what a copy depends on; [`compare_trees`] for what differs between two stacks.
//!
//! Invariant: names that come from an image or a step are only ever used by directory descriptor, one component at a
//! time or under `openat2(2)`'s rules, so nothing outside the given directories is read or written. Equal trees give
//! equal digests and equal archives.
//!
//! Must not: know how the store lays out its directory (callers hand over directories), be bypassed for mounting
//! overlay, remove what it did not make, print, or read the environment.
#![forbid(unsafe_code)]

mod commit;
mod compare;
mod complete;
mod content;
mod copy;
mod error;
mod format;
mod layer_digest;
mod layer_list;
mod layer_tree;
mod layer_write;
mod node;
mod overlay;
mod ownership;
mod snapshotter;
mod squash;
mod stack;
mod tree;
mod unpack;
mod view;
mod walk;

pub use commit::{Committed, commit, digest_layer};
pub use compare::{Change, Difference, compare_trees};
pub use complete::complete;
pub use copy::{CopySnapshotter, flatten};
pub use error::{Result, SnapshotError};
pub use format::{LayerFormat, OverlayXattrs, Ownership};
pub use layer_digest::Contents;
pub use layer_list::{LayerEntry, LayerEntryKind, list_layer};
pub use layer_tree::{
    DiskStatus, FileNames, LayerTraits, LayerTree, SERVED_DIRECTORY_TIME, TreeName, TreeNode, kind_letter,
};
pub use layer_write::{LayerStats, WriteOptions, write_layer};
pub use overlay::{LOWERS_MAX, MOUNTER_ID_ON_DISK, OverlaySnapshotter};
pub use ownership::{DeviceKind, OwnerKept, make_device, read_owner, set_owner};
pub use snapshotter::{Active, Lower, Snapshotter};
pub use squash::squash;
pub use stack::passed_paths;
pub use tree::{
    FileHasher, FileIdentity, Filter, NoMemory, Selection, TREE_ENTRIES_MAX, TreeEntry, TreeOptions, digest_entries,
    digest_tree,
};
pub use unpack::{
    Pending, PendingLink, UNPACK_BYTES_MAX, UNPACK_ENTRIES_MAX, UnpackLimits, Unpacked, Unpacker, unpack,
};
pub use view::{FileKind, FileStatus, MergedView};
pub use walk::list_names;
