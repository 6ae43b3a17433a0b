//! The tests, with the programs that some of them compare ours with.
//!
//! Tests pass over what they need another program for, so that they pass anywhere. Here its absence is an error: the
//! programs are looked for first.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::workspace;

/// Programs that tests start or examples need, and Debian's packages that hold them.
const PROGRAMS: &[(&str, &str)] = &[
    ("buildah", "buildah"),
    ("busybox", "busybox-static"),
    ("bzip2", "bzip2"),
    ("cc", "gcc"),
    ("chromium", "chromium"),
    ("containerd", "containerd"),
    ("crun", "crun"),
    ("docker", "docker.io"),
    ("docker-registry", "docker-registry"),
    ("dockerd", "docker.io"),
    ("git", "git"),
    ("gzip", "gzip"),
    ("htpasswd", "apache2-utils"),
    ("jq", "jq"),
    ("mmdebstrap", "mmdebstrap"),
    ("newuidmap", "uidmap"),
    ("openssl", "openssl"),
    ("pasta", "passt"),
    ("perl", "perl-base"),
    ("podman", "podman"),
    ("python3", "python3"),
    ("runc", "runc"),
    ("setcap", "libcap2-bin"),
    ("setfattr", "attr"),
    ("setpriv", "util-linux"),
    ("shellcheck", "shellcheck"),
    ("skopeo", "skopeo"),
    ("ssh-agent", "openssh-client"),
    ("strace", "strace"),
    ("tar", "tar"),
    ("tmux", "tmux"),
    ("umoci", "umoci"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// Programs that no distribution packages, and the packages of `PyPI` that hold them.
const PYTHON_PROGRAMS: [(&str, &str); 1] = [("moto_server", "moto[server]")];

/// Where they are, below the workspace: Debian's `pip` installs only into environments.
const PYTHON_ENVIRONMENT: &str = "target/python";

/// A program that Debian has only in later releases: the test that compares with it runs where somebody has it.
const NOT_IN_DEBIAN_STABLE: &str = "`docker-buildx`";

/// How tests say that they lack a program.
const NOT_INSTALLED: &str = "is not installed";

/// How tests say that they are no tests of their own.
const STARTED_BY_ANOTHER: &str = "runs inside the namespace that";

/// Where programs are; the search path of ordinary users often lacks the last ones.
const PLACES: [&str; 6] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Runs all tests. Programs that are missing are named, or with `install` installed.
pub(crate) fn run(install: bool) -> Result<(), String> {
    let packages = missing();
    if !packages.is_empty() {
        if install {
            install_packages(&packages)?;
        }
        let still = missing();
        if !still.is_empty() {
            return Err(format!(
                "tests need programs that are not installed; on Debian: apt-get install --no-install-recommends {}",
                still.join(" ")
            ));
        }
    }
    let packages = missing_of_python();
    if !packages.is_empty() {
        if !install {
            return Err(format!(
                "tests need packages of PyPI in `{PYTHON_ENVIRONMENT}`: {}; `cargo xtask test --install` puts them there",
                packages.join(" ")
            ));
        }
        install_of_python(&packages)?;
    }
    let mut ignored = Vec::new();
    let tests = ["test", "--workspace", "--locked", "--no-fail-fast"];
    let result = workspace::cargo_lines(&tests, |line| ignored.extend(ignored_test(line).map(str::to_owned)));
    for line in &ignored {
        println!("not run: {line}");
    }
    result?;
    let is_wanted = |line: &&String| line.contains(NOT_INSTALLED) && !line.contains(NOT_IN_DEBIAN_STABLE);
    if ignored.iter().any(|line| is_wanted(&line)) {
        return Err("tests were left out for want of a program".to_owned());
    }
    Ok(())
}

/// The name of an ignored test, with the reason.
fn ignored_test(line: &str) -> Option<&str> {
    let test = line.strip_prefix("test ").filter(|test| test.contains("... ignored"));
    test.filter(|test| !test.contains(STARTED_BY_ANOTHER))
}

/// The packages of the programs that are not there.
fn missing() -> Vec<&'static str> {
    let is_there = |program: &str| PLACES.iter().any(|place| Path::new(place).join(program).is_file());
    PROGRAMS.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect()
}

/// The packages of the Python programs that are not there.
fn missing_of_python() -> Vec<&'static str> {
    let directory = workspace::root().join(PYTHON_ENVIRONMENT).join("bin");
    let missing = PYTHON_PROGRAMS.iter().filter(|(program, _)| !directory.join(program).is_file());
    missing.map(|(_, package)| *package).collect()
}

/// Installs packages of `PyPI` into an environment of their own.
fn install_of_python(packages: &[&str]) -> Result<(), String> {
    let directory = workspace::root().join(PYTHON_ENVIRONMENT);
    let run = |command: &mut Command| {
        let shown = format!("{command:?}");
        println!("$ {shown}");
        match command.stdin(Stdio::null()).status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("`{shown}` failed: {status}")),
            Err(error) => Err(format!("Failed to start `{shown}`: {error}")),
        }
    };
    // Debian's Python comes without what makes environments.
    let make = || run(Command::new("python3").args(["-m", "venv"]).arg(&directory));
    if make().is_err() {
        install_packages(&["python3-venv"])?;
        make()?;
    }
    run(Command::new(directory.join("bin/pip")).args(["install", "--quiet"]).args(packages))
}

/// Installs packages, by `sudo` where this is not root.
fn install_packages(packages: &[&str]) -> Result<(), String> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let apt = |arguments: &[&str]| {
        let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
        if !root {
            command.args(["--non-interactive", "apt-get"]);
        }
        let shown = format!("apt-get {}", arguments.join(" "));
        println!("$ {shown}");
        let status = command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("`{shown}` failed: {status}")),
            Err(error) => Err(format!("Failed to start `{shown}`: {error}")),
        }
    };
    apt(&["update"])?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::{PROGRAMS, ignored_test};
    use crate::workspace;

    /// Needs of tests that are no programs, or one that has no package here.
    const NO_PROGRAMS: [&str; 6] = ["docker-buildx", "fuse", "ids", "root", "sigstore", "userns"];

    /// Programs that every Debian has, or that come with another one of the list.
    const COME_ALONG: [&str; 8] = ["bash", "ctr", "dpkg", "ldd", "mkfifo", "mknod", "ssh-keygen", "unshare"];

    #[test]
    fn what_tests_need_is_installed() {
        let mut needs = Vec::new();
        for entry in std::fs::read_dir(workspace::root().join("tests")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(path).unwrap();
                // `("name", &["need", "need"], function),`
                let rows = text.lines().filter(|line| line.starts_with("    (\""));
                let lists = rows.filter_map(|row| Some(row.split_once(", &[")?.1.split_once(']')?.0.to_owned()));
                needs.extend(
                    lists.flat_map(|list| list.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()),
                );
            }
        }
        assert!(needs.iter().any(|need| need == "shellcheck"));
        needs.retain(|need| {
            let is_installed = PROGRAMS.iter().any(|(program, _)| program == need);
            !is_installed && !NO_PROGRAMS.contains(&need.as_str()) && !COME_ALONG.contains(&need.as_str())
        });
        assert_eq!(needs, [""; 0]);
    }

    #[test]
    fn ignored_tests_are_found() {
        let lacking = "test [ignored: `x` is not installed] pulls ... ignored";
        assert_eq!(ignored_test(lacking), lacking.strip_prefix("test "));
        assert_eq!(ignored_test("test inside ... ignored, runs inside the namespace that another makes"), None);
        assert_eq!(ignored_test("test pulls ... ok"), None);
    }
}
