//! A started step: its output, its end, and ending it early.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bake_sys::Errno;
use bake_sys::process::{ChildProcess, Ended, Waited, wait_pidfd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::error::SandboxError;
use crate::message::{CommandEnd, Message, Received, Report};

/// How much output is read at once, in bytes: the capacity of a pipe.
const OUTPUT_BUFFER_BYTES: usize = 64 * 1024;

/// Which stream a piece of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// This signal killed it; also what [`Killer::kill`] leads to.
    Signal(i32),
}

/// What the command and everything it started used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time in user mode, in microseconds.
    pub user_us: u64,
    /// Processor time in the kernel, in microseconds.
    pub system_us: u64,
    /// The largest resident set of any single process, in bytes.
    pub max_rss_bytes: u64,
    /// What had to be read from disks, in bytes.
    pub read_bytes: u64,
    /// What was written for disks to take, in bytes.
    pub written_bytes: u64,
    /// From the start of the command to its end.
    pub wall: Duration,
}

/// The end of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitReport {
    /// How the command ended.
    pub exit: Exit,
    /// What it used.
    pub usage: Usage,
}

/// A step whose command was started. Dropping it kills the step.
#[derive(Debug)]
pub struct Running {
    child: Arc<Child>,
    stdout: OwnedFd,
    stderr: OwnedFd,
    status: OwnedFd,
    received: Received,
    reaped: bool,
    pid: u32,
    terminal: Option<OwnedFd>,
    /// The sandbox ends itself when every copy of this is closed, as happens when this process dies.
    _lifeline: OwnedFd,
}

#[derive(Debug)]
struct Child {
    pidfd: OwnedFd,
}

/// Ends a step from any thread.
#[derive(Debug, Clone)]
pub struct Killer {
    child: Arc<Child>,
}

impl Killer {
    /// Kills every process of the step at once. What the sandbox created in the rootfs to mount on is then left
    /// behind there. Does nothing when the step has ended.
    pub fn kill(&self) {
        // The only possible failure is that it has ended.
        let _ = bake_sys::signal::send(&self.child.pidfd, Signal::KILL);
    }

    /// Asks the command to end (`SIGTERM`); what it leaves running is killed when it does.
    pub fn terminate(&self) {
        let _ = bake_sys::signal::send(&self.child.pidfd, Signal::TERM);
    }
}

impl Running {
    pub(crate) fn new(
        child: ChildProcess,
        stdout: OwnedFd,
        stderr: OwnedFd,
        status: OwnedFd,
        lifeline: OwnedFd,
    ) -> Self {
        Self {
            child: Arc::new(Child { pidfd: child.pidfd }),
            stdout,
            stderr,
            status,
            received: Received::default(),
            reaped: false,
            pid: child.pid,
            terminal: None,
            _lifeline: lifeline,
        }
    }

    /// Something to end the step with, usable from other threads.
    pub fn killer(&self) -> Killer {
        Killer { child: Arc::clone(&self.child) }
    }

    /// The process id, here, of the sandbox's first process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn status(&self) -> BorrowedFd<'_> {
        self.status.as_fd()
    }

    /// The master of the step's terminal, if it has one: what is written there is typed. Its output comes from
    /// [`Running::wait`], as standard output.
    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn set_terminal(&mut self, master: OwnedFd) -> Result<(), SandboxError> {
        self.stdout = master.try_clone().map_err(|source| SandboxError::host("duplicating the terminal", source))?;
        self.terminal = Some(master);
        Ok(())
    }

    pub(crate) fn set_received(&mut self, received: Received) {
        self.received = received;
    }

    /// Takes the status of a sandbox that ended without saying why.
    pub(crate) fn died(&mut self) -> SandboxError {
        match self.reap() {
            Ok(waited) => SandboxError::Died {
                how: match waited.ended {
                    Ended::Exited(code) => format!("exit status {code}"),
                    Ended::Signaled(signal) => format!("signal {signal}"),
                },
            },
            Err(error) => error,
        }
    }

    /// Passes the command's output on, piece by piece as it comes, until the step has ended.
    ///
    /// When the command ends everything it left running is killed, so the output ends too.
    ///
    /// # Errors
    /// [`SandboxError::Execute`] when the command could not be executed, [`SandboxError::Setup`] when its user or
    /// working directory could not be entered, [`SandboxError::Died`], [`SandboxError::Host`].
    pub fn wait(self, output: &mut dyn FnMut(Stream, &[u8])) -> Result<ExitReport, SandboxError> {
        self.wait_and_look(output, None)
    }

    /// As [`Self::wait`], and calls the second part of `look` each time the first has passed, until the step has ended.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_and_look(
        mut self,
        output: &mut dyn FnMut(Stream, &[u8]),
        look: Option<(Duration, &mut dyn FnMut())>,
    ) -> Result<ExitReport, SandboxError> {
        self.drain(output, look)?;
        let mut end = None;
        while let Some(report) = self.received.next() {
            match report {
                Report::Message(Message::SetupFailed(failure)) => {
                    self.reap()?;
                    return Err(SandboxError::Setup {
                        stage: failure.stage,
                        source: std::io::Error::from_raw_os_error(failure.errno),
                        hint: failure.hint,
                    });
                }
                Report::Message(Message::ExecuteFailed(failure)) => {
                    self.reap()?;
                    return Err(SandboxError::Execute(failure));
                }
                Report::Message(Message::Ended(ended)) => end = Some(ended),
                Report::Message(Message::Ready) | Report::NotStarted(_) => {}
            }
        }
        let waited = self.reap()?;
        if let Some(end) = end {
            return Ok(report_of(&end));
        }
        // No report: the whole sandbox was killed, by a killer or from outside (for example for lack of memory).
        match waited.ended {
            Ended::Signaled(signal) if signal == Signal::KILL.as_raw() => {
                let usage = Usage {
                    user_us: microseconds(waited.usage.user),
                    system_us: microseconds(waited.usage.system),
                    max_rss_bytes: waited.usage.max_rss_bytes,
                    read_bytes: waited.usage.read_bytes,
                    written_bytes: waited.usage.written_bytes,
                    wall: Duration::ZERO,
                };
                Ok(ExitReport { exit: Exit::Signal(signal), usage })
            }
            Ended::Signaled(signal) => Err(SandboxError::Died { how: format!("signal {signal}") }),
            Ended::Exited(code) => Err(SandboxError::Died { how: format!("exit status {code}") }),
        }
    }

    /// Reads both streams and the reports until all three are closed.
    fn drain(
        &mut self,
        output: &mut dyn FnMut(Stream, &[u8]),
        mut look: Option<(Duration, &mut dyn FnMut())>,
    ) -> Result<(), SandboxError> {
        let mut next_look = look.as_ref().map(|(interval, _)| Instant::now() + *interval);
        let mut buffer = vec![0_u8; OUTPUT_BUFFER_BYTES];
        // In this order: of output that is ready at once, standard output is passed on first.
        let mut open = [true; 3];
        while open.contains(&true) {
            let descriptors = [self.stdout.as_fd(), self.stderr.as_fd(), self.status.as_fd()];
            let watched: Vec<usize> = (0..3).filter(|index| open.get(*index) == Some(&true)).collect();
            let mut polled: Vec<PollFd<'_>> = watched
                .iter()
                .filter_map(|index| descriptors.get(*index))
                .map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN))
                .collect();
            let timeout = next_look.map(|next| timespec(next.saturating_duration_since(Instant::now())));
            let polled_well = poll(&mut polled, timeout.as_ref());
            if let (Some((interval, look)), Some(next)) = (&mut look, &mut next_look)
                && Instant::now() >= *next
            {
                look();
                *next = Instant::now() + *interval;
            }
            match polled_well {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(SandboxError::host("waiting for the step's output", errno)),
            }
            let ready: Vec<usize> = watched
                .iter()
                .zip(&polled)
                .filter(|(_, polled)| !polled.revents().is_empty())
                .map(|(index, _)| *index)
                .collect();
            for index in ready {
                let Some(descriptor) = descriptors.get(index) else { continue };
                let length = match rustix::io::read(descriptor, &mut buffer) {
                    Ok(length) => length,
                    Err(Errno::INTR | Errno::AGAIN) => continue,
                    // What a terminal says when nobody has it open any more.
                    Err(Errno::IO) if index == 0 && self.terminal.is_some() => 0,
                    Err(errno) => return Err(SandboxError::host("reading the step's output", errno)),
                };
                let bytes = buffer.get(..length).unwrap_or_default();
                match index {
                    _ if bytes.is_empty() => {
                        if let Some(open) = open.get_mut(index) {
                            *open = false;
                        }
                    }
                    0 => output(Stream::Stdout, bytes),
                    1 => output(Stream::Stderr, bytes),
                    _ => self.received.extend(bytes),
                }
            }
        }
        Ok(())
    }

    fn reap(&mut self) -> Result<Waited, SandboxError> {
        let waited = wait_pidfd(&self.child.pidfd)
            .map_err(|errno| SandboxError::host("waiting for the sandbox's first process", errno))?;
        self.reaped = true;
        Ok(waited)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = bake_sys::signal::send(&self.child.pidfd, Signal::KILL);
            let _ = wait_pidfd(&self.child.pidfd);
        }
    }
}

fn report_of(end: &CommandEnd) -> ExitReport {
    let exit = match (end.signal, end.exit_code) {
        (Some(signal), _) => Exit::Signal(signal),
        (None, code) => Exit::Code(code.unwrap_or(0)),
    };
    let usage = Usage {
        user_us: end.user_us,
        system_us: end.system_us,
        max_rss_bytes: end.max_rss_bytes,
        read_bytes: end.read_bytes,
        written_bytes: end.written_bytes,
        wall: Duration::from_micros(end.wall_us),
    };
    ExitReport { exit, usage }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}

/// A duration in microseconds; centuries are cut off.
pub(crate) fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
