//! Finding the result of a step by what it asked when it ran before.

use std::collections::HashMap;

use bake_graph::Op;
use bake_oci::CacheKey;

use crate::cache::{CacheStore, StoredTrace};
use crate::explain::{Difference, FILES_LISTED_MAX, ReadChange, ReadHow};
use crate::output::Layer;
use crate::slot::SlotNote;
use crate::step::cache_failed;
use crate::trace::{Answer, Asked, Question, Scope, Trace};
use crate::worker::{StepError, Task, Worker};

/// Whether steps are found by what they asked of the files that were copied for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TraceRun {
    /// Where that can be recorded at little cost.
    #[default]
    Auto,
    /// Also where recording has cost much before.
    On,
    /// Never.
    Off,
}

/// A share of the steps that are found by what they asked, and that are run all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyShare {
    /// Of a hundred; 0 for none, 100 for all.
    pub percent: u8,
    /// What the choice is drawn from: another number chooses others.
    pub seed: u64,
}

impl VerifyShare {
    /// Whether the step with this key is among the chosen.
    pub(crate) fn includes(self, key: &CacheKey) -> bool {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes()).update(&key.0);
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        u64::from_le_bytes(first) % 100 < u64::from(self.percent)
    }
}

/// What looking for the result of a past run came to.
#[derive(Debug)]
pub(crate) enum Reuse {
    /// It is there.
    Found(Found),
    /// Of what the step asked in its last run, this is different now.
    Changed(Difference),
    /// There is no past run to compare with.
    Unknown,
}

/// A result of a past run.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) layer: Layer,
    pub(crate) trace: Trace,
    pub(crate) key: CacheKey,
}

/// Asks of the slots of `task` as they are now what past runs with the same outer key asked. `slots` tells where they are seen.
///
/// # Errors
/// If the slots or the cache cannot be read.
pub(crate) fn find(
    scope: &Scope,
    slots: &[SlotNote],
    task: &Task<'_>,
    worker: &dyn Worker,
    cache: &dyn CacheStore,
) -> Result<Reuse, StepError> {
    let past = cache.traces(&scope.outer).map_err(cache_failed)?;
    let mut known: HashMap<Question, Answer> = HashMap::new();
    let mut newest = None;
    for StoredTrace { trace, .. } in past {
        let Some(now) = asked_again(&trace, &mut known, task, worker)? else { return Ok(Reuse::Unknown) };
        let key = now.key(&scope.outer);
        if let Some(layer) = cache.lookup(&key).map_err(cache_failed)? {
            return Ok(Reuse::Found(Found { layer, trace: now, key }));
        }
        newest.get_or_insert((trace, now));
    }
    Ok(match newest {
        Some((before, now)) => match difference(task, slots, &before, &now) {
            Some(difference) => Reuse::Changed(difference),
            None => Reuse::Unknown,
        },
        None => Reuse::Unknown,
    })
}

/// What `past` asked, with the answers of the slots of `task` as they are now; `None` if they cannot be asked. `known` are answers that
/// were given already.
fn asked_again(
    past: &Trace,
    known: &mut HashMap<Question, Answer>,
    task: &Task<'_>,
    worker: &dyn Worker,
) -> Result<Option<Trace>, StepError> {
    let questions = || past.entries().iter().map(|(question, _)| question);
    let new: Vec<Question> = questions().filter(|question| !known.contains_key(*question)).cloned().collect();
    let Some(answers) = worker.answers(task, &new)? else { return Ok(None) };
    known.extend(new.into_iter().zip(answers));
    let now = questions().filter_map(|question| Some((question.clone(), *known.get(question)?)));
    Ok(Some(Trace::new(now.collect())))
}

/// All that the step of `task` asked in past runs that were answered as it would be answered now; `None` if no such run is known.
///
/// A step is a function of the answers, so this is what one would ask that ran now.
///
/// # Errors
/// If the slots or the cache cannot be read.
pub fn past_questions(
    scope: &Scope,
    task: &Task<'_>,
    worker: &dyn Worker,
    cache: &dyn CacheStore,
) -> Result<Option<Vec<Question>>, StepError> {
    let mut known: HashMap<Question, Answer> = HashMap::new();
    let mut asked: Option<Vec<Question>> = None;
    // Several traces can fit where a step does not always ask the same: then nobody knows which run it was.
    for StoredTrace { trace, .. } in cache.traces(&scope.outer).map_err(cache_failed)? {
        if asked_again(&trace, &mut known, task, worker)?.is_some_and(|now| now == trace) {
            let questions = trace.entries().iter().map(|(question, _)| question.clone());
            asked.get_or_insert_default().extend(questions);
        }
    }
    Ok(asked)
}

/// What differs between two traces of the same questions; `None` if nothing does.
fn difference(task: &Task<'_>, slots: &[SlotNote], before: &Trace, now: &Trace) -> Option<Difference> {
    let mut changes = Vec::new();
    let mut count = 0;
    let mut last: Option<&Question> = None;
    let pairs = before.entries().iter().zip(now.entries());
    for ((question, old), (_, new)) in pairs.filter(|((_, old), (_, new))| old != new) {
        // A directory that is not there any more has no names either.
        if last.is_some_and(|last| (last.slot, &last.path) == (question.slot, &question.path)) {
            continue;
        }
        last = Some(question);
        count += 1;
        if changes.len() < FILES_LISTED_MAX {
            changes.push(ReadChange { path: shown(task, slots, question), how: how(question.asked, old, new) });
        }
    }
    (count > 0).then_some(Difference::Read { changes, count })
}

fn how(asked: Asked, old: &Answer, new: &Answer) -> ReadHow {
    match (asked, old, new) {
        (Asked::Node, Answer::Absent, _) => ReadHow::Added,
        (Asked::Node, _, Answer::Absent) => ReadHow::Removed,
        (Asked::Node, Answer::Node(old), Answer::Node(new)) => {
            if old.kind != new.kind {
                ReadHow::Type
            } else if (old.size, old.content) != (new.size, new.content) {
                ReadHow::Content
            } else if old.mode != new.mode {
                ReadHow::Mode
            } else if (old.uid, old.gid) != (new.uid, new.gid) {
                ReadHow::Owner
            } else {
                ReadHow::Attributes
            }
        }
        _ => ReadHow::Listing,
    }
}

fn shown(task: &Task<'_>, slots: &[SlotNote], question: &Question) -> String {
    let Op::Exec(exec) = &task.vertex.op else { return String::new() };
    slots.get(usize::from(question.slot)).map_or_else(String::new, |slot| slot.shown(&question.path, &exec.cwd))
}
