//! Builds as processes: interrupted, killed, several at once, and what they leave behind.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use bake_testkit::program::{self, Running};
use rustix::process::{Pid, Signal, kill_process};

use support::{Environment, Outcome, Scratch, Test, check, equal, succeed};

const TESTS: &[Test] = &[
    ("an_interrupt_ends_the_build_with_code_130", &[], interrupt),
    ("termination_ends_it_too", &[], terminate),
    ("a_killed_build_takes_its_steps_along", &[], kill),
    ("four_builds_at_once_share_their_work", &[], four_at_once),
    ("eight_builds_at_once_run_a_step_once", &[], eight_at_once),
    ("an_interrupt_ends_the_wait_for_another_build", &[], interrupted_wait),
    ("what_was_done_beside_a_failure_is_kept", &[], kept_beside_a_failure),
    ("different_builds_at_once_do_not_disturb_each_other", &[], different_at_once),
    ("processes_left_by_a_step_are_ended", &[], left_behind),
    ("a_failure_ends_steps_that_run_beside_it", &[], beside_a_failure),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// How long something may take that another process must do.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often it is looked at.
const PAUSE: Duration = Duration::from_millis(20);

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        check(Instant::now() < deadline, || format!("{what} did not happen within {PATIENCE:?}"))?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// The processes whose arguments are exactly these.
fn processes(arguments: &[&str]) -> Vec<u32> {
    let wanted: Vec<u8> = arguments.iter().flat_map(|argument| argument.bytes().chain([0])).collect();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|id: &u32| fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|found| found == wanted))
        .collect()
}

/// A duration that no other process sleeps: the test's name for the process it looks for.
fn sleep_of(number: u32) -> String {
    format!("{}{number:02}", 1000 + std::process::id() % 9000)
}

fn start(environment: &Environment, scratch: &Scratch, seconds: &str) -> Result<Running, String> {
    scratch.write("context/Dockerfile", format!("FROM busybox\nRUN echo done > /done\nRUN sleep {seconds}\n"))?;
    let mut command = environment.build(&scratch.store());
    program::start(command.arg(scratch.at("context"))).map_err(|error| error.to_string())
}

fn send(running: &Running, signal: Signal) -> Outcome {
    let id = i32::try_from(running.id()).ok().and_then(Pid::from_raw).ok_or("a process has an ID")?;
    kill_process(id, signal).map_err(|error| error.to_string())
}

/// That nothing of a store is mounted, here or in another process that can be seen.
fn nothing_is_mounted(store: &Path) -> Outcome {
    let store = store.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
    check(!mounts.contains(&store), || format!("still mounted: {mounts}"))
}

/// That the store is sound and the build can go on where it stopped.
fn goes_on(environment: &Environment, scratch: &Scratch) -> Outcome {
    nothing_is_mounted(&scratch.store())?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo done > /done\nRUN true\n")?;
    let finished = succeed(environment.build(&scratch.store()).arg(scratch.at("context")))?;
    check(finished.stderr.contains("built 2 steps (1 cached)"), || finished.stderr.clone())?;
    succeed(environment.command(&scratch.store()).arg("fsck")).map(drop)
}

fn interrupted_by(environment: &Environment, signal: Signal, number: u32) -> Outcome {
    let scratch = environment.scratch()?;
    let seconds = sleep_of(number);
    let running = start(environment, &scratch, &seconds)?;
    wait_until("the step", || !processes(&["sleep", &seconds]).is_empty())?;
    send(&running, signal)?;
    let finished = running.wait(PATIENCE).map_err(|error| error.to_string())?;
    equal(&finished.code, &Some(130), "exit code").map_err(|problem| format!("{problem}\n{}", finished.stderr))?;
    equal(&processes(&["sleep", &seconds]), &Vec::new(), "processes that are left")?;
    goes_on(environment, &scratch)
}

fn interrupt(environment: &Environment) -> Outcome {
    interrupted_by(environment, Signal::INT, 1)
}

fn terminate(environment: &Environment) -> Outcome {
    interrupted_by(environment, Signal::TERM, 2)
}

fn kill(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let seconds = sleep_of(3);
    let running = start(environment, &scratch, &seconds)?;
    wait_until("the step", || !processes(&["sleep", &seconds]).is_empty())?;
    send(&running, Signal::KILL)?;
    let finished = running.wait(PATIENCE).map_err(|error| error.to_string())?;
    equal(&finished.code, &None, "exit code")?;
    wait_until("the end of the step", || processes(&["sleep", &seconds]).is_empty())?;
    goes_on(environment, &scratch)
}

fn four_at_once(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    // The step says by its random content who made it.
    let text = "FROM busybox\nRUN sleep 1; head -c 16 /dev/urandom | od > /random\nCOPY file /file\n";
    scratch.write("context/Dockerfile", text)?;
    scratch.write("context/file", "x")?;
    let mut builds = Vec::new();
    for _ in 0..4 {
        let mut command = environment.build(&scratch.store());
        builds.push(program::start(command.arg(scratch.at("context"))).map_err(|error| error.to_string())?);
    }
    let mut digests = Vec::new();
    for build in builds {
        digests.push(build.wait(PATIENCE).map_err(|error| error.to_string())?.success()?.text());
    }
    check(digests.windows(2).all(|pair| pair[0] == pair[1]), || format!("different images: {digests:?}"))?;
    succeed(environment.command(&scratch.store()).arg("fsck")).map(drop)
}

fn eight_at_once(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    // The content of a cache mount is in no key, so it can count.
    let mount = "--mount=type=cache,target=/runs";
    let text = format!(
        "FROM busybox AS one\nRUN {mount} echo one >> /runs/log; sleep 1\n\
         FROM busybox AS two\nRUN {mount} echo two >> /runs/log; sleep 1; echo 2 > /two\n\
         FROM one\nCOPY --from=two /two /\n"
    );
    scratch.write("context/Dockerfile", text)?;
    let mut builds = Vec::new();
    for _ in 0..8 {
        let mut command = environment.build(&scratch.store());
        builds.push(program::start(command.arg(scratch.at("context"))).map_err(|error| error.to_string())?);
    }
    for build in builds {
        build.wait(PATIENCE).map_err(|error| error.to_string())?.success()?;
    }
    scratch.write("context/Dockerfile", format!("FROM busybox\nRUN {mount} sort /runs/log | tr '\\n' ' '\n"))?;
    let shown = succeed(environment.build(&scratch.store()).arg(scratch.at("context")))?;
    check(shown.stderr.contains(" one two "), || shown.stderr.clone())
}

fn interrupted_wait(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let seconds = sleep_of(6);
    let holder = start(environment, &scratch, &seconds)?;
    wait_until("the step", || !processes(&["sleep", &seconds]).is_empty())?;
    // One waits for the result of that step, the other for a cache mount that a third one has locked.
    let waiting = start(environment, &scratch, &seconds)?;
    let mount = "--mount=type=cache,target=/c,sharing=locked";
    let locked = |number: u32| -> Result<Running, String> {
        let name = format!("context{number}");
        scratch
            .write(&format!("{name}/Dockerfile"), format!("FROM busybox\nRUN {mount} sleep {}\n", sleep_of(number)))?;
        program::start(environment.build(&scratch.store()).arg(scratch.at(&name))).map_err(|error| error.to_string())
    };
    let lock_holder = locked(7)?;
    wait_until("the step with the mount", || !processes(&["sleep", &sleep_of(7)]).is_empty())?;
    let lock_waiting = locked(8)?;
    std::thread::sleep(Duration::from_secs(1));
    for running in [waiting, lock_waiting, holder, lock_holder] {
        let sent = Instant::now();
        send(&running, Signal::INT)?;
        let finished = running.wait(PATIENCE).map_err(|error| error.to_string())?;
        equal(&finished.code, &Some(130), "exit code").map_err(|problem| format!("{problem}\n{}", finished.stderr))?;
        check(sent.elapsed() < Duration::from_secs(5), || format!("it took {:?}", sent.elapsed()))?;
    }
    for number in [6, 7, 8] {
        equal(&processes(&["sleep", &sleep_of(number)]), &Vec::new(), "processes that are left")?;
    }
    goes_on(environment, &scratch)
}

fn kept_beside_a_failure(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = |end: &str| {
        format!(
            "FROM busybox AS quick\nRUN echo 1 > /one\nRUN echo 2 > /two\nFROM busybox AS failing\nRUN sleep 2; {end}\n\
             FROM scratch\nCOPY --from=quick / /\nCOPY --from=failing / /\n"
        )
    };
    scratch.write("context/Dockerfile", text("exit 9"))?;
    let finished = support::finish(environment.build(&scratch.store()).arg(scratch.at("context")))?;
    support::expect_failure(&finished, 1, &["exit code: 9"])?;
    scratch.write("context/Dockerfile", text("true"))?;
    let finished = succeed(environment.build(&scratch.store()).arg(scratch.at("context")))?;
    // The copy of what the quick stage left may have been made as well.
    let kept = ["(2 cached)", "(3 cached)"].iter().any(|kept| finished.stderr.contains(kept));
    check(kept, || finished.stderr.clone())
}

fn different_at_once(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut builds = Vec::new();
    for number in 0..4 {
        let text = format!("FROM layers\nRUN echo {number} > /number && sleep 0.3 && rm /lower/b\nRUN cat /number\n");
        scratch.write(&format!("context{number}/Dockerfile"), text)?;
        let mut command = environment.build(&scratch.store());
        command.args(["--tag", &format!("app:{number}")]).arg(scratch.at(&format!("context{number}")));
        builds.push(program::start(&mut command).map_err(|error| error.to_string())?);
    }
    for build in builds {
        build.wait(PATIENCE).map_err(|error| error.to_string())?.success()?;
    }
    for number in 0..4 {
        let image = format!("app:{number}");
        let finished = succeed(environment.command(&scratch.store()).args(["run", "--rm", &image, "cat", "/number"]))?;
        equal(&finished.text(), &number.to_string(), &image)?;
    }
    Ok(())
}

fn left_behind(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let seconds = sleep_of(4);
    scratch.write("context/Dockerfile", format!("FROM busybox\nRUN sleep {seconds} & echo started\n"))?;
    succeed(environment.build(&scratch.store()).arg(scratch.at("context")))?;
    equal(&processes(&["sleep", &seconds]), &Vec::new(), "processes that are left")?;
    nothing_is_mounted(&scratch.store())
}

fn beside_a_failure(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let seconds = sleep_of(5);
    let text = format!(
        "FROM busybox AS slow\nRUN sleep {seconds}\nFROM busybox AS failing\nRUN sleep 0.5; exit 9\n\
         FROM scratch\nCOPY --from=slow / /\nCOPY --from=failing / /\n"
    );
    scratch.write("context/Dockerfile", text)?;
    let mut command: Command = environment.command(&scratch.store());
    command.args(["build", "--progress", "plain", "--jobs", "2"]).args(environment.base_flags());
    let started = Instant::now();
    let finished = support::finish(command.arg(scratch.at("context")))?;
    support::expect_failure(&finished, 1, &["exit code: 9"])?;
    check(started.elapsed() < PATIENCE, || "the slow step was waited for".into())?;
    equal(&processes(&["sleep", &seconds]), &Vec::new(), "processes that are left")
}
