//! File descriptors: taking over inherited ones, closing ranges, standard streams, sealed memory files.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::{Errno, FdFlags};

use crate::{Result, check, last_error};

/// The first descriptor after standard input, output and error.
const FIRST_OTHER: RawFd = 3;

/// Takes ownership of descriptor `number`, which this process inherited from the one that executed it.
///
/// Inherited descriptors are told from those this process opened (which Rust owns) by their missing close-on-exec
/// flag; taking one sets the flag, so that it can be taken once only.
///
/// # Errors
/// `EBADF`: not open, a standard stream, or not inherited (or taken already).
pub fn take_inherited(number: RawFd) -> Result<OwnedFd> {
    if number < FIRST_OTHER {
        return Err(Errno::BADF);
    }
    // SAFETY: F_GETFD only reads a flag and fails for numbers that are not open.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags == -1 {
        return Err(last_error());
    }
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the number is open. Everything Rust opens is close-on-exec, and this one is not, so nothing in this
    // process owns it; the flag set next keeps it from being taken twice.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
    Ok(descriptor)
}

/// Marks every descriptor but standard input, output and error close-on-exec (`close_range(2)`).
///
/// # Errors
/// `ENOSYS`/`EINVAL`: Linux older than 5.11.
pub fn close_others_on_exec() -> Result<()> {
    let first = FIRST_OTHER.unsigned_abs();
    // SAFETY: CLOEXEC closes nothing now, so no owner in this process is affected.
    let returned = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check(returned).map(drop)
}

/// Makes the three descriptors this process's standard input, output and error (`dup2(2)`); they survive `execve`.
///
/// # Errors
/// `EBADF`/`EMFILE`: not open descriptors.
pub fn set_standard_streams(input: impl AsFd, output: impl AsFd, error: impl AsFd) -> Result<()> {
    let streams = [input.as_fd().as_raw_fd(), output.as_fd().as_raw_fd(), error.as_fd().as_raw_fd()];
    for (number, stream) in (0..).zip(streams) {
        // SAFETY: replaces a standard stream, which Rust's library treats as always open and owned by nobody.
        if unsafe { libc::dup2(stream, number) } == -1 {
            return Err(last_error());
        }
    }
    Ok(())
}

/// Whether the content of a memory file may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryKind {
    /// Data.
    Data,
    /// A program.
    Program,
}

/// Makes a file in memory with this content that nobody can change any more (`memfd_create(2)`, sealed), at offset 0.
///
/// # Errors
/// `EMFILE`/`ENFILE`: too many open files; `ENOMEM`/`ENOSPC`: no memory; `EACCES`: `vm.memfd_noexec` forbids programs.
pub fn sealed_memory(name: &str, kind: MemoryKind, content: &[u8]) -> Result<OwnedFd> {
    // MFD_EXEC and MFD_NOEXEC_SEAL need Linux 6.3; before that every memory file may be executed.
    let executable = match kind {
        MemoryKind::Data => MemfdFlags::NOEXEC_SEAL,
        MemoryKind::Program => MemfdFlags::EXEC,
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = match rustix::fs::memfd_create(name, flags | executable) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        other => other,
    }?;
    let mut rest = content;
    while !rest.is_empty() {
        match rustix::io::write(&file, rest) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file)
}
