//! `bake build`, from the request to the report. Read top to bottom:
//!
//! 1. **start**: [`main`](crate) has checked that this is not the sandbox's child, and entered a user namespace for
//!    ordinary users; [`BuildRequest`] holds what was asked for.
//! 2. **read** ([`read`]): the Dockerfile and the ignore file. A context from a server, or from standard input, is fetched; a directory is
//!    walked only when something copies from it.
//! 3. **parse** (`bake_dockerfile::parse`): always a tree; all errors at once, each with its lines.
//! 4. **plan** (`bake_frontend::plan`): expand, pick the target, drop unreachable stages, resolve base images, lower to a
//!    graph.
//! 5. **solve** (`bake_solver::solve`): walk from the sources and look keys up; a hit touches no file system.
//! 6. **execute** (`bake_worker::LinuxWorker`): RUN in a sandbox over an overlay snapshot, COPY and ADD by the file worker.
//! 7. **commit** (same place): the upper directory is the new snapshot; its diff ID is computed while the next step runs.
//! 8. **assemble** ([`assemble`]): layers, history and config of each image; what is said of it ([`attest`]).
//! 9. **export** ([`export`]): blobs are compressed when an exporter first needs them.
//!    Then the build cache ([`cache`]), for which results may also have been imported in 5.
//! 10. **report**: the digest on standard output, everything else on standard error.

mod assemble;
mod attest;
mod cache;
pub(crate) mod call;
mod export;
pub(crate) mod failure;
pub(crate) mod journal;
pub(crate) mod measure;
mod packages;
pub(crate) mod plan;
mod read;
mod ssh;
pub(crate) mod verify;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bake::error::{CommandError, ErrorKind};
use bake::ui::colour::Colour;
use bake::ui::progress::Progress;
use bake::ui::report::Summary;
use bake::ui::sanitize::sanitize_line;
use bake::ui::snippet::{FailedStep, render_diagnostics, render_failed_step};
use bake_dockerfile::diagnostic::code;
use bake_dockerfile::{Diagnostic, Dockerfile, Severity, SourceText, Span};
use bake_frontend::{Plan, PlanOptions};
use bake_graph::{StepLabel, VertexId};
use bake_oci::{DefinitionDigest, Timestamp};
use bake_solver::{SolveError, SolveOptions, Solved, StepErrorKind};
use bake_worker::{BuildContext, Continuation, Images, LinuxWorker, WorkerOptions};

pub(crate) use self::read::ignore_patterns;

use self::journal::{Journal, Success};
use crate::lock::ImageLock;
use crate::policy::ImagePolicy;
use crate::settings::{BuildRequest, NamedSource};
use crate::signals;
use crate::wiring::{Host, Resolver, store_failed};

use self::verify::{Purpose, Settled};

use self::measure::{Effort, MeasuredBuild, Measuring};

use self::export::{BuildFacts, Exported, ExportedImage, Exporting};

/// Builds, exports, and returns what is to be written to standard output.
///
/// With a `continuation` it goes on from a step that failed in an earlier build of the same request.
pub(crate) fn build(
    request: &BuildRequest,
    host: &Host,
    colour: Colour,
    continuation: Option<Continuation>,
) -> Result<Option<String>, CommandError> {
    build_for(Purpose::Outputs, request, host, colour, continuation)
        .map_err(|error| error.in_file(request.absolute_dockerfile().as_deref()))
}

fn build_for(
    purpose: Purpose<'_>,
    request: &BuildRequest,
    host: &Host,
    colour: Colour,
    continuation: Option<Continuation>,
) -> Result<Option<String>, CommandError> {
    let journal = Journal::begin(host, request);
    let progress = Progress::with_options(request.display, colour, crate::settings::display_options(request)?)
        .map_err(|error| CommandError::build(format!("cannot show progress: {error}")))?
        .recorded_by(journal.recorder());
    for problem in crate::settings::palette_problems() {
        progress.print(format!("{} `BUILDKIT_COLORS`: {}", colour.warning("warning:"), sanitize_line(&problem)));
    }
    build_recorded(purpose, request, host, &progress, &journal, continuation)
        .inspect_err(|error| journal.failed(&progress, error))
}

/// The same, with everything that happens shown by `progress` and collected by `journal`.
fn build_recorded(
    purpose: Purpose<'_>,
    request: &BuildRequest,
    host: &Host,
    progress: &Progress,
    journal: &Journal<'_>,
    continuation: Option<Continuation>,
) -> Result<Option<String>, CommandError> {
    let colour = progress.colour();
    let started = Timestamp::now();
    export::forget_results(request);
    let cancelled = Arc::new(AtomicBool::new(false));
    let running: Arc<OnceLock<Weak<LinuxWorker>>> = Arc::default();
    let _signals = signals::on_interrupt({
        let (running, cancelled) = (Arc::clone(&running), Arc::clone(&cancelled));
        move || {
            cancelled.store(true, Ordering::SeqCst);
            match running.get().map(Weak::upgrade) {
                Some(Some(worker)) => bake_solver::Worker::cancel(&*worker),
                Some(None) => {}
                // Reading and resolving leave nothing behind that the next build does not clean.
                None => signals::exit_interrupted(),
            }
        }
    });
    // Read while the Dockerfile and the context are, and while images are resolved.
    let images = layout_images(request, host);
    let imported = cache::Imported::begin(request, host, &images.cancelled())?;
    let images = Arc::new(images.with_imported(Arc::clone(&imported.steps) as _));
    let worker = worker(request, host, &images, Some(&imported))?;
    let input = read::read(request, &worker, progress)?;
    export::check_times(request, input.source_date_epoch)?;

    let dockerfile = bake_dockerfile::parse(input.dockerfile.clone());
    report_problems(&dockerfile, progress)?;

    let resolver = resolver(request, host, &images, &input)?;
    // A server that takes its time is seen to.
    let resolving = progress.begin(internal("resolving base images"));
    let plan = match bake_frontend::plan(&dockerfile, &plan_options(request, &input), &resolver) {
        Ok(plan) => plan,
        Err(diagnostics) => {
            resolving.done();
            return Err(problems(&dockerfile, &diagnostics, colour));
        }
    };
    resolving.done();
    progress.findings(&dockerfile.source, &plan.warnings);
    resolver.tell_of_lock(progress);
    warn_unmatched_filters(request, &dockerfile, progress);
    for name in &plan.unused_build_args {
        progress
            .print(format!("{} build argument `{name}` is not used by this Dockerfile", colour.warning("warning:")));
    }

    if !plan.violated.is_empty() {
        return Err(violation(&plan.violated));
    }

    let contexts = failure::contexts(request, &input.contexts);
    let mut worker = worker.with_contexts(input.contexts);
    let continued = continuation.as_ref().map(|continuation| continued_steps(continuation, &plan)).transpose()?;
    if let Some(continuation) = continuation {
        progress.print(format!(
            "{} what comes of the step that failed is used by this build only, and does not get into the cache",
            colour.warning("note:")
        ));
        worker = worker.with_continuation(continuation);
    }
    let worker = Arc::new(worker);
    // Nobody else sets it.
    let _ = running.set(Arc::downgrade(&worker));
    let epoch = input.source_date_epoch;
    let targets = targets(&plan, request);
    journal.plan(&plan, &targets, &dockerfile.source);
    let build = Build {
        plan: &plan,
        targets: &targets,
        worker: &worker,
        images: &images,
        imported: &imported,
        host,
        request,
        epoch,
        dockerfile: &dockerfile.source,
        started,
        continued: continued.as_deref(),
        purpose,
    };
    let carried_out = loop {
        match build.carry_out(progress, &cancelled) {
            // Whatever went wrong, it may be for want of something that an import had promised.
            Err(failure) if !cancelled.load(Ordering::SeqCst) && imported.give_up_on_broken(progress) => {
                tracing::debug!(?failure, "the build begins again");
                worker.begin_again();
            }
            carried_out => break carried_out,
        }
    };
    let failed = match carried_out {
        Ok((solved, exported)) => {
            let measuring = Measuring { plan: &plan, solved: &solved, dockerfile: &dockerfile, images: &images, host };
            let measured = match purpose {
                Purpose::Sample(_) => None,
                Purpose::Measurement(measurement) => {
                    let measured = measuring.try_measure(Effort::Full(progress))?;
                    let source = dockerfile.source.clone();
                    // Nobody else sets it.
                    let _ = measurement.set(measured.map(|measured| MeasuredBuild { measured, source }));
                    None
                }
                Purpose::Outputs | Purpose::Comparison(_) => measuring.measure(Effort::Little),
            };
            let told = measured.as_ref().map(|measured| measured.tell(&dockerfile, request, progress));
            let number = journal.succeeded(
                progress,
                &Success {
                    solved: &solved,
                    exported: &exported,
                    layers: measured.as_ref().map(|measured| measured.records(&dockerfile)),
                    measured: journal::findings(&dockerfile.source, &told.unwrap_or_default()),
                },
            );
            if purpose.has_outputs() {
                let (source, findings, attestations) = (&dockerfile.source, &plan.warnings, &exported.metadata);
                let measurement = measured.map(|measured| measured.metadata(&dockerfile));
                let facts = BuildFacts { number, source, findings, attestations, measurement };
                export::write_results(exported.image.as_ref(), request, &facts)?;
            }
            imported.tell_of_mounts(progress);
            empty_trash(host);
            resolver.write_lock()?;
            progress.finish(Some(&Summary {
                ran: solved.ran,
                cached: solved.cached,
                elapsed: progress.elapsed(),
                tags: exported.tags,
                size_bytes: exported.image.as_ref().map(ExportedImage::size_bytes),
                destinations: exported.destinations,
                digest: exported.image.as_ref().map(|image| image.digest().to_string()),
            }));
            return Ok(exported.image.map(|image| image.digest().to_string()));
        }
        Err(Failure::Step(error)) => {
            let failed = failed_build(&error, &plan, &dockerfile, progress);
            match &error {
                SolveError::Step { step, error } if !cancelled.load(Ordering::SeqCst) => {
                    let location = plan.graph.vertex(*step).origin.map(|origin| {
                        format!("{}:{}", dockerfile.source.name(), dockerfile.source.position(origin.start).line)
                    });
                    let (step, error, contexts) = (*step, error.message.as_str(), &contexts);
                    let failure = failure::Failed { request, host, worker: &worker, contexts, step, error, location };
                    failed.hints(failure.handle())
                }
                _ => failed,
            }
        }
        Err(Failure::Other(_)) if cancelled.load(Ordering::SeqCst) => {
            progress.finish(None);
            CommandError::interrupted()
        }
        Err(Failure::Other(error)) => error,
    };
    // After a failure, which may be for want of the room that this makes. After an interruption nobody wants to wait for
    // the disk; the next build deletes as well.
    if !cancelled.load(Ordering::SeqCst) {
        empty_trash(host);
    }
    Err(failed)
}

/// Why carrying out a plan ended without a result.
#[derive(Debug)]
enum Failure {
    /// A step failed, or the build was cancelled.
    Step(SolveError),
    /// Anything after the steps.
    Other(CommandError),
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Self::Other(error)
    }
}

/// A plan and what it is carried out with.
struct Build<'a> {
    plan: &'a Plan,
    targets: &'a [VertexId],
    worker: &'a Arc<LinuxWorker>,
    images: &'a Arc<Images>,
    imported: &'a cache::Imported,
    host: &'a Host,
    request: &'a BuildRequest,
    epoch: Option<i64>,
    dockerfile: &'a SourceText,
    started: Timestamp,
    /// The steps that only this build has results of, if it goes on from a failure.
    continued: Option<&'a [DefinitionDigest]>,
    purpose: Purpose<'a>,
}

impl Build<'_> {
    /// Steps 5 to 9.
    fn carry_out(&self, progress: &Progress, cancelled: &AtomicBool) -> Result<(Solved, Exported), Failure> {
        let Self { plan, targets, worker, images, imported, host, request, epoch, continued, purpose, .. } = *self;
        let (told, imports) = (imported.told(), &imported.steps);
        let waiting = || cache::Imported::tell(told, imports, progress);
        let cache = imported.cache(host, &waiting);
        let options = SolveOptions {
            parallelism: request.parallelism,
            require_cached: request.require_cached,
            continued,
            cancelled,
        };
        let solved =
            bake_solver::solve(&plan.graph, targets, &**worker, &cache, progress, &options).map_err(Failure::Step)?;

        let results = if request.cache.to.is_empty() {
            Vec::new()
        } else {
            cache.results(&host.store, imports).map_err(|error| store_failed(&error))?
        };
        let inline = request
            .cache
            .is_inline()
            .then(|| assemble::Inline { results: &results, compression: export::common_compression(&request.exports) });
        // Large layers take longer to be digested than to be made.
        let digesting = progress.begin(internal("digesting layers"));
        let assembled = assemble::assemble(plan, &solved, worker, epoch, inline.as_ref(), imports);
        digesting.done();
        let assembled = assembled?;
        let assembled = assembled.as_slice();
        let (dockerfile, started) = (self.dockerfile, self.started);
        let facts = attest::Facts { request, plan, worker, store: &host.store, dockerfile, started, epoch };
        let search = packages::Search { plan, assembled, solved: &solved, worker, images, host, progress };
        let wants_packages = request.attest.sbom.is_some() && purpose.has_outputs();
        let lists = if wants_packages { search.lists()? } else { Vec::new() };
        let attestations = &attest::Attestations::new(&facts, assembled, lists);
        let exporting = Exporting { assembled, attestations, request, host, images, progress, cancelled, epoch };
        if purpose.settle(&exporting)? == Settled::Done {
            return Ok((solved, Exported::default()));
        }
        let mut outcome = exporting.export()?;
        outcome.metadata = attestations.metadata(request.multi_platform);

        let exporter = export::exporter(request, host);
        let export =
            cache::Export { request, host, images, worker, exporter: &exporter, imported, progress, cancelled };
        export.steps(&results, assembled)?;
        export.mounts(plan, &solved)?;
        Ok((solved, outcome))
    }
}

/// The name of work that nobody wants to see unless it takes long.
fn internal(text: &str) -> StepLabel {
    StepLabel { text: text.to_owned(), internal: true, ..StepLabel::default() }
}

/// The vertices whose results are wanted: those of the images, and those whose packages are to be listed with them.
fn targets(plan: &Plan, request: &BuildRequest) -> Vec<VertexId> {
    let mut targets: Vec<VertexId> = plan.images.iter().map(|image| image.root).collect();
    if request.attest.sbom.is_some() {
        let scans = plan.images.iter().flat_map(|image| &image.scans.stages).map(|(_, root)| *root);
        targets.extend(scans.filter(|root| !targets.contains(root)).collect::<Vec<_>>());
    }
    targets
}

/// The steps that only a build which goes on from a failure has results of. The failed one must be among those of the plan.
fn continued_steps(continuation: &Continuation, plan: &Plan) -> Result<Vec<DefinitionDigest>, CommandError> {
    let mut steps: Vec<DefinitionDigest> = continuation.layers.keys().copied().collect();
    let Some(step) = &continuation.step else { return Ok(steps) };
    let targets: Vec<_> = plan.images.iter().map(|image| image.root).collect();
    let needed = plan.graph.needed(&targets);
    if !needed.iter().any(|id| plan.graph.vertex(*id).definition == step.definition) {
        return Err(CommandError::input("the step that failed is not a step of this build any more")
            .hint("the Dockerfile, its arguments or a base image changed since; start the build anew"));
    }
    steps.push(step.definition);
    Ok(steps)
}

/// Finds or starts SSH agents.
pub(crate) fn agents(
    sources: &BTreeMap<String, crate::settings::SshSource>,
) -> Result<BTreeMap<String, Arc<bake_worker::SshAgent>>, CommandError> {
    ssh::agents(sources)
}

/// The images of this build, those of named layouts among them.
fn images(request: &BuildRequest, host: &Host) -> Arc<Images> {
    Arc::new(layout_images(request, host))
}

fn layout_images(request: &BuildRequest, host: &Host) -> Images {
    let layouts = request.named.iter().filter_map(|(name, source)| match source {
        NamedSource::Layout { directory, .. } => Some((name.clone(), directory.clone())),
        _ => None,
    });
    host.images(layouts.collect())
}

/// What carries out the steps, and before that fetches contexts.
fn worker(
    request: &BuildRequest,
    host: &Host,
    images: &Arc<Images>,
    imported: Option<&cache::Imported>,
) -> Result<LinuxWorker, CommandError> {
    Ok(LinuxWorker::new(WorkerOptions {
        store: host.store.clone(),
        images: Arc::clone(images),
        network: Arc::clone(&host.network),
        isolation: host.isolation(),
        secrets: request.secrets.clone(),
        agents: ssh::agents(&request.ssh)?,
        step_network: host.step_network.clone(),
        runtime: host.runtime.clone(),
        shm_size_bytes: request.shm_size_bytes,
        limits: request.limits.clone(),
        imported_mounts: imported
            .filter(|imported| !imported.mounts.is_empty())
            .map(|imported| Arc::clone(&imported.mounts) as _),
        git_environment: crate::settings::git_environment(),
    }))
}

/// What images and names mean in this build.
fn resolver(
    request: &BuildRequest,
    host: &Host,
    images: &Arc<Images>,
    input: &read::Input,
) -> Result<Resolver, CommandError> {
    let ignore = match input.contexts.get("context") {
        Some(BuildContext::Directory(directory)) => Some(directory.ignore.clone()),
        Some(BuildContext::Fetched(_)) | None => None,
    };
    let lock = ImageLock::open(&request.lock, input.dockerfile_path.as_deref(), host)?;
    let policy = ImagePolicy::open(&request.policy, host)?;
    Ok(Resolver { images: Arc::clone(images), named: request.named.clone(), pull: request.pull, ignore, lock, policy })
}

/// What was asked for, with what only reading tells.
fn plan_options(request: &BuildRequest, input: &read::Input) -> PlanOptions {
    let mut options = PlanOptions { main_context: input.main_context, ..request.plan.clone() };
    if let Some(epoch) = input.source_date_epoch {
        options.build_args.insert("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string());
    }
    options
}

/// Warns of a `--no-cache-filter` that names no stage: nothing would run that was meant to.
fn warn_unmatched_filters(request: &BuildRequest, dockerfile: &Dockerfile, progress: &Progress) {
    let warning = progress.colour().warning("warning:");
    for name in bake_frontend::unmatched_stage_names(dockerfile, &request.plan.no_cache_filter) {
        progress.print(format!("{warning} `--no-cache-filter {}`: there is no such stage", sanitize_line(name)));
    }
}

/// The failure that a Dockerfile asks for when checks find something.
fn violation(checks: &[&str]) -> CommandError {
    CommandError::build(format!("lint violation found for rules: {}", checks.join(", ")))
}

/// Deletes what the build threw away, and what builds that were killed left behind. That is nobody's concern but the
/// machine's, so it cannot fail a build.
fn empty_trash(host: &Host) {
    bake_sandbox::remove_left_cgroups();
    if let Err(error) = host.store.empty_trash() {
        tracing::debug!(%error, "could not empty the trash");
    }
}

/// Shows the parser's warnings, and ends the build if there are errors.
fn report_problems(dockerfile: &Dockerfile, progress: &Progress) -> Result<(), CommandError> {
    let colour = progress.colour();
    if dockerfile.has_errors() {
        return Err(problems(dockerfile, &dockerfile.diagnostics, colour));
    }
    // This one is a build check, which can be switched off and is shown with the others.
    let diagnostics = dockerfile.diagnostics.iter().filter(|diagnostic| diagnostic.code != code::EMPTY_CONTINUATION);
    let warnings = diagnostics.filter(|diagnostic| diagnostic.severity == Severity::Warning);
    let text = render_diagnostics(&dockerfile.source, warnings, colour);
    if !text.is_empty() {
        progress.print(text);
    }
    Ok(())
}

/// All errors with their lines. The first message is the error's own, so that a single line says what is wrong.
fn problems(dockerfile: &Dockerfile, diagnostics: &[Diagnostic], colour: Colour) -> CommandError {
    let errors: Vec<&Diagnostic> = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).collect();
    let snippet = render_diagnostics(&dockerfile.source, errors.iter().copied(), colour);
    let message = match errors.as_slice() {
        [] => "the Dockerfile cannot be built".to_owned(),
        [only] => {
            let line = dockerfile.source.position(only.span.start).line;
            format!("{} ({}, line {line})", only.message, dockerfile.source.name())
        }
        several => format!("{} errors in {}", several.len(), dockerfile.source.name()),
    };
    let error = CommandError::input(message).snippet(snippet);
    match errors.first() {
        Some(first) => at(error, &dockerfile.source, first.span),
        None => error,
    }
}

/// Adds the place in the Dockerfile.
fn at(error: CommandError, source: &SourceText, span: Span) -> CommandError {
    let (first, last) = bake::ui::location::lines(source, span);
    error.at(source.name(), first, last)
}

/// A failed step with its output and its lines.
fn failed_build(error: &SolveError, plan: &Plan, dockerfile: &Dockerfile, progress: &Progress) -> CommandError {
    let SolveError::Step { step, error } = error else {
        progress.finish(None);
        return CommandError::interrupted();
    };
    if error.kind == StepErrorKind::Cancelled {
        progress.finish(None);
        return CommandError::interrupted();
    }
    let vertex = plan.graph.vertex(*step);
    let name = vertex.label.to_string();
    let output = progress.tail(*step);
    progress.finish(None);
    let origin = vertex.origin.map(|origin| (&dockerfile.source, Span::new(origin.start, origin.end)));
    let snippet = render_failed_step(&FailedStep { name: &name, output: &output, origin }, progress.colour());
    let line = match origin {
        // The message names the step and ends with what changed, to which a line would seem to belong.
        Some((source, span)) if error.kind != StepErrorKind::NotCached => {
            format!(" (line {})", source.position(span.start).line)
        }
        _ => String::new(),
    };
    let mut failed = CommandError::new(ErrorKind::Build, format!("{}{line}", error.message))
        .snippet(snippet)
        .hints(error.hints.clone());
    if let Some((source, span)) = origin {
        failed = at(failed, source, span);
    }
    if is_store_full(error) {
        failed = failed.hint("`bake prune` frees space in the store");
    }
    failed
}

/// Whether the step failed because there is no room in the store, however deep down.
fn is_store_full(error: &bake_solver::StepError) -> bool {
    let first: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    std::iter::successors(first, |error| error.source())
        .filter_map(|error| error.downcast_ref::<bake_store::StoreError>())
        .any(bake_store::StoreError::is_disk_full)
}
