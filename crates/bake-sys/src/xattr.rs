//! Extended attributes (`xattr(7)`): by path without following links, by open file, and by `O_PATH` descriptor.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::Result;

/// The kernel's own limit on one value (`XATTR_SIZE_MAX`), in bytes.
pub const VALUE_BYTES_MAX: usize = 65536;
/// The kernel's own limit on the list of names (`XATTR_LIST_MAX`), in bytes.
pub const LIST_BYTES_MAX: usize = 65536;
/// Most values and lists fit here, so that one system call is enough.
const FIRST_BUFFER_BYTES: usize = 256;

/// Reads the attribute `name` of `path` itself (`lgetxattr(2)`); `None` when there is none of that name.
///
/// # Errors
/// `ENOTSUP`: the file system has no such attributes; `EPERM`/`EACCES`: not readable; `ENOENT`: no such file.
pub fn get(path: &Path, name: &[u8]) -> Result<Option<Vec<u8>>> {
    optional(grow(VALUE_BYTES_MAX, |buffer| rustix::fs::lgetxattr(path, name, spare_capacity(buffer))))
}

/// Sets the attribute `name` of `path` itself, creating or replacing it (`lsetxattr(2)`).
///
/// # Errors
/// `EPERM`: not allowed for this name or file kind (`user.*` only on regular files and directories); `ENOTSUP`: the
/// file system or namespace has no such attributes; `ENOSPC`: no room; `E2BIG`/`ERANGE`: value or name too long.
pub fn set(path: &Path, name: &[u8], value: &[u8]) -> Result<()> {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
}

/// Lists the attribute names of `path` itself in byte order (`llistxattr(2)`).
///
/// # Errors
/// As [`get`].
pub fn list(path: &Path) -> Result<Vec<Vec<u8>>> {
    grow(LIST_BYTES_MAX, |buffer| rustix::fs::llistxattr(path, spare_capacity(buffer))).map(|names| split_names(&names))
}

/// Removes the attribute `name` of `path` itself (`lremovexattr(2)`).
///
/// # Errors
/// `ENODATA`: there is none of that name; otherwise as [`set`].
pub fn remove(path: &Path, name: &[u8]) -> Result<()> {
    rustix::fs::lremovexattr(path, name)
}

/// Reads the attribute `name` of an open file (`fgetxattr(2)`); not for `O_PATH` descriptors.
///
/// # Errors
/// As [`get`]; `EBADF`: an `O_PATH` descriptor.
pub fn get_open(file: impl AsFd, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let file = file.as_fd();
    optional(grow(VALUE_BYTES_MAX, |buffer| rustix::fs::fgetxattr(file, name, spare_capacity(buffer))))
}

/// Sets the attribute `name` of an open file (`fsetxattr(2)`).
///
/// # Errors
/// As [`set`]; `EBADF`: an `O_PATH` descriptor.
pub fn set_open(file: impl AsFd, name: &[u8], value: &[u8]) -> Result<()> {
    rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
}

/// Lists the attribute names of an open file in byte order (`flistxattr(2)`).
///
/// # Errors
/// As [`get_open`].
pub fn list_open(file: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let file = file.as_fd();
    grow(LIST_BYTES_MAX, |buffer| rustix::fs::flistxattr(file, spare_capacity(buffer))).map(|names| split_names(&names))
}

/// Removes the attribute `name` of an open file (`fremovexattr(2)`).
///
/// # Errors
/// As [`remove`]; `EBADF`: an `O_PATH` descriptor.
pub fn remove_open(file: impl AsFd, name: &[u8]) -> Result<()> {
    rustix::fs::fremovexattr(file, name)
}

/// Reads the attribute `name` of whatever an `O_PATH` descriptor names, also a symbolic link or a device.
///
/// Goes through `/proc/self/fd`, because the calls by descriptor refuse `O_PATH`.
///
/// # Errors
/// As [`get`].
pub fn get_pinned(pinned: impl AsFd, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let path = proc_path(pinned)?;
    optional(grow(VALUE_BYTES_MAX, |buffer| rustix::fs::getxattr(path.as_c_str(), name, spare_capacity(buffer))))
}

/// Sets the attribute `name` of whatever an `O_PATH` descriptor names.
///
/// # Errors
/// As [`set`].
pub fn set_pinned(pinned: impl AsFd, name: &[u8], value: &[u8]) -> Result<()> {
    rustix::fs::setxattr(proc_path(pinned)?, name, value, XattrFlags::empty())
}

/// Lists the attribute names of whatever an `O_PATH` descriptor names, in byte order.
///
/// # Errors
/// As [`get`].
pub fn list_pinned(pinned: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let path = proc_path(pinned)?;
    grow(LIST_BYTES_MAX, |buffer| rustix::fs::listxattr(path.as_c_str(), spare_capacity(buffer)))
        .map(|names| split_names(&names))
}

/// Removes the attribute `name` of whatever an `O_PATH` descriptor names.
///
/// # Errors
/// As [`remove`].
pub fn remove_pinned(pinned: impl AsFd, name: &[u8]) -> Result<()> {
    rustix::fs::removexattr(proc_path(pinned)?, name)
}

fn proc_path(pinned: impl AsFd) -> Result<CString> {
    CString::new(format!("/proc/self/fd/{}", pinned.as_fd().as_raw_fd())).map_err(|_| Errno::INVAL)
}

/// Calls `read` with a small buffer, then with one of the kernel's maximum.
fn grow(bytes_max: usize, read: impl Fn(&mut Vec<u8>) -> Result<usize>) -> Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(FIRST_BUFFER_BYTES);
    match read(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer.reserve_exact(bytes_max);
            read(&mut buffer)?;
        }
        other => {
            other?;
        }
    }
    Ok(buffer)
}

fn optional(value: Result<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    match value {
        Err(Errno::NODATA) => Ok(None),
        other => other.map(Some),
    }
}

fn split_names(list: &[u8]) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> =
        list.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use rustix::fs::{Mode, OFlags};

    use super::*;

    #[test]
    fn attributes_round_trip_by_path_file_and_pinned_descriptor() {
        let directory = tempfile::tempdir_in(".").unwrap();
        let path = directory.path().join("file");
        let file = std::fs::File::create(&path).unwrap();
        if set(&path, b"user.one", b"1") == Err(Errno::OPNOTSUPP) {
            return;
        }
        let long = vec![7_u8; 2000];
        set_open(&file, b"user.two", &long).unwrap();
        let pinned = rustix::fs::open(&path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
        set_pinned(&pinned, b"user.a", b"").unwrap();
        let names = vec![b"user.a".to_vec(), b"user.one".to_vec(), b"user.two".to_vec()];
        assert_eq!(list(&path).unwrap(), names);
        assert_eq!(list_open(&file).unwrap(), names);
        assert_eq!(list_pinned(&pinned).unwrap(), names);
        assert_eq!(get(&path, b"user.two").unwrap().unwrap(), long);
        assert_eq!(get_open(&file, b"user.a").unwrap().unwrap(), b"");
        assert_eq!(get_pinned(&pinned, b"user.none").unwrap(), None);
        remove_pinned(&pinned, b"user.a").unwrap();
        remove_open(&file, b"user.two").unwrap();
        remove(&path, b"user.one").unwrap();
        assert!(list(&path).unwrap().is_empty());
        assert_eq!(remove(&path, b"user.one"), Err(Errno::NODATA));
    }

    #[test]
    fn a_pinned_link_is_not_followed() {
        let directory = tempfile::tempdir_in(".").unwrap();
        let target = directory.path().join("target");
        std::fs::write(&target, b"").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let pinned = rustix::fs::open(&link, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap();
        // `user.*` attributes are refused on links, whoever asks: had the link been followed this would succeed.
        assert!(set_pinned(&pinned, b"user.one", b"1").is_err());
        assert!(list(&target).unwrap().is_empty());
    }
}
