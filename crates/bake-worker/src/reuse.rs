//! Files that a COPY made before and does not have to make again.
//!
//! When one file of a large build context changes, the whole COPY runs again. Its new layer shares the unchanged files
//! with the layer that it made last time, as hard links: creating files is what a copy of many small ones costs.
//! Layers are never written to, so sharing cannot be noticed, except that the file's number of links is higher.
//!
//! A file is shared if the list beside the old layer ([`bake_store::Snapshot::contents`]) has the hash that the file has
//! now, and owner, mode, size and time on the disk are those of a fresh copy. The bytes are compared with the list when
//! the layer's archive is streamed, so damage on the disk does not spread.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bake_snapshot::{Contents, Ownership};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, linkat, statat};
use rustix::io::Errno;

use crate::destination::{Attributes, DestinationError, Directory, failed};
use crate::source_tree::{join, split};

/// File systems have a limit for the names of one file (ext4: 65,000); one that is near it is copied.
const LINKS_MAX: u64 = 60_000;

/// What is known of the files that were copied into a layer, and where to take unchanged ones from.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    /// The content of files, by their path in the layer.
    contents: Contents,
    before: Option<Before>,
    /// Something else than a copy wrote to the layer, so nothing is known for certain.
    uncertain: bool,
}

/// The layer that the same step made before.
#[derive(Debug)]
struct Before {
    root: OwnedFd,
    contents: BTreeMap<Vec<u8>, [u8; 32]>,
    ownership: Ownership,
    /// Inodes that have a name in the new layer: another one would make the two names one file.
    used: HashSet<u64>,
    /// The directory of the old layer that the last file was in; `None` if there is no such directory.
    cursor: Option<(Vec<u8>, Option<OwnedFd>)>,
}

impl Copied {
    /// Nothing is known yet, and files may be shared with the layer at `directory`, whose list is `contents`.
    pub(crate) fn since(
        directory: &Path,
        contents: BTreeMap<Vec<u8>, [u8; 32]>,
        ownership: Ownership,
    ) -> Result<Self, std::io::Error> {
        let root = crate::context::open(directory)?;
        let before = Before { root, contents, ownership, used: HashSet::new(), cursor: None };
        Ok(Self { before: Some(before), ..Self::default() })
    }

    /// Notes the content of the file at `path`.
    pub(crate) fn note(&mut self, path: Vec<u8>, content: [u8; 32]) {
        self.contents.insert(path, content);
    }

    /// What is at `path` is about to be replaced.
    pub(crate) fn forget(&mut self, path: &[u8]) {
        self.contents.remove(path);
    }

    /// Something else than a copy writes to the layer: every file has to be looked at.
    pub(crate) fn spoil(&mut self) {
        self.uncertain = true;
    }

    /// The content of files, by their path in the layer, as far as it is known.
    pub(crate) fn contents(self) -> Contents {
        if self.uncertain { Contents::new() } else { self.contents }
    }

    /// Makes `name` in `parent` a further name of the file that the old layer has at this path, if that is what a copy
    /// would make.
    pub(crate) fn link_from_before(
        &mut self,
        parent: &Directory,
        name: &[u8],
        attributes: Attributes,
        source: &Stat,
        content: [u8; 32],
    ) -> Result<bool, DestinationError> {
        let Some(before) = self.before.as_mut().filter(|_| parent.is_fresh()) else { return Ok(false) };
        let path = join(parent.path(), name);
        if before.contents.get(&path) != Some(&content) {
            return Ok(false);
        }
        let Some(inode) = before.find(&path, attributes, source)? else { return Ok(false) };
        let Some((_, Some(directory))) = &before.cursor else { return Ok(false) };
        let link = || linkat(directory, name_of(&path), parent.fd(), name, AtFlags::empty());
        let linked = match link() {
            Err(Errno::EXIST) => {
                parent.make_room(name)?;
                link()
            }
            linked => linked,
        };
        match linked {
            Ok(()) => {
                before.used.insert(inode);
                self.contents.insert(path, content);
                Ok(true)
            }
            // Too many names, or a file system that wants no more: a copy works all the same.
            Err(Errno::MLINK | Errno::PERM | Errno::XDEV | Errno::NOENT | Errno::OPNOTSUPP) => Ok(false),
            Err(errno) => Err(failed("link", &path)(errno)),
        }
    }
}

impl Before {
    /// The inode of the file at `path` if it is what a copy with `attributes` would be.
    fn find(&mut self, path: &[u8], attributes: Attributes, source: &Stat) -> Result<Option<u64>, DestinationError> {
        let (parent, name) = split(path);
        if self.cursor.as_ref().is_none_or(|(open, _)| open != parent) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let shown = if parent.is_empty() { b"." } else { parent };
            let opened = bake_sys::path::open_beneath_no_links(
                self.root.as_fd(),
                OsStr::from_bytes(shown),
                flags,
                Mode::empty(),
            );
            self.cursor = Some((parent.to_vec(), opened.ok()));
        }
        let Some((_, Some(directory))) = &self.cursor else { return Ok(None) };
        let Ok(stat) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { return Ok(None) };
        let time = attributes.mtime.map(|time| (time.tv_sec, time.tv_nsec));
        let same = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_size == source.st_size
            && stat.st_mode & 0o7777 == attributes.mode & 0o7777
            && Some((stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(-1))) == time
            && stat.st_nlink < LINKS_MAX
            && !self.used.contains(&stat.st_ino)
            && match self.ownership {
                Ownership::Native => (stat.st_uid, stat.st_gid) == attributes.owner,
                Ownership::Recorded => bake_snapshot::read_owner(self.ownership, directory, name)? == attributes.owner,
            };
        Ok(same.then_some(stat.st_ino))
    }
}

fn name_of(path: &[u8]) -> &[u8] {
    split(path).1
}
