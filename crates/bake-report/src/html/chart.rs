//! The timeline: a row for each step that took time, and how many processors were busy above them. Widths are percentages in
//! attributes of SVG, so they follow the width of the screen without a script and without styles of their own.

use std::fmt::Write as _;

use super::anchor;
use super::markup::Markup;
use crate::record::{BuildRecord, StepKind, StepOutcome, StepRecord};
use crate::timeline::{Timeline, is_broken_off};
use crate::words::{count, duration, percent};

/// Rows shorter than this share of the build are left out where there are many.
const SHORT_SHARE: u64 = 500;

/// So many rows are shown whatever they took.
const ROWS_SHOWN: usize = 60;

/// A machine that was never busier than this shows a line without meaning.
const LOAD_SHOWN: f64 = 0.1;

/// How many marks there are on the axis, at most.
const MARKS_MAX: u64 = 4;

pub(super) fn timeline(markup: &mut Markup, record: &BuildRecord, timeline: &Timeline) {
    if timeline.rows.is_empty() {
        return;
    }
    let marks = marks(timeline.total_us);
    let rows = shown(record, timeline);
    markup.element("section", &[("id", "timeline"), ("aria-labelledby", "timeline-title")], |markup| {
        markup.leaf("h2", &[("id", "timeline-title")], "Timeline");
        markup.element("p", &[("class", "note")], |markup| {
            markup.text("What was carried out, in the order in which it began. Steps on the ");
            markup.leaf("b", &[], "critical path");
            markup.text(&format!(
                " ({}) decided how long the build took: each waited for the one before, for its result or for room.",
                duration(timeline.critical_us(record))
            ));
        });
        legend(markup, record, &rows, timeline);
        if timeline.load.iter().any(|(_, busy)| *busy >= LOAD_SHOWN) {
            load(markup, record, timeline);
        }
        axis(markup, &marks, timeline.total_us);
        markup.element("ol", &[("class", "rows")], |markup| {
            for place in &rows {
                if let Some(step) = record.steps.get(*place) {
                    row(markup, *place, step, timeline, &marks);
                }
            }
        });
        let left = timeline.rows.len() - rows.len();
        let cached = record.count(StepOutcome::Cached);
        let mut rest = Vec::new();
        if cached > 0 {
            rest.push(format!("{} cached", count(cached, "step")));
        }
        if left > 0 {
            rest.push(format!("{} too short to see", count(left, "step")));
        }
        if !rest.is_empty() {
            markup.leaf("p", &[("class", "note")], &format!("Not drawn: {}.", rest.join(", ")));
        }
    });
}

/// The rows that are worth drawing.
fn shown(record: &BuildRecord, timeline: &Timeline) -> Vec<usize> {
    let matters = |place: &usize| {
        record.steps.get(*place).is_some_and(|step| {
            step.outcome == StepOutcome::Failed
                || is_broken_off(step)
                || step.duration_us().saturating_mul(SHORT_SHARE) >= timeline.total_us
        })
    };
    let all = timeline.rows.iter().copied();
    if timeline.rows.len() <= ROWS_SHOWN { all.collect() } else { all.filter(matters).collect() }
}

fn legend(markup: &mut Markup, record: &BuildRecord, rows: &[usize], timeline: &Timeline) {
    let mut classes: Vec<&'static str> = Vec::new();
    for place in rows {
        let class = record.steps.get(*place).map_or("ran", |step| class(*place, step, timeline));
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    markup.element("ul", &[("class", "legend")], |markup| {
        for (class, text) in [
            ("critical", "on the critical path"),
            ("ran", "step"),
            ("other", "source or other work"),
            ("failed", "failed"),
            ("broken", "broken off"),
        ] {
            if classes.contains(&class) {
                markup.element("li", &[], |markup| {
                    markup.element("svg", &[("aria-hidden", "true"), ("viewBox", "0 0 10 10")], |markup| {
                        let class = format!("b {class}");
                        let square = [("x", "1"), ("y", "1"), ("width", "8"), ("height", "8"), ("class", &*class)];
                        markup.element("rect", &square, |_| {});
                    });
                    markup.text(text);
                });
            }
        }
    });
}

fn class(place: usize, step: &StepRecord, timeline: &Timeline) -> &'static str {
    match (step.outcome, step.kind) {
        (StepOutcome::Failed, _) => "failed",
        _ if is_broken_off(step) => "broken",
        _ if timeline.critical.contains(&place) => "critical",
        (_, StepKind::Instruction) => "ran",
        _ => "other",
    }
}

fn row(markup: &mut Markup, place: usize, step: &StepRecord, timeline: &Timeline, marks: &[u64]) {
    let total = timeline.total_us;
    let class = class(place, step, timeline);
    let on_path = timeline.critical.contains(&place);
    let end = if step.ended_us == 0 { total } else { step.ended_us.max(step.began_us) };
    let time = duration(end.saturating_sub(step.began_us));
    markup.element("li", &[("class", if on_path { "row on" } else { "row" })], |markup| {
        markup.element("span", &[("class", "what mono"), ("title", &step.name)], |markup| {
            if step.kind == StepKind::Activity {
                markup.text(&step.name);
            } else {
                markup.leaf("a", &[("href", &format!("#{}", anchor(place)))], &step.name);
            }
        });
        let path = if on_path { ", on the critical path" } else { "" };
        let label = format!("from {} to {}{path}", duration(step.began_us), duration(end));
        markup.element("span", &[("class", "bar")], |markup| {
            markup.element("svg", &[("role", "img"), ("aria-label", &label)], |markup| {
                grid(markup, marks, total);
                let x = format!("{}%", percent(step.began_us, total));
                let width = format!("{}%", percent(end.saturating_sub(step.began_us), total));
                let class = format!("b {class}");
                let rect =
                    [("x", &*x), ("y", "3"), ("width", &width), ("height", "10"), ("rx", "2"), ("class", &class)];
                markup.element("rect", &rect, |markup| markup.leaf("title", &[], &label));
            });
        });
        markup.leaf("span", &[("class", "time")], &time);
    });
}

fn grid(markup: &mut Markup, marks: &[u64], total: u64) {
    for mark in marks {
        let x = format!("{}%", percent(*mark, total));
        markup.element("line", &[("x1", &x), ("x2", &x), ("y1", "-2"), ("y2", "18"), ("class", "grid")], |_| {});
    }
}

fn axis(markup: &mut Markup, marks: &[u64], total: u64) {
    markup.element("div", &[("class", "row axis"), ("aria-hidden", "true")], |markup| {
        markup.leaf("span", &[("class", "what")], "");
        markup.element("span", &[("class", "bar")], |markup| {
            markup.element("svg", &[], |markup| {
                for mark in marks {
                    let x = format!("{}%", percent(*mark, total));
                    let anchor = if *mark == 0 { "start" } else { "middle" };
                    markup.leaf("text", &[("x", &x), ("y", "12"), ("text-anchor", anchor)], &duration(*mark));
                }
            });
        });
        markup.leaf("span", &[("class", "time")], "");
    });
}

/// Round times, the last of them well before the end.
fn marks(total_us: u64) -> Vec<u64> {
    let steps = (0..12).flat_map(|power: u32| [1, 2, 5].map(|digit: u64| digit * 10_u64.pow(power)));
    // Minutes have sixty seconds.
    let round = steps
        .filter(|step| *step < 60_000_000)
        .chain([1, 2, 5, 10, 20, 30, 60, 120, 300, 600].map(|minutes| minutes * 60_000_000));
    let step = round.into_iter().find(|step| total_us / step < MARKS_MAX).unwrap_or(total_us.max(1));
    (0..MARKS_MAX)
        .map(|mark| mark * step)
        .filter(|mark| mark.saturating_mul(100) <= total_us.saturating_mul(94))
        .collect()
}

/// How many processors steps kept busy.
#[expect(clippy::cast_precision_loss, reason = "it is drawn")]
fn load(markup: &mut Markup, record: &BuildRecord, timeline: &Timeline) {
    let processors = f64::from(record.machine.processors.max(1));
    let highest = timeline.load.iter().fold(processors, |highest, (_, busy)| highest.max(*busy));
    let x = |at: u64| 1000.0 * at as f64 / timeline.total_us.max(1) as f64;
    let y = |busy: f64| 46.0 - 44.0 * busy / highest;
    let mut path = String::from("M0 46");
    let mut before = 46.0;
    for (at, busy) in &timeline.load {
        let (x, y) = (x(*at), y(*busy));
        // Writing to a string cannot fail, here and below.
        let _ = write!(path, "L{x:.1} {before:.1}L{x:.1} {y:.1}");
        before = y;
    }
    let _ = write!(path, "L1000 {before:.1}L1000 46Z");
    let used: u64 = record.steps.iter().filter_map(|step| step.usage.as_ref()).map(|usage| usage.processor_us).sum();
    let average = used as f64 / timeline.total_us.max(1) as f64;
    let label = format!("on average {average:.1} of {} processors busy with RUN steps", record.machine.processors);
    markup.element("div", &[("class", "row load")], |markup| {
        markup.leaf("span", &[("class", "what"), ("title", &label)], "Busy processors (RUN)");
        markup.element("span", &[("class", "bar")], |markup| {
            let view =
                [("viewBox", "0 0 1000 46"), ("preserveAspectRatio", "none"), ("role", "img"), ("aria-label", &*label)];
            markup.element("svg", &view, |markup| {
                markup.leaf("title", &[], &label);
                let most = format!("{:.1}", y(processors));
                markup.element(
                    "line",
                    &[("x1", "0"), ("x2", "1000"), ("y1", &most), ("y2", &most), ("class", "most")],
                    |_| {},
                );
                markup.element("path", &[("class", "area"), ("d", &path)], |_| {});
            });
        });
        markup.leaf("span", &[("class", "time")], &format!("⌀ {average:.1} of {}", record.machine.processors));
    });
}
