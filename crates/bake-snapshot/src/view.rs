//! Looking into a merged tree: `/etc/passwd` lookups, and the sources of `COPY --from` and bind mounts.
//!
//! Every path is resolved by `openat2(2)` inside the tree: links and `..` of an image never lead out of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bake_oci::Timestamp;
use bake_sys::path::{open_in_root, split_leaf};
use bake_sys::{Errno, Mode, OFlags};

use crate::content::regular;
use crate::error::{At, Result, SnapshotError, display};
use crate::format::Ownership;
use crate::node::{Kind, NodeReader};
use crate::snapshotter::Snapshotter;
use crate::walk::list_names;

/// A read-only view of a stack of layers. Without layers it is an empty directory.
#[derive(Debug)]
pub struct MergedView {
    root: Option<OwnedFd>,
    ownership: Ownership,
}

/// A type of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device with its number.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device with its number.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl FileKind {
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::File => Self::File,
            Kind::Directory => Self::Directory,
            Kind::Symlink => Self::Symlink,
            // A deletion is only seen as such in layer directories, which are not looked at by kind.
            Kind::Whiteout => Self::CharacterDevice { major: 0, minor: 0 },
            Kind::CharacterDevice { major, minor } => Self::CharacterDevice { major, minor },
            Kind::BlockDevice { major, minor } => Self::BlockDevice { major, minor },
            Kind::Fifo => Self::Fifo,
            Kind::Socket => Self::Socket,
        }
    }
}

/// What a view knows about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStatus {
    /// Its type.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner, as the image sees it.
    pub uid: u32,
    /// Group, as the image sees it.
    pub gid: u32,
    /// Apparent size in bytes.
    pub size_bytes: u64,
    /// Modification time.
    pub mtime: Timestamp,
}

impl MergedView {
    /// Mounts `lowers`, base first, detached and read-only.
    ///
    /// # Errors
    /// As [`Snapshotter::view`].
    pub fn open(snapshotter: &dyn Snapshotter, lowers: &[&Path]) -> Result<Self> {
        let root = if lowers.is_empty() { None } else { Some(snapshotter.view(lowers)?) };
        Ok(Self { root, ownership: snapshotter.format().ownership })
    }

    /// A view of a tree that is open already: a mount, or a plain directory such as a build context.
    pub fn of_directory(root: OwnedFd, ownership: Ownership) -> Self {
        Self { root: Some(root), ownership }
    }

    /// The root directory, for mounting it into a sandbox; `None` when there are no layers.
    pub fn root(&self) -> Option<BorrowedFd<'_>> {
        self.root.as_ref().map(AsFd::as_fd)
    }

    /// How owners are to be read in it.
    pub fn ownership(&self) -> Ownership {
        self.ownership
    }

    /// What is at `path`, without following a link there; `None` when there is nothing.
    ///
    /// # Errors
    /// [`SnapshotError::Io`], for example with `ELOOP` for a path through a circle of links.
    pub fn lstat(&self, path: &[u8]) -> Result<Option<FileStatus>> {
        let Some(root) = self.root() else { return Ok(None) };
        let (parent, name) = Self::split(path);
        let Some(directory) = open_at(root, parent, OFlags::PATH | OFlags::DIRECTORY, path)? else {
            return Ok(None);
        };
        self.status(directory.as_fd(), name, path)
    }

    /// What is at `path`, following links inside the view; `None` when there is nothing.
    ///
    /// # Errors
    /// As [`Self::lstat`].
    pub fn stat(&self, path: &[u8]) -> Result<Option<FileStatus>> {
        let Some(root) = self.root() else { return Ok(None) };
        let Some(file) = open_at(root, path, OFlags::PATH, path)? else { return Ok(None) };
        self.status(file.as_fd(), b"", path)
    }

    /// Opens the regular file at `path`, following links inside the view; `None` when there is nothing.
    ///
    /// # Errors
    /// [`SnapshotError::NotAFile`] for anything but a regular file (which is not read from: an image's FIFO must not
    /// hang the build); otherwise as [`Self::lstat`].
    pub fn open_file(&self, path: &[u8]) -> Result<Option<File>> {
        let Some(root) = self.root() else { return Ok(None) };
        // Looked at before it is opened for reading: opening a device can have effects of its own.
        let Some(pinned) = open_at(root, path, OFlags::PATH, path)? else { return Ok(None) };
        match self.status(pinned.as_fd(), b"", path)? {
            Some(FileStatus { kind: FileKind::File, .. }) => {}
            Some(_) => return Err(SnapshotError::NotAFile { path: display(path) }),
            None => return Ok(None),
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        match open_at(root, path, flags, path)? {
            Some(file) => regular(file, path).map(Some),
            None => Ok(None),
        }
    }

    /// The text of the regular file at `path`, following links; `None` when there is nothing.
    ///
    /// # Errors
    /// [`SnapshotError::TooLarge`] beyond `limit` bytes, [`SnapshotError::NotText`]; otherwise as
    /// [`Self::open_file`].
    pub fn read_to_string(&self, path: &[u8], limit: u64) -> Result<Option<String>> {
        let Some(bytes) = self.read(path, limit)? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|_| SnapshotError::NotText { path: display(path) })
    }

    /// The bytes of the regular file at `path`, following links; `None` when there is nothing.
    ///
    /// # Errors
    /// [`SnapshotError::TooLarge`] beyond `limit` bytes; otherwise as [`Self::open_file`].
    pub fn read(&self, path: &[u8], limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).at("read", path)?;
        if bytes.len() as u64 > limit {
            return Err(SnapshotError::TooLarge { path: display(path), limit });
        }
        Ok(Some(bytes))
    }

    /// The target of the link at `path`, unchanged; `None` when there is nothing.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] with `EINVAL` when it is no link; otherwise as [`Self::lstat`].
    pub fn read_link(&self, path: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(root) = self.root() else { return Ok(None) };
        let (parent, name) = Self::split(path);
        let Some(directory) = open_at(root, parent, OFlags::PATH | OFlags::DIRECTORY, path)? else {
            return Ok(None);
        };
        match rustix::fs::readlinkat(&directory, name, Vec::new()) {
            Ok(target) => Ok(Some(target.into_bytes())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).at("read the link", path),
        }
    }

    /// Opens the directory at `path`, following links; `None` when there is nothing.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] with `ENOTDIR` when it is no directory; otherwise as [`Self::lstat`].
    pub fn open_directory(&self, path: &[u8]) -> Result<Option<OwnedFd>> {
        let Some(root) = self.root() else { return Ok(None) };
        let path_or_root = if path.is_empty() { b"/" } else { path };
        match open_in_root(root, OsStr::from_bytes(path_or_root), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).at("open the directory", path),
        }
    }

    /// The names in the directory at `path` in byte order, following links; `None` when there is nothing.
    ///
    /// # Errors
    /// As [`Self::open_directory`].
    pub fn read_directory(&self, path: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        match self.open_directory(path)? {
            Some(directory) => list_names(directory.as_fd()).at("list", path).map(Some),
            None => Ok(None),
        }
    }

    fn status(&self, directory: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<Option<FileStatus>> {
        // An empty name means the open file itself, whose attributes are only reachable through its descriptor.
        let reader = NodeReader { ownership: self.ownership, overlay: None, with_xattrs: false };
        let node = if name.is_empty() { reader.read_pinned(directory) } else { reader.read(directory, name) };
        match node {
            Ok(node) => Ok(Some(FileStatus {
                kind: FileKind::of(node.kind),
                mode: node.mode,
                uid: node.uid,
                gid: node.gid,
                size_bytes: node.size,
                mtime: node.mtime,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).at("examine", path),
        }
    }

    /// The directory part and the name of `path`; `.` for the root and for paths that end in `..`.
    fn split(path: &[u8]) -> (&[u8], &[u8]) {
        match split_leaf(path) {
            Some((parent, name)) => (parent, name),
            None => (path, b"."),
        }
    }
}

/// Opens `path` inside `root`; `shown` is for errors.
fn open_at(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, shown: &[u8]) -> Result<Option<OwnedFd>> {
    let path = if path.is_empty() { b"/" } else { path };
    match open_in_root(root, OsStr::from_bytes(path), flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        // A path below something that is no directory names nothing, as a missing one does.
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno).at("open", shown),
    }
}
