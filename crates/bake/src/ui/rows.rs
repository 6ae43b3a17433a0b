//! What the drawn part of a terminal says: running steps, what they transfer, the last lines of their output.
//!
//! There is never more than fits. Each running step gets its line first; what room is left goes to transfers and output, a line
//! to each step in turn, so that one that writes a lot does not hide the others.

use std::collections::BTreeMap;
use std::time::Duration;

use bake_graph::VertexId;

use super::colour::Colour;
use super::lines::LineAssembler;
use super::measure::{size, timer};
use super::sanitize::sanitize_line;
use super::screen::Size;
use super::step::{Pace, TransferState};
use super::tty::Step;
use super::width::{columns, fit, fit_middle};

/// The width of the column with timers and words such as `CACHED`.
pub(super) const STATUS_COLUMNS: usize = 8;

/// The most transfers shown below a running step; the rest is counted.
const TRANSFERS_MAX: usize = 4;

/// The most running steps that are shown; the rest is counted. More do not help anybody.
const STEPS_MAX: usize = 16;

/// Below this width there is no room for output next to the timer.
const NARROW_COLUMNS: usize = 40;

/// The narrowest and the widest name of a transfer: a verb and twelve digits of a digest.
const NAME_COLUMNS: std::ops::RangeInclusive<usize> = 12..=18;

/// The widths between which a bar is worth its room.
const BAR_COLUMNS: std::ops::RangeInclusive<usize> = 10..=30;

/// How far the build is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    /// Numbered steps, those that are not begun among them.
    pub(super) steps: usize,
    pub(super) done: usize,
    pub(super) cached: usize,
}

/// The rows for all steps that run, none wider than the terminal and together less than its height.
pub(super) fn live_rows(
    steps: &BTreeMap<VertexId, Step>,
    totals: &Totals,
    screen: Size,
    now: Duration,
    log_lines: usize,
    colour: Colour,
) -> Vec<String> {
    // In the order of the Dockerfile, so that a step keeps its place.
    let running: Vec<&Step> = steps.values().filter(|step| step.is_shown(now)).collect();
    if running.is_empty() {
        return Vec::new();
    }
    // The last column stays free: some terminals go to the next line as soon as it is written.
    let width = screen.columns.saturating_sub(1);
    // One row is the cursor's, and where there is room, one shows the last line that stays.
    let room = screen.rows.saturating_sub(if screen.rows > 4 { 2 } else { 1 }).max(1);
    let status = (totals.steps > 1 && room > 1).then(|| fit(&status(totals, running.len(), now), width));
    let room = room - usize::from(status.is_some());

    let limit = room.min(STEPS_MAX);
    // If steps have to be left out, one row says so.
    let shown = if running.len() > limit { limit.saturating_sub(1) } else { running.len() };
    let mut free = room - shown - usize::from(shown < running.len());
    let mut details: Vec<Vec<String>> = running
        .iter()
        .take(shown)
        .map(|step| if width < NARROW_COLUMNS { Vec::new() } else { step.details(now, width, log_lines, colour) })
        .collect();
    let mut allowed = vec![0; shown];
    while free > 0 && allowed.iter().zip(&details).any(|(allowed, details)| *allowed < details.len()) {
        for (allowed, details) in allowed.iter_mut().zip(&details) {
            if free > 0 && *allowed < details.len() {
                *allowed += 1;
                free -= 1;
            }
        }
    }
    let mut rows = Vec::new();
    for ((step, details), allowed) in running.iter().zip(&mut details).zip(allowed) {
        rows.push(step.row(now, width));
        // What is last is newest; but what it waits for or transfers comes first.
        let drop = details.len() - allowed;
        let kept = step.fixed_details(details.len()).min(allowed);
        details.drain(kept..kept + drop);
        rows.append(details);
    }
    if shown < running.len() {
        rows.push(fit(&format!("{:STATUS_COLUMNS$} and {} more", "", running.len() - shown), width));
    }
    rows.extend(status.map(|status| colour.bold(&status)));
    rows
}

fn status(totals: &Totals, running: usize, now: Duration) -> String {
    let cached = if totals.cached > 0 { format!(" ({} cached)", totals.cached) } else { String::new() };
    format!("building {}: {} of {} steps done{cached}, {running} running", timer(now), totals.done, totals.steps)
}

impl Step {
    fn row(&self, now: Duration, width: usize) -> String {
        let name = fit_middle(&self.state.label, width.saturating_sub(STATUS_COLUMNS + 1));
        fit(&format!("{:>STATUS_COLUMNS$} {name}", timer(self.state.age(now))), width)
    }

    /// How many of its `count` details are of more interest than output.
    fn fixed_details(&self, count: usize) -> usize {
        let open = self.open_transfers().count();
        let fixed =
            usize::from(self.reason.is_some()) + usize::from(self.waiting.is_some()) + open.min(TRANSFERS_MAX + 1);
        fixed.min(count)
    }

    fn open_transfers(&self) -> impl Iterator<Item = (&String, &TransferState)> {
        self.state.transfers.iter().filter(|(_, transfer)| !transfer.ended)
    }

    /// What stands below the step's line: why it runs, that it waits, its transfers, its output.
    fn details(&self, now: Duration, width: usize, log_lines: usize, colour: Colour) -> Vec<String> {
        let room = width.saturating_sub(STATUS_COLUMNS + 1);
        let line = |text: &str| format!("{:STATUS_COLUMNS$} {text}", "");
        let mut lines = Vec::new();
        if let Some(reason) = &self.reason {
            lines.push(line(&colour.dim(&fit_middle(reason, room))));
        }
        if let Some(waiting) = &self.waiting {
            lines.push(line(&colour.warning(&fit(waiting, room))));
        }
        lines.extend(self.transfer_lines(now, room).iter().map(|text| line(text)));
        let unfinished = [&self.state.stdout, &self.state.stderr].into_iter().filter_map(LineAssembler::unfinished);
        let mut output: Vec<String> = self.output.iter().cloned().chain(unfinished).collect();
        let excess = output.len().saturating_sub(log_lines);
        output.drain(..excess);
        let output = output.into_iter().map(|text| format!("| {}", text.replace('\t', "    ")));
        lines.extend(output.map(|text| line(&colour.dim(&fit(&text, room)))));
        lines
    }

    fn transfer_lines(&self, now: Duration, room: usize) -> Vec<String> {
        let open: Vec<_> = self.open_transfers().collect();
        let mut lines: Vec<String> =
            open.iter().take(TRANSFERS_MAX).map(|(id, transfer)| transfer_line(id, transfer, now, room)).collect();
        if let Some(rest) = open.get(TRANSFERS_MAX..).filter(|rest| !rest.is_empty()) {
            let current = rest.iter().map(|(_, transfer)| transfer.current).sum();
            let total: Option<u64> = rest.iter().map(|(_, transfer)| transfer.total).sum();
            let total = total.map(|total| format!(" / {}", size(total))).unwrap_or_default();
            lines.push(fit(&format!("and {} more: {}{total}", rest.len(), size(current)), room));
        }
        lines
    }
}

/// `pull sha256:1234 [=====>    ] 12.3MB / 40.0MB  5.12MB/s  5s left`, without the bar where there is no room or no end.
fn transfer_line(id: &str, transfer: &TransferState, now: Duration, room: usize) -> String {
    let amount = match transfer.total {
        Some(total) => format!("{:>6} / {:6}", size(transfer.current), size(total)),
        None => size(transfer.current),
    };
    let pace = match transfer.pace(now) {
        Pace::Unknown => String::new(),
        Pace::Stalled(time) => format!("  nothing for {}", timer(time)),
        Pace::Moving { bytes_per_second, left } => {
            let left = left.map(|left| format!("  {} left", whole_seconds(left))).unwrap_or_default();
            format!("  {:>8}/s{left}", size(bytes_per_second))
        }
    };
    let mut text = format!("{amount}{pace}");
    if columns(&text) + NAME_COLUMNS.start() + 1 > room {
        text = amount;
    }
    // The bar keeps its width while the text beside it grows and shrinks.
    let spare = room.saturating_sub(NAME_COLUMNS.end() + 4 + columns(&text).max(38)).min(*BAR_COLUMNS.end());
    let bar = match transfer.total {
        Some(total) if BAR_COLUMNS.contains(&spare) => bar(transfer.current, total, spare),
        _ => String::new(),
    };
    let name_columns = room.saturating_sub(columns(&text) + 1).clamp(*NAME_COLUMNS.start(), *NAME_COLUMNS.end());
    // What every digest begins with says nothing here.
    let name = fit(&sanitize_line(id).replace("sha256:", ""), name_columns);
    fit(&format!("{name:name_columns$} {bar}{text}"), room)
}

/// Rounded up: nothing that goes on is done in no time.
fn whole_seconds(time: Duration) -> String {
    let seconds = time.as_millis().div_ceil(1000).max(1);
    if seconds < 100 { format!("{seconds}s") } else { timer(time) }
}

fn bar(current: u64, total: u64, width: usize) -> String {
    let cells = u128::from(current.min(total)) * width as u128 / u128::from(total.max(1));
    let full = usize::try_from(cells).unwrap_or(width).min(width);
    let head = if full < width { ">" } else { "" };
    format!("[{}{head}{}] ", "=".repeat(full), " ".repeat(width - full - head.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill() {
        assert_eq!(bar(0, 100, 10), "[>         ] ");
        assert_eq!(bar(50, 100, 10), "[=====>    ] ");
        assert_eq!(bar(200, 100, 10), "[==========] ");
        assert_eq!(bar(0, 0, 10), "[>         ] ");
    }
}
