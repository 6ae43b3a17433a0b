//! System calls that wait for an answer (`seccomp_unotify(2)`), and looking into the process that makes them.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::{Result, check};

/// `SECCOMP_IOCTL_NOTIF_RECV`, `_SEND`, `_SET_FLAGS` (`linux/seccomp.h`), in the type that the C library wants.
const RECEIVE: libc::Ioctl = libc::_IOWR::<libc::seccomp_notif>(KIND, 0);
const SEND: libc::Ioctl = libc::_IOWR::<libc::seccomp_notif_resp>(KIND, 1);
const SET_FLAGS: libc::Ioctl = libc::_IOW::<u64>(KIND, 4);
/// `SECCOMP_IOC_MAGIC`.
const KIND: u32 = 0x21;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`.
const SYNCHRONOUS_WAKE_UP: u64 = 1;

/// A system call that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// What the answer must name.
    pub id: u64,
    /// The thread that makes the call, in the receiver's pid namespace.
    pub thread: u32,
    /// The ABI it is made in (`AUDIT_ARCH_*`).
    pub architecture: u32,
    /// Its number in that ABI.
    pub number: u32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// What becomes of a waiting system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It runs as if there were no filter.
    Continue,
    /// It does not run and returns this value.
    Return(i64),
    /// It does not run and fails.
    Fail(Errno),
}

/// Waits for the next system call (`SECCOMP_IOCTL_NOTIF_RECV`); `None` when the one there was is gone, because its
/// process was killed.
///
/// # Errors
/// `EINTR`.
pub fn receive(listener: impl AsFd) -> Result<Option<Notification>> {
    // SAFETY: an all-zero value is what the kernel asks for, and valid for this structure of integers.
    let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    let listener = listener.as_fd().as_raw_fd();
    // SAFETY: the kernel writes one structure of the size that is part of the request's number.
    let received = check(unsafe { libc::ioctl(listener, RECEIVE, &raw mut raw) }.into());
    match received {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    let number = raw.data.nr.cast_unsigned();
    Ok(Some(Notification {
        id: raw.id,
        thread: raw.pid,
        architecture: raw.data.arch,
        number,
        arguments: raw.data.args,
    }))
}

/// Answers a system call (`SECCOMP_IOCTL_NOTIF_SEND`).
///
/// # Errors
/// `ENOENT`: its process has been killed or interrupted since.
pub fn answer(listener: impl AsFd, id: u64, answer: Answer) -> Result<()> {
    let (value, error, flags) = match answer {
        Answer::Continue => (0, 0, 1),
        Answer::Return(value) => (value, 0, 0),
        Answer::Fail(errno) => (0, -errno.raw_os_error(), 0),
    };
    let mut raw = libc::seccomp_notif_resp { id, val: value, error, flags };
    // SAFETY: the kernel reads one structure of the size that is part of the request's number.
    check(unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), SEND, &raw mut raw) }.into()).map(drop)
}

/// Lets the kernel hand the processor over directly between the two sides, which makes an answer cheaper.
///
/// # Errors
/// `EINVAL`: before Linux 6.6.
pub fn wake_up_synchronously(listener: impl AsFd) -> Result<()> {
    // SAFETY: this request takes its argument by value.
    check(unsafe { libc::ioctl(listener.as_fd().as_raw_fd(), SET_FLAGS, SYNCHRONOUS_WAKE_UP) }.into()).map(drop)
}

/// Reads memory of another process into `buffer` (`process_vm_readv(2)`); returns how much could be read.
///
/// # Errors
/// `EFAULT`: nothing is mapped there; `ESRCH`: no such process; `EPERM`.
pub fn read_memory(thread: u32, address: u64, buffer: &mut [u8]) -> Result<usize> {
    let (thread, address) = remote(thread, address)?;
    let local = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let remote = libc::iovec { iov_base: address, iov_len: buffer.len() };
    // SAFETY: the kernel writes at most the buffer's length into it; the other address belongs to the other process
    // and is checked by the kernel.
    let read = check(unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) } as _)?;
    usize::try_from(read).map_err(|_| Errno::FAULT)
}

/// Writes `bytes` into the memory of another process (`process_vm_writev(2)`).
///
/// # Errors
/// As [`read_memory`]; `EFAULT` also when only a part could be written.
pub fn write_memory(thread: u32, address: u64, bytes: &[u8]) -> Result<()> {
    let (thread, address) = remote(thread, address)?;
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address, iov_len: bytes.len() };
    // SAFETY: the kernel only reads the local bytes; the other address belongs to the other process and is checked by
    // the kernel.
    let written = check(unsafe { libc::process_vm_writev(thread, &raw const local, 1, &raw const remote, 1, 0) } as _)?;
    if usize::try_from(written) == Ok(bytes.len()) { Ok(()) } else { Err(Errno::FAULT) }
}

fn remote(thread: u32, address: u64) -> Result<(libc::pid_t, *mut libc::c_void)> {
    let thread = libc::pid_t::try_from(thread).map_err(|_| Errno::SRCH)?;
    let address = usize::try_from(address).map_err(|_| Errno::FAULT)?;
    Ok((thread, std::ptr::without_provenance_mut(address)))
}

/// The hard limit on uninterrupted real-time processor time of a process, in microseconds (`prlimit(2)`,
/// `RLIMIT_RTTIME`).
///
/// # Errors
/// `ESRCH`: no such process; `EPERM`.
pub fn real_time_limit(thread: u32) -> Result<u64> {
    let thread = libc::pid_t::try_from(thread).map_err(|_| Errno::SRCH)?;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one structure; nothing is set.
    check(unsafe { libc::prlimit(thread, libc::RLIMIT_RTTIME, std::ptr::null(), &raw mut limit) }.into())?;
    Ok(limit.rlim_max)
}

/// Sets that limit, soft and hard.
///
/// # Errors
/// `ESRCH`: no such process; `EPERM`: not allowed, or the limit would rise.
pub fn set_real_time_limit(thread: u32, value: u64) -> Result<()> {
    let thread = libc::pid_t::try_from(thread).map_err(|_| Errno::SRCH)?;
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the kernel reads one structure.
    check(unsafe { libc::prlimit(thread, libc::RLIMIT_RTTIME, &raw const limit, std::ptr::null_mut()) }.into())
        .map(drop)
}
