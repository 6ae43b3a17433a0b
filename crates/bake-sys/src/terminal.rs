//! Pseudo terminals (`pty(7)`): the second half of one whose first half, the master, was opened.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::{Result, check, last_error};

/// Lets the other half of a master be opened (`TIOCSPTLCK`).
///
/// # Errors
/// `ENOTTY`: not a master.
pub fn unlock(master: impl AsFd) -> Result<()> {
    let locked: libc::c_int = 0;
    // SAFETY: the kernel reads one integer, which lives until the call returns.
    let returned = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCSPTLCK as _, &raw const locked) };
    check(returned.into()).map(drop)
}

/// Opens the other half of a master, whatever names it has anywhere, and without making it a controlling terminal
/// (`TIOCGPTPEER`).
///
/// # Errors
/// `EIO`: it is locked; `ENOTTY`: not a master.
pub fn open_peer(master: impl AsFd) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the argument is a plain number.
    let number = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER as _, flags) };
    if number == -1 {
        return Err(last_error());
    }
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The number of the terminal in its devpts instance: the name of the other half (`TIOCGPTN`).
///
/// # Errors
/// `ENOTTY`: not a master.
pub fn number(master: impl AsFd) -> Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: the kernel writes one integer, which is valid for writes.
    let returned = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTN as _, &raw mut number) };
    check(returned.into()).map(|_| number)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use rustix::fs::{Mode, OFlags, open};

    use super::*;

    #[test]
    fn what_one_half_writes_the_other_reads() {
        let master = open(c"/dev/ptmx", OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert!(open_peer(&master).is_err());
        unlock(&master).unwrap();
        let slave = open_peer(&master).unwrap();
        number(&master).unwrap();
        rustix::io::write(&master, b"typed\n").unwrap();
        let mut buffer = [0; 16];
        let length = rustix::io::read(&slave, &mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"typed\n");
        assert!(number(rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty()).unwrap()).is_err());
    }
}
