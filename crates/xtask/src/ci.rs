//! All gates, in the order of what fails soonest.

use std::time::Instant;

use crate::{docs, test, tidy, workspace};

type Step = (&'static str, fn() -> Result<(), String>);

const STEPS: [Step; 6] = [
    ("fmt", || workspace::cargo(&["fmt", "--all", "--check"], &[])),
    ("tidy", tidy::run),
    ("docs", || docs::run(true)),
    ("clippy", || {
        workspace::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])
    }),
    ("doc", || workspace::cargo(&["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")])),
    ("test", || test::run(false)),
];

/// Runs the steps named in `only`, or all. Goes on after a failure, so that one run tells everything that is wrong.
pub(crate) fn run(only: &[String]) -> Result<(), String> {
    if let Some(unknown) = only.iter().find(|name| !STEPS.iter().any(|(step, _)| step == name)) {
        let known: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
        return Err(format!("There is no step `{unknown}`; steps are {}", known.join(", ")));
    }
    let mut failed = Vec::new();
    for (name, step) in STEPS.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|wanted| wanted == name)) {
        println!("== {name}");
        let start = Instant::now();
        let result = step();
        let seconds = start.elapsed().as_secs_f32();
        match result {
            Ok(()) => println!("== {name}: ok ({seconds:.1} s)"),
            Err(message) => {
                println!("== {name}: failed ({seconds:.1} s): {message}");
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}
