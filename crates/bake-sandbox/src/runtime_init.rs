//! The helper under which an OCI runtime runs a step. It is this program, executed again by [`crate::spawn`] in the namespaces a
//! built-in sandbox would be in, and has a single thread. From top to bottom:
//!
//! 1. read the plan from its memory file;
//! 2. make a bundle in memory, which only this mount namespace shows: the rootfs, the sources of the mounts, `config.json`;
//! 3. make what is missing in the rootfs to mount on, so that it can be removed again, which runtimes do not do;
//! 4. start the runtime, which makes further namespaces for the command, and wait for it like the built-in sandbox
//!    waits for the command;
//! 5. kill what is left, remove the stubs, report.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Instant;

use bake_sys::Errno;
use bake_sys::descriptor::{close_others_on_exec, set_standard_streams, take_inherited};
use bake_sys::mount::{MountAttrFlags, attach, make_all_private, new_tmpfs};
use bake_sys::path::open_beneath_no_links;
use bake_sys::process::{Fork, execute, exit_now, fork};
use bake_sys::signal::{SignalDescriptor, reset_handlers, unblock_all};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, open, openat};

use crate::error::{ExecuteFailure, ExecuteFailureKind};
use crate::init::{Descriptors, STATUS_FAILED, end_of, kill_the_rest, take_descriptors, watch};
use crate::kernel_mounts::{empty_directory, new_proc, new_sys};
use crate::message::{CommandEnd, Message, SetupFailure, Stage, cut, send};
use crate::network_init::PLACES;
use crate::plan::{Plan, PlannedSource, decode};
use crate::runtime::ExternalRuntime;
use crate::runtime_config::{Source, configuration};
use crate::step_mounts::memory_files;
use crate::target::{Stubs, TargetKind, mount_target, root_directory};

/// The `argv[0]` by which the program knows that it is to run a runtime.
pub(crate) const RUNTIME_NAME: &std::ffi::CStr = c"bake-sandbox-runtime";
/// The name of the one container there is.
const CONTAINER: &std::ffi::CStr = c"bake";
/// The room for `config.json`, the runtime's state and its log, in bytes.
const BUNDLE_BYTES: u64 = 64 << 20;
/// How much of the runtime's log is read, in bytes.
const LOG_BYTES_MAX: usize = 64 << 10;

/// Why the step did not come to an end of its own.
enum Failure {
    Setup(SetupFailure),
    Execute(ExecuteFailure),
}

impl From<SetupFailure> for Failure {
    fn from(failure: SetupFailure) -> Self {
        Self::Setup(failure)
    }
}

/// Does everything the helper does, with the plan in descriptor `plan`.
pub(crate) fn run(plan: RawFd) -> ! {
    let Some((plan, contents)) = take_inherited(plan).ok().and_then(decode) else { exit_now(STATUS_FAILED) };
    let Ok(descriptors) = take_descriptors(&plan) else { exit_now(STATUS_FAILED) };
    let Some(runtime) = &plan.runtime else { exit_now(STATUS_FAILED) };
    let mut stubs = Stubs::default();
    let ended = prepare(&plan, &contents, runtime, &mut stubs)
        .map_err(Failure::from)
        .and_then(|bundle| supervise(&bundle, runtime, &plan, &descriptors));
    stubs.remove_all();
    let message = match ended {
        Ok(end) => Message::Ended(end),
        Err(Failure::Setup(failure)) => Message::SetupFailed(failure),
        Err(Failure::Execute(failure)) => Message::ExecuteFailed(failure),
    };
    send(descriptors.status.as_fd(), &message);
    exit_now(0)
}

/// What the runtime is started with.
struct Bundle {
    directory: OwnedFd,
    /// Where it is, by a path that is valid in this mount namespace only.
    path: String,
}

fn prepare(plan: &Plan, contents: &[u8], runtime: &ExternalRuntime, stubs: &mut Stubs) -> Result<Bundle, SetupFailure> {
    rustix::process::umask(Mode::empty());
    make_all_private().stage(|| "making all mounts private".to_owned())?;
    let (sys, sys_is_callers) = new_sys(plan)?;
    if sys_is_callers {
        hide_cgroups(&sys)?;
    }
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let directory = new_tmpfs(Some(BUNDLE_BYTES), Mode::from_raw_mode(0o755), attributes)
        .stage(|| "making a bundle for the runtime".to_owned())?;
    let path = attach_somewhere(&directory).stage(|| "attaching the bundle for the runtime".to_owned())?;
    let bundle = Bundle { directory, path };
    for name in ["rootfs", "sys", "mounts", "state"] {
        mkdirat(&bundle.directory, name, Mode::from_raw_mode(0o755))
            .stage(|| "making a bundle for the runtime".to_owned())?;
    }
    let rootfs = take_inherited(plan.rootfs).stage(|| "taking the root file system over".to_owned())?;
    attach(&rootfs, &bundle.directory, "rootfs").stage(|| "attaching the root file system".to_owned())?;
    attach(&sys, &bundle.directory, "sys").stage(|| "attaching `/sys`".to_owned())?;
    for name in ["proc", "dev", "sys"] {
        root_directory(rootfs.as_fd(), name, stubs)?;
    }
    let sources = attach_sources(plan, contents, &bundle, &rootfs, stubs)?;
    let text = configuration(plan, &bundle.path, &sources, &expand(plan, sys.as_fd()));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(&bundle.directory, "config.json", flags, Mode::from_raw_mode(0o600))
        .and_then(|file| crate::step_mounts::write_all(&file, text.as_bytes()))
        .stage(|| "writing the runtime's `config.json`".to_owned())?;
    if plan.own_network {
        bake_sys::namespace::bring_loopback_up().stage(|| "bringing the loopback device up".to_owned())?;
    }
    // The runtime looks processes up by the numbers they have in this pid namespace.
    attach(new_proc()?, CWD, "/proc").stage(|| "mounting `/proc` for the runtime".to_owned())?;
    if runtime.is_crun() {
        // It refuses to work where cgroups of both versions are mounted, even if it has nothing to do with them.
        let cover = empty_directory().stage(|| "hiding the host's cgroups".to_owned())?;
        // Where there are no cgroups there is nothing to hide.
        let _ = attach(&cover, CWD, "/sys/fs/cgroup");
    }
    Ok(bundle)
}

fn hide_cgroups(sys: &OwnedFd) -> Result<(), SetupFailure> {
    let cover = empty_directory().stage(|| "hiding the host's cgroups".to_owned())?;
    // Only what is attached can be mounted on.
    let place = open("/sys/fs/cgroup", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    match place.and_then(|_| openat(sys, "fs/cgroup", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())) {
        Ok(place) => bake_sys::mount::attach_at(&cover, &place).stage(|| "hiding the host's cgroups".to_owned()),
        Err(_) => Ok(()),
    }
}

/// Attaches a mount over a directory that the runtime needs nothing of; returns its path.
fn attach_somewhere(mount: &OwnedFd) -> Result<String, Errno> {
    let mut last = Errno::NOENT;
    for directory in PLACES {
        match attach(mount, CWD, *directory) {
            Ok(()) => return Ok((*directory).to_owned()),
            Err(errno) => last = errno,
        }
    }
    Err(last)
}

/// Attaches what is mounted in the bundle, and makes the places in the rootfs.
fn attach_sources(
    plan: &Plan,
    contents: &[u8],
    bundle: &Bundle,
    rootfs: &OwnedFd,
    stubs: &mut Stubs,
) -> Result<Vec<Source>, SetupFailure> {
    let mut files = memory_files(plan, contents)?.into_iter();
    let mut sources = Vec::with_capacity(plan.mounts.len());
    for (number, mount) in plan.mounts.iter().enumerate() {
        let shown = String::from_utf8_lossy(&mount.target).into_owned();
        let stage = || format!("mounting `{shown}`");
        let tree = match &mount.source {
            PlannedSource::Tree(number) => Some(take_inherited(*number).stage(stage)?),
            PlannedSource::File { .. } => Some(files.next().ok_or(Errno::NOENT).stage(stage)?),
            PlannedSource::Tmpfs { .. } => None,
        };
        let mut kind = TargetKind::Directory;
        let name = format!("mounts/{number}");
        if let Some(tree) = &tree {
            if FileType::from_raw_mode(fstat(tree).stage(stage)?.st_mode) == FileType::Directory {
                mkdirat(&bundle.directory, &name, Mode::from_raw_mode(0o755)).stage(stage)?;
            } else {
                kind = TargetKind::File;
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                drop(openat(&bundle.directory, &name, flags, Mode::RUSR).stage(stage)?);
            }
            attach(tree, &bundle.directory, &name).stage(stage)?;
        }
        mount_target(rootfs.as_fd(), &mount.target, kind, stubs)?;
        sources.push(if tree.is_some() { Source::Path(format!("{}/{name}", bundle.path)) } else { Source::Tmpfs });
    }
    Ok(sources)
}

/// The masked paths, with those that stand for several written out: runtimes know no patterns.
fn expand(plan: &Plan, sys: BorrowedFd<'_>) -> Vec<String> {
    let mut paths = Vec::new();
    for path in &plan.masked_paths {
        match path.strip_prefix("/sys/").and_then(|path| path.split_once("/*")) {
            None => paths.push(path.clone()),
            Some((directory, rest)) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = open_beneath_no_links(sys, directory, flags, Mode::empty());
                let entries = opened.and_then(rustix::fs::Dir::new).into_iter().flatten().flatten();
                let names = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
                paths.extend(names.filter(|name| name != "." && name != "..").filter_map(|name| {
                    let path = format!("{directory}/{name}{rest}");
                    open_beneath_no_links(sys, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
                    Some(format!("/sys/{path}"))
                }));
            }
        }
    }
    paths
}

fn supervise(
    bundle: &Bundle,
    runtime: &ExternalRuntime,
    plan: &Plan,
    descriptors: &Descriptors,
) -> Result<CommandEnd, Failure> {
    let signals = SignalDescriptor::open().stage(|| "waiting for signals".to_owned())?;
    // From here on the lifeline tells whether the other side is alive.
    rustix::process::set_parent_process_death_signal(None).stage(|| "keeping the sandbox alive".to_owned())?;
    send(descriptors.status.as_fd(), &Message::Ready);
    let started = Instant::now();
    match fork().stage(|| "making the process of the runtime".to_owned())? {
        Fork::Child => become_runtime(bundle, runtime, descriptors),
        Fork::Parent { child } => {
            let ended = watch(child, &signals, descriptors.lifeline.as_fd(), None);
            let wall = started.elapsed();
            kill_the_rest();
            match complaint(bundle) {
                Some(text) => Err(failure(runtime, plan, &text)),
                None => Ok(end_of(ended, wall)),
            }
        }
    }
}

/// Runs in the forked process.
fn become_runtime(bundle: &Bundle, runtime: &ExternalRuntime, descriptors: &Descriptors) -> ! {
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let program = CString::new(runtime.program().as_os_str().as_bytes()).unwrap_or_default();
    let mut arguments = vec![
        program.clone(),
        c"--root".to_owned(),
        text(&format!("{}/state", bundle.path)),
        c"--log".to_owned(),
        text(&format!("{}/log", bundle.path)),
        c"--log-format".to_owned(),
        c"json".to_owned(),
    ];
    if runtime.is_crun() {
        arguments.push(c"--cgroup-manager=disabled".to_owned());
    }
    arguments.extend([c"run".to_owned(), c"--bundle".to_owned(), text(&bundle.path), CONTAINER.to_owned()]);
    let environment = [
        c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        text(&format!("XDG_RUNTIME_DIR={}/state", bundle.path)),
    ];
    let null = open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let prepared = null.and_then(|null| {
        let stdin = descriptors.stdin.as_ref().unwrap_or(&null);
        set_standard_streams(stdin, &descriptors.stdout, &descriptors.stderr)?;
        close_others_on_exec()?;
        unblock_all()
    });
    reset_handlers();
    let errno = match prepared {
        Ok(()) => execute(&program, &arguments, &environment),
        Err(errno) => errno,
    };
    let failure = SetupFailure::new(format!("executing `{}`", runtime.program().display()), errno);
    send(descriptors.status.as_fd(), &Message::SetupFailed(failure));
    exit_now(STATUS_FAILED)
}

/// The last error in the runtime's log.
fn complaint(bundle: &Bundle) -> Option<String> {
    let file = openat(&bundle.directory, "log", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut bytes = vec![0; LOG_BYTES_MAX];
    let length = rustix::io::read(&file, &mut bytes).ok()?;
    let text = String::from_utf8_lossy(bytes.get(..length)?).into_owned();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut errors = lines.filter(|line| line.get("level").and_then(|level| level.as_str()) == Some("error"));
    errors.next_back()?.get("msg")?.as_str().map(str::to_owned)
}

/// What a runtime's complaint means: it is mostly that the command cannot be executed.
fn failure(runtime: &ExternalRuntime, plan: &Plan, text: &str) -> Failure {
    let lower = text.to_lowercase();
    let is_about_execution = lower.contains("executable file") || lower.contains("exec: ") || lower.contains("exec `");
    let kind = if lower.contains("not found in $path") {
        Some(ExecuteFailureKind::NotInPath)
    } else if is_about_execution && lower.contains("no such file") {
        Some(ExecuteFailureKind::NotFound)
    } else if is_about_execution && lower.contains("permission denied") {
        Some(ExecuteFailureKind::PermissionDenied)
    } else if lower.contains("exec format error") {
        Some(ExecuteFailureKind::FormatUnknown)
    } else {
        None
    };
    match kind {
        Some(kind) => {
            let program = cut(plan.arguments.first().cloned().unwrap_or_default());
            Failure::Execute(ExecuteFailure { program, kind })
        }
        None => Failure::Setup(
            SetupFailure::new(format!("running the step with `{}`", runtime.program().display()), Errno::IO)
                .with_hint(format!("it said: {}", text.replace(char::is_control, " "))),
        ),
    }
}
