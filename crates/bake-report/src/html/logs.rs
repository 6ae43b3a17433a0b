//! The output of steps, folded.

use super::Page;
use super::markup::Markup;
use crate::log;
use crate::record::{LogRecord, StepOutcome, StepRecord};
use crate::terminal;
use crate::words::size;

/// What a page shows of the output of one step, in bytes: the end of it.
const STEP_BYTES_MAX: usize = 256 << 10;

/// What a page shows of the output of all steps, in bytes.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// How many bytes a page may take for the output of one step. Each change of colour takes an element of its own.
const STEP_MARKUP_BYTES_MAX: usize = 2 << 20;

/// The lines of a failed step that are shown with its error.
const LAST_LINES: usize = 20;

pub(super) fn all(markup: &mut Markup, page: &Page<'_>) {
    let logged: Vec<(usize, &StepRecord, LogRecord)> =
        page.record.steps.iter().enumerate().filter_map(|(place, step)| Some((place, step, step.log?))).collect();
    if logged.is_empty() {
        return;
    }
    markup.element("section", &[("id", "logs"), ("class", "logs"), ("aria-labelledby", "logs-title")], |markup| {
        markup.leaf("h2", &[("id", "logs-title")], "Output of steps");
        let mut left = PAGE_BYTES_MAX;
        for (place, step, log) in logged {
            let id = format!("log-{place}");
            let mut attributes = vec![("id", id.as_str())];
            if step.outcome == StepOutcome::Failed {
                attributes.push(("open", ""));
            }
            markup.element("details", &attributes, |markup| {
                markup.element("summary", &[], |markup| {
                    markup.leaf("span", &[("class", "mono")], &step.name);
                    markup.text(&format!(" – {}", size(log.written_bytes)));
                });
                one(markup, page, step, log, &mut left);
            });
        }
    });
}

fn one(markup: &mut Markup, page: &Page<'_>, step: &StepRecord, log: LogRecord, left: &mut usize) {
    let Ok(bytes) = log::unpack(log, page.logs) else {
        return markup.leaf("p", &[("class", "note")], "This output is not kept any more.");
    };
    let text = String::from_utf8_lossy(&bytes);
    let kept = end_of(&text, STEP_BYTES_MAX.min(*left));
    *left = left.saturating_sub(kept.len());
    if kept.len() < text.len() {
        let note =
            format!("This is the end of it; {} before that are left out here.", size((text.len() - kept.len()) as u64));
        markup.leaf("p", &[("class", "note")], &note);
    }
    let label = format!("Output of {}", step.name);
    let attributes = [("tabindex", "0"), ("role", "region"), ("aria-label", label.as_str())];
    markup.element("pre", &attributes, |markup| coloured(markup, kept));
}

/// Text as a terminal would show it. Where that takes too much, the rest is without colours.
fn coloured(markup: &mut Markup, text: &str) {
    let begin = markup.len();
    for piece in terminal::pieces(text) {
        let class = match (piece.colour, piece.bold) {
            (Some(colour), true) => format!("f{colour} bold"),
            (Some(colour), false) => format!("f{colour}"),
            (None, true) => "bold".to_owned(),
            (None, false) => String::new(),
        };
        if class.is_empty() || markup.len() - begin > STEP_MARKUP_BYTES_MAX {
            markup.text(&piece.text);
        } else {
            markup.leaf("span", &[("class", &class)], &piece.text);
        }
    }
}

/// At most `limit` bytes from the end, beginning with a whole line if there is one.
fn end_of(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let mut begin = text.len() - limit;
    while !text.is_char_boundary(begin) {
        begin += 1;
    }
    let end = text.get(begin..).unwrap_or_default();
    end.split_once('\n').map_or(end, |(_, lines)| lines)
}

/// The last lines that a step wrote.
pub(super) fn last_lines(page: &Page<'_>, step: &StepRecord) -> Option<String> {
    let bytes = log::unpack(step.log?, page.logs).ok()?;
    let text = terminal::plain(end_of(&String::from_utf8_lossy(&bytes), STEP_BYTES_MAX));
    let lines: Vec<&str> = text.trim_end().lines().collect();
    Some(lines.get(lines.len().saturating_sub(LAST_LINES)..)?.join("\n"))
}
