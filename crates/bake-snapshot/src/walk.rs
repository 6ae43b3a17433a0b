//! Walking a directory tree by file descriptors, in sorted order, without recursion.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bake_sys::path::open_beneath_no_links;
use bake_sys::{AtFlags, Errno, Mode, OFlags};
use rustix::fs::RawDir;

use crate::error::{At, Result, SnapshotError, display};

/// How deeply directories may be nested. Every level keeps a descriptor open, so deeper trees are refused by name
/// instead of failing with "too many open files" somewhere.
pub(crate) const DEPTH_MAX: usize = 900;

/// Paths of more bytes than this are opened piece by piece: the kernel takes at most 4095 at once.
const PATH_PIECE_BYTES_MAX: usize = 4000;

/// How directories are opened to list them and to work in them.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Bytes asked from the kernel per `getdents64` call: about 1000 names.
const NAMES_BUFFER_BYTES: usize = 32 * 1024;

/// What [`Walk::next`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The next name: [`Walk::name`] in [`Walk::directory`].
    Entry,
    /// The end of a directory that was descended into: it is [`Walk::name`] in [`Walk::directory`] again.
    Leave,
}

struct Frame {
    directory: OwnedFd,
    names: std::vec::IntoIter<Vec<u8>>,
    /// The current name; empty before the first.
    name: Vec<u8>,
    /// How much of [`Walk::path`] is this directory's own path.
    path_length: usize,
}

/// A walk over one tree: directories in byte order of their names, each before its content.
///
/// Symbolic links are never followed: only what [`Walk::descend`] opened is entered.
pub(crate) struct Walk {
    frames: Vec<Frame>,
    path: Vec<u8>,
}

impl Walk {
    /// Begins a walk over what is in `root`.
    pub(crate) fn new(root: OwnedFd) -> Result<Self> {
        let names = list_names(root.as_fd()).at("list", b"")?.into_iter();
        Ok(Self { frames: vec![Frame { directory: root, names, name: Vec::new(), path_length: 0 }], path: Vec::new() })
    }

    /// Goes on; `None` at the end of the root directory.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let frame = self.frames.last_mut()?;
        self.path.truncate(frame.path_length);
        if let Some(name) = frame.names.next() {
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&name);
            frame.name = name;
            return Some(Event::Entry);
        }
        if self.frames.len() == 1 {
            return None;
        }
        self.frames.pop();
        Some(Event::Leave)
    }

    fn frame(&self) -> &Frame {
        self.frames.last().expect("the root's frame is never popped")
    }

    /// The directory that holds the current name.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.frame().directory.as_fd()
    }

    /// The current name.
    pub(crate) fn name(&self) -> &[u8] {
        &self.frame().name
    }

    /// The current path, relative to the root of the walk.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Enters the current name, which must be a directory; its names follow.
    pub(crate) fn descend(&mut self) -> Result<()> {
        if self.frames.len() >= DEPTH_MAX {
            return Err(SnapshotError::TooDeep { path: display(&self.path) });
        }
        let directory = open_directory_at(self.directory(), self.name()).at("open", &self.path)?;
        let names = list_names(directory.as_fd()).at("list", &self.path)?.into_iter();
        self.frames.push(Frame { directory, names, name: Vec::new(), path_length: self.path.len() });
        Ok(())
    }
}

/// Opens a directory that the caller trusts, by host path.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at("open the directory", path.as_os_str().as_bytes())
}

/// Opens the directory `name` of `parent`; a symbolic link is an error.
pub(crate) fn open_directory_at(parent: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())
}

/// Opens `path` below `root`, refusing links on the way and at its end. Empty: a second description of `root`.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> std::result::Result<OwnedFd, Errno> {
    let mut holder: Option<OwnedFd> = None;
    let mut rest = path;
    while rest.len() > PATH_PIECE_BYTES_MAX {
        let cut = rest.get(..PATH_PIECE_BYTES_MAX).and_then(|piece| piece.iter().rposition(|byte| *byte == b'/'));
        let (piece, after) = cut.and_then(|cut| rest.split_at_checked(cut)).ok_or(Errno::NAMETOOLONG)?;
        let from = holder.as_ref().map_or(root, AsFd::as_fd);
        let directory_flags = OFlags::PATH | OFlags::DIRECTORY;
        holder = Some(open_beneath_no_links(from, OsStr::from_bytes(piece), directory_flags, Mode::empty())?);
        rest = after.strip_prefix(b"/").unwrap_or(after);
    }
    let from = holder.as_ref().map_or(root, AsFd::as_fd);
    let rest = if rest.is_empty() { b"." } else { rest };
    open_beneath_no_links(from, OsStr::from_bytes(rest), flags, Mode::empty())
}

/// Removes `name` of `parent` with everything below it, following nothing.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<()> {
    let mut walk = Walk::new(open_directory_at(parent, name).at("open", path)?)?;
    while let Some(event) = walk.next() {
        if event == Event::Leave {
            rustix::fs::unlinkat(walk.directory(), walk.name(), AtFlags::REMOVEDIR).at("remove", path)?;
            continue;
        }
        match rustix::fs::unlinkat(walk.directory(), walk.name(), AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR) => walk.descend()?,
            Err(errno) => return Err(errno).at("remove", path),
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).at("remove", path)
}

/// A second, independent open description of a directory, so that listing it does not move another's position.
pub(crate) fn reopen_directory(directory: BorrowedFd<'_>) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::openat(directory, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The names in a directory that is open for reading, in byte order, without `.` and `..`. All are read before any is given.
///
/// # Errors
/// What `lseek` and `getdents64` say.
pub fn list_names(directory: BorrowedFd<'_>) -> std::result::Result<Vec<Vec<u8>>, Errno> {
    rustix::fs::seek(directory, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer: Vec<MaybeUninit<u8>> = vec![MaybeUninit::uninit(); NAMES_BUFFER_BYTES];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
