//! Many steps in one build: neither the builder nor the machine may hold more at the end than at the beginning.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::ground::{Ground, start};
use crate::remains;
use crate::support::{Environment, Outcome, check, equal};
use crate::{Effort, Kind, Tally};

pub(crate) const KIND: Kind = Kind { name: "leaks", count: 1000, run };

/// How often the builder is looked at.
const PAUSE: Duration = Duration::from_millis(3);

/// How long a build of any number of steps may take.
const LIMIT: Duration = Duration::from_mins(9);

/// By how much a figure may differ by chance between the beginning and the end: a step has some descriptors open while it
/// runs, and what is looked at is the middle of many looks.
const TOLERANCE: usize = 4;

/// How long the control groups of other tests, and of steps that have just ended, may take to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// One of the things that are counted.
type Figure = fn(&Held) -> usize;

/// What the builder holds at one moment.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: usize,
    mounts: usize,
    threads: usize,
}

fn run(environment: &Environment, effort: Effort, tally: &mut Tally) -> Outcome {
    let ground = Ground::new(environment)?;
    ground.scratch.write("secret", "hidden")?;
    ground.scratch.write("context/many.Dockerfile", dockerfile(effort.count))?;
    let store = ground.path("store");
    let cgroups = remains::cgroups();
    let mut command = ground.build(&store, "many");
    command.args(["--jobs", "1", "--secret"]).arg(format!("id=s,src={}", ground.path("secret").display()));
    let started = Instant::now();
    let mut build = start(command)?;
    let mut looks = Vec::new();
    while build.is_running() {
        check(started.elapsed() < LIMIT, || format!("the build did not end within {LIMIT:?}"))?;
        looks.extend(Held::by(build.id()));
        std::thread::sleep(PAUSE);
    }
    let finished = build.wait(LIMIT).map_err(|error| error.to_string())?.success()?;
    let steps = format!("built {} steps", effort.count);
    check(finished.stderr.contains(&steps), || format!("not `{steps}`: {}", finished.stderr))?;
    // The start has other figures than the steps: opening the store, reading the base image.
    let looks = looks.get(looks.len() / 10..).unwrap_or_default();
    check(looks.len() >= 20, || format!("the builder could be looked at {} times only", looks.len()))?;
    let fifth = looks.len() / 5;
    let (first, last) = (&looks[..fifth], &looks[looks.len() - fifth..]);
    let figures: [(&str, Figure); 3] =
        [("descriptors", |held| held.descriptors), ("mounts", |held| held.mounts), ("threads", |held| held.threads)];
    for (what, figure) in figures {
        let (before, after) = (middle(first, figure), middle(last, figure));
        tally.add(&format!("{what} of the builder at the beginning"), before);
        tally.add(&format!("{what} of the builder at the end"), after);
        if after > before + TOLERANCE {
            tally.fail(format!("{what} grew from {before} to {after} in {} steps", effort.count), &store);
        }
    }
    ground.nothing_runs(&store)?;
    equal(&remains::leftovers(&store), &Vec::new(), "what is left in the store")?;
    let new_cgroups = || -> Vec<String> {
        // Other tests have control groups too; theirs have other names each time, and go.
        remains::cgroups().difference(&cgroups).cloned().collect()
    };
    let left: Vec<String> = new_cgroups();
    let deadline = Instant::now() + PATIENCE;
    while left.iter().any(|path| Path::new(path).exists()) && Instant::now() < deadline {
        std::thread::sleep(PAUSE);
    }
    let left: Vec<String> = left.into_iter().filter(|path| Path::new(path).exists()).collect();
    equal(&left, &Vec::new(), "control groups that are left")?;
    tally.add("steps", effort.count);
    Ok(())
}

/// Stages of one step each, with every kind of mount; each shows the next one its files, so that all are needed while no
/// root file system gets deep.
fn dockerfile(steps: usize) -> String {
    let mut text = String::new();
    for number in 0..steps {
        let before = if number == 0 { "busybox".to_owned() } else { format!("s{}", number - 1) };
        let _ = write!(
            text,
            "FROM busybox AS s{number}\n\
             RUN --mount=type=bind,from={before},target=/before --mount=type=cache,target=/cache --mount=type=tmpfs,target=/t \
             --mount=type=secret,id=s --network=none test -s /run/secrets/s && echo {number} > /number\n"
        );
    }
    text
}

impl Held {
    /// What process `id` holds; `None` when it has ended.
    fn by(id: u32) -> Option<Self> {
        let entries = |name: &str| fs::read_dir(format!("/proc/{id}/{name}")).ok().map(Iterator::count);
        let mounts = fs::read_to_string(format!("/proc/{id}/mountinfo")).ok()?.lines().count();
        Some(Self { descriptors: entries("fd")?, mounts, threads: entries("task")? }).filter(|held| held.mounts > 0)
    }
}

/// The middle of a figure in several looks.
fn middle(looks: &[Held], figure: Figure) -> usize {
    let mut values: Vec<usize> = looks.iter().map(figure).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
