//! What one `RUN true` costs: CPU and wall-clock time of the step with its commit, beside a bare `runc run`.
//!
//! `cargo bench -p bake`. Builds of one step are taken from builds of many, so the start of the program and the reading of the
//! base image do not count. Both sides are measured in turns, so that a busy neighbour slows both.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use bake_sys::process::children_usage;
use bake_testkit::{busybox, host};

use support::{Environment, Outcome, Scratch, succeed};

/// Steps of the longer build.
const STEPS: u32 = 51;

/// How often everything is measured; the middle counts.
const ROUNDS: usize = 7;

/// Runs of the other runtime in one round: its single run is too short for the clock of CPU time.
const RUNS: u32 = 10;

/// What something cost.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    processor: Duration,
    wall: Duration,
}

fn main() -> ExitCode {
    support::measured(measure)
}

fn measure(environment: &Environment) -> Outcome {
    if let Some(obstacle) = environment.obstacle(&[]) {
        return Err(obstacle);
    }
    let scratch = environment.scratch()?;
    for (name, steps) in [("one", 1), ("many", STEPS)] {
        let mut text = "FROM busybox\n".to_owned();
        for number in 0..steps {
            let _ = writeln!(text, "RUN true {number}");
        }
        scratch.write(&format!("{name}/Dockerfile"), text)?;
    }
    let build = |name: &str| {
        let mut command = environment.build(&scratch.store());
        command.args(["--no-cache", "--output", "type=cacheonly"]).arg(scratch.at(name));
        cost(&mut command)
    };
    // The first one unpacks the base image.
    build("many")?;
    let runc = host::missing("root").or_else(|| host::missing("runc"));
    let bundle = if runc.is_none() { Some(bundle(&scratch)?) } else { None };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (one, many) = (build("one")?, build("many")?);
        ours.push(many.less(one).per(STEPS - 1));
        if let Some(bundle) = &bundle {
            let mut sum = Cost::default();
            for number in 0..RUNS {
                let mut command = Command::new("runc");
                command.arg("--root").arg(scratch.at("runc")).args(["run", "--bundle", bundle]);
                sum = sum.plus(cost(command.arg(format!("bake-bench-{}-{number}", std::process::id())))?);
            }
            theirs.push(sum.per(RUNS));
        }
    }
    let ours = middle(&ours);
    println!("a step of bake, with its commit: {}", ours.shown());
    match runc {
        None => {
            let theirs = middle(&theirs);
            println!("`runc run`, with nothing around: {}", theirs.shown());
            println!(
                "runc takes {:.1} times the CPU and {:.1} times as long",
                theirs.processor.as_secs_f64() / ours.processor.as_secs_f64(),
                theirs.wall.as_secs_f64() / ours.wall.as_secs_f64()
            );
        }
        Some(reason) => println!("`runc run` is not measured: {reason}"),
    }
    Ok(())
}

/// A bundle that runs busybox's `true`.
fn bundle(scratch: &Scratch) -> Result<String, String> {
    let failed = |error: std::io::Error| error.to_string();
    let busybox = busybox::find(scratch.path()).map_err(|error| error.to_string())?;
    let bin = scratch.path().join("bundle/rootfs/bin");
    fs::create_dir_all(&bin).map_err(failed)?;
    fs::copy(busybox, bin.join("busybox")).map_err(failed)?;
    symlink("busybox", bin.join("true")).map_err(failed)?;
    let bundle = scratch.at("bundle");
    succeed(Command::new("runc").args(["spec", "--bundle", &bundle]))?;
    // Its example runs a shell in a terminal.
    let spec = scratch.read("bundle/config.json")?;
    let spec = spec.replace("\"terminal\": true", "\"terminal\": false").replace("\"sh\"", "\"/bin/true\"");
    scratch.write("bundle/config.json", spec)?;
    Ok(bundle)
}

/// Runs a program that must succeed.
fn cost(command: &mut Command) -> Result<Cost, String> {
    let used = || {
        let usage = children_usage().map_err(|errno| errno.to_string())?;
        Ok::<Duration, String>(usage.user + usage.system)
    };
    let (before, started) = (used()?, Instant::now());
    let status = command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .map_err(|error| error.to_string())?;
    let wall = started.elapsed();
    support::check(status.success(), || format!("{} ended with {status}", command.get_program().display()))?;
    Ok(Cost { processor: used()?.saturating_sub(before), wall })
}

impl Cost {
    fn less(self, other: Self) -> Self {
        Self { processor: self.processor.saturating_sub(other.processor), wall: self.wall.saturating_sub(other.wall) }
    }

    fn plus(self, other: Self) -> Self {
        Self { processor: self.processor + other.processor, wall: self.wall + other.wall }
    }

    fn per(self, count: u32) -> Self {
        Self { processor: self.processor / count, wall: self.wall / count }
    }

    fn shown(self) -> String {
        format!("{:.2} ms of CPU, {:.2} ms", self.processor.as_secs_f64() * 1e3, self.wall.as_secs_f64() * 1e3)
    }
}

/// The middle of each figure.
fn middle(costs: &[Cost]) -> Cost {
    let middle = |figure: fn(&Cost) -> Duration| {
        let mut values: Vec<Duration> = costs.iter().map(figure).collect();
        values.sort_unstable();
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    Cost { processor: middle(|cost| cost.processor), wall: middle(|cost| cost.wall) }
}
