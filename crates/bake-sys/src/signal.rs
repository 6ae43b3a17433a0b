//! Signals: masks, default handlers, reading them from a descriptor (`signalfd(2)`), sending them.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::Signal;

use crate::{Result, check, last_error};

/// The highest signal number of Linux.
const SIGNAL_MAX: libc::c_int = 64;

/// The signal mask a thread had before [`block_all`].
#[derive(Debug)]
#[must_use = "without `restore` the thread's signals stay blocked"]
pub struct SavedMask(Box<libc::sigset_t>);

impl SavedMask {
    /// Gives the calling thread its earlier mask back.
    ///
    /// # Errors
    /// None in practice.
    pub fn restore(self) -> Result<()> {
        set_mask(&self.0, None)
    }
}

/// Blocks every signal for the calling thread (`pthread_sigmask(3)`).
///
/// # Errors
/// None in practice.
pub fn block_all() -> Result<SavedMask> {
    let mut saved = Box::new(empty_set());
    set_mask(&full_set(), Some(&mut saved))?;
    Ok(SavedMask(saved))
}

/// Unblocks every signal for the calling thread.
///
/// # Errors
/// None in practice.
pub fn unblock_all() -> Result<()> {
    set_mask(&empty_set(), None)
}

/// Lets `command` begin with no signal blocked: a program inherits the mask of the thread that starts it, and one with SIGTERM blocked
/// cannot be ended in order.
pub fn unblock_in_child(command: &mut Command) -> &mut Command {
    // SAFETY: between fork and exec only `sigemptyset` and `pthread_sigmask` are called, which are async-signal-safe and allocate nothing.
    unsafe { command.pre_exec(|| unblock_all().map_err(std::io::Error::from)) }
}

/// Gives every signal its default action, also those that are ignored: an ignored signal would stay ignored in the
/// program this process executes next (`signal(7)`).
pub fn reset_handlers() {
    // The kernel's sigaction, all zero: SIG_DFL, no flags, nothing blocked. It is at least as large as on any architecture.
    let default_action = [0_u64; 8];
    for number in 1..=SIGNAL_MAX {
        // SAFETY: the action is valid for reads, and installs no code. The system call itself, because the C library
        // refuses the two signals it keeps for its threads. SIGKILL and SIGSTOP are refused, which does not matter.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default_action.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            );
        }
    }
}

/// Signals of this process, read one by one instead of interrupting it (`signalfd(2)`).
#[derive(Debug)]
pub struct SignalDescriptor(OwnedFd);

impl SignalDescriptor {
    /// A non-blocking descriptor that receives every signal; they should be blocked first ([`block_all`]).
    ///
    /// # Errors
    /// `EMFILE`/`ENFILE`: too many open files.
    pub fn open() -> Result<Self> {
        let set = full_set();
        // SAFETY: the set is valid for reads; -1 asks for a new descriptor.
        let number = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if number == -1 {
            return Err(last_error());
        }
        // SAFETY: a new descriptor that nothing else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// The number of the next waiting signal, or `None`.
    ///
    /// # Errors
    /// None in practice.
    pub fn next(&self) -> Result<Option<i32>> {
        let mut information = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the structure is valid for writes of its size.
        let read = unsafe { libc::read(self.0.as_raw_fd(), information.as_mut_ptr().cast(), size) };
        if read == -1 {
            return match last_error() {
                Errno::AGAIN | Errno::INTR => Ok(None),
                errno => Err(errno),
            };
        }
        // SAFETY: zeroed, and plain numbers.
        let number = unsafe { information.assume_init_ref() }.ssi_signo;
        Ok(i32::try_from(number).ok().filter(|number| *number != 0))
    }
}

impl AsFd for SignalDescriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends `signal` to the process named by a pidfd (`pidfd_send_signal(2)`).
///
/// # Errors
/// `ESRCH`: it has ended; `EPERM`: not allowed.
pub fn send(pidfd: impl AsFd, signal: Signal) -> Result<()> {
    rustix::process::pidfd_send_signal(pidfd, signal)
}

/// Sends the signal with this number to the process with this number (`kill(2)`).
///
/// Only for children that were not waited for: otherwise the number may belong to another process.
///
/// # Errors
/// `EINVAL`: no such signal; `ESRCH`: no such process; `EPERM`: not allowed.
pub fn send_to_child(pid: u32, number: i32) -> Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::SRCH)?;
    if pid == 0 {
        return Err(Errno::SRCH);
    }
    // SAFETY: plain numbers.
    check(libc::c_long::from(unsafe { libc::kill(pid, number) })).map(drop)
}

/// Kills every process of the caller's pid namespace but the caller, which must be its first process (`kill(-1, ..)`).
///
/// # Errors
/// `EPERM`: the caller is not process 1, so that this would reach beyond a sandbox; `ESRCH`: there are no others.
pub fn kill_namespace() -> Result<()> {
    if std::process::id() != 1 {
        return Err(Errno::PERM);
    }
    // SAFETY: plain numbers.
    check(libc::c_long::from(unsafe { libc::kill(-1, libc::SIGKILL) })).map(drop)
}

fn set_mask(set: &libc::sigset_t, saved: Option<&mut libc::sigset_t>) -> Result<()> {
    let saved = saved.map_or(std::ptr::null_mut(), std::ptr::from_mut);
    // SAFETY: the set is valid for reads, and `saved` is null or valid for writes.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, saved) } {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno)),
    }
}

fn empty_set() -> libc::sigset_t {
    let mut set = MaybeUninit::zeroed();
    // SAFETY: sigemptyset initialises the set it is given.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn full_set() -> libc::sigset_t {
    let mut set = MaybeUninit::zeroed();
    // SAFETY: sigfillset initialises the set it is given.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}
