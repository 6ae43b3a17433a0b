//! User namespaces for the whole program (rootless), and as descriptors for id-mapped mounts.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bake_sys::Errno;
use bake_sys::process::{Fork, Namespaces, exit_now, fork, hold_namespaces, wait_child, wait_pidfd};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::Signal;

use crate::error::SandboxError;
use crate::id_map::{IdMap, IdRange};
use crate::spawn::write_maps;

/// How much of a helper's complaint is kept, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 4096;

/// How ids are mapped in the namespace that [`enter_rootless`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootlessMap {
    /// Id 0 is the user and group of the caller; there are no others.
    Single,
    /// Every id of the caller's namespace is itself. For root of a container that may change ids and yet not mount.
    All,
    /// Id 0 is the caller, and ids from 1 on are subordinate ids, mapped by the setuid programs of the `uidmap`
    /// package.
    Ranges {
        /// First subordinate user id and how many there are.
        users: (u32, u32),
        /// First subordinate group id and how many there are.
        groups: (u32, u32),
        /// `newuidmap`, by its absolute path.
        newuidmap: PathBuf,
        /// `newgidmap`, by its absolute path.
        newgidmap: PathBuf,
    },
}

/// Moves this process into a user and a mount namespace of its own, in which it is id 0 and may mount.
///
/// The process must have a single thread. Afterwards no mount it makes is visible outside. When this fails the process
/// may already be in the new namespaces without ids and should end.
///
/// # Errors
/// [`SandboxError::Host`] naming the step that failed.
pub fn enter_rootless(map: &RootlessMap) -> Result<(), SandboxError> {
    let user = rustix::process::getuid().as_raw();
    let group = rustix::process::getgid().as_raw();
    let namespaces = Namespaces::USER.with(Namespaces::MOUNT);
    let unshare = || {
        bake_sys::namespace::unshare(namespaces).map_err(|errno| SandboxError::Host {
            action: "entering a user namespace".to_owned(),
            source: errno.into(),
            hint: matches!(errno, Errno::PERM | Errno::NOSPC | Errno::USERS).then(|| {
                "unprivileged user namespaces are switched off or used up on this machine (`user.max_user_namespaces`, \
                 `kernel.unprivileged_userns_clone`, `kernel.apparmor_restrict_unprivileged_userns`), or the filter of a \
                 surrounding container forbids them, as docker's and Kubernetes' own do"
                    .to_owned()
            }),
        })
    };
    match map {
        RootlessMap::Single => {
            unshare()?;
            write_maps(std::process::id(), &IdMap::single(user, group))?;
        }
        RootlessMap::All => {
            let ids =
                IdMap::identity().map_err(|source| SandboxError::host("reading the ID map of this process", source))?;
            let helper = RangeHelper::start(|target| {
                write_maps(target, &ids).map_err(|error| match std::error::Error::source(&error) {
                    Some(source) => format!("{error}: {source}"),
                    None => error.to_string(),
                })
            })?;
            unshare()?;
            helper.finish()?;
        }
        RootlessMap::Ranges { users, groups, newuidmap, newgidmap } => {
            let calls = [
                HelperCall { program: newuidmap, own: user, range: *users },
                HelperCall { program: newgidmap, own: group, range: *groups },
            ];
            if let Some(call) = calls.iter().find(|call| !call.program.is_absolute()) {
                let source = io::Error::from(io::ErrorKind::InvalidInput);
                return Err(SandboxError::host(format!("calling `{}`", call.program.display()), source));
            }
            let helper = RangeHelper::start(|target| calls.iter().try_for_each(|call| call.run(target)))?;
            unshare()?;
            helper.finish()?;
        }
    }
    let failed = |action: &str| {
        let action = action.to_owned();
        move |errno: Errno| SandboxError::host(action, errno)
    };
    bake_sys::credentials::set_group(0).map_err(failed("becoming group 0 of the user namespace"))?;
    bake_sys::credentials::set_user(0).map_err(failed("becoming user 0 of the user namespace"))?;
    bake_sys::mount::make_all_private().map_err(failed("making all mounts private"))
}

/// A user namespace with these maps, to id-map mounts with (`bake_sys::mount::set_id_map`).
///
/// # Errors
/// [`SandboxError::InvalidStep`] for an impossible map, [`SandboxError::Host`] otherwise.
pub fn namespace_for(map: &IdMap) -> Result<OwnedFd, SandboxError> {
    if let Some(problem) = map.problem() {
        return Err(SandboxError::InvalidStep { reason: problem.to_owned() });
    }
    let holder =
        hold_namespaces(Namespaces::USER).map_err(|errno| SandboxError::host("making a user namespace", errno))?;
    let opened = write_maps(holder.pid, map).and_then(|()| {
        let path = format!("/proc/{}/ns/user", holder.pid);
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| SandboxError::host(format!("opening `{path}`"), errno))
    });
    // The namespace lives on through the descriptor.
    let _ = bake_sys::signal::send(&holder.pidfd, Signal::KILL);
    let _ = wait_pidfd(&holder.pidfd);
    opened
}

/// One call of `newuidmap` or `newgidmap`.
struct HelperCall<'a> {
    program: &'a Path,
    own: u32,
    range: (u32, u32),
}

/// A process that stays in the old user namespace, where it and the setuid programs have their privileges.
struct RangeHelper {
    child: u32,
    go: OwnedFd,
    complaint: OwnedFd,
}

impl RangeHelper {
    /// The helper calls `map` with this process's number once this process is in the new namespace.
    fn start(map: impl FnOnce(u32) -> Result<(), String>) -> Result<Self, SandboxError> {
        let failed = |errno: Errno| SandboxError::host("starting a process to map ids", errno);
        let target = std::process::id();
        let (go_reader, go) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let (complaint, complaint_writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        match fork().map_err(failed)? {
            Fork::Parent { child } => Ok(Self { child, go, complaint }),
            Fork::Child => {
                drop((go, complaint));
                let mut byte = [0_u8; 1];
                if File::from(go_reader).read_exact(&mut byte).is_err() {
                    exit_now(1);
                }
                if let Err(complaint) = map(target) {
                    let _ = File::from(complaint_writer).write_all(complaint.as_bytes());
                    exit_now(1);
                }
                exit_now(0)
            }
        }
    }

    /// Lets the helper map the ids of this process, which is now in the new namespace.
    fn finish(self) -> Result<(), SandboxError> {
        let failed = |source: io::Error| SandboxError::host("mapping ids", source);
        File::from(self.go).write_all(b"g").map_err(failed)?;
        let mut complaint = String::new();
        let waited = wait_child(self.child).map_err(|errno| failed(errno.into()))?;
        if waited.ended == bake_sys::process::Ended::Exited(0) {
            return Ok(());
        }
        // The helper has ended, so this does not wait; its children may not have, but write elsewhere.
        let flags = rustix::fs::fcntl_getfl(&self.complaint).unwrap_or(OFlags::empty());
        let _ = rustix::fs::fcntl_setfl(&self.complaint, flags | OFlags::NONBLOCK);
        let _ = File::from(self.complaint).take(COMPLAINT_BYTES_MAX).read_to_string(&mut complaint);
        Err(failed(io::Error::other(complaint.trim().to_owned())))
    }
}

impl HelperCall<'_> {
    /// `newuidmap PID 0 OWN 1 1 FIRST COUNT`.
    fn run(&self, target: u32) -> Result<(), String> {
        let (first, count) = self.range;
        let shown = self.program.display();
        let numbers = [target, 0, self.own, 1, 1, first, count].map(|number| number.to_string());
        let output = Command::new(self.program)
            .args(numbers)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("`{shown}`: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: String = said.chars().filter(|character| !character.is_control()).take(1000).collect();
        Err(format!("`{shown}` failed ({}): {said}", output.status))
    }
}

/// The map of subordinate ids for this user, when the host has one and the programs to use it.
pub(crate) fn ranges_for(
    users: Option<(u32, u32)>,
    groups: Option<(u32, u32)>,
    programs: Option<(PathBuf, PathBuf)>,
) -> Option<RootlessMap> {
    let programs = programs?;
    Some(RootlessMap::Ranges { users: users?, groups: groups?, newuidmap: programs.0, newgidmap: programs.1 })
}

/// Whether `name` is what a line of `/etc/subuid` may call this user.
pub(crate) fn names_user(name: &OsStr, login: Option<&OsStr>, id: u32) -> bool {
    login == Some(name) || name.to_str().and_then(|name| name.parse().ok()) == Some(id)
}

impl RootlessMap {
    /// The map steps use below the namespace made with this map: every id there, as itself.
    pub fn step_map(&self) -> IdMap {
        // In two parts: the kernel maps a range only if it is in one piece of the surrounding namespace's map.
        let ranges =
            |count: u32| vec![IdRange { inside: 0, outside: 0, count: 1 }, IdRange { inside: 1, outside: 1, count }];
        match self {
            Self::Single => IdMap::single(0, 0),
            Self::All => IdMap { users: ranges(u32::MAX - 1), groups: ranges(u32::MAX - 1) },
            Self::Ranges { users, groups, .. } => IdMap { users: ranges(users.1), groups: ranges(groups.1) },
        }
    }
}
