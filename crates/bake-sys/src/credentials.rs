//! The user, group and supplementary groups of a process with a single thread (`credentials(7)`).
//!
//! The calls are the kernel's, which change the calling thread only; the C library's change all threads.

use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use crate::Result;

/// Sets the real, effective and saved group (`setresgid(2)`).
///
/// # Errors
/// `EINVAL`: the group is not mapped in the user namespace; `EPERM`: no `CAP_SETGID`.
pub fn set_group(group: u32) -> Result<()> {
    let group = Gid::from_raw(checked(group)?);
    rustix::thread::set_thread_res_gid(group, group, group)
}

/// Sets the real, effective and saved user (`setresuid(2)`).
///
/// # Errors
/// `EINVAL`: the user is not mapped in the user namespace; `EPERM`: no `CAP_SETUID`.
pub fn set_user(user: u32) -> Result<()> {
    let user = Uid::from_raw(checked(user)?);
    rustix::thread::set_thread_res_uid(user, user, user)
}

/// Sets the supplementary groups (`setgroups(2)`).
///
/// # Errors
/// `EPERM`: no `CAP_SETGID`, or the user namespace denies it; `EINVAL`: a group is not mapped, or too many.
pub fn set_supplementary_groups(groups: &[u32]) -> Result<()> {
    let groups: Vec<Gid> = groups.iter().map(|group| checked(*group).map(Gid::from_raw)).collect::<Result<_>>()?;
    rustix::thread::set_thread_groups(&groups)
}

/// The all-ones id means "leave as it is" to the kernel and names nobody.
fn checked(id: u32) -> Result<u32> {
    if id == u32::MAX { Err(Errno::INVAL) } else { Ok(id) }
}
