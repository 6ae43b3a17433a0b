//! Progress as text, in the form that BuildKit made familiar: every line begins with the number of its step.
//!
//! ```text
//! #1 [build 1/2] FROM alpine
//! #1 CACHED
//!
//! #2 [build 2/2] RUN make
//! #2 why: main.c changed (record from 2 h ago)
//! #2 0.123 output line
//! #2 ...
//!
//! #3 [web 1/1] RUN npm ci
//! #3 DONE 2.1s
//!
//! #2 [build 2/2] RUN make
//! #2 2.345 output line
//! #2 DONE 3.0s
//! ```
//!
//! What steps write side by side is sorted into blocks, by BuildKit's rule: a block goes on until its step is done, unless
//! another step has waited for ten seconds, or writes faster than this one, which had its share. Steps that are done come
//! first. What waits is never cut; a step that has a lot of it gets its block at once.
//!
//! Where a CI system folds its logs, a block is what is folded (`ci`).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use bake_graph::VertexId;
use bake_report::{refuted, reused};
use bake_solver::{BuildEvent, Outcome, StepError, StepUsage};

use super::ci::Groups;
use super::measure::{rate, seconds, size};
use super::numbers::Numbers;
use super::sanitize::{sanitize, sanitize_line};
use super::step::{INTERNAL_SHOWN_AFTER, StepState, TransferState};
use super::why::reason;

/// How often what has come is arranged and written.
pub(super) const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// How long output may wait for its end of line before it is shown without.
const PARTIAL_SHOWN_AFTER: Duration = Duration::from_secs(3);

/// What a step used is shown from this much processor time on; less is of no interest.
const USAGE_SHOWN_FROM: Duration = Duration::from_secs(1);

/// How long a transfer runs before it is shown for the first time; shorter ones only show their end.
const TRANSFER_SHOWN_AFTER: Duration = Duration::from_secs(1);

/// How long after that it is shown again.
const TRANSFER_SHOWN_EVERY: Duration = Duration::from_secs(5);

/// The shortest block of a step that goes on, while others write as much.
const BLOCK_MIN: Duration = Duration::from_secs(5);

/// How long a step may have something to say that is not shown.
const HIDDEN_MAX: Duration = Duration::from_secs(10);

/// The most bytes of a step that wait for its block.
const HIDDEN_BYTES_MAX: usize = 1 << 20;

/// Text is written when there is this much of it, and at every tick.
const PAGE_BYTES_MAX: usize = 64 << 10;

/// Writes progress as text.
pub(super) struct Plain {
    writer: Box<dyn Write + Send>,
    steps: HashMap<VertexId, Step>,
    numbers: Numbers,
    groups: Groups,
    /// The time of the clock's zero.
    began: SystemTime,
    /// The step whose block is open.
    current: Option<VertexId>,
    /// Steps that are done, in the order in which they ended, and have not been written.
    ended: Vec<VertexId>,
    /// Text that is not yet written.
    page: String,
    /// Whether anything was written that the next block stands apart from.
    apart: bool,
}

/// A step, and what of it waits for its block.
struct Step {
    state: StepState,
    /// Its number, once it is one that is shown.
    number: Option<usize>,
    /// Whole lines.
    hidden: String,
    /// How much there was to say since its last block ended, and since when.
    news: u32,
    news_since: Duration,
    /// How many blocks it had.
    blocks: u32,
    end: Option<String>,
}

impl Plain {
    pub(super) fn new(writer: Box<dyn Write + Send>, began: SystemTime, numbers: Numbers, groups: Groups) -> Self {
        Self {
            writer,
            steps: HashMap::new(),
            numbers,
            groups,
            began,
            current: None,
            ended: Vec::new(),
            page: String::new(),
            apart: false,
        }
    }

    pub(super) fn event(&mut self, at: Duration, event: &BuildEvent) -> io::Result<()> {
        match event {
            BuildEvent::Planned { steps } => {
                for step in steps {
                    self.steps.entry(step.id).or_insert_with(|| Step::new(StepState::new(step)));
                }
            }
            BuildEvent::Started { step } => {
                if let Some(state) = self.steps.get_mut(step).map(|step| &mut step.state) {
                    state.started = Some(at);
                    if !state.internal {
                        self.show(*step, at);
                    }
                }
            }
            BuildEvent::Waiting { step, awaited } => {
                if let Some(awaited) = awaited {
                    self.line(*step, at, &sanitize_line(&awaited.to_string()));
                }
            }
            BuildEvent::Traced { step, trace } => {
                if trace.reused {
                    self.line(*step, at, &reused(trace.paths));
                }
            }
            BuildEvent::Refuted { step, path } => {
                self.line(*step, at, &format!("warning: {}", sanitize_line(&refuted(path.as_deref()))));
            }
            BuildEvent::Explained { step, explanation } => {
                if let Some(reason) = reason(explanation, self.began + at) {
                    self.line(*step, at, &reason);
                }
            }
            BuildEvent::Log { step, stream, bytes } => {
                let Some(known) = self.steps.get_mut(step) else { return Ok(()) };
                let lines = known.state.output(at, *stream, bytes);
                self.output(*step, at, &lines);
            }
            BuildEvent::Transfer { step, id, current, total } => {
                let Some(known) = self.steps.get_mut(step) else { return Ok(()) };
                if let Some(transfer) = known.state.transfer(at, id, *current, *total)
                    && let Some(text) = transfer_line(id, transfer, at)
                {
                    self.line(*step, at, &text);
                }
            }
            BuildEvent::Notice { step, message } => {
                for line in message.lines() {
                    self.line(*step, at, &format!("note: {}", sanitize(line)));
                }
            }
            BuildEvent::Untraced { .. } => {}
            BuildEvent::Used { step, usage } => {
                if usage.processor >= USAGE_SHOWN_FROM {
                    self.line(*step, at, &format!("used {}", usage_text(usage)));
                }
            }
            BuildEvent::Finished { step, outcome, elapsed } => self.finished(*step, at, *outcome, *elapsed),
            BuildEvent::Failed { step, message, .. } => self.failed(*step, at, message),
        }
        if self.page.len() >= PAGE_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Shows what has come since, and what has become worth showing by the passing of time.
    pub(super) fn tick(&mut self, now: Duration) -> io::Result<()> {
        for step in self.running() {
            let Some(known) = self.steps.get_mut(&step) else { continue };
            let lines = known.state.waiting_output(now, PARTIAL_SHOWN_AFTER);
            let late = known.number.is_none() && known.state.age(now) >= INTERNAL_SHOWN_AFTER;
            self.output(step, now, &lines);
            if late {
                self.show(step, now);
            }
        }
        self.arrange(now);
        self.flush()
    }

    /// Writes text that belongs to no step.
    pub(super) fn print(&mut self, now: Duration, text: &str) -> io::Result<()> {
        self.write_ended(now);
        self.leave(now);
        self.page.push_str(text.trim_end_matches('\n'));
        self.page.push('\n');
        self.apart = true;
        self.flush()
    }

    pub(super) fn finish(&mut self, now: Duration, lines: &[String]) -> io::Result<()> {
        // Steps that were still running when the build ended may have said why.
        for step in self.running() {
            let Some(known) = self.steps.get_mut(&step) else { continue };
            let rest = known.state.last_output();
            self.output(step, now, &rest);
        }
        self.write_ended(now);
        for step in self.running() {
            if self.steps.get(&step).is_some_and(|known| !known.hidden.is_empty()) {
                self.enter(step, now);
            }
        }
        self.leave_silently(now);
        if !lines.is_empty() && self.apart && self.groups == Groups::None {
            self.page.push('\n');
        }
        for line in lines {
            self.page.push_str(line);
            self.page.push('\n');
        }
        self.flush()?;
        self.writer.flush()
    }

    /// Steps that run, in a fixed order.
    fn running(&self) -> Vec<VertexId> {
        let mut running: Vec<VertexId> =
            self.steps.iter().filter(|(_, step)| step.state.is_running()).map(|(id, _)| *id).collect();
        running.sort_unstable();
        running
    }

    fn finished(&mut self, step: VertexId, at: Duration, outcome: Outcome, elapsed: Duration) {
        let Some(known) = self.steps.get_mut(&step) else { return };
        let rest = known.state.last_output();
        let transfers: Vec<String> = known
            .state
            .transfers
            .iter_mut()
            .filter(|(_, transfer)| !transfer.ended)
            .map(|(id, transfer)| {
                transfer.ended = true;
                transfer_text(id, transfer, at, " done")
            })
            .collect();
        self.output(step, at, &rest);
        for text in transfers {
            self.line(step, at, &text);
        }
        let end = match outcome {
            Outcome::Cached => "CACHED".to_owned(),
            Outcome::Ran => format!("DONE {}", seconds(elapsed)),
        };
        let Some(known) = self.steps.get(&step) else { return };
        if known.number.is_none() && elapsed < INTERNAL_SHOWN_AFTER {
            self.steps.remove(&step);
        } else {
            self.end(step, at, end);
        }
    }

    fn failed(&mut self, step: VertexId, at: Duration, message: &str) {
        let Some(known) = self.steps.get_mut(&step) else { return };
        let rest = known.state.last_output();
        self.output(step, at, &rest);
        let end = if *message == StepError::cancelled().message {
            "CANCELED".to_owned()
        } else {
            format!("ERROR: {}", sanitize(message))
        };
        self.end(step, at, end);
    }

    fn end(&mut self, step: VertexId, at: Duration, text: String) {
        self.show(step, at);
        if let Some(known) = self.steps.get_mut(&step) {
            known.state.ended = true;
            known.end = Some(text);
            self.ended.push(step);
        }
    }

    fn output(&mut self, step: VertexId, at: Duration, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let Some(number) = self.show(step, at) else { return };
        let Some(known) = self.steps.get_mut(&step) else { return };
        let age = known.state.age(at).as_secs_f64();
        // As many digits as in BuildKit: five characters up to an hour.
        let precision = if age < 10.0 {
            3
        } else if age < 100.0 {
            2
        } else {
            1
        };
        let prefix = format!("#{number} {age:.precision$} ");
        let text = if self.current == Some(step) { &mut self.page } else { &mut known.hidden };
        for line in lines {
            text.push_str(&prefix);
            text.push_str(line);
            text.push('\n');
        }
        self.make_room(step, at);
    }

    /// Says something about a step.
    fn line(&mut self, step: VertexId, at: Duration, text: &str) {
        let Some(number) = self.show(step, at) else { return };
        let Some(known) = self.steps.get_mut(&step) else { return };
        let place = if self.current == Some(step) { &mut self.page } else { &mut known.hidden };
        push_line(place, number, text);
        self.make_room(step, at);
    }

    /// Notes that there is something to say about a step, which has a number from now on.
    fn show(&mut self, step: VertexId, at: Duration) -> Option<usize> {
        let known = self.steps.get_mut(&step)?;
        if known.news == 0 {
            known.news_since = at;
        }
        known.news = known.news.saturating_add(1);
        Some(*known.number.get_or_insert_with(|| self.numbers.of(step)))
    }

    /// Gives a step its block at once if it has more to say than should wait.
    fn make_room(&mut self, step: VertexId, now: Duration) {
        if self.steps.get(&step).is_some_and(|known| known.hidden.len() >= HIDDEN_BYTES_MAX) {
            self.enter(step, now);
        }
    }

    /// Decides whose block it is, and writes what may be written.
    fn arrange(&mut self, now: Duration) {
        self.write_ended(now);
        let waiting: Vec<(VertexId, Duration, f64)> = self
            .steps
            .iter()
            .filter(|(id, step)| step.news > 0 || self.current == Some(**id))
            .filter(|(_, step)| step.number.is_some())
            .map(|(id, step)| {
                let time = now.saturating_sub(step.news_since);
                (*id, time, f64::from(step.news) / time.as_secs_f64().max(0.001))
            })
            .collect();
        let others = || waiting.iter().filter(|(id, ..)| self.current != Some(*id));
        let fastest = || {
            let order = |a: &&(VertexId, Duration, f64), b: &&(VertexId, Duration, f64)| {
                a.2.total_cmp(&b.2).then_with(|| b.0.cmp(&a.0))
            };
            waiting.iter().max_by(order).map(|(id, ..)| *id)
        };
        let Some(current) = self.current else {
            if let Some(step) = fastest() {
                self.enter(step, now);
            }
            return;
        };
        let longest = others().filter(|(_, time, _)| *time > HIDDEN_MAX).max_by_key(|(_, time, _)| *time);
        if let Some((step, ..)) = longest {
            self.enter(*step, now);
            return;
        }
        let sum: f64 = waiting.iter().map(|(.., speed)| speed).sum();
        let Some((_, time, speed)) = waiting.iter().find(|(id, ..)| *id == current) else { return };
        let others_share = 1.0 - speed / sum;
        if others_share > 0.0
            && BLOCK_MIN.as_secs_f64() / others_share < time.as_secs_f64()
            && let Some(step) = fastest()
        {
            self.enter(step, now);
        }
    }

    /// Writes the blocks of steps that are done, the one whose block is open first.
    fn write_ended(&mut self, now: Duration) {
        let mut ended = std::mem::take(&mut self.ended);
        ended.sort_by_key(|step| self.current != Some(*step));
        for step in ended {
            let is_silent = self.steps.get(&step).is_some_and(|known| known.hidden.is_empty());
            if is_silent && self.current != Some(step) {
                // Nothing to fold.
                self.leave(now);
                self.heading(step);
            } else {
                self.enter(step, now);
                self.close_group(step, now);
            }
            self.current = None;
            let Some(known) = self.steps.remove(&step) else { continue };
            let (Some(number), Some(end)) = (known.number, known.end) else { continue };
            for line in end.lines() {
                push_line(&mut self.page, number, line);
            }
            self.apart = true;
        }
    }

    /// Opens the block of a step, unless it is open, and writes what has waited for it.
    fn enter(&mut self, step: VertexId, now: Duration) {
        if self.current != Some(step) {
            self.leave(now);
            self.open_group(step, now);
            self.current = Some(step);
        }
        if let Some(known) = self.steps.get_mut(&step) {
            self.page.push_str(&std::mem::take(&mut known.hidden));
        }
    }

    /// Closes the open block of a step that goes on.
    fn leave(&mut self, now: Duration) {
        let Some(number) = self.current.and_then(|step| self.steps.get(&step)).and_then(|step| step.number) else {
            self.current = None;
            return;
        };
        self.leave_silently(now);
        push_line(&mut self.page, number, "...");
    }

    fn leave_silently(&mut self, now: Duration) {
        let Some(step) = self.current.take() else { return };
        self.close_group(step, now);
        if let Some(known) = self.steps.get_mut(&step) {
            known.news = 0;
        }
        self.apart = true;
    }

    fn heading(&mut self, step: VertexId) {
        if self.apart && self.groups == Groups::None {
            self.page.push('\n');
        }
        self.apart = false;
        if let Some(known) = self.steps.get(&step)
            && let Some(number) = known.number
        {
            push_line(&mut self.page, number, &known.state.label);
        }
    }

    fn open_group(&mut self, step: VertexId, now: Duration) {
        let Some(known) = self.steps.get_mut(&step) else { return };
        known.blocks += 1;
        if self.groups == Groups::None {
            self.heading(step);
            return;
        }
        let Some(number) = known.number else { return };
        let again = if known.blocks > 1 { " (continued)" } else { "" };
        let title = format!("#{number} {}{again}", known.state.label);
        let start = self.groups.start(&group_name(number, known.blocks), &title, self.began + now);
        self.page.push_str(&start);
    }

    fn close_group(&mut self, step: VertexId, now: Duration) {
        let Some(known) = self.steps.get(&step) else { return };
        let Some(number) = known.number else { return };
        self.page.push_str(&self.groups.end(&group_name(number, known.blocks), self.began + now));
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.page.is_empty() {
            return Ok(());
        }
        let written = self.writer.write_all(self.page.as_bytes());
        self.page.clear();
        written
    }
}

impl Step {
    fn new(state: StepState) -> Self {
        let (hidden, news_since) = (String::new(), Duration::ZERO);
        Self { state, number: None, hidden, news: 0, news_since, blocks: 0, end: None }
    }
}

fn group_name(number: usize, block: u32) -> String {
    format!("bake_step_{number}_{block}")
}

fn push_line(place: &mut String, number: usize, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(place, "#{number} {text}");
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
