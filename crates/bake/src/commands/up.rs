//! `bake up`: builds the targets of bake files and Compose files, all in one graph.
//!
//! 1. **read** ([`definition`]): the files, from this directory, from where `--file` says, or from a git repository.
//! 2. **select** (`bake_targets`): the targets that were asked for and those that they are built from, with everything resolved.
//! 3. **allow** ([`entitlements`]): what they want beyond this directory is asked for, or an error.
//! 4. **request** ([`arguments`]): each target becomes the request that `bake build` would make of the same flags.
//! 5. **build** ([`crate::build::build_targets`]): everything at once; or `--print`, `--list`, `--call` instead.

mod arguments;
mod definition;
mod entitlements;
mod lists;

use std::collections::BTreeSet;
use std::process::ExitCode;

use bake::cli::{CallFormat, CallMethod, UpArguments};
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake::ui::sanitize::sanitize_line;
use bake::ui::snippet::render_diagnostics;
use bake_dockerfile::diagnostic::Code;
use bake_dockerfile::{Diagnostic, SourceText, Span};
use bake_targets::{Config, Overrides, Selection, Target, TargetError};
use serde_json::{Map, Value};

use self::arguments::Request;
use self::definition::Definition;
use super::transfer::say;
use crate::build::call::Answer;
use crate::build::{self, TargetRequest};
use crate::configuration::{self, Configuration};
use crate::settings::{self, DockerfileSpec};
use crate::signals;
use crate::wiring::Host;

/// What stands before a path that is meant on this machine, where files come from elsewhere.
const HERE: &str = "cwd://";

/// Writes what `--print` and `--list` ask for, where that takes no store: the files are here.
pub(crate) fn show_local(arguments: &UpArguments, colour: Colour) -> Result<Option<ExitCode>, CommandError> {
    if !arguments.print && arguments.list.is_none() {
        return Ok(None);
    }
    let Some(definition) = Definition::read_local(arguments)? else { return Ok(None) };
    show(arguments, definition, colour).map(|()| Some(ExitCode::SUCCESS))
}

/// Builds, or whatever else was asked for.
pub(crate) fn run(arguments: &UpArguments, host: Host, colour: Colour) -> Result<ExitCode, CommandError> {
    let definition = match Definition::read_local(arguments)? {
        Some(definition) => definition,
        None => Definition::fetch(arguments, &host, colour)?,
    };
    if arguments.print || arguments.list.is_some() {
        return show(arguments, definition, colour).map(|()| ExitCode::SUCCESS);
    }
    let remote = definition.remote.clone();
    let selection = select(arguments, definition, colour)?;
    let entitlements = entitlements::allowed(&arguments.allow)?;
    entitlements.check(&bake_targets::privileges(&selection))?;

    let requests = requests(arguments, &selection, remote.as_deref(), host.privilege.is_root())?;
    let configuration = Configuration::read(host.privilege.is_root())?;
    let (host, requests) = prepared(host, requests, &configuration)?;
    signals::block();
    let is_called = |request: &&Request| !request.linked && request.build.call.method != CallMethod::Build;
    let called: Vec<&str> = requests.iter().filter(is_called).map(|request| request.name.as_str()).collect();
    let built: Vec<&str> =
        requests.iter().filter(|request| !request.linked && !is_called(request)).map(|r| r.name.as_str()).collect();
    if !built.is_empty() {
        let targets = targets(&requests, &built);
        for built in build::build_targets(&targets, &host, colour)? {
            if let Some(digest) = built.digest.filter(|_| !uses_stdout(&requests)) {
                crate::print(&format!("{} {digest}\n", sanitize_line(&built.name)))?;
            }
        }
        if let Some(budget) = configuration.budget() {
            let quiet = requests.iter().all(|request| request.build.display == bake::ui::progress::DisplayKind::Quiet);
            super::collect::after_build(budget, &host, quiet);
        }
    }
    if called.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let targets = targets(&requests, &called);
    let answers = build::call::answers(&targets, &|name| called.contains(&name), &host, colour)?;
    tell(answers, &requests, &selection)
}

/// The targets of a request.
fn select(arguments: &UpArguments, definition: Definition, colour: Colour) -> Result<Selection, CommandError> {
    let environment = settings::environment();
    let Definition { files, inputs, targets, remote } = definition;
    let told = |error: TargetError| told(&error, colour);
    let config = Config::read(files, inputs).map_err(told)?;
    for warning in &config.warnings {
        say(&format!("{} {}", colour.warning("warning:"), sanitize_line(&warning.to_string())));
    }
    let mut overrides = Overrides::default();
    for text in changes(arguments) {
        overrides.add(&text, &environment).map_err(told)?;
    }
    let mut selection = config.select(&targets, &overrides).map_err(told)?;
    // The repository that the files come from is what they are about.
    if let Some(address) = remote {
        for target in selection.targets.values_mut().filter(|target| target.context.as_deref() == Some(".")) {
            target.context = Some(address.clone());
        }
    }
    Ok(selection)
}

/// `--set`, and the flags that are short for it, in buildx's order. `--load` is not among them unless it is to be shown: it means the
/// local store here, which no output of a file is called.
fn changes(arguments: &UpArguments) -> Vec<String> {
    let attest = |kind: &str, value: &str| match bake_dockerfile::parse_boolean(value) {
        Some(wanted) => format!("*.attest=type={kind},disabled={}", !wanted),
        None => format!("*.attest=type={kind},{value}"),
    };
    let mut changes = arguments.set.clone();
    changes.extend(arguments.push.then(|| "*.push=true".to_owned()));
    changes.extend((arguments.load && arguments.print).then(|| "*.load=true".to_owned()));
    changes.extend(arguments.no_cache.map(|value| format!("*.no-cache={value}")));
    changes.extend(arguments.pull.map(|value| format!("*.pull={value}")));
    changes.extend(arguments.sbom.as_deref().map(|value| attest("sbom", value)));
    changes.extend(arguments.provenance.as_deref().map(|value| attest("provenance", value)));
    changes
}

/// `--print` and `--list`.
fn show(arguments: &UpArguments, definition: Definition, colour: Colour) -> Result<(), CommandError> {
    if let Some(listed) = arguments.list {
        let config = Config::read(definition.files, definition.inputs).map_err(|error| told(&error, colour))?;
        return crate::print(&lists::text(&config, listed)?);
    }
    let selection = select(arguments, definition, colour)?;
    crate::print(&format!("{}\n", bake_targets::print(&selection.groups, &selection.targets)))
}

/// What is wrong with a file, with its lines.
fn told(error: &TargetError, colour: Colour) -> CommandError {
    let mut failed = match &error.place {
        Some(place) => {
            let source = SourceText::new(&place.file.name, place.file.text.clone());
            let at = match place.line_and_column() {
                Some((line, _)) => format!(" ({}, line {line})", place.file.name),
                None => format!(" ({})", place.file.name),
            };
            let span = place.span.clone().map(|span| Span::new(span.start, span.end));
            let diagnostic = span.map(|span| Diagnostic::error(Code("bake-file"), span, error.message.clone()));
            let failed = CommandError::input(format!("{}{at}", sanitize_line(&error.message)));
            failed.snippet(render_diagnostics(&source, diagnostic.iter(), colour))
        }
        None => CommandError::input(sanitize_line(&error.message)),
    };
    if let Some(hint) = &error.hint {
        failed = failed.hint(hint);
    }
    failed
}

/// The requests of all targets, each after those that it is built from.
fn requests(
    arguments: &UpArguments,
    selection: &Selection,
    remote: Option<&str>,
    is_root: bool,
) -> Result<Vec<Request>, CommandError> {
    let (mut ordered, mut seen) = (Vec::with_capacity(selection.targets.len()), BTreeSet::new());
    for name in selection.targets.keys() {
        put(name, selection, &mut seen, &mut ordered);
    }
    let configured = configuration::defaults::of_targets(is_root)?;
    ordered.into_iter().map(|target| Request::new(target, arguments, remote, &configured)).collect()
}

/// Puts a target behind those that it is built from. Circles were refused when the targets were selected.
fn put<'a>(name: &'a str, selection: &'a Selection, seen: &mut BTreeSet<&'a str>, ordered: &mut Vec<&'a Target>) {
    let Some(target) = selection.targets.get(name).filter(|_| seen.insert(name)) else { return };
    for (_, linked) in arguments::links(target) {
        put(linked, selection, seen, ordered);
    }
    ordered.push(target);
}

/// The host as all the requests need it, and the requests with what the configuration says.
fn prepared(
    host: Host,
    mut requests: Vec<Request>,
    configuration: &Configuration,
) -> Result<(Host, Vec<Request>), CommandError> {
    for request in &mut requests {
        request.build.policy.configured(configuration);
    }
    let insecure = requests.iter().flat_map(|request| request.build.insecure_registries()).collect();
    let host = host.with_step_network(&configuration.network);
    let host = host.with_runtime(None, configuration.runtime.as_deref())?.with_insecure_registries(insecure);
    Ok((host, requests))
}

/// The named targets, and those that they are built from, in the order of the requests.
fn targets<'a>(requests: &'a [Request], names: &[&str]) -> Vec<TargetRequest<'a>> {
    let mut needed: Vec<&str> = names.to_vec();
    // Those that a target is built from come before it.
    for request in requests.iter().rev() {
        if needed.contains(&request.name.as_str()) {
            needed.extend(request.links.values().map(String::as_str));
        }
    }
    let wanted = requests.iter().filter(|request| needed.contains(&request.name.as_str()));
    let target = |request: &'a Request| TargetRequest {
        name: request.name.clone(),
        request: &request.build,
        links: request.links.clone(),
    };
    wanted.map(target).collect()
}

fn uses_stdout(requests: &[Request]) -> bool {
    requests.iter().any(|request| request.build.exports.iter().any(bake_exporter::ExportSpec::uses_stdout))
}

/// Writes the answers of `--call`: one after the other under the names of their targets, or all in one document.
fn tell(answers: Vec<(String, Answer)>, requests: &[Request], selection: &Selection) -> Result<ExitCode, CommandError> {
    let call = |name: &str| requests.iter().find(|request| request.name == name).map(|request| request.build.call);
    let (json, text): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(name, _)| call(name).is_some_and(|call| call.format == CallFormat::Json));
    if !json.is_empty() {
        crate::print(&document(&json, selection, &|name| call(name).map(|call| call.method))?)?;
    }
    let mut code = ExitCode::SUCCESS;
    let mut failure = None;
    for (index, (name, answer)) in text.iter().enumerate() {
        let description = selection.targets.get(name).and_then(|target| target.description.as_deref());
        let heading: String = [Some(name.as_str()), description]
            .into_iter()
            .flatten()
            .map(sanitize_line)
            .map(|line| line + "\n")
            .collect();
        let between = if index == 0 { "" } else { "\n" };
        crate::print(&format!("{between}{heading}\n{}", answer.text))?;
    }
    for (name, answer) in json.into_iter().chain(text) {
        if answer.code != ExitCode::SUCCESS {
            code = answer.code;
        }
        failure = failure.or(answer.failure.map(|failure| failure.context(format!("target `{name}`"))));
    }
    failure.map_or(Ok(code), Err)
}

/// What buildx writes for programs: what would be built, with the answer beside it.
fn document(
    answers: &[(String, Answer)],
    selection: &Selection,
    method: &dyn Fn(&str) -> Option<CallMethod>,
) -> Result<String, CommandError> {
    let read =
        |text: &str| serde_json::from_str::<Value>(text).map_err(|error| CommandError::internal(error.to_string()));
    let mut document = Map::new();
    let printed = read(&bake_targets::print(&selection.groups, &selection.targets))?;
    document.extend(printed.get("group").map(|groups| ("group".to_owned(), groups.clone())));
    let mut targets = Map::new();
    for (name, answer) in answers {
        let mut target = Map::new();
        target.extend(printed.get("target").and_then(|all| all.get(name)).map(|own| ("build".to_owned(), own.clone())));
        let key = match method(name) {
            Some(CallMethod::Outline) => "outline",
            Some(CallMethod::Targets) => "targets",
            _ => "check",
        };
        target.insert(key.to_owned(), read(&answer.text)?);
        targets.insert(name.clone(), target.into());
    }
    document.insert("target".to_owned(), targets.into());
    let text = serde_json::to_string_pretty(&document).map_err(|error| CommandError::internal(error.to_string()))?;
    Ok(format!("{text}\n"))
}
