//! The kernel's key retention service (`keyrings(7)`).

use crate::{Result, check};

/// `KEYCTL_JOIN_SESSION_KEYRING` of `keyctl(2)`.
const JOIN_SESSION_KEYRING: libc::c_int = 1;

/// Gives the calling process a new, empty, nameless session keyring, so that it no longer reaches the user's keys.
///
/// # Errors
/// `ENOSYS`: a kernel without keys; `EDQUOT`: the user has too many; `EPERM`: filtered.
pub fn join_new_session() -> Result<()> {
    // SAFETY: a null name asks for an anonymous keyring.
    let returned =
        unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>(), 0, 0, 0) };
    check(returned).map(drop)
}
