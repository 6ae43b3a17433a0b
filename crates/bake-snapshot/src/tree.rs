//! Content digests of selected files of a directory tree: what a `COPY` or a bind mount depends on.
//!
//! The tree is a [`crate::MergedView`] or a build context, not a layer directory: nothing in it means a deletion.

use std::os::fd::{AsFd, BorrowedFd};

use bake_oci::Timestamp;
use bake_sys::path::{open_in_root, split_leaf};
use bake_sys::{Errno, Mode, OFlags};

use crate::content::{HashRequest, Hashed, hash_files};
use crate::error::{At, Result, SnapshotError};
use crate::format::Ownership;
use crate::layer_digest::type_letter;
use crate::node::{Kind, Node, NodeReader};
use crate::view::FileKind;
use crate::walk::{Event, Walk, open_directory_at, reopen_directory};

/// What identifies the content of a file without reading it.
///
/// A file written twice within one tick of the clock keeps its identity, so whoever remembers hashes must not
/// remember those of files whose `mtime` or `ctime` is not safely older than the time of hashing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileIdentity {
    /// The device the file is on.
    pub device: u64,
    /// The file's inode number.
    pub inode: u64,
    /// Its apparent size in bytes.
    pub size_bytes: u64,
    /// When its content changed last.
    pub mtime: Timestamp,
    /// When anything about it changed last.
    pub ctime: Timestamp,
}

impl FileIdentity {
    fn of(node: &Node) -> Self {
        let (device, inode) = node.identity;
        Self { device, inode, size_bytes: node.size, mtime: node.mtime, ctime: node.ctime }
    }
}

/// The caller's memory of content hashes.
pub trait FileHasher {
    /// The remembered hashes of these files, in their order; `None` for those that must be read.
    fn remembered(&mut self, files: &[FileIdentity]) -> Vec<Option<[u8; 32]>>;
    /// Hashes that were computed now.
    fn computed(&mut self, files: &[(FileIdentity, [u8; 32])]);
}

/// A [`FileHasher`] that remembers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMemory;

impl FileHasher for NoMemory {
    fn remembered(&mut self, files: &[FileIdentity]) -> Vec<Option<[u8; 32]>> {
        vec![None; files.len()]
    }

    fn computed(&mut self, _: &[(FileIdentity, [u8; 32])]) {}
}

/// What to do with one file of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// List it, and look into it if it is a directory.
    Include,
    /// Do not list it, but look into it if it is a directory: something below may be included.
    Descend,
    /// Leave it out with everything below it.
    Exclude,
}

/// Decides on a path relative to the one that is digested, given whether it is a directory. The selected path itself
/// (empty) is not asked about.
pub type Filter<'a> = dyn FnMut(&[u8], bool) -> Selection + 'a;

/// Options of [`digest_tree`].
#[derive(Debug, Clone, Copy)]
pub struct TreeOptions {
    /// How owners are read.
    pub ownership: Ownership,
    /// Whether extended attributes count.
    pub xattrs: bool,
    /// The most files that are listed; more are an error.
    pub entries_max: u64,
}

/// Ten times the largest build contexts that were met, and about 1 GiB of listing.
pub const TREE_ENTRIES_MAX: u64 = 5_000_000;

/// One selected file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Relative to the path that was asked for; empty for that itself.
    pub path: Vec<u8>,
    /// Its type.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Content bytes of a regular file, 0 for others.
    pub size_bytes: u64,
    /// Modification time: for copying, it is not part of any digest.
    pub mtime: Timestamp,
    /// BLAKE3 of a regular file's content, or of a link's target; zeros for others.
    pub content: [u8; 32],
    /// The target of a link.
    pub link_target: Option<Vec<u8>>,
    /// BLAKE3 over the extended attributes, if they count and there are any.
    pub xattrs: Option<[u8; 32]>,
    /// The index of the first listed entry that is the same file (a hard link to it).
    pub same_file_as: Option<usize>,
}

impl TreeEntry {
    /// Adds everything but the time to a digest. The path is given because callers often count another one.
    pub fn update(&self, hasher: &mut blake3::Hasher, path: &[u8]) {
        let letter = match self.kind {
            FileKind::File => Kind::File,
            FileKind::Directory => Kind::Directory,
            FileKind::Symlink => Kind::Symlink,
            FileKind::CharacterDevice { major, minor } => Kind::CharacterDevice { major, minor },
            FileKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            FileKind::Fifo => Kind::Fifo,
            FileKind::Socket => Kind::Socket,
        };
        hasher.update(&[type_letter(letter)]);
        crate::layer_digest::bytes(hasher, path);
        let mode = if self.kind == FileKind::Symlink { 0o777 } else { self.mode };
        for number in [mode, self.uid, self.gid] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(&self.size_bytes.to_le_bytes());
        hasher.update(&self.content);
        if let FileKind::CharacterDevice { major, minor } | FileKind::BlockDevice { major, minor } = self.kind {
            hasher.update(&major.to_le_bytes());
            hasher.update(&minor.to_le_bytes());
        }
        hasher.update(&self.xattrs.unwrap_or_default());
    }
}

/// Lists and hashes what is at `path` inside `root`, depth first in byte order of the names; links are not followed,
/// neither at the end of `path` nor below it (links on the way to it are, inside `root`).
///
/// `None` when there is nothing at `path`. Only files that `memory` does not know are read; on several threads when
/// there are many.
///
/// # Errors
/// [`SnapshotError::Changed`] for a file that is being written to; [`SnapshotError::Limit`];
/// [`SnapshotError::TooDeep`]; otherwise [`SnapshotError::Io`].
pub fn digest_tree(
    root: BorrowedFd<'_>,
    path: &[u8],
    options: TreeOptions,
    filter: &mut Filter<'_>,
    memory: &mut dyn FileHasher,
) -> Result<Option<Vec<TreeEntry>>> {
    use std::os::unix::ffi::OsStrExt;
    let (parent, name) = split_leaf(path).unwrap_or((path, b"."));
    let parent = if parent.is_empty() { b"/" } else { parent };
    let holder = match open_in_root(
        root,
        std::ffi::OsStr::from_bytes(parent),
        OFlags::RDONLY | OFlags::DIRECTORY,
        Mode::empty(),
    ) {
        Ok(holder) => holder,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(errno).at("open", path),
    };
    let reader = NodeReader { ownership: options.ownership, overlay: None, with_xattrs: options.xattrs };
    let node = match reader.read(holder.as_fd(), name) {
        Ok(node) => node,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno).at("examine", path),
    };
    let mut listing = Listing { limit: options.entries_max, ..Listing::default() };
    let directory = node.is_directory();
    listing.push(b"", node, holder.as_fd(), name)?;
    if !directory {
        // The file is hashed by its name in its directory.
        let entries = listing.finish(holder.as_fd(), name, memory)?;
        return Ok(Some(entries));
    }
    let top = if name == b"." {
        reopen_directory(holder.as_fd()).at("open", path)?
    } else {
        open_directory_at(holder.as_fd(), name).at("open", path)?
    };
    let mut walk = Walk::new(reopen_directory(top.as_fd()).at("open", path)?)?;
    while let Some(event) = walk.next() {
        if event == Event::Leave {
            continue;
        }
        let node = reader.read(walk.directory(), walk.name()).at("examine", walk.path())?;
        let selection = filter(walk.path(), node.is_directory());
        if selection == Selection::Exclude {
            continue;
        }
        let descend = node.is_directory();
        if selection == Selection::Include {
            listing.push(walk.path(), node, walk.directory(), walk.name())?;
        }
        if descend {
            walk.descend()?;
        }
    }
    listing.finish(top.as_fd(), b"", memory).map(Some)
}

#[derive(Default)]
struct Listing {
    entries: Vec<TreeEntry>,
    nodes: Vec<Node>,
    limit: u64,
}

impl Listing {
    fn push(&mut self, path: &[u8], node: Node, directory: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        if self.entries.len() as u64 >= self.limit {
            return Err(SnapshotError::Limit { what: "files", limit: self.limit });
        }
        let link_target = if node.kind == Kind::Symlink {
            let target = rustix::fs::readlinkat(directory, name, Vec::new()).at("read the link", path)?;
            Some(target.into_bytes())
        } else {
            None
        };
        let xattrs = (!node.xattrs.is_empty()).then(|| {
            let mut hasher = blake3::Hasher::new();
            for (name, value) in &node.xattrs {
                crate::layer_digest::bytes(&mut hasher, name);
                crate::layer_digest::bytes(&mut hasher, value);
            }
            *hasher.finalize().as_bytes()
        });
        self.entries.push(TreeEntry {
            path: path.to_vec(),
            kind: FileKind::of(node.kind),
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            size_bytes: if node.kind == Kind::File { node.size } else { 0 },
            mtime: node.mtime,
            content: link_target.as_deref().map_or([0; 32], |target| *blake3::hash(target).as_bytes()),
            link_target,
            xattrs,
            same_file_as: None,
        });
        self.nodes.push(node);
        Ok(())
    }

    /// Fills in the content hashes. `single` is the name of the only entry in `root` when it is no directory.
    fn finish(mut self, root: BorrowedFd<'_>, single: &[u8], memory: &mut dyn FileHasher) -> Result<Vec<TreeEntry>> {
        let mut first_names = std::collections::HashMap::new();
        for (index, (node, entry)) in self.nodes.iter().zip(&mut self.entries).enumerate() {
            if node.links > 1 && !node.is_directory() {
                entry.same_file_as = first_names.get(&node.identity).copied();
                first_names.entry(node.identity).or_insert(index);
            }
        }
        let wanted: Vec<usize> =
            (0..self.nodes.len()).filter(|index| self.entries.get(*index).is_some_and(is_unlinked_file)).collect();
        let identities: Vec<FileIdentity> =
            wanted.iter().filter_map(|index| self.nodes.get(*index)).map(FileIdentity::of).collect();
        let mut remembered = memory.remembered(&identities);
        remembered.resize(identities.len(), None);
        let mut unread = Vec::new();
        let mut requests = Vec::new();
        for (index, hash) in wanted.into_iter().zip(remembered) {
            let (Some(entry), Some(node)) = (self.entries.get_mut(index), self.nodes.get(index)) else { continue };
            if let Some(hash) = hash {
                entry.content = hash;
            } else {
                unread.push(index);
                let path = if entry.path.is_empty() { single } else { &entry.path };
                requests.push(HashRequest { path: path.to_vec(), node: node.clone() });
            }
        }
        let hashed = hash_files(root, &requests)?;
        let computed: Vec<_> =
            hashed.iter().map(|Hashed { blake3, node, .. }| (FileIdentity::of(node), *blake3)).collect();
        for (index, hashed) in unread.into_iter().zip(&hashed) {
            if let Some(entry) = self.entries.get_mut(index) {
                entry.content = hashed.blake3;
                entry.size_bytes = hashed.size;
            }
        }
        if !computed.is_empty() {
            memory.computed(&computed);
        }
        // A further name of a file has the content of the first.
        for index in 0..self.entries.len() {
            let first = self.entries.get(index).and_then(|entry| entry.same_file_as);
            let source = first.and_then(|first| self.entries.get(first)).map(|entry| (entry.content, entry.size_bytes));
            if let (Some((content, size_bytes)), Some(entry)) = (source, self.entries.get_mut(index)) {
                (entry.content, entry.size_bytes) = (content, size_bytes);
            }
        }
        Ok(self.entries)
    }
}

fn is_unlinked_file(entry: &TreeEntry) -> bool {
    entry.kind == FileKind::File && entry.same_file_as.is_none()
}

/// The digest of a listing: everything but times, with the entries' own paths.
pub fn digest_entries(entries: &[TreeEntry]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for entry in entries {
        entry.update(&mut hasher, &entry.path);
    }
    *hasher.finalize().as_bytes()
}
