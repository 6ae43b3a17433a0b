//! Steps that are not repeated because nothing that they asked for has changed: would they have made the same?
//!
//! A session chooses some dozens of commands (`commands`) and ways to reach the copied files (`stages`), and builds each as a stage.
//! In every round the files are changed (`tree`) and all is built again. The steps that were reused are then carried out on
//! the changed files after all: their layers, in which they also wrote what they printed and how they ended, must be the same.
//!
//! Whether this would notice anything is shown by what comes first: part of what was recorded is taken out of the store
//! (`weaken`), and that must lead to wrong results.

mod commands;
mod stages;
mod states;
mod tree;
mod weaken;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use bake_testkit::program::Finished;

use crate::ground::{Ground, end, remove};
use crate::random::Random;
use crate::support::{Environment, Outcome, check};
use crate::{Effort, Kind, Tally};
use commands::Shows;
use stages::Stages;
use tree::Tree;
use weaken::Dropped;

/// The number is that of steps that were reused and carried out after all.
pub(crate) const KIND: Kind = Kind { name: "traces", count: 2000, run };

/// Steps of one Dockerfile.
const STAGES: usize = 48;

/// The same where little is to be compared.
const STAGES_FEW: usize = 16;

/// How often the files are changed before other steps are chosen.
const ROUNDS: usize = 8;

/// Sessions that share a store, so that steps also find what others like them asked.
const SESSIONS_OF_STORE: usize = 10;

/// Steps that are reused in a control before it counts as one that notices nothing.
const CONTROL_MAX: usize = 600;

/// Sessions in which no step is reused at all before this is taken for a failure.
const SESSIONS_IDLE_MAX: usize = 2;

/// The variable with the OCI layout of a base image that has gcc and Python besides busybox's programs.
const TOOLS_VARIABLE: &str = "STRESS_TOOLS_IMAGE";

fn run(environment: &Environment, effort: Effort, tally: &mut Tally) -> Outcome {
    let ground = Ground::new(environment)?;
    let mut random = Random::new(effort.seed);
    for dropped in [Dropped::Absences, Dropped::Contents, Dropped::Listings] {
        control(&ground, &mut random, dropped, tally)?;
    }
    let store = ground.path("store");
    let (mut compared, mut session) = (0, 0);
    while compared < effort.count {
        if session % SESSIONS_OF_STORE == 0 {
            remove(&store)?;
        }
        let title = format!("seed {}, session {session}", effort.seed);
        let stages = if effort.count < ROUNDS * STAGES { STAGES_FEW } else { STAGES };
        let mut steps = Session::start(&ground, &mut random, &title, stages, (&store, session * (ROUNDS + 1)))?;
        for _ in 0..ROUNDS {
            let round = steps.round(&mut random, &[], tally)?;
            compared += round.compared;
            for wrong in round.wrong {
                tally.fail(wrong, &steps.store);
            }
            if compared >= effort.count {
                break;
            }
        }
        ground.nothing_runs(&store)?;
        session += 1;
        // Without any reuse this would never end.
        check(compared > 0 || session < SESSIONS_IDLE_MAX, || {
            "no step was reused, so there is nothing to compare".to_owned()
        })?;
    }
    ground.is_sound(&store)?;
    tally.add("sessions", session);
    tally.add("reused steps that were carried out after all", compared);
    Ok(())
}

/// Shows that a reuse that is wrong is noticed, by taking questions out of what was recorded.
fn control(ground: &Ground<'_>, random: &mut Random, dropped: Dropped, tally: &mut Tally) -> Outcome {
    let (mut compared, mut session) = (0, 0);
    // Only a help for the tally: what fails here is meant to.
    let mut silent = Tally::default();
    let store = ground.path("weakened-store");
    remove(&store)?;
    while compared < CONTROL_MAX {
        let title = format!("control without {dropped:?}, session {session}");
        let mut steps = Session::start(ground, random, &title, STAGES_FEW, (&store, session * (ROUNDS + 1)))?;
        for _ in 0..ROUNDS {
            weaken::weaken(&steps.store, dropped)?;
            let round = steps.round(random, dropped.changes(), &mut silent)?;
            compared += round.compared;
            if !round.wrong.is_empty() {
                tally.add(&format!("reused steps until the lack of {dropped:?} was noticed"), compared);
                return Ok(());
            }
        }
        session += 1;
        check(compared > 0 || session < SESSIONS_IDLE_MAX, || format!("no step was reused without {dropped:?}"))?;
    }
    Err(format!("{dropped:?} left out of the traces, and nothing was noticed in {compared} reused steps"))
}

/// Chosen steps, with a store and files of their own.
struct Session<'a> {
    ground: &'a Ground<'a>,
    title: String,
    store: PathBuf,
    context: PathBuf,
    stages: Stages,
    tools: Option<String>,
    /// Counts the builds of changed files in a store.
    round: usize,
    changes: Vec<String>,
}

/// What came of a round.
#[derive(Debug, Default)]
struct Round {
    /// Steps that were reused and carried out after all.
    compared: usize,
    /// Those among them whose results differ.
    wrong: Vec<String>,
}

impl<'a> Session<'a> {
    /// Chooses so many steps and carries them out, in a store whose rounds are counted from `round`.
    fn start(
        ground: &'a Ground<'a>,
        random: &mut Random,
        title: &str,
        stages: usize,
        (store, round): (&Path, usize),
    ) -> Result<Self, String> {
        let (store, context) = (store.to_owned(), ground.path("traced"));
        let tools = std::env::var(TOOLS_VARIABLE).ok();
        let stages = Stages::choose(random, stages, tools.is_some(), ground.marker());
        let session =
            Self { ground, title: title.to_owned(), store, context, stages, tools, round, changes: Vec::new() };
        session.files().reset()?;
        session.build(Tracing::On, &[])?.success().map_err(|problem| format!("{title}: {problem}"))?;
        Ok(session)
    }

    /// Changes the files, in the ways that `only` names, and builds; what is reused is carried out after all, and the results are
    /// compared.
    fn round(&mut self, random: &mut Random, only: &[&str], tally: &mut Tally) -> Result<Round, String> {
        self.round += 1;
        // Most rounds begin with the files that the first traces are of.
        if !random.one_in(4) {
            self.files().reset()?;
            self.changes.clear();
        }
        self.changes.extend(self.files().change(random, only)?);
        if random.one_in(5) {
            self.files().touch()?;
            self.changes.push("all times".to_owned());
        }
        let built = self.build(Tracing::On, &[])?;
        if built.code != Some(0) {
            // Such as a copy of a directory over a file; that is no affair of traces, so it fails without them too.
            let plain = self.build(Tracing::Off, &[])?;
            check(plain.code == built.code, || format!("{self}: it fails only if it is traced: {}", built.stderr))?;
            self.changes.clear();
            self.files().reset()?;
            tally.count("rounds whose files cannot be copied");
            return Ok(Round::default());
        }
        let steps = Steps::read(&built.stderr);
        tally.add("steps that ran again", steps.ran.len());
        tally.add("steps that were reused", steps.reused.len());
        let tracing = if random.one_in(2) { Tracing::On } else { Tracing::Off };
        let comparable = |stage: &usize| tracing == Tracing::On || self.stages.shows(*stage) == Shows::Files;
        let reused: BTreeSet<usize> = steps.reused.into_iter().filter(comparable).collect();
        let mut again = reused.clone();
        if tracing == Tracing::Off && random.one_in(4) {
            let ran: Vec<usize> = steps.ran.into_iter().filter(comparable).collect();
            tally.add("steps that ran traced and were carried out without", ran.len());
            again.extend(ran);
        }
        let mut round = Round { compared: reused.len(), wrong: Vec::new() };
        if again.is_empty() {
            return Ok(round);
        }
        let before = states::of_round(&self.store, self.round)?;
        let fresh = self.build(tracing, &again.iter().copied().collect::<Vec<_>>())?.success();
        let fresh = Steps::read(&fresh.map_err(|problem| format!("{self}: {problem}"))?.stderr);
        check(again.is_subset(&fresh.ran), || format!("{self}: not all of {again:?} ran again, only {:?}", fresh.ran))?;
        let after = states::of_round(&self.store, self.round)?;
        for stage in again {
            let (before, after) = (before.get(&stage), after.get(&stage));
            check(before.is_some() && after.is_some(), || format!("{self}: it is not known what step {stage} left"))?;
            if before != after {
                let how = if reused.contains(&stage) { "was reused, and" } else { "ran traced, and" };
                let step = self.stages.describe(stage);
                let difference = states::difference(&self.store, stage)?;
                round.wrong.push(format!(
                    "{self}: step {stage} {how} carried out with tracing {tracing:?} it leaves something else:\n{step}\n{difference}"
                ));
            }
        }
        Ok(round)
    }

    fn files(&self) -> Tree<'_> {
        Tree::new(&self.context)
    }

    /// Builds all stages; those of `again` whatever is known of them.
    fn build(&self, tracing: Tracing, again: &[usize]) -> Result<Finished, String> {
        let dockerfile = self.context.join("Dockerfile");
        self.files().pack()?;
        std::fs::write(&dockerfile, self.stages.dockerfile(self.round)).map_err(|error| error.to_string())?;
        let mut command: Command = self.ground.command(&self.store);
        command.args(["build", "--progress", "plain", "--output", "type=cacheonly", tracing.flag()]);
        // Changed files can make a command wait for itself.
        command.args(["--timeout", "20s"]);
        command.args(self.ground.environment.base_flags());
        if let Some(layout) = &self.tools {
            command.arg("--build-context").arg(format!("tools=oci-layout://{layout}"));
        }
        if !again.is_empty() {
            let names: Vec<String> = again.iter().map(|stage| format!("s{stage}")).collect();
            command.arg("--no-cache-filter").arg(names.join(","));
        }
        end({
            command.arg(&self.context);
            command
        })
    }
}

impl fmt::Display for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, round {} ({})", self.title, self.round, self.changes.join("; "))
    }
}

/// Whether steps are traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tracing {
    On,
    Off,
}

impl Tracing {
    fn flag(self) -> &'static str {
        match self {
            Self::On => "--trace-run=on",
            Self::Off => "--trace-run=off",
        }
    }
}

/// What became of the stages, by what plain progress says.
#[derive(Debug, Default)]
struct Steps {
    /// Those that ran.
    ran: BTreeSet<usize>,
    /// Those that were not repeated because nothing that they had asked for has changed.
    reused: BTreeSet<usize>,
}

impl Steps {
    fn read(progress: &str) -> Self {
        let mut steps = Self::default();
        let mut stages = BTreeMap::new();
        for line in progress.lines() {
            let Some((number, text)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else { continue };
            let stage = text.strip_prefix("[s").and_then(|text| text.split_once(' ')).map(|(stage, _)| stage.parse());
            if let Some(Ok(stage)) = stage {
                stages.insert(number, stage);
            }
            let Some(stage) = stages.get(number) else { continue };
            if text.starts_with("reused: ") {
                steps.reused.insert(*stage);
            } else if text.starts_with("DONE") && !steps.reused.contains(stage) {
                steps.ran.insert(*stage);
            }
        }
        steps
    }
}
