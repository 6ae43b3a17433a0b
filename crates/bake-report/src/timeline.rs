//! When the steps of a build ran, and which of them decided how long it took.

use std::collections::HashSet;

use crate::record::{BuildRecord, StepOutcome, StepRecord};

/// The times of a build. Steps are named by their place in [`BuildRecord::steps`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Timeline {
    /// From the beginning to the end, in microseconds.
    pub total_us: u64,
    /// The steps in the order in which they began: those that were carried out or whose end is not known.
    pub rows: Vec<usize>,
    /// The chain of steps up to the last one that ended, by time, of which each waited for the one before: for its result, or
    /// for the room that it took. Together they take about as long as the build did.
    pub critical: Vec<usize>,
    /// How many processors steps kept busy from each moment (in microseconds) until the next: the processor time of each step
    /// spread over the time that it took. Empty where no step says what it used.
    pub load: Vec<(u64, f64)>,
}

impl Timeline {
    /// That of a build.
    pub fn of(record: &BuildRecord) -> Self {
        let steps = &record.steps;
        let ends = steps.iter().map(|step| step.ended_us).max().unwrap_or(0);
        let total_us = record.elapsed_ms.saturating_mul(1000).max(ends);
        let shown = |step: &StepRecord| step.has_run() || is_broken_off(step);
        let mut rows: Vec<usize> = (0..steps.len()).filter(|place| steps.get(*place).is_some_and(shown)).collect();
        rows.sort_by_key(|place| steps.get(*place).map(|step| (step.began_us, step.ended_us)));
        Self { total_us, rows, critical: critical_path(steps), load: load(steps) }
    }

    /// How long the steps of the critical path took together, in microseconds.
    pub fn critical_us(&self, record: &BuildRecord) -> u64 {
        self.critical.iter().filter_map(|place| record.steps.get(*place)).map(StepRecord::duration_us).sum()
    }
}

/// Whether the build ended while the step was at work.
pub(crate) fn is_broken_off(step: &StepRecord) -> bool {
    step.began_us > 0 && step.outcome == StepOutcome::NotReached
}

/// What passes between the end of a step and the beginning of one that waited for its result, in microseconds; more than that
/// is waiting for room.
const HANDOVER_US: u64 = 5_000;

fn critical_path(steps: &[StepRecord]) -> Vec<usize> {
    let ended = |place: &usize| steps.get(*place).map_or(0, |step| step.ended_us);
    let done = |place: &usize| {
        steps.get(*place).is_some_and(|step| step.ended_us > 0 && step.outcome != StepOutcome::NotReached)
    };
    let mut path = Vec::new();
    // Documents come from disk, so inputs may be anything; no step is passed twice.
    let mut passed = HashSet::new();
    let mut next = (0..steps.len()).filter(done).max_by_key(ended);
    while let Some(place) = next.filter(|place| passed.insert(*place)) {
        let Some(step) = steps.get(place) else { break };
        if step.has_run() {
            path.push(place);
        }
        let needed = step.inputs.iter().copied().filter(done).max_by_key(ended);
        let at_once = |input: &usize| ended(input).saturating_add(HANDOVER_US) >= step.began_us;
        next = needed.filter(at_once).or_else(|| {
            // What it needed was there, so it waited for whatever ended before it began.
            let before = |other: &usize| done(other) && *other != place && ended(other) <= step.began_us;
            (0..steps.len()).filter(before).max_by_key(ended)
        });
    }
    path.reverse();
    path
}

#[expect(clippy::cast_precision_loss, reason = "it is drawn, and microseconds of a month are exact")]
fn load(steps: &[StepRecord]) -> Vec<(u64, f64)> {
    let mut changes: Vec<(u64, f64)> = Vec::new();
    for step in steps {
        let Some(usage) = step.usage.as_ref().filter(|_| step.ended_us > step.began_us) else { continue };
        let rate = usage.processor_us as f64 / (step.ended_us - step.began_us) as f64;
        changes.push((step.began_us, rate));
        changes.push((step.ended_us, -rate));
    }
    changes.sort_by_key(|(at, _)| *at);
    let mut load: Vec<(u64, f64)> = Vec::new();
    let mut busy = 0.0_f64;
    for (at, change) in changes {
        // Differences of floating-point numbers do not end exactly where they began.
        busy = (busy + change).max(0.0);
        match load.last_mut().filter(|(last, _)| *last == at) {
            Some((_, value)) => *value = busy,
            None => load.push((at, busy)),
        }
    }
    load
}

#[cfg(test)]
mod tests {
    use bake_solver::MemoryOf;

    use super::*;
    use crate::record::UsageRecord;

    fn step(began_ms: u64, ended_ms: u64, inputs: &[usize]) -> StepRecord {
        StepRecord {
            began_us: began_ms * 1000,
            ended_us: ended_ms * 1000,
            inputs: inputs.to_vec(),
            outcome: StepOutcome::Ran,
            ..StepRecord::default()
        }
    }

    fn record(steps: Vec<StepRecord>) -> BuildRecord {
        BuildRecord { elapsed_ms: 100, steps, ..BuildRecord::default() }
    }

    #[test]
    fn the_critical_path_is_the_chain_that_ended_last() {
        let steps = vec![
            step(5, 10, &[]),      // an image
            step(10, 60, &[0]),    // the long way
            step(10, 20, &[0]),    // the short way
            step(60, 80, &[1, 2]), // needs both
            step(81, 95, &[]),     // an export
            step(0, 4, &[]),       // reading
        ];
        let record = record(steps);
        let timeline = Timeline::of(&record);
        assert_eq!(timeline.critical, [5, 0, 1, 3, 4]);
        assert_eq!(timeline.rows, [5, 0, 2, 1, 3, 4]);
        assert_eq!((timeline.total_us, timeline.critical_us(&record)), (100_000, 93_000));
    }

    #[test]
    fn a_step_that_waited_for_room_follows_the_one_that_made_it() {
        // One at a time: the second needs nothing of the first.
        let steps = vec![step(0, 40, &[]), step(41, 80, &[]), step(81, 90, &[0])];
        assert_eq!(Timeline::of(&record(steps)).critical, [0, 1, 2]);
    }

    #[test]
    fn documents_that_make_no_sense_end() {
        let timeline = Timeline::of(&record(vec![step(0, 5, &[1, 99]), step(0, 6, &[0, 1])]));
        assert_eq!(timeline.critical, [1]);
        assert_eq!(Timeline::of(&BuildRecord::default()), Timeline::default());
    }

    #[test]
    fn what_steps_used_is_spread_over_their_time() {
        let busy = |began, ended, processor_ms: u64| StepRecord {
            usage: Some(UsageRecord {
                processor_us: processor_ms * 1000,
                memory_peak_bytes: 0,
                memory_of: MemoryOf::AllProcesses,
                disk_read_bytes: 0,
                disk_written_bytes: 0,
                layer_bytes: None,
            }),
            ..step(began, ended, &[])
        };
        let timeline = Timeline::of(&record(vec![busy(0, 20, 20), busy(10, 20, 5), step(0, 90, &[])]));
        assert_eq!(timeline.load, [(0, 1.0), (10_000, 1.5), (20_000, 0.0)]);
    }
}
