//! Starting, replacing and waiting for processes: `clone3(2)`, `fork(2)`, `execve(2)`, `waitid(2)` and pidfds.

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::io::Errno;

use crate::{Result, check, last_error};

/// The namespaces a new process gets for itself (`namespaces(7)`), as a set of `CLONE_NEW*` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces(u64);

impl Namespaces {
    /// Nothing new.
    pub const NONE: Self = Self(0);
    /// User and group ids, and capabilities (`user_namespaces(7)`).
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);
    /// Mounts.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    /// Process ids; the new process is number 1, and when it ends all others in the namespace are killed.
    pub const PID: Self = Self(libc::CLONE_NEWPID as u64);
    /// System V and POSIX message queues, semaphores and shared memory.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    /// Host name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u64);
    /// The view of the cgroup hierarchy.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u64);
    /// Network devices, addresses, ports, abstract sockets.
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET as u64);

    /// This set and `other` together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The `CLONE_NEW*` bits.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

/// What [`clone_and_execute`] starts. The new process runs only system calls until it executes.
#[derive(Debug)]
pub struct CloneAndExecute<'a> {
    /// New namespaces of the process.
    pub namespaces: Namespaces,
    /// The cgroup v2 directory in which the process starts, if not the caller's.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The program, opened (`O_PATH` is enough) and not a script.
    pub executable: BorrowedFd<'a>,
    /// Its arguments, beginning with `argv[0]`. Its environment is empty.
    pub arguments: &'a [CString],
    /// Becomes standard input, output and error; usually `/dev/null`.
    pub standard_streams: BorrowedFd<'a>,
    /// Stays open under its present number; everything else that is close-on-exec is closed.
    pub inherited: &'a [BorrowedFd<'a>],
    /// The process reads one byte here before it becomes id 0 of its user namespace and goes on; at end of file it
    /// exits. The caller writes the id maps first.
    pub go: BorrowedFd<'a>,
    /// The writing end of `go`: the process closes its copy, or there would never be an end of file.
    pub go_writer: BorrowedFd<'a>,
    /// Where the process writes a [`StartFailure`] when it cannot execute.
    pub failure: BorrowedFd<'a>,
}

/// A process started by this one, not yet waited for.
#[derive(Debug)]
pub struct ChildProcess {
    /// Its number in the caller's pid namespace; valid until it is waited for.
    pub pid: u32,
    /// Names the process and no later one with the same number.
    pub pidfd: OwnedFd,
}

/// Why a process made by [`clone_and_execute`] ended before it executed its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartFailure {
    /// What it was doing.
    pub stage: StartStage,
    /// The error of that.
    pub errno: Errno,
}

/// The steps between `clone3` and `execve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartStage {
    /// Leaving the caller's session and terminal (`setsid(2)`).
    Session,
    /// Arranging descriptors (`dup3(2)`, `fcntl(2)`).
    Descriptors,
    /// Becoming user and group 0 of the new user namespace (`setresuid(2)`).
    Identity,
    /// Asking to be killed with the parent (`prctl(2)`).
    ParentDeath,
    /// Executing the program (`execveat(2)`).
    Execute,
}

/// The first byte of an encoded [`StartFailure`]; never the first byte of JSON or other text.
const FAILURE_MARK: u8 = 0xff;
/// The size of an encoded [`StartFailure`], in bytes: mark, stage, error number.
const FAILURE_BYTES: usize = 6;

impl StartFailure {
    /// Reads what the process wrote to [`CloneAndExecute::failure`]; `None` when it is something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; FAILURE_BYTES] = bytes.get(..FAILURE_BYTES)?.try_into().ok()?;
        let [mark, stage, errno @ ..] = bytes;
        let stage = match (mark, stage) {
            (FAILURE_MARK, 0) => StartStage::Session,
            (FAILURE_MARK, 1) => StartStage::Descriptors,
            (FAILURE_MARK, 2) => StartStage::Identity,
            (FAILURE_MARK, 3) => StartStage::ParentDeath,
            (FAILURE_MARK, 4) => StartStage::Execute,
            _ => return None,
        };
        Some(Self { stage, errno: Errno::from_raw_os_error(i32::from_le_bytes(errno)) })
    }

    fn encode(self) -> [u8; FAILURE_BYTES] {
        let [a, b, c, d] = self.errno.raw_os_error().to_le_bytes();
        [FAILURE_MARK, self.stage as u8, a, b, c, d]
    }
}

/// Starts a program in new namespaces from a process that may have many threads (`clone3(2)`, `execveat(2)`).
///
/// The new process leads its own session, has default signal handlers, all signals blocked, an empty environment, no
/// supplementary groups where the namespace lets it drop them, is id 0 of its user namespace, and is killed when the
/// calling *thread* ends.
///
/// # Errors
/// `EPERM`: user namespaces are not allowed here; `ENOSPC`/`EUSERS`: too many namespaces (nesting or
/// `user.max_*_namespaces`); `ENOSYS`: Linux older than 5.7 or `clone3` filtered; `EAGAIN`/`ENOMEM`: no room;
/// `EOPNOTSUPP`/`EBUSY`: the cgroup takes no processes.
pub fn clone_and_execute(start: &CloneAndExecute<'_>) -> Result<ChildProcess> {
    // Everything the child needs is made before the clone: it must not allocate, as another thread may have held the
    // allocator's lock at that moment.
    let mut arguments: Vec<*const c_char> = start.arguments.iter().map(|argument| argument.as_ptr()).collect();
    arguments.push(std::ptr::null());
    let inherited: Vec<RawFd> = start.inherited.iter().map(AsRawFd::as_raw_fd).collect();
    let prepared = PreparedChild {
        executable: start.executable.as_raw_fd(),
        arguments: arguments.as_ptr(),
        standard_streams: start.standard_streams.as_raw_fd(),
        inherited: &inherited,
        go: start.go.as_raw_fd(),
        go_writer: start.go_writer.as_raw_fd(),
        failure: start.failure.as_raw_fd(),
        own_user_namespace: start.namespaces.bits() & Namespaces::USER.bits() != 0,
    };
    // Signals stay blocked across the clone, so that no handler of the caller ever runs in the child.
    let mask = crate::signal::block_all()?;
    let cloned = raw_clone(start.namespaces, start.cgroup);
    if let Ok(None) = cloned {
        prepared.run();
    }
    mask.restore()?;
    match cloned? {
        Some(child) => Ok(child),
        None => Err(Errno::CHILD),
    }
}

/// Whether this process may create `namespaces` now: makes a process in them that exits at once.
///
/// # Errors
/// As [`clone_and_execute`].
pub fn try_namespaces(namespaces: Namespaces) -> Result<()> {
    in_namespaces(namespaces, || Ok(()))
}

/// Whether a process that is privileged in a new user namespace only may mount file systems of type `name`.
///
/// The permission is checked before anything else about the new file system, so a complaint about its options (there
/// are none) means yes.
///
/// # Errors
/// `EPERM`: it may not; `ENODEV`: the kernel has no such file system; otherwise as [`clone_and_execute`].
pub fn try_mount_in_user_namespace(name: &CStr) -> Result<()> {
    in_namespaces(Namespaces::USER.with(Namespaces::MOUNT), || {
        // SAFETY: the name is NUL-terminated; the flags are valid.
        let context = unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), 0) };
        let context = check(context)?;
        // SAFETY: FSCONFIG_CMD_CREATE takes no key, no value and no auxiliary number.
        let created = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                context,
                libc::FSCONFIG_CMD_CREATE,
                std::ptr::null::<c_char>(),
                std::ptr::null::<c_char>(),
                0,
            )
        };
        match check(created) {
            Err(Errno::PERM) => Err(Errno::PERM),
            _ => Ok(()),
        }
    })
}

/// Whether a process that is privileged in new user, pid and mount namespaces only may mount a new procfs.
///
/// # Errors
/// `EPERM`: something is mounted over parts of the `/proc` there is, so a new one would reveal what is hidden; otherwise as
/// [`clone_and_execute`].
pub fn try_mount_proc_in_user_namespace() -> Result<()> {
    in_namespaces(Namespaces::USER.with(Namespaces::MOUNT).with(Namespaces::PID), || {
        let context = crate::mount::FsContext::open(c"proc")?;
        context.create()?;
        context.mount(rustix::mount::MountAttrFlags::empty()).map(drop)
    })
}

/// Whether a process that is privileged in new user and mount namespaces only may change to another root file system.
///
/// # Errors
/// `EPERM`: a filter or a security module forbids it; `EINVAL`: the root is an initial ramdisk or a `chroot`; otherwise as
/// [`clone_and_execute`].
pub fn try_pivot_root_in_user_namespace() -> Result<()> {
    in_namespaces(Namespaces::USER.with(Namespaces::MOUNT), || {
        let mode = rustix::fs::Mode::RWXU;
        let root = crate::mount::new_tmpfs(None, mode, rustix::mount::MountAttrFlags::empty())?;
        crate::mount::attach(&root, rustix::fs::CWD, c"/")?;
        rustix::process::fchdir(&root)?;
        crate::mount::pivot_root_to_working_directory()
    })
}

/// Makes a process in new namespaces that waits until it is killed, so that they can be opened through it.
///
/// It holds no descriptor of the caller but its standard streams, and is killed when the calling thread ends.
///
/// # Errors
/// As [`clone_and_execute`].
pub fn hold_namespaces(namespaces: Namespaces) -> Result<ChildProcess> {
    let mask = crate::signal::block_all()?;
    let cloned = raw_clone(namespaces, None);
    if let Ok(None) = cloned {
        // SAFETY: prctl, close_range, pause and _exit take plain numbers and touch no memory. The descriptors are
        // this process's own copies, and it runs no code that uses them.
        unsafe {
            libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0);
            loop {
                libc::pause();
            }
        }
    }
    mask.restore()?;
    cloned?.ok_or(Errno::CHILD)
}

/// Runs `body`, which may only make system calls, in a new process, and returns its result.
fn in_namespaces(namespaces: Namespaces, body: impl FnOnce() -> Result<()>) -> Result<()> {
    let mask = crate::signal::block_all()?;
    let cloned = raw_clone(namespaces, None);
    if let Ok(None) = cloned {
        let status = body().err().map_or(0, Errno::raw_os_error);
        // SAFETY: ends this process without running any of the caller's exit handlers.
        unsafe { libc::_exit(status) };
    }
    mask.restore()?;
    let child = cloned?.ok_or(Errno::CHILD)?;
    match wait_pidfd(&child.pidfd)?.ended {
        Ended::Exited(0) => Ok(()),
        Ended::Exited(errno) => Err(Errno::from_raw_os_error(errno)),
        Ended::Signaled(_) => Err(Errno::INTR),
    }
}

/// `clone3(2)` without shared memory: `None` in the child.
fn raw_clone(namespaces: Namespaces, cgroup: Option<BorrowedFd<'_>>) -> Result<Option<ChildProcess>> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain numbers, for which zero means "not used".
    let mut arguments: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    // CLONE_CLEAR_SIGHAND: a handler must not run in a copy of the caller that shares its pipes.
    arguments.flags = namespaces.bits() | CLONE_PIDFD | CLONE_CLEAR_SIGHAND;
    arguments.pidfd = (&raw mut pidfd) as u64;
    arguments.exit_signal = SIGCHLD;
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(|_| Errno::BADF)?;
    }
    // SAFETY: the structure and the pidfd it points to are valid for the call. Without CLONE_VM the child has its own
    // copy of memory and, as no stack is given, goes on here on a copy of this stack.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel stored a new descriptor that nothing else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Some(ChildProcess { pid: u32::try_from(pid).map_err(|_| Errno::OVERFLOW)?, pidfd }))
}

const CLONE_PIDFD: u64 = libc::CLONE_PIDFD as u64;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const SIGCHLD: u64 = libc::SIGCHLD as u64;

/// What the child of [`clone_and_execute`] needs, as plain numbers and pointers into its copy of memory.
struct PreparedChild<'a> {
    executable: RawFd,
    arguments: *const *const c_char,
    standard_streams: RawFd,
    inherited: &'a [RawFd],
    go: RawFd,
    go_writer: RawFd,
    failure: RawFd,
    own_user_namespace: bool,
}

impl PreparedChild<'_> {
    /// Runs in the child: only raw system calls, because the C library's wrappers may take locks or signal threads
    /// that do not exist here.
    fn run(&self) -> ! {
        let failure = self.try_run();
        let message = failure.encode();
        // SAFETY: the message is valid for reads of its length; _exit runs no exit handlers of the caller.
        unsafe {
            libc::syscall(libc::SYS_write, self.failure, message.as_ptr(), message.len());
            libc::_exit(1)
        }
    }

    fn try_run(&self) -> StartFailure {
        let failed = |stage| StartFailure { stage, errno: last_error() };
        // SAFETY: all calls take numbers, or pointers to memory that lives on in this process's copy: `byte`, the
        // NUL-terminated arguments with their final null, the empty environment and the empty path.
        unsafe {
            if libc::syscall(libc::SYS_setsid) == -1 {
                return failed(StartStage::Session);
            }
            // In case the caller dies while this process waits; it is set again after the ids have changed.
            libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            libc::syscall(libc::SYS_close, self.go_writer);
            let mut byte = 0_u8;
            loop {
                match libc::syscall(libc::SYS_read, self.go, &raw mut byte, 1) {
                    1 => break,
                    -1 if last_error() == Errno::INTR => {}
                    _ => libc::_exit(1),
                }
            }
            if self.own_user_namespace {
                // Not possible where the namespace denies setgroups: then the groups stay, all unmapped.
                libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>());
                if libc::syscall(libc::SYS_setresgid, 0, 0, 0) == -1
                    || libc::syscall(libc::SYS_setresuid, 0, 0, 0) == -1
                {
                    return failed(StartStage::Identity);
                }
            }
            // After the ids: changing them clears it.
            if libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) == -1 {
                return failed(StartStage::ParentDeath);
            }
            for number in 0..3 {
                if libc::syscall(libc::SYS_dup3, self.standard_streams, number, 0) == -1 {
                    return failed(StartStage::Descriptors);
                }
            }
            for number in self.inherited {
                if libc::syscall(libc::SYS_fcntl, *number, libc::F_SETFD, 0) == -1 {
                    return failed(StartStage::Descriptors);
                }
            }
            let environment: [*const c_char; 1] = [std::ptr::null()];
            libc::syscall(
                libc::SYS_execveat,
                self.executable,
                c"".as_ptr(),
                self.arguments,
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
            failed(StartStage::Execute)
        }
    }
}

/// Which side of a [`fork`] the caller is on.
#[derive(Debug)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old process, and the number of the new one.
    Parent {
        /// The new process's number in the caller's pid namespace.
        child: u32,
    },
}

/// Copies the calling process, which must have a single thread (`fork(2)`).
///
/// # Errors
/// `EBUSY`: the process has several threads (a copy would have their locks, but not them); `ENOENT`: no `/proc`, so
/// that this cannot be known; `EAGAIN`/`ENOMEM`: no room for a process.
pub fn fork() -> Result<Fork> {
    if thread_count()? != 1 {
        return Err(Errno::BUSY);
    }
    // SAFETY: with a single thread no lock can be held by somebody who does not exist in the child.
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        0 => Ok(Fork::Child),
        child => Ok(Fork::Parent { child: child.unsigned_abs() }),
    }
}

/// The number of threads of this process, from the link count of `/proc/self/task`.
///
/// # Errors
/// `ENOENT`: no `/proc`.
pub fn thread_count() -> Result<u64> {
    let status = rustix::fs::stat(c"/proc/self/task")?;
    #[expect(clippy::allow_attributes, reason = "the lint below fires on some architectures only")]
    #[allow(clippy::useless_conversion, reason = "the type of st_nlink differs between architectures")]
    let links = u64::from(status.st_nlink);
    // A directory's `.` and `..`, and one link for each thread.
    Ok(links.saturating_sub(2))
}

/// Replaces the program of this process (`execve(2)`); returns only when that failed.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: the path and all strings are NUL-terminated, both lists end with a null pointer, and all live until the
    // call returns or this program is gone.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    last_error()
}

/// Ends this process at once, running no exit handlers and flushing nothing (`_exit(2)`).
pub fn exit_now(status: u8) -> ! {
    // SAFETY: does not return and touches no memory of this process.
    unsafe { libc::_exit(i32::from(status)) }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(i32),
    /// This signal killed it.
    Signaled(i32),
}

/// What a process used, it and all descendants it waited for (`getrusage(2)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResourceUsage {
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// The largest resident set of any single one of the processes, in bytes.
    pub max_rss_bytes: u64,
    /// What had to be read from disks, in bytes.
    pub read_bytes: u64,
    /// What was written for disks to take, in bytes, be it in memory still.
    pub written_bytes: u64,
}

/// An ended process, waited for.
#[derive(Debug, Clone, Copy)]
pub struct Waited {
    /// Its number.
    pub pid: u32,
    /// How it ended.
    pub ended: Ended,
    /// What it used.
    pub usage: ResourceUsage,
}

/// Waits until the child named by `pidfd` ends (`waitid(2)`, `P_PIDFD`).
///
/// # Errors
/// `ECHILD`: not a child of this process, or waited for already.
pub fn wait_pidfd(pidfd: impl AsFd) -> Result<Waited> {
    let number = pidfd.as_fd().as_raw_fd().unsigned_abs();
    loop {
        match wait(libc::P_PIDFD, number, 0) {
            Ok(Some(waited)) => return Ok(waited),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Takes the status of the child with this number, waiting for it to end (`waitid(2)`, `P_PID`).
///
/// # Errors
/// `ECHILD`: not a child of this process, or waited for already.
pub fn wait_child(pid: u32) -> Result<Waited> {
    loop {
        match wait(libc::P_PID, pid, 0) {
            Ok(Some(waited)) => return Ok(waited),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Whether [`wait_any`] returns when no child has ended yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitMode {
    /// It waits for one.
    Block,
    /// It returns `None`.
    Poll,
}

/// Takes the status of any child that ended (`waitid(2)`, `P_ALL`).
///
/// # Errors
/// `ECHILD`: there are no children.
pub fn wait_any(mode: WaitMode) -> Result<Option<Waited>> {
    let options = if mode == WaitMode::Poll { libc::WNOHANG } else { 0 };
    loop {
        match wait(libc::P_ALL, 0, options) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// What all children that ended and were waited for used, with their own waited-for children.
///
/// # Errors
/// None in practice.
pub fn children_usage() -> Result<ResourceUsage> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the structure is valid for writes of its size.
    check(libc::c_long::from(unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) }))?;
    // SAFETY: every bit pattern is valid for it, it was zeroed, and the kernel filled it.
    Ok(convert_usage(unsafe { usage.assume_init_ref() }))
}

fn wait(kind: libc::idtype_t, number: u32, options: libc::c_int) -> Result<Option<Waited>> {
    let mut information = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both structures are valid for writes of their sizes. The C library's waitid has no fifth argument.
    let returned = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            kind,
            number,
            information.as_mut_ptr(),
            options | libc::WEXITED,
            usage.as_mut_ptr(),
        )
    };
    check(returned)?;
    // SAFETY: zeroed above, and every bit pattern is valid for both; after waitid the fields for SIGCHLD are the ones
    // in use (all zero when no child had ended).
    let (pid, code, status, usage) = unsafe {
        let information = information.assume_init_ref();
        (information.si_pid(), information.si_code, information.si_status(), convert_usage(usage.assume_init_ref()))
    };
    if pid == 0 {
        return Ok(None);
    }
    let ended = if code == libc::CLD_EXITED { Ended::Exited(status) } else { Ended::Signaled(status) };
    Ok(Some(Waited { pid: pid.unsigned_abs(), ended, usage }))
}

fn convert_usage(usage: &libc::rusage) -> ResourceUsage {
    let duration = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let microseconds = u64::try_from(time.tv_usec).unwrap_or(0);
        Duration::from_secs(seconds) + Duration::from_micros(microseconds)
    };
    ResourceUsage {
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        // The kernel counts it in KiB.
        max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024),
        // Blocks of 512 bytes, whatever those of the file system are.
        read_bytes: u64::try_from(usage.ru_inblock).unwrap_or(0).saturating_mul(512),
        written_bytes: u64::try_from(usage.ru_oublock).unwrap_or(0).saturating_mul(512),
    }
}
