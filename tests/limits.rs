//! Limits of steps: what stops a step that takes too much, what it is told, and that nothing else suffers.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use bake_testkit::program;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("a_step_that_takes_too_much_memory_is_told_which_limit_it_reached", &[], memory),
    ("a_fork_bomb_is_stopped_by_the_limit_on_processes", &[], processes),
    ("a_step_that_takes_too_long_is_stopped", &[], time),
    ("a_step_that_fills_the_disk_is_stopped_and_a_build_beside_it_completes", &[], disk),
    ("a_flood_of_output_is_cut", &[], flood),
    ("limits_of_processes_reach_the_step", &[], resource_limits),
    ("processors_are_shared_out", &[], processors),
    ("limits_are_no_part_of_a_key", &[], keys),
    ("a_comment_that_is_no_limit_is_an_error_with_its_line", &[], comments),
    ("what_a_killed_build_left_is_removed_by_the_next", &[], leftovers),
    ("bake_run_has_the_same_limits", &[], run),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// A program that doubles a string for ever.
const HOG: &str = "x=x; while true; do x=$x$x; done";
/// How long something may take that is stopped early; a failure takes longer than this.
const PATIENCE: Duration = Duration::from_secs(50);

/// A build of `dockerfile`.
fn build(environment: &Environment, scratch: &Scratch, dockerfile: &str) -> Result<Command, String> {
    scratch.write("context/Dockerfile", dockerfile)?;
    let mut command = environment.build(&scratch.store());
    command.args(["--progress", "plain"]).arg(scratch.at("context"));
    Ok(command)
}

/// The cgroups of steps there are, of all hierarchies.
fn cgroups() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec!["/sys/fs/cgroup".into()];
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with("bake-")) {
                found.push(entry.path());
            }
            open.push(entry.path());
        }
    }
    found
}

/// Those that `program` made.
fn cgroups_of(process: u32) -> Vec<PathBuf> {
    let prefix = format!("bake-{process}-");
    let is_its_own = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
    cgroups().into_iter().filter(is_its_own).collect()
}

fn memory(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let dockerfile = format!("FROM busybox\nRUN {HOG}\n");
    let finished = finish(build(environment, &scratch, &dockerfile)?.args(["--memory", "48m"]))?;
    expect_failure(&finished, 1, &["48 MiB of memory (`--memory`)", "# bake: memory=", "Dockerfile:2"])?;
    let dockerfile = format!("FROM busybox\n# bake: memory=40m\nRUN {HOG}\n");
    let finished = finish(&mut build(environment, &scratch, &dockerfile)?)?;
    expect_failure(&finished, 1, &["40 MiB of memory (the comment above the instruction)"])
}

fn processes(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let bomb = "bomb() { bomb & bomb & }; bomb; sleep 1; false";
    let started = Instant::now();
    let finished =
        finish(build(environment, &scratch, &format!("FROM busybox\nRUN {bomb}\n"))?.args(["--pids-limit", "100"]))?;
    expect_failure(&finished, 1, &["100 processes and threads (`--pids-limit`)"])?;
    check(started.elapsed() < PATIENCE, || format!("it took {:?}", started.elapsed()))
}

fn time(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let started = Instant::now();
    let finished = finish(build(environment, &scratch, "FROM busybox\nRUN sleep 300\n")?.args(["--timeout", "500ms"]))?;
    expect_failure(&finished, 1, &["did not end within 500ms", "`--timeout`", "RUN sleep 300"])?;
    let finished = finish(&mut build(environment, &scratch, "FROM busybox\n# bake: timeout=300ms\nRUN sleep 300\n")?)?;
    expect_failure(&finished, 1, &["did not end within 300ms"])?;
    check(started.elapsed() < PATIENCE, || format!("it took {:?}", started.elapsed()))
}

/// A small disk, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf, megabytes: u32) -> Result<Self, String> {
        fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        let options = format!("size={megabytes}m");
        succeed(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn disk(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let disk = Disk::mount(PathBuf::from(scratch.at("disk")), 400)?;
    let store = disk.0.join("store");
    // It goes on after the disk is full, as programs do that ignore errors: only the watch ends it.
    let filling = "while true; do dd if=/dev/zero bs=1M count=8 >> /file 2>/dev/null; sleep 0.02; done";
    scratch.write("filling/Dockerfile", format!("FROM busybox\nRUN {filling}\n"))?;
    scratch.write("beside/Dockerfile", "FROM busybox\nRUN sleep 3; echo done > /done\n")?;
    let mut one = environment.build(&store);
    let one = program::start(one.arg(scratch.at("filling"))).map_err(|error| error.to_string())?;
    let mut other = environment.build(&store);
    let other = program::start(other.arg(scratch.at("beside"))).map_err(|error| error.to_string())?;
    let finished = one.wait(PATIENCE).map_err(|error| error.to_string())?;
    expect_failure(&finished, 1, &["the disk of the store is almost full", "bake prune"])?;
    other.wait(PATIENCE).map_err(|error| error.to_string())?.success().map(drop)
}

fn flood(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let dockerfile = "FROM busybox\nRUN dd if=/dev/zero bs=1M count=300 2>/dev/null | tr '\\0' x\n";
    let mut command = build(environment, &scratch, dockerfile)?;
    let finished = succeed(command.args(["--progress", "quiet"]))?;
    check(finished.stderr.len() + finished.stdout.len() < 4096, || "quiet output is long".into())
}

fn resource_limits(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let dockerfile = "FROM busybox\nRUN test \"$(ulimit -Sn)\" = 77 && test \"$(ulimit -Hn)\" = 99\n";
    succeed(build(environment, &scratch, dockerfile)?.args(["--ulimit", "nofile=77:99"]))?;
    let finished = finish(build(environment, &scratch, dockerfile)?.args(["--ulimit", "files=1"]))?;
    expect_failure(&finished, 2, &["there is no such limit", "nofile=1024:4096"])
}

fn processors(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let work = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
    let dockerfile = format!("FROM busybox\nRUN {work}\n");
    let used = |quota: &str| -> Result<Duration, String> {
        let started = Instant::now();
        succeed(build(environment, &scratch, &dockerfile)?.args(["--no-cache", "--cpus", quota]))?;
        Ok(started.elapsed())
    };
    // A wide margin: what is compared is a tenth of a processor with a whole one.
    let (whole, tenth) = (used("1")?, used("0.1")?);
    check(tenth > whole * 2, || format!("{tenth:?} with a tenth of a processor, {whole:?} with one"))
}

fn keys(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    succeed(&mut build(environment, &scratch, "FROM busybox\nRUN echo a > /a\n")?)?;
    let with_limits = "FROM busybox\n# bake: memory=1g timeout=1m pids=100 cpus=1\nRUN echo a > /a\n";
    let finished = succeed(build(environment, &scratch, with_limits)?.args(["--require-cached", "--memory", "2g"]))?;
    check(finished.stderr.contains("CACHED"), || finished.stderr.clone())
}

fn comments(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let finished = finish(&mut build(environment, &scratch, "FROM busybox\n# bake: memory=lots\nRUN true\n")?)?;
    expect_failure(&finished, 2, &["`memory=lots` is not a setting of a RUN", "Dockerfile:2"])
}

fn leftovers(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut command = build(environment, &scratch, "FROM busybox\nRUN sleep 600\n")?;
    let mut running = program::start(&mut command).map_err(|error| error.to_string())?;
    let process = running.id();
    let deadline = Instant::now() + PATIENCE;
    while cgroups_of(process).is_empty() && Instant::now() < deadline && running.is_running() {
        std::thread::sleep(Duration::from_millis(20));
    }
    check(!cgroups_of(process).is_empty(), || "the step has no cgroup".into())?;
    succeed(Command::new("kill").args(["-9", &process.to_string()]))?;
    drop(running.wait(PATIENCE));
    succeed(&mut build(environment, &scratch, "FROM busybox\nRUN true\n")?)?;
    equal(&cgroups_of(process), &Vec::new(), "cgroups of the killed build")
}

fn run(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    succeed(build(environment, &scratch, "FROM busybox\n")?.args(["-t", "limits"]))?;
    let command = |flags: &[&str], script: &str| {
        let mut command = environment.command(&scratch.store());
        command.arg("run").args(flags).args(["limits", "sh", "-c", script]);
        command
    };
    let finished = finish(&mut command(&["-m", "32m"], HOG))?;
    expect_failure(&finished, 137, &["32 MiB of memory (`--memory`)"])?;
    let finished = succeed(&mut command(&["--shm-size", "3m"], "df -m /dev/shm | tail -1"))?;
    check(finished.text().split_whitespace().nth(1) == Some("3"), || finished.text())?;
    let finished = finish(&mut command(&["--timeout", "300ms"], "sleep 100"))?;
    check(finished.stderr.contains("did not end within 300ms"), || finished.stderr.clone())
}
