//! Where mounts go in the rootfs: finding the place, creating what is missing, and removing that again.
//!
//! The rootfs is not trusted: any component of a target may be a symbolic link to anywhere, and in a cache mount
//! shared with another step may change at any moment. So nothing here is a path once it was looked at: each
//! component is opened by name in the directory opened before it, without following links; links are read from
//! the opened link itself and followed inside the root.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use bake_sys::Errno;
use bake_sys::path::open_in_root;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, fstat, fstatfs, mkdirat, openat, readlinkat, statat,
    unlinkat, utimensat,
};
use rustix::mount::UnmountFlags;

use crate::message::{SetupFailure, Stage};

/// The file system type of procfs (`statfs(2)`).
pub(crate) const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// The file system type of sysfs.
pub(crate) const SYSFS_MAGIC: i64 = 0x6265_6572;
/// The kernel's own limit on links in one path.
const LINKS_MAX: u32 = 40;
/// The kernel's own limit on the length of a path, in bytes.
const TARGET_BYTES_MAX: usize = 4096;
/// More mounts than this on one stub are not expected; the rest keeps it from being removed.
const STACKED_MOUNTS_MAX: u32 = 16;

/// What a mount target has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetKind {
    Directory,
    File,
}

/// The files and directories created to be mounted on, in order of creation.
#[derive(Debug, Default)]
pub(crate) struct Stubs {
    created: Vec<Stub>,
}

#[derive(Debug)]
struct Stub {
    parent: OwnedFd,
    name: Vec<u8>,
    device: u64,
    inode: u64,
    kind: TargetKind,
    /// The parent as it was before.
    before: Stat,
    /// The parent as the creation left it.
    after: Stat,
}

impl Stubs {
    /// Creates one stub and opens it (`O_PATH`).
    fn create(&mut self, parent: BorrowedFd<'_>, name: &[u8], kind: TargetKind) -> Result<OwnedFd, Errno> {
        let before = fstat(parent)?;
        let leaf = OsStr::from_bytes(name);
        match kind {
            TargetKind::Directory => mkdirat(parent, leaf, Mode::from_raw_mode(0o755))?,
            TargetKind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                drop(openat(parent, leaf, flags, Mode::from_raw_mode(0o644))?);
            }
        }
        let opened = open_component(parent, name)?;
        let status = fstat(&opened)?;
        self.created.push(Stub {
            parent: parent.try_clone_to_owned().map_err(|_| Errno::MFILE)?,
            name: name.to_vec(),
            device: status.st_dev,
            inode: status.st_ino,
            kind,
            before,
            after: fstat(parent)?,
        });
        Ok(opened)
    }

    /// Takes away what is mounted on the stubs, removes those that are still what was created, and gives their
    /// directories the times they had, unless the step changed them.
    ///
    /// Nothing can be done about a failure here, and none loses anything but an empty file: so none is reported.
    pub(crate) fn remove_all(self) {
        for stub in self.created.into_iter().rev() {
            // The directory may have been moved by the step; its descriptor still names it.
            if rustix::process::fchdir(&stub.parent).is_err() {
                continue;
            }
            let leaf = OsStr::from_bytes(&stub.name);
            for _ in 0..STACKED_MOUNTS_MAX {
                if rustix::mount::unmount(leaf, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).is_err() {
                    break;
                }
            }
            let Ok(status) = statat(&stub.parent, leaf, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let same = (status.st_dev, status.st_ino) == (stub.device, stub.inode);
            let removable = match stub.kind {
                TargetKind::Directory => FileType::from_raw_mode(status.st_mode) == FileType::Directory,
                TargetKind::File => {
                    FileType::from_raw_mode(status.st_mode) == FileType::RegularFile && status.st_size == 0
                }
            };
            let flags = if stub.kind == TargetKind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            let untouched = fstat(&stub.parent).is_ok_and(|now| modified(&now) == modified(&stub.after));
            // A directory in which the step left something is not empty and stays.
            if same && removable && unlinkat(&stub.parent, leaf, flags).is_ok() && untouched {
                let times =
                    Timestamps { last_access: accessed(&stub.before), last_modification: modified(&stub.before) };
                let _ = utimensat(&stub.parent, c"", &times, AtFlags::EMPTY_PATH);
            }
        }
        let _ = rustix::process::chdir(c"/");
    }
}

/// Opens the directory `name` directly in the root, to mount a kernel file system on, and creates it when missing.
///
/// # Errors
/// When it is a symbolic link or anything but a directory: mounting through it would put the kernel's files where the
/// image wants them.
pub(crate) fn root_directory(root: BorrowedFd<'_>, name: &str, stubs: &mut Stubs) -> Result<OwnedFd, SetupFailure> {
    let stage = || format!("opening `/{name}` of the image");
    let opened = match open_component(root, name.as_bytes()) {
        Err(Errno::NOENT) => stubs
            .create(root, name.as_bytes(), TargetKind::Directory)
            .stage(|| format!("creating `/{name}` in the root file system"))?,
        other => other.stage(stage)?,
    };
    let status = fstat(&opened).stage(stage)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
        let hint = format!("`/{name}` of the image is not a directory; a symbolic link there is never followed");
        return Err(SetupFailure::new(stage(), Errno::NOTDIR).with_hint(hint));
    }
    Ok(opened)
}

/// Opens the place `target` names in the root, and creates what is missing of it.
///
/// # Errors
/// When it cannot be resolved or created, is of the wrong kind, is the root itself, or lies in `/proc` or `/sys`.
pub(crate) fn mount_target(
    root: BorrowedFd<'_>,
    target: &[u8],
    kind: TargetKind,
    stubs: &mut Stubs,
) -> Result<OwnedFd, SetupFailure> {
    let shown = String::from_utf8_lossy(target).into_owned();
    let stage = || format!("preparing the mount target `{shown}`");
    if target.len() > TARGET_BYTES_MAX {
        return Err(SetupFailure::new(stage(), Errno::NAMETOOLONG));
    }
    let opened = match open_in_root(root, OsStr::from_bytes(target), OFlags::PATH, Mode::empty()) {
        Err(Errno::NOENT) => create_target(root, target, kind, stubs).stage(stage)?,
        other => other.stage(stage)?,
    };
    let status = fstat(&opened).stage(stage)?;
    let root_status = fstat(root).stage(stage)?;
    if (status.st_dev, status.st_ino) == (root_status.st_dev, root_status.st_ino) {
        return Err(SetupFailure::new(stage(), Errno::BUSY).with_hint("nothing can be mounted on the root directory"));
    }
    refuse_kernel_file_system(opened.as_fd())
        .stage(stage)
        .map_err(|failure| failure.with_hint("nothing can be mounted in `/proc` or `/sys`"))?;
    let is_directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
    match (kind, is_directory) {
        (TargetKind::Directory, false) => {
            Err(SetupFailure::new(stage(), Errno::NOTDIR).with_hint("a directory cannot be mounted on what is not one"))
        }
        (TargetKind::File, true) => {
            Err(SetupFailure::new(stage(), Errno::ISDIR).with_hint("a file cannot be mounted on a directory"))
        }
        _ => Ok(opened),
    }
}

/// Walks to `target` component by component, creating missing directories and, at the end, a stub of `kind`.
///
/// Links are followed as the kernel would, but also when what they point to does not exist yet: images like to have
/// `/etc/resolv.conf` point into a `/run` that is empty.
fn create_target(root: BorrowedFd<'_>, target: &[u8], kind: TargetKind, stubs: &mut Stubs) -> Result<OwnedFd, Errno> {
    let mut waiting: VecDeque<Vec<u8>> = components(target).collect();
    // The directories entered so far, below the root: `..` goes back one.
    let mut entered: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(component) = waiting.pop_front() {
        if component == b".." {
            entered.pop();
            continue;
        }
        let current = entered.last().map_or(root, AsFd::as_fd);
        refuse_kernel_file_system(current)?;
        let last = waiting.is_empty();
        let opened = match open_component(current, &component) {
            Err(Errno::NOENT) => {
                let kind = if last { kind } else { TargetKind::Directory };
                match stubs.create(current, &component, kind) {
                    // Somebody else, in a shared cache mount, was faster: then that is looked at like any other.
                    Err(Errno::EXIST) => open_component(current, &component)?,
                    other => other?,
                }
            }
            other => other?,
        };
        let status = fstat(&opened)?;
        if FileType::from_raw_mode(status.st_mode) == FileType::Symlink {
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::LOOP);
            }
            let destination = readlinkat(&opened, c"", Vec::new())?.into_bytes();
            if destination.first() == Some(&b'/') {
                entered.clear();
            }
            let ahead: Vec<Vec<u8>> = components(&destination).collect();
            for component in ahead.into_iter().rev() {
                waiting.push_front(component);
            }
            continue;
        }
        if !last && FileType::from_raw_mode(status.st_mode) != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        entered.push(opened);
    }
    match entered.pop() {
        Some(opened) => Ok(opened),
        None => root.try_clone_to_owned().map_err(|_| Errno::MFILE),
    }
}

/// The components of a path, without empty ones and `.`.
fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec)
}

/// Opens one name, itself and not what a link points to, crossing a mount on it.
fn open_component(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let name = std::ffi::OsString::from_vec(name.to_vec());
    openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// procfs and sysfs hold magic links and writable settings: nothing is created or mounted in them for a step.
fn refuse_kernel_file_system(opened: BorrowedFd<'_>) -> Result<(), Errno> {
    let magic = file_system_type(opened)?;
    if magic == PROC_SUPER_MAGIC || magic == SYSFS_MAGIC { Err(Errno::PERM) } else { Ok(()) }
}

/// The `f_type` of `fstatfs(2)`.
pub(crate) fn file_system_type(opened: BorrowedFd<'_>) -> Result<i64, Errno> {
    Ok(fstatfs(opened)?.f_type)
}

fn modified(status: &Stat) -> Timespec {
    Timespec { tv_sec: status.st_mtime, tv_nsec: nanoseconds(status.st_mtime_nsec) }
}

fn accessed(status: &Stat) -> Timespec {
    Timespec { tv_sec: status.st_atime, tv_nsec: nanoseconds(status.st_atime_nsec) }
}

fn nanoseconds(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// How often the attacker is given the chance to swap at the right moment.
    const ROUNDS: usize = 10_000;

    fn open_directory(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn swapping_a_directory_for_a_link_creates_nothing_outside() {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        let cache = directory.path().join("root/cache");
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::create_dir_all(cache.join("real")).unwrap();
        symlink(&outside, cache.join("link")).unwrap();
        let outside_device = std::fs::metadata(&outside).unwrap();
        let root = open_directory(&directory.path().join("root"));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                let cache = open_directory(&cache);
                while !done.load(Ordering::Relaxed) {
                    rustix::fs::renameat_with(&cache, "real", &cache, "link", flags).unwrap();
                }
            });
            // Ends the attacker also when an assertion fails.
            let _end = EndAttack(&done);
            for round in 0..ROUNDS {
                let mut stubs = Stubs::default();
                let target = format!("/cache/real/stub-{}", round % 7);
                // Either a place inside, or an error; the link's path may be created inside the root.
                if let Ok(opened) = mount_target(root.as_fd(), target.as_bytes(), TargetKind::File, &mut stubs) {
                    assert_ne!(fstat(&opened).unwrap().st_ino, std::os::unix::fs::MetadataExt::ino(&outside_device));
                }
                // Without unmounting and changing the directory of the whole test program.
                for stub in stubs.created.into_iter().rev() {
                    let flags = if stub.kind == TargetKind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
                    let _ = unlinkat(&stub.parent, OsStr::from_bytes(&stub.name), flags);
                }
                assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
            }
        });
    }

    struct EndAttack<'a>(&'a AtomicBool);

    impl Drop for EndAttack<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn components_skip_what_means_nothing() {
        let names: Vec<_> = components(b"//a/./b/../c/").collect();
        assert_eq!(names, [&b"a"[..], b"b", b"..", b"c"]);
    }
}
