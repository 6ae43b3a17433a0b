//! The parts of the page besides the timeline and the logs.

use bake_solver::{Difference, Explanation, MemoryOf};

use super::markup::Markup;
use super::{Page, anchor, logs, moment};
use crate::record::{BuildRecord, BuildResult, ImageRecord, StepKind, StepOutcome, StepRecord};
use crate::timeline::{Timeline, is_broken_off};
use crate::words::{count, duration, percent, reused, size};

/// Files that changed which are named for a step.
const FILES_SHOWN_MAX: usize = 20;

pub(super) fn header(markup: &mut Markup, record: &BuildRecord, number: Option<i64>, timeline: &Timeline) {
    markup.element("header", &[], |markup| {
        markup.element("p", &[("class", "brand")], |markup| {
            markup.leaf("b", &[], "bake");
            markup.text(&number.map_or_else(|| " · build".to_owned(), |number| format!(" · build {number}")));
        });
        markup.leaf("h1", &[], &record.name);
        markup.element("p", &[("class", "lead")], |markup| {
            let (class, text) = match record.result {
                BuildResult::Succeeded => ("badge succeeded", "✓ Succeeded"),
                BuildResult::Failed => ("badge failed", "✗ Failed"),
                BuildResult::Interrupted => ("badge interrupted", "‖ Interrupted"),
            };
            markup.leaf("span", &[("class", class)], text);
            markup.leaf("span", &[], &format!("after {}", duration(timeline.total_us)));
            if record.started_unix_ms > 0 {
                moment(markup, record.started_unix_ms.div_euclid(1000));
            }
            for platform in &record.request.platforms {
                markup.leaf("span", &[], platform);
            }
        });
        if let [image] = record.images.as_slice()
            && !image.digest.is_empty()
        {
            markup.element("p", &[("class", "lead")], |markup| markup.leaf("code", &[], &image.digest));
        }
        cards(markup, record, timeline);
        markup.element("nav", &[("aria-label", "Parts of this page")], |markup| {
            let has_layers = record.images.iter().any(|image| !image.layers.is_empty());
            for (id, text, there) in [
                ("timeline", "Timeline", !timeline.rows.is_empty()),
                ("steps", "Steps", record.instructions().next().is_some()),
                ("layers", "Layers", has_layers),
                ("findings", "Findings", !record.findings.is_empty()),
                ("logs", "Output", record.steps.iter().any(|step| step.log.is_some())),
                ("facts", "Details", true),
            ] {
                if there {
                    markup.leaf("a", &[("href", &format!("#{id}"))], text);
                }
            }
        });
    });
}

fn cards(markup: &mut Markup, record: &BuildRecord, timeline: &Timeline) {
    let mut cards: Vec<(&str, String, String)> = vec![(
        "Time",
        duration(timeline.total_us),
        format!("critical path {}", duration(timeline.critical_us(record))),
    )];
    let steps = record.instructions().count();
    if steps > 0 {
        let parts: Vec<String> = [
            (StepOutcome::Ran, "ran"),
            (StepOutcome::Cached, "cached"),
            (StepOutcome::Failed, "failed"),
            (StepOutcome::NotReached, "not reached"),
        ]
        .into_iter()
        .filter_map(|(outcome, word)| Some(record.count(outcome)).filter(|n| *n > 0).map(|n| format!("{n} {word}")))
        .collect();
        cards.push(("Steps", steps.to_string(), parts.join(", ")));
    }
    let used = record.steps.iter().filter_map(|step| step.usage.as_ref());
    let processor_us: u64 = used.clone().map(|usage| usage.processor_us).sum();
    if let Some(memory) = used.map(|usage| usage.memory_peak_bytes).max() {
        let tenths = u128::from(processor_us) * 10 / u128::from(timeline.total_us.max(1));
        let busy = format!("{}.{} of {} processors busy", tenths / 10, tenths % 10, record.machine.processors);
        cards.push(("Processor time", duration(processor_us), busy));
        cards.push(("Memory", size(memory), "at most, in one step".to_owned()));
    }
    match record.images.as_slice() {
        [] => {}
        [image] => {
            let hidden: u64 = image.layers.iter().map(|layer| layer.hidden_bytes).sum();
            let added: u64 = image.layers.iter().map(|layer| layer.added_bytes).sum();
            let waste = if hidden > 0 { format!("{} of files wasted", size(hidden)) } else { String::new() };
            if let Some(bytes) = image.size_bytes {
                cards.push(("Image", size(bytes), waste));
            } else if added > 0 {
                cards.push(("Files", size(added), waste));
            }
        }
        // Their sizes would count what they share several times.
        images => {
            let largest = images.iter().filter_map(|image| image.size_bytes).max();
            let largest = largest.map(|bytes| format!("the largest has {}", size(bytes)));
            cards.push(("Images", images.len().to_string(), largest.unwrap_or_default()));
        }
    }
    let transferred = record.steps.iter().fold(0_u64, |sum, step| sum.saturating_add(step.transferred_bytes));
    if transferred > 0 {
        cards.push(("Transferred", size(transferred), "fetched and sent".to_owned()));
    }
    markup.element("dl", &[("class", "cards")], |markup| {
        for (name, value, more) in cards {
            markup.element("div", &[], |markup| {
                markup.leaf("dt", &[], name);
                markup.leaf("dd", &[("class", "big")], &value);
                if !more.is_empty() {
                    markup.leaf("dd", &[("class", "sub")], &more);
                }
            });
        }
    });
}

/// What went wrong, with the last lines of the step.
pub(super) fn failure(markup: &mut Markup, page: &Page<'_>) {
    let Some(error) = &page.record.error else { return };
    let failed = page.record.steps.iter().enumerate().find(|(_, step)| step.outcome == StepOutcome::Failed);
    markup.element("section", &[("class", "error"), ("aria-labelledby", "error-title")], |markup| {
        markup.leaf("h2", &[("id", "error-title")], "What went wrong");
        let Some((place, step)) = failed else { return markup.leaf("p", &[], error) };
        markup.element("p", &[], |markup| {
            markup.leaf("a", &[("href", &format!("#{}", anchor(place))), ("class", "mono")], &step.name);
            if let Some(line) = step.line {
                markup.text(&format!(" on line {line} of {}", page.record.request.dockerfile));
            }
        });
        // The command stands in the line above.
        let short = error.rsplit_once("\" did not complete").map(|(_, how)| format!("It did not complete{how}"));
        markup.leaf("p", &[], short.as_ref().unwrap_or(error));
        if let Some(lines) = logs::last_lines(page, step).filter(|lines| !lines.is_empty()) {
            let label = [("tabindex", "0"), ("role", "region"), ("aria-label", "Last lines of the failed step")];
            markup.leaf("pre", &label, &lines);
            markup.element("p", &[("class", "note")], |markup| {
                markup.text("These are the last lines of ");
                markup.leaf("a", &[("href", &format!("#log-{place}"))], "its output");
                markup.text(".");
            });
        }
    });
}

pub(super) fn steps(markup: &mut Markup, record: &BuildRecord, timeline: &Timeline) {
    let mut shown: Vec<(usize, &StepRecord)> =
        record.steps.iter().enumerate().filter(|(_, step)| step.kind != StepKind::Activity).collect();
    shown.sort_by_key(|(_, step)| step.number.unwrap_or(usize::MAX));
    if shown.is_empty() {
        return;
    }
    let usages = || shown.iter().filter_map(|(_, step)| step.usage.as_ref());
    let largest = usages().any(|usage| usage.memory_of == MemoryOf::LargestProcess);
    markup.element("section", &[("id", "steps"), ("aria-labelledby", "steps-title")], |markup| {
        markup.leaf("h2", &[("id", "steps-title")], "Steps");
        if largest {
            let note = "Memory is that of the largest process, where no control group counted all of them.";
            markup.leaf("p", &[("class", "note")], note);
        }
        markup.element("table", &[("class", "wide")], |markup| {
            markup.element("thead", &[], |markup| {
                markup.element("tr", &[], |markup| {
                    for (name, class) in
                        [("#", ""), ("Step", ""), ("Time", "n"), ("Processor", "n"), ("Memory", "n"), ("Disk", "n")]
                    {
                        markup.leaf("th", &[("scope", "col"), ("class", class)], name);
                    }
                });
            });
            markup.element("tbody", &[], |markup| {
                for (place, step) in shown {
                    step_row(markup, record, place, step, timeline.critical.contains(&place));
                }
            });
        });
    });
}

fn step_row(markup: &mut Markup, record: &BuildRecord, place: usize, step: &StepRecord, critical: bool) {
    markup.element("tr", &[("id", &anchor(place))], |markup| {
        markup.leaf("td", &[], &step.number.map(|number| format!("#{number}")).unwrap_or_default());
        markup.element("td", &[("class", "name")], |markup| {
            markup.leaf("span", &[("class", "mono")], &step.name);
            markup.element("div", &[], |markup| {
                outcome(markup, step);
                if critical {
                    markup.text(" ");
                    markup.leaf("span", &[("class", "tag")], "critical path");
                }
                if let Some(line) = step.line {
                    markup.leaf("span", &[("class", "why")], &format!(" · line {line}"));
                }
                if let Some(made) = step.made_unix_s {
                    markup.element("span", &[("class", "why")], |markup| {
                        markup.text(" · made ");
                        moment(markup, made);
                    });
                }
                if step.log.is_some() {
                    markup.text(" · ");
                    markup.leaf("a", &[("href", &format!("#log-{place}"))], "output");
                }
            });
            why(markup, step);
            if let Some(trace) = step.trace.as_ref().filter(|trace| trace.reused) {
                markup.leaf("div", &[("class", "why")], &reused(trace.paths));
            }
            if let Some(error) = step.error.as_ref().filter(|error| record.error.as_ref() != Some(error)) {
                markup.leaf("div", &[("class", "why")], error);
            }
            for notice in &step.notices {
                markup.leaf("div", &[("class", "why")], notice);
            }
        });
        let usage = step.usage.as_ref();
        let time = if step.has_run() { duration(step.duration_us()) } else { String::new() };
        let memory = usage.map(|usage| size(usage.memory_peak_bytes)).unwrap_or_default();
        let disk = usage.map(|usage| usage.disk_read_bytes.saturating_add(usage.disk_written_bytes)).filter(|n| *n > 0);
        let processor = usage.map(|usage| duration(usage.processor_us)).unwrap_or_default();
        for (label, text) in
            [("Time", time), ("Processor", processor), ("Memory", memory), ("Disk", disk.map(size).unwrap_or_default())]
        {
            markup.leaf("td", &[("class", "n"), ("data-label", label)], &text);
        }
    });
}

fn outcome(markup: &mut Markup, step: &StepRecord) {
    let (class, text) = match step.outcome {
        _ if is_broken_off(step) => ("tag", "broken off"),
        StepOutcome::Ran if step.kind == StepKind::Source => ("tag", "used"),
        StepOutcome::Ran => ("tag ran", "ran"),
        StepOutcome::Cached => ("tag cached", "cached"),
        StepOutcome::Failed => ("tag failed", "failed"),
        StepOutcome::NotReached => ("tag", "not reached"),
    };
    markup.leaf("span", &[("class", class)], text);
    if step.transferred_bytes > 0 {
        markup.leaf("span", &[("class", "why")], &format!(" {} transferred", size(step.transferred_bytes)));
    }
}

/// Why a step ran.
fn why(markup: &mut Markup, step: &StepRecord) {
    let Some(explanation) = &step.explanation else { return };
    let Explanation { nearest, differences } = explanation;
    let reason = explanation.to_string();
    let files = differences.iter().find_map(|difference| match difference {
        Difference::Files { changes, count, .. } if *count > 1 => Some((changes, *count)),
        _ => None,
    });
    let text = |markup: &mut Markup| {
        markup.text(&format!("{}: ", explanation.word()));
        markup.text(&reason);
    };
    if differences.len() < 2 && files.is_none() {
        markup.element("div", &[("class", "why")], |markup| {
            text(markup);
            compared(markup, nearest.as_ref());
        });
        return;
    }
    markup.element("details", &[], |markup| {
        markup.element("summary", &[], text);
        markup.element("ul", &[], |markup| {
            for difference in differences {
                markup.leaf("li", &[], &difference.to_string());
            }
            if let Some((changes, total)) = files {
                for change in changes.iter().take(FILES_SHOWN_MAX) {
                    markup.element("li", &[], |markup| {
                        markup.leaf("code", &[], &change.path);
                        markup.text(&format!(" {}", change.how));
                    });
                }
                let left = total.saturating_sub(changes.len().min(FILES_SHOWN_MAX));
                if left > 0 {
                    markup.leaf("li", &[], &format!("and {}", count(left, "more file")));
                }
            }
        });
        compared(markup, nearest.as_ref());
    });
}

fn compared(markup: &mut Markup, nearest: Option<&bake_solver::NearestRecord>) {
    if let Some(nearest) = nearest {
        markup.text(" (compared with the result of ");
        moment(markup, nearest.made_unix_s);
        markup.text(")");
    }
}

pub(super) fn layers(markup: &mut Markup, record: &BuildRecord) {
    let images: Vec<&ImageRecord> = record.images.iter().filter(|image| !image.layers.is_empty()).collect();
    if images.is_empty() {
        return;
    }
    // The bars of all images have one scale.
    let added = images.iter().flat_map(|image| &image.layers).map(|layer| layer.added_bytes);
    let largest = added.max().unwrap_or(0);
    markup.element("section", &[("id", "layers"), ("aria-labelledby", "layers-title")], |markup| {
        markup.leaf("h2", &[("id", "layers-title")], "Layers");
        let base = match images.as_slice() {
            images if images.iter().all(|image| image.base_measured) => "",
            [_] => " The base image is not unpacked here, so it is not measured.",
            _ => " Base images that are not unpacked here are not measured.",
        };
        let note = format!(
            "The bytes of files that each instruction adds. Wasted are those that a later one removes or replaces: they are in \
             the image, and nobody sees them.{base}"
        );
        markup.leaf("p", &[("class", "note")], &note);
        for image in images {
            if !image.target.is_empty() {
                markup.leaf("h3", &[], &image.target);
            }
            layers_of(markup, image, largest);
        }
    });
}

fn layers_of(markup: &mut Markup, image: &ImageRecord, largest: u64) {
    markup.element("table", &[("class", "wide")], |markup| {
        markup.element("thead", &[], |markup| {
            markup.element("tr", &[], |markup| {
                for (name, class) in [("Instruction", ""), ("Share", ""), ("Added", "n"), ("Wasted", "n")] {
                    markup.leaf("th", &[("scope", "col"), ("class", class)], name);
                }
            });
        });
        markup.element("tbody", &[], |markup| {
            for layer in &image.layers {
                markup.element("tr", &[], |markup| {
                    markup.element("td", &[("class", "name")], |markup| {
                        markup.leaf("span", &[("class", "mono")], &layer.instruction);
                        if let Some(line) = layer.line {
                            markup.leaf("span", &[("class", "why")], &format!(" line {line}"));
                        }
                    });
                    markup.element("td", &[("class", "full share")], |markup| {
                        if layer.added_bytes > 0 {
                            share(markup, layer.added_bytes, layer.hidden_bytes, largest);
                        }
                    });
                    markup.leaf("td", &[("class", "n"), ("data-label", "Added")], &size(layer.added_bytes));
                    let hidden = if layer.hidden_bytes > 0 { size(layer.hidden_bytes) } else { String::new() };
                    markup.leaf("td", &[("class", "n"), ("data-label", "Wasted")], &hidden);
                });
            }
        });
    });
}

/// A bar for what a layer adds, with the wasted part at its end.
fn share(markup: &mut Markup, added: u64, hidden: u64, largest: u64) {
    let kept = format!("{}%", percent(added.saturating_sub(hidden), largest));
    let wasted = format!("{}%", percent(hidden, largest));
    markup.element("svg", &[("width", "100%"), ("height", "14"), ("aria-hidden", "true")], |markup| {
        let kept_bar = [("x", "0"), ("y", "3"), ("width", &*kept), ("height", "9"), ("class", "b ran")];
        markup.element("rect", &kept_bar, |_| {});
        if hidden > 0 {
            let bar = [("x", &*kept), ("y", "3"), ("width", &*wasted), ("height", "9"), ("class", "b hidden")];
            markup.element("rect", &bar, |_| {});
        }
    });
}

pub(super) fn findings(markup: &mut Markup, record: &BuildRecord) {
    if record.findings.is_empty() {
        return;
    }
    markup.element("section", &[("id", "findings"), ("aria-labelledby", "findings-title")], |markup| {
        markup.leaf("h2", &[("id", "findings-title")], "Findings");
        markup.element("ul", &[("class", "findings")], |markup| {
            for finding in &record.findings {
                markup.element("li", &[], |markup| {
                    let class = match finding.severity.as_str() {
                        "error" => "tag error",
                        "warning" => "tag warning",
                        _ => "tag",
                    };
                    markup.leaf("span", &[("class", class)], &finding.severity);
                    markup.text(" ");
                    // Whatever a record says, a link leads to a web page.
                    match finding.url.as_ref().filter(|url| url.starts_with("https://")) {
                        Some(url) => markup.element("a", &[("href", url), ("rel", "noreferrer")], |markup| {
                            markup.leaf("code", &[], &finding.rule);
                        }),
                        None => markup.leaf("code", &[], &finding.rule),
                    }
                    if let Some(line) = finding.line {
                        markup.leaf("span", &[("class", "why")], &format!(" line {line}"));
                    }
                    markup.leaf("div", &[], &finding.message);
                    if let Some(help) = &finding.help {
                        markup.leaf("div", &[("class", "why")], help);
                    }
                });
            }
        });
    });
}

pub(super) fn facts(markup: &mut Markup, record: &BuildRecord, number: Option<i64>) {
    let request = &record.request;
    let machine = &record.machine;
    let mut facts: Vec<(&str, String)> = Vec::new();
    facts.extend(number.map(|number| ("Build", number.to_string())));
    match record.images.as_slice() {
        [image] => {
            facts.push(("Digest", image.digest.clone()));
            facts.push(("Names", image.names.join("\n")));
        }
        images => facts.push(("Images", images.iter().map(ImageRecord::line).collect::<Vec<_>>().join("\n"))),
    }
    facts.push(("Sent to", record.destinations.join("\n")));
    facts.push(("Build context", request.context.clone()));
    facts.push(("Dockerfile", request.dockerfile.clone()));
    facts.push(("Target", request.target.clone().unwrap_or_default()));
    facts.push(("Platforms", request.platforms.join(", ")));
    if machine.processors > 0 {
        let processors = count(usize::try_from(machine.processors).unwrap_or(0), "processor");
        facts.push(("Machine", format!("{}, {processors}", machine.platform)));
    }
    facts.push(("bake", machine.version.clone()));
    markup.element("section", &[("id", "facts"), ("aria-labelledby", "facts-title")], |markup| {
        markup.leaf("h2", &[("id", "facts-title")], "Details");
        markup.element("dl", &[("class", "facts")], |markup| {
            for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                markup.leaf("dt", &[], name);
                markup.element("dd", &[], |markup| {
                    for line in value.lines() {
                        markup.leaf("div", &[], line);
                    }
                });
            }
        });
    });
}
