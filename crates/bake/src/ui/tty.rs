//! Progress on a terminal: a line per running step with its timer, below it what it transfers and the last lines of its
//! output. A step that is done becomes one line above that stays.
//!
//! ```text
//!   CACHED [build 1/2] FROM alpine
//!    12.3s [build 2/2] RUN make
//!          | cc -c main.c
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, SystemTime};

use bake_graph::VertexId;
use bake_solver::{BuildEvent, Outcome};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::colour::Colour;
use super::lines::LineAssembler;
use super::measure::{rate, seconds, size};
use super::sanitize::{sanitize, sanitize_line};
use super::step::{INTERNAL_SHOWN_AFTER, StepState};
use super::why::reason;

/// How often the lines of running steps are drawn again.
pub(super) const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// The most lines of output shown below a running step.
const OUTPUT_LINES_MAX: usize = 6;

/// The most transfers shown below a running step.
const TRANSFER_LINES_MAX: usize = 4;

/// The most running steps that are shown; the rest is counted. More do not help anybody, and each takes a redraw.
const STEPS_MAX: usize = 16;

/// Below this width there is no room for output next to the timer.
const NARROW_COLUMNS: usize = 40;

/// The longest name of a step in a line that stays, in lines of the terminal.
const NAME_LINES_MAX: usize = 2;

/// With less room than this behind a step's name, its reason is left out.
const REASON_COLUMNS_MIN: usize = 20;

/// The size of the terminal, asked for anew at every redraw.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// Draws progress on a terminal.
pub(super) struct Terminal {
    lines: MultiProgress,
    style: ProgressStyle,
    colour: Colour,
    size: Box<dyn Fn() -> Size + Send>,
    /// The time of the clock's zero.
    began: SystemTime,
    /// Ordered by identity, so that steps keep their places.
    steps: BTreeMap<VertexId, Step>,
    /// The lines that are drawn now.
    rows: Vec<ProgressBar>,
}

struct Step {
    state: StepState,
    output: VecDeque<String>,
    waiting: bool,
    /// Why it runs.
    reason: Option<String>,
}

impl Terminal {
    pub(super) fn new(
        target: ProgressDrawTarget,
        colour: Colour,
        size: Box<dyn Fn() -> Size + Send>,
        began: SystemTime,
    ) -> Self {
        // A template that is one literal key; if it were wrong, the default style would show the same text.
        let style = ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let lines = MultiProgress::with_draw_target(target);
        Self { lines, style, colour, size, began, steps: BTreeMap::new(), rows: Vec::new() }
    }

    /// Whether nothing would be seen, because standard error is no terminal.
    pub(super) fn is_hidden(&self) -> bool {
        self.lines.is_hidden()
    }

    pub(super) fn event(&mut self, at: Duration, event: &BuildEvent) -> io::Result<()> {
        match event {
            BuildEvent::Planned { steps } => {
                for step in steps {
                    self.steps.entry(step.id).or_insert_with(|| Step {
                        state: StepState::new(step),
                        output: VecDeque::new(),
                        waiting: false,
                        reason: None,
                    });
                }
            }
            BuildEvent::Started { step } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.state.started = Some(at);
                }
            }
            BuildEvent::Waiting { step } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.waiting = true;
                }
            }
            BuildEvent::Explained { step, explanation } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.waiting = false;
                    step.reason = reason(explanation, self.began + at);
                }
            }
            BuildEvent::Log { step, stream, bytes } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.waiting = false;
                    for line in step.state.output(at, *stream, bytes) {
                        step.keep(line);
                    }
                }
            }
            BuildEvent::Transfer { step, id, current, total } => {
                if let Some(step) = self.steps.get_mut(step) {
                    step.waiting = false;
                    if let Some(transfer) = step.state.transfer(at, id, *current, *total) {
                        transfer.ended = transfer.is_complete();
                    }
                }
            }
            BuildEvent::Notice { step, message } => {
                if let Some(label) = self.steps.get(step).map(|step| step.state.label.clone()) {
                    let text = format!("{} {}: {}", self.status("note", Colour::warning), label, sanitize(message));
                    self.lines.println(text)?;
                }
            }
            BuildEvent::Used { .. } => {}
            BuildEvent::Finished { step, outcome, elapsed } => {
                let Some(step) = self.steps.remove(step) else { return Ok(()) };
                if step.state.internal && *elapsed < INTERNAL_SHOWN_AFTER && step.state.transfers.is_empty() {
                    return Ok(());
                }
                let status = match outcome {
                    Outcome::Cached => self.status("CACHED", Colour::cached),
                    Outcome::Ran => self.status(&seconds(*elapsed), Colour::done),
                };
                self.settle(at, &status, &step.state.label, step.reason.as_deref())?;
            }
            BuildEvent::Failed { step, elapsed, .. } => {
                let Some(step) = self.steps.remove(step) else { return Ok(()) };
                let status = self.status("ERROR", Colour::error);
                self.settle(at, &status, &format!("{} {}", step.state.label, seconds(*elapsed)), None)?;
            }
        }
        Ok(())
    }

    /// Draws the lines of the running steps.
    pub(super) fn tick(&mut self, now: Duration) -> io::Result<()> {
        let lines = self.running_lines(now);
        let excess = self.rows.len().saturating_sub(lines.len());
        self.remove_rows(excess)?;
        for (number, line) in lines.into_iter().enumerate() {
            if let Some(row) = self.rows.get(number) {
                row.set_message(line);
            } else {
                let row = self.lines.add(ProgressBar::no_length().with_style(self.style.clone()));
                row.set_message(line);
                self.rows.push(row);
            }
        }
        Ok(())
    }

    /// Writes text above the running steps.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.lines.println(text.trim_end_matches('\n'))
    }

    pub(super) fn finish(&mut self, lines: &[String]) -> io::Result<()> {
        self.remove_rows(self.rows.len())?;
        for line in lines {
            self.lines.println(line)?;
        }
        Ok(())
    }

    /// Takes away the last rows. The next draw erases them from the screen; if there is none left to draw, they are erased
    /// at once.
    fn remove_rows(&mut self, count: usize) -> io::Result<()> {
        for row in self.rows.drain(self.rows.len() - count..) {
            self.lines.remove(&row);
        }
        if count > 0 && self.rows.is_empty() { self.lines.clear() } else { Ok(()) }
    }

    /// The lines of all running steps, no more than fit.
    pub(super) fn running_lines(&self, now: Duration) -> Vec<String> {
        let size = (self.size)();
        let running: Vec<&Step> = self.steps.values().filter(|step| step.is_shown(now)).collect();
        // One row stays free for the cursor; if steps have to be left out, one says so.
        let room = size.rows.saturating_sub(1).max(1);
        let shown =
            if running.len() > room.min(STEPS_MAX) { room.min(STEPS_MAX).saturating_sub(1) } else { running.len() };
        let below = if size.columns < NARROW_COLUMNS { 0 } else { room.saturating_sub(running.len()) / shown.max(1) };
        let mut lines = Vec::new();
        for step in running.iter().take(shown) {
            lines.push(format!("{} {}", right(&seconds(step.state.age(now)), 8), step.state.label));
            lines.extend(step.details(now).into_iter().take(below).map(|line| {
                let line = fitting(&line, size.columns.saturating_sub(12));
                format!("{:8} {}", "", self.colour.dim(&format!("| {line}")))
            }));
        }
        if shown < running.len() {
            lines.push(format!("{:8} and {} more", "", running.len() - shown));
        }
        lines
    }

    /// Writes the line that stays of a step, which runs no more.
    fn settle(&mut self, at: Duration, status: &str, label: &str, reason: Option<&str>) -> io::Result<()> {
        // Its own line must not be drawn again below the one that stays.
        self.tick(at)?;
        let room = ((self.size)().columns * NAME_LINES_MAX).saturating_sub(10).max(20);
        let name = fitting(label, room);
        let left = room.saturating_sub(name.chars().count() + 3);
        let behind = match reason {
            Some(reason) if left >= REASON_COLUMNS_MIN => self.colour.dim(&format!(" - {}", fitting(reason, left))),
            _ => String::new(),
        };
        self.lines.println(format!("{status} {name}{behind}"))
    }

    /// A word in the column at the left, coloured.
    fn status(&self, word: &str, paint: fn(Colour, &str) -> String) -> String {
        let padding = " ".repeat(8usize.saturating_sub(word.len()));
        format!("{padding}{}", paint(self.colour, word))
    }
}

impl Step {
    fn keep(&mut self, line: String) {
        if line.trim().is_empty() {
            return;
        }
        if self.output.len() >= OUTPUT_LINES_MAX {
            self.output.pop_front();
        }
        self.output.push_back(line);
    }

    fn is_shown(&self, now: Duration) -> bool {
        self.state.is_running()
            && (!self.state.internal || !self.state.transfers.is_empty() || self.state.age(now) >= INTERNAL_SHOWN_AFTER)
    }

    /// What stands below the step's line: that it waits, its transfers, its output.
    fn details(&self, now: Duration) -> Vec<String> {
        let mut lines: Vec<String> = self.reason.iter().map(|reason| format!("why: {reason}")).collect();
        if self.waiting {
            lines.push("waiting for another build that makes the same".to_owned());
        }
        for (id, transfer) in
            self.state.transfers.iter().filter(|(_, transfer)| !transfer.ended).take(TRANSFER_LINES_MAX)
        {
            let mut line = format!("{} {}", sanitize_line(id), size(transfer.current));
            // Writing to a string cannot fail.
            if let Some(total) = transfer.total {
                let _ = write!(line, " / {}", size(total));
            }
            let _ = write!(line, " {}", rate(transfer.current, now.saturating_sub(transfer.started)));
            lines.push(line);
        }
        let unfinished = [&self.state.stdout, &self.state.stderr].into_iter().filter_map(LineAssembler::unfinished);
        let mut output: Vec<String> = self.output.iter().cloned().chain(unfinished).collect();
        let excess = output.len().saturating_sub(OUTPUT_LINES_MAX);
        output.drain(..excess);
        lines.extend(output.into_iter().map(|line| line.replace('\t', "    ")));
        lines
    }
}

fn right(text: &str, width: usize) -> String {
    format!("{text:>width$}")
}

/// As much of `text` as fits into `columns`, with `...` where something is missing. Wide characters count twice.
fn fitting(text: &str, columns: usize) -> String {
    let mut width = 0;
    let mut cut = 0;
    for (offset, character) in text.char_indices() {
        if width + 3 <= columns {
            cut = offset;
        }
        width += if is_wide(character) { 2 } else { 1 };
        if width > columns {
            return if columns < 4 { text[..cut].to_owned() } else { format!("{}...", &text[..cut]) };
        }
    }
    text.to_owned()
}

/// Whether a terminal gives a character two columns: East Asian scripts and pictures, roughly.
fn is_wide(character: char) -> bool {
    matches!(character, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_to_the_columns_there_are() {
        assert_eq!(fitting("short", 10), "short");
        assert_eq!(fitting("exactly10!", 10), "exactly10!");
        assert_eq!(fitting("longer than ten", 10), "longer ...");
        assert_eq!(fitting("漢字漢字漢字", 8), "漢字...");
        assert_eq!(fitting("abc", 1).len(), 0);
    }
}
