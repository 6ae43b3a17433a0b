//! `bake plan`: what a build would run, what is cached, and what depends on what would run. Nothing is carried out; of
//! images only what planning asks for is looked at.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use bake::cli::ListFormat;
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake::ui::progress::Progress;
use bake::ui::sanitize::sanitize_line;
use bake::ui::why::{ago, short_reason};
use bake_graph::VertexId;
use bake_solver::{Explanation, Forecast, PlannedStep};
use serde::Serialize;

use super::target::{Layouts, Planning, Plans, TargetRequest};
use super::{cache, worker};
use crate::commands::table::{Table, json_lines};
use crate::settings::BuildRequest;
use crate::wiring::Host;

/// A step for programs.
#[derive(Debug, Serialize)]
struct Row<'a> {
    step: String,
    definition: String,
    forecast: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_unix_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<&'a Explanation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown: Option<&'a str>,
}

/// Writes what the build would do to standard output.
pub(crate) fn plan(
    request: &BuildRequest,
    format: ListFormat,
    host: &Host,
    colour: Colour,
) -> Result<(), CommandError> {
    let progress = Progress::to_stderr(request.display, colour)
        .map_err(|error| CommandError::build(format!("cannot show progress: {error}")))?;
    let requests = [TargetRequest::alone(request)];
    let layouts = Layouts::of(&requests);
    let images = host.images(layouts.directories());
    let imported = cache::Imported::begin(&requests, host, &images.cancelled())?;
    let images = Arc::new(images.with_imported(Arc::clone(&imported.steps) as _));
    let worker = worker(&requests, host, &images, Some(&imported))?;
    let mut planning = Planning::new(host, layouts, images, worker, &progress);
    requests.iter().try_for_each(|target| planning.add(target))?;
    let Plans { graph, targets, worker, .. } = planning.finish();
    let images = targets.iter().flat_map(|target| &target.plan.images);
    let targets: Vec<VertexId> = images.map(|image| image.root).collect();
    let (told, imports) = (imported.told(), &imported.steps);
    let waiting = || cache::Imported::tell(told, imports, &progress);
    let cache = imported.cache(host, &waiting);
    let steps = bake_solver::plan(&graph, &targets, &worker, &cache, &progress, request.trace_run).map_err(
        |(step, error)| {
            let name = graph.vertex(step).label.to_string();
            CommandError::build(format!("cannot plan `{}`: {error}", sanitize_line(&name))).hints(error.hints.clone())
        },
    )?;
    progress.finish(None);
    crate::print(&match format {
        ListFormat::Json => json_lines(&steps.iter().map(|step| row(step, &steps)).collect::<Vec<_>>())?,
        ListFormat::Table => text(&steps, SystemTime::now()),
    })
}

/// The names of steps by their identity.
fn names(steps: &[PlannedStep]) -> HashMap<VertexId, String> {
    steps.iter().map(|planned| (planned.step.id, planned.step.label.to_string())).collect()
}

fn row<'a>(planned: &'a PlannedStep, steps: &[PlannedStep]) -> Row<'a> {
    let mut row = Row {
        step: planned.step.label.to_string(),
        definition: planned.step.definition.hex(),
        forecast: word(&planned.forecast),
        made_unix_s: None,
        explanation: None,
        depends_on: Vec::new(),
        unknown: None,
    };
    match &planned.forecast {
        Forecast::Cached { made_ns } => row.made_unix_s = made_ns.map(seconds),
        Forecast::Runs(explanation) => row.explanation = Some(explanation),
        Forecast::DependsOn(on) => {
            let names = names(steps);
            row.depends_on = on.iter().filter_map(|step| names.get(step).cloned()).collect();
        }
        Forecast::Unknown { why } => row.unknown = Some(why),
    }
    row
}

fn word(forecast: &Forecast) -> &'static str {
    match forecast {
        Forecast::Cached { .. } => "cached",
        Forecast::Runs(_) => "runs",
        Forecast::DependsOn(_) => "depends",
        Forecast::Unknown { .. } => "unknown",
    }
}

fn seconds(nanoseconds: i64) -> i64 {
    nanoseconds.div_euclid(1_000_000_000)
}

fn text(steps: &[PlannedStep], now: SystemTime) -> String {
    let names = names(steps);
    let mut table = Table::new(&["PLAN", "STEP", "WHY"]);
    for planned in steps {
        let why = match &planned.forecast {
            Forecast::Cached { made_ns } => {
                made_ns.map_or_else(String::new, |made| format!("made {}", ago(seconds(made), now)))
            }
            Forecast::Runs(explanation) => short_reason(explanation, now),
            Forecast::DependsOn(on) => {
                let on: Vec<&str> = on.iter().filter_map(|step| names.get(step)).map(String::as_str).collect();
                format!("depends on {}", on.join(", "))
            }
            Forecast::Unknown { why } => why.clone(),
        };
        table.row([word(&planned.forecast).to_owned(), planned.step.label.to_string(), why]);
    }
    let count = |wanted: &str| steps.iter().filter(|planned| word(&planned.forecast) == wanted).count();
    let parts: Vec<String> = [
        ("runs", "would run"),
        ("depends", "may run, depending on those"),
        ("unknown", "cannot be told"),
        ("cached", "cached"),
    ]
    .into_iter()
    .filter(|(word, _)| count(word) > 0)
    .map(|(word, text)| format!("{} {text}", count(word)))
    .collect();
    let total = format!("{} {}", steps.len(), if steps.len() == 1 { "step" } else { "steps" });
    if parts.is_empty() { format!("{total}\n") } else { format!("{}{total}: {}\n", table.render(), parts.join(", ")) }
}
