//! SIGINT at random times.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::ground::{Ground, end, remove, start};
use crate::random::Random;
use crate::support::{Environment, Outcome, check};
use crate::{Effort, Kind, Tally};

pub(crate) const KIND: Kind = Kind { name: "interrupt", count: 100, run };

const NAME: &str = "app";

/// What a build says when all steps are done: interrupted after that it may as well finish.
const STEPS_ARE_DONE: &str = "exporting to";

/// How long a build may take to end: far more than the two seconds it should, since a machine may be busy. The report tells
/// how long the slowest took.
const LIMIT: Duration = Duration::from_secs(20);

fn run(environment: &Environment, effort: Effort, tally: &mut Tally) -> Outcome {
    let ground = Ground::new(environment)?;
    ground.write_dockerfile(NAME, "")?;
    let golden = ground.golden(NAME)?;
    // Steps that take a while, one of which does not care about signals, beside those of the reference.
    let slow = "FROM busybox AS deaf\nRUN trap '' INT TERM HUP; sleep 0.3; sleep 0.3; echo deaf > /deaf\n\
                FROM busybox AS many\nRUN for i in 1 2 3 4 5; do sleep 0.4 & done; sleep 0.2; echo many > /many\n";
    let last = "COPY --from=deaf /deaf /\nCOPY --from=many /many /\n";
    let text = format!("{slow}{}{last}", ground.dockerfile(NAME, ""));
    ground.scratch.write("context/slow.Dockerfile", text)?;
    let store = ground.path("store");
    let archive = ground.path("slow.tar");
    let mut random = Random::new(effort.seed);
    let started = Instant::now();
    end(ground.build_archive(&store, "slow", &archive))?.success()?;
    let usual = started.elapsed();
    let mut slowest = Duration::ZERO;
    for number in 0..effort.count {
        let moment = Duration::from_micros(random.below(usize::try_from(usual.as_micros()).unwrap_or(0)) as u64);
        let twice = random.one_in(5);
        if random.one_in(10) {
            remove(&store)?;
        }
        let result = (|| -> Outcome {
            let mut command = ground.build_archive(&store, "slow", &archive);
            command.arg("--no-cache");
            let mut build = start(command)?;
            std::thread::sleep(moment);
            let may_finish = build.said().contains(STEPS_ARE_DONE);
            let sent = Instant::now();
            let interrupted = build.is_running() && {
                let id = i32::try_from(build.id()).ok().and_then(Pid::from_raw).ok_or("a process has an ID")?;
                let sent = kill_process(id, Signal::INT).is_ok();
                if twice {
                    std::thread::sleep(Duration::from_millis(2));
                    let _ = kill_process(id, Signal::INT);
                }
                sent
            };
            let finished = build.wait(Duration::from_mins(1)).map_err(|error| error.to_string())?;
            let took = sent.elapsed();
            slowest = slowest.max(took);
            match finished.code {
                Some(130) => tally.count("interrupted, code 130"),
                // Before signals are blocked a process ends the way all do.
                None if moment < Duration::from_millis(20) => tally.count("interrupted before it looked for signals"),
                Some(0) if !interrupted || may_finish => tally.count("finished at that moment"),
                code => return Err(format!("exit code {code:?}: {}", finished.stderr)),
            }
            check(took <= LIMIT, || format!("it took {took:?} to end"))?;
            ground.nothing_runs(&store)?;
            ground.goes_on(&store, NAME, &golden)
        })();
        if let Err(problem) = result {
            let what = format!("interrupt {number} (seed {}) after {moment:?}, twice: {twice}: {problem}", effort.seed);
            tally.fail(what, &store);
            remove(&store)?;
        }
    }
    tally.add("ms until the slowest had ended", usize::try_from(slowest.as_millis()).unwrap_or(usize::MAX));
    Ok(())
}
