//! `bake build --call`: what can be said about a Dockerfile without building it. Nothing is carried out, and of images
//! only what planning would ask for is looked at: their configs.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use bake::cli::{CallFormat, CallMethod};
use bake::error::CommandError;
use bake::ui::checks::{findings_json, findings_text};
use bake::ui::colour::Colour;
use bake::ui::outline::{outline_json, outline_text, targets_json, targets_text};
use bake::ui::progress::Progress;
use bake_dockerfile::{Diagnostic, Dockerfile};
use bake_frontend::{Checked, PlanOptions};

use super::{images, plan_options, problems, read, resolver, violation, worker};
use crate::settings::BuildRequest;
use crate::wiring::{Host, Resolver};

/// Answers a call on standard output.
pub(crate) fn call(request: &BuildRequest, host: &Host, colour: Colour) -> Result<ExitCode, CommandError> {
    let progress = Progress::to_stderr(request.display, colour)
        .map_err(|error| CommandError::build(format!("cannot show progress: {error}")))?;
    let images = images(request, host);
    let input = read::read(request, &worker(request, host, &images, None)?, &progress)?;
    progress.finish(None);
    let dockerfile = bake_dockerfile::parse(input.dockerfile.clone());
    let resolver = resolver(request, host, &images, &input)?;
    let options = plan_options(request, &input);
    if request.call.method == CallMethod::Check {
        return check(request, &options, &dockerfile, &resolver, colour);
    }
    if dockerfile.has_errors() {
        return Err(problems(&dockerfile, &dockerfile.diagnostics, colour));
    }
    let source = &dockerfile.source;
    let text = if request.call.method == CallMethod::Targets {
        let targets = bake_frontend::targets(&dockerfile);
        match request.call.format {
            CallFormat::Text => targets_text(&targets),
            CallFormat::Json => json(targets_json(source, &targets))?,
        }
    } else {
        let outline = bake_frontend::outline(&dockerfile, &options, &resolver)
            .map_err(|diagnostics| problems(&dockerfile, &diagnostics, colour))?;
        match request.call.format {
            CallFormat::Text => outline_text(&outline),
            CallFormat::Json => json(outline_json(source, &outline))?,
        }
    };
    crate::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn check(
    request: &BuildRequest,
    options: &PlanOptions,
    dockerfile: &Dockerfile,
    resolver: &Resolver,
    colour: Colour,
) -> Result<ExitCode, CommandError> {
    let mut checked = match bake_frontend::check(dockerfile, options, resolver) {
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
    crate::print(&text)?;
    match failure {
        Some(failure) => Err(failure),
        None if checked.warnings.is_empty() || request.call.ignore_status => Ok(ExitCode::SUCCESS),
        None => Ok(ExitCode::FAILURE),
    }
}

fn json(text: serde_json::Result<String>) -> Result<String, CommandError> {
    text.map(|text| format!("{text}\n")).map_err(|error| CommandError::internal(error.to_string()))
}
