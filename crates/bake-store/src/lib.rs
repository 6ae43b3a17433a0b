//! The local store: blobs, layer directories ("snapshots"), cache records, tags, cache mounts and remembered values in
//! one directory, shared by any number of processes without a daemon.
//!
//! Entry point: [`Store::open`].
//!
//! Invariants:
//! - Whatever can be seen in the store is complete: everything is made aside, and renamed into place when finished.
//! - Blobs, tags and (after [`Store::sync_results`]) what steps made survive a power loss; cache records may get lost,
//!   which costs time only.
//! - What a [`Store`] value handed out stays until the last clone of that value is dropped, whatever other processes
//!   remove meanwhile. What a killed process leaves is found by its free locks, never by guessing.
//! - Nothing of the directory layout is known outside this crate; callers get paths of things, not of the store.
//!
//! This crate must not know Dockerfiles, networks or overlay, must not mount, and must not print.

#![forbid(unsafe_code)]

mod blobs;
mod build_logs;
mod cache;
mod cache_mounts;
mod collect;
mod contents;
mod disk_use;
mod durable;
mod error;
mod file_hashes;
mod fsck;
mod image;
mod index;
mod ingest;
mod journal;
mod kept;
mod layout;
mod lease;
mod ledger;
mod listing;
mod lock;
mod past;
mod prune;
mod referrers;
mod remembered;
mod seal;
mod snapshots;
mod store;
mod tags;
#[cfg(test)]
mod testing;
mod traces;
mod trash;
mod usage;

pub use cache::CacheRecord;
pub use cache_mounts::{CacheMount, CacheSharing};
pub use collect::{Budget, Space};
pub use contents::contents_beside;
pub use error::StoreError;
pub use file_hashes::{ContentHash, FileIdentity};
pub use fsck::{BlobHealer, Described, FsckOptions, FsckProblem, FsckReport, LayerElsewhere, LostBlob, SnapshotCheck};
pub use ingest::{BLOB_SIZE_MAX, Ingest, Resume};
pub use journal::JournalEntry;
pub use kept::KeptRoot;
pub use layout::{OpenOptions, Ownership};
pub use lease::Lease;
pub use listing::{listing_beside, write_listing_beside};
pub use lock::{Holder, KeyLock, TryLock};
pub use past::{Evicted, PastRecord, RecordNotes};
pub use prune::{PruneFilter, PruneOptions, PruneReport};
pub use referrers::REFERRERS_MAX;
pub use remembered::Remembered;
pub use snapshots::{ActiveSnapshot, Published, Snapshot, SnapshotRecord};
pub use store::Store;
pub use tags::{BlobDescriptor, StoredImage, Tag};
pub use traces::StoredTrace;
pub use trash::TrashReport;
pub use usage::{ItemKind, Need, StoreItem, Usage};
