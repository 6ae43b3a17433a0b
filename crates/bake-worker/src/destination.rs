//! The tree that files are copied into: the overlay of a step, written component by component.
//!
//! Every component is opened from its parent's descriptor without following links; links are resolved here, inside the
//! tree. A directory that this step made itself holds nothing of the layers below, so what goes into it is written to the
//! layer's own directory at once: creating files through the overlay costs about twice as much.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bake_snapshot::{DeviceKind, Ownership};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, mkdirat, openat, readlinkat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::source_tree::{components, join, shown};

/// The largest number of symbolic links that are followed for one path.
const LINKS_MAX: usize = 40;

/// How directories are opened: never through a link.
const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What went wrong while writing to the tree.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DestinationError {
    /// A directory is wanted where something else is.
    #[error("cannot copy to non-directory: /{0}")]
    NotDirectory(String),
    /// A file is wanted where a directory is.
    #[error("cannot replace to directory /{0} with file")]
    IsDirectory(String),
    /// A path leads through too many symbolic links.
    #[error("\"/{0}\": too many levels of symbolic links")]
    Loop(String),
    /// The operating system refused.
    #[error("cannot {action} /{path}: {source}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: String,
        /// What lies underneath.
        #[source]
        source: Errno,
    },
    /// An owner, mode or attribute could not be set.
    #[error(transparent)]
    Attribute(#[from] bake_snapshot::SnapshotError),
}

pub(crate) fn failed(action: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> DestinationError {
    move |source| DestinationError::Io { action, path: shown(path), source }
}

/// Owner and permission bits of what is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    /// User and group.
    pub owner: (u32, u32),
    /// Permission bits.
    pub mode: u32,
    /// Time of last change; the present when absent.
    pub mtime: Option<Timespec>,
}

/// The tree that is written to.
#[derive(Debug)]
pub(crate) struct Destination {
    /// The root of the overlay.
    root: OwnedFd,
    /// The directory of the layer being made.
    upper: OwnedFd,
    ownership: Ownership,
    /// The directory that all paths begin at and no link leads out of; empty for the whole tree.
    base: Vec<u8>,
}

/// An open directory of the tree.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: Vec<u8>,
    /// Whether it exists only in the layer being made; `fd` is then of the layer's own directory.
    fresh: bool,
}

impl Directory {
    /// Its path from the tree's root.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Whether it exists only in the layer being made: its descriptor is of the layer's own directory.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Its descriptor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The directory `name` in it, which must be there and no link.
    pub(crate) fn child(&self, name: &[u8]) -> Result<Self, DestinationError> {
        let path = join(&self.path, name);
        match openat(&self.fd, name, OPEN_DIRECTORY, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path, fresh: self.fresh }),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(DestinationError::NotDirectory(shown(&path))),
            Err(error) => Err(failed("open", &path)(error)),
        }
    }

    /// Removes what is called `name` in it unless it is a directory, to make room for something else.
    pub(crate) fn make_room(&self, name: &[u8]) -> Result<(), DestinationError> {
        let path = join(&self.path, name);
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => Err(DestinationError::IsDirectory(shown(&path))),
            Err(error) => Err(failed("replace", &path)(error)),
        }
    }

    /// Makes the empty file `name` in it; what was there, unless it is a directory, makes room.
    pub(crate) fn create_anew(&self, name: &[u8]) -> Result<OwnedFd, DestinationError> {
        match self.create(name) {
            Err(DestinationError::Io { source: Errno::EXIST, .. }) => {
                self.make_room(name)?;
                self.create(name)
            }
            created => created,
        }
    }

    /// Makes the empty file `name` in it, where nothing is.
    pub(crate) fn create(&self, name: &[u8]) -> Result<OwnedFd, DestinationError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed("create", &join(&self.path, name)))
    }

    /// Where the link `name` in it points to.
    fn read_link(&self, name: &[u8]) -> Result<Vec<u8>, DestinationError> {
        let path = join(&self.path, name);
        Ok(readlinkat(&self.fd, name, Vec::new()).map_err(failed("read the link", &path))?.into_bytes())
    }
}

/// Where a path leads, all links followed.
#[derive(Debug)]
pub(crate) enum Target {
    /// To a directory.
    Directory(Directory),
    /// To a name in a directory: something else than a directory, or nothing.
    Name(Directory, Vec<u8>),
}

impl Destination {
    /// The tree at the overlay `root`, whose layer being made is at `upper`.
    pub(crate) fn new(root: OwnedFd, upper: OwnedFd, ownership: Ownership) -> Self {
        Self { root, upper, ownership, base: Vec::new() }
    }

    /// The same tree with `directory` as its root: paths begin there, and links and `..` do not lead out of it.
    pub(crate) fn confined_to(&self, directory: &Directory) -> Result<Self, DestinationError> {
        let duplicate =
            |file: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(file, 0).map_err(failed("open", &directory.path));
        Ok(Self {
            root: duplicate(&self.root)?,
            upper: duplicate(&self.upper)?,
            ownership: self.ownership,
            base: directory.path.clone(),
        })
    }

    /// The root directory.
    pub(crate) fn root(&self) -> Result<Directory, DestinationError> {
        let fd = self.through_overlay(&self.base)?;
        Ok(Directory { fd, path: self.base.clone(), fresh: false })
    }

    /// A path of the tree as seen from its root directory.
    fn relative<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        path.get(self.base.len()..).unwrap_or_default()
    }

    /// The directory at `path`; it and its parents are made where they are missing.
    pub(crate) fn make_directories(&self, path: &[u8], attributes: Attributes) -> Result<Directory, DestinationError> {
        match self.follow(path, Some(attributes))? {
            Target::Directory(directory) => Ok(directory),
            Target::Name(parent, name) => Err(DestinationError::NotDirectory(shown(&join(&parent.path, &name)))),
        }
    }

    /// Where `path` leads. Missing directories on the way (not the last component) are made.
    pub(crate) fn target(&self, path: &[u8], attributes: Attributes) -> Result<Target, DestinationError> {
        let parts: Vec<&[u8]> = components(path).collect();
        let Some((leaf, parents)) = parts.split_last() else { return self.root().map(Target::Directory) };
        let mut parent = self.make_directories(&parents.join(&b'/'), attributes)?;
        let mut leaf = leaf.to_vec();
        for _ in 0..LINKS_MAX {
            if leaf == b".." {
                let mut up = self.relative(&parent.path).to_vec();
                up.extend_from_slice(b"/..");
                return self.make_directories(&up, attributes).map(Target::Directory);
            }
            let stat = match statat(&parent.fd, &*leaf, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return Ok(Target::Name(parent, leaf)),
                Err(error) => return Err(failed("look at", &join(&parent.path, &leaf))(error)),
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => return parent.child(&leaf).map(Target::Directory),
                FileType::Symlink => {
                    let link = parent.read_link(&leaf)?;
                    let whole = if link.starts_with(b"/") { link } else { join(self.relative(&parent.path), &link) };
                    let parts: Vec<&[u8]> = components(&whole).collect();
                    let Some((last, parents)) = parts.split_last() else { return self.root().map(Target::Directory) };
                    parent = self.make_directories(&parents.join(&b'/'), attributes)?;
                    leaf = last.to_vec();
                }
                _ => return Ok(Target::Name(parent, leaf)),
            }
        }
        Err(DestinationError::Loop(shown(path)))
    }

    /// Follows `path`, making missing directories if `make` says with which attributes.
    fn follow(&self, path: &[u8], make: Option<Attributes>) -> Result<Target, DestinationError> {
        let mut pending: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut current = self.root()?;
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == b".." {
                let path = self.relative(&current.path);
                let parent = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
                let mut again: Vec<Vec<u8>> = components(&path[..parent]).rev().map(<[u8]>::to_vec).collect();
                pending.append(&mut again);
                current = self.root()?;
                continue;
            }
            let child_path = join(&current.path, &part);
            let stat = match statat(&current.fd, &*part, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(stat),
                Err(Errno::NOENT) => None,
                Err(error) => return Err(failed("look at", &child_path)(error)),
            };
            match (stat.map(|stat| FileType::from_raw_mode(stat.st_mode)), make) {
                (Some(FileType::Directory), _) => current = current.child(&part)?,
                (Some(FileType::Symlink), _) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(DestinationError::Loop(shown(path)));
                    }
                    let target = current.read_link(&part)?;
                    if target.starts_with(b"/") {
                        current = self.root()?;
                    }
                    pending.extend(components(&target).rev().map(<[u8]>::to_vec));
                }
                (None, Some(attributes)) => {
                    let directory = self.make_child(&current, &part)?;
                    self.set_attributes(&directory.fd, &directory.path, attributes)?;
                    current = directory;
                }
                (Some(_), _) | (None, None) => return Err(DestinationError::NotDirectory(shown(&child_path))),
            }
        }
        Ok(Target::Directory(current))
    }

    /// Makes the directory `name` in `parent`, with no permissions for others until it gets its attributes.
    pub(crate) fn make_child(&self, parent: &Directory, name: &[u8]) -> Result<Directory, DestinationError> {
        let path = join(&parent.path, name);
        mkdirat(&parent.fd, name, Mode::RWXU).map_err(failed("make the directory", &path))?;
        let fd = if parent.fresh {
            openat(&parent.fd, name, OPEN_DIRECTORY, Mode::empty())
        } else {
            // Only what was made a moment ago is there, and no component of the layer's own directory is a link.
            self.open_upper(&path)
        };
        Ok(Directory { fd: fd.map_err(failed("open", &path))?, path, fresh: true })
    }

    fn open_upper(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut current = openat(&self.upper, ".", OPEN_DIRECTORY, Mode::empty())?;
        for part in components(path) {
            current = openat(&current, part, OPEN_DIRECTORY, Mode::empty())?;
        }
        Ok(current)
    }

    /// Sets owner, permission bits and time of an open file or directory, in the order in which none undoes another.
    pub(crate) fn set_attributes(
        &self,
        file: impl AsFd,
        path: &[u8],
        attributes: Attributes,
    ) -> Result<(), DestinationError> {
        let (uid, gid) = attributes.owner;
        bake_snapshot::set_owner(self.ownership, file.as_fd(), path, uid, gid)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(attributes.mode & 0o7777))
            .map_err(failed("set the mode of", path))?;
        if let Some(time) = attributes.mtime {
            let times = Timestamps { last_access: time, last_modification: time };
            rustix::fs::futimens(&file, &times).map_err(failed("set the time of", path))?;
        }
        Ok(())
    }

    /// Makes a device or FIFO; a device that cannot be made, where its number can be recorded, is an empty file then.
    pub(crate) fn make_node(
        &self,
        parent: &Directory,
        name: &[u8],
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> Result<(), DestinationError> {
        let path = join(&parent.path, name);
        let device = match kind {
            FileType::CharacterDevice => DeviceKind::Character,
            FileType::BlockDevice => DeviceKind::Block,
            _ => {
                return rustix::fs::mknodat(&parent.fd, name, kind, Mode::RUSR | Mode::WUSR, 0)
                    .map_err(failed("make the FIFO", &path));
            }
        };
        Ok(bake_snapshot::make_device(self.ownership, &parent.fd, name, &path, device, (major, minor))?)
    }

    /// Sets owner and time of something that cannot be opened: a link, FIFO or device.
    pub(crate) fn set_link_attributes(
        &self,
        parent: &Directory,
        name: &[u8],
        attributes: Attributes,
    ) -> Result<(), DestinationError> {
        let path = join(&parent.path, name);
        let pinned = openat(&parent.fd, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("open", &path))?;
        let (uid, gid) = attributes.owner;
        bake_snapshot::set_owner(self.ownership, &pinned, &path, uid, gid)?;
        set_link_time(&pinned, &path, attributes.mtime)
    }

    /// Gives the file `name` in `parent`, which may be anything, what it has not got yet: a change of owner that changes
    /// nothing would still take file capabilities away.
    pub(crate) fn update_attributes(
        &self,
        parent: &Directory,
        name: &[u8],
        attributes: Attributes,
    ) -> Result<(), DestinationError> {
        let path = join(&parent.path, name);
        let stat = statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at", &path))?;
        let owned = bake_snapshot::read_owner(self.ownership, &parent.fd, name)? == attributes.owner;
        if !owned {
            self.set_link_attributes(parent, name, Attributes { mtime: None, ..attributes })?;
        }
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        if !is_link && (!owned || stat.st_mode & 0o7777 != attributes.mode & 0o7777) {
            let mode = Mode::from_raw_mode(attributes.mode & 0o7777);
            rustix::fs::chmodat(&parent.fd, name, mode, AtFlags::empty()).map_err(failed("set the mode of", &path))?;
        }
        let pinned = openat(&parent.fd, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed("open", &path))?;
        set_link_time(&pinned, &path, attributes.mtime)
    }

    /// Makes `name` in `parent` a further name of the file at `existing`.
    pub(crate) fn link(
        &self,
        existing: (&Directory, &[u8]),
        parent: &Directory,
        name: &[u8],
    ) -> Result<(), DestinationError> {
        let path = join(&parent.path, name);
        let (from, from_name) = existing;
        if from.fresh == parent.fresh {
            return rustix::fs::linkat(&from.fd, from_name, &parent.fd, name, AtFlags::empty())
                .map_err(failed("link", &path));
        }
        // One is of the overlay, the other of the layer's own directory: both have a name in the overlay.
        let (from, to) = (self.through_overlay(&from.path)?, self.through_overlay(&parent.path)?);
        rustix::fs::linkat(&from, from_name, &to, name, AtFlags::empty()).map_err(failed("link", &path))
    }

    fn through_overlay(&self, path: &[u8]) -> Result<OwnedFd, DestinationError> {
        let mut current = openat(&self.root, ".", OPEN_DIRECTORY, Mode::empty()).map_err(failed("open", path))?;
        for part in components(path) {
            current = openat(&current, part, OPEN_DIRECTORY, Mode::empty()).map_err(failed("open", path))?;
        }
        Ok(current)
    }

    /// Removes `path` with all below it; returns whether it was there.
    pub(crate) fn remove(&self, path: &[u8]) -> Result<bool, DestinationError> {
        let parts: Vec<&[u8]> = components(path).collect();
        let Some((leaf, parents)) = parts.split_last() else {
            return Err(DestinationError::IsDirectory(String::new()));
        };
        let parent = match self.follow(&parents.join(&b'/'), None) {
            Ok(Target::Directory(directory)) => directory,
            Ok(Target::Name(..)) | Err(DestinationError::NotDirectory(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        remove_below(parent.fd.as_fd(), leaf, path)
    }
}

fn remove_below(parent: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<bool, DestinationError> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) => return Ok(true),
        Err(Errno::NOENT) => return Ok(false),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(failed("remove", path)(error)),
    }
    let directory = openat(parent, name, OPEN_DIRECTORY, Mode::empty()).map_err(failed("open", path))?;
    let names: Vec<Vec<u8>> = rustix::fs::Dir::read_from(&directory)
        .map_err(failed("list", path))?
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_bytes().to_vec())
        .filter(|name| name != b"." && name != b"..")
        .collect();
    for child in names {
        remove_below(directory.as_fd(), &child, &join(path, &child))?;
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(failed("remove", path))?;
    Ok(true)
}

/// Sets the modification time of something that need not be openable, if there is one to be set.
fn set_link_time(pinned: impl AsFd, path: &[u8], time: Option<Timespec>) -> Result<(), DestinationError> {
    let Some(time) = time else { return Ok(()) };
    let times = Timestamps { last_access: time, last_modification: time };
    bake_sys::owner_record::set_times(pinned, &times).map_err(failed("set the time of", path))
}
