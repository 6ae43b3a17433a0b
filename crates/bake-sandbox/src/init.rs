//! The first process of a sandbox. It is this program, executed again by [`crate::spawn`] in new namespaces, and has a
//! single thread. From top to bottom:
//!
//! 1. become untraceable, read the plan from its memory file;
//! 2. make every mount private: nothing done here spreads to the host;
//! 3. prepare `/proc`, `/dev` and `/sys` while the host's are still reachable (`kernel_mounts`);
//! 4. attach the rootfs, make it the root, and drop the host's file systems;
//! 5. attach `/proc`, `/dev` and `/sys`, make the terminal in them (`terminal`), then the step's own mounts (`step_mounts`, `target`);
//! 6. make paths read-only and hide others;
//! 7. host name, loopback device, resource limits, session keyring;
//! 8. say that all is ready, start the command (`command`);
//! 9. until the command ends: reap, forward signals, and watch the lifeline of the process that wants the step;
//! 10. kill what is left, remove the stubs, report.
//!
//! It keeps all capabilities of the namespace for step 10, has no filter, and is therefore never traceable and never
//! runs anything of the rootfs itself.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use bake_sys::Errno;
use bake_sys::descriptor::take_inherited;
use bake_sys::path::open_beneath_no_links;
use bake_sys::process::{Ended, Fork, WaitMode, children_usage, exit_now, fork, wait_any};
use bake_sys::signal::{SignalDescriptor, kill_namespace, send_to_child};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, open};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal, set_dumpable_behavior};

use crate::command;
use crate::emulation::{Emulation, Handover, Identity};
use crate::kernel_mounts;
use crate::message::{CommandEnd, Message, SetupFailure, Stage, send};
use crate::plan::{Plan, PlannedRlimit, decode};
use crate::running::microseconds;
use crate::step::FakeIds;
use crate::step_mounts;
use crate::target::{PROC_SUPER_MAGIC, Stubs, file_system_type};
use crate::terminal;

/// The `argv[0]` by which the program knows that it is the first process of a sandbox.
pub(crate) const INIT_NAME: &std::ffi::CStr = c"bake-sandbox-init";

/// The exit status when there is nobody to report to, or everything was reported.
pub(crate) const STATUS_FAILED: u8 = 1;

/// The descriptors of the first process.
pub(crate) struct Descriptors {
    pub(crate) status: OwnedFd,
    pub(crate) lifeline: OwnedFd,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// The socket that the master of a terminal goes out through.
    pub(crate) terminal: Option<OwnedFd>,
}

/// Does everything the first process does, with the plan in descriptor `plan`.
pub(crate) fn run(plan: RawFd) -> ! {
    // Before anything else: executing a program has made this process traceable again.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let Some((plan, contents)) = take_inherited(plan).ok().and_then(decode) else { exit_now(STATUS_FAILED) };
    let Ok(mut descriptors) = take_descriptors(&plan) else { exit_now(STATUS_FAILED) };
    let mut stubs = Stubs::default();
    let ready = set_up(&plan, &contents, &mut descriptors, &mut stubs);
    match ready.and_then(|null| supervise(&plan, &contents, &descriptors, &null)) {
        Ok(end) => {
            stubs.remove_all();
            send(descriptors.status.as_fd(), &Message::Ended(end));
            exit_now(0)
        }
        Err(failure) => {
            stubs.remove_all();
            send(descriptors.status.as_fd(), &Message::SetupFailed(failure));
            exit_now(STATUS_FAILED)
        }
    }
}

pub(crate) fn take_descriptors(plan: &Plan) -> bake_sys::Result<Descriptors> {
    Ok(Descriptors {
        status: take_inherited(plan.status)?,
        lifeline: take_inherited(plan.lifeline)?,
        stdin: plan.stdin.map(take_inherited).transpose()?,
        stdout: take_inherited(plan.stdout)?,
        stderr: take_inherited(plan.stderr)?,
        terminal: plan.terminal.as_ref().map(|terminal| take_inherited(terminal.socket)).transpose()?,
    })
}

/// Steps 2 to 7; returns the opened `/dev/null` of the step.
fn set_up(
    plan: &Plan,
    contents: &[u8],
    descriptors: &mut Descriptors,
    stubs: &mut Stubs,
) -> Result<OwnedFd, SetupFailure> {
    // Modes of what is created here are meant exactly; the command gets its own mask.
    rustix::process::umask(Mode::empty());
    bake_sys::mount::make_all_private().stage(|| "making all mounts private".to_owned())?;
    let kernel_mounts = kernel_mounts::prepare(plan)?;
    let root = enter_rootfs(plan.rootfs)?;
    let null = kernel_mounts::attach(&kernel_mounts, root.as_fd(), stubs)?;
    if plan.terminal.is_some() {
        terminal::give(plan, &kernel_mounts, descriptors)?;
    }
    if plan.own_network {
        // While nothing of the step's own is mounted over the fresh `/proc`.
        allow_echo_requests(plan, root.as_fd());
    }
    step_mounts::attach_all(plan, contents, root.as_fd(), stubs)?;
    step_mounts::restrict(plan, root.as_fd(), null.as_fd())?;
    match bake_sys::namespace::set_host_name(plan.hostname.as_bytes()) {
        // In a namespace of our own only the filter of a surrounding container forbids it, as podman's does. The step then has that
        // container's name, in which nothing is worth a failed build.
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(SetupFailure::new("setting the host name".to_owned(), errno)),
    }
    if plan.own_network {
        bake_sys::namespace::bring_loopback_up().stage(|| "bringing the loopback device up".to_owned())?;
    }
    for limit in &plan.rlimits {
        set_rlimit(limit);
    }
    match bake_sys::keyring::join_new_session() {
        // A kernel without keys has none to hide.
        Err(Errno::NOSYS) => {}
        other => other.stage(|| "joining a new session keyring".to_owned())?,
    }
    Ok(null)
}

/// Makes the rootfs the root of this mount namespace and its only mount.
fn enter_rootfs(number: RawFd) -> Result<OwnedFd, SetupFailure> {
    let rootfs = take_inherited(number).stage(|| "taking the root file system over".to_owned())?;
    let attach = || -> Result<(), Errno> {
        // Over the present root: a directory that exists for certain, and where no path leads to it.
        bake_sys::mount::attach(&rootfs, CWD, c"/")?;
        rustix::process::fchdir(&rootfs)
    };
    attach().stage(|| "attaching the root file system".to_owned())?;
    bake_sys::mount::pivot_root_to_working_directory().map_err(|errno| {
        let failure = SetupFailure::new("changing to the root file system", errno);
        if errno == Errno::INVAL {
            failure.with_hint(
                "this machine runs from its initial ramdisk or in a `chroot`, where `pivot_root` cannot work",
            )
        } else {
            failure
        }
    })?;
    let check = || -> Result<OwnedFd, Errno> {
        let directory = rustix::process::getcwd(Vec::new())?;
        if directory.to_bytes() != b"/" {
            return Err(Errno::XDEV);
        }
        open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    check().stage(|| "checking that the root file system is the root".to_owned())
}

/// Lets every group of the step send echo requests in its own network (`ping_group_range` in `icmp(7)`): `ping` then works
/// without the capability for raw sockets. Nothing else depends on it, so a kernel that refuses is no failure.
fn allow_echo_requests(plan: &Plan, root: BorrowedFd<'_>) {
    // The kernel keeps groups as signed numbers here, and takes only groups that are mapped.
    let mapped = plan.id_map.groups.iter().find(|range| range.inside == 0).map_or(1, |range| range.count);
    let last = mapped.saturating_sub(1).min(i32::MAX.unsigned_abs());
    let opened = open_beneath_no_links(
        root,
        "proc/sys/net/ipv4/ping_group_range",
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    if let Ok(file) = opened
        && file_system_type(file.as_fd()).is_ok_and(|magic| magic == PROC_SUPER_MAGIC)
    {
        let _ = rustix::io::write(&file, format!("0 {last}").as_bytes());
    }
}

/// Sets a limit as far as this process may: never above the hard limit it already has.
fn set_rlimit(limit: &PlannedRlimit) {
    let (soft, hard) = possible(limit);
    let finite = |value: u64| if value == u64::MAX { None } else { Some(value) };
    let wanted = Rlimit { current: finite(soft), maximum: finite(hard) };
    // Lowering is always allowed; should the kernel refuse, the limits of the host stay.
    let _ = rustix::process::setrlimit(resource(limit), wanted);
}

/// What of a limit this process may set, soft and hard.
pub(crate) fn possible(limit: &PlannedRlimit) -> (u64, u64) {
    let present = rustix::process::getrlimit(resource(limit)).maximum.unwrap_or(u64::MAX);
    let hard = limit.hard.min(present);
    (limit.soft.min(hard), hard)
}

fn resource(limit: &PlannedRlimit) -> Resource {
    use oci_spec::runtime::PosixRlimitType as Kind;
    match limit.kind {
        Kind::RlimitCpu => Resource::Cpu,
        Kind::RlimitFsize => Resource::Fsize,
        Kind::RlimitData => Resource::Data,
        Kind::RlimitStack => Resource::Stack,
        Kind::RlimitCore => Resource::Core,
        Kind::RlimitRss => Resource::Rss,
        Kind::RlimitNproc => Resource::Nproc,
        Kind::RlimitNofile => Resource::Nofile,
        Kind::RlimitMemlock => Resource::Memlock,
        Kind::RlimitAs => Resource::As,
        Kind::RlimitLocks => Resource::Locks,
        Kind::RlimitSigpending => Resource::Sigpending,
        Kind::RlimitMsgqueue => Resource::Msgqueue,
        Kind::RlimitNice => Resource::Nice,
        Kind::RlimitRtprio => Resource::Rtprio,
        Kind::RlimitRttime => Resource::Rttime,
    }
}

/// Steps 8 to 10, but for the stubs.
fn supervise(
    plan: &Plan,
    contents: &[u8],
    descriptors: &Descriptors,
    null: &OwnedFd,
) -> Result<CommandEnd, SetupFailure> {
    // Signals were blocked before this process existed, so none is lost or acts before it is read here.
    let signals = SignalDescriptor::open().stage(|| "waiting for signals".to_owned())?;
    // From here on the lifeline tells whether the other side is alive. The signal would also come when only the
    // thread that started this sandbox ends.
    rustix::process::set_parent_process_death_signal(None).stage(|| "keeping the sandbox alive".to_owned())?;
    send(descriptors.status.as_fd(), &Message::Ready);
    let started = Instant::now();
    let handover = match plan.fake_ids {
        FakeIds::On => Some(Handover::new().stage(|| "making pipes for the system call filter".to_owned())?),
        FakeIds::Off => None,
    };
    match fork().stage(|| "making the process of the command".to_owned())? {
        Fork::Child => command::run(plan, contents, descriptors, null.as_fd(), handover.as_ref()),
        Fork::Parent { child } => {
            let listener = match handover {
                Some(handover) => handover.take(child).stage(|| "taking the system call filter over".to_owned())?,
                None => None,
            };
            let mut emulation = listener.map(|listener| {
                Emulation::new(listener, Identity::new(plan.user, plan.group, &plan.supplementary_groups))
            });
            let ended = watch(child, &signals, descriptors.lifeline.as_fd(), emulation.as_mut());
            let wall = started.elapsed();
            kill_the_rest();
            if let Some(emulation) = &mut emulation {
                emulation.finish();
            }
            Ok(end_of(ended, wall))
        }
    }
}

/// Waits until the command ends, and answers calls meanwhile where they are emulated.
pub(crate) fn watch(
    command: u32,
    signals: &SignalDescriptor,
    lifeline: BorrowedFd<'_>,
    mut emulation: Option<&mut Emulation>,
) -> Ended {
    loop {
        let mut polled = vec![PollFd::new(signals, PollFlags::IN), PollFd::from_borrowed_fd(lifeline, PollFlags::IN)];
        if let Some(emulation) = &emulation {
            polled.push(PollFd::from_borrowed_fd(emulation.listener(), PollFlags::IN));
        }
        // An interrupted wait is as good as a finished one: both are followed by a look at everything.
        let _ = poll(&mut polled, None);
        let states: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        drop(polled);
        if states.get(1).is_some_and(|state| !state.is_empty()) {
            // The other side is gone: there is nobody to report to.
            let _ = kill_namespace();
            exit_now(STATUS_FAILED)
        }
        match (states.get(2), &mut emulation) {
            (Some(state), Some(emulation)) if state.contains(PollFlags::IN) => emulation.answer_next(),
            // Nobody is left who could ask; the command's end is about to be reported.
            (Some(state), _) if state.contains(PollFlags::HUP) => {
                if let Some(emulation) = emulation.take() {
                    emulation.finish();
                }
            }
            _ => {}
        }
        while let Ok(Some(number)) = signals.next() {
            if number == Signal::CHILD.as_raw() {
                if let Some(ended) = reap(command) {
                    return ended;
                }
            } else if FORWARDED.iter().any(|signal| signal.as_raw() == number) {
                let _ = send_to_child(command, number);
            }
        }
    }
}

/// What somebody outside may want to tell the command.
const FORWARDED: &[Signal] =
    &[Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::CONT];

/// Takes the status of every child that ended; of the command it is returned.
fn reap(command: u32) -> Option<Ended> {
    let mut of_command = None;
    while let Ok(Some(waited)) = wait_any(WaitMode::Poll) {
        if waited.pid == command {
            of_command = Some(waited.ended);
        }
    }
    of_command
}

/// Kills and reaps everything else in this pid namespace.
pub(crate) fn kill_the_rest() {
    let _ = kill_namespace();
    // Ends with ECHILD: orphans become children of this process, so none is left then.
    while let Ok(Some(_)) = wait_any(WaitMode::Block) {}
}

pub(crate) fn end_of(ended: Ended, wall: Duration) -> CommandEnd {
    let usage = children_usage().unwrap_or_default();
    let (exit_code, signal) = match ended {
        Ended::Exited(code) => (Some(code), None),
        Ended::Signaled(signal) => (None, Some(signal)),
    };
    CommandEnd {
        exit_code,
        signal,
        user_us: microseconds(usage.user),
        system_us: microseconds(usage.system),
        max_rss_bytes: usage.max_rss_bytes,
        read_bytes: usage.read_bytes,
        written_bytes: usage.written_bytes,
        wall_us: microseconds(wall),
    }
}
