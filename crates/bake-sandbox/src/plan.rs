//! What the sandbox's first process has to do: the checked, serialisable form of a step.
//!
//! It travels in a sealed memory file: the length of the JSON text (8 bytes, little-endian), the text, then the
//! contents it refers to (memory-only files, the system call filter). Both sides are the same program, so
//! the format has no version.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use bake_sys::descriptor::{MemoryKind, sealed_memory};
use oci_spec::runtime::{Capability, PosixRlimit, PosixRlimitType};
use serde::{Deserialize, Serialize};

use crate::error::SandboxError;
use crate::id_map::IdMap;
use crate::runtime::{ExternalRuntime, seccomp};
use crate::seccomp::{FilterChoice, program};
use crate::step::{
    FakeIds, HOST_NAME, MountAccess, MountSource, Network, ProcSource, SecurityMode, SetIdFiles, Stdin, Step,
};

/// The largest plan that is read, in bytes; far above the kernel's own limit on arguments and environment (6 MiB) and
/// the memory-only files a build has reason to mount.
const PLAN_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The kernel's limit on a host name (`HOST_NAME_MAX`).
const HOST_NAME_BYTES_MAX: usize = 64;

/// The description of everything the first process does.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) rootfs: RawFd,
    pub(crate) status: RawFd,
    pub(crate) lifeline: RawFd,
    pub(crate) stdin: Option<RawFd>,
    pub(crate) stdout: RawFd,
    pub(crate) stderr: RawFd,
    pub(crate) mounts: Vec<PlannedMount>,
    pub(crate) hostname: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<String>,
    pub(crate) working_directory: PathBuf,
    pub(crate) user: u32,
    pub(crate) group: u32,
    pub(crate) supplementary_groups: Vec<u32>,
    pub(crate) umask: u32,
    pub(crate) capabilities: u64,
    pub(crate) rlimits: Vec<PlannedRlimit>,
    pub(crate) no_new_privileges: bool,
    pub(crate) masked_paths: Vec<String>,
    pub(crate) read_only_paths: Vec<String>,
    pub(crate) filter: Option<Span>,
    pub(crate) id_map: IdMap,
    pub(crate) own_network: bool,
    /// A sysfs of the network that the step starts in, where that was made by somebody else.
    pub(crate) sys: Option<RawFd>,
    pub(crate) security: SecurityMode,
    pub(crate) fake_ids: FakeIds,
    /// The program that runs the command instead of this one.
    pub(crate) runtime: Option<ExternalRuntime>,
    /// The filter as that program takes it.
    pub(crate) filter_for_runtimes: Option<serde_json::Value>,
    pub(crate) proc: ProcSource,
}

/// A mount with its source reduced to what can be sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlannedMount {
    pub(crate) target: Vec<u8>,
    pub(crate) source: PlannedSource,
    pub(crate) access: MountAccess,
    pub(crate) set_id: SetIdFiles,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum PlannedSource {
    Tree(RawFd),
    Tmpfs { size_bytes: Option<u64>, mode: u32 },
    File { content: Span, mode: u32, uid: u32, gid: u32 },
}

/// A part of the contents after the JSON text.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Span {
    offset: usize,
    length: usize,
}

/// A limit, as `setrlimit` takes it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlannedRlimit {
    pub(crate) kind: PosixRlimitType,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// The descriptors made for one step, by their use in the sandbox.
#[derive(Debug)]
pub(crate) struct PlanDescriptors<'a> {
    pub(crate) status: BorrowedFd<'a>,
    pub(crate) lifeline: BorrowedFd<'a>,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
}

/// A plan ready to be handed over.
#[derive(Debug)]
pub(crate) struct EncodedPlan {
    /// The memory file.
    pub(crate) file: OwnedFd,
    /// The descriptors the plan names that came with the step, to be kept open until the sandbox has started.
    pub(crate) inherited: Vec<OwnedFd>,
    /// Where the mounts of the step keep what the caller still needs: nothing; the network to start in.
    pub(crate) network: Network,
}

/// Checks a step and makes its plan.
pub(crate) fn encode(
    step: Step,
    sys: Option<OwnedFd>,
    descriptors: &PlanDescriptors<'_>,
) -> Result<EncodedPlan, SandboxError> {
    let invalid = |reason: &str| SandboxError::InvalidStep { reason: reason.to_owned() };
    if let Some(problem) = step.id_map.problem() {
        return Err(invalid(problem));
    }
    if step.fake_ids == FakeIds::On && step.proc == ProcSource::Callers {
        return Err(invalid("emulated users need a `/proc` of the step's own"));
    }
    let process = step.spec.process().as_ref().ok_or_else(|| invalid("`process` is missing"))?;
    let arguments = process.args().clone().unwrap_or_default();
    if arguments.first().is_none_or(String::is_empty) {
        return Err(invalid("`process.args` names no program"));
    }
    let environment = process.env().clone().unwrap_or_default();
    if arguments.iter().chain(&environment).any(|text| text.contains('\0')) {
        return Err(invalid("an argument or environment variable contains a NUL byte"));
    }
    let working_directory = process.cwd().clone();
    if !working_directory.is_absolute() {
        return Err(invalid("`process.cwd` is not an absolute path"));
    }
    let hostname = step.spec.hostname().clone().unwrap_or_else(|| HOST_NAME.to_owned());
    if hostname.len() > HOST_NAME_BYTES_MAX || hostname.contains('\0') {
        return Err(invalid("`hostname` is longer than 64 bytes or contains a NUL byte"));
    }
    let linux = step.spec.linux().as_ref();
    if linux.is_some_and(|linux| linux.seccomp().is_some()) {
        return Err(invalid("`linux.seccomp` is set, but the filter is built in"));
    }
    if step.runtime.is_some() && step.fake_ids == FakeIds::On {
        return Err(invalid(
            "other IDs than root's exist only with ranges in `/etc/subuid` and the package `uidmap`, and no OCI runtime pretends that \
             they do",
        ));
    }
    let mut contents = Vec::new();
    let mut inherited = vec![step.rootfs];
    let mounts = step
        .mounts
        .into_iter()
        .map(|mount| {
            let source = match mount.source {
                MountSource::Tree(tree) => {
                    let number = tree.as_raw_fd();
                    inherited.push(tree);
                    PlannedSource::Tree(number)
                }
                MountSource::Tmpfs { size_bytes, mode } => PlannedSource::Tmpfs { size_bytes, mode },
                MountSource::File { content, mode, uid, gid } => {
                    PlannedSource::File { content: append(&mut contents, &content), mode, uid, gid }
                }
            };
            PlannedMount { target: mount.target, source, access: mount.access, set_id: mount.set_id }
        })
        .collect();
    let choice = FilterChoice { security: step.security, fake_ids: step.fake_ids, thirty_two_bit: step.thirty_two_bit };
    let filter = program(choice)
        .map_err(|error| invalid(&format!("the system call filter cannot be built: {error}")))?
        .map(|bytes| append(&mut contents, bytes));
    let stdin = match step.stdin {
        Stdin::Empty => None,
        Stdin::Bytes(bytes) => {
            let file = sealed_memory("stdin", MemoryKind::Data, &bytes)
                .map_err(|errno| SandboxError::host("storing the standard input", errno))?;
            let number = file.as_raw_fd();
            inherited.push(file);
            Some(number)
        }
    };
    let insecure = step.security == SecurityMode::Insecure;
    let paths = |paths: Option<&Vec<String>>| if insecure { Vec::new() } else { paths.cloned().unwrap_or_default() };
    let plan = Plan {
        rootfs: inherited.first().map_or(-1, AsRawFd::as_raw_fd),
        status: descriptors.status.as_raw_fd(),
        lifeline: descriptors.lifeline.as_raw_fd(),
        stdin,
        stdout: descriptors.stdout.as_raw_fd(),
        stderr: descriptors.stderr.as_raw_fd(),
        mounts,
        hostname,
        arguments,
        environment,
        working_directory,
        user: process.user().uid(),
        group: process.user().gid(),
        supplementary_groups: process.user().additional_gids().clone().unwrap_or_default(),
        umask: process.user().umask().unwrap_or(0o022) & 0o777,
        capabilities: if insecure { u64::MAX } else { capability_bits(process) },
        rlimits: process.rlimits().iter().flatten().map(planned_rlimit).collect(),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        masked_paths: paths(linux.and_then(|linux| linux.masked_paths().as_ref())),
        read_only_paths: paths(linux.and_then(|linux| linux.readonly_paths().as_ref())),
        filter,
        id_map: step.id_map,
        own_network: matches!(step.network, Network::None),
        sys: sys.as_ref().map(AsRawFd::as_raw_fd),
        security: step.security,
        fake_ids: step.fake_ids,
        filter_for_runtimes: match &step.runtime {
            Some(_) => seccomp(step.security, step.thirty_two_bit),
            None => None,
        },
        runtime: step.runtime,
        proc: step.proc,
    };
    inherited.extend(sys);
    let text = serde_json::to_vec(&plan)
        .map_err(|error| invalid(&format!("it cannot be serialised (paths must be UTF-8): {error}")))?;
    let mut bytes = Vec::with_capacity(8 + text.len() + contents.len());
    bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&text);
    bytes.extend_from_slice(&contents);
    if bytes.len() as u64 > PLAN_BYTES_MAX {
        return Err(invalid("its memory-only files are larger than 256 MiB"));
    }
    let file = sealed_memory("step", MemoryKind::Data, &bytes)
        .map_err(|errno| SandboxError::host("storing the step's description", errno))?;
    Ok(EncodedPlan { file, inherited, network: step.network })
}

/// Reads a plan and its contents from the memory file.
pub(crate) fn decode(file: OwnedFd) -> Option<(Plan, Vec<u8>)> {
    let file = File::from(file);
    let length = usize::try_from(file.metadata().ok()?.len().min(PLAN_BYTES_MAX)).ok()?;
    let mut bytes = vec![0; length];
    (&file).read_exact(&mut bytes).ok()?;
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (text, contents) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some((serde_json::from_slice(text).ok()?, contents.to_vec()))
}

impl Span {
    /// The part of `contents` it names; empty when there is none.
    pub(crate) fn of(self, contents: &[u8]) -> &[u8] {
        self.offset.checked_add(self.length).and_then(|end| contents.get(self.offset..end)).unwrap_or_default()
    }
}

fn append(contents: &mut Vec<u8>, bytes: &[u8]) -> Span {
    let span = Span { offset: contents.len(), length: bytes.len() };
    contents.extend_from_slice(bytes);
    span
}

fn planned_rlimit(limit: &PosixRlimit) -> PlannedRlimit {
    PlannedRlimit { kind: limit.typ(), soft: limit.soft(), hard: limit.hard() }
}

/// The bounding set of the process, which also becomes its permitted and effective set when it runs as id 0.
fn capability_bits(process: &oci_spec::runtime::Process) -> u64 {
    let capabilities = process.capabilities().as_ref().and_then(|capabilities| capabilities.bounding().as_ref());
    capabilities.into_iter().flatten().fold(0, |bits, capability| bits | 1 << capability_number(*capability))
}

/// The kernel's number of a capability (`linux/capability.h`).
fn capability_number(capability: Capability) -> u32 {
    match capability {
        Capability::Chown => 0,
        Capability::DacOverride => 1,
        Capability::DacReadSearch => 2,
        Capability::Fowner => 3,
        Capability::Fsetid => 4,
        Capability::Kill => 5,
        Capability::Setgid => 6,
        Capability::Setuid => 7,
        Capability::Setpcap => 8,
        Capability::LinuxImmutable => 9,
        Capability::NetBindService => 10,
        Capability::NetBroadcast => 11,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::IpcLock => 14,
        Capability::IpcOwner => 15,
        Capability::SysModule => 16,
        Capability::SysRawio => 17,
        Capability::SysChroot => 18,
        Capability::SysPtrace => 19,
        Capability::SysPacct => 20,
        Capability::SysAdmin => 21,
        Capability::SysBoot => 22,
        Capability::SysNice => 23,
        Capability::SysResource => 24,
        Capability::SysTime => 25,
        Capability::SysTtyConfig => 26,
        Capability::Mknod => 27,
        Capability::Lease => 28,
        Capability::AuditWrite => 29,
        Capability::AuditControl => 30,
        Capability::Setfcap => 31,
        Capability::MacOverride => 32,
        Capability::MacAdmin => 33,
        Capability::Syslog => 34,
        Capability::WakeAlarm => 35,
        Capability::BlockSuspend => 36,
        Capability::AuditRead => 37,
        Capability::Perfmon => 38,
        Capability::Bpf => 39,
        Capability::CheckpointRestore => 40,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn default_capabilities_are_the_eleven() {
        let spec = crate::default_spec();
        assert_eq!(capability_bits(spec.process().as_ref().unwrap()), 0x8004_05fb);
    }
}
