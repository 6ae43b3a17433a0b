//! Progress as text, in the form that BuildKit made familiar: every line begins with the number of its step.
//!
//! ```text
//! #1 [build 1/2] FROM alpine
//! #1 CACHED
//!
//! #2 [build 2/2] RUN make
//! #2 why: main.c changed (record from 2 h ago)
//! #2 0.123 output line
//! #2 DONE 0.3s
//! ```
//!
//! Steps are numbered in the order in which work on them began. A step's name is shown again when many lines of other
//! steps stand since its last one.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use bake_graph::VertexId;
use bake_solver::{BuildEvent, Outcome, StepUsage};

use super::measure::{rate, seconds, size};
use super::numbers::Numbers;
use super::sanitize::{sanitize, sanitize_line};
use super::step::{INTERNAL_SHOWN_AFTER, StepState, TransferState};
use super::why::reason;

/// How often the display looks for something that only time brings about.
pub(super) const TICK_INTERVAL: Duration = Duration::from_millis(250);

/// How long output may wait for its end of line before it is shown without.
const PARTIAL_SHOWN_AFTER: Duration = Duration::from_secs(3);

/// What a step used is shown from this much processor time on; less is of no interest.
const USAGE_SHOWN_FROM: Duration = Duration::from_secs(1);

/// How long a transfer runs before it is shown for the first time; shorter ones only show their end.
const TRANSFER_SHOWN_AFTER: Duration = Duration::from_secs(1);

/// How long after that it is shown again.
const TRANSFER_SHOWN_EVERY: Duration = Duration::from_secs(5);

/// After this many lines of other steps, a step's name is worth repeating.
const NAME_REPEATED_AFTER_LINES: usize = 40;

/// Writes progress as text.
pub(super) struct Plain {
    writer: Box<dyn Write + Send>,
    steps: HashMap<VertexId, (StepState, Shown)>,
    numbers: Numbers,
    /// The time of the clock's zero.
    began: SystemTime,
    page: Page,
}

/// What was shown of a step.
#[derive(Debug, Clone, Copy, Default)]
struct Shown {
    number: Option<usize>,
    /// The number of lines written when its last one was.
    last_line: usize,
}

/// Text that is not yet written.
#[derive(Debug, Default)]
struct Page {
    text: String,
    /// How many lines there were so far.
    lines: usize,
    /// Whether the next name of a step is to stand apart.
    apart: bool,
}

impl Page {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(text);
        self.text.push('\n');
        self.lines += 1;
    }
}

impl Plain {
    pub(super) fn new(writer: Box<dyn Write + Send>, began: SystemTime, numbers: Numbers) -> Self {
        Self { writer, steps: HashMap::new(), numbers, began, page: Page::default() }
    }

    pub(super) fn event(&mut self, at: Duration, event: &BuildEvent) -> io::Result<()> {
        match event {
            BuildEvent::Planned { steps } => {
                for step in steps {
                    self.steps.entry(step.id).or_insert_with(|| (StepState::new(step), Shown::default()));
                }
            }
            BuildEvent::Started { step } => {
                if let Some((state, _)) = self.steps.get_mut(step) {
                    state.started = Some(at);
                    if !state.internal {
                        self.number(*step);
                    }
                }
            }
            BuildEvent::Waiting { step } => {
                self.write(*step, "waiting for another build that makes the same");
            }
            BuildEvent::Explained { step, explanation } => {
                if let Some(reason) = reason(explanation, self.began + at) {
                    self.write(*step, &format!("why: {reason}"));
                }
            }
            BuildEvent::Log { step, stream, bytes } => {
                let Some((state, _)) = self.steps.get_mut(step) else { return Ok(()) };
                let lines = state.output(at, *stream, bytes);
                self.output(*step, at, &lines);
            }
            BuildEvent::Transfer { step, id, current, total } => {
                let Some((state, _)) = self.steps.get_mut(step) else { return Ok(()) };
                if let Some(transfer) = state.transfer(at, id, *current, *total)
                    && let Some(text) = transfer_line(id, transfer, at)
                {
                    self.write(*step, &text);
                }
            }
            BuildEvent::Notice { step, message } => {
                for line in message.lines() {
                    self.write(*step, &format!("note: {}", sanitize(line)));
                }
            }
            BuildEvent::Used { step, usage } => {
                if usage.processor >= USAGE_SHOWN_FROM {
                    self.write(*step, &format!("used {}", usage_text(usage)));
                }
            }
            BuildEvent::Finished { step, outcome, elapsed } => self.finished(*step, at, *outcome, *elapsed),
            BuildEvent::Failed { step, message, .. } => self.failed(*step, at, message),
        }
        self.flush()
    }

    /// Shows what has become worth showing by the passing of time.
    pub(super) fn tick(&mut self, now: Duration) -> io::Result<()> {
        let mut running: Vec<VertexId> =
            self.steps.iter().filter(|(_, (state, _))| state.is_running()).map(|(id, _)| *id).collect();
        running.sort_unstable();
        for step in running {
            let Some((state, shown)) = self.steps.get_mut(&step) else { continue };
            let lines = state.waiting_output(now, PARTIAL_SHOWN_AFTER);
            let late = shown.number.is_none() && state.age(now) >= INTERNAL_SHOWN_AFTER;
            self.output(step, now, &lines);
            if late {
                self.number(step);
            }
        }
        self.flush()
    }

    /// Writes text that belongs to no step.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        for line in text.lines() {
            self.page.line(format_args!("{line}"));
        }
        self.page.apart = true;
        self.flush()
    }

    pub(super) fn finish(&mut self, now: Duration, lines: &[String]) -> io::Result<()> {
        // Steps that were still running when the build ended may have said why.
        let mut running: Vec<VertexId> =
            self.steps.iter().filter(|(_, (state, _))| state.is_running()).map(|(id, _)| *id).collect();
        running.sort_unstable();
        for step in running {
            let Some((state, _)) = self.steps.get_mut(&step) else { continue };
            let rest = state.last_output();
            self.output(step, now, &rest);
        }
        if !lines.is_empty() && self.page.lines > 0 {
            self.page.line(format_args!(""));
        }
        for line in lines {
            self.page.line(format_args!("{line}"));
        }
        self.flush()?;
        self.writer.flush()
    }

    fn finished(&mut self, step: VertexId, at: Duration, outcome: Outcome, elapsed: Duration) {
        let Some((state, shown)) = self.steps.get_mut(&step) else { return };
        let rest = state.last_output();
        let transfers: Vec<String> = state
            .transfers
            .iter_mut()
            .filter(|(_, transfer)| !transfer.ended)
            .map(|(id, transfer)| {
                transfer.ended = true;
                transfer_text(id, transfer, at, " done")
            })
            .collect();
        state.ended = true;
        let hidden = state.internal && shown.number.is_none();
        self.output(step, at, &rest);
        for text in transfers {
            self.write(step, &text);
        }
        if hidden && elapsed < INTERNAL_SHOWN_AFTER && self.shown_number(step).is_none() {
            self.steps.remove(&step);
            return;
        }
        match outcome {
            Outcome::Cached => self.write(step, "CACHED"),
            Outcome::Ran => self.write(step, &format!("DONE {}", seconds(elapsed))),
        }
        self.page.apart = true;
        self.steps.remove(&step);
    }

    fn failed(&mut self, step: VertexId, at: Duration, message: &str) {
        let Some((state, _)) = self.steps.get_mut(&step) else { return };
        let rest = state.last_output();
        state.ended = true;
        self.output(step, at, &rest);
        let mut lines = message.lines();
        self.write(step, &format!("ERROR: {}", sanitize(lines.next().unwrap_or_default())));
        for line in lines {
            self.write(step, &sanitize(line));
        }
        self.page.apart = true;
        self.steps.remove(&step);
    }

    fn output(&mut self, step: VertexId, at: Duration, lines: &[String]) {
        let Some(age) = self.steps.get(&step).map(|(state, _)| state.age(at)) else { return };
        for line in lines {
            self.write(step, &format!("{:.3} {line}", age.as_secs_f64()));
        }
    }

    fn shown_number(&self, step: VertexId) -> Option<usize> {
        self.steps.get(&step).and_then(|(_, shown)| shown.number)
    }

    /// The number of a step. Shows the step's name if that was not done yet, or long ago.
    fn number(&mut self, step: VertexId) -> Option<usize> {
        let (state, shown) = self.steps.get_mut(&step)?;
        let number = *shown.number.get_or_insert_with(|| {
            shown.last_line = 0;
            self.numbers.of(step)
        });
        if shown.last_line == 0 || self.page.lines - shown.last_line > NAME_REPEATED_AFTER_LINES {
            if self.page.apart && self.page.lines > 0 {
                self.page.line(format_args!(""));
            }
            self.page.apart = false;
            self.page.line(format_args!("#{number} {}", state.label));
            shown.last_line = self.page.lines;
        }
        Some(number)
    }

    /// Writes a line of a step.
    fn write(&mut self, step: VertexId, text: &str) {
        let Some(number) = self.number(step) else { return };
        self.page.line(format_args!("#{number} {text}"));
        if let Some((_, shown)) = self.steps.get_mut(&step) {
            shown.last_line = self.page.lines;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.page.text.is_empty() {
            return Ok(());
        }
        let written = self.writer.write_all(self.page.text.as_bytes());
        self.page.text.clear();
        written
    }
}

/// The line for a transfer, if it is time for one.
fn transfer_line(id: &str, transfer: &mut TransferState, now: Duration) -> Option<String> {
    if transfer.ended {
        return None;
    }
    if transfer.is_complete() {
        transfer.ended = true;
        return Some(transfer_text(id, transfer, now, " done"));
    }
    let due = match transfer.shown {
        None => now.saturating_sub(transfer.started) >= TRANSFER_SHOWN_AFTER,
        Some((shown, _)) => now.saturating_sub(shown) >= TRANSFER_SHOWN_EVERY,
    };
    due.then(|| {
        transfer.shown = Some((now, transfer.current));
        transfer_text(id, transfer, now, "")
    })
}

fn transfer_text(id: &str, transfer: &TransferState, now: Duration, end: &str) -> String {
    let time = now.saturating_sub(transfer.started);
    let mut text = format!("{} {}", sanitize_line(id), size(transfer.current));
    // Writing to a string cannot fail.
    if let Some(total) = transfer.total {
        let _ = write!(text, " / {}", size(total));
    }
    let rate = rate(transfer.current, time);
    if !rate.is_empty() {
        let _ = write!(text, " {rate}");
    }
    let _ = write!(text, " {}{end}", seconds(time));
    text
}

/// What a step used, in words.
fn usage_text(usage: &StepUsage) -> String {
    let mut text =
        format!("{} of processor time, {} of memory", seconds(usage.processor), size(usage.memory_peak_bytes));
    if let Some(bytes) = usage.written_bytes {
        let _ = write!(text, ", {} written", size(bytes));
    }
    text
}
