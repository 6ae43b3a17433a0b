//! What this machine can do, so that tests that need more are shown as ignored, with the reason.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where programs are looked for.
const PROGRAM_DIRECTORIES: [&str; 6] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Where `cargo xtask test --install` puts programs that no distribution packages.
const PYTHON_PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/python/bin");

/// The program called `name`, if it is installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let directories = PROGRAM_DIRECTORIES.iter().copied().chain([PYTHON_PROGRAMS]);
    directories.map(|directory| Path::new(directory).join(name)).find(|path| {
        fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    })
}

/// Whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Why a need of a test is not met, `None` if it is.
///
/// Needs are `root`, `userns` (steps can be run), `ids` (files in steps can have several owners), `fuse` (what steps ask can be
/// recorded), `sigstore`, and names of programs.
pub fn missing(need: &str) -> Option<String> {
    match need {
        "root" if is_root() => None,
        "root" => Some("it takes root".to_owned()),
        "userns" if is_root() || can_make_user_namespaces() => None,
        "userns" => Some("this machine lets ordinary users make no user namespaces".to_owned()),
        "ids" if is_root() || has_subordinate_ids() => None,
        "ids" => Some("this user has no subordinate IDs".to_owned()),
        "fuse" if can_open_fuse() => None,
        "fuse" => Some("/dev/fuse cannot be opened".to_owned()),
        "sigstore" if skopeo_knows_sigstore() => None,
        "sigstore" => Some(
            "there is no skopeo of version 1.13 or later; in Debian's earlier ones sigstore is disabled".to_owned(),
        ),
        name if program(name).is_some() => None,
        name => Some(format!("`{name}` is not installed")),
    }
}

fn can_open_fuse() -> bool {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok()
}

fn can_make_user_namespaces() -> bool {
    let Some(unshare) = program("unshare") else { return false };
    let status = Command::new(unshare)
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Whether there is a skopeo that makes and verifies sigstore's signatures.
fn skopeo_knows_sigstore() -> bool {
    let Some(skopeo) = program("skopeo") else { return false };
    let Ok(output) = Command::new(skopeo).arg("--version").output() else { return false };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers =
        text.split(' ').nth(2).unwrap_or_default().split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (1, 13)
}

fn has_subordinate_ids() -> bool {
    let user = rustix::process::getuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find(|line| line.split(':').nth(2) == Some(&user)).and_then(|line| line.split(':').next());
    let lists = |path: &str| {
        let ranges = fs::read_to_string(path).unwrap_or_default();
        let mut owners = ranges.lines().filter_map(|line| line.split(':').next());
        owners.any(|owner| owner == user || Some(owner) == name)
    };
    program("newuidmap").is_some() && lists("/etc/subuid") && lists("/etc/subgid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_told() {
        assert!(program("sh").is_some());
        assert_eq!(missing("sh"), None);
        assert_eq!(missing("no-such-program").as_deref(), Some("`no-such-program` is not installed"));
        assert_eq!(missing("root").is_none(), is_root());
        assert!(missing("ids").is_none() || !is_root());
    }
}
