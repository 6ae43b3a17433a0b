//! Runs one process in a root file system, isolated from the host and from everything else that runs.
//!
//! Entry points: [`spawn`] starts a [`Step`], [`Running::wait`] passes its output on and returns how it ended. The
//! program that uses this crate calls [`maybe_enter`] first thing in `main`, because the sandbox's first process is
//! the program itself, executed again. [`probe`] says what the host allows, [`userns`] prepares running without
//! privileges.
//!
//! Invariant: when a step has ended nothing of it is left: no process, mount, namespace or descriptor; of what it did
//! only the changes in its rootfs and its writable mounts remain. The host is never changed, and no path inside an
//! untrusted tree is resolved in a way that could leave it.
//!
//! It must not know Dockerfiles or images, make the rootfs, or decide what a step may see: the caller says so.

#![forbid(unsafe_code)]

mod cgroup;
mod command;
mod emulation;
mod error;
mod id_map;
mod init;
mod kernel_mounts;
mod message;
mod network;
mod network_init;
mod plan;
pub mod probe;
mod running;
mod runtime;
mod runtime_config;
mod runtime_init;
mod seccomp;
mod spawn;
mod step;
mod step_mounts;
mod syscall_table;
mod target;
mod terminal;
pub mod userns;

use std::os::unix::ffi::OsStrExt;

pub use cgroup::{CgroupError, CgroupLimits, CgroupUsage, Controller, StepCgroup, UNLIMITED, remove_left_cgroups};
pub use error::{ExecuteFailure, ExecuteFailureKind, SandboxError};
pub use id_map::{IdMap, IdRange};
pub use network::{NetworkOptions, PortProtocol, PublishedPort, RESOLVER_ADDRESS, StepNetwork};
pub use running::{Exit, ExitReport, Killer, Running, Stream, Usage};
pub use runtime::ExternalRuntime;
pub use spawn::spawn;
pub use step::{
    CgroupDirectory, DEFAULT_PATH, FakeIds, HOST_NAME, MountAccess, MountSource, Network, ProcSource, SecurityMode,
    SetIdFiles, Stdin, Step, StepMount, ThirtyTwoBit, WindowSize, default_spec,
};
pub use terminal::set_window_size;

/// Becomes the first process of a sandbox or of its network if that is what this process was executed for, and then never returns.
///
/// Call it first in `main`, before anything starts a thread or opens a file. The check costs nothing.
pub fn maybe_enter() {
    let mut arguments = std::env::args_os();
    let Some(name) = arguments.next() else { return };
    let enter: fn(std::os::fd::RawFd) -> ! = if name.as_bytes() == init::INIT_NAME.to_bytes() {
        init::run
    } else if name.as_bytes() == network_init::NETWORK_NAME.to_bytes() {
        network_init::run
    } else if name.as_bytes() == runtime_init::RUNTIME_NAME.to_bytes() {
        runtime_init::run
    } else {
        return;
    };
    if let (Some(number), None) = (arguments.next(), arguments.next())
        && let Some(plan) = number.to_str().and_then(|number| number.parse().ok())
    {
        enter(plan);
    }
}
