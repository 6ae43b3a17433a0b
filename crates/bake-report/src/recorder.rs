//! From the events of a build to its record.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bake_graph::{StepLabel, VertexId};
use bake_solver::{BuildEvent, Explanation, Outcome, StepError, StepUsage, Untraced};

use crate::log::{PackedLog, StepLog};
use crate::record::{LogRecord, StepKind, StepOutcome, StepRecord, TraceRecord, UsageRecord};
use crate::words::refuted;

/// The packed output of all steps of a build, in bytes. What would not fit is left out, step by step.
pub const PACKED_BYTES_MAX: usize = 32 << 20;

/// Notices of a step that are kept; one tells of each file that a limit was put on, so there can be many.
const NOTICES_MAX: usize = 20;

/// The longest line of a notice or an error, in characters.
const LINE_CHARS_MAX: usize = 1000;

/// Transfers of a step that are told apart: an image has at most some hundred layers.
const TRANSFERS_MAX: usize = 10_000;

/// What nobody wants to see unless it takes longer than this.
const INTERNAL_SHOWN: Duration = Duration::from_millis(1);

/// A vertex of a build graph, as far as a record tells of it.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Which.
    pub id: VertexId,
    /// The vertices that it needs.
    pub inputs: Vec<VertexId>,
    /// What is known before it is carried out; `None` for those that are not shown.
    pub step: Option<StepRecord>,
}

/// The steps of a build, and what they wrote.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// First those that were planned, in that order, then what else was done, by time.
    pub steps: Vec<(VertexId, StepRecord)>,
    /// The output of all of them, packed; see [`crate::log::unpack`].
    pub logs: Vec<u8>,
}

/// Collects the events of a build. Events of several threads may come at once.
#[derive(Debug, Default)]
pub struct Recorder {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    steps: HashMap<VertexId, Seen>,
    packed_bytes: usize,
}

/// What was seen of a step.
#[derive(Debug, Default)]
struct Seen {
    label: StepLabel,
    began: Option<Duration>,
    ended: Option<Duration>,
    elapsed: Duration,
    outcome: StepOutcome,
    explanation: Option<Explanation>,
    trace: Option<TraceRecord>,
    untraced: Option<Untraced>,
    usage: Option<StepUsage>,
    transfers: HashMap<String, u64>,
    notices: Vec<String>,
    error: Option<String>,
    log: Option<StepLog>,
    packed: Option<PackedLog>,
}

impl Recorder {
    /// Takes note of something that happened `at` this time after the beginning of the build.
    pub fn note(&self, at: Duration, event: &BuildEvent) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            BuildEvent::Planned { steps } => {
                for step in steps {
                    state.steps.entry(step.id).or_default().label = step.label.clone();
                }
            }
            // A build that begins again begins its steps again; what they wrote before is of no interest any more.
            BuildEvent::Started { step } => {
                let seen = state.steps.entry(*step).or_default();
                *seen = Seen { label: std::mem::take(&mut seen.label), began: Some(at), ..Seen::default() };
            }
            BuildEvent::Waiting { .. } => {}
            BuildEvent::Traced { step, trace } => {
                state.steps.entry(*step).or_default().trace = Some(TraceRecord::from(trace));
            }
            BuildEvent::Untraced { step, why } => state.steps.entry(*step).or_default().untraced = Some(*why),
            BuildEvent::Refuted { step, path } => {
                let notices = &mut state.steps.entry(*step).or_default().notices;
                notices.push(line(&refuted(path.as_deref())));
            }
            BuildEvent::Explained { step, explanation } => {
                state.steps.entry(*step).or_default().explanation = Some(explanation.clone());
            }
            BuildEvent::Log { step, bytes, .. } => {
                state.steps.entry(*step).or_default().log.get_or_insert_default().write(bytes);
            }
            BuildEvent::Transfer { step, id, current, .. } => {
                let transfers = &mut state.steps.entry(*step).or_default().transfers;
                if let Some(bytes) = transfers.get_mut(id) {
                    *bytes = (*bytes).max(*current);
                } else if transfers.len() < TRANSFERS_MAX {
                    transfers.insert(id.clone(), *current);
                }
            }
            BuildEvent::Notice { step, message } => {
                let notices = &mut state.steps.entry(*step).or_default().notices;
                if notices.len() < NOTICES_MAX {
                    notices.push(line(message));
                }
            }
            BuildEvent::Used { step, usage } => state.steps.entry(*step).or_default().usage = Some(*usage),
            BuildEvent::Finished { step, outcome, elapsed } => {
                let outcome = match outcome {
                    Outcome::Ran => StepOutcome::Ran,
                    Outcome::Cached => StepOutcome::Cached,
                };
                state.end(*step, at, *elapsed, outcome);
            }
            BuildEvent::Failed { step, message, elapsed } => {
                // That it was broken off is no failure of its own.
                if *message == StepError::cancelled().message {
                    state.end(*step, at, *elapsed, StepOutcome::NotReached);
                } else {
                    state.end(*step, at, *elapsed, StepOutcome::Failed);
                    state.steps.entry(*step).or_default().error = Some(line(message));
                }
            }
        }
    }

    /// What happened so far. `number` tells under which number a step was shown.
    ///
    /// Of `planned`, inputs come before those that need them.
    pub fn record(&self, planned: &[Planned], number: &dyn Fn(VertexId) -> Option<usize>) -> Recorded {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut recorded = Recorded::default();
        // For every planned vertex, where those steps are that stand for it.
        let mut places: HashMap<VertexId, Vec<usize>> = HashMap::with_capacity(planned.len());
        for vertex in planned {
            let mut inputs: Vec<usize> =
                vertex.inputs.iter().filter_map(|input| places.get(input)).flatten().copied().collect();
            inputs.sort_unstable();
            inputs.dedup();
            let seen = state.steps.remove(&vertex.id);
            let began = seen.as_ref().is_some_and(|seen| seen.began.is_some());
            let Some(step) = vertex.step.as_ref().filter(|step| began || step.kind == StepKind::Instruction) else {
                places.insert(vertex.id, inputs);
                continue;
            };
            places.insert(vertex.id, vec![recorded.steps.len()]);
            let step = StepRecord { number: number(vertex.id), inputs, ..step.clone() };
            let step = seen.unwrap_or_default().fill(step, &mut recorded.logs);
            recorded.steps.push((vertex.id, step));
        }
        // Those that remain are no part of the graph.
        let rest: BTreeMap<(Duration, VertexId), Seen> = state
            .steps
            .drain()
            .filter_map(|(id, seen)| Some(((seen.began?, id), seen)))
            .filter(|(_, seen)| seen.is_worth_showing())
            .collect();
        for ((_, id), seen) in rest {
            let step = StepRecord {
                number: number(id),
                name: seen.label.to_string(),
                kind: StepKind::Activity,
                ..StepRecord::default()
            };
            recorded.steps.push((id, seen.fill(step, &mut recorded.logs)));
        }
        recorded
    }
}

impl State {
    fn end(&mut self, step: VertexId, at: Duration, elapsed: Duration, outcome: StepOutcome) {
        let seen = self.steps.entry(step).or_default();
        (seen.ended, seen.elapsed, seen.outcome) = (Some(at), elapsed, outcome);
        let Some(packed) = seen.log.take().and_then(StepLog::pack) else { return };
        if self.packed_bytes + packed.bytes.len() <= PACKED_BYTES_MAX {
            self.packed_bytes += packed.bytes.len();
            seen.packed = Some(packed);
        }
    }
}

impl Seen {
    fn is_worth_showing(&self) -> bool {
        !self.label.internal || self.outcome != StepOutcome::Ran || self.elapsed >= INTERNAL_SHOWN
    }

    fn fill(mut self, step: StepRecord, logs: &mut Vec<u8>) -> StepRecord {
        // That of a step which was broken off.
        let packed = self.packed.take().or_else(|| self.log.take().and_then(StepLog::pack));
        let log = packed.map(|packed| {
            let offset = logs.len() as u64;
            logs.extend_from_slice(&packed.bytes);
            LogRecord {
                offset,
                packed_bytes: packed.bytes.len() as u64,
                written_bytes: packed.written_bytes,
                cut_bytes: packed.cut_bytes,
            }
        });
        StepRecord {
            outcome: self.outcome,
            elapsed_ms: u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            began_us: self.began.map_or(0, microseconds),
            ended_us: self.ended.map_or(0, microseconds),
            explanation: self.explanation,
            trace: self.trace,
            untraced: self.untraced,
            usage: self.usage.map(|usage| UsageRecord {
                processor_us: microseconds(usage.processor),
                memory_peak_bytes: usage.memory_peak_bytes,
                memory_of: usage.memory_of,
                disk_read_bytes: usage.disk_read_bytes,
                disk_written_bytes: usage.disk_written_bytes,
                layer_bytes: usage.written_bytes,
            }),
            transferred_bytes: self.transfers.values().fold(0, |sum, bytes| sum.saturating_add(*bytes)),
            notices: self.notices,
            error: self.error,
            log,
            ..step
        }
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A message on one line, of bounded length.
fn line(message: &str) -> String {
    let mut line: String = message.lines().next().unwrap_or_default().chars().take(LINE_CHARS_MAX).collect();
    if line.len() < message.trim_end().len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use bake_oci::DefinitionDigest;
    use bake_solver::{MemoryOf, StepInfo, Stream};

    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn planned(id: u32, inputs: &[u32], kind: Option<StepKind>) -> Planned {
        let step = kind.map(|kind| StepRecord { name: format!("step {id}"), kind, ..StepRecord::default() });
        Planned { id: VertexId(id), inputs: inputs.iter().map(|id| VertexId(*id)).collect(), step }
    }

    fn activity(recorder: &Recorder, id: u32, internal: bool, began: u64, ended: u64) {
        let step = VertexId(id);
        let label = StepLabel { text: format!("activity {id}"), internal, ..StepLabel::default() };
        let announced = StepInfo { id: step, definition: DefinitionDigest::of(b"a"), inputs: Vec::new(), label };
        recorder.note(at(began), &BuildEvent::Planned { steps: vec![announced] });
        recorder.note(at(began), &BuildEvent::Started { step });
        recorder.note(at(ended), &BuildEvent::Finished { step, outcome: Outcome::Ran, elapsed: at(ended - began) });
    }

    fn log(step: VertexId, text: &str) -> BuildEvent {
        BuildEvent::Log { step, stream: Stream::Stdout, bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn events_become_a_record() {
        let recorder = Recorder::default();
        let (source, merge, run, unreached) = (VertexId(0), VertexId(1), VertexId(2), VertexId(3));
        activity(&recorder, u32::MAX, true, 0, 0);
        activity(&recorder, u32::MAX - 1, true, 0, 3);
        recorder.note(at(5), &BuildEvent::Started { step: source });
        for current in [10, 70, 30] {
            let id = "pull sha256:1".to_owned();
            recorder.note(at(6), &BuildEvent::Transfer { step: source, id, current, total: Some(70) });
        }
        recorder.note(at(9), &BuildEvent::Finished { step: source, outcome: Outcome::Ran, elapsed: at(4) });
        recorder.note(at(10), &BuildEvent::Started { step: run });
        recorder.note(at(11), &log(run, "from an attempt that began again\n"));
        recorder.note(at(12), &BuildEvent::Started { step: run });
        recorder.note(at(13), &log(run, "out\n"));
        let usage = StepUsage {
            processor: at(7),
            memory_peak_bytes: 4096,
            memory_of: MemoryOf::LargestProcess,
            disk_read_bytes: 0,
            disk_written_bytes: 512,
            written_bytes: None,
        };
        recorder.note(at(20), &BuildEvent::Used { step: run, usage });
        let message = "exit code: 1\nsecond line".to_owned();
        recorder.note(at(21), &BuildEvent::Failed { step: run, message, elapsed: at(9) });

        recorder.note(at(21), &BuildEvent::Started { step: VertexId(5) });
        let message = StepError::cancelled().message;
        recorder.note(at(22), &BuildEvent::Failed { step: VertexId(5), message, elapsed: at(1) });

        let graph = [
            planned(source.0, &[], Some(StepKind::Source)),
            planned(merge.0, &[source.0], None),
            planned(run.0, &[merge.0], Some(StepKind::Instruction)),
            planned(unreached.0, &[run.0, merge.0], Some(StepKind::Instruction)),
            planned(4, &[], Some(StepKind::Source)),
            planned(5, &[], Some(StepKind::Instruction)),
        ];
        let found = recorder.record(&graph, &|id| Some(id.0 as usize).filter(|number| *number < 3));
        let steps: Vec<&StepRecord> = found.steps.iter().map(|(_, step)| step).collect();
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(
            names,
            ["step 0", "step 2", "step 3", "step 5", "[internal] activity 4294967294"],
            "sources that were not asked and work that took no time are left out"
        );
        assert_eq!((steps[0].transferred_bytes, steps[0].outcome), (70, StepOutcome::Ran));
        assert_eq!((steps[1].inputs.as_slice(), steps[2].inputs.as_slice()), (&[0][..], &[0, 1][..]));
        assert_eq!((steps[1].began_us, steps[1].ended_us, steps[1].elapsed_ms), (12_000, 21_000, 9));
        assert_eq!((steps[1].outcome, steps[1].error.as_deref()), (StepOutcome::Failed, Some("exit code: 1…")));
        assert_eq!(steps[1].usage.as_ref().unwrap().disk_written_bytes, 512);
        assert_eq!((steps[2].outcome, steps[2].number), (StepOutcome::NotReached, None));
        assert_eq!(
            (steps[3].outcome, steps[3].error.as_deref(), steps[3].ended_us),
            (StepOutcome::NotReached, None, 22_000)
        );
        assert_eq!(steps[4].kind, StepKind::Activity);
        let text = crate::log::unpack(steps[1].log.unwrap(), &found.logs).unwrap();
        assert_eq!(text, b"out\n");
    }

    #[test]
    fn what_steps_say_is_bounded() {
        let recorder = Recorder::default();
        let step = VertexId(0);
        recorder.note(at(0), &BuildEvent::Started { step });
        for _ in 0..100 {
            recorder.note(at(1), &BuildEvent::Notice { step, message: "x".repeat(5000) });
        }
        // Of a step that is broken off, what it wrote so far is there.
        recorder.note(at(1), &log(step, "half"));
        let found = recorder.record(&[planned(0, &[], Some(StepKind::Instruction))], &|_| None);
        let (_, record) = &found.steps[0];
        assert_eq!(record.notices.len(), NOTICES_MAX);
        assert!(record.notices.iter().all(|notice| notice.chars().count() == LINE_CHARS_MAX + 1));
        assert_eq!(crate::log::unpack(record.log.unwrap(), &found.logs).unwrap(), b"half");
        assert_eq!((record.outcome, record.ended_us), (StepOutcome::NotReached, 0));
    }
}
