//! `bake history inspect` and `bake history logs`.

use std::fmt::Write as _;
use std::time::Duration;

use bake::cli::{BuildInspectArguments, BuildLogsArguments};
use bake::error::CommandError;
use bake::template::Absent;
use bake::ui::measure::{seconds, size};
use bake::ui::sanitize::sanitize_line;
use bake_oci::Timestamp;
use bake_report::terminal;
use bake_report::timeline::Timeline;
use bake_report::{BuildRecord, ImageRecord, StepKind, StepOutcome, StepRecord, log};
use serde_json::Value;

use super::super::table::Table;
use super::super::{age, listing, why};
use super::list::{started_unix_s, status};
use super::{Build, Past};

pub(super) fn inspect(arguments: &BuildInspectArguments, past: &Past) -> Result<(), CommandError> {
    let build = past.find(arguments.build.as_deref())?;
    match &arguments.format {
        None => crate::print(&text(&build, Timestamp::now())),
        Some(template) => {
            let text = listing::evaluate(template, &value(&build)?, &Absent::default())?;
            crate::print(&format!("{text}\n"))
        }
    }
}

/// Everything that is known of a build, for programs.
pub(super) fn value(build: &Build) -> Result<Value, CommandError> {
    let mut value = listing::value(&build.record)?;
    value["build"] = build.number.into();
    value["ended_unix_s"] = build.ended_unix_s.into();
    Ok(value)
}

fn text(build: &Build, now: Timestamp) -> String {
    let record = &build.record;
    let started = Timestamp::from_seconds(started_unix_s(build));
    let timeline = Timeline::of(record);
    let image = if let [image] = record.images.as_slice() { Some(image) } else { None };
    let several = if image.is_some() { &[][..] } else { record.images.as_slice() };
    let machine = &record.machine;
    let lines = [
        ("Build", build.number.to_string()),
        ("Name", record.name.clone()),
        ("Status", status(record.result).to_owned()),
        ("Error", record.error.clone().unwrap_or_default()),
        ("Started", format!("{} ({})", started.to_rfc3339(), age::ago(Some(started), now))),
        ("Duration", seconds(Duration::from_millis(record.elapsed_ms))),
        ("Critical path", seconds(Duration::from_micros(timeline.critical_us(record)))),
        ("Context", record.request.context.clone()),
        ("Dockerfile", record.request.dockerfile.clone()),
        ("Target", record.request.target.clone().unwrap_or_default()),
        ("Platforms", record.request.platforms.join(", ")),
        ("Digest", image.map(|image| image.digest.clone()).unwrap_or_default()),
        ("Tags", image.map(|image| image.names.join(", ")).unwrap_or_default()),
        ("Size", image.and_then(|image| image.size_bytes).map(size).unwrap_or_default()),
        ("Images", several.iter().map(ImageRecord::line).collect::<Vec<_>>().join("; ")),
        ("Sent to", record.destinations.join(", ")),
        ("Findings", if record.findings.is_empty() { String::new() } else { record.findings.len().to_string() }),
        ("Steps", why::counts(record.instructions())),
        ("Reused", by_reads(record)),
        (
            "Machine",
            if machine.processors == 0 {
                String::new()
            } else {
                format!("{}, {} processors, bake {}", machine.platform, machine.processors, machine.version)
            },
        ),
    ];
    let mut text = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "{:<15}{}", format!("{name}:"), sanitize_line(value));
    }
    text.push_str(&steps(record, &timeline));
    let _ = writeln!(
        text,
        "\n`bake history logs {0}` shows what steps wrote, `bake history open {0}` all of it as a page.",
        build.number
    );
    text
}

/// How many steps were found by what they had read.
fn by_reads(record: &BuildRecord) -> String {
    match record.instructions().filter(|step| step.trace.as_ref().is_some_and(|trace| trace.reused)).count() {
        0 => String::new(),
        1 => "1 step, since nothing that it read has changed".to_owned(),
        several => format!("{several} steps, since nothing that they read has changed"),
    }
}

/// What was carried out, in the order in which it began.
fn steps(record: &BuildRecord, timeline: &Timeline) -> String {
    if timeline.rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["STEP", "BEGAN", "TIME", "CPU", "MEMORY", "CRITICAL", "NAME"]);
    for place in &timeline.rows {
        let Some(step) = record.steps.get(*place) else { continue };
        let usage = step.usage.as_ref();
        let name = match step.outcome {
            StepOutcome::Failed => format!("{} (failed)", step.name),
            StepOutcome::NotReached => format!("{} (broken off)", step.name),
            _ => step.name.clone(),
        };
        table.row([
            step.number.map_or_else(|| "-".to_owned(), |number| format!("#{number}")),
            seconds(Duration::from_micros(step.began_us)),
            seconds(Duration::from_micros(step.duration_us())),
            usage.map_or_else(|| "-".to_owned(), |usage| seconds(Duration::from_micros(usage.processor_us))),
            usage.map_or_else(|| "-".to_owned(), |usage| size(usage.memory_peak_bytes)),
            if timeline.critical.contains(place) { "yes" } else { "" }.to_owned(),
            name,
        ]);
    }
    format!("\n{}", table.render())
}

pub(super) fn logs(arguments: &BuildLogsArguments, past: &Past) -> Result<(), CommandError> {
    let build = past.find(arguments.build.as_deref())?;
    let steps = &build.record.steps;
    let wanted: Vec<&StepRecord> = if let Some(step) = &arguments.step {
        vec![why::find(steps, step, "`bake history inspect --format json` has the steps of the build")?]
    } else {
        let told = |step: &&StepRecord| step.log.is_some() || step.outcome == StepOutcome::Failed;
        let mut told: Vec<&StepRecord> = steps.iter().filter(told).collect();
        told.sort_by_key(|step| step.began_us);
        told
    };
    let logs = past.logs(build.number)?;
    if logs.is_empty() && wanted.iter().any(|step| step.log.is_some()) {
        return Err(CommandError::build(format!(
            "what the steps of build {} wrote is not kept any more",
            build.number
        ))
        .hint("`bake prune --all` and later builds with much output remove it"));
    }
    if let (Some(_), [step]) = (&arguments.step, wanted.as_slice()) {
        return match output(step, &logs)? {
            Some(bytes) if arguments.raw => crate::print_bytes(&bytes),
            Some(bytes) => crate::print(&terminal::plain(&String::from_utf8_lossy(&bytes))),
            None if step.kind == StepKind::Instruction && step.outcome == StepOutcome::Cached => {
                Err(CommandError::build("the step was cached, so it wrote nothing in this build"))
            }
            None => Ok(()),
        };
    }
    let mut text = String::new();
    for step in wanted {
        let number = step.number.map_or_else(|| "-".to_owned(), |number| format!("#{number}"));
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "{number} {}", sanitize_line(&step.name));
        let bytes = output(step, &logs)?.unwrap_or_default();
        for line in terminal::plain(&String::from_utf8_lossy(&bytes)).lines() {
            let _ = writeln!(text, "{number} {line}");
        }
        if let Some(error) = &step.error {
            let _ = writeln!(text, "{number} ERROR: {}", sanitize_line(error));
        }
    }
    crate::print(&text)
}

/// What a step wrote, if it wrote anything.
pub(super) fn output(step: &StepRecord, logs: &[u8]) -> Result<Option<Vec<u8>>, CommandError> {
    let Some(log) = step.log else { return Ok(None) };
    log::unpack(log, logs).map(Some).map_err(|error| {
        CommandError::build(format!("cannot show what `{}` wrote: {error}", sanitize_line(&step.name)))
            .hint("`bake fsck --repair` removes what is damaged")
    })
}
