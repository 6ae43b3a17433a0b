//! Whole builds beside the builders that this machine has.
//!
//! 1. find bake and its peers, and name those that are not there (`peer`);
//! 2. for each workload make its files (`workload`), then let all builders do it in turns, so that a busy neighbour slows all;
//! 3. write medians and ratios, with what is needed to judge them (`report`).
//!
//! Nothing is compared across runs: a ratio is always that of two medians of one run.

mod peer;
mod report;
mod workload;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bake_sys::process::children_usage;

use crate::workspace;
use peer::{Peer, Task};
use report::Row;
use workload::Workload;

/// Where everything is kept while it is measured, below the workspace.
const DIRECTORY: &str = "target/bench";

/// What is measured, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// How often everything is measured; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only these workloads
    #[arg(long, value_delimiter = ',')]
    only: Vec<Workload>,
    /// Another builder: a command for the shell. It is told what to do by the variables `DOCKERFILE`, `CONTEXT`, `TAG`, `NO_CACHE`
    /// (`--no-cache` or empty) and `ARCHIVE` (the file for an OCI archive, or empty)
    #[arg(long, value_name = "NAME=COMMAND", value_parser = peer::custom)]
    peer: Vec<Peer>,
    /// Leave these builders out
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    without: Vec<String>,
    /// Measure this bake instead of compiling one
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Put the table into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// Measures everything, and writes the table.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let program = match &options.program {
        Some(path) => path.canonicalize().map_err(|error| format!("Failed to find {}: {error}", path.display()))?,
        None => compile()?,
    };
    let directory = workspace::root().join(DIRECTORY);
    let (mut peers, mut absent) = peer::find(&program, &directory);
    peers.extend(options.peer.iter().cloned());
    peers.retain(|peer| !options.without.contains(&peer.name));
    println!("builders: {}", peers.iter().map(|peer| peer.name.as_str()).collect::<Vec<_>>().join(", "));
    let load_before = report::load();
    let mut rows = Vec::new();
    for workload in workload::ALL {
        if !options.only.is_empty() && !options.only.contains(&workload) {
            continue;
        }
        println!("== {}", workload.title());
        match measure(workload, &peers, options.rounds) {
            Ok(measured) => rows.extend(measured),
            Err(problem) => absent.push(format!("{}: {problem}", workload.title())),
        }
    }
    let text = report::text(&rows, &peers, &absent, options.rounds, &load_before);
    println!("\n{text}");
    if options.write { report::write(&text) } else { Ok(()) }
}

fn compile() -> Result<PathBuf, String> {
    workspace::cargo(&["build", "--locked", "--release", "--package", "bake"], &[])?;
    // Beside this program, so that it is found wherever cargo puts its output.
    let own = std::env::current_exe().map_err(|error| format!("Failed to find this program: {error}"))?;
    Ok(own.ancestors().nth(2).unwrap_or(&own).join("release/bake"))
}

/// One workload: a row for each builder that can do it.
fn measure(workload: Workload, peers: &[Peer], rounds: u32) -> Result<Vec<Row>, String> {
    let files = workload.prepare(&workspace::root().join(DIRECTORY))?;
    let mut rows: Vec<Row> = Vec::new();
    for peer in peers {
        let task = files.task(workload, peer, 0);
        let Some(command) = peer.command(&task) else { continue };
        // What is cached has to be there before, and who cannot do it at all is left out now.
        let ready = files.before(workload, peer, 0).and_then(|()| once(command).map(drop));
        match ready {
            Ok(()) => rows.push(Row::new(workload, peer)),
            Err(problem) => println!("{} is left out: {problem}", peer.name),
        }
    }
    for round in 1..=rounds {
        for row in &mut rows {
            let peer = peers.iter().find(|peer| peer.name == row.peer).ok_or("a builder is gone")?;
            files.before(workload, peer, round)?;
            if let Some(command) = peer.command(&files.task(workload, peer, round)) {
                row.costs.push(once(command)?);
            }
        }
    }
    Ok(rows)
}

/// What one run cost.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: Duration,
    processor: Duration,
}

/// The least that a linter has to say of the thousand lines, every sixth of which is a mistake by any linter's rules.
const LINES_TOLD_MIN: usize = 100;

/// Runs a command that must succeed.
fn once(mut command: Command) -> Result<Cost, String> {
    let used = || {
        let usage = children_usage().map_err(|errno| format!("Failed to ask what was used: {errno}"))?;
        Ok::<Duration, String>(usage.user + usage.system)
    };
    let name = command.get_program().to_string_lossy().into_owned();
    let linter = is_linter(&command);
    let (before, start) = (used()?, Instant::now());
    let output = command
        .stdin(Stdio::null())
        .stdout(if linter { Stdio::piped() } else { Stdio::null() })
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("Failed to start {name}: {error}"))?;
    let wall = start.elapsed();
    // Linters say with 1 that there are findings.
    if !output.status.success() && output.status.code() != Some(1) || output.status.code() == Some(1) && !linter {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().last().unwrap_or_default().to_owned();
        return Err(format!("{name} failed ({}): {last}", output.status));
    }
    // One that gives up at the first line says with 1 too that something is wrong.
    let told = output.stdout.split(|byte| *byte == b'\n').count();
    if linter && told < LINES_TOLD_MIN {
        return Err(format!("{name} told of {told} lines only: it did not read the file"));
    }
    Ok(Cost { wall, processor: used()?.saturating_sub(before) })
}

/// Whether a Dockerfile is checked by it.
fn is_linter(command: &Command) -> bool {
    let says = |word: &str| command.get_args().any(|argument| argument == word);
    says("lint") || command.get_program().to_string_lossy().ends_with("hadolint") && !says("--version")
}

impl Task {
    /// The name of an image that only this builder makes.
    fn tag(workload: Workload, peer: &Peer, round: u32) -> String {
        format!("localhost/bench-{}-{}:{round}", workload.id(), peer.name)
    }
}
