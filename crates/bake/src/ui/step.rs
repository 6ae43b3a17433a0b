//! What a display remembers of a step.

use std::collections::BTreeMap;
use std::time::Duration;

use bake_solver::{StepInfo, Stream};

use super::lines::LineAssembler;
use super::sanitize::sanitize_line;

/// How long an internal step may take before it is shown.
pub(super) const INTERNAL_SHOWN_AFTER: Duration = Duration::from_secs(1);

/// The most transfers of one step that are remembered. A step that pulls has one per layer, of which an image has at most
/// a few hundred.
const TRANSFERS_MAX: usize = 1024;

/// A step as a display knows it.
#[derive(Debug)]
pub(super) struct StepState {
    /// Its name on one line, without control characters.
    pub(super) label: String,
    /// The stage, and its number within that.
    pub(super) place: (String, Option<(u32, u32)>),
    pub(super) internal: bool,
    pub(super) started: Option<Duration>,
    pub(super) ended: bool,
    pub(super) stdout: LineAssembler,
    pub(super) stderr: LineAssembler,
    pub(super) transfers: BTreeMap<String, TransferState>,
}

/// A transfer as a display knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct TransferState {
    pub(super) current: u64,
    pub(super) total: Option<u64>,
    pub(super) started: Duration,
    /// When it was shown last, and how far it was then.
    pub(super) shown: Option<(Duration, u64)>,
    /// Whether its end was shown.
    pub(super) ended: bool,
    /// When bytes came last.
    moved: Duration,
    /// Where the current measurement of the rate began.
    mark: (Duration, u64),
    /// Bytes per second, once there was time enough to tell.
    rate: Option<u64>,
}

impl StepState {
    pub(super) fn new(step: &StepInfo) -> Self {
        Self {
            label: sanitize_line(&step.label.to_string()),
            place: (sanitize_line(&step.label.stage), step.label.number),
            internal: step.label.internal,
            started: None,
            ended: false,
            stdout: LineAssembler::default(),
            stderr: LineAssembler::default(),
            transfers: BTreeMap::new(),
        }
    }

    /// The time since the step began.
    pub(super) fn age(&self, now: Duration) -> Duration {
        self.started.map_or(Duration::ZERO, |started| now.saturating_sub(started))
    }

    pub(super) fn is_running(&self) -> bool {
        self.started.is_some() && !self.ended
    }

    /// Takes output; returns the lines it completes.
    pub(super) fn output(&mut self, at: Duration, stream: Stream, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let assembler = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        assembler.push(at, bytes, |line| lines.push(line));
        lines
    }

    /// Drops what waits for its end of line.
    pub(super) fn forget_unfinished(&mut self, stream: Stream) {
        *match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        } = LineAssembler::default();
    }

    /// Output that has waited for its end of line for `age`.
    pub(super) fn waiting_output(&mut self, now: Duration, age: Duration) -> Vec<String> {
        [&mut self.stdout, &mut self.stderr].into_iter().filter_map(|lines| lines.take_older(now, age)).collect()
    }

    /// Output that never got its end of line.
    pub(super) fn last_output(&mut self) -> Vec<String> {
        [&mut self.stdout, &mut self.stderr].into_iter().filter_map(LineAssembler::take_rest).collect()
    }

    /// Takes the state of a transfer; returns it with what is remembered of it.
    pub(super) fn transfer(
        &mut self,
        at: Duration,
        id: &str,
        current: u64,
        total: Option<u64>,
    ) -> Option<&mut TransferState> {
        if self.transfers.len() >= TRANSFERS_MAX && !self.transfers.contains_key(id) {
            return None;
        }
        let state = self.transfers.entry(id.to_owned()).or_insert(TransferState {
            current,
            total,
            started: at,
            shown: None,
            ended: false,
            moved: at,
            mark: (at, current),
            rate: None,
        });
        state.advance(at, current);
        state.total = total.or(state.total);
        Some(state)
    }
}

/// How long a measurement of a rate takes.
const RATE_MEASURED_OVER: Duration = Duration::from_secs(1);

/// Before this time a transfer has no rate worth showing.
const RATE_SHOWN_AFTER: Duration = Duration::from_millis(200);

/// A transfer that got no byte for this long stands still.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// How fast a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It is too early to tell.
    Unknown,
    /// Bytes per second, and the time until the end where the total is known.
    Moving { bytes_per_second: u64, left: Option<Duration> },
    /// Nothing has come for this long.
    Stalled(Duration),
}

impl TransferState {
    pub(super) fn is_complete(&self) -> bool {
        self.total.is_some_and(|total| self.current >= total)
    }

    fn advance(&mut self, at: Duration, current: u64) {
        if current > self.current {
            self.moved = at;
        }
        if current < self.mark.1 {
            // It began again.
            self.mark = (at, current);
        }
        self.current = current;
        let measured_over = at.saturating_sub(self.mark.0);
        if measured_over >= RATE_MEASURED_OVER {
            let measured = per_second(current - self.mark.1, measured_over);
            // Half of the old one, so that the time left does not jump.
            self.rate = Some(self.rate.map_or(measured, |rate| rate / 2 + measured / 2));
            self.mark = (at, current);
        }
    }

    pub(super) fn pace(&self, now: Duration) -> Pace {
        let still = now.saturating_sub(self.moved);
        if still >= STALLED_AFTER && !self.is_complete() {
            return Pace::Stalled(still);
        }
        let age = now.saturating_sub(self.started);
        let bytes_per_second = match self.rate {
            Some(rate) => rate,
            None if age >= RATE_SHOWN_AFTER => per_second(self.current, age),
            None => return Pace::Unknown,
        };
        let missing = self.total.map(|total| total.saturating_sub(self.current));
        let left = missing
            .and_then(|missing| missing.checked_mul(1000)?.checked_div(bytes_per_second))
            .map(Duration::from_millis);
        Pace::Moving { bytes_per_second, left }
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    let milliseconds = time.as_millis().max(1);
    u64::try_from(u128::from(bytes) * 1000 / milliseconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_pace_follows_the_last_seconds() {
        let label = bake_graph::StepLabel::default();
        let definition = bake_oci::DefinitionDigest([0; 32]);
        let info = StepInfo { id: bake_graph::VertexId(0), definition, inputs: Vec::new(), label };
        let mut step = StepState::new(&info);
        let pace = |step: &StepState, now| step.transfers.get("x").map(|transfer| transfer.pace(at(now)));
        step.transfer(at(0), "x", 0, Some(10_000));
        assert_eq!(pace(&step, 100), Some(Pace::Unknown));
        step.transfer(at(500), "x", 500, None);
        assert_eq!(pace(&step, 500), Some(Pace::Moving { bytes_per_second: 1000, left: Some(at(9500)) }));
        step.transfer(at(1000), "x", 1000, None);
        step.transfer(at(2000), "x", 4000, None);
        assert_eq!(pace(&step, 2000), Some(Pace::Moving { bytes_per_second: 2000, left: Some(at(3000)) }));
        assert_eq!(pace(&step, 9000), Some(Pace::Stalled(at(7000))));
        // A repeated request begins anew.
        step.transfer(at(9000), "x", 0, None);
        step.transfer(at(10_000), "x", 10_000, None);
        assert!(matches!(pace(&step, 20_000), Some(Pace::Moving { left: Some(Duration::ZERO), .. })));
    }
}
