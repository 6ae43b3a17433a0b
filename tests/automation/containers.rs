//! What a container has to allow: the table of `docs/ci.md`, tried with docker and its own filter of system calls.

use std::fs;
use std::path::Path;
use std::process::Command;

use bake_testkit::host;

use super::support::engines::{Docker, no_docker};
use super::support::{Environment, Outcome, Scratch, check, equal, finish, succeed};

const PAGE: &str = include_str!("../../docs/ci.md");
/// The filter of podman, which Debian keeps here; it allows namespaces and mounts.
const OTHER_FILTER: &str = "/usr/share/containers/seccomp.json";

/// Why it cannot be tried here.
pub(crate) fn obstacle() -> Option<String> {
    let filter = || (!Path::new(OTHER_FILTER).exists()).then(|| format!("there is no `{OTHER_FILTER}`"));
    no_docker().or_else(|| host::missing("ldd")).or_else(filter)
}

pub(crate) fn table(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    image(environment, &scratch)?;
    let docker = Docker::start(&scratch)?;
    docker.said(&["load", "--input", &scratch.at("tools.tar")])?;
    let other_filter = format!("seccomp={OTHER_FILTER}");
    let user = ["--user", "1000", "--cap-drop", "ALL"];
    let root =
        ["--user", "0", "--cap-drop", "ALL", "--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add", "SETFCAP"];
    let filter = ["--security-opt", other_filter.as_str()];
    let whole = ["--security-opt", "systempaths=unconfined"];
    let unconfined = ["--security-opt", "seccomp=unconfined"];
    // The rows of the page, and what stands for each of them.
    let containers: [(&str, Vec<&str>); 5] = [
        ("the default filter", user.to_vec()),
        ("a filter that allows", [&user[..], &filter].concat()),
        ("that, and all of `/proc`", [&user[..], &filter, &whole].concat()),
        ("that, and all of `/proc`", [&user[..], &unconfined, &whole].concat()),
        ("that filter, user 0,", [&root[..], &filter].concat()),
    ];
    for (begin, flags) in containers {
        let row = PAGE.lines().find_map(|line| line.strip_prefix(&format!("| {begin}")));
        let row = row.ok_or_else(|| format!("the page has no row `{begin}`"))?;
        let cells: Vec<&str> = row.trim_end_matches(" |").rsplit(" | ").collect();
        let [with_run, without_run, ..] = cells[..] else { return Err(format!("a short row: {row}")) };
        for (file, told) in [("without-run.Dockerfile", without_run), ("with-run.Dockerfile", with_run)] {
            let words = run_words(&scratch, environment, &flags, file);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ended = docker.said(&words);
            check(ended.is_ok() == (told == "yes"), || format!("{begin}, {file}: not {told} but {ended:?}"))?;
        }
    }
    Ok(())
}

/// The words of a `docker run` that builds in a container as Kubernetes would make it.
fn run_words(scratch: &Scratch, environment: &Environment, flags: &[&str], file: &str) -> Vec<String> {
    let context = format!("{}:/context:ro", scratch.at("context"));
    let base = format!("{}:/base:ro", environment.base("busybox").display());
    let program = format!("{}:/bake:ro", environment.bake.display());
    let file = format!("/context/{file}");
    let before = [
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--security-opt",
        "no-new-privileges",
        "--tmpfs",
        "/store:mode=1777",
        "--tmpfs",
        "/tmp:mode=1777",
        "--env",
        "BAKE_ROOT=/store/bake",
        "--env",
        "HOME=/tmp",
        "--volume",
        &context,
        "--volume",
        &base,
        "--volume",
        &program,
    ];
    let after = [
        "tools:latest",
        "/bake",
        "build",
        "--progress",
        "plain",
        "--build-context",
        "busybox=oci-layout:///base",
        "--file",
        &file,
        "/context",
    ];
    before.into_iter().chain(flags.iter().copied()).chain(after).map(str::to_owned).collect()
}

/// An image with what the program is linked with, as an archive for docker; and what is built in its containers.
fn image(environment: &Environment, scratch: &Scratch) -> Outcome {
    scratch.write("image/Dockerfile", "FROM busybox\nCOPY root /\n")?;
    scratch.write("image/root/etc/passwd", "root:x:0:0::/root:/bin/sh\nci:x:1000:1000::/tmp:/bin/sh\n")?;
    // A program that is linked statically has none.
    let linked = finish(Command::new("ldd").arg(&environment.bake))?.text();
    for path in linked.split_whitespace().filter(|word| word.starts_with('/')) {
        let target = scratch.path().join("image/root").join(path.trim_start_matches('/'));
        let parent = target.parent().ok_or("a library is in a directory")?;
        fs::create_dir_all(parent).map_err(|error| error.to_string())?;
        fs::copy(path, &target).map_err(|error| format!("{path}: {error}"))?;
    }
    let mut command = environment.build(&scratch.store());
    let archive = format!("type=docker,dest={}", scratch.at("tools.tar"));
    succeed(command.args(["--tag", "tools:latest", "--output", &archive]).arg(scratch.at("image")))?;
    scratch.write("context/file", "content\n")?;
    scratch.write("context/without-run.Dockerfile", "FROM scratch\nCOPY file /file\n")?;
    scratch.write("context/with-run.Dockerfile", "FROM busybox\nRUN echo > /x\nUSER 5\nRUN test \"$(id -u)\" = 5\n")?;
    equal(&scratch.path().join("tools.tar").exists(), &true, "an archive")
}
