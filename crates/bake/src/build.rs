//! `bake build`, from the request to the report. Read top to bottom. `bake up` is the same for several requests: steps 2 to 4 and 8 to
//! 10 for each of them, and what lies between once for all, in one graph.
//!
//! 1. **start**: [`main`](crate) has checked that this is not the sandbox's child, and entered a user namespace for
//!    ordinary users; [`BuildRequest`] holds what was asked for.
//! 2. **read** ([`target`], [`read`]): the Dockerfile and the ignore file. A context from a server, or from standard input, is fetched; a directory is
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
pub(crate) mod repository;
mod ssh;
pub(crate) mod target;
mod unread;
pub(crate) mod verify;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bake::error::{CommandError, ErrorKind};
use bake::ui::colour::Colour;
use bake::ui::progress::Progress;
use bake::ui::report::Summary;
use bake::ui::sanitize::sanitize_line;
use bake::ui::snippet::{FailedStep, render_diagnostics, render_failed_step};
use bake_cache::StepResult;
use bake_dockerfile::diagnostic::code;
use bake_dockerfile::{Diagnostic, Dockerfile, Severity, SourceText, Span};
use bake_graph::{BuildGraph, StepLabel, VertexId};
use bake_oci::{DefinitionDigest, Timestamp};
use bake_solver::{Parallelism, SolveError, SolveOptions, Solved, StepErrorKind, TraceRun, VerifyShare};
use bake_worker::{Continuation, Images, LinuxWorker, StepGrants, WorkerOptions};

pub(crate) use self::read::ignore_patterns;
pub(crate) use self::target::TargetRequest;

use self::assemble::Assembled;
use self::attest::Attestations;
use self::export::{BuildFacts, Exported, ExportedImage, Exporting};
use self::failure::KeptContext;
use self::journal::{Journal, Success};
use self::measure::{Effort, MeasuredBuild, Measuring};
use self::target::{Layouts, Planned, Planning, Plans, Sources};
use self::verify::{Purpose, Settled};
use crate::settings::BuildRequest;
use crate::signals;
use crate::wiring::{Host, store_failed};

/// Builds, exports, and returns what is to be written to standard output.
///
/// With a `continuation` it goes on from a step that failed in an earlier build of the same request.
pub(crate) fn build(
    request: &BuildRequest,
    host: &Host,
    colour: Colour,
    continuation: Option<Continuation>,
) -> Result<Option<String>, CommandError> {
    build_one(Purpose::Outputs, request, host, colour, continuation)
}

/// The same for several targets, each after those that it is linked to: what they have in common is done once, and outputs are written
/// when all steps of all of them are done.
pub(crate) fn build_targets(
    targets: &[TargetRequest<'_>],
    host: &Host,
    colour: Colour,
) -> Result<Vec<BuiltTarget>, CommandError> {
    build_for(Purpose::Outputs, targets, host, colour, None)
}

fn build_one(
    purpose: Purpose<'_>,
    request: &BuildRequest,
    host: &Host,
    colour: Colour,
    continuation: Option<Continuation>,
) -> Result<Option<String>, CommandError> {
    let mut built = build_for(purpose, &[TargetRequest::alone(request)], host, colour, continuation)?;
    Ok(built.pop().and_then(|built| built.digest))
}

fn build_for(
    purpose: Purpose<'_>,
    requests: &[TargetRequest<'_>],
    host: &Host,
    colour: Colour,
    continuation: Option<Continuation>,
) -> Result<Vec<BuiltTarget>, CommandError> {
    // What is about the whole build is the same in all of them.
    let Some(request) = requests.first().map(|target| target.request) else { return Ok(Vec::new()) };
    let options = crate::settings::display_options(requests.iter().map(|target| target.request))?;
    let journal = Journal::begin(host, requests)?;
    let progress = Progress::with_options(request.display, colour, options)
        .map_err(|error| CommandError::build(format!("cannot show progress: {error}")))?
        .recorded_by(journal.recorder());
    for problem in crate::settings::palette_problems() {
        progress.print(format!("{} `BUILDKIT_COLORS`: {}", colour.warning("warning:"), sanitize_line(&problem)));
    }
    let built = build_recorded(purpose, requests, host, &progress, &journal, continuation)
        .inspect_err(|error| journal.failed(&progress, error));
    // Of a sample there is something to tell only where it fails.
    if built.is_ok() && !purpose.has_outputs() {
        return built;
    }
    match journal.report() {
        Ok(()) => built,
        Err(error) => built.and(Err(error)),
    }
}

/// The same, with everything that happens shown by `progress` and collected by `journal`.
fn build_recorded(
    purpose: Purpose<'_>,
    requests: &[TargetRequest<'_>],
    host: &Host,
    progress: &Progress,
    journal: &Journal<'_>,
    continuation: Option<Continuation>,
) -> Result<Vec<BuiltTarget>, CommandError> {
    let started = Timestamp::now();
    for target in requests {
        export::forget_results(target.request);
    }
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
    let layouts = Layouts::of(requests);
    let images = host.images(layouts.directories());
    let imported = cache::Imported::begin(requests, host, &images.cancelled())?;
    let images = Arc::new(images.with_imported(Arc::clone(&imported.steps) as _));
    let worker = worker(requests, host, &images, Some(&imported))?;

    let mut planning = Planning::new(host, layouts, images, worker, progress);
    requests.iter().try_for_each(|target| planning.add(target))?;
    let Plans { graph, targets, mut worker, images, kept } = planning.finish();

    let wanted = wanted(&targets);
    let continued =
        continuation.as_ref().map(|continuation| continued_steps(continuation, &graph, &wanted)).transpose()?;
    if let Some(continuation) = continuation {
        progress.print(format!(
            "{} what comes of the step that failed is used by this build only, and does not get into the cache",
            progress.colour().warning("note:")
        ));
        worker = worker.with_continuation(continuation);
    }
    let worker = Arc::new(worker);
    // Nobody else sets it.
    let _ = running.set(Arc::downgrade(&worker));
    journal.plan(&graph, &wanted, &targets);
    let build = Build {
        graph: &graph,
        targets: &targets,
        wanted: &wanted,
        worker: &worker,
        images: &images,
        imported: &imported,
        host,
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
            build.report(&solved, &exported, journal, progress)?;
            imported.tell_of_mounts(progress);
            empty_trash(host);
            targets.iter().try_for_each(Planned::write_lock)?;
            progress.finish(Some(&summary(&solved, &exported, progress.elapsed())));
            return Ok(built(&targets, exported));
        }
        Err(Failure::Step(error)) => {
            let failed = failed_build(&error, &graph, Sources::new(&targets), progress);
            match &error {
                SolveError::Step { step, error } if !cancelled.load(Ordering::SeqCst) => {
                    failed.hints(build.failed_step(*step, &error.message, &kept))
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

/// A target that was built.
#[derive(Debug)]
pub(crate) struct BuiltTarget {
    /// Its name; empty for a request of its own.
    pub(crate) name: String,
    /// The digest of its image, if one was made.
    pub(crate) digest: Option<String>,
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

/// Plans and what they are carried out with.
struct Build<'a> {
    graph: &'a BuildGraph,
    targets: &'a [Planned<'a>],
    /// The vertices whose results are wanted.
    wanted: &'a [VertexId],
    worker: &'a Arc<LinuxWorker>,
    images: &'a Arc<Images>,
    imported: &'a cache::Imported,
    host: &'a Host,
    started: Timestamp,
    /// The steps that only this build has results of, if it goes on from a failure.
    continued: Option<&'a [DefinitionDigest]>,
    purpose: Purpose<'a>,
}

/// A target whose steps are done: its images, and what is said of them.
struct Finished<'a> {
    target: &'a Planned<'a>,
    /// Results of its steps, for caches.
    results: Vec<StepResult>,
    assembled: Vec<Assembled>,
    attestations: Attestations,
}

impl Build<'_> {
    /// Steps 5 to 9: all steps of all targets, then all outputs, so that a failure leaves none.
    fn carry_out(&self, progress: &Progress, cancelled: &AtomicBool) -> Result<(Solved, Vec<Exported>), Failure> {
        let Self { graph, targets, worker, imported, host, continued, .. } = *self;
        let (told, imports) = (imported.told(), &imported.steps);
        let waiting = || cache::Imported::tell(told, imports, progress);
        let cache = imported.cache(host, &waiting);
        let options = SolveOptions {
            parallelism: targets
                .first()
                .map_or(Parallelism::Fixed(NonZeroUsize::MIN), |target| target.request.parallelism),
            require_cached: targets.iter().any(|target| target.request.require_cached),
            continued,
            // What is about the whole build is the same in all targets.
            trace_run: targets.first().map_or(TraceRun::Off, |target| target.request.trace_run),
            verify: targets.first().map_or(VerifyShare::default(), |target| target.request.verify_trace),
            cancelled,
        };
        let solved =
            bake_solver::solve(graph, self.wanted, &**worker, &cache, progress, &options).map_err(Failure::Step)?;

        let results = if targets.iter().all(|target| target.request.cache.to.is_empty()) {
            Vec::new()
        } else {
            cache.results(&host.store, imports).map_err(|error| store_failed(&error))?
        };
        // Large layers take longer to be digested than to be made.
        let digesting = progress.begin(internal("digesting layers"));
        let assembled: Vec<_> = targets.iter().map(|target| self.assemble(target, &solved, &results)).collect();
        digesting.done();
        let finished = targets.iter().zip(assembled).map(|(target, assembled)| {
            let (results, assembled) = assembled?;
            self.finish(target, &solved, (results, assembled), progress)
        });
        let finished = finished.collect::<Result<Vec<_>, _>>()?;
        let mut exported = Vec::with_capacity(finished.len());
        for finished in &finished {
            exported.push(self.export(finished, progress, cancelled)?);
        }
        for finished in finished.iter().filter(|_| self.purpose.has_outputs()) {
            self.export_cache(finished, &solved, progress, cancelled)?;
        }
        Ok((solved, exported))
    }

    /// Step 8: the images of a target, with the results of its steps.
    fn assemble(
        &self,
        target: &Planned<'_>,
        solved: &Solved,
        results: &[StepResult],
    ) -> Result<(Vec<StepResult>, Vec<Assembled>), CommandError> {
        let Self { graph, worker, imported, .. } = *self;
        let Planned { request, plan, epoch, .. } = target;
        let results = cache::results_of(results, graph, &target.wanted(), solved);
        let inline = request
            .cache
            .is_inline()
            .then(|| assemble::Inline { results: &results, compression: export::common_compression(&request.exports) });
        let assembled = assemble::assemble(plan, solved, worker, *epoch, inline.as_ref(), &imported.steps)?;
        Ok((results, assembled))
    }

    /// The rest of step 8: what is said of the images.
    fn finish<'a>(
        &'a self,
        target: &'a Planned<'a>,
        solved: &Solved,
        (results, assembled): (Vec<StepResult>, Vec<Assembled>),
        progress: &Progress,
    ) -> Result<Finished<'a>, CommandError> {
        let Self { graph, worker, images, host, started, .. } = *self;
        let sources = Sources::new(self.targets);
        let facts = attest::Facts { target, graph, sources, worker, store: &host.store, started };
        let search = packages::Search { target, assembled: &assembled, solved, worker, images, host, progress };
        let wants_packages = target.request.attest.sbom.is_some() && self.purpose.has_outputs();
        let lists = if wants_packages { search.lists()? } else { Vec::new() };
        let attestations = Attestations::new(&facts, &assembled, lists);
        Ok(Finished { target, results, assembled, attestations })
    }

    /// Step 9 for one target.
    fn export(
        &self,
        finished: &Finished<'_>,
        progress: &Progress,
        cancelled: &AtomicBool,
    ) -> Result<Exported, CommandError> {
        let (request, epoch) = (finished.target.request, finished.target.epoch);
        let (assembled, attestations) = (finished.assembled.as_slice(), &finished.attestations);
        let (host, images, target) = (self.host, self.images, finished.target.name);
        let exporting =
            Exporting { target, assembled, attestations, request, host, images, progress, cancelled, epoch };
        if self.purpose.settle(&exporting)? == Settled::Done {
            return Ok(Exported::default());
        }
        let mut exported = exporting.export()?;
        exported.metadata = attestations.metadata(request.multi_platform);
        Ok(exported)
    }

    /// The end of step 9: what other builds are to know.
    fn export_cache(
        &self,
        finished: &Finished<'_>,
        solved: &Solved,
        progress: &Progress,
        cancelled: &AtomicBool,
    ) -> Result<(), CommandError> {
        let Self { host, images, worker, imported, .. } = *self;
        let request = finished.target.request;
        let exporter = export::exporter(request, host);
        let export =
            cache::Export { request, host, images, worker, exporter: &exporter, imported, progress, cancelled };
        export.steps(&finished.results, &finished.assembled)?;
        export.mounts(self.graph, &finished.target.wanted(), solved)
    }

    /// Step 10: what the images weigh, the record of the build, and the files for programs.
    fn report(
        &self,
        solved: &Solved,
        exported: &[Exported],
        journal: &Journal<'_>,
        progress: &Progress,
    ) -> Result<(), CommandError> {
        let mut all = Vec::with_capacity(self.targets.len());
        let mut findings = Vec::new();
        for target in self.targets {
            let Self { graph, images, host, worker, wanted, .. } = *self;
            let (sources, is_continued) = (Sources::new(self.targets), self.continued.is_some());
            let events = progress;
            let measuring =
                Measuring { target, graph, sources, solved, images, host, worker, events, wanted, is_continued };
            let measured = match self.purpose {
                Purpose::Sample(_) => None,
                Purpose::Measurement(measurement) => {
                    let measured = measuring.try_measure(Effort::Full(progress))?;
                    let source = target.dockerfile.source.clone();
                    // Nobody else sets it.
                    let _ = measurement.set(measured.map(|measured| MeasuredBuild { measured, source }));
                    None
                }
                Purpose::Outputs | Purpose::Comparison(_) => measuring.measure(Effort::Little),
            };
            if let Some(measured) = &measured {
                findings.extend(journal::findings(target, &measured.tell(target, progress)));
            }
            all.push((target, measured));
        }
        let layers = all.iter().map(|(target, measured)| Some(measured.as_ref()?.records(&target.dockerfile)));
        let layers = layers.collect();
        let number = journal.succeeded(progress, &Success { solved, exported, layers, measured: findings });
        if !self.purpose.has_outputs() {
            return Ok(());
        }
        let mut results = export::Results::default();
        for ((target, measured), exported) in all.into_iter().zip(exported) {
            let (source, findings) = (&target.dockerfile.source, &target.plan.warnings);
            let measurement = measured.map(|measured| measured.metadata(&target.dockerfile));
            let attestations = &exported.metadata;
            let facts = BuildFacts { number, source, findings, attestations, measurement };
            results.add(target, exported.image.as_ref(), &facts)?;
        }
        results.write()
    }

    /// Keeps what is left of a failed step; what to say about it.
    fn failed_step(&self, step: VertexId, error: &str, contexts: &BTreeMap<String, KeptContext>) -> Vec<String> {
        let origin = self.graph.vertex(step).origin;
        let sources = Sources::new(self.targets);
        let Some(target) = origin.and_then(|origin| sources.target(origin)).or(self.targets.first()) else {
            return Vec::new();
        };
        let location = origin.map(|origin| {
            let source = &target.dockerfile.source;
            format!("{}:{}", source.name(), source.position(origin.start).line)
        });
        let (request, host, worker) = (target.request, self.host, &**self.worker);
        failure::Failed { request, host, worker, contexts, step, error, location }.handle()
    }
}

/// The name of work that nobody wants to see unless it takes long.
fn internal(text: &str) -> StepLabel {
    StepLabel { text: text.to_owned(), internal: true, ..StepLabel::default() }
}

/// The vertices whose results the targets want, each once.
fn wanted(targets: &[Planned<'_>]) -> Vec<VertexId> {
    let mut wanted: Vec<VertexId> = Vec::new();
    for root in targets.iter().flat_map(Planned::wanted) {
        if !wanted.contains(&root) {
            wanted.push(root);
        }
    }
    wanted
}

/// The last lines of the display.
fn summary(solved: &Solved, exported: &[Exported], elapsed: Duration) -> Summary {
    let images: Vec<&ExportedImage> = exported.iter().filter_map(|exported| exported.image.as_ref()).collect();
    Summary {
        ran: solved.ran,
        cached: solved.cached,
        elapsed,
        tags: exported.iter().flat_map(|exported| exported.tags.clone()).collect(),
        // Images of several targets share layers, so their sum would be of nothing.
        size_bytes: if let [image] = images.as_slice() { Some(image.size_bytes()) } else { None },
        destinations: exported.iter().flat_map(|exported| exported.destinations.clone()).collect(),
        digest: if let [image] = images.as_slice() { Some(image.digest().to_string()) } else { None },
    }
}

fn built(targets: &[Planned<'_>], exported: Vec<Exported>) -> Vec<BuiltTarget> {
    let digest = |exported: Exported| exported.image.map(|image| image.digest().to_string());
    let built = targets.iter().zip(exported);
    built.map(|(target, exported)| BuiltTarget { name: target.name.to_owned(), digest: digest(exported) }).collect()
}

/// The steps that only a build which goes on from a failure has results of. The failed one must be among those of the plan.
fn continued_steps(
    continuation: &Continuation,
    graph: &BuildGraph,
    wanted: &[VertexId],
) -> Result<Vec<DefinitionDigest>, CommandError> {
    let mut steps: Vec<DefinitionDigest> = continuation.layers.keys().copied().collect();
    let Some(step) = &continuation.step else { return Ok(steps) };
    if !graph.needed(wanted).iter().any(|id| graph.vertex(*id).definition == step.definition) {
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

/// What carries out the steps, and before that fetches contexts.
fn worker(
    requests: &[TargetRequest<'_>],
    host: &Host,
    images: &Arc<Images>,
    imported: Option<&cache::Imported>,
) -> Result<LinuxWorker, CommandError> {
    let grants = requests.iter().map(|target| {
        Ok(StepGrants {
            secrets: target.request.secrets.clone(),
            agents: ssh::agents(&target.request.ssh)?,
            shm_size_bytes: target.request.shm_size_bytes,
            limits: target.request.limits.clone(),
        })
    });
    Ok(LinuxWorker::new(WorkerOptions {
        store: host.store.clone(),
        images: Arc::clone(images),
        network: Arc::clone(&host.network),
        isolation: host.isolation(),
        grants: grants.collect::<Result<_, CommandError>>()?,
        step_network: host.step_network.clone(),
        runtime: host.runtime.clone(),
        imported_mounts: imported
            .filter(|imported| !imported.mounts.is_empty())
            .map(|imported| Arc::clone(&imported.mounts) as _),
        tells_untraced: requests.iter().any(|target| target.request.trace_run == TraceRun::On),
        git_environment: crate::settings::git_environment(),
    }))
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
fn failed_build(error: &SolveError, graph: &BuildGraph, sources: Sources<'_>, progress: &Progress) -> CommandError {
    let SolveError::Step { step, error } = error else {
        progress.finish(None);
        return CommandError::interrupted();
    };
    if error.kind == StepErrorKind::Cancelled {
        progress.finish(None);
        return CommandError::interrupted();
    }
    let vertex = graph.vertex(*step);
    let name = vertex.label.to_string();
    let output = progress.tail(*step);
    progress.finish(None);
    let target = vertex.origin.and_then(|origin| sources.target(origin));
    let span = vertex.origin.map(|origin| Span::new(origin.start, origin.end));
    let origin = target.map(|target| &target.dockerfile.source).zip(span);
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
    if let (Some(target), Some((source, span))) = (target, origin) {
        failed = at(failed, source, span).in_file(target.request.absolute_dockerfile().as_deref());
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
