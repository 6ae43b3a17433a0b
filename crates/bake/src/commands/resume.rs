//! `bake resume`: goes on with a build where a step failed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;

use bake::cli::{Arguments, BuildArguments, Command, ResumeArguments};
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake_solver::TraceRun;
use bake_worker::{Continuation, ContinuedStep};
use clap::Parser as _;

use super::debug::in_use;
use crate::build::failure::{self, Kept, Record, Typed};
use crate::configuration::defaults;
use crate::settings::{self, BuildRequest, SourceDateEpoch};
use crate::wiring::{Host, store_failed};

/// What is built, and what it goes on from.
pub(crate) struct Resumed {
    pub(crate) request: BuildRequest,
    pub(crate) continuation: Continuation,
}

/// Finds the failed step and makes the request of its build again.
pub(crate) fn prepare(arguments: &ResumeArguments, host: &Host) -> Result<Resumed, CommandError> {
    let Kept { root, record } = failure::find(&host.store, arguments.id.as_deref())?;
    let typed = record.build.clone().map_err(|reason| {
        CommandError::input(format!("the build of the failed step `{}` cannot be repeated: {reason}", root.id))
            .hint("start the build anew; `bake debug` still opens the failed step")
    })?;
    go_to(&typed.directory).map_err(|error| {
        CommandError::input(format!(
            "cannot go to `{}`, where the build was started: {error}",
            typed.directory.display()
        ))
    })?;
    let build = build_arguments(arguments, &record, &typed, host.privilege.is_root())?;
    if build.verify_reproducible {
        return Err(CommandError::input(
            "a build with `--verify-reproducible` cannot be resumed: both of its halves begin anew",
        )
        .hint("start the build again; `bake debug` opens the failed step"));
    }
    let mut request = BuildRequest::new(&build)?;
    request.failure.typed = Some(Ok(typed.clone()));
    if let (None, Some(text)) = (&request.source_date_epoch, typed.source_date_epoch) {
        request.source_date_epoch =
            Some(text.parse().map_or(SourceDateEpoch::OfContext(text), SourceDateEpoch::Seconds));
    }
    request.require_cached = false;
    // What follows stands on a result that only this build has.
    request.trace_run = TraceRun::Off;
    let opened = host.store.open_kept_root(&root.id).map_err(|error| store_failed(&error))?;
    let step = ContinuedStep {
        definition: record.step.definition,
        base: record.step.base().iter().map(|layer| layer.snapshot.clone()).collect(),
        root: opened.ok_or_else(|| in_use(&root.id))?,
        accept: arguments.accept,
    };
    let layers = record.layers.into_iter().collect();
    Ok(Resumed { request, continuation: Continuation { layers, step: Some(step) } })
}

/// Enters the directory that the paths of what was typed begin at.
#[expect(
    clippy::disallowed_methods,
    reason = "there is one thread yet, and every path of the build is meant from there"
)]
fn go_to(directory: &Path) -> std::io::Result<()> {
    std::env::set_current_dir(directory)
}

/// What was typed then, with what is given again.
fn build_arguments(
    arguments: &ResumeArguments,
    record: &Record,
    typed: &Typed,
    is_root: bool,
) -> Result<BuildArguments, CommandError> {
    let line: Vec<OsString> =
        std::iter::once("bake").chain(typed.arguments.iter().map(String::as_str)).map(OsString::from).collect();
    let meaningless = || {
        CommandError::input("the arguments of the failed build mean nothing to this version of bake")
            .hint("start the build anew")
    };
    let again = Arguments::try_parse_from(&line).map_err(|_| meaningless())?;
    // What is configured was not typed, and holds again.
    let again = defaults::configured(&again, &line, is_root)?.map_or(again, |configured| configured.arguments);
    let Command::Build(mut build) = again.command else { return Err(meaningless()) };
    build.secret.extend(arguments.secret.iter().cloned());
    build.ssh.extend(arguments.ssh.iter().cloned());
    build.build_arg.extend(arguments.build_arg.iter().cloned());
    let secrets: BTreeSet<String> = settings::secrets(&build.secret)?.into_keys().collect();
    let agents: BTreeSet<String> = settings::ssh_sources(&build.ssh)?.into_keys().collect();
    let given: BTreeMap<String, String> = settings::given(&build.build_arg);
    let mut missing: Vec<String> = Vec::new();
    missing
        .extend(record.secrets.iter().filter(|id| !secrets.contains(*id)).map(|id| format!("`--secret id={id},...`")));
    missing.extend(record.agents.iter().filter(|id| !agents.contains(*id)).map(|id| format!("`--ssh {id}`")));
    missing.extend(
        record
            .withheld
            .iter()
            .filter(|name| !given.contains_key(*name))
            .map(|name| format!("`--build-arg {name}=...`")),
    );
    if !missing.is_empty() {
        return Err(CommandError::usage(format!("the build of the failed step needs {} again", missing.join(", ")))
            .hint("secrets, SSH agents and the values of build arguments are not kept"));
    }
    Ok(*build)
}

/// Carries it out; the digest, unless standard output is taken by something else.
pub(crate) fn run(resumed: Resumed, host: Host, colour: Colour) -> Result<Option<String>, CommandError> {
    let Resumed { request, continuation } = resumed;
    let host = host.with_insecure_registries(request.insecure_registries());
    let uses_stdout = request.exports.iter().any(bake_exporter::ExportSpec::uses_stdout);
    let digest = crate::build::build(&request, &host, colour, Some(continuation))?;
    Ok(digest.filter(|_| !uses_stdout))
}
