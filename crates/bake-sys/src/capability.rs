//! Capabilities of the calling thread (`capabilities(7)`) as sets of bits, bit N being capability number N.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::{Result, check};

/// The number of `CAP_SETGID`.
pub const SETGID: u32 = 6;
/// The number of `CAP_SETUID`.
pub const SETUID: u32 = 7;
/// The number of `CAP_SETFCAP`.
pub const SETFCAP: u32 = 31;
/// The number of `CAP_SYS_ADMIN`.
pub const SYS_ADMIN: u32 = 21;
/// No kernel has a capability with this number or above: the sets have 64 bits.
const NUMBERS_END: u32 = 64;

/// Takes every capability out of the bounding set but those in `kept` (`PR_CAPBSET_DROP`), for good.
///
/// # Errors
/// `EPERM`: no `CAP_SETPCAP` in the user namespace.
pub fn limit_bounding_set(kept: u64) -> Result<()> {
    for number in 0..NUMBERS_END {
        // SAFETY: plain numbers. The kernel answers EINVAL from the first capability it does not know.
        let present = unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(number), 0, 0, 0) };
        if present == -1 {
            break;
        }
        if present == 1 && kept & (1 << number) == 0 {
            // SAFETY: plain numbers.
            check(libc::c_long::from(unsafe {
                libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0)
            }))?;
        }
    }
    Ok(())
}

/// Every capability in the calling thread's bounding set.
pub fn bounding_set() -> u64 {
    (0..NUMBERS_END)
        // SAFETY: plain numbers.
        .filter(|number| unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(*number), 0, 0, 0) } == 1)
        .fold(0, |set, number| set | (1 << number))
}

/// Sets the permitted and effective sets; the inheritable set becomes empty (`capset(2)`).
///
/// # Errors
/// `EPERM`: `permitted` has capabilities the thread does not, or `effective` some that `permitted` has not.
pub fn set(permitted: u64, effective: u64) -> Result<()> {
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(effective),
        permitted: CapabilitySet::from_bits_retain(permitted),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets)
}

/// The thread's permitted set.
///
/// # Errors
/// None in practice.
pub fn permitted() -> Result<u64> {
    Ok(rustix::thread::capabilities(None)?.permitted.bits())
}

/// Empties the ambient set (`PR_CAP_AMBIENT_CLEAR_ALL`).
///
/// # Errors
/// None in practice; a kernel without ambient capabilities is not an error.
pub fn clear_ambient() -> Result<()> {
    match rustix::thread::clear_ambient_capability_set() {
        Err(Errno::INVAL) => Ok(()),
        other => other,
    }
}

/// Whether the thread keeps its permitted capabilities when its user id changes from 0 (`PR_SET_KEEPCAPS`).
///
/// # Errors
/// `EPERM`: the setting is locked.
pub fn keep_on_user_change(keep: bool) -> Result<()> {
    rustix::thread::set_keep_capabilities(keep)
}
