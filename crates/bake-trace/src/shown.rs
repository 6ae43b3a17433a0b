//! What the kernel is told about a file of the tree.

use bake_oci::Timestamp;
use bake_snapshot::{FileKind, LayerTree, SERVED_DIRECTORY_TIME, SnapshotError, TreeNode};

use crate::asked::join;
use crate::protocol::{Name, Status, Time, kind_of_mode};

/// How a tree is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeOptions {
    /// How owners in the tree become owners in the mount.
    pub owners: OwnerShift,
    /// Whether files have extended attributes.
    pub attributes: Attributes,
}

/// Which owner the kernel is told for an owner in the tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OwnerShift {
    /// The same, in the user namespace of whoever serves the tree.
    #[default]
    Identity,
    /// What the first range that holds it says. Others belong to nobody, as behind an id-mapped mount.
    Ranges {
        /// For users.
        users: Vec<IdRange>,
        /// For groups.
        groups: Vec<IdRange>,
    },
}

/// Successive IDs that are shown as others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first one in the tree.
    pub tree: u32,
    /// What that one is shown as.
    pub shown: u32,
    /// How many.
    pub count: u32,
}

/// What is said about extended attributes, and in which form files are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes {
    /// There are none, and deletions are character devices 0:0: for trees whose files have none that count, and no
    /// directory that hides the one below it.
    Hidden,
    /// All that the disk has, owners, types and deletions as they stand on the disk, and the time of last access, where
    /// owners of links may be recorded: for stores whose owners are recorded.
    Raw,
}

/// An ID that no user namespace knows (`(uid_t)-1`).
const NOBODY: u32 = u32::MAX;
/// Type bits of a mode.
const TYPE_BITS: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const BLOCK_DEVICE: u32 = 0o060_000;
const FIFO: u32 = 0o010_000;
const SOCKET: u32 = 0o140_000;
/// What every directory is said to be large, in bytes.
const DIRECTORY_BYTES: u64 = 4096;
/// What files are said to be stored in, and the same in units of [`Status::blocks`]: the numbers of most disks, for most files.
const BLOCK_BYTES: u64 = 4096;
const BLOCK_UNITS: u64 = 8;
/// Small enough for a number that a 64-bit floating point number, or overlay's, can hold.
const INODE_BITS: u32 = 40;

/// Makes statuses of nodes.
#[derive(Debug)]
pub(crate) struct Shown {
    options: ServeOptions,
}

impl Shown {
    pub(crate) fn new(options: ServeOptions) -> Self {
        Self { options }
    }

    pub(crate) fn attributes(&self) -> Attributes {
        self.options.attributes
    }

    /// What is told about `node`, which is at `path`.
    pub(crate) fn status(&self, path: &[u8], node: &TreeNode) -> Status {
        let disk = &node.disk;
        let (mode, owner, device, accessed) = match self.options.attributes {
            Attributes::Raw => (disk.mode, (disk.uid, disk.gid), disk.device, disk.atime),
            Attributes::Hidden => (mode_of(node), (node.uid, node.gid), device_of(node.kind), node.mtime),
        };
        let (uid, gid) = self.shift(owner);
        let is_directory = is_directory(mode);
        // Which names are one file is part of what is asked about each of them.
        let inode = inode_of(node.first_name.as_deref().unwrap_or(path));
        let (accessed, modified) =
            if is_directory { (SERVED_DIRECTORY_TIME, SERVED_DIRECTORY_TIME) } else { (accessed, node.mtime) };
        let size_bytes = if is_directory { DIRECTORY_BYTES } else { node.size_bytes };
        Status {
            inode,
            size_bytes,
            blocks: if mode & TYPE_BITS == SYMLINK { 0 } else { size_bytes.div_ceil(BLOCK_BYTES) * BLOCK_UNITS },
            accessed: time(accessed),
            modified: time(modified),
            mode,
            links: if is_directory { 1 } else { node.links.max(1) },
            uid,
            gid,
            device,
        }
    }

    fn shift(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        match &self.options.owners {
            OwnerShift::Identity => (uid, gid),
            OwnerShift::Ranges { users, groups } => (shift(users, uid), shift(groups, gid)),
        }
    }

    /// The names of the directory at `path`, beginning with `.` and `..`; `None` when there is no directory.
    pub(crate) fn listing(&self, tree: &LayerTree, path: &[u8]) -> Result<Option<Vec<Entry>>, SnapshotError> {
        let Some(names) = tree.names(path)? else { return Ok(None) };
        let parent = path.iter().rposition(|byte| *byte == b'/').and_then(|slash| path.get(..slash));
        let mut listing = Vec::with_capacity(names.len() + 2);
        for (name, at) in [(".", path), ("..", parent.unwrap_or_default())] {
            listing.push(Entry { name: name.into(), inode: inode_of(at), kind: kind_of_mode(DIRECTORY) });
        }
        for (name, kind) in names {
            let child = join(path, &name);
            let mode = match (self.options.attributes, kind) {
                // Deletions and devices may be ordinary files on the disk.
                (Attributes::Raw, None | Some(FileKind::CharacterDevice { .. } | FileKind::BlockDevice { .. })) => {
                    tree.node(&child)?.map_or(0, |node| node.disk.mode)
                }
                _ => type_bits(kind),
            };
            listing.push(Entry { inode: inode_of(&child), kind: kind_of_mode(mode), name });
        }
        Ok(Some(listing))
    }
}

/// A name of a listing.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    /// That of the path: which names are the same file is not told by a listing.
    inode: u64,
    kind: u32,
}

impl Entry {
    /// As a part of an answer, with the place where the next one goes on.
    pub(crate) fn as_name(&self, offset: u64) -> Name<'_> {
        Name { inode: self.inode, offset, kind: self.kind, bytes: &self.name }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind == kind_of_mode(DIRECTORY)
    }

    pub(crate) fn is_dots(&self) -> bool {
        matches!(&*self.name, b"." | b"..")
    }
}

pub(crate) fn is_directory(mode: u32) -> bool {
    mode & TYPE_BITS == DIRECTORY
}

pub(crate) fn is_regular(mode: u32) -> bool {
    mode & TYPE_BITS == REGULAR
}

fn type_bits(kind: Option<FileKind>) -> u32 {
    match kind {
        None | Some(FileKind::CharacterDevice { .. }) => CHARACTER_DEVICE,
        Some(FileKind::File) => REGULAR,
        Some(FileKind::Directory) => DIRECTORY,
        Some(FileKind::Symlink) => SYMLINK,
        Some(FileKind::BlockDevice { .. }) => BLOCK_DEVICE,
        Some(FileKind::Fifo) => FIFO,
        Some(FileKind::Socket) => SOCKET,
    }
}

fn mode_of(node: &TreeNode) -> u32 {
    // Nothing else about a deletion is seen by anybody but overlay.
    if node.kind.is_none() { CHARACTER_DEVICE } else { type_bits(node.kind) | node.mode }
}

fn device_of(kind: Option<FileKind>) -> (u32, u32) {
    match kind {
        Some(FileKind::CharacterDevice { major, minor } | FileKind::BlockDevice { major, minor }) => (major, minor),
        _ => (0, 0),
    }
}

fn shift(ranges: &[IdRange], id: u32) -> u32 {
    let shifted = ranges.iter().find_map(|range| {
        let offset = id.checked_sub(range.tree).filter(|offset| *offset < range.count)?;
        range.shown.checked_add(offset)
    });
    shifted.unwrap_or(NOBODY)
}

/// The number of a path: the same in every run, and never 0, which programs take for a name without a file.
fn inode_of(path: &[u8]) -> u64 {
    let hash = blake3::hash(path);
    let number = hash.as_bytes().first_chunk().copied().map_or(0, u64::from_le_bytes);
    (number >> (64 - INODE_BITS)).max(1)
}

fn time(time: Timestamp) -> Time {
    Time { seconds: time.seconds, nanoseconds: time.nanoseconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_shifted_by_the_first_range() {
        let ranges = [IdRange { tree: 0, shown: 100_000, count: 1000 }, IdRange { tree: 500, shown: 7, count: 1000 }];
        for (id, shown) in
            [(0, 100_000), (999, 100_999), (1000, 507), (499, 100_499), (1500, NOBODY), (u32::MAX, NOBODY)]
        {
            assert_eq!(shift(&ranges, id), shown, "{id}");
        }
        assert_eq!(shift(&[], 0), NOBODY);
    }

    #[test]
    fn numbers_are_those_of_paths() {
        assert_eq!(inode_of(b"a"), inode_of(b"a"));
        assert_ne!(inode_of(b"a"), inode_of(b"b"));
        assert!(inode_of(b"") < 1 << INODE_BITS);
    }
}
