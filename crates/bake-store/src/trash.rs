//! Removal in two steps: rename into `trash/` at once, delete later.
//!
//! Deleting directories and creating new ones right afterwards makes ext4 slow for the next minute, so nothing is
//! deleted while steps run; and a rename is atomic, so nothing is ever half removed where it can be seen.
//!
//! A directory in the trash that is locked is being deleted by the holder of its lock; everybody else leaves it alone. So
//! processes do not get into each other's way, and a prune that moves its victims into a [`Bin`] of its own can tell how
//! much it freed.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::StoreError;
use crate::error::AtPath;
use crate::layout::{Layout, make_directory};
use crate::lease::{held_by_anyone, is_locked};
use crate::lock::{GcLock, remove_stale_key_locks, try_lock};
use crate::snapshots::PUBLICATION;
use crate::store::Store;

/// Directories deeper than this are moved up to the trash's top instead of being descended into: every level costs a
/// file descriptor and a stack frame, and a layer may nest as deep as its author likes.
const DEPTH_MAX: usize = 64;

/// An interrupted pull is worth continuing for a day.
const PARTIAL_KEEP: Duration = Duration::from_hours(24);

/// What [`Store::empty_trash`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrashReport {
    /// Files, directories and other entries deleted.
    pub entries: u64,
    /// Bytes of disk space they took.
    pub freed_bytes: u64,
    /// Entries that could not be deleted (immutable files, or files of another user); they stay in the trash.
    pub failed: u64,
}

impl Layout {
    /// Takes `path` out of sight; says whether it was there. What it held is deleted later.
    pub(crate) fn move_to_trash(&self, path: &Path) -> Result<bool, StoreError> {
        rename_away(path, &self.random("trash", "")?)
    }
}

fn rename_away(path: &Path, target: &Path) -> Result<bool, StoreError> {
    match fs::rename(path, target) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("move to the trash", path, error)),
    }
}

/// A directory in the trash for the removals of one process, which nobody else deletes while this value lives.
#[derive(Debug)]
pub(crate) struct Bin {
    path: PathBuf,
    directory: OwnedFd,
}

impl Bin {
    /// Makes a bin. The lock against taking into use is not needed for that: an empty directory is no loss.
    pub(crate) fn create(layout: &Layout) -> Result<Self, StoreError> {
        loop {
            let path = layout.random("trash", "")?;
            make_directory(&path)?;
            let directory = match open_directory(rustix::fs::CWD, &path) {
                // Somebody deleted it before it could be locked.
                Err(Errno::NOENT) => continue,
                opened => opened.at("open", &path)?,
            };
            let locked = !is_being_deleted(&directory);
            if locked && rustix::fs::fstat(&directory).at("inspect", &path)?.st_nlink > 0 {
                return Ok(Self { path, directory });
            }
        }
    }

    /// Takes `path` out of sight; says whether it was there.
    pub(crate) fn take(&self, layout: &Layout, path: &Path) -> Result<bool, StoreError> {
        let name = layout.random("trash", "")?;
        rename_away(path, &self.path.join(name.file_name().unwrap_or(name.as_os_str())))
    }

    /// Deletes what is in it.
    pub(crate) fn empty(&self, layout: &Layout) -> Result<TrashReport, StoreError> {
        delete_all(&self.directory, &self.path, layout)
    }

    /// Deletes what is in it, and the bin itself.
    pub(crate) fn close(self, layout: &Layout) -> Result<TrashReport, StoreError> {
        let report = self.empty(layout)?;
        // What could not be deleted stays in the trash.
        if let Err(error) = fs::remove_dir(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "could not remove a bin");
        }
        Ok(report)
    }
}

impl Store {
    /// Moves what killed processes left into the trash: layer directories being made, temporary files, leases, locks.
    ///
    /// Pulls that can be continued stay for a day.
    pub fn collect_leftovers(&self) -> Result<(), StoreError> {
        let layout = self.layout();
        let alone = GcLock::exclusive(layout)?;
        let active = layout.directory("active");
        for entry in fs::read_dir(&active).at("list", &active)? {
            let path = entry.at("list", &active)?.path();
            if !is_locked(&path.join("lock"))? {
                layout.move_to_trash(&path)?;
            }
        }
        self.collect_unfinished_publications(&alone)?;
        crate::kept::collect_unfinished(layout, &alone)?;
        collect_ingests(layout, &alone, PARTIAL_KEEP)?;
        remove_stale_key_locks(layout)?;
        held_by_anyone(layout, &alone)?;
        Ok(())
    }

    /// Deletes what is in the trash, after collecting the leftovers of killed processes.
    ///
    /// Call it when the build is over. Several processes may do so at once.
    pub fn empty_trash(&self) -> Result<TrashReport, StoreError> {
        self.collect_leftovers()?;
        self.delete_trash()
    }

    pub(crate) fn delete_trash(&self) -> Result<TrashReport, StoreError> {
        let path = self.layout().directory("trash");
        let trash = open_directory(rustix::fs::CWD, &path).at("open", &path)?;
        delete_all(&trash, &path, self.layout())
    }
}

/// Deletes what is in the directory at `path`, which is `trash`.
fn delete_all(trash: &OwnedFd, path: &Path, layout: &Layout) -> Result<TrashReport, StoreError> {
    let mut report = TrashReport::default();
    loop {
        let names = list(trash).at("list", path)?;
        report.failed = 0;
        let before = report.entries;
        let mut deletion = Deletion { trash: trash.as_fd(), layout, report: &mut report, hoisted: 0 };
        for name in &names {
            deletion.delete(trash.as_fd(), name, 0);
        }
        // Directories that were moved up are deleted by the next round; without progress there is no next round.
        if deletion.hoisted == 0 || report.entries == before {
            return Ok(report);
        }
    }
}

/// Removes temporary files whose writer is gone and partial pulls that nobody has touched for `partial_keep`.
pub(crate) fn collect_ingests(layout: &Layout, _alone: &GcLock, partial_keep: Duration) -> Result<(), StoreError> {
    let ingest = layout.directory("ingest");
    for entry in fs::read_dir(&ingest).at("list", &ingest)? {
        let entry = entry.at("list", &ingest)?;
        let path = entry.path();
        // These say more than that their writer is gone; see there.
        if entry.file_name().as_encoded_bytes().starts_with(PUBLICATION.as_bytes()) {
            continue;
        }
        let Ok(file) = fs::File::open(&path) else { continue };
        let partial = entry.file_name().as_encoded_bytes().starts_with(b"partial-");
        let modified = file.metadata().and_then(|metadata| metadata.modified()).at("inspect", &path)?;
        // A time in the future counts as now.
        let age = SystemTime::now().duration_since(modified).unwrap_or_default();
        if (!partial || age >= partial_keep) && try_lock(&file, &path, true)? {
            layout.move_to_trash(&path)?;
        }
    }
    Ok(())
}

struct Deletion<'a> {
    trash: BorrowedFd<'a>,
    layout: &'a Layout,
    report: &'a mut TrashReport,
    hoisted: u64,
}

impl Deletion<'_> {
    /// Deletes one entry by directory descriptors only: no link in a layer can lead it elsewhere.
    fn delete(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: usize) {
        let status = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => status,
            // Another process was faster.
            Err(Errno::NOENT) => return,
            Err(_) => return self.report.failed += 1,
        };
        let directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        // Held until the directory itself is gone: its lock tells others to leave it alone.
        let mut emptied = None;
        if directory {
            emptied = self.delete_content(parent, name, depth);
            if emptied.is_none() {
                return;
            }
        }
        let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(parent, name, flags) {
            Ok(()) => {
                self.report.entries += 1;
                if directory || status.st_nlink <= 1 {
                    self.report.freed_bytes += u64::try_from(status.st_blocks).unwrap_or(0) * 512;
                }
            }
            Err(Errno::NOENT) => {}
            Err(_) => self.report.failed += 1,
        }
        drop(emptied);
    }

    /// Empties a directory; `None` if it was moved up instead, cannot be read, or is being deleted by somebody else.
    fn delete_content(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> Option<OwnedFd> {
        // rmdir first: most directories to go are empty by then, and it needs no descriptor.
        if depth > DEPTH_MAX {
            let target = self.layout.random("trash", "").ok().and_then(|path| path.file_name().map(ToOwned::to_owned));
            match target.map(|target| rustix::fs::renameat(parent, name, self.trash, target)) {
                Some(Ok(())) => self.hoisted += 1,
                _ => self.report.failed += 1,
            }
            return None;
        }
        let opened = open_directory(parent, name).or_else(|_| {
            // The image's mode may deny its own owner everything (an unprivileged user's case).
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open_directory(parent, name)
        });
        let Ok((directory, names)) = opened.and_then(|directory| list(&directory).map(|names| (directory, names)))
        else {
            self.report.failed += 1;
            return None;
        };
        if depth == 0 && is_being_deleted(&directory) {
            return None;
        }
        if !names.is_empty() {
            // As above; a failure shows when the entries cannot be removed.
            let _ = rustix::fs::fchmod(&directory, Mode::RWXU);
        }
        for name in &names {
            self.delete(directory.as_fd(), name, depth + 1);
        }
        Some(directory)
    }
}

/// Locks a directory of the trash for its deletion; true if somebody else has done so.
///
/// Where the file system has no locks, several processes may delete the same things, which only wastes time.
fn is_being_deleted(directory: &OwnedFd) -> bool {
    let locked = rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive);
    matches!(locked, Err(Errno::WOULDBLOCK))
}

fn open_directory<P: rustix::path::Arg>(parent: impl AsFd, name: P) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// The names in a directory, read to the end before anything in it is removed.
fn list(directory: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::TestStore;

    #[test]
    fn trees_of_any_depth_and_mode_go_and_links_are_not_followed() {
        let test = TestStore::new();
        let outside = test.directory.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("keep"), "x").unwrap();
        let tree = test.store.layout().directory("trash").join("tree");
        fs::create_dir(&tree).unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("link")).unwrap();
        fs::write(tree.join("file"), [0; 5000]).unwrap();
        // Deeper than a path name may be long, made by descriptors.
        let mut directory = open_directory(rustix::fs::CWD, &tree).unwrap();
        for _ in 0..2000 {
            rustix::fs::mkdirat(&directory, "deep", Mode::RWXU).unwrap();
            directory = open_directory(&directory, "deep").unwrap();
        }
        rustix::fs::fchmod(&directory, Mode::empty()).unwrap();
        let report = test.store.empty_trash().unwrap();
        assert_eq!((report.entries, report.failed), (2003, 0));
        assert!(report.freed_bytes >= 8192);
        assert!(outside.join("keep").exists());
        assert_eq!(fs::read_dir(test.store.layout().directory("trash")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_process_left_is_collected_and_what_a_live_one_makes_is_not() {
        let test = TestStore::new();
        let layout = test.store.layout();
        let dead = layout.directory("active").join("dead");
        fs::create_dir_all(dead.join("fs/x")).unwrap();
        fs::write(dead.join("lock"), "").unwrap();
        fs::create_dir_all(layout.directory("active").join("without-lock/fs")).unwrap();
        fs::write(layout.directory("ingest").join("new-dead"), "half").unwrap();
        fs::write(layout.directory("ingest").join("partial-sha256-00"), "half").unwrap();
        let live = test.store.begin_snapshot().unwrap();
        let mut ingest = test.store.ingest().unwrap();
        ingest.append(b"half").unwrap();
        test.store.empty_trash().unwrap();
        assert!(live.fs().exists());
        assert_eq!(fs::read_dir(layout.directory("active")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(layout.directory("ingest")).unwrap().count(), 2);
        collect_ingests(layout, &GcLock::exclusive(layout).unwrap(), Duration::ZERO).unwrap();
        assert_eq!(fs::read_dir(layout.directory("ingest")).unwrap().count(), 1);
        ingest.finish(None).unwrap();
    }
}
