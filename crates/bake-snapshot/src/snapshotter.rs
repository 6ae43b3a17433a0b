//! How a stack of layers becomes a root directory, and how what happened in it becomes a layer.

use std::fmt::Debug;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::commit::Committed;
use crate::error::{Result, SnapshotError, display_path};
use crate::format::LayerFormat;
use crate::layer_digest::Contents;
use crate::layer_tree::LayerTree;

/// The two directories of an active snapshot. Both are empty at first, belong to the snapshotter until the commit,
/// and are never used a second time.
#[derive(Debug, Clone, Copy)]
pub struct Active<'a> {
    /// Becomes the layer.
    pub upper: &'a Path,
    /// Scratch space beside it: another directory of the same parent directory. The caller removes it afterwards.
    pub work: &'a Path,
}

impl<'a> Active<'a> {
    /// The parent directory and the two names in it.
    pub(crate) fn siblings(&self) -> Result<(&'a Path, &'a [u8], &'a [u8])> {
        match (self.upper.parent(), self.upper.file_name(), self.work.parent(), self.work.file_name()) {
            (Some(parent), Some(upper), Some(other), Some(work)) if parent == other && upper != work => {
                Ok((parent, upper.as_bytes(), work.as_bytes()))
            }
            _ => Err(SnapshotError::NotSiblings { upper: display_path(self.upper), work: display_path(self.work) }),
        }
    }
}

/// What stands below in a mount.
#[derive(Debug, Clone, Copy)]
pub enum Lower<'a> {
    /// The directory of a layer.
    Layer(&'a Path),
    /// A detached mount that shows a tree, with owners as the mount's user namespace has them.
    Served {
        /// The tree.
        tree: &'a LayerTree,
        /// The mount.
        mount: BorrowedFd<'a>,
    },
}

impl<'a> Lower<'a> {
    pub(crate) fn layers(paths: &[&'a Path]) -> Vec<Self> {
        paths.iter().map(|path| Self::Layer(path)).collect()
    }
}

/// Turns layer directories into mounts and active snapshots into layers.
///
/// Implementations give equal layers for equal changes. Lower directories are always listed base first, and are never
/// written to.
pub trait Snapshotter: Debug + Send + Sync {
    /// How the layers stand on disk.
    fn format(&self) -> LayerFormat;

    /// A detached, writable mount of `lowers` with the active snapshot on top. Dropping the descriptor unmounts it.
    ///
    /// # Errors
    /// [`SnapshotError::TooManyLowers`], [`SnapshotError::IdMapRefused`] (try without an id map),
    /// [`SnapshotError::Mount`], [`SnapshotError::ReadOnlyMount`], [`SnapshotError::NotSiblings`].
    fn mount(&self, lowers: &[&Path], active: Active<'_>) -> Result<OwnedFd>;

    /// A detached, read-only mount of `lowers`, of which there is at least one.
    ///
    /// # Errors
    /// As [`Self::mount`].
    fn view(&self, lowers: &[&Path]) -> Result<OwnedFd>;

    /// As [`Self::mount`] (with an active snapshot) or [`Self::view`] (without), where some of what stands below is not to be
    /// read from its directory. There is at least one lower.
    ///
    /// # Errors
    /// As [`Self::mount`]; [`SnapshotError::ServedRefused`] where this snapshotter cannot do that.
    fn mount_over(&self, lowers: &[Lower<'_>], active: Option<Active<'_>>) -> Result<OwnedFd>;

    /// Makes the upper directory of an active snapshot a committed layer in place. Nothing may have it mounted. Files in
    /// `known` are not read again.
    ///
    /// # Errors
    /// As [`crate::commit()`].
    fn commit(&self, lowers: &[&Path], active: Active<'_>, known: &Contents) -> Result<Committed>;
}
