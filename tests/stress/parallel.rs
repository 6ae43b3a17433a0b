//! Many builds at once in one store, with a prune loop beside them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::ground::{Ground, end, remove};
use crate::random::Random;
use crate::support::{Environment, Outcome, check};
use crate::{Effort, Kind, Tally};

pub(crate) const KIND: Kind = Kind { name: "parallel", count: 20, run };

/// How many builds run at once.
const PROCESSES: usize = 16;

/// Dockerfiles: the first four have all but the last step in common, the others no step but copies of the context.
const NAMES: [(&str, &str); 8] =
    [("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "-e"), ("f", "-f"), ("g", "-g"), ("h", "-h")];

fn run(environment: &Environment, effort: Effort, tally: &mut Tally) -> Outcome {
    for (title, flags) in [("prune", ["prune", "--force"].as_slice()), ("prune --all", &["prune", "--all", "--force"])]
    {
        round(environment, effort, title, flags, tally)?;
    }
    Ok(())
}

/// `count` builds of each process.
fn round(environment: &Environment, effort: Effort, title: &str, prune: &[&str], tally: &mut Tally) -> Outcome {
    let ground = Ground::new(environment)?;
    let mut golden = Vec::new();
    for (name, shared) in NAMES {
        ground.write_dockerfile(name, shared)?;
        golden.push(ground.golden(name)?);
    }
    let store = ground.path("store");
    remove(&store)?;
    let stop = AtomicBool::new(false);
    let problems: Mutex<Vec<String>> = Mutex::default();
    let carried_out: Mutex<BTreeMap<String, usize>> = Mutex::default();
    let (builds, prunes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let processes: Vec<_> = (0..PROCESSES)
            .map(|process| {
                let (ground, golden, store, problems) = (&ground, &golden, &store, &problems);
                let (builds, carried_out) = (&builds, &carried_out);
                scope.spawn(move || {
                    let mut random = Random::new(effort.seed.wrapping_mul(1000).wrapping_add(process as u64));
                    for _ in 0..effort.count {
                        let number = random.below(NAMES.len());
                        match build(ground, store, NAMES[number].0, &golden[number].stored_digest) {
                            Ok(steps) => {
                                builds.fetch_add(1, Ordering::Relaxed);
                                let mut carried_out = locked(carried_out);
                                for step in steps {
                                    *carried_out.entry(step).or_default() += 1;
                                }
                            }
                            Err(problem) => locked(problems).push(problem),
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let mut command = ground.command(&store);
                command.args(prune);
                match end(command) {
                    Ok(finished) if finished.code == Some(0) || finished.stderr.contains("no store") => {
                        prunes.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(finished) => locked(&problems).push(format!("prune: {:?} {}", finished.code, finished.stderr)),
                    Err(problem) => locked(&problems).push(problem),
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        for process in processes {
            if process.join().is_err() {
                locked(&problems).push("a thread panicked".to_owned());
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    tally.add(&format!("builds beside {title}"), builds.into_inner());
    tally.add(&format!("prunes beside {title}"), prunes.into_inner());
    let carried_out = carried_out.into_inner().unwrap_or_default();
    tally.add(&format!("different steps beside {title}"), carried_out.len());
    tally.add(&format!("steps carried out beside {title}"), carried_out.values().sum());
    tally.add(
        &format!("the most often carried out step beside {title}"),
        carried_out.values().copied().max().unwrap_or_default(),
    );
    for problem in problems.into_inner().unwrap_or_default() {
        tally.fail(format!("beside {title} (seed {}): {problem}", effort.seed), &store);
    }
    if title == "prune"
        && let Some((step, times)) = carried_out.iter().find(|(_, times)| **times > 1)
    {
        tally.fail(format!("{step} was carried out {times} times although nothing removes results"), &store);
    }
    let after = ground.nothing_runs(&store).and_then(|()| ground.goes_on(&store, NAMES[0].0, &golden[0]));
    if let Err(problem) = after {
        tally.fail(format!("after builds beside {title} (seed {}): {problem}", effort.seed), &store);
    }
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Builds, and gives the `RUN` steps that were carried out.
fn build(ground: &Ground<'_>, store: &Path, name: &str, digest: &str) -> Result<Vec<String>, String> {
    let finished = end(ground.build(store, name))?.success()?;
    check(finished.text() == digest, || format!("{name}: digest {} instead of {digest}", finished.text()))?;
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for line in finished.stderr.lines() {
        let Some((number, text)) = line.split_once(' ') else { continue };
        if text == "CACHED" {
            names.remove(number);
        } else if let Some((_, instruction)) = text.split_once("] ").filter(|_| text.starts_with('[')) {
            // Only what is told before the step's own output, which begins with the time.
            names.entry(number).or_insert(instruction);
        }
    }
    Ok(names.into_values().filter(|instruction| instruction.starts_with("RUN ")).map(str::to_owned).collect())
}
