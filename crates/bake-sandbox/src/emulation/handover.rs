//! How the first process gets the descriptor by which it is asked, from the process that installs the filter.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use bake_sys::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// Two pipes: the number of the descriptor goes one way, and that it was taken the other.
#[derive(Debug)]
pub(crate) struct Handover {
    number: (OwnedFd, OwnedFd),
    taken: (OwnedFd, OwnedFd),
}

impl Handover {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self { number: pipe_with(PipeFlags::CLOEXEC)?, taken: pipe_with(PipeFlags::CLOEXEC)? })
    }

    /// Offers the descriptor and waits until it was taken. Calls that the filter hands over would wait for ever before.
    pub(crate) fn offer(&self, listener: BorrowedFd<'_>) -> Result<(), Errno> {
        write_all(&self.number.1, &listener.as_raw_fd().to_le_bytes())?;
        let mut answer = [0];
        if read_exact(&self.taken.0, &mut answer)? { Ok(()) } else { Err(Errno::PIPE) }
    }

    /// Takes the descriptor from the process `child`; `None` when it ended without offering one, and says why itself.
    pub(crate) fn take(self, child: u32) -> Result<Option<OwnedFd>, Errno> {
        let Self { number: (numbers, offering), taken: (_, taken) } = self;
        // Only the child's copy is left, so that its end can be seen.
        drop(offering);
        let mut number = [0; size_of::<RawFd>()];
        if !read_exact(&numbers, &mut number)? {
            return Ok(None);
        }
        let child = i32::try_from(child).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let child = pidfd_open(child, PidfdFlags::empty())?;
        let listener = pidfd_getfd(&child, RawFd::from_le_bytes(number), PidfdGetfdFlags::empty())?;
        write_all(&taken, b"t")?;
        Ok(Some(listener))
    }
}

fn write_all(pipe: impl AsFd, bytes: &[u8]) -> Result<(), Errno> {
    // So few bytes go into a pipe at once.
    loop {
        match rustix::io::write(&pipe, bytes) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Whether all of the buffer came before the pipe was closed.
fn read_exact(pipe: impl AsFd, buffer: &mut [u8]) -> Result<bool, Errno> {
    loop {
        match rustix::io::read(&pipe, &mut *buffer) {
            Err(Errno::INTR) => {}
            other => return other.map(|length| length == buffer.len()),
        }
    }
}
