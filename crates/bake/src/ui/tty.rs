//! Progress on a terminal: a line per running step with its timer, below it what it transfers and the last lines of its
//! output, at the bottom how far the build is. A step that is done becomes one line above, which stays.
//!
//! ```text
//!   CACHED [build 1/3] FROM alpine
//!    12.3s [build 2/3] RUN make
//!          | cc -c main.c
//!     2.0s [web 1/2] FROM node
//!          pull sha256:1234 [=====>         ] 12.3MB / 40.0MB  5.12MB/s  5s left
//! building 14.3s: 3 of 9 steps done (2 cached), 2 running
//! ```
//!
//! Events only change what is known; [`Terminal::tick`] draws it. What the drawn rows say is in `rows`.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use bake_graph::VertexId;
use bake_report::{refuted, reused};
use bake_solver::{BuildEvent, Outcome, StepError, Stream};

use super::colour::Colour;
use super::folding::{CachedStep, cached_lines};
use super::measure::timer;
use super::rows::{STATUS_COLUMNS, Totals, live_rows};
use super::sanitize::{sanitize, sanitize_line};
use super::screen::{Screen, Size};
use super::step::{INTERNAL_SHOWN_AFTER, StepState};
use super::why::reason;
use super::width::{columns, fit, fit_middle};

/// How often the lines of running steps are drawn again.
pub(super) const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// The lines of output shown below a running step unless `BUILDKIT_TTY_LOG_LINES` says otherwise; BuildKit has as many.
pub(super) const LOG_LINES: usize = 6;

/// With less room than this behind a step's name, its reason is left out.
const REASON_COLUMNS_MIN: usize = 20;

/// How long cached steps may wait for others to share a line with.
const CACHED_SHOWN_AFTER: Duration = Duration::from_millis(500);

/// Draws progress on a terminal.
pub(super) struct Terminal {
    screen: Screen,
    colour: Colour,
    /// The most lines of output below a step.
    log_lines: usize,
    /// The time of the clock's zero.
    began: SystemTime,
    steps: BTreeMap<VertexId, Step>,
    totals: Totals,
    /// Cached steps that are not written yet, and when the last one came.
    cached: Vec<CachedStep>,
    cached_at: Duration,
    /// Lines that the next frame writes to stay.
    staying: Vec<String>,
}

/// A step that is not done.
pub(super) struct Step {
    pub(super) state: StepState,
    pub(super) output: VecDeque<String>,
    /// What it waits for, in words.
    pub(super) waiting: Option<String>,
    /// Why it runs.
    pub(super) reason: Option<String>,
}

impl Terminal {
    pub(super) fn new(
        writer: Box<dyn Write + Send>,
        size: Box<dyn Fn() -> Size + Send>,
        colour: Colour,
        log_lines: usize,
        began: SystemTime,
    ) -> Self {
        Self {
            screen: Screen::new(writer, size),
            colour,
            log_lines,
            began,
            steps: BTreeMap::new(),
            totals: Totals::default(),
            cached: Vec::new(),
            cached_at: Duration::ZERO,
            staying: Vec::new(),
        }
    }

    pub(super) fn event(&mut self, at: Duration, event: &BuildEvent) {
        match event {
            BuildEvent::Planned { steps } => {
                for step in steps {
                    self.totals.steps += usize::from(step.label.number.is_some());
                    self.steps.entry(step.id).or_insert_with(|| Step {
                        state: StepState::new(step),
                        output: VecDeque::new(),
                        waiting: None,
                        reason: None,
                    });
                }
            }
            BuildEvent::Started { step } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.state.started = Some(at);
                }
            }
            BuildEvent::Waiting { step, awaited } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.waiting = awaited.as_ref().map(|awaited| sanitize_line(&awaited.to_string()));
                }
            }
            BuildEvent::Traced { step, trace } => {
                if let Some(step) = self.steps.get_mut(step).filter(|_| trace.reused) {
                    step.reason = Some(reused(trace.paths));
                }
            }
            BuildEvent::Refuted { step, path } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.reason = None;
                    let label = step.state.label.clone();
                    let text = sanitize_line(&refuted(path.as_deref()));
                    self.stay(&format!("{} {label}: {text}", self.status("warning", Colour::warning)));
                }
            }
            BuildEvent::Explained { step, explanation } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.waiting = None;
                    step.reason = reason(explanation, self.began + at);
                }
            }
            BuildEvent::Log { step, stream, bytes } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.waiting = None;
                    step.write(at, *stream, bytes, self.log_lines);
                }
            }
            BuildEvent::Transfer { step, id, current, total } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.waiting = None;
                    if let Some(transfer) = step.state.transfer(at, id, *current, *total) {
                        transfer.ended = transfer.is_complete();
                    }
                }
            }
            BuildEvent::Notice { step, message } => {
                if let Some(label) = self.steps.get(step).map(|step| step.state.label.clone()) {
                    let text = format!("{} {}: {}", self.status("note", Colour::warning), label, sanitize(message));
                    self.stay(&text);
                }
            }
            BuildEvent::Used { .. } | BuildEvent::Untraced { .. } => {}
            BuildEvent::Finished { step, outcome, elapsed } => self.finished(*step, at, *outcome, *elapsed),
            BuildEvent::Failed { step, elapsed, message } => {
                let Some(step) = self.steps.remove(step) else { return };
                let (word, paint): (_, fn(Colour, &str) -> String) = if *message == StepError::cancelled().message {
                    ("CANCELED", Colour::cancelled)
                } else {
                    ("ERROR", Colour::error)
                };
                let name = format!("{} {}", step.state.label, timer(*elapsed));
                self.settle(&self.status(word, paint), &name, None);
            }
        }
    }

    fn finished(&mut self, step: VertexId, at: Duration, outcome: Outcome, elapsed: Duration) {
        let Some(step) = self.steps.remove(&step) else { return };
        let is_numbered = step.state.place.1.is_some();
        self.totals.done += usize::from(is_numbered);
        if step.state.internal && elapsed < INTERNAL_SHOWN_AFTER && step.state.transfers.is_empty() {
            return;
        }
        match outcome {
            Outcome::Cached => {
                self.totals.cached += usize::from(is_numbered);
                if let Some(reason) = &step.reason {
                    // Why it did not run is worth a line of its own.
                    self.settle(&self.status("CACHED", Colour::cached), &step.state.label, Some(reason));
                    return;
                }
                let (stage, number) = step.state.place;
                self.cached.push(CachedStep { stage, number, label: step.state.label });
                self.cached_at = at;
            }
            Outcome::Ran => {
                let status = self.status(&timer(elapsed), Colour::done);
                self.settle(&status, &step.state.label, step.reason.as_deref());
            }
        }
    }

    /// Draws what is known now.
    pub(super) fn tick(&mut self, now: Duration) -> io::Result<()> {
        if now.saturating_sub(self.cached_at) >= CACHED_SHOWN_AFTER {
            self.write_cached();
        }
        let rows = live_rows(&self.steps, &self.totals, self.screen.size(), now, self.log_lines, self.colour);
        self.screen.draw(&std::mem::take(&mut self.staying), rows)
    }

    /// Writes text above the running steps.
    pub(super) fn print(&mut self, text: &str) {
        self.write_cached();
        self.stay(text);
    }

    pub(super) fn finish(&mut self, lines: &[String]) -> io::Result<()> {
        self.write_cached();
        self.staying.extend(lines.iter().cloned());
        self.screen.draw(&std::mem::take(&mut self.staying), Vec::new())
    }

    /// Takes the line that stays of a step, which runs no more.
    fn settle(&mut self, status: &str, label: &str, reason: Option<&str>) {
        self.write_cached();
        let room = self.screen.size().columns.saturating_sub(STATUS_COLUMNS + 2).max(20);
        // How old the record is comes last, and is left out first.
        let reason = reason.map(|reason| reason.strip_prefix("why: ").unwrap_or(reason));
        let reason = reason.map(|reason| match reason.split_once(" (record from ") {
            Some((short, _)) if columns(label) + 3 + columns(reason) > room => short,
            _ => reason,
        });
        // A long name leaves half of the line to the reason.
        let wanted = reason.map_or(0, |reason| columns(reason) + 3).min(room / 2);
        let name = fit_middle(label, room - wanted);
        let left = room.saturating_sub(columns(&name) + 3);
        let behind = match reason {
            Some(reason) if left >= REASON_COLUMNS_MIN => self.colour.dim(&format!(" - {}", fit(reason, left))),
            _ => String::new(),
        };
        self.staying.push(format!("{status} {name}{behind}"));
    }

    fn write_cached(&mut self) {
        let steps = std::mem::take(&mut self.cached);
        self.staying.extend(cached_lines(&steps, self.screen.size().columns, self.colour));
    }

    fn stay(&mut self, text: &str) {
        self.staying.extend(text.trim_end_matches('\n').split('\n').map(str::to_owned));
    }

    /// A word in the column at the left, coloured.
    fn status(&self, word: &str, paint: fn(Colour, &str) -> String) -> String {
        let padding = " ".repeat(STATUS_COLUMNS.saturating_sub(word.len()));
        format!("{padding}{}", paint(self.colour, word))
    }
}

impl Step {
    /// Takes output, of which only the last lines can ever be seen.
    fn write(&mut self, at: Duration, stream: Stream, bytes: &[u8], lines_max: usize) {
        let newlines = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
        let bytes = match newlines.map(|(position, _)| position).nth(lines_max + 1) {
            Some(position) => {
                self.state.forget_unfinished(stream);
                bytes.get(position + 1..).unwrap_or_default()
            }
            None => bytes,
        };
        for line in self.state.output(at, stream, bytes) {
            if line.trim().is_empty() {
                continue;
            }
            if self.output.len() >= lines_max {
                self.output.pop_front();
            }
            self.output.push_back(line);
        }
    }

    pub(super) fn is_shown(&self, now: Duration) -> bool {
        self.state.is_running()
            && (!self.state.internal || !self.state.transfers.is_empty() || self.state.age(now) >= INTERNAL_SHOWN_AFTER)
    }
}
