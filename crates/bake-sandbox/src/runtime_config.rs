//! The `config.json` of a step for an OCI runtime: the profile of the built-in sandbox in the terms of the runtime
//! specification. The user namespace is missing because the runtime itself is in it already.

use serde_json::{Value, json};

use crate::init::possible;
use crate::plan::{Plan, PlannedMount, PlannedRlimit, PlannedSource};
use crate::step::{MountAccess, SetIdFiles};

/// The version of the specification that is written: all that is used is in it.
const VERSION: &str = "1.0.2";

/// Where the content of a mount is.
#[derive(Debug)]
pub(crate) enum Source {
    /// At this path of the helper's mount namespace.
    Path(String),
    /// Nowhere: the runtime makes an empty file system.
    Tmpfs,
}

/// The names of all capabilities, by number.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The text of `config.json` for a bundle at `bundle`.
pub(crate) fn configuration(plan: &Plan, bundle: &str, sources: &[Source], masked: &[String]) -> String {
    let kept: Vec<String> = (0_u32..)
        .zip(CAPABILITIES)
        .filter(|(number, _)| plan.capabilities & 1 << number != 0)
        .map(|(_, name)| format!("CAP_{name}"))
        .collect();
    let nothing: [&str; 0] = [];
    // As the kernel has it at `execve`: only id 0 gets any.
    let effective: &[String] = if plan.user == 0 { &kept } else { &[] };
    let namespaces = ["pid", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({ "type": kind }));
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": masked,
        "readonlyPaths": plan.read_only_paths,
        "rootfsPropagation": "private",
    });
    if let (Some(filter), Some(linux)) = (&plan.filter_for_runtimes, linux.as_object_mut()) {
        linux.insert("seccomp".to_owned(), filter.clone());
    }
    let mut mounts = kernel_mounts(plan, bundle);
    mounts.extend(plan.mounts.iter().zip(sources).map(|(mount, source)| step_mount(mount, source)));
    let configuration = json!({
        "ociVersion": VERSION,
        "hostname": plan.hostname,
        "root": { "path": "rootfs", "readonly": false },
        "mounts": mounts,
        "process": {
            "terminal": false,
            "user": {
                "uid": plan.user,
                "gid": plan.group,
                "umask": plan.umask,
                "additionalGids": plan.supplementary_groups,
            },
            "args": plan.arguments,
            "env": plan.environment,
            "cwd": plan.working_directory,
            "capabilities": {
                "bounding": kept,
                "permitted": effective,
                "effective": effective,
                "inheritable": nothing,
                "ambient": nothing,
            },
            "rlimits": plan.rlimits.iter().map(rlimit).collect::<Vec<_>>(),
            "noNewPrivileges": plan.no_new_privileges,
        },
        "linux": linux,
    });
    configuration.to_string()
}

fn kernel_mounts(plan: &Plan, bundle: &str) -> Vec<Value> {
    let mount = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let mut terminals = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if plan.id_map.outside_group(5).is_some() {
        terminals.push("gid=5");
    }
    vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", &terminals),
        mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        json!({
            "destination": "/sys",
            "type": "none",
            "source": format!("{bundle}/sys"),
            "options": ["rbind", "ro", "nosuid", "noexec", "nodev"],
        }),
    ]
}

fn step_mount(mount: &PlannedMount, source: &Source) -> Value {
    let mut options = vec!["nodev".to_owned()];
    options.push(if mount.access == MountAccess::ReadOnly { "ro" } else { "rw" }.to_owned());
    options.push(if mount.set_id == SetIdFiles::Ignored { "nosuid" } else { "suid" }.to_owned());
    let destination = String::from_utf8_lossy(&mount.target);
    match source {
        Source::Path(path) => {
            options.push("rbind".to_owned());
            json!({ "destination": destination, "type": "none", "source": path, "options": options })
        }
        Source::Tmpfs => {
            if let PlannedSource::Tmpfs { size_bytes, mode } = &mount.source {
                options.push(format!("mode={:o}", mode & 0o7777));
                options.extend(size_bytes.map(|size| format!("size={size}")));
            }
            json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options })
        }
    }
}

/// A limit, never above the hard limit there already is: a runtime that may not raise it gives up.
fn rlimit(limit: &PlannedRlimit) -> Value {
    let (soft, hard) = possible(limit);
    json!({ "type": limit.kind, "soft": soft, "hard": hard })
}
