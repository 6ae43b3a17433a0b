//! `/proc`, `/dev` and `/sys` of a step.
//!
//! They are made in two halves. [`prepare`] runs while the caller's file systems are still there: it makes detached
//! mounts of everything and clones the few devices from the caller's `/dev`. [`attach`] runs when the rootfs is the
//! only thing left, so that nothing in the rootfs can lead a mount anywhere else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bake_sys::Errno;
use bake_sys::descriptor::take_inherited;
use bake_sys::mount::{
    AttributeChange, FsContext, MountAttrFlags, Recursion, attach_at, clone_tree, new_tmpfs, set_attributes,
};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, makedev, mkdirat, open, openat, symlinkat};

use crate::message::{SetupFailure, Stage};
use crate::plan::Plan;
use crate::step::ProcSource;
use crate::target::{PROC_SUPER_MAGIC, SYSFS_MAGIC, Stubs, file_system_type, root_directory};

/// The devices of a step, with the numbers they must have: a name alone proves nothing.
const DEVICES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// The size of `/dev` and `/dev/shm`, in bytes.
const DEVICE_TMPFS_BYTES: u64 = 64 * 1024 * 1024;
/// The group of terminals in every distribution.
const TTY_GROUP: u32 = 5;
/// The inode number of the root of any procfs (`PROC_ROOT_INO`).
const PROC_ROOT_INODE: u64 = 1;
/// The file system type of cgroup v2.
pub(crate) const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

const LOCKED_DOWN: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
const LOCKED_READ_ONLY: MountAttrFlags = LOCKED_DOWN.union(MountAttrFlags::MOUNT_ATTR_RDONLY);

/// Detached mounts, ready to be attached.
#[derive(Debug)]
pub(crate) struct KernelMounts {
    proc: OwnedFd,
    sys: OwnedFd,
    cgroup: Option<OwnedFd>,
    /// An empty directory that hides the caller's cgroups in a `/sys` that is the caller's.
    cgroup_cover: Option<OwnedFd>,
    dev: OwnedFd,
    pts: OwnedFd,
    shm: OwnedFd,
    message_queues: Option<OwnedFd>,
    devices: Vec<(&'static str, OwnedFd)>,
}

/// Makes all mounts, with the caller's `/dev` and `/sys` at hand.
pub(crate) fn prepare(plan: &Plan) -> Result<KernelMounts, SetupFailure> {
    let (sys, sys_is_callers) = new_sys(plan)?;
    let unified = caller_has_unified_cgroups();
    let cgroup = if unified { new_simple(c"cgroup2", LOCKED_READ_ONLY).ok() } else { None };
    let cover_needed = sys_is_callers && cgroup.is_none();
    let cgroup_cover =
        if cover_needed { Some(empty_directory().stage(|| "hiding the host's cgroups".to_owned())?) } else { None };
    Ok(KernelMounts {
        proc: match plan.proc {
            ProcSource::New => new_proc()?,
            ProcSource::Callers => callers_proc()?,
        },
        sys,
        cgroup,
        cgroup_cover,
        dev: new_dev()?,
        pts: new_pts(plan)?,
        shm: new_tmpfs(Some(DEVICE_TMPFS_BYTES), Mode::from_raw_mode(0o1777), LOCKED_DOWN)
            .stage(|| "making `/dev/shm`".to_owned())?,
        // A kernel may be without POSIX message queues; then a step is too.
        message_queues: new_simple(c"mqueue", LOCKED_DOWN).ok(),
        devices: clone_devices()?,
    })
}

/// Attaches all mounts in the root and returns the opened device `null`.
pub(crate) fn attach(mounts: &KernelMounts, root: BorrowedFd<'_>, stubs: &mut Stubs) -> Result<OwnedFd, SetupFailure> {
    let target = root_directory(root, "proc", stubs)?;
    attach_at(&mounts.proc, &target).stage(|| "mounting `/proc`".to_owned())?;
    let target = root_directory(root, "dev", stubs)?;
    attach_at(&mounts.dev, &target).stage(|| "mounting `/dev`".to_owned())?;
    // From here on relative to the new /dev itself, which nobody else has seen.
    let place = |name: &str| {
        openat(&mounts.dev, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .stage(|| format!("opening `/dev/{name}`"))
    };
    for (name, device) in &mounts.devices {
        attach_at(device, place(name)?).stage(|| format!("mounting `/dev/{name}`"))?;
    }
    attach_at(&mounts.pts, place("pts")?).stage(|| "mounting `/dev/pts`".to_owned())?;
    attach_at(&mounts.shm, place("shm")?).stage(|| "mounting `/dev/shm`".to_owned())?;
    if let Some(queues) = &mounts.message_queues {
        attach_at(queues, place("mqueue")?).stage(|| "mounting `/dev/mqueue`".to_owned())?;
    }
    let target = root_directory(root, "sys", stubs)?;
    attach_at(&mounts.sys, &target).stage(|| "mounting `/sys`".to_owned())?;
    if let Some(cgroup) = mounts.cgroup.as_ref().or(mounts.cgroup_cover.as_ref()) {
        // Missing in a kernel without cgroups.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(place) = openat(&mounts.sys, "fs/cgroup", flags, Mode::empty()) {
            attach_at(cgroup, place).stage(|| "mounting `/sys/fs/cgroup`".to_owned())?;
        }
    }
    openat(&mounts.dev, "null", OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        .stage(|| "opening `/dev/null`".to_owned())
}

/// A read-only, empty directory.
pub(crate) fn empty_directory() -> Result<OwnedFd, Errno> {
    new_tmpfs(Some(0), Mode::from_raw_mode(0o555), LOCKED_READ_ONLY)
}

fn new_simple(name: &std::ffi::CStr, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
    let context = FsContext::open(name)?;
    context.set_string(c"source", name)?;
    context.create()?;
    context.mount(attributes)
}

/// A sysfs of the network namespace that the calling thread is in.
pub(crate) fn sysfs() -> Result<OwnedFd, Errno> {
    new_simple(c"sysfs", LOCKED_READ_ONLY)
}

pub(crate) fn new_proc() -> Result<OwnedFd, SetupFailure> {
    let stage = || "making a new `/proc`".to_owned();
    let proc = new_simple(c"proc", LOCKED_DOWN).map_err(|errno| {
        let failure = SetupFailure::new(stage(), errno);
        if errno == Errno::PERM {
            failure.with_hint(
                "parts of this machine's `/proc` are hidden, as in a container without `--security-opt \
                 systempaths=unconfined` (in Kubernetes `procMount: Unmasked`); the kernel then allows no new one. \
                 Builds without RUN work, and with subordinate IDs for this user all do; `bake doctor` tells more",
            )
        } else {
            failure
        }
    })?;
    check_proc(&proc)?;
    Ok(proc)
}

/// The caller's procfs with what hides parts of it, read-only.
fn callers_proc() -> Result<OwnedFd, SetupFailure> {
    let stage = || "taking `/proc` from the caller".to_owned();
    let proc = clone_tree(CWD, c"/proc", Recursion::Recursive).stage(stage)?;
    set_attributes(&proc, c"", Recursion::Recursive, AttributeChange::setting(LOCKED_READ_ONLY)).stage(stage)?;
    check_proc(&proc)?;
    Ok(proc)
}

/// Everything looked for below `/proc` later must really be procfs.
fn check_proc(proc: &OwnedFd) -> Result<(), SetupFailure> {
    let stage = || "checking that `/proc` is procfs".to_owned();
    let root_inode = fstat(proc).stage(stage)?.st_ino;
    if file_system_type(proc.as_fd()).stage(stage)? != PROC_SUPER_MAGIC || root_inode != PROC_ROOT_INODE {
        return Err(SetupFailure::new(stage(), Errno::NODEV));
    }
    Ok(())
}

/// A new sysfs where the step has its own network; otherwise the caller's, read-only; in need an empty directory.
///
/// The second value says whether it is the caller's.
pub(crate) fn new_sys(plan: &Plan) -> Result<(OwnedFd, bool), SetupFailure> {
    if let Some(sys) = plan.sys {
        let sys = take_inherited(sys).stage(|| "taking `/sys` over".to_owned())?;
        return Ok((sys, false));
    }
    if plan.own_network
        && let Ok(sys) = sysfs()
    {
        return Ok((sys, false));
    }
    if let Ok(sys) = clone_tree(CWD, c"/sys", Recursion::Recursive) {
        let is_sysfs = file_system_type(sys.as_fd()).is_ok_and(|magic| magic == SYSFS_MAGIC);
        let locked = AttributeChange::setting(LOCKED_READ_ONLY);
        if is_sysfs && set_attributes(&sys, c"", Recursion::Recursive, locked).is_ok() {
            return Ok((sys, true));
        }
    }
    Ok((empty_directory().stage(|| "making an empty `/sys`".to_owned())?, false))
}

fn caller_has_unified_cgroups() -> bool {
    open(c"/sys/fs/cgroup", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .and_then(|directory| file_system_type(directory.as_fd()))
        .is_ok_and(|magic| magic == CGROUP2_SUPER_MAGIC)
}

/// A tmpfs with the places for devices, links and directories.
fn new_dev() -> Result<OwnedFd, SetupFailure> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        .union(MountAttrFlags::MOUNT_ATTR_NOEXEC)
        .union(MountAttrFlags::MOUNT_ATTR_STRICTATIME);
    let fill = || -> Result<OwnedFd, Errno> {
        let dev = new_tmpfs(Some(DEVICE_TMPFS_BYTES), Mode::from_raw_mode(0o755), attributes)?;
        for (name, _, _) in DEVICES {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            drop(openat(&dev, *name, flags, Mode::from_raw_mode(0o666))?);
        }
        for (name, destination) in LINKS {
            symlinkat(*destination, &dev, *name)?;
        }
        for name in ["pts", "shm", "mqueue"] {
            mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
        }
        Ok(dev)
    };
    fill().stage(|| "making a new `/dev`".to_owned())
}

fn new_pts(plan: &Plan) -> Result<OwnedFd, SetupFailure> {
    let make = || -> Result<OwnedFd, Errno> {
        let context = FsContext::open(c"devpts")?;
        context.set_string(c"source", c"devpts")?;
        // Old kernels need it said; newer ones always make a new instance.
        context.set_flag(c"newinstance")?;
        context.set_string(c"ptmxmode", c"0666")?;
        context.set_string(c"mode", c"0620")?;
        if plan.id_map.outside_group(TTY_GROUP).is_some() {
            context.set_string(c"gid", TTY_GROUP.to_string())?;
        }
        context.create()?;
        context.mount(MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC))
    };
    make().stage(|| "making a new `/dev/pts`".to_owned())
}

/// Clones the caller's devices, each checked to be the device its name says.
fn clone_devices() -> Result<Vec<(&'static str, OwnedFd)>, SetupFailure> {
    let mut devices = Vec::with_capacity(DEVICES.len());
    for (name, major, minor) in DEVICES {
        let stage = || format!("taking `/dev/{name}` from the host");
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let device = match open(format!("/dev/{name}"), flags, Mode::empty()) {
            // A host without terminals: then a step has none either.
            Err(Errno::NOENT) if *name == "tty" => continue,
            other => other.stage(stage)?,
        };
        let status = fstat(&device).stage(stage)?;
        let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
        if !is_device || status.st_rdev != makedev(*major, *minor) {
            let hint = format!("the host's `/dev/{name}` is not character device {major}:{minor}");
            return Err(SetupFailure::new(stage(), Errno::NODEV).with_hint(hint));
        }
        let clone = clone_tree(&device, c"", Recursion::Single).stage(stage)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
        set_attributes(&clone, c"", Recursion::Single, AttributeChange::setting(attributes)).stage(stage)?;
        devices.push((*name, clone));
    }
    Ok(devices)
}
