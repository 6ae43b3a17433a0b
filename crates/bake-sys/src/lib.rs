//! Safe wrappers over the Linux system calls that bake needs and that no dependency offers safely.
//!
//! Entry points are the modules: [`path`] (file names inside an untrusted root), [`mount`] (the mount API by file
//! descriptor), [`xattr`], [`process`] (clone3, pidfd, waiting), [`credentials`], [`capability`], [`seccomp`],
//! [`signal`], [`descriptor`], [`keyring`] and [`namespace`]. What `rustix` already offers safely (pipes, rlimits,
//! `syncfs`, `prctl` settings, device numbers) is used from there.
//!
//! Invariant: this is the only crate of the workspace that contains `unsafe`. Each wrapper does one thing, checks what
//! the kernel requires of its arguments, and returns the kernel's answer as an [`Errno`]; the caller knows what was
//! attempted on what and adds that to the error.
//!
//! It must not hold policy (which capabilities, which filters, which mounts), allocate between a `clone3` and the
//! `execve` of the child, print, or keep global state.

#![expect(unsafe_code, reason = "the one crate that calls into the kernel without a safe wrapper")]

pub mod capability;
pub mod credentials;
pub mod descriptor;
pub mod keyring;
pub mod mount;
pub mod namespace;
pub mod notification;
pub mod owner_record;
pub mod path;
pub mod process;
pub mod seccomp;
pub mod signal;
pub mod xattr;

pub use rustix::fs::{AtFlags, Mode, OFlags};
/// The error number of a failed system call; convertible to [`std::io::Error`].
pub use rustix::io::Errno;

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

/// Turns the return value of a raw system call (-1 and `errno`) into a [`Result`].
pub(crate) fn check(returned: libc::c_long) -> Result<libc::c_long> {
    if returned == -1 { Err(last_error()) } else { Ok(returned) }
}

/// The calling thread's `errno`.
pub(crate) fn last_error() -> Errno {
    std::io::Error::last_os_error().raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}
