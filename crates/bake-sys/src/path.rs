//! Opening names inside a root directory whose content is not trusted.
//!
//! Every function resolves with `openat2(2)`, so that neither `..` nor a symbolic link, absolute or not, leads out of
//! the root, even while somebody else renames directories in it. There is no "check, then use".

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::Result;

/// How often a resolution is repeated when the kernel could not rule out a race with a rename (`EAGAIN`).
///
/// A tree that is renamed faster than this is being attacked, or will be quiet on the next build.
const RACE_RETRIES_MAX: u32 = 128;

/// Opens `path` as a process whose root directory is `root` would see it (`openat2(2)` with `RESOLVE_IN_ROOT`).
///
/// Absolute paths and absolute symbolic links start at `root`; `..` stops there; magic links (`/proc/PID/fd/N`) are
/// refused. `O_CLOEXEC` is always set. `mode` is used only when `flags` create a file.
///
/// # Errors
/// `ENOENT`, `ENOTDIR`, `EACCES` as `open(2)`; `ELOOP`: a magic link, too many links, or `O_NOFOLLOW` met a link;
/// `EAGAIN`: the tree was renamed during every attempt; `ENOSYS`: Linux older than 5.6.
pub fn open_in_root(root: impl AsFd, path: impl AsRef<OsStr>, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
    resolve(root.as_fd(), path.as_ref(), flags, mode, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens `path` below `directory`, refusing every symbolic link on the way, every mount crossing and every `..`
/// that would leave it (`RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`).
///
/// # Errors
/// As [`open_in_root`], and `EXDEV` when the path would leave `directory`, `ELOOP` when a component is a link.
pub fn open_beneath_no_links(
    directory: impl AsFd,
    path: impl AsRef<OsStr>,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd> {
    let resolve_flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    resolve(directory.as_fd(), path.as_ref(), flags, mode, resolve_flags)
}

/// Opens the directory that holds the last component of `path` (as `O_PATH`), and returns that component.
///
/// The last component itself is not looked at: it may be missing or be a symbolic link. Use the pair with the `*at`
/// calls and `O_NOFOLLOW`, `O_EXCL` or `AT_SYMLINK_NOFOLLOW`. Trailing slashes and `/.` are ignored.
///
/// # Errors
/// `EINVAL`: the path has no last component (`/`, `.`, empty) or it is `..`; otherwise as [`open_in_root`].
pub fn open_parent_in_root(root: impl AsFd, path: &[u8]) -> Result<(OwnedFd, Vec<u8>)> {
    let (parent, leaf) = split_leaf(path).ok_or(Errno::INVAL)?;
    let parent = if parent.is_empty() { b"/" } else { parent };
    let directory = open_in_root(root, OsStr::from_bytes(parent), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    Ok((directory, leaf.to_vec()))
}

/// Splits `path` into everything before its last component, and that component.
///
/// `None` when there is no last component or it is `..` (which names a directory by where it stands, not by name).
pub fn split_leaf(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = path;
    loop {
        let end = rest.iter().rposition(|byte| *byte != b'/')? + 1;
        let trimmed = rest.get(..end)?;
        let start = trimmed.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (parent, leaf) = trimmed.split_at_checked(start)?;
        match leaf {
            b"." => rest = parent,
            b".." => return None,
            _ => return Some((parent, leaf)),
        }
    }
}

fn resolve(
    directory: std::os::fd::BorrowedFd<'_>,
    path: &OsStr,
    flags: OFlags,
    mode: Mode,
    resolve_flags: ResolveFlags,
) -> Result<OwnedFd> {
    // openat2 refuses a mode that nothing would use, and an empty path.
    let creates = flags.contains(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
    let mode = if creates { mode } else { Mode::empty() };
    let mut attempts = 0;
    loop {
        match rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, mode, resolve_flags) {
            Err(Errno::AGAIN) if attempts < RACE_RETRIES_MAX => attempts += 1,
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::os::unix::fs::symlink;

    use super::*;

    fn open_dir(path: &std::path::Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn leaf_is_split_without_trailing_slashes_and_dots() {
        assert_eq!(split_leaf(b"/a/b"), Some((&b"/a/"[..], &b"b"[..])));
        assert_eq!(split_leaf(b"b"), Some((&b""[..], &b"b"[..])));
        assert_eq!(split_leaf(b"/a/b//"), Some((&b"/a/"[..], &b"b"[..])));
        assert_eq!(split_leaf(b"/a/b/./"), Some((&b"/a/"[..], &b"b"[..])));
        for none in [&b"/"[..], b"", b".", b"./", b"..", b"/a/..", b"//", b"/."] {
            assert_eq!(split_leaf(none), None, "{none:?}");
        }
    }

    #[test]
    fn links_and_parents_stay_in_the_root() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("canary"), b"outside").unwrap();
        let root_dir = outside.path().join("root");
        std::fs::create_dir_all(root_dir.join("etc")).unwrap();
        std::fs::write(root_dir.join("canary"), b"inside").unwrap();
        symlink("../../canary", root_dir.join("etc/relative")).unwrap();
        symlink("/canary", root_dir.join("etc/absolute")).unwrap();
        symlink("/proc/self/fd/0", root_dir.join("etc/magic")).unwrap();
        let root = open_dir(&root_dir);
        for path in ["etc/relative", "/etc/absolute", "../canary", "/../../canary", "etc/../../../canary"] {
            let file = open_in_root(&root, path, OFlags::RDONLY, Mode::empty()).unwrap();
            let mut buffer = [0_u8; 16];
            let read = rustix::io::read(&file, &mut buffer).unwrap();
            assert_eq!(buffer.get(..read).unwrap(), b"inside", "{path}");
        }
        assert!(open_in_root(&root, "etc/magic", OFlags::RDONLY, Mode::empty()).is_err());
        assert_eq!(
            open_beneath_no_links(&root, "etc/absolute", OFlags::RDONLY, Mode::empty()).unwrap_err(),
            Errno::LOOP
        );
        assert_eq!(open_beneath_no_links(&root, "../canary", OFlags::RDONLY, Mode::empty()).unwrap_err(), Errno::XDEV);
    }

    #[test]
    fn parent_is_resolved_and_leaf_is_not() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("real")).unwrap();
        symlink("/real", directory.path().join("link")).unwrap();
        let root = open_dir(directory.path());
        let (parent, leaf) = open_parent_in_root(&root, b"/link/missing").unwrap();
        assert_eq!(leaf, b"missing");
        let real = rustix::fs::statat(&root, "real", rustix::fs::AtFlags::empty()).unwrap();
        assert_eq!(rustix::fs::fstat(&parent).unwrap().st_ino, real.st_ino);
        let (_, leaf) = open_parent_in_root(&root, b"link").unwrap();
        assert_eq!(leaf, b"link");
        assert_eq!(open_parent_in_root(&root, b"/").unwrap_err(), Errno::INVAL);
    }
}
