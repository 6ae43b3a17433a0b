//! Serves one directory tree, read-only, through FUSE, and remembers what was asked of it.
//!
//! Purpose: a step that sees a layer through such a mount depends on what it asked of it, and on nothing else that the
//! layer holds.
//!
//! Entry points: [`TracedTree::serve`] makes a detached mount, for use as a lower directory of overlay or as a bind mount;
//! [`TracedTree::finish`] ends it and says what was asked. [`available`] tells whether that can work here.
//!
//! Invariant: nothing about the tree reaches a process before it is recorded, and a failure of any kind voids the record.
//! That is why every tree gets a superblock of its own (in a shared one, the second user would find everything in the
//! kernel's caches and ask nothing), why each name of a file with several names is recorded by itself, and why what is not
//! recorded is the same for every tree: the times of directories, their sizes, free space.
//!
//! What is recorded has two forms only. A *node* is everything about a path: type, mode, owner, size, links, attributes,
//! content or target, or that there is nothing. *Names* are the names in a directory with their types. Whether a file was
//! read does not matter: to have looked at it is enough to depend on its content.
//!
//! Must not: know layers or steps, judge records, write to the tree, reach what is mounted over it, share a lock with code
//! that does, outlive [`TracedTree`], print, or read the environment.
#![forbid(unsafe_code)]

mod asked;
mod error;
mod mount;
mod protocol;
mod push;
mod recent;
mod server;
mod shown;
mod signal;
mod storm;
mod traced;

pub use asked::Recorded;
pub use error::TraceError;
pub use shown::{Attributes, IdRange, OwnerShift, ServeOptions};
pub use traced::{TracedTree, available};
