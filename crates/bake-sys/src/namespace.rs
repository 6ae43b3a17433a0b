//! Entering namespaces, and the few settings that live in one.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::process::Namespaces;
use crate::{Result, check, last_error};

/// Moves the calling process, which must have a single thread, into new namespaces (`unshare(2)`).
///
/// # Errors
/// `EINVAL`: several threads; `EPERM`: not allowed here; `ENOSPC`/`EUSERS`: too many namespaces.
pub fn unshare(namespaces: Namespaces) -> Result<()> {
    let bits = libc::c_int::try_from(namespaces.bits()).map_err(|_| Errno::INVAL)?;
    // SAFETY: only CLONE_NEW* bits can be in the set: memory and descriptors stay shared as they are.
    check(libc::c_long::from(unsafe { libc::unshare(bits) })).map(drop)
}

/// Moves the calling thread into the network namespace `namespace` names (`setns(2)`).
///
/// # Errors
/// `EINVAL`: not a network namespace; `EPERM`: no `CAP_SYS_ADMIN` in it or in the caller's user namespace.
pub fn enter_network(namespace: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: plain numbers; only the calling thread's network namespace changes.
    check(libc::c_long::from(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })).map(drop)
}

/// Brings the loopback device of the caller's network namespace up (`netdevice(7)`, `SIOCSIFFLAGS`).
///
/// # Errors
/// `EPERM`: no `CAP_NET_ADMIN` in the namespace; `EAFNOSUPPORT`: a kernel without IPv4.
pub fn bring_loopback_up() -> Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: ifreq is plain numbers.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(*b"lo\0") {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    // SAFETY: the request is valid for reads and writes and names its device.
    if unsafe { libc::ioctl(socket.as_raw_fd(), GET_FLAGS, &raw mut request) } == -1 {
        return Err(last_error());
    }
    // SAFETY: the call above stored the flags in the union.
    unsafe { request.ifr_ifru.ifru_flags |= FLAG_UP };
    // SAFETY: as above.
    if unsafe { libc::ioctl(socket.as_raw_fd(), SET_FLAGS, &raw mut request) } == -1 {
        return Err(last_error());
    }
    Ok(())
}

/// `SIOCGIFFLAGS` and `SIOCSIFFLAGS`, in the type that the C library wants.
const GET_FLAGS: libc::Ioctl = 0x8913;
const SET_FLAGS: libc::Ioctl = 0x8914;

/// `IFF_UP` in the width of the request's field.
const FLAG_UP: libc::c_short = 1;

/// Sets the host name of the caller's UTS namespace (`sethostname(2)`).
///
/// # Errors
/// `EINVAL`: longer than 64 bytes; `EPERM`: no `CAP_SYS_ADMIN` in the namespace.
pub fn set_host_name(name: &[u8]) -> Result<()> {
    // SAFETY: the name is valid for reads of the length given.
    check(libc::c_long::from(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })).map(drop)
}
