//! The program under attack: killed, interrupted, out of space, its store damaged, many at once.
//!
//! As a test, each kind tries a handful of points. With `--full KIND [--seed N] [--count N] [--bake PROGRAM] [--keep DIRECTORY]`,
//! which is what `cargo xtask stress` runs, it tries one kind at hundreds of points and prints what came of it.

mod flips;
mod ground;
mod interrupt;
mod kill;
mod leaks;
mod parallel;
mod random;
mod random_kill;
mod remains;
mod resume;
mod space;
#[path = "../support/mod.rs"]
mod support;
mod traces;

use std::path::PathBuf;
use std::process::ExitCode;

use ground::Tally;
use support::{Environment, Outcome, Test};

const TESTS: &[Test] = &[
    ("killed_at_system_calls_it_goes_on", &["strace"], |environment| small(environment, &kill::KIND, 12)),
    ("killed_at_random_times_it_goes_on", &[], |environment| small(environment, &random_kill::KIND, 4)),
    ("a_full_disk_is_an_error_and_room_cures_it", &["root"], |environment| small(environment, &space::KIND, 6)),
    ("many_builds_and_prunes_at_once", &[], |environment| small(environment, &parallel::KIND, 2)),
    ("damage_is_noticed_or_harmless", &[], |environment| small(environment, &flips::KIND, 20)),
    ("interrupted_it_leaves_nothing", &[], |environment| small(environment, &interrupt::KIND, 5)),
    ("many_steps_leak_nothing", &[], |environment| small(environment, &leaks::KIND, 60)),
    ("reused_steps_would_have_made_the_same", &["fuse"], |environment| small(environment, &traces::KIND, 40)),
    ("a_push_and_a_pull_that_are_cut_go_on", &[], |environment| small(environment, &resume::KIND, 3)),
];

/// A kind of attack.
pub(crate) struct Kind {
    /// Its name on the command line.
    name: &'static str,
    /// How much is tried without `--count`.
    count: usize,
    /// Tries it.
    run: fn(&Environment, Effort, &mut Tally) -> Outcome,
}

const KINDS: [&Kind; 9] = [
    &kill::KIND,
    &random_kill::KIND,
    &space::KIND,
    &parallel::KIND,
    &flips::KIND,
    &interrupt::KIND,
    &leaks::KIND,
    &resume::KIND,
    &traces::KIND,
];

/// How much is tried, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Decides the places.
    pub(crate) seed: u64,
    /// How many, in the unit of the kind.
    pub(crate) count: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_none_or(|first| first != "--full") {
        return support::run(TESTS);
    }
    match Full::read(&arguments).and_then(full) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => support::failed_to_start(&problem),
    }
}

/// A few points of a kind: the same every time, or those that the number in `STRESS_SEED` decides.
fn small(environment: &Environment, kind: &Kind, count: usize) -> Outcome {
    let seed = std::env::var("STRESS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let effort = Effort { seed, count };
    let mut tally = Tally::default();
    (kind.run)(environment, effort, &mut tally)?;
    support::check(tally.failures.is_empty(), || {
        format!("{effort:?}: {} failures:\n{}", tally.failures.len(), tally.failures.join("\n"))
    })
}

/// The command line of a full run.
struct Full {
    kind: &'static Kind,
    effort: Effort,
    bake: Option<PathBuf>,
    keep: Option<PathBuf>,
}

impl Full {
    fn read(arguments: &[String]) -> Result<Self, String> {
        let name = arguments.get(1).ok_or("which kind?")?;
        let kind = *KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| format!("there is no kind `{name}`"))?;
        let seconds = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let mut full = Self { kind, effort: Effort { seed: seconds, count: kind.count }, bake: None, keep: None };
        for pair in arguments.get(2..).unwrap_or_default().chunks(2) {
            let [name, value] = pair else { return Err(format!("{pair:?} is half a flag")) };
            let number = || value.parse().map_err(|error| format!("{name} {value}: {error}"));
            match name.as_str() {
                "--seed" => full.effort.seed = number()?,
                "--count" => full.effort.count = usize::try_from(number()?).map_err(|error| error.to_string())?,
                "--bake" => full.bake = Some(value.into()),
                "--keep" => full.keep = Some(value.into()),
                _ => return Err(format!("there is no flag `{name}`")),
            }
        }
        Ok(full)
    }
}

/// Runs one kind in full, and says whether all was well.
#[expect(clippy::print_stdout, reason = "a command for people: its output is what it is for")]
fn full(full: Full) -> Result<bool, String> {
    let mut environment = Environment::new()?;
    if let Some(reason) = environment.obstacle(&[]) {
        return Err(reason);
    }
    environment.bake = full.bake.unwrap_or(environment.bake);
    println!("{} {:?} with {}", full.kind.name, full.effort, environment.bake.display());
    let started = std::time::Instant::now();
    let mut tally = Tally { spoken: true, keep: full.keep, ..Tally::default() };
    (full.kind.run)(&environment, full.effort, &mut tally)?;
    for (what, number) in &tally.numbers {
        println!("{number:>8} {what}");
    }
    println!("{:>8} failures in {:.0?}", tally.failures.len(), started.elapsed());
    Ok(tally.failures.is_empty())
}
