//! Starting a sandbox, from the side of the process that wants it.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::{Mutex, OnceLock, PoisonError};

use bake_sys::Errno;
use bake_sys::descriptor::{MemoryKind, sealed_memory};
use bake_sys::mount::{AttributeChange, MountAttrFlags, Recursion, clone_tree, set_attributes};
use bake_sys::process::{ChildProcess, CloneAndExecute, Namespaces, StartStage, clone_and_execute};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;

use crate::error::SandboxError;
use crate::id_map::IdMap;
use crate::init::INIT_NAME;
use crate::kernel_mounts::sysfs;
use crate::message::{Message, Received, Report};
use crate::plan::{PlanDescriptors, encode};
use crate::running::Running;
use crate::runtime_init::RUNTIME_NAME;
use crate::step::{CgroupDirectory, Network, Step};

/// Sets the sandbox of a step up and starts its command.
///
/// Call it and [`Running::wait`] on threads of any kind; while `spawn` itself runs, its thread must not end. The
/// program must call [`crate::maybe_enter`] first thing in `main`.
///
/// # Errors
/// [`SandboxError::InvalidStep`], [`SandboxError::Host`], [`SandboxError::Setup`], [`SandboxError::Died`]. That the
/// command cannot be executed is reported by [`Running::wait`].
pub fn spawn(step: Step) -> Result<Running, SandboxError> {
    let namespace = match &step.network {
        Network::Namespace(namespace) => {
            namespace.try_clone().map_err(|error| SandboxError::host("duplicating a descriptor", error))?
        }
        Network::Host | Network::None => return spawn_here(step),
    };
    // On a thread of its own, which ends with this call: an ordinary user's thread cannot return to the host's network.
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            bake_sys::namespace::enter_network(namespace.as_fd())
                .map_err(|errno| SandboxError::host("entering the step's network namespace", errno))?;
            spawn_here(step)
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Starts the step from a thread that is in the network the step is to have.
fn spawn_here(mut step: Step) -> Result<Running, SandboxError> {
    let id_map = step.id_map.clone();
    let name = if step.runtime.is_some() { RUNTIME_NAME } else { INIT_NAME };
    let owner = step.spec.process().as_ref().map_or((0, 0), |process| (process.user().uid(), process.user().gid()));
    let cgroups = std::mem::take(&mut step.cgroups);
    let pipe = |what: &str| {
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|errno| SandboxError::host(format!("making a pipe for {what}"), errno))
    };
    let (stdout, stdout_writer) = pipe("standard output")?;
    let (stderr, stderr_writer) = pipe("standard error")?;
    let (status, status_writer) = pipe("reports")?;
    let (lifeline_reader, lifeline) = pipe("the lifeline")?;
    for writer in [&stdout_writer, &stderr_writer] {
        give_to_step(writer, &id_map, owner);
    }
    let sys = match &step.network {
        // Only who owns the network namespace may mount its sysfs, which no step does.
        Network::Namespace(_) => sysfs().ok(),
        Network::Host | Network::None => None,
    };
    let plan = encode(
        step,
        sys,
        &PlanDescriptors {
            status: status_writer.as_fd(),
            lifeline: lifeline_reader.as_fd(),
            stdout: stdout_writer.as_fd(),
            stderr: stderr_writer.as_fd(),
        },
    )?;
    let null = open_null()?;
    let mut inherited: Vec<BorrowedFd<'_>> = plan.inherited.iter().map(AsFd::as_fd).collect();
    inherited.extend([
        plan.file.as_fd(),
        status_writer.as_fd(),
        lifeline_reader.as_fd(),
        stdout_writer.as_fd(),
        stderr_writer.as_fd(),
    ]);
    let argument = CString::new(plan.file.as_raw_fd().to_string())
        .map_err(|_| SandboxError::InvalidStep { reason: "a descriptor has no number".to_owned() })?;
    let child = start(&Start {
        arguments: &[name.to_owned(), argument],
        namespaces: namespaces_of(&plan.network),
        cgroups: &cgroups,
        id_map: &id_map,
        null: null.as_fd(),
        inherited: &inherited,
        status: status_writer.as_fd(),
    })?;
    drop(inherited);
    // Only the sandbox may hold the writing ends: their closing says that it has ended.
    drop((stdout_writer, stderr_writer, status_writer, lifeline_reader, plan));
    let running = Running::new(child, stdout, stderr, status, lifeline);
    wait_until_ready(running)
}

/// The namespaces that a step gets for itself.
fn namespaces_of(network: &Network) -> Namespaces {
    let namespaces = Namespaces::USER
        .with(Namespaces::MOUNT)
        .with(Namespaces::PID)
        .with(Namespaces::IPC)
        .with(Namespaces::UTS)
        .with(Namespaces::CGROUP);
    match network {
        Network::None => namespaces.with(Namespaces::NETWORK),
        Network::Host | Network::Namespace(_) => namespaces,
    }
}

/// What [`start`] needs.
pub(crate) struct Start<'a> {
    pub(crate) arguments: &'a [CString],
    pub(crate) namespaces: Namespaces,
    pub(crate) cgroups: &'a [CgroupDirectory],
    pub(crate) id_map: &'a IdMap,
    pub(crate) null: BorrowedFd<'a>,
    pub(crate) inherited: &'a [BorrowedFd<'a>],
    pub(crate) status: BorrowedFd<'a>,
}

/// Held between the clone and the go of one child. Two children that wait at the same time would each hold the
/// writing end of the other's pipe, and wait for ever if this process was killed just then.
static START: Mutex<()> = Mutex::new(());

/// Starts this program again in new namespaces.
pub(crate) fn start(start: &Start<'_>) -> Result<ChildProcess, SandboxError> {
    let unified = start.cgroups.iter().find_map(|cgroup| match cgroup {
        CgroupDirectory::Unified(directory) => Some(directory.as_fd()),
        CgroupDirectory::Legacy(_) => None,
    });
    let executable = own_executable()?;
    let _guard = START.lock().unwrap_or_else(PoisonError::into_inner);
    let (go_reader, go) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|errno| SandboxError::host("making a pipe for the start", errno))?;
    let child = clone_and_execute(&CloneAndExecute {
        namespaces: start.namespaces,
        cgroup: unified,
        executable: executable.as_fd(),
        arguments: start.arguments,
        standard_streams: start.null,
        inherited: start.inherited,
        go: go_reader.as_fd(),
        go_writer: go.as_fd(),
        failure: start.status,
    })
    .map_err(clone_error)?;
    drop(go_reader);
    let prepared = write_maps(child.pid, start.id_map).and_then(|()| join_legacy_cgroups(child.pid, start.cgroups));
    if prepared.is_ok() {
        // The child may have been killed by somebody else already; then its status says so.
        let _ = rustix::io::write(&go, b"g");
    }
    drop(go);
    match prepared {
        Ok(()) => Ok(child),
        Err(error) => {
            let _ = bake_sys::signal::send(&child.pidfd, rustix::process::Signal::KILL);
            let _ = bake_sys::process::wait_pidfd(&child.pidfd);
            Err(error)
        }
    }
}

fn clone_error(errno: Errno) -> SandboxError {
    let hint = match errno {
        Errno::PERM => {
            "unprivileged user namespaces are switched off on this machine (`user.max_user_namespaces`, \
                        `kernel.unprivileged_userns_clone`, `kernel.apparmor_restrict_unprivileged_userns`), or a \
                        surrounding container forbids them"
        }
        Errno::NOSPC | Errno::USERS => "the limit on namespaces is reached (`user.max_*_namespaces`)",
        Errno::NOSYS => "the kernel has no `clone3` (before Linux 5.7), or a surrounding container forbids it",
        _ => {
            return SandboxError::host("making a process in new namespaces", errno);
        }
    };
    SandboxError::Host {
        action: "making a process in new namespaces".to_owned(),
        source: errno.into(),
        hint: Some(hint.to_owned()),
    }
}

/// Writes the id maps of the user namespace of process `pid`.
pub(crate) fn write_maps(pid: u32, map: &IdMap) -> Result<(), SandboxError> {
    let write = |file: &str, text: &str| -> Result<(), (String, io::Error)> {
        let path = format!("/proc/{pid}/{file}");
        // The kernel takes a map in a single write only.
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| (format!("writing `{path}`"), source))
    };
    let failed = |(action, source): (String, io::Error)| {
        let hint = "the ids are not all mapped in this user namespace, or this user may not map them".to_owned();
        SandboxError::Host { action, source, hint: Some(hint) }
    };
    write("uid_map", &map.users_text()).map_err(failed)?;
    if write("gid_map", &map.groups_text()).is_ok() {
        return Ok(());
    }
    // Without privilege over the groups they can only be mapped once `setgroups` is given up.
    write("setgroups", "deny").map_err(failed)?;
    write("gid_map", &map.groups_text()).map_err(failed)
}

fn join_legacy_cgroups(pid: u32, cgroups: &[CgroupDirectory]) -> Result<(), SandboxError> {
    for cgroup in cgroups {
        let CgroupDirectory::Legacy(directory) = cgroup else { continue };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(directory, "cgroup.procs", flags, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|file| File::from(file).write_all(pid.to_string().as_bytes()))
            .map_err(|source| SandboxError::host("moving the step into its cgroup", source))?;
    }
    Ok(())
}

/// Makes the step's user the owner of an output pipe, so that it can open `/dev/stdout` and `/dev/stderr`.
///
/// Where that is not possible writing to the pipe itself still works, so it is no reason to fail.
fn give_to_step(pipe: &OwnedFd, map: &IdMap, (user, group): (u32, u32)) {
    let user = map.outside_user(user).or_else(|| map.outside_user(0));
    let group = map.outside_group(group).or_else(|| map.outside_group(0));
    let _ =
        rustix::fs::fchown(pipe, user.map(rustix::process::Uid::from_raw), group.map(rustix::process::Gid::from_raw));
}

pub(crate) fn open_null() -> Result<OwnedFd, SandboxError> {
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| SandboxError::host("opening `/dev/null`", errno))
}

/// This program's own file, opened so that nobody who gets at it through `/proc` can write it.
///
/// It is read through a read-only mount of its own, which also works for a file in a directory others may not enter.
/// A file that others may not execute, or a host where such a mount is not possible, gets a sealed copy in memory.
fn own_executable() -> Result<BorrowedFd<'static>, SandboxError> {
    static EXECUTABLE: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(executable) = EXECUTABLE.get() {
        return Ok(executable.as_fd());
    }
    let failed = |source: io::Error| SandboxError::host("opening this program's own file", source);
    let mut file = File::open("/proc/self/exe").map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let executable_by_others = metadata.permissions().mode() & 0o001 != 0;
    let mounted = if executable_by_others { read_only_mount((metadata.dev(), metadata.ino())).ok() } else { None };
    let executable = if let Some(executable) = mounted {
        executable
    } else {
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed)?;
        sealed_memory("bake", MemoryKind::Program, &content)
            .map_err(|errno| SandboxError::host("copying this program into memory", errno))?
    };
    Ok(EXECUTABLE.get_or_init(|| executable).as_fd())
}

/// Mounts the file this program was executed from, if it is still there.
///
/// By its name, because the file as it was executed may lie in a mount namespace that this process has left since.
fn read_only_mount(identity: (u64, u64)) -> bake_sys::Result<OwnedFd> {
    let name = rustix::fs::readlink("/proc/self/exe", Vec::new())?;
    let mount = clone_tree(rustix::fs::CWD, name, Recursion::Single)?;
    let status = rustix::fs::fstat(&mount)?;
    if (status.st_dev, status.st_ino) != identity {
        return Err(Errno::STALE);
    }
    set_attributes(&mount, c"", Recursion::Single, AttributeChange::setting(MountAttrFlags::MOUNT_ATTR_RDONLY))?;
    Ok(mount)
}

/// Waits for the sandbox to say that it is set up.
fn wait_until_ready(mut running: Running) -> Result<Running, SandboxError> {
    let mut received = Received::default();
    let mut buffer = [0_u8; 4096];
    loop {
        let length = match rustix::io::read(running.status(), &mut buffer) {
            Err(Errno::INTR) => continue,
            other => other.map_err(|errno| SandboxError::host("reading the sandbox's reports", errno))?,
        };
        if length == 0 {
            return Err(running.died());
        }
        received.extend(buffer.get(..length).unwrap_or_default());
        match received.next() {
            None => {}
            Some(Report::Message(Message::Ready)) => {
                running.set_received(received);
                return Ok(running);
            }
            Some(Report::Message(Message::SetupFailed(failure))) => {
                return Err(SandboxError::Setup {
                    stage: failure.stage,
                    source: io::Error::from_raw_os_error(failure.errno),
                    hint: failure.hint,
                });
            }
            Some(Report::Message(Message::ExecuteFailed(_) | Message::Ended(_))) => return Err(running.died()),
            Some(Report::NotStarted(failure)) => {
                let stage = match failure.stage {
                    StartStage::Session => "leaving the terminal's session",
                    StartStage::Descriptors => "arranging its descriptors",
                    StartStage::Identity => "becoming id 0 of its user namespace",
                    StartStage::ParentDeath => "asking to be killed with its parent",
                    StartStage::Execute => "executing this program again",
                };
                return Err(SandboxError::Setup { stage: stage.to_owned(), source: failure.errno.into(), hint: None });
            }
        }
    }
}
