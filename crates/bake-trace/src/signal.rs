//! A word from one thread to another that waits for descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// Can be read from when it was given on, which is once.
#[derive(Debug)]
pub(crate) struct Signal(OwnedFd);

impl Signal {
    pub(crate) fn new() -> Result<Self, Errno> {
        eventfd(0, EventfdFlags::CLOEXEC).map(Self)
    }

    pub(crate) fn give(&self) -> Result<(), Errno> {
        // An event counter takes a number of eight bytes.
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()).map(drop)
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
