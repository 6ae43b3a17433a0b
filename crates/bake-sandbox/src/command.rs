//! The process that becomes the step's command: from the fork to the `execve`.
//!
//! It gives up in this order: its working directory's privileges, groups, the bounding set, the user; then, with the
//! one capability that is needed for it, installs the filter, and last drops that capability too.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use bake_sys::Errno;
use bake_sys::capability;
use bake_sys::credentials::{set_group, set_supplementary_groups, set_user};
use bake_sys::path::open_in_root;
use bake_sys::process::{execute, exit_now};
use bake_sys::seccomp::{Program, install, install_with_listener};
use bake_sys::{descriptor, signal};
use rustix::fs::{Mode, OFlags, open};

use crate::emulation::Handover;
use crate::error::{ExecuteFailure, ExecuteFailureKind};
use crate::init::Descriptors;
use crate::message::{Message, SetupFailure, Stage, cut, send};
use crate::plan::Plan;
use crate::step::{DEFAULT_PATH, FakeIds, SecurityMode};

/// The exit status of a process that has reported why it could not become the command.
const STATUS_REPORTED: u8 = 127;

/// Becomes the command, or reports why not.
///
/// `handover` is there for a step whose users and owners are emulated.
pub(crate) fn run(
    plan: &Plan,
    contents: &[u8],
    descriptors: &Descriptors,
    null: BorrowedFd<'_>,
    handover: Option<&Handover>,
) -> ! {
    let message = if let Err(failure) = prepare(plan, contents, descriptors, null, handover) {
        Message::SetupFailed(failure)
    } else {
        let program = plan.arguments.first().cloned().unwrap_or_default();
        let kind = execute_command(plan);
        Message::ExecuteFailed(ExecuteFailure { program: cut(program), kind })
    };
    send(descriptors.status.as_fd(), &message);
    exit_now(STATUS_REPORTED)
}

fn prepare(
    plan: &Plan,
    contents: &[u8],
    descriptors: &Descriptors,
    null: BorrowedFd<'_>,
    handover: Option<&Handover>,
) -> Result<(), SetupFailure> {
    // The session of the first process has no terminal; a session of its own keeps signals to process groups apart.
    rustix::process::setsid().stage(|| "making a session".to_owned())?;
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    let stdin = descriptors.stdin.as_ref().map_or(null, AsFd::as_fd);
    descriptor::set_standard_streams(stdin, &descriptors.stdout, &descriptors.stderr)
        .and_then(|()| descriptor::close_others_on_exec())
        .stage(|| "arranging the standard streams".to_owned())?;
    let entered = enter_working_directory(plan);
    switch_identity(plan)?;
    match entered {
        // Perhaps only the user of the step may enter it.
        Err(Errno::ACCESS) => enter_working_directory(plan),
        other => other,
    }
    .map_err(|errno| working_directory_failure(plan, errno))?;
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true).stage(|| "setting `no_new_privs`".to_owned())?;
    }
    restrict(plan, contents, handover)?;
    signal::reset_handlers();
    signal::unblock_all().stage(|| "unblocking signals".to_owned())
}

/// Changes to the working directory, without using magic links, and checks that it lies in the root.
fn enter_working_directory(plan: &Plan) -> Result<(), Errno> {
    let root = open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let directory = open_in_root(&root, &plan.working_directory, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    rustix::process::fchdir(&directory)?;
    // The kernel says "(unreachable)" for a directory outside of the root.
    let name = rustix::process::getcwd(Vec::new())?;
    if name.to_bytes().first() == Some(&b'/') { Ok(()) } else { Err(Errno::XDEV) }
}

fn working_directory_failure(plan: &Plan, errno: Errno) -> SetupFailure {
    let failure =
        SetupFailure::new(format!("changing to the working directory `{}`", plan.working_directory.display()), errno);
    match errno {
        Errno::NOENT => failure.with_hint("it does not exist in the root file system"),
        Errno::LOOP => failure.with_hint("it leads through a magic link of `/proc` or too many symbolic links"),
        _ => failure,
    }
}

/// Sets groups, group, bounding set and user. Afterwards the permitted set is still full.
fn switch_identity(plan: &Plan) -> Result<(), SetupFailure> {
    let user_mapped = plan.id_map.outside_user(plan.user).is_some();
    let group_mapped = plan.id_map.outside_group(plan.group).is_some();
    let faked = plan.fake_ids == FakeIds::On;
    let unmapped = |stage: String| {
        SetupFailure::new(stage, Errno::INVAL).with_hint(
            "the id is not mapped in the step's user namespace; without a range of subordinate ids \
             (`/etc/subuid`, `newuidmap`) only id 0 is",
        )
    };
    match set_supplementary_groups(&plan.supplementary_groups) {
        // A namespace that denies setgroups: the groups were dropped or are unmapped, there is none to give.
        Err(Errno::PERM) if plan.supplementary_groups.is_empty() || faked => {}
        Err(Errno::INVAL) if faked => {}
        Err(Errno::INVAL) => return Err(unmapped("setting the supplementary groups".to_owned())),
        other => other.stage(|| "setting the supplementary groups".to_owned())?,
    }
    if group_mapped {
        set_group(plan.group).stage(|| format!("switching to group {}", plan.group))?;
    } else if !faked {
        return Err(unmapped(format!("switching to group {}", plan.group)));
    }
    if plan.security == SecurityMode::Sandbox {
        capability::limit_bounding_set(plan.capabilities).stage(|| "limiting capabilities".to_owned())?;
    }
    capability::clear_ambient().stage(|| "clearing ambient capabilities".to_owned())?;
    capability::keep_on_user_change(true).stage(|| "keeping capabilities for the filter".to_owned())?;
    if user_mapped {
        set_user(plan.user).stage(|| format!("switching to user {}", plan.user))?;
    } else if !faked {
        return Err(unmapped(format!("switching to user {}", plan.user)));
    }
    Ok(())
}

/// Installs the filter and sets the final capabilities.
fn restrict(plan: &Plan, contents: &[u8], handover: Option<&Handover>) -> Result<(), SetupFailure> {
    let permitted = capability::permitted().stage(|| "reading capabilities".to_owned())?;
    if let Some(filter) = plan.filter {
        let stage = || "installing the system call filter".to_owned();
        let program = Program::from_bytes(filter.of(contents)).map_err(|_| Errno::INVAL).stage(stage)?;
        // Without `no_new_privs` only this capability allows it; it became ineffective when the user changed.
        capability::set(permitted, permitted & (1 << capability::SYS_ADMIN)).stage(stage)?;
        match handover {
            None => install(&program).stage(stage)?,
            // The descriptor is closed here; the first process has a copy then.
            Some(handover) => {
                let listener = install_with_listener(&program).stage(stage)?;
                handover.offer(listener.as_fd()).stage(|| "handing over the system call filter".to_owned())?;
            }
        }
    }
    let runs_as_root = plan.user == 0 || plan.id_map.outside_user(plan.user).is_none();
    let kept = if runs_as_root { permitted & plan.capabilities } else { 0 };
    capability::set(kept, kept)
        .and_then(|()| capability::keep_on_user_change(false))
        .stage(|| "dropping capabilities".to_owned())
}

/// Executes the command as `execvp(3)` would with the step's environment; returns only why it could not.
fn execute_command(plan: &Plan) -> ExecuteFailureKind {
    let strings = |texts: &[String]| -> Vec<CString> {
        // The plan has no NUL bytes; a text with one could not be an argument anyway.
        texts.iter().filter_map(|text| CString::new(text.as_bytes()).ok()).collect()
    };
    let arguments = strings(&plan.arguments);
    let environment = strings(&plan.environment);
    let Some(program) = plan.arguments.first() else { return ExecuteFailureKind::NotFound };
    if program.contains('/') {
        return match attempt(program.as_bytes(), &arguments, &environment) {
            Errno::NOENT | Errno::NOTDIR if exists(program.as_bytes()) => ExecuteFailureKind::InterpreterNotFound,
            Errno::NOENT | Errno::NOTDIR => ExecuteFailureKind::NotFound,
            errno => other_kind(errno),
        };
    }
    let path =
        plan.environment.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let mut failure = ExecuteFailureKind::NotInPath;
    for directory in path.split(':') {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = format!("{directory}/{program}");
        match attempt(candidate.as_bytes(), &arguments, &environment) {
            Errno::NOENT | Errno::NOTDIR if exists(candidate.as_bytes()) => {
                return ExecuteFailureKind::InterpreterNotFound;
            }
            Errno::NOENT | Errno::NOTDIR => {}
            // A later directory may have one that can be executed.
            Errno::ACCESS => failure = ExecuteFailureKind::PermissionDenied,
            errno => return other_kind(errno),
        }
    }
    failure
}

/// Executes one file, unless it is this program itself: `/proc/self/exe` must not give a step the builder.
fn attempt(path: &[u8], arguments: &[CString], environment: &[CString]) -> Errno {
    let Ok(path) = CString::new(path) else { return Errno::NOENT };
    let same_file = match (rustix::fs::stat(path.as_c_str()), rustix::fs::stat(c"/proc/self/exe")) {
        (Ok(candidate), Ok(own)) => (candidate.st_dev, candidate.st_ino) == (own.st_dev, own.st_ino),
        _ => false,
    };
    if same_file { Errno::ACCESS } else { execute(&path, arguments, environment) }
}

fn exists(path: &[u8]) -> bool {
    rustix::fs::stat(std::ffi::OsStr::from_bytes(path)).is_ok()
}

fn other_kind(errno: Errno) -> ExecuteFailureKind {
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ISDIR => ExecuteFailureKind::PermissionDenied,
        Errno::NOEXEC => ExecuteFailureKind::FormatUnknown,
        errno => ExecuteFailureKind::Other { errno: errno.raw_os_error() },
    }
}
