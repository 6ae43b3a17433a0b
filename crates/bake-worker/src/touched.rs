//! The times of what a step made itself: with `SOURCE_DATE_EPOCH` they are that time, and not the present.
//!
//! Files that are copied or unpacked have the times of their sources. What is left has the time at which it was made:
//! directories on the way to a destination, those that something was put into, files of heredocs.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use bake_snapshot::list_names;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::time::{ClockId, clock_gettime};

/// The time that the file system gives to what is made now. It runs behind the clock by a tick or so.
pub(crate) fn now() -> Timespec {
    clock_gettime(ClockId::RealtimeCoarse)
}

/// Gives everything in a layer's directory that was made or changed since `began` the time `epoch`, in seconds since 1970.
/// No mount may use the directory any more.
pub(crate) fn set_times(layer: &Path, began: Timespec, epoch: i64) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(layer, flags, Mode::empty())?;
    // The access time of links is where their owner is recorded for users with a single ID.
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: omit, last_modification: Timespec { tv_sec: epoch, tv_nsec: 0 } };
    if is_since(&rustix::fs::fstat(&root)?, began) {
        rustix::fs::futimens(&root, &times)?;
    }
    // Directories that are still to be gone through; a stack, as the depth is up to the image.
    let mut directories: Vec<OwnedFd> = vec![root];
    while let Some(directory) = directories.pop() {
        for name in list_names(directory.as_fd())? {
            let stat = rustix::fs::statat(&directory, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            // A deletion has no time.
            if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
                continue;
            }
            if is_since(&stat, began) {
                rustix::fs::utimensat(&directory, &*name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            if kind == FileType::Directory {
                directories.push(rustix::fs::openat(&directory, &*name, flags, Mode::empty())?);
            }
        }
    }
    Ok(())
}

fn is_since(stat: &rustix::fs::Stat, began: Timespec) -> bool {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    (stat.st_mtime, nanoseconds) >= (began.tv_sec, began.tv_nsec)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn only_what_is_new_gets_the_time() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        std::fs::create_dir_all(at("old/new")).unwrap();
        for (name, age) in [("old/file", 10), ("old/new/file", 0), ("old", 10)] {
            if !at(name).exists() {
                std::fs::write(at(name), "").unwrap();
            }
            let time = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
            std::fs::File::open(at(name)).unwrap().set_modified(time).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", at("old/new/link")).unwrap();
        let mut began = now();
        began.tv_sec -= 5;
        set_times(scratch.path(), began, 1000).unwrap();
        let time = |name: &str| std::fs::symlink_metadata(at(name)).unwrap().mtime();
        assert_eq!((time("old/new"), time("old/new/file"), time("old/new/link")), (1000, 1000, 1000));
        assert_eq!(std::fs::metadata(scratch.path()).unwrap().mtime(), 1000);
        assert!(time("old/file") > 1000 && time("old") > 1000);
    }
}
