//! What this host allows.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bake_sys::Errno;
use bake_sys::mount::{Recursion, clone_tree, set_id_map};
use bake_sys::process::{
    Namespaces, try_mount_in_user_namespace, try_mount_proc_in_user_namespace, try_namespaces,
    try_pivot_root_in_user_namespace,
};
use rustix::fs::{Mode, OFlags, open};

use crate::id_map::IdMap;
use crate::kernel_mounts::CGROUP2_SUPER_MAGIC;
use crate::target::file_system_type;
use crate::userns::{RootlessMap, names_user, namespace_for, ranges_for};

/// The most that is read of `/etc/subuid`, `/etc/subgid` and `/etc/passwd`, in bytes.
const ID_FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Fewer subordinate ids than this are of no use: images have the users of a distribution, up to 65534.
const SUBORDINATE_IDS_MIN: u32 = 1000;
/// Where the programs of the `uidmap` package are; setuid programs are not looked for in a search path.
const PROGRAM_DIRECTORIES: &[&str] = &["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"];

/// What the host allows this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Whether all namespaces of a sandbox can be made; if not, why.
    pub namespaces: Result<(), Errno>,
    /// Whether overlay can be mounted with privileges in a user namespace only; if not, why.
    pub overlay_in_user_namespace: Result<(), Errno>,
    /// The kinds of cgroups.
    pub cgroups: Cgroups,
    /// How to run rootless with ranges of ids; `None`: only [`RootlessMap::Single`] is possible.
    pub subordinate_ids: Option<RootlessMap>,
}

/// The kinds of cgroups a host has mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroups {
    /// Only version 2, at `/sys/fs/cgroup`.
    Unified,
    /// Controllers of version 1, and version 2 at `/sys/fs/cgroup/unified`.
    Hybrid,
    /// Only version 1.
    Legacy,
    /// None at `/sys/fs/cgroup`.
    None,
}

/// Finds out what the host allows. Takes about 2 ms: it makes the namespaces.
pub fn host() -> Host {
    Host {
        namespaces: namespaces(),
        overlay_in_user_namespace: try_mount_in_user_namespace(c"overlay"),
        cgroups: cgroups(),
        subordinate_ids: subordinate_ids(),
    }
}

/// Whether the namespaces of a sandbox can be made.
///
/// # Errors
/// Why not: `EPERM` (switched off), `ENOSPC`/`EUSERS` (used up), `ENOSYS` (kernel too old or filtered).
pub fn namespaces() -> Result<(), Errno> {
    let all = [Namespaces::MOUNT, Namespaces::PID, Namespaces::IPC, Namespaces::UTS, Namespaces::CGROUP];
    try_namespaces(all.into_iter().fold(Namespaces::USER, Namespaces::with).with(Namespaces::NETWORK))
}

/// Whether a sandbox can have a `/proc` of its own.
///
/// # Errors
/// `EPERM`: parts of this process's `/proc` are hidden by mounts, as in most containers; otherwise as [`namespaces`].
pub fn new_proc() -> Result<(), Errno> {
    try_mount_proc_in_user_namespace()
}

/// Whether a sandbox can have a root file system of its own.
///
/// # Errors
/// As [`try_pivot_root_in_user_namespace`].
pub fn new_root() -> Result<(), Errno> {
    try_pivot_root_in_user_namespace()
}

/// Whether mounts of the file system that holds `directory` can be id-mapped by this process.
pub fn id_mapped_mounts(directory: BorrowedFd<'_>) -> bool {
    let Ok(namespace) = namespace_for(&IdMap::range(0, 1)) else { return false };
    clone_tree(directory, c"", Recursion::Single)
        .and_then(|mount| set_id_map(mount, namespace.as_fd(), Recursion::Single))
        .is_ok()
}

/// Which cgroups the host has.
pub fn cgroups() -> Cgroups {
    let is_unified = |path: &str| {
        open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .and_then(|directory| file_system_type(directory.as_fd()))
            .is_ok_and(|magic| magic == CGROUP2_SUPER_MAGIC)
    };
    let is_legacy = ["memory", "pids", "cpu"]
        .iter()
        .any(|controller| Path::new("/sys/fs/cgroup").join(controller).join("cgroup.procs").exists());
    match (is_unified("/sys/fs/cgroup"), is_unified("/sys/fs/cgroup/unified"), is_legacy) {
        (true, _, _) => Cgroups::Unified,
        (false, true, true) => Cgroups::Hybrid,
        (false, _, true) => Cgroups::Legacy,
        (false, _, false) => Cgroups::None,
    }
}

/// The ranges of subordinate ids of the calling user, if it has some and the programs to map them are installed.
pub fn subordinate_ids() -> Option<RootlessMap> {
    let user = rustix::process::getuid().as_raw();
    let login = login_name(user);
    let range = |path: &str| subordinate_range(&read_limited(path)?, login.as_deref(), user);
    let program = |name: &str| {
        PROGRAM_DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
    };
    let programs: Option<(PathBuf, PathBuf)> = program("newuidmap").zip(program("newgidmap"));
    ranges_for(range("/etc/subuid"), range("/etc/subgid"), programs)
}

/// The largest range of the user in the text of `/etc/subuid` (`subuid(5)`): first id, number of ids.
fn subordinate_range(text: &[u8], login: Option<&OsStr>, user: u32) -> Option<(u32, u32)> {
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|byte| *byte == b':');
            let name = OsStr::from_bytes(fields.next()?);
            let mut number = || std::str::from_utf8(fields.next()?.trim_ascii()).ok()?.parse::<u32>().ok();
            let (first, count) = (number()?, number()?);
            let useful = count >= SUBORDINATE_IDS_MIN && first.checked_add(count).is_some();
            (useful && names_user(name, login, user)).then_some((first, count))
        })
        .max_by_key(|(_, count)| *count)
}

/// The name of the user in `/etc/passwd`; users of a directory service have their ranges under their number.
fn login_name(user: u32) -> Option<std::ffi::OsString> {
    let text = read_limited("/etc/passwd")?;
    text.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next()?;
        let id: u32 = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
        (id == user).then(|| OsStr::from_bytes(name).to_owned())
    })
}

fn read_limited(path: &str) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(ID_FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bake_sys::seccomp::{ARCHITECTURE_AARCH64, ARCHITECTURE_X86_64, AbiTable, Action, Program, Verdict, install};

    use super::*;

    #[test]
    fn a_filter_that_forbids_another_root_is_noticed() {
        assert_eq!(new_root(), Ok(()));
        let (architecture, pivot_root) =
            if cfg!(target_arch = "aarch64") { (ARCHITECTURE_AARCH64, 41) } else { (ARCHITECTURE_X86_64, 155) };
        let forbidden = Verdict::always(Action::Errno(1));
        let table = AbiTable {
            architecture,
            verdicts: BTreeMap::from([(pivot_root, forbidden)]),
            otherwise: Action::Allow,
            known_end: u32::MAX,
            unknown: Action::Allow,
        };
        let program = Program::compile(&[table]).expect("one table is a program");
        // A filter is for one thread and what it starts.
        let under_filter = std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).expect("it is always allowed");
            install(&program).expect("the kernel has filters");
            new_root()
        });
        assert_eq!(under_filter.join().expect("it does not panic"), Err(Errno::PERM));
    }

    #[test]
    fn the_largest_useful_range_of_the_user_is_taken() {
        let text = b"other:1:70000\nme:100000:10\nme:200000:65536\n1000:500000:70000\nme:bad\nme:4294967295:70000\n";
        assert_eq!(subordinate_range(text, Some(OsStr::new("me")), 1), Some((200_000, 65536)));
        assert_eq!(subordinate_range(text, Some(OsStr::new("me")), 1000), Some((500_000, 70000)));
        assert_eq!(subordinate_range(text, None, 7), None);
    }
}
