//! The helper that owns a step's network. It is this program, executed again by `network` in new namespaces, and has a
//! single thread. From top to bottom:
//!
//! 1. read the plan from its memory file;
//! 2. in its own mount namespace, make a place where `pasta` can find a network namespace by path;
//! 3. fork the process that becomes `pasta`, which stays in the host's network;
//! 4. enter a new network namespace and set it up;
//! 5. let `pasta` go and wait until it has gone into the background;
//! 6. report, and then wait for the end of the process that wants the network, or of `pasta`.

use std::ffi::CString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;

use bake_sys::descriptor::{set_standard_streams, take_inherited};
use bake_sys::mount::{MountAttrFlags, Recursion, attach, attach_at, clone_tree, make_all_private, new_tmpfs};
use bake_sys::process::{Ended, Fork, Namespaces, WaitMode, execute, exit_now, fork, wait_any, wait_child};
use bake_sys::signal::{SignalDescriptor, reset_handlers, unblock_all};
use bake_sys::{Errno, namespace};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, open, openat};
use rustix::pipe::PipeFlags;

use crate::message::{Message, SetupFailure, Stage, send};
use crate::network::{NetworkPlan, TUN};

/// The `argv[0]` by which the program knows that it is the helper of a network.
pub(crate) const NETWORK_NAME: &std::ffi::CStr = c"bake-sandbox-network";

/// The exit status when there is nobody to report to, or everything was reported.
const STATUS_FAILED: u8 = 1;
/// Directories of which one is covered, in this process's mounts only, to have a place for the namespace: such that `pasta` needs
/// nothing of.
pub(crate) const PLACES: &[&str] = &["/mnt", "/media", "/srv", "/tmp", "/var/tmp"];
/// The name of the namespace in its place.
const NAME: &str = "network";
/// How much of what `pasta` complains about is read, in bytes.
const COMPLAINT_BYTES_MAX: usize = 4096;

/// Does everything the helper does, with the plan in descriptor `plan`.
pub(crate) fn run(plan: RawFd) -> ! {
    let Some(plan) = take_inherited(plan).ok().and_then(decode) else { exit_now(STATUS_FAILED) };
    let (Ok(status), Ok(lifeline)) = (take_inherited(plan.status), take_inherited(plan.lifeline)) else {
        exit_now(STATUS_FAILED)
    };
    match set_up(&plan) {
        Ok(signals) => {
            send(status.as_fd(), &Message::Ready);
            wait_for_the_end(&signals, lifeline.as_fd());
        }
        Err(failure) => send(status.as_fd(), &Message::SetupFailed(failure)),
    }
    // Being the first process of its pid namespace, it takes `pasta` with it.
    exit_now(STATUS_FAILED)
}

fn decode(file: OwnedFd) -> Option<NetworkPlan> {
    let mut text = Vec::new();
    File::from(file).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn set_up(plan: &NetworkPlan) -> Result<SignalDescriptor, SetupFailure> {
    let signals = SignalDescriptor::open().stage(|| "waiting for signals".to_owned())?;
    // From here on the lifeline tells whether the other side is alive. The signal would also come when only the
    // thread that started this process ends.
    rustix::process::set_parent_process_death_signal(None).stage(|| "keeping the network alive".to_owned())?;
    make_all_private().stage(|| "making all mounts private".to_owned())?;
    if let Some(tun) = plan.tun {
        let show = || attach(take_inherited(tun)?, CWD, TUN);
        show().stage(|| format!("showing `{TUN}`"))?;
    }
    let (place, path) = make_place().stage(|| "making a place for a network namespace".to_owned())?;
    let (go_reader, go) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).stage(|| "making a pipe for `pasta`".to_owned())?;
    let (complaint, complaint_writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
        .stage(|| "making a pipe for `pasta`".to_owned())?;
    let child = match fork().stage(|| "making the process of `pasta`".to_owned())? {
        Fork::Child => {
            drop((go, complaint));
            become_pasta(plan, &path, &go_reader, &complaint_writer)
        }
        Fork::Parent { child } => child,
    };
    drop((go_reader, complaint_writer));
    enter_network(plan, &place)?;
    rustix::io::write(&go, b"g").stage(|| "starting `pasta`".to_owned())?;
    let ended = wait_child(child).stage(|| "waiting for `pasta`".to_owned())?.ended;
    if ended == Ended::Exited(0) {
        return Ok(signals);
    }
    let mut said = [0_u8; COMPLAINT_BYTES_MAX];
    let length = rustix::io::read(&complaint, &mut said).unwrap_or(0);
    let said = String::from_utf8_lossy(said.get(..length).unwrap_or_default());
    let failure = SetupFailure::new(format!("starting `{}`", plan.program.display()), Errno::IO);
    Err(match last_line(&said) {
        Some(line) => failure.with_hint(format!("it said: {line}")),
        None => failure,
    })
}

/// An empty file in a directory that only this mount namespace shows, and its path.
fn make_place() -> Result<(OwnedFd, CString), Errno> {
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = new_tmpfs(Some(4096), Mode::from_raw_mode(0o755), attributes)?;
    let mut attached = Err(Errno::NOENT);
    for directory in PLACES {
        attached = attach(&mount, CWD, *directory).map(|()| *directory);
        if attached.is_ok() {
            break;
        }
    }
    let path = CString::new(format!("{}/{NAME}", attached?)).map_err(|_| Errno::INVAL)?;
    drop(openat(&mount, NAME, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)?);
    let file = openat(&mount, NAME, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Ok((file, path))
}

/// Enters a new network namespace, gives it what a step expects, and shows it in its place.
fn enter_network(plan: &NetworkPlan, place: &OwnedFd) -> Result<(), SetupFailure> {
    namespace::unshare(Namespaces::NETWORK).stage(|| "making a network namespace".to_owned())?;
    namespace::bring_loopback_up().stage(|| "bringing the loopback device up".to_owned())?;
    // Steps have no capability over this namespace, so what containers may do is allowed to everybody in it: to listen on
    // any port, and to send echo requests (`ping`). Where `/proc/sys` cannot be written, they go without.
    write_setting(c"/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    write_setting(c"/proc/sys/net/ipv4/ping_group_range", &format!("0 {}", plan.last_group));
    // Some versions of `pasta` (that of Debian 12) answer a refused connection with something the kernel does not take for an
    // answer. It then gives up after half a minute instead of two.
    write_setting(c"/proc/sys/net/ipv4/tcp_syn_retries", "4");
    let show = || -> Result<(), Errno> {
        let own = open(c"/proc/self/ns/net", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        attach_at(clone_tree(&own, c"", Recursion::Single)?, place)
    };
    show().stage(|| "naming a network namespace".to_owned())
}

fn write_setting(path: &std::ffi::CStr, value: &str) {
    if let Ok(file) = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
        let _ = rustix::io::write(&file, value.as_bytes());
    }
}

/// Runs in the forked process, which is still in the host's network.
fn become_pasta(plan: &NetworkPlan, path: &CString, go: &OwnedFd, complaint: &OwnedFd) -> ! {
    let mut byte = [0_u8; 1];
    if !matches!(rustix::io::read(go, &mut byte), Ok(1)) {
        exit_now(STATUS_FAILED);
    }
    let text = |text: &[u8]| CString::new(text).unwrap_or_default();
    let program = text(plan.program.as_os_str().as_bytes());
    let mut arguments = vec![c"pasta".to_owned(), c"--netns-only".to_owned(), c"--netns".to_owned(), path.clone()];
    arguments.extend(plan.arguments.iter().map(|argument| text(argument.as_bytes())));
    let prepared = open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .and_then(|null| set_standard_streams(&null, &null, complaint))
        .and_then(|()| bake_sys::descriptor::close_others_on_exec())
        .and_then(|()| unblock_all());
    reset_handlers();
    let errno = match prepared {
        Ok(()) => execute(&program, &arguments, &[]),
        Err(errno) => errno,
    };
    let _ = rustix::io::write(complaint, std::io::Error::from(errno).to_string().as_bytes());
    exit_now(STATUS_FAILED)
}

/// The last thing that was said, without control characters.
fn last_line(said: &str) -> Option<String> {
    let line = said.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(line.chars().filter(|character| !character.is_control()).collect())
}

/// Returns when nobody wants the network any more, or nothing is left of `pasta`.
fn wait_for_the_end(signals: &SignalDescriptor, lifeline: BorrowedFd<'_>) {
    loop {
        let mut polled = [PollFd::new(signals, PollFlags::IN), PollFd::from_borrowed_fd(lifeline, PollFlags::IN)];
        let _ = poll(&mut polled, None);
        let [_, lifeline_state] = &polled;
        if !lifeline_state.revents().is_empty() {
            return;
        }
        while let Ok(Some(_)) = signals.next() {}
        loop {
            match wait_any(WaitMode::Poll) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}
