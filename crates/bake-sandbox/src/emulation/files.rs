//! Finding the file that a call means, and changing its owner and times.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use bake_sys::Errno;
use bake_sys::notification::{Answer, read_memory};
use bake_sys::owner_record::{OwnerRecord, set_times, status_of, take_privileges};
use rustix::fs::{CWD, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, open, openat};

use super::calls::{Form, Times, Width};
use super::{Emulation, Request};

const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_EMPTY_PATH: u32 = 0x1000;
/// The kernel's limit on a path (`PATH_MAX`), in bytes.
const PATH_BYTES_MAX: usize = 4096;
/// The smallest page of any machine: reads do not cross from a page that is there into one that is not.
const PAGE_BYTES: u64 = 4096;
const SET_ID_BITS: u32 = 0o6000;
const GROUP_EXECUTE: u32 = 0o010;

/// The last component of a path is followed if it is a link, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Followed,
    Itself,
}

/// Reads a text that ends with a zero byte from a process's memory.
pub(super) fn read_path(thread: u32, address: u64) -> Result<Vec<u8>, Errno> {
    let mut path = Vec::new();
    let mut next = address;
    while path.len() < PATH_BYTES_MAX {
        let room = usize::try_from(PAGE_BYTES - next % PAGE_BYTES).unwrap_or(1).min(PATH_BYTES_MAX - path.len());
        // Most paths are short.
        let mut chunk = vec![0; room.min(256)];
        let read = read_memory(thread, next, &mut chunk)?;
        let chunk = chunk.get(..read).unwrap_or_default();
        if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
            path.extend_from_slice(chunk.get(..end).unwrap_or_default());
            return Ok(path);
        }
        if chunk.is_empty() {
            return Err(Errno::FAULT);
        }
        path.extend_from_slice(chunk);
        next = next.checked_add(read as u64).ok_or(Errno::FAULT)?;
    }
    Err(Errno::NAMETOOLONG)
}

fn pin(path: &[u8], directory: impl AsFd, last: Last) -> Result<OwnedFd, Errno> {
    let follow = if last == Last::Itself { OFlags::NOFOLLOW } else { OFlags::empty() };
    openat(directory, OsStr::from_bytes(path), OFlags::PATH | OFlags::CLOEXEC | follow, Mode::empty())
}

impl Emulation {
    /// Pins the file that a call means.
    pub(super) fn pin_file(&self, request: &Request<'_>, form: Form) -> Result<OwnedFd, Errno> {
        let thread = request.thread;
        match form {
            Form::Descriptor => pin_descriptor(thread, request.signed(0)),
            Form::Path => self.pin_path(thread, AT_FDCWD, &read_path(thread, request.argument(0))?, Last::Followed),
            Form::Link => self.pin_path(thread, AT_FDCWD, &read_path(thread, request.argument(0))?, Last::Itself),
            Form::At(flags) => {
                let flags = request.short(flags);
                let directory = request.signed(0);
                // Without a path the directory itself is meant, where that is allowed.
                let path = match request.argument(1) {
                    0 if flags & AT_EMPTY_PATH != 0 => Vec::new(),
                    address => read_path(thread, address)?,
                };
                if path.is_empty() {
                    if flags & AT_EMPTY_PATH == 0 {
                        return Err(Errno::NOENT);
                    }
                    return pin_descriptor(thread, directory);
                }
                let last = if flags & AT_SYMLINK_NOFOLLOW != 0 { Last::Itself } else { Last::Followed };
                self.pin_path(thread, directory, &path, last)
            }
        }
    }

    /// Pins what a process calls `path`, relative to its descriptor `directory` or its working directory.
    pub(super) fn pin_path(&self, thread: u32, directory: i32, path: &[u8], last: Last) -> Result<OwnedFd, Errno> {
        if path.is_empty() {
            return Err(Errno::NOENT);
        }
        if let Some(path) = own_descriptor(thread, path) {
            return pin(path.as_bytes(), CWD, last);
        }
        // Before the root is changed, inside of which there may be no `/proc` to find it by.
        let base = if path.starts_with(b"/") { None } else { Some(pin_descriptor(thread, directory)?) };
        let find = || match &base {
            None => pin(path, CWD, last),
            Some(base) => pin(path, base, last),
        };
        if self.roots_differ { in_root_of(thread, find) } else { find() }
    }

    /// Does what `chown` and its relatives ask for.
    pub(super) fn change_owner(&mut self, request: &Request<'_>, form: Form, width: Width) -> Result<Answer, Errno> {
        let first = match form {
            Form::At(_) => 2,
            Form::Path | Form::Link | Form::Descriptor => 1,
        };
        let file = self.pin_file(request, form)?;
        let status = status_of(&file)?;
        let old = OwnerRecord::read(&file, &status)?.unwrap_or(OwnerRecord {
            uid: status.stx_uid,
            gid: status.stx_gid,
            device: None,
        });
        let (user, group) = (request.id(first, width), request.id(first + 1, width));
        let identity = self.identities.of(request.thread);
        let same = |wanted: Option<u32>, old: u32| wanted.is_none_or(|id| id == old);
        if !identity.is_privileged() {
            let own = identity.user.file_system == old.uid;
            let group_allowed = same(group, old.gid) || group.is_some_and(|group| identity.has_group(group));
            if !(own && same(user, old.uid) && group_allowed) {
                return Err(Errno::PERM);
            }
        }
        let new = OwnerRecord { uid: user.unwrap_or(old.uid), gid: group.unwrap_or(old.gid), device: old.device };
        let mode = u32::from(status.stx_mode);
        if FileType::from_raw_mode(mode).is_file() && (mode & SET_ID_BITS != 0 || mode & (GROUP_EXECUTE | 0o101) != 0) {
            // On a file system that is not the step's own (`/proc`) it is not to be had, and means nothing.
            match take_privileges(&file) {
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => {}
                other => other?,
            }
        }
        if new != old {
            // What can carry no record is no part of a layer: devices of `/dev`, pipes, files of `/proc`.
            new.write(&file, &status)?;
        }
        Ok(Answer::Return(0))
    }

    /// Sets the times of a link or FIFO whose access time is its owner; everything else the kernel can do itself.
    pub(super) fn set_times(&mut self, request: &Request<'_>, form: Form, kind: Times) -> Result<Answer, Errno> {
        // Without a path it is an open file, which is no link.
        if matches!(form, Form::At(_)) && request.argument(1) == 0 {
            return Ok(Answer::Continue);
        }
        let Ok(file) = self.pin_file(request, form) else { return Ok(Answer::Continue) };
        if OwnerRecord::of_link(&status_of(&file)?).is_none() {
            return Ok(Answer::Continue);
        }
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let address = request.argument(if matches!(form, Form::At(_)) { 2 } else { 1 });
        let modified = if address == 0 { now } else { read_modification_time(request.thread, address, kind)? };
        set_times(&file, &Timestamps { last_access: now, last_modification: modified })?;
        Ok(Answer::Return(0))
    }
}

/// The second of two times, whose numbers have 64 bits each.
fn read_modification_time(thread: u32, address: u64, kind: Times) -> Result<Timespec, Errno> {
    let (offset, numbers) = if kind == Times::Seconds { (8, 1) } else { (16, 2) };
    let mut bytes = [0; 16];
    let bytes = bytes.get_mut(..8 * numbers).unwrap_or_default();
    if read_memory(thread, address.checked_add(offset).ok_or(Errno::FAULT)?, bytes)? < bytes.len() {
        return Err(Errno::FAULT);
    }
    let mut numbers = bytes.as_chunks::<8>().0.iter().map(|number| i64::from_le_bytes(*number));
    let (seconds, fraction) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let factor = if kind == Times::Microseconds { 1000 } else { 1 };
    Ok(Timespec { tv_sec: seconds, tv_nsec: fraction.checked_mul(factor).ok_or(Errno::INVAL)? })
}

/// Pins what a process has open, or its working directory.
pub(super) fn pin_descriptor(thread: u32, descriptor: i32) -> Result<OwnedFd, Errno> {
    let path = match descriptor {
        AT_FDCWD => format!("/proc/{thread}/cwd"),
        0.. => format!("/proc/{thread}/fd/{descriptor}"),
        _ => return Err(Errno::BADF),
    };
    match open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => Err(Errno::BADF),
        other => other,
    }
}

/// The process's own name for a path that means something else in every process.
fn own_descriptor(thread: u32, path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    match path {
        "/dev/stdin" => return Some(format!("/proc/{thread}/fd/0")),
        "/dev/stdout" => return Some(format!("/proc/{thread}/fd/1")),
        "/dev/stderr" => return Some(format!("/proc/{thread}/fd/2")),
        _ => {}
    }
    for (prefix, own) in [("/proc/self/", ""), ("/proc/thread-self/", ""), ("/dev/fd/", "fd/")] {
        if let Some(rest) = path.strip_prefix(prefix) {
            return Some(format!("/proc/{thread}/{own}{rest}"));
        }
    }
    None
}

/// Does something in the root directory of another process. This process has a single thread and returns to its own.
fn in_root_of<T>(thread: u32, action: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = open(c"/", flags, Mode::empty())?;
    let root = open(format!("/proc/{thread}/root"), flags, Mode::empty())?;
    let directory = open(c".", flags, Mode::empty())?;
    rustix::process::fchdir(&root)?;
    let entered = rustix::process::chroot(c".");
    let result = entered.and_then(|()| action());
    rustix::process::fchdir(&own)?;
    rustix::process::chroot(c".")?;
    rustix::process::fchdir(&directory)?;
    result
}
