//! A directory tree that files are copied from: a build context with its ignore patterns, or a root file system.
//!
//! Paths are walked component by component from a directory descriptor, never joined and handed to the kernel, and
//! symbolic links are resolved inside the tree. So nothing outside of it can be reached, whatever it holds.

use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bake_dockerfile::ignore::{IgnorePatterns, MatchState};
use bake_snapshot::{Ownership, list_names};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

/// The largest number of symbolic links that are followed for one path (as the kernel's limit).
const LINKS_MAX: usize = 40;
/// The deepest directory that is walked; protects the stack and the number of open files.
const DEPTH_MAX: usize = 2_000;

/// What went wrong while looking at a tree.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TreeError {
    /// Nothing is there.
    #[error("\"/{path}\": not found")]
    NotFound {
        /// Which path, from the tree's root.
        path: String,
        /// Whether it is there but hidden by the ignore patterns.
        ignored: bool,
    },
    /// A path leads through too many symbolic links.
    #[error("\"/{path}\": too many levels of symbolic links")]
    Loop {
        /// Which path.
        path: String,
    },
    /// The tree is too deep.
    #[error("\"/{path}\": more than {DEPTH_MAX} directories deep")]
    TooDeep {
        /// Which path.
        path: String,
    },
    /// A pattern is not well formed.
    #[error("the pattern `{pattern}` is not well formed")]
    BadPattern {
        /// Which.
        pattern: String,
    },
    /// The build ends.
    #[error("the build was cancelled")]
    Cancelled,
    /// The operating system refused.
    #[error("cannot {action} \"/{path}\": {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: String,
        /// What lies underneath.
        #[source]
        source: Errno,
    },
}

/// A path for people: invalid UTF-8 and control characters are made visible.
pub(crate) fn shown(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        text.extend(chunk.valid().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

pub(crate) fn io(action: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> TreeError {
    let path = shown(path);
    move |source| TreeError::Io { action, path, source }
}

/// A tree that files are copied from.
#[derive(Debug)]
pub(crate) struct SourceTree {
    root: OwnedFd,
    ignore: Option<IgnorePatterns>,
    ownership: Ownership,
    cancelled: Option<Arc<AtomicBool>>,
}

/// A file as found in a tree.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its path from the tree's root, without a leading slash; empty for the root.
    pub path: Vec<u8>,
    /// What it is.
    pub stat: Stat,
}

impl Node {
    /// The type of the file.
    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.file_type() == FileType::Directory
    }
}

/// `parent/name`.
pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        return name.to_vec();
    }
    let mut path = Vec::with_capacity(parent.len() + 1 + name.len());
    path.extend_from_slice(parent);
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

/// The directory that a path names something in (empty for the root), and the name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// The components of a path, without empty ones and `.`.
pub(crate) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".")
}

impl SourceTree {
    /// The tree below `root`, without what `ignore` hides.
    pub(crate) fn new(root: OwnedFd, ignore: Option<IgnorePatterns>) -> Self {
        Self { root, ignore, ownership: Ownership::Native, cancelled: None }
    }

    /// The same tree; looking at it ends with an error once `cancelled` is set.
    pub(crate) fn with_cancellation(self, cancelled: Arc<AtomicBool>) -> Self {
        Self { cancelled: Some(cancelled), ..self }
    }

    /// Fails if the build ends.
    pub(crate) fn check_cancelled(&self) -> Result<(), TreeError> {
        match &self.cancelled {
            Some(cancelled) if cancelled.load(Ordering::Relaxed) => Err(TreeError::Cancelled),
            _ => Ok(()),
        }
    }

    /// The same tree, with owners that stand beside the files where they cannot be the owners on disk.
    pub(crate) fn with_ownership(self, ownership: Ownership) -> Self {
        Self { ownership, ..self }
    }

    /// The user and group that a file belongs to.
    pub(crate) fn owner(&self, node: &Node) -> Result<(u32, u32), TreeError> {
        let on_disk = (node.stat.st_uid, node.stat.st_gid);
        if self.ownership == Ownership::Native {
            return Ok(on_disk);
        }
        let path = &node.path;
        let (parent, name) = split(path);
        let Some(directory) = self.open_directory(parent)? else { return Ok(on_disk) };
        bake_snapshot::read_owner(self.ownership, &directory, name).map_err(|error| TreeError::Io {
            action: "read the owner of",
            path: shown(path),
            source: error.errno().unwrap_or(Errno::IO),
        })
    }

    /// Whether owners and extended attributes of the files count: not for build contexts.
    pub(crate) fn is_context(&self) -> bool {
        self.ignore.is_some()
    }

    /// Whether the ignore patterns hide `path`.
    fn hidden(&self, path: &[u8], directory: bool) -> bool {
        let Some(ignore) = &self.ignore else { return false };
        if path.is_empty() || !ignore.matches(path) {
            return false;
        }
        !(directory && ignore.may_match_below(path))
    }

    /// What is at `path`; the last component is not followed if it is a symbolic link.
    fn lookup(&self, path: &[u8]) -> Result<Option<Node>, TreeError> {
        let (parent, name) = split(path);
        let stat = if path.is_empty() {
            rustix::fs::fstat(&self.root)
        } else {
            let Some(directory) = self.open_directory(parent)? else { return Ok(None) };
            statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)
        };
        match stat {
            Ok(stat) => {
                let node = Node { path: path.to_vec(), stat };
                Ok((!self.hidden(path, node.is_directory())).then_some(node))
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(io("look at", path)(error)),
        }
    }

    /// Opens the directory at `path`, which must not hold symbolic links; `None` if it is not there.
    pub(crate) fn open_directory(&self, path: &[u8]) -> Result<Option<OwnedFd>, TreeError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut current = openat(&self.root, ".", flags, Mode::empty()).map_err(io("open", path))?;
        for part in components(path) {
            current = match openat(&current, part, flags, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(error) => return Err(io("open", path)(error)),
            };
        }
        Ok(Some(current))
    }

    /// Opens the regular file at `path` for reading.
    pub(crate) fn open_file(&self, path: &[u8]) -> Result<OwnedFd, TreeError> {
        let (parent, name) = split(path);
        let directory =
            self.open_directory(parent)?.ok_or_else(|| TreeError::NotFound { path: shown(path), ignored: false })?;
        open_for_reading(directory.as_fd(), name, path)
    }

    /// The target of the symbolic link at `path`.
    pub(crate) fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, TreeError> {
        let (parent, name) = split(path);
        let directory =
            self.open_directory(parent)?.ok_or_else(|| TreeError::NotFound { path: shown(path), ignored: false })?;
        Ok(readlinkat(&directory, name, Vec::new()).map_err(io("read the link", path))?.into_bytes())
    }

    /// What `path` leads to, all symbolic links followed inside the tree.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Node, TreeError> {
        let missing = || TreeError::NotFound { path: shown(path.strip_prefix(b"/").unwrap_or(path)), ignored: false };
        let mut pending: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut current = self.lookup(b"")?.ok_or_else(missing)?;
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == b".." {
                let parent = current.path.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash);
                let parent = current.path[..parent].to_vec();
                current = self.lookup(&parent)?.ok_or_else(missing)?;
                continue;
            }
            let next_path = join(&current.path, &part);
            let Some(next) = self.lookup(&next_path)? else {
                return Err(TreeError::NotFound {
                    path: shown(path.strip_prefix(b"/").unwrap_or(path)),
                    ignored: self.is_there(&next_path),
                });
            };
            if next.file_type() == FileType::Symlink {
                links += 1;
                if links > LINKS_MAX {
                    return Err(TreeError::Loop { path: shown(path) });
                }
                let target = self.read_link(&next.path)?;
                if target.starts_with(b"/") {
                    current = self.lookup(b"")?.ok_or_else(missing)?;
                }
                pending.extend(components(&target).rev().map(<[u8]>::to_vec));
            } else {
                current = next;
            }
        }
        Ok(current)
    }

    /// Whether something is at `path`, be it hidden or not.
    fn is_there(&self, path: &[u8]) -> bool {
        let (parent, name) = split(path);
        matches!(self.open_directory(parent), Ok(Some(directory)) if statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok())
    }

    /// The names in the directory at `path` that are not hidden, sorted.
    pub(crate) fn names(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
        let Some(directory) = self.open_directory(path)? else { return Ok(Vec::new()) };
        list_names(directory.as_fd()).map_err(io("list", path))
    }

    /// Calls `visit` for everything below the directory at `path`, directories before what they hold, names sorted.
    /// Hidden files are left out; `enter` says whether a directory is of interest.
    pub(crate) fn walk(
        &self,
        path: &[u8],
        visit: &mut dyn FnMut(Node) -> Result<Enter, TreeError>,
    ) -> Result<(), TreeError> {
        let Some(directory) = self.open_directory(path)? else { return Ok(()) };
        let state = self.ignore.as_ref().map(|ignore| ignore.state_of(path));
        self.walk_open(directory.as_fd(), path, state.as_ref(), 0, visit)
    }

    fn walk_open(
        &self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        state: Option<&MatchState>,
        depth: usize,
        visit: &mut dyn FnMut(Node) -> Result<Enter, TreeError>,
    ) -> Result<(), TreeError> {
        if depth > DEPTH_MAX {
            return Err(TreeError::TooDeep { path: shown(path) });
        }
        for name in list_names(directory).map_err(io("list", path))? {
            self.check_cancelled()?;
            let child_path = join(path, &name);
            let stat = match statat(directory, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // It was removed since the directory was listed.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(io("look at", &child_path)(error)),
            };
            let node = Node { path: child_path, stat };
            let is_directory = node.is_directory();
            // What the patterns say is handed down: to begin anew at the root for each file costs more the deeper the tree is.
            let ignore = self.ignore.as_ref().zip(state);
            let state = ignore.map(|(ignore, state)| ignore.step(state, &node.path));
            let excluded = state.as_ref().is_some_and(MatchState::is_excluded);
            // An excluded directory is walked only for what is taken back in below it.
            let only_for_below =
                excluded && is_directory && ignore.is_some_and(|(ignore, _)| ignore.may_match_below(&node.path));
            if excluded && !only_for_below {
                continue;
            }
            let child_path = node.path.clone();
            if only_for_below {
                let mut pending = Some(node);
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let child = openat(directory, &*name, flags, Mode::empty()).map_err(io("open", &child_path))?;
                self.walk_open(child.as_fd(), &child_path, state.as_ref(), depth + 1, &mut |below| {
                    if let Some(parent) = pending.take() {
                        visit(parent)?;
                    }
                    visit(below)
                })?;
            } else if visit(node)? == Enter::Yes && is_directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let child = openat(directory, &*name, flags, Mode::empty()).map_err(io("open", &child_path))?;
                self.walk_open(child.as_fd(), &child_path, state.as_ref(), depth + 1, visit)?;
            }
        }
        Ok(())
    }
}

/// Whether a walk goes into a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enter {
    /// It does.
    Yes,
    /// It leaves out what is below.
    No,
}

/// Opens the file `name` in `directory` for reading; `path` is for messages.
pub(crate) fn open_for_reading(directory: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<OwnedFd, TreeError> {
    // A FIFO that took the file's place must not make the open wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    openat(directory, name, flags, Mode::empty()).map_err(io("open", path))
}

/// Whether an extended attribute belongs to the file, rather than to overlay, to bake or to the host's policy.
pub(crate) fn is_layer_xattr(name: &[u8]) -> bool {
    !bake_oci::layer::whiteout::is_overlay_xattr(name)
        && !name.starts_with(b"user.bake.")
        && name != b"security.selinux"
}
