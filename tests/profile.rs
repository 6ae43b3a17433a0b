//! What a step sees and may do, compared with what it should, as root and as an ordinary user with and without subordinate IDs.
//!
//! `BAKE_BLESS=1` accepts what is seen now: read the difference, it is a change of the sandbox.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, ExitCode};

use support::{Environment, Outcome, Scratch, Test, check, succeed};

const TESTS: &[Test] = &[
    ("root", &["root", "perl", "ldd"], |environment| profile(environment, Who::Root)),
    ("an_ordinary_user_with_a_single_id", &["root", "perl", "ldd", "setpriv"], |environment| {
        profile(environment, Who::Single)
    }),
    (
        "an_ordinary_user_with_subordinate_ids",
        &["root", "perl", "ldd", "setpriv", "unshare", "newuidmap"],
        |environment| profile(environment, Who::Ranges),
    ),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// Where the probe and the profiles are.
const PROFILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/profile");

/// The ordinary user: `nobody`, who owns nothing.
const USER: u32 = 65534;

/// Who builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Root,
    Single,
    Ranges,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Single => "single-id",
            Self::Ranges => "subordinate-ids",
        }
    }
}

fn profile(environment: &Environment, who: Who) -> Outcome {
    let scratch = environment.scratch()?;
    for name in ["probe.sh", "probe.pl"] {
        let text = fs::read(Path::new(PROFILES).join(name)).map_err(|error| format!("{name}: {error}"))?;
        scratch.write(&format!("context/{name}"), text)?;
    }
    add_perl(&scratch)?;
    // Without a network, because the other ones depend on what the machine has.
    scratch.write(
        "context/Dockerfile",
        "FROM busybox\nCOPY perl/ /\nCOPY probe.* /\nARG GIVEN=value\nRUN --network=none sh /probe.sh > /seen 2> /errors || { cat /errors; exit 1; }\n\
         FROM scratch\nCOPY --from=0 /seen /\n",
    )?;
    let mut command = build(environment, &scratch, who)?;
    command.args(["--output", &format!("type=local,dest={}", scratch.at("out"))]).arg(scratch.at("context"));
    let finished = succeed(&mut command)?;
    let seen = normalised(&scratch.read("out/seen")?);
    check(seen.contains("\nx32 ENOSYS: "), || format!("the probe did not come to its end: {}", finished.stderr))?;
    different_namespaces(&scratch.read("out/seen")?)?;
    let path = Path::new(PROFILES).join(format!("{}.txt", who.name()));
    if std::env::var_os("BAKE_BLESS").is_some() {
        return fs::write(&path, seen).map_err(|error| format!("{}: {error}", path.display()));
    }
    let expected = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    check(seen == expected, || {
        let lines = |one: &str, other: &str, sign: char| -> String {
            let other: Vec<&str> = other.lines().collect();
            one.lines()
                .filter(|line| !other.contains(line))
                .map(|line| format!("{sign} {line}\n"))
                .collect::<Vec<_>>()
                .concat()
        };
        format!("{} differs:\n{}{}", path.display(), lines(&expected, &seen, '-'), lines(&seen, &expected, '+'))
    })
}

/// Without what the machine gives a number.
fn normalised(seen: &str) -> String {
    let lines = seen.lines().map(|line| match line.split_once(":[") {
        Some((name, _)) => name,
        None => line,
    });
    lines.map(|line| format!("{line}\n")).collect::<Vec<_>>().concat()
}

/// That each namespace of the step is another one than that of this process.
fn different_namespaces(seen: &str) -> Outcome {
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
        let own = fs::read_link(format!("/proc/self/ns/{name}")).map_err(|error| error.to_string())?;
        let start = format!("{name} {name}:[");
        let line = seen.lines().find(|line| line.starts_with(&start));
        let line = line.ok_or_else(|| format!("the namespace {name} is not told"))?;
        check(!line.ends_with(&*own.to_string_lossy()), || {
            format!("the step has the namespace {name} of the machine")
        })?;
    }
    Ok(())
}

/// Puts perl, which can make any system call, into the context with the libraries it needs.
fn add_perl(scratch: &Scratch) -> Outcome {
    let perl = bake_testkit::host::program("perl").ok_or("perl is installed")?;
    let libraries = succeed(Command::new("ldd").arg(&perl))?.text();
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/')).map(std::path::PathBuf::from);
    for path in libraries.chain([perl.clone()]) {
        let copy = scratch.path().join("context/perl").join(path.strip_prefix("/").map_err(|error| error.to_string())?);
        fs::create_dir_all(copy.parent().ok_or("a file is in a directory")?).map_err(|error| error.to_string())?;
        fs::copy(&path, &copy).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// `bake build` as root or as the user.
fn build(environment: &Environment, scratch: &Scratch, who: Who) -> Result<Command, String> {
    if who == Who::Root {
        return Ok(environment.build(&scratch.store()));
    }
    let failed = |error: std::io::Error| error.to_string();
    let bake = scratch.path().join("bake");
    fs::copy(&environment.bake, &bake).map_err(failed)?;
    // From the root down to here nothing may be closed.
    for directory in scratch.path().ancestors().take(2) {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).map_err(failed)?;
    }
    chown(scratch.path(), Some(USER), Some(USER)).map_err(failed)?;
    let as_user = format!("setpriv --reuid={USER} --regid={USER} --clear-groups -- \"$@\"");
    let mut command;
    if who == Who::Ranges {
        scratch.write("subordinate", format!("{USER}:200000:65536\n"))?;
        // Files in /etc that only this test sees.
        let files = "for f in subuid subgid; do mount --bind \"$0\" /etc/$f; done";
        command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-ec", &format!("{files}; exec {as_user}")])
            .arg(scratch.path().join("subordinate"));
    } else {
        command = Command::new("sh");
        command.args(["-ec", &format!("exec {as_user}"), "sh"]);
    }
    command.arg(&bake).args(["--root", &scratch.at("user-store"), "build", "--progress", "plain"]);
    command.args(environment.base_flags()).env_clear().current_dir(scratch.path());
    command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", scratch.path());
    Ok(command)
}
