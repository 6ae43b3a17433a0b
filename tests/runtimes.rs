//! Steps by OCI runtimes make what the built-in sandbox makes, see what it shows, and leave nothing.

mod support;

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bake_testkit::program;
use bake_testkit::tree::{Listing, describe_archive};
use rustix::process::{Pid, Signal, kill_process};

use support::{Environment, Outcome, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("runc_makes_what_the_sandbox_makes", &["root", "runc"], |environment| same_image(environment, "runc")),
    ("crun_makes_what_the_sandbox_makes", &["root", "crun"], |environment| same_image(environment, "crun")),
    ("runc_has_the_profile", &["root", "runc"], |environment| profile(environment, "runc")),
    ("crun_has_the_profile", &["root", "crun"], |environment| profile(environment, "crun")),
    ("runc_passes_exit_codes_on", &["root", "runc"], |environment| exit_codes(environment, "runc")),
    ("crun_passes_exit_codes_on", &["root", "crun"], |environment| exit_codes(environment, "crun")),
    ("nothing_of_runc_is_left", &["root", "runc"], |environment| nothing_left(environment, "runc")),
    ("nothing_of_crun_is_left", &["root", "crun"], |environment| nothing_left(environment, "crun")),
    ("a_runtime_that_is_missing_is_named", &[], missing),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

const DOCKERFILE: &str = "FROM busybox\n\
    RUN echo made > /made && chown 7:8 /made && chmod 4751 /made && ln -s made /link\n\
    WORKDIR /work\n\
    RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/memory --mount=type=secret,id=s,target=/run/s \
    echo kept > /cache/file && touch /memory/file && cat /run/s > /seen && cat /etc/hosts > /dev/null\n\
    USER 7\n\
    RUN id -u > /tmp/user; echo error >&2; echo \"$HOME\" > /tmp/home\n";

fn same_image(environment: &Environment, runtime: &str) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", DOCKERFILE)?;
    scratch.write("secret", "hidden")?;
    let mut images = Vec::new();
    for flags in [&[][..], &["--runtime", runtime][..]] {
        let mut command = environment.build(&scratch.store());
        command.args(["--no-cache", "--secret", &format!("id=s,src={}", scratch.at("secret"))]);
        command.args(["--output", &format!("type=oci,dest={}", scratch.at("image.tar"))]);
        succeed(command.args(flags).arg(scratch.at("context")))?;
        let file = fs::File::open(scratch.at("image.tar")).map_err(|error| error.to_string())?;
        images.push(describe_archive(file, Listing::default()).map_err(|error| error.to_string())?.text);
    }
    check(images[0].contains("made"), || images[0].clone())?;
    equal(&images[1], &images[0], "the image")
}

fn profile(environment: &Environment, runtime: &str) -> Outcome {
    let scratch = environment.scratch()?;
    let script = "exec 2>&1; grep -E '^(CapInh|CapPrm|CapEff|CapBnd|CapAmb|Seccomp):' /proc/self/status; \
        cat /proc/self/uid_map; hostname; ls /proc/self/fd | wc -l; ulimit -Sn; ulimit -Hc; cat /proc/keys | wc -c; ls /sys/firmware | wc -l; \
        unshare -m true 2>&1; mount -t tmpfs tmpfs /mnt 2>&1; echo x > /proc/sys/kernel/domainname; mkdir /sys/fs/cgroup/x; true";
    scratch.write("context/Dockerfile", format!("FROM busybox\nRUN {script}\n"))?;
    let mut seen = Vec::new();
    for flags in [&[][..], &["--runtime", runtime][..]] {
        let mut command = environment.build(&scratch.store());
        let finished = succeed(command.arg("--no-cache").args(flags).arg(scratch.at("context")))?;
        // Without numbers and times.
        let lines = finished.stderr.lines().filter(|line| line.starts_with("#2 ") && !line.contains("DONE"));
        seen.push(lines.filter_map(|line| line.splitn(3, ' ').nth(2).map(str::to_owned)).collect::<Vec<_>>());
    }
    check(seen[0].len() > 10, || format!("{seen:?}"))?;
    equal(&seen[1], &seen[0], "what a step sees")
}

fn exit_codes(environment: &Environment, runtime: &str) -> Outcome {
    let scratch = environment.scratch()?;
    let build = |text: &str| {
        scratch.write("context/Dockerfile", format!("FROM busybox\n{text}\n"))?;
        finish(environment.build(&scratch.store()).args(["--runtime", runtime]).arg(scratch.at("context")))
    };
    expect_failure(&build("RUN exit 7")?, 1, &["exit code: 7"])?;
    expect_failure(&build("RUN [\"nothing-like-this\"]")?, 1, &["could not be started", "nothing-like-this"])?;
    scratch.write("context/Dockerfile", "FROM busybox\nCMD [\"sh\", \"-c\", \"cat; exit 3\"]\n")?;
    succeed(environment.build(&scratch.store()).args(["--quiet", "--tag", "image"]).arg(scratch.at("context")))?;
    let mut command = environment.command(&scratch.store());
    command.args(["run", "--runtime", runtime, "-i", "image"]);
    let finished = program::run_with_input(&mut command, b"given".to_vec()).map_err(|error| error.to_string())?;
    equal(&(finished.code, finished.text()), &(Some(3), "given".to_owned()), "what was run")
}

/// The command lines of processes with this word among their arguments.
fn processes(word: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let lines = entries.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.starts_with("sleep ") && line.contains(word)).collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        check(Instant::now() < deadline, || format!("{what} did not happen within a minute"))?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn nothing_left(environment: &Environment, runtime: &str) -> Outcome {
    let scratch = environment.scratch()?;
    let number = if runtime == "runc" { 1 } else { 2 };
    let seconds = format!("{}{number}", 10_000 + std::process::id() % 90_000);
    scratch.write("context/Dockerfile", format!("FROM busybox\nRUN sleep {seconds}\n"))?;
    for signal in [Signal::INT, Signal::KILL] {
        let mut command = environment.build(&scratch.store());
        let running = program::start(command.args(["--runtime", runtime]).arg(scratch.at("context")))
            .map_err(|error| error.to_string())?;
        wait_until("the step", || !processes(&seconds).is_empty())?;
        let id = i32::try_from(running.id()).ok().and_then(Pid::from_raw).ok_or("a process has an ID")?;
        kill_process(id, signal).map_err(|error| error.to_string())?;
        running.wait(Duration::from_mins(1)).map_err(|error| error.to_string())?;
        wait_until("the end of the step", || processes(&seconds).is_empty())?;
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    let store = scratch.store().display().to_string();
    check(!mounts.contains(&store), || mounts.clone())?;
    succeed(environment.command(&scratch.store()).arg("fsck")).map(drop)
}

fn missing(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN true\n")?;
    for runtime in ["no-such-runtime", "/no/such/runtime", "relative/runtime"] {
        let finished =
            finish(environment.build(&scratch.store()).args(["--runtime", runtime]).arg(scratch.at("context")))?;
        expect_failure(&finished, 2, &[runtime, "is not installed"])?;
    }
    Ok(())
}
