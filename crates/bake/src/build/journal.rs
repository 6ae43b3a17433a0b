//! What a build did, step by step, for `bake why`: collected from its events, written down once when it ends.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bake::ui::progress::Progress;
use bake_graph::{BuildGraph, Op, VertexId};
use bake_solver::{BuildEvent, EventSink, Explanation, Outcome, Solved};
use serde::{Deserialize, Serialize};

use super::target::Planned;
use crate::settings::ContextSpec;
use crate::wiring::Host;

/// A build that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildEntry {
    /// What was built: its tags, or its context.
    pub(crate) name: String,
    /// How it ended.
    pub(crate) result: BuildResult,
    /// How long it took, in milliseconds.
    pub(crate) elapsed_ms: u64,
    /// Its steps, in the order of the graph.
    pub(crate) steps: Vec<StepEntry>,
}

/// How a build ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BuildResult {
    Succeeded,
    Failed,
    Interrupted,
}

/// A step of a build that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepEntry {
    /// The number under which it was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) number: Option<usize>,
    /// How it was called.
    pub(crate) name: String,
    /// The identity of its definition; empty where nothing has to be looked up by it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) definition: String,
    /// What became of it.
    pub(crate) outcome: StepOutcome,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) elapsed_ms: u64,
    /// When its result was made, in seconds since 1970, where that was in an earlier build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) made_unix_s: Option<i64>,
    /// Why it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) explanation: Option<Explanation>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StepOutcome {
    Ran,
    Cached,
    Failed,
    /// The build ended before it.
    NotReached,
}

/// Collects what happens to the steps of a build, and passes every event on.
#[derive(Debug)]
pub(super) struct Journal<'a> {
    progress: &'a Progress,
    steps: Mutex<BTreeMap<VertexId, StepEntry>>,
}

impl<'a> Journal<'a> {
    /// For those vertices of `graph` that are steps. Events go on to `progress`.
    pub(super) fn new(progress: &'a Progress, graph: &BuildGraph, targets: &[VertexId]) -> Self {
        let is_step = |id: &VertexId| matches!(graph.vertex(*id).op, Op::Exec(_) | Op::File(_));
        let steps = graph.needed(targets).into_iter().filter(is_step).map(|id| {
            let vertex = graph.vertex(id);
            let entry = StepEntry {
                number: None,
                name: vertex.label.to_string(),
                definition: vertex.definition.hex(),
                outcome: StepOutcome::NotReached,
                elapsed_ms: 0,
                made_unix_s: None,
                explanation: None,
            };
            (id, entry)
        });
        Self { progress, steps: Mutex::new(steps.collect()) }
    }

    /// Writes down what became of each target, as a build of its own, and returns their numbers.
    pub(super) fn write<'b>(
        &self,
        host: &Host,
        graph: &BuildGraph,
        targets: &[Planned<'_>],
        result: impl Fn(&Planned<'_>) -> (BuildResult, Option<&'b Solved>),
    ) -> Vec<Option<i64>> {
        let write = |target| {
            let (result, solved) = result(target);
            self.write_target(host, graph, target, result, solved)
        };
        targets.iter().map(write).collect()
    }

    /// It is only a help: a store that cannot take it is no reason to fail.
    fn write_target(
        &self,
        host: &Host,
        graph: &BuildGraph,
        target: &Planned<'_>,
        result: BuildResult,
        solved: Option<&Solved>,
    ) -> Option<i64> {
        let all = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let own = graph.needed(&target.wanted()).into_iter().filter_map(|id| Some((id, all.get(&id)?.clone())));
        let steps = own.map(|(id, step)| {
            let made_unix_s = match (step.outcome, solved) {
                (StepOutcome::Cached, Some(solved)) => made(solved, id),
                _ => None,
            };
            // Most builds are cached for the most part, so that is what has to be short.
            let definition = if made_unix_s.is_some() { String::new() } else { step.definition };
            StepEntry { number: self.progress.number(id), made_unix_s, definition, ..step }
        });
        let entry = BuildEntry {
            name: name_of(target),
            result,
            elapsed_ms: milliseconds(self.progress.elapsed()),
            steps: steps.collect(),
        };
        let written = serde_json::to_vec(&entry)
            .map_err(|error| error.to_string())
            .and_then(|document| host.store.add_to_journal(&document).map_err(|error| bake::error::chain_text(&error)));
        written.inspect_err(|error| tracing::debug!(%error, "could not write the journal of the build")).ok()
    }
}

impl EventSink for Journal<'_> {
    fn send(&self, event: BuildEvent) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        match &event {
            BuildEvent::Explained { step, explanation } => {
                if let Some(entry) = steps.get_mut(step) {
                    entry.explanation = Some(explanation.clone());
                }
            }
            BuildEvent::Finished { step, outcome, elapsed } => {
                if let Some(entry) = steps.get_mut(step) {
                    entry.elapsed_ms = milliseconds(*elapsed);
                    entry.outcome = match outcome {
                        Outcome::Ran => StepOutcome::Ran,
                        Outcome::Cached => StepOutcome::Cached,
                    };
                }
            }
            BuildEvent::Failed { step, elapsed, .. } => {
                if let Some(entry) = steps.get_mut(step) {
                    entry.elapsed_ms = milliseconds(*elapsed);
                    entry.outcome = StepOutcome::Failed;
                }
            }
            _ => {}
        }
        drop(steps);
        self.progress.send(event);
    }
}

/// When the layer that a step added was made, in seconds since 1970.
fn made(solved: &Solved, step: VertexId) -> Option<i64> {
    let nanoseconds = solved.outputs.get(&step)?.layers().last()?.created_ns?;
    Some(nanoseconds.div_euclid(1_000_000_000))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn name_of(target: &Planned<'_>) -> String {
    let request = target.request;
    let tags: Vec<String> = request.tags.iter().map(bake_oci::Reference::familiar).collect();
    match &request.context {
        _ if !tags.is_empty() => tags.join(", "),
        _ if !target.name.is_empty() => target.name.to_owned(),
        ContextSpec::Directory(path) => {
            std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string()
        }
        other => other.to_string(),
    }
}
