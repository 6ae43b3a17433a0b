//! `bake build --call`: what can be said about a Dockerfile without building it. Nothing is carried out, and of images
//! only what planning would ask for is looked at: their configs.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use bake::cli::{CallFormat, CallMethod};
use bake::error::CommandError;
use bake::ui::checks::{findings_json, findings_text};
use bake::ui::colour::Colour;
use bake::ui::outline::{outline_json, outline_text, targets_json, targets_text};
use bake::ui::progress::Progress;
use bake_dockerfile::Diagnostic;
use bake_frontend::Checked;
use bake_graph::BuildGraph;

use super::target::{Layouts, Planning, Ready, TargetRequest};
use super::{problems, violation, worker};
use crate::settings::BuildRequest;
use crate::wiring::Host;

/// What a call came to.
pub(crate) struct Answer {
    /// What is written to standard output.
    pub(crate) text: String,
    /// Why the call failed all the same.
    pub(crate) failure: Option<CommandError>,
    /// What it ends with otherwise.
    pub(crate) code: ExitCode,
}

impl Answer {
    fn of(text: String) -> Self {
        Self { text, failure: None, code: ExitCode::SUCCESS }
    }
}

/// Answers a call on standard output.
pub(crate) fn call(request: &BuildRequest, host: &Host, colour: Colour) -> Result<ExitCode, CommandError> {
    let answers = answers(&[TargetRequest::alone(request)], &|_| true, host, colour)?;
    let Some((_, answer)) = answers.into_iter().next() else { return Ok(ExitCode::SUCCESS) };
    crate::print(&answer.text)?;
    answer.failure.map_or(Ok(answer.code), Err)
}

/// The answers of those targets whose names are `wanted`. The others are planned, where those are linked to them.
pub(crate) fn answers(
    requests: &[TargetRequest<'_>],
    wanted: &dyn Fn(&str) -> bool,
    host: &Host,
    colour: Colour,
) -> Result<Vec<(String, Answer)>, CommandError> {
    let Some(first) = requests.first() else { return Ok(Vec::new()) };
    let progress = Progress::to_stderr(first.request.display, colour)
        .map_err(|error| CommandError::build(format!("cannot show progress: {error}")))?;
    let layouts = Layouts::of(requests);
    let images = Arc::new(host.images(layouts.directories()));
    let worker = worker(requests, host, &images, None)?;
    let mut planning = Planning::new(host, layouts, images, worker, &progress);
    let mut answers = Vec::new();
    for target in requests {
        if wanted(&target.name) {
            answers.push((
                target.name.clone(),
                answer(&mut planning, target, colour).map_err(|error| target.told(error))?,
            ));
        }
        if requests.iter().any(|other| other.links.values().any(|linked| *linked == target.name)) {
            planning.add(target)?;
        }
    }
    progress.finish(None);
    Ok(answers)
}

fn answer<'a>(
    planning: &mut Planning<'a>,
    target: &'a TargetRequest<'a>,
    colour: Colour,
) -> Result<Answer, CommandError> {
    let request = target.request;
    let ready = planning.read(target)?;
    if request.call.method == CallMethod::Check {
        return check(&mut planning.graph, request, &ready, colour);
    }
    let Ready { dockerfile, options, resolver, .. } = ready;
    if dockerfile.has_errors() {
        return Err(problems(&dockerfile, &dockerfile.diagnostics, colour));
    }
    let source = &dockerfile.source;
    if request.call.method == CallMethod::Targets {
        let targets = bake_frontend::targets(&dockerfile);
        return Ok(Answer::of(match request.call.format {
            CallFormat::Text => targets_text(&targets),
            CallFormat::Json => json(targets_json(source, &targets))?,
        }));
    }
    let outline = bake_frontend::outline(&mut planning.graph, &dockerfile, &options, &resolver)
        .map_err(|diagnostics| problems(&dockerfile, &diagnostics, colour))?;
    Ok(Answer::of(match request.call.format {
        CallFormat::Text => outline_text(&outline),
        CallFormat::Json => json(outline_json(source, &outline))?,
    }))
}

fn check(
    graph: &mut BuildGraph,
    request: &BuildRequest,
    ready: &Ready,
    colour: Colour,
) -> Result<Answer, CommandError> {
    let Ready { dockerfile, options, resolver, .. } = ready;
    let mut checked = match bake_frontend::check(graph, dockerfile, options, resolver) {
        Ok(checked) => checked,
        Err(errors) => Checked { warnings: Vec::new(), violated: Vec::new(), errors },
    };
    let parser_errors = dockerfile.diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    // What cannot be read cannot be planned, so what planning says of it is no news.
    let parser_errors: Vec<Diagnostic> = parser_errors.cloned().collect();
    if !parser_errors.is_empty() {
        checked.errors = parser_errors;
    }
    let failure = if !checked.errors.is_empty() {
        Some(problems(dockerfile, &checked.errors, colour))
    } else if !checked.violated.is_empty() {
        Some(violation(&checked.violated))
    } else {
        None
    };
    let text = match request.call.format {
        CallFormat::Json => {
            let error = checked.errors.first().map(|error| (error.message.as_str(), Some(error.span)));
            let error = error.or_else(|| failure.as_ref().map(|failure| (failure.message(), None)));
            json(findings_json(&dockerfile.source, &checked.warnings, error))?
        }
        CallFormat::Text if failure.is_some() && checked.warnings.is_empty() => String::new(),
        CallFormat::Text => {
            let colour = if std::io::stdout().is_terminal() { colour } else { Colour::Plain };
            findings_text(&dockerfile.source, &checked.warnings, colour)
        }
    };
    let is_clean = checked.warnings.is_empty() || request.call.ignore_status;
    let code = if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok(Answer { text, failure, code })
}

fn json(text: serde_json::Result<String>) -> Result<String, CommandError> {
    text.map(|text| format!("{text}\n")).map_err(|error| CommandError::internal(error.to_string()))
}
