//! SIGKILL at random times, with several builds and prunes at once in one store.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bake_testkit::program::Running;
use rustix::process::{Pid, Signal, kill_process};

use crate::ground::{Golden, Ground, end, remove, start};
use crate::random::Random;
use crate::support::{Environment, Outcome, check, equal};
use crate::{Effort, Kind, Tally};

pub(crate) const KIND: Kind = Kind { name: "random-kill", count: 300, run };

/// How many builds run at once.
const BUILDS: usize = 4;

/// How many moments are tried at most for each kill that is wanted.
const ATTEMPTS_MAX: usize = 4;

/// How long a build may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Names of Dockerfiles; all but their last steps are the same.
const NAMES: [&str; BUILDS] = ["a", "b", "c", "d"];

fn run(environment: &Environment, effort: Effort, tally: &mut Tally) -> Outcome {
    let ground = Ground::new(environment)?;
    let mut golden = Vec::new();
    for name in NAMES {
        ground.write_dockerfile(name, "")?;
        golden.push(ground.golden(name)?);
    }
    let mut random = Random::new(effort.seed);
    let store = ground.path("store");
    // What four builds at once take without being disturbed, the first on an empty store.
    let started = Instant::now();
    attack(&ground, &store, &golden, &mut Random::new(effort.seed), None, tally)?;
    let usual = started.elapsed();
    let mut kills = 0;
    // A moment after the last build has ended is no kill, and does not count.
    for number in 0..effort.count * ATTEMPTS_MAX {
        if kills >= effort.count {
            break;
        }
        // Sometimes everything is built anew: into a new store, or a pruned one.
        if random.one_in(10) {
            remove(&store)?;
        }
        let microseconds = random.below(usize::try_from(usual.as_micros()).unwrap_or(usize::MAX));
        let moment = Duration::from_micros(microseconds as u64);
        let result = attack(&ground, &store, &golden, &mut random, Some(moment), tally);
        kills += usize::from(matches!(result, Ok(true)));
        if let Err(problem) = result {
            tally.fail(format!("kill {number} (seed {}) after {moment:?}: {problem}", effort.seed), &store);
            remove(&store)?;
        }
    }
    Ok(())
}

/// Four builds and a prune loop; at `moment` one build, or all, or the prune, is killed. What is not killed must succeed. Says
/// whether a build was killed.
fn attack(
    ground: &Ground<'_>,
    store: &Path,
    golden: &[Golden],
    random: &mut Random,
    moment: Option<Duration>,
    tally: &mut Tally,
) -> Result<bool, String> {
    let all = random.one_in(3);
    let (kill_all, kill_prune, victim) = (random.one_in(3), random.one_in(4), random.below(BUILDS));
    let (mut builds, mut expected) = (Vec::new(), Vec::new());
    for (name, golden) in NAMES.into_iter().zip(golden) {
        let mut command = ground.build(store, name);
        if !random.one_in(3) {
            command.arg("--no-cache");
        }
        let archive = random.one_in(2);
        expected.push(if archive { &golden.digest } else { &golden.stored_digest });
        if archive {
            command.arg("--output").arg(format!("type=oci,dest={}", ground.path(&format!("{name}.tar")).display()));
        }
        builds.push(start(command)?);
    }
    let stop = AtomicBool::new(false);
    let (problems, any, loop_end) = std::thread::scope(|scope| {
        let prunes = scope.spawn(|| prune_until(ground, store, all, moment.filter(|_| kill_prune), &stop));
        let mut killed = [false; BUILDS];
        if let Some(moment) = moment {
            std::thread::sleep(moment);
            for (number, build) in builds.iter_mut().enumerate() {
                if (kill_all || number == victim) && build.is_running() {
                    killed[number] = send(build, Signal::KILL);
                }
            }
        }
        tally.add("builds killed", killed.iter().filter(|killed| **killed).count());
        tally.add("moments with a kill", usize::from(killed.contains(&true)));
        let mut problems = Vec::new();
        for (number, build) in builds.into_iter().enumerate() {
            match build.wait(PATIENCE) {
                Ok(finished) if killed[number] && finished.code.is_none() => {}
                Ok(finished) if finished.code == Some(0) && finished.text() == *expected[number] => {
                    tally.count("builds that finished");
                }
                Ok(finished) => problems.push(format!("build {number}: {:?} {}", finished.code, finished.stderr)),
                Err(error) => problems.push(format!("build {number}: {error}")),
            }
        }
        stop.store(true, Ordering::SeqCst);
        (problems, killed.contains(&true), prunes.join())
    });
    let (prunes, killed) = loop_end.map_err(|_| "the prune loop panicked")??;
    tally.add("prunes", prunes);
    tally.add("prunes killed", killed);
    check(problems.is_empty(), || problems.join("\n"))?;
    ground.nothing_runs(store)?;
    let next = random.below(BUILDS);
    if let (Some(name), Some(golden)) = (NAMES.get(next), golden.get(next)) {
        ground.goes_on(store, name, golden)?;
    }
    Ok(any)
}

/// Prunes again and again; at `moment` the prune that runs is killed.
fn prune_until(
    ground: &Ground<'_>,
    store: &Path,
    all: bool,
    moment: Option<Duration>,
    stop: &AtomicBool,
) -> Result<(usize, usize), String> {
    let started = Instant::now();
    let (mut prunes, mut killed) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        let mut command = ground.command(store);
        command.args(["prune", "--force"]);
        if all {
            command.arg("--all");
        }
        prunes += 1;
        match moment.filter(|_| killed == 0).map(|moment| moment.saturating_sub(started.elapsed())) {
            Some(left) if left < Duration::from_millis(20) => {
                let running = start(command)?;
                std::thread::sleep(left);
                killed += usize::from(send(&running, Signal::KILL));
                running.wait(PATIENCE).map_err(|error| error.to_string())?;
            }
            _ => {
                let finished = end(command)?;
                // The first build may not have made the store yet.
                let missing = finished.stderr.contains("no store");
                if !missing {
                    equal(&finished.code, &Some(0), "exit code of a prune")
                        .map_err(|problem| format!("{problem}: {}", finished.stderr))?;
                }
            }
        }
    }
    Ok((prunes, killed))
}

fn send(running: &Running, signal: Signal) -> bool {
    let id = i32::try_from(running.id()).ok().and_then(Pid::from_raw);
    id.is_some_and(|id| kill_process(id, signal).is_ok())
}
