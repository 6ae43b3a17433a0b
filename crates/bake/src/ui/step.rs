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
    /// When it was shown last.
    pub(super) shown: Option<Duration>,
    /// Whether its end was shown.
    pub(super) ended: bool,
}

impl StepState {
    pub(super) fn new(step: &StepInfo) -> Self {
        Self {
            label: sanitize_line(&step.label.to_string()),
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
        });
        state.current = current;
        state.total = total.or(state.total);
        Some(state)
    }
}

impl TransferState {
    pub(super) fn is_complete(&self) -> bool {
        self.total.is_some_and(|total| self.current >= total)
    }
}
