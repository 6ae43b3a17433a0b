//! What the kernel and the surrounding container allow.

use std::fs;
use std::path::{Path, PathBuf};

use bake_sandbox::IdMap;
use bake_sandbox::probe::{self, Cgroups};
use bake_sandbox::userns::{RootlessMap, namespace_for};
use rustix::io::Errno;
use rustix::process::Uid;

use super::Finding;

/// Layers are added to an overlay one by one (`lowerdir+`), the youngest thing that a build cannot do without.
const KERNEL_MIN: (u32, u32) = (6, 7);

pub(super) fn findings(user: Uid) -> Vec<Finding> {
    let mut findings = vec![kernel(), namespaces()];
    if !user.is_root() {
        findings.push(subordinate_ids());
    }
    findings.extend([overlay(), new_root(), proc(user), seccomp(), recording(), cgroups(), processes()]);
    findings
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    kernel_of(&release)
}

fn kernel_of(release: &str) -> Finding {
    const NAME: &str = "kernel";
    let (major, minor) = KERNEL_MIN;
    let cure = format!("use Linux {major}.{minor} or later");
    match version(release) {
        Some(found) if found >= KERNEL_MIN => Finding::ok(NAME, format!("Linux {release}")),
        Some(_) => Finding::missing(NAME, format!("Linux {release} cannot mount layers one by one"), cure),
        None => Finding::limited(NAME, format!("`{release}` is no version that could be understood"), cure),
    }
    .required()
}

/// A number in a file of `/proc/sys`.
fn setting(path: &str) -> Option<u64> {
    fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?.trim().parse().ok()
}

fn namespaces() -> Finding {
    const NAME: &str = "user namespaces";
    let Err(errno) = probe::namespaces() else {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if let Err(error) = namespace_for(&IdMap::single(user, group)) {
            return Finding::missing(
                NAME,
                format!("this user's ID cannot be mapped in one: {}", bake::error::chain_text(&error)),
                "give the surrounding container the capabilities SETUID, SETGID and SETFCAP, or run bake in it as another \
                 user than root",
            )
            .required();
        }
        return Finding::ok(NAME, "steps are kept apart from the host").required();
    };
    let meaning = format!("steps cannot be kept apart from the host: {errno}");
    let cure = if setting("kernel/unprivileged_userns_clone") == Some(0) {
        "`sysctl -w kernel.unprivileged_userns_clone=1`, as root"
    } else if setting("user/max_user_namespaces") == Some(0) {
        "`sysctl -w user.max_user_namespaces=15000`, as root"
    } else if setting("kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or an AppArmor profile with `userns` for bake, as root"
    } else {
        match errno {
            Errno::NOSPC | Errno::USERS => "the limits `user.max_*_namespaces` are reached: raise them, as root",
            Errno::NOSYS => "the kernel is too old, or the filter of a surrounding container forbids `clone3`",
            _ => {
                "a surrounding container forbids them: give it `--security-opt seccomp=unconfined` (in Kubernetes \
                 `seccompProfile: {type: Unconfined}`), or a profile that allows `unshare`, `clone` and `mount`"
            }
        }
    };
    Finding::missing(NAME, meaning, cure).required()
}

fn subordinate_ids() -> Finding {
    const NAME: &str = "subordinate IDs";
    match probe::subordinate_ids() {
        Some(RootlessMap::Ranges { users, groups, .. }) => {
            Finding::ok(NAME, format!("{} users and {} groups for the files of images", users.1, groups.1))
        }
        Some(RootlessMap::Single | RootlessMap::All) | None => Finding::limited(
            NAME,
            "none: users and owners are emulated, and a step may do with every file what its root may",
            "install `uidmap` and add lines `USER:100000:65536` for this user to /etc/subuid and /etc/subgid",
        ),
    }
}

fn overlay() -> Finding {
    const NAME: &str = "overlay";
    match probe::host().overlay_in_user_namespace {
        Ok(()) => Finding::ok(NAME, "layers are mounted, not copied").required(),
        // The namespaces themselves are reported already.
        Err(errno) if probe::namespaces().is_err() => {
            Finding::missing(NAME, format!("cannot be tried without user namespaces: {errno}"), "see above").required()
        }
        Err(Errno::NODEV) => {
            Finding::missing(NAME, "the kernel has no overlay file system", "`modprobe overlay`, as root").required()
        }
        Err(errno) => Finding::missing(
            NAME,
            format!("it cannot be mounted in a user namespace: {errno}"),
            "use Linux 5.11 or later",
        )
        .required(),
    }
}

fn new_root() -> Finding {
    const NAME: &str = "root file system";
    match probe::new_root() {
        Ok(()) => Finding::ok(NAME, "steps get one of their own").required(),
        Err(errno) if probe::namespaces().is_err() => {
            Finding::missing(NAME, format!("cannot be tried without user namespaces: {errno}"), "see above").required()
        }
        Err(Errno::INVAL) => Finding::missing(
            NAME,
            "this machine runs from its initial ramdisk or in a `chroot`, where `pivot_root` cannot work",
            "start from a disk, or run bake outside of the `chroot`",
        )
        .required(),
        Err(errno) => Finding::missing(
            NAME,
            format!("steps cannot change to one of their own: {errno}"),
            "a surrounding container forbids it: give it `--security-opt seccomp=unconfined` (in Kubernetes \
             `seccompProfile: {type: Unconfined}`), or a profile that allows `mount` and `pivot_root`",
        )
        .required(),
    }
}

fn proc(user: Uid) -> Finding {
    const NAME: &str = "/proc";
    match probe::new_proc() {
        Ok(()) => Finding::ok(NAME, "steps get one of their own").required(),
        Err(errno) if probe::namespaces().is_err() => {
            Finding::missing(NAME, format!("cannot be tried without user namespaces: {errno}"), "see above").required()
        }
        Err(errno) => {
            let meaning = format!("parts of it are hidden here, so the kernel allows steps none of their own: {errno}");
            let cure = "run the surrounding container with `--security-opt systempaths=unconfined` (in Kubernetes \
                        `procMount: Unmasked`)";
            // Where users are emulated, processes are looked for by their numbers in a `/proc` of the step.
            if user.is_root() || probe::subordinate_ids().is_some() {
                let meaning = format!("{meaning}; they see that of the container, with the names of its processes");
                return Finding::limited(NAME, meaning, cure).required();
            }
            Finding::missing(NAME, meaning, format!("{cure}, or give this user subordinate IDs")).required()
        }
    }
}

fn seccomp() -> Finding {
    const NAME: &str = "seccomp";
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let has = |action: &str| actions.split_ascii_whitespace().any(|other| other == action);
    match (has("errno"), has("user_notif")) {
        (true, true) => Finding::ok(NAME, "system calls are filtered, and can be emulated").required(),
        (true, false) => {
            Finding::limited(NAME, "system calls are filtered, not emulated", "use Linux 5.0 or later").required()
        }
        (false, _) => Finding::missing(
            NAME,
            "the kernel has no system call filters that could be found",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        )
        .required(),
    }
}

/// Whether what steps read can be recorded.
fn recording() -> Finding {
    let available = bake_worker::recording_available();
    recording_of(available.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO)))
}

fn recording_of(opened: Result<(), Errno>) -> Finding {
    const NAME: &str = "/dev/fuse";
    let Err(errno) = opened else {
        return Finding::ok(NAME, "what steps read is recorded, so they run again only when that has changed");
    };
    let cure = match errno {
        Errno::NODEV | Errno::NXIO => "`modprobe fuse`, as root",
        Errno::ACCESS => "`chmod 666 /dev/fuse`, as root",
        _ => "start the surrounding container with `--device /dev/fuse`, or `modprobe fuse`, as root",
    };
    let meaning =
        format!("cannot be opened: {errno}; steps run again when any file has changed that was copied for them");
    Finding::limited(NAME, meaning, cure)
}

/// The directory of this process's own cgroup, of version 2.
fn own_cgroup(kind: Cgroups) -> Option<PathBuf> {
    let mounted = match kind {
        Cgroups::Unified => "/sys/fs/cgroup",
        Cgroups::Hybrid => "/sys/fs/cgroup/unified",
        Cgroups::Legacy | Cgroups::None => return None,
    };
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(Path::new(mounted).join(path))
}

fn is_writable(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok()
}

fn cgroups() -> Finding {
    const NAME: &str = "cgroups";
    let kind = probe::cgroups();
    let version = match kind {
        Cgroups::Unified => "version 2",
        Cgroups::Hybrid => "version 1 and 2",
        Cgroups::Legacy => "version 1",
        Cgroups::None => {
            let cure = "mount cgroups at /sys/fs/cgroup for limits on memory and processors";
            return Finding::limited(NAME, "none are mounted", cure);
        }
    };
    let own = own_cgroup(kind);
    let writable = own.as_deref().is_some_and(is_writable)
        || (kind != Cgroups::Unified && is_writable(Path::new("/sys/fs/cgroup/memory")));
    if !writable {
        return Finding::limited(
            NAME,
            format!("{version}, but this user may make none: no limits on memory, processors and processes"),
            "run bake by `systemd-run --user --scope -p Delegate=yes bake ...`, or as root",
        );
    }
    let controllers = own.and_then(|own| fs::read_to_string(own.join("cgroup.controllers")).ok()).unwrap_or_default();
    let controllers = controllers.trim();
    let of = if controllers.is_empty() { String::new() } else { format!(", with {controllers}") };
    Finding::ok(NAME, format!("{version}{of}"))
}

/// Steps of a compiler on many processors need some hundreds.
const PROCESSES_MIN: u64 = 1000;

fn processes() -> Finding {
    const NAME: &str = "process limit";
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nproc).current;
    match limit {
        Some(limit) if limit < PROCESSES_MIN => Finding::limited(
            NAME,
            format!("this user may have {limit} processes"),
            "raise it: `ulimit -u`, or /etc/security/limits.conf",
        ),
        Some(limit) => Finding::ok(NAME, format!("{limit} processes")),
        None => Finding::ok(NAME, "none"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn old_kernels_are_told_from_new_ones() {
        assert_eq!(kernel_of("6.18.5-fc").state, State::Ok);
        assert_eq!(kernel_of("6.7").state, State::Ok);
        assert_eq!(kernel_of("6.1.0-35-amd64").state, State::Missing);
        assert_eq!(kernel_of("4.19.0").state, State::Missing);
        assert_eq!(kernel_of("strange").state, State::Limited);
    }

    #[test]
    fn without_fuse_builds_run_but_nothing_is_recorded() {
        assert_eq!(recording_of(Ok(())).state, State::Ok);
        for (errno, cure) in [(Errno::NOENT, "--device"), (Errno::ACCESS, "chmod"), (Errno::NXIO, "modprobe")] {
            let finding = recording_of(Err(errno));
            assert_eq!((finding.state, finding.required), (State::Limited, false));
            assert!(finding.cure.is_some_and(|found| found.contains(cure)), "{errno}");
        }
    }
}
