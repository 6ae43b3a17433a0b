//! The description of a step, as its caller writes it.

use std::os::fd::OwnedFd;

use oci_spec::runtime::{
    Capabilities, Capability, LinuxBuilder, LinuxCapabilitiesBuilder, PosixRlimitBuilder, PosixRlimitType,
    ProcessBuilder, Spec, SpecBuilder, UserBuilder,
};

use crate::id_map::IdMap;
use crate::runtime::ExternalRuntime;

/// Everything there is to know about one process and the sandbox it runs in.
#[derive(Debug)]
pub struct Step {
    /// The process: `process.{args, env, cwd, user, capabilities.bounding, rlimits, no_new_privileges}`, `hostname`,
    /// and `linux.{masked_paths, readonly_paths}`. Begin with [`default_spec`]. Nothing else of it is looked at,
    /// except that `linux.seccomp` must be absent: the filter is built in.
    pub spec: Spec,
    /// A detached mount that becomes the root. It must be writable if mount targets are missing in it.
    pub rootfs: OwnedFd,
    /// Further mounts, made in this order.
    pub mounts: Vec<StepMount>,
    /// The ids of the step's user namespace.
    pub id_map: IdMap,
    /// What the step sees of the network.
    pub network: Network,
    /// How much the step may do.
    pub security: SecurityMode,
    /// Whether ids that are not mapped are emulated.
    pub fake_ids: FakeIds,
    /// Where `/proc` comes from.
    pub proc: ProcSource,
    /// What 32-bit programs may do on a 64-bit x86 machine.
    pub thirty_two_bit: ThirtyTwoBit,
    /// What the process reads from its standard input.
    pub stdin: Stdin,
    /// Cgroups the step starts in; with none it stays in the caller's.
    pub cgroups: Vec<CgroupDirectory>,
    /// The program that runs the process instead of the built-in sandbox.
    pub runtime: Option<ExternalRuntime>,
}

impl Step {
    /// A step with no extra mounts, no network, the default security and an empty standard input.
    pub fn new(spec: Spec, rootfs: OwnedFd, id_map: IdMap) -> Self {
        Self {
            spec,
            rootfs,
            mounts: Vec::new(),
            id_map,
            network: Network::None,
            security: SecurityMode::Sandbox,
            fake_ids: FakeIds::Off,
            proc: ProcSource::New,
            thirty_two_bit: ThirtyTwoBit::Restricted,
            stdin: Stdin::Empty,
            cgroups: Vec::new(),
            runtime: None,
        }
    }
}

/// A mount in a step's root.
#[derive(Debug)]
pub struct StepMount {
    /// Where: a path in the rootfs, resolved there, links included. What is missing is created, and removed again when
    /// the step has ended.
    pub target: Vec<u8>,
    /// What.
    pub source: MountSource,
    /// Whether the step can change it.
    pub access: MountAccess,
    /// Whether set-user-id and set-group-id bits and file capabilities have no effect in it. (Devices never work.)
    pub set_id: SetIdFiles,
}

impl StepMount {
    /// A mount that cannot be written, without set-id effects.
    pub fn read_only(target: impl Into<Vec<u8>>, source: MountSource) -> Self {
        Self { target: target.into(), source, access: MountAccess::ReadOnly, set_id: SetIdFiles::Ignored }
    }

    /// A mount that can be written, without set-id effects.
    pub fn read_write(target: impl Into<Vec<u8>>, source: MountSource) -> Self {
        Self { target: target.into(), source, access: MountAccess::ReadWrite, set_id: SetIdFiles::Ignored }
    }
}

/// Whether a mount can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum MountAccess {
    /// It cannot.
    ReadOnly,
    /// It can.
    ReadWrite,
}

/// Whether set-user-id, set-group-id and capability files keep their effect in a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SetIdFiles {
    /// No (`nosuid`).
    Ignored,
    /// Yes.
    Effective,
}

/// What a mount shows.
#[derive(Debug)]
pub enum MountSource {
    /// A detached mount whose root is a directory or a file.
    Tree(OwnedFd),
    /// An empty file system in memory.
    Tmpfs {
        /// Limit on its content, in bytes; `None`: half of the memory.
        size_bytes: Option<u64>,
        /// Permission bits of its root directory, owned by id 0 of the step.
        mode: u32,
    },
    /// One file that exists in memory only.
    File {
        /// Its content.
        content: Vec<u8>,
        /// Its permission bits.
        mode: u32,
        /// Its owner inside the step; id 0 when the id is not mapped.
        uid: u32,
        /// Its group inside the step; id 0 when the id is not mapped.
        gid: u32,
    },
}

/// What a step sees of the network.
#[derive(Debug)]
#[non_exhaustive]
pub enum Network {
    /// Everything the caller sees, abstract sockets included.
    Host,
    /// A loopback device of its own.
    None,
    /// A network namespace made, owned and configured by the caller.
    Namespace(OwnedFd),
}

/// How much a step may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SecurityMode {
    /// The default: few capabilities, filtered system calls, hidden paths.
    Sandbox,
    /// All capabilities of its user namespace, no filter, nothing hidden.
    Insecure,
}

/// Whether ids that are not mapped are emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum FakeIds {
    /// It fails, as the kernel has it.
    Off,
    /// What processes are told of their identity and of the owners of files is kept beside the kernel: `setuid`, `chown`,
    /// `stat` and their relatives are answered by the sandbox's first process, and owners are recorded in the form of
    /// [`bake_sys::owner_record`]. For namespaces in which only id 0 is mapped.
    On,
}

/// Where the `/proc` of a step comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ProcSource {
    /// It is the step's own and shows its processes only.
    New,
    /// It is the caller's, read-only and with everything hidden that is hidden there: for containers in which the kernel
    /// allows no new one ([`crate::probe::new_proc`]). The step sees the names of the caller's processes, under numbers by
    /// which it can reach none of them, and not its own by theirs. Not together with [`FakeIds::On`].
    Callers,
}

/// What 32-bit programs may do on a 64-bit x86 machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ThirtyTwoBit {
    /// Everything but `socketcall`, which would be a way around the denied socket families.
    Restricted,
    /// Also `socketcall`: for images whose own programs are 32-bit and may know no other way to a socket.
    Full,
}

/// What a step reads from its standard input.
#[derive(Debug)]
pub enum Stdin {
    /// Nothing: `/dev/null`.
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
}

/// A cgroup directory in which a step starts.
#[derive(Debug)]
pub enum CgroupDirectory {
    /// Of cgroup v2; at most one.
    Unified(OwnedFd),
    /// Of one controller of cgroup v1.
    Legacy(OwnedFd),
}

/// The host name every step sees, the same everywhere so that it cannot make results differ.
pub const HOST_NAME: &str = "bake";
/// The search path when the image does not set one.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Open files: some programs loop over all possible descriptors, so the soft limit is the traditional one.
const OPEN_FILES_SOFT: u64 = 1024;
const OPEN_FILES_HARD: u64 = 524_288;

/// What [`SecurityMode::Sandbox`] hides. A `*` stands for any one path component.
const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/system/cpu/*/thermal_throttle",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];
const READ_ONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The default profile: id 0, `/`, only `PATH` set, eleven capabilities, limits, hidden and read-only paths.
///
/// The caller sets `process.args`, `env`, `cwd` and `user`.
///
/// # Panics
/// Never: the builders fail only for missing fields without a default.
pub fn default_spec() -> Spec {
    let kept = default_capabilities();
    let capabilities = LinuxCapabilitiesBuilder::default()
        .bounding(kept.clone())
        .permitted(kept.clone())
        .effective(kept)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build()
        .expect("every field has a default");
    let limit = |kind: PosixRlimitType, soft: u64, hard: u64| {
        PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build().expect("every field is set")
    };
    let process = ProcessBuilder::default()
        .terminal(false)
        .user(UserBuilder::default().uid(0_u32).gid(0_u32).build().expect("every field has a default"))
        .args(Vec::<String>::new())
        .env(vec![format!("PATH={DEFAULT_PATH}")])
        .cwd("/")
        .capabilities(capabilities)
        .rlimits(vec![
            limit(PosixRlimitType::RlimitNofile, OPEN_FILES_SOFT, OPEN_FILES_HARD),
            limit(PosixRlimitType::RlimitCore, 0, 0),
        ])
        .no_new_privileges(false)
        .build()
        .expect("every field has a default");
    let owned = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    let linux = LinuxBuilder::default()
        .masked_paths(owned(MASKED_PATHS))
        .readonly_paths(owned(READ_ONLY_PATHS))
        .build()
        .expect("every field has a default");
    SpecBuilder::default().hostname(HOST_NAME).process(process).linux(linux).build().expect("every field has a default")
}

/// What package managers and service set-up need; not `MKNOD`, `NET_RAW` and `AUDIT_WRITE`.
fn default_capabilities() -> Capabilities {
    [
        Capability::Chown,
        Capability::DacOverride,
        Capability::Fowner,
        Capability::Fsetid,
        Capability::Kill,
        Capability::NetBindService,
        Capability::Setfcap,
        Capability::Setgid,
        Capability::Setpcap,
        Capability::Setuid,
        Capability::SysChroot,
    ]
    .into_iter()
    .collect()
}
