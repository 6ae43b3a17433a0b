//! What it costs a step that what it reads is recorded, as a ratio to the same step without that.
//!
//! `cargo bench -p bake --bench recording`. Builds take turns, so that a busy neighbour slows both; what is measured is the time of the
//! step alone, with everything that bake does for it. Compilers should stay below 1.15. Steps that do nothing but look at many files
//! take several times as long; they are traced once, and then no more.
//!
//! `gcc` and `python3` are measured where `STRESS_TOOLS_IMAGE` names an OCI layout of an image that has them.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use bake_testkit::host;

use support::{Environment, Outcome, Scratch, succeed};

/// How often everything is measured; the middle counts.
const ROUNDS: usize = 9;

/// Headers, each of which every file that is compiled includes.
const HEADERS: usize = 249;

/// Files that are compiled.
const C_FILES: usize = 12;

/// Modules of Python.
const MODULES: usize = 500;

/// Directories of the large tree.
const DIRECTORIES: usize = 4_000;

/// Files in each.
const FILES: usize = 5;

/// What is measured.
struct Workload {
    title: &'static str,
    /// Whether it takes the image with a compiler and Python.
    tools: bool,
    /// The directory that is copied.
    directory: &'static str,
    command: &'static str,
}

const WORKLOADS: [Workload; 5] = [
    Workload {
        title: "`gcc -c` of 12 files, 249 headers each",
        tools: true,
        directory: "c",
        command: "for n in 0 1 2 3 4 5 6 7 8 9 10 11; do gcc -c -I/c/include -o /$n.o /c/$n.c; done",
    },
    Workload {
        title: "`python3 -m compileall`, 500 files",
        tools: true,
        directory: "python",
        command: "python3 -m compileall -q /python",
    },
    Workload {
        title: "`find -size`, 20,000 files in 4,000 directories",
        tools: false,
        directory: "many",
        command: "find /many -type f -size +100 > /found",
    },
    Workload {
        title: "`grep -r`, the same",
        tools: false,
        directory: "many",
        command: "grep -rc nowhere /many > /found; true",
    },
    Workload { title: "a step that reads none of it", tools: false, directory: "many", command: "echo done > /done" },
];

fn main() -> ExitCode {
    support::measured(measure)
}

fn measure(environment: &Environment) -> Outcome {
    if let Some(obstacle) = environment.obstacle(&["fuse"]) {
        return Err(obstacle);
    }
    let tools = std::env::var("STRESS_TOOLS_IMAGE").ok();
    let scratch = environment.scratch()?;
    write_files(&scratch)?;
    println!("| step | without | recorded | median ratio | ratio of the fastest |");
    println!("|---|---|---|---|---|");
    for workload in WORKLOADS {
        let base = match (workload.tools, &tools) {
            (false, _) => "busybox",
            (true, Some(_)) => "tools",
            (true, None) => {
                println!("| {} | not measured: `STRESS_TOOLS_IMAGE` is not set | | | |", workload.title);
                continue;
            }
        };
        let Workload { directory, command, .. } = workload;
        let dockerfile =
            format!("FROM {base} AS copied\nCOPY {directory} /{directory}\nFROM copied AS run\nRUN {command}\n");
        scratch.write("context/Dockerfile", dockerfile)?;
        let build = |tracing: &str| step_time(environment, &scratch, tools.as_deref(), tracing);
        let (mut plain, mut traced) = (Vec::new(), Vec::new());
        // The first ones unpack, copy, and fill the page cache.
        for round in 0..=ROUNDS {
            let (without, with) = (build("--trace-run=off")?, build("--trace-run=on")?);
            if round > 0 {
                plain.push(without);
                traced.push(with);
            }
        }
        plain.sort_unstable();
        traced.sort_unstable();
        let ratio = |at: usize| traced[at].as_secs_f64() / plain[at].as_secs_f64();
        println!(
            "| {} | {} ms | {} ms | {:.2} | {:.2} |",
            workload.title,
            plain[ROUNDS / 2].as_millis(),
            traced[ROUNDS / 2].as_millis(),
            ratio(ROUNDS / 2),
            ratio(0)
        );
    }
    println!("\n{ROUNDS} rounds in turns; as {}", if host::is_root() { "root" } else { "an ordinary user" });
    Ok(())
}

/// Runs the step, whatever is known of it, and says how long it took.
fn step_time(
    environment: &Environment,
    scratch: &Scratch,
    tools: Option<&str>,
    tracing: &str,
) -> Result<Duration, String> {
    let mut command = environment.build(&scratch.store());
    command.args(["--output", "type=cacheonly", "--no-cache-filter", "run", tracing]);
    if let Some(layout) = tools {
        command.arg("--build-context").arg(format!("tools=oci-layout://{layout}"));
    }
    succeed(command.arg(scratch.at("context")))?;
    let told = succeed(environment.command(&scratch.store()).args(["why", "--format", "json"]))?.text();
    let told: serde_json::Value = serde_json::from_str(&told).map_err(|error| format!("{error}: {told}"))?;
    let steps = told["steps"].as_array().cloned().unwrap_or_default();
    let step = steps.iter().find(|step| step["stage"] == "run").ok_or("the step is not among those of the build")?;
    support::equal(&step["outcome"], &"ran".into(), "outcome of the step")?;
    let microseconds = |name: &str| step[name].as_u64().unwrap_or_default();
    Ok(Duration::from_micros(microseconds("ended_us").saturating_sub(microseconds("began_us"))))
}

fn write_files(scratch: &Scratch) -> Outcome {
    let mut includes =
        String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <math.h>\n");
    for number in 0..HEADERS {
        let mut header = format!("#ifndef H{number}\n#define H{number}\n");
        for function in 0..12 {
            let _ = writeln!(
                header,
                "static inline int f{number}_{function}(int x) {{ return x * {function} + {number}; }}"
            );
        }
        header.push_str("#endif\n");
        scratch.write(&format!("context/c/include/part{}/h{number}.h", number % 12), header)?;
        let _ = writeln!(includes, "#include <part{}/h{number}.h>", number % 12);
    }
    for number in 0..C_FILES {
        let main = format!("{includes}int g{number}(int x) {{ return f{number}_1(x) + f{}_2(x); }}\n", number + 1);
        scratch.write(&format!("context/c/{number}.c"), main)?;
    }
    for number in 0..MODULES {
        let mut module = String::new();
        for function in 0..25 {
            let _ =
                write!(module, "def f{function}(x, y={number}):\n    return [x + y * n for n in range({function})]\n");
        }
        scratch.write(&format!("context/python/p{}/m{number}.py", number % 25), module)?;
    }
    for directory in 0..DIRECTORIES {
        for file in 0..FILES {
            let content = format!("file {file} of directory {directory}\n").repeat(40);
            scratch.write(&format!("context/many/{}/{directory}/{file}", directory % 60), content)?;
        }
    }
    Ok(())
}
