//! What a build leaves behind for later (`bake why`, `bake history`, `--report`): collected from its events, written down
//! once when it ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bake::error::{CommandError, ErrorKind};
use bake::ui::progress::Progress;
use bake_dockerfile::Diagnostic;
use bake_graph::{BuildGraph, Op, Origin, SourceOp, VertexId};
use bake_oci::{Platform, Timestamp};
use bake_report::{
    BuildRecord, BuildResult, FindingRecord, ImageRecord, LayerRecord, MachineRecord, Planned as PlannedStep, Recorder,
    RequestRecord, StepKind, StepOutcome, StepRecord, html,
};
use bake_solver::Solved;

use super::export::{Exported, ExportedImage};
use super::target::{Planned, Sources, TargetRequest};
use crate::files::replace_file;
use crate::settings::{BuildRequest, ContextSpec, DockerfileSpec};
use crate::wiring::Host;

/// Collects what happens in a build. It is only a help: a store that cannot take it is no reason to fail.
#[derive(Debug)]
pub(super) struct Journal<'a> {
    host: &'a Host,
    requests: &'a [TargetRequest<'a>],
    /// Where a page about the build is to go.
    report: Option<&'a Path>,
    started: Timestamp,
    recorder: Arc<Recorder>,
    planned: OnceLock<PlannedBuild>,
    written: OnceLock<Written>,
}

/// What is known once a build is planned.
#[derive(Debug)]
struct PlannedBuild {
    vertices: Vec<PlannedStep>,
    findings: Vec<FindingRecord>,
    dockerfiles: Vec<String>,
    platforms: Vec<String>,
}

/// What was written down.
#[derive(Debug)]
struct Written {
    record: BuildRecord,
    number: Option<i64>,
    logs: Vec<u8>,
}

/// What came of a build.
#[derive(Debug)]
pub(super) struct Success<'a> {
    pub(super) solved: &'a Solved,
    /// What came of each target.
    pub(super) exported: &'a [Exported],
    /// For each target the layers by instruction, and whether the base image is among them.
    pub(super) layers: Vec<Option<(Vec<LayerRecord>, bool)>>,
    /// What measuring the layers found.
    pub(super) measured: Vec<FindingRecord>,
}

impl<'a> Journal<'a> {
    /// For a build that begins now. Targets that are built together are one build. Where a report is to go is looked at before
    /// anything is done.
    pub(super) fn begin(host: &'a Host, requests: &'a [TargetRequest<'a>]) -> Result<Self, CommandError> {
        // What is about the whole build is the same in all of them.
        let report = requests.first().and_then(|target| target.request.report.as_deref());
        if let Some(path) = report {
            check_report(path)?;
        }
        Ok(Self {
            report,
            host,
            requests,
            started: Timestamp::now(),
            recorder: Arc::default(),
            planned: OnceLock::new(),
            written: OnceLock::new(),
        })
    }

    /// What has to be told of all events.
    pub(super) fn recorder(&self) -> Arc<Recorder> {
        Arc::clone(&self.recorder)
    }

    /// Takes note of what is going to be done.
    pub(super) fn plan(&self, graph: &BuildGraph, wanted: &[VertexId], targets: &[Planned<'_>]) {
        let sources = Sources::new(targets);
        let line = |origin: Origin| sources.text(origin).map(|source| source.position(origin.start).line);
        let vertices = graph.needed(wanted).into_iter().map(|id| {
            let vertex = graph.vertex(id);
            let kind = match &vertex.op {
                Op::Exec(_) | Op::File(_) => Some(StepKind::Instruction),
                // Those that only name something are no steps.
                Op::Source(SourceOp::Scratch | SourceOp::Local(_)) | Op::Merge | Op::Diff => None,
                Op::Source(_) => Some(StepKind::Source),
            };
            let step = kind.map(|kind| StepRecord {
                name: vertex.label.to_string(),
                stage: vertex.label.stage.clone(),
                kind,
                line: vertex.origin.and_then(line),
                // Only for these something is looked up by it.
                definition: if kind == StepKind::Instruction { vertex.definition.hex() } else { String::new() },
                ..StepRecord::default()
            });
            PlannedStep { id, inputs: vertex.inputs.clone(), step }
        });
        let images = targets.iter().flat_map(|target| &target.plan.images);
        let planned = PlannedBuild {
            vertices: vertices.collect(),
            findings: targets.iter().flat_map(|target| findings(target, &target.plan.warnings)).collect(),
            dockerfiles: distinct(targets.iter().map(|target| target.dockerfile.source.name().to_owned())),
            platforms: distinct(images.map(|image| image.platform.to_string())),
        };
        // A build is planned once.
        let _ = self.planned.set(planned);
    }

    /// Writes down that the build succeeded, and returns its number.
    pub(super) fn succeeded(&self, progress: &Progress, success: &Success<'_>) -> Option<i64> {
        let destinations = success.exported.iter().flat_map(|exported| exported.destinations.clone()).collect();
        let layers = success.layers.iter().cloned().map(Option::unwrap_or_default);
        let made = self.requests.iter().zip(success.exported).zip(layers);
        let images = made.filter_map(|((target, exported), (layers, base_measured))| {
            let image = exported.image.as_ref();
            (image.is_some() || !layers.is_empty()).then(|| ImageRecord {
                target: target.name.clone(),
                digest: image.map(|image| image.digest().to_string()).unwrap_or_default(),
                names: exported.tags.clone(),
                size_bytes: image.map(ExportedImage::size_bytes),
                layers,
                base_measured,
            })
        });
        let images = images.collect();
        let record = BuildRecord { result: BuildResult::Succeeded, images, destinations, ..BuildRecord::default() };
        self.write(progress, record, &success.measured, Some(success.solved))
    }

    /// Writes down that the build failed, unless it had succeeded before that.
    pub(super) fn failed(&self, progress: &Progress, error: &CommandError) {
        let result = match error.kind() {
            ErrorKind::Interrupted => BuildResult::Interrupted,
            _ => BuildResult::Failed,
        };
        if self.written.get().is_none() {
            let error = (result == BuildResult::Failed).then(|| error.message().to_owned());
            self.write(progress, BuildRecord { result, error, ..BuildRecord::default() }, &[], None);
        }
    }

    /// Writes the page that was asked for.
    pub(super) fn report(&self) -> Result<(), CommandError> {
        let (Some(path), Some(Written { record, number, logs })) = (self.report, self.written.get()) else {
            return Ok(());
        };
        let page = html::page(&html::Page { record, number: *number, logs });
        replace_file(path, page.as_bytes()).map_err(|error| report_failed(path, &error.to_string()))
    }

    /// Adds to `record` what is known of every build, and keeps it.
    fn write(
        &self,
        progress: &Progress,
        record: BuildRecord,
        measured: &[FindingRecord],
        solved: Option<&Solved>,
    ) -> Option<i64> {
        let planned = self.planned.get();
        let vertices = planned.map_or(&[][..], |planned| &planned.vertices);
        let recorded = self.recorder.record(vertices, &|id| progress.number(id));
        let made: BTreeMap<VertexId, i64> = match solved {
            Some(solved) => solved.outputs.keys().filter_map(|id| Some((*id, made(solved, *id)?))).collect(),
            None => BTreeMap::new(),
        };
        let steps = recorded.steps.into_iter().map(|(id, step)| {
            match made.get(&id).filter(|_| step.outcome == StepOutcome::Cached) {
                // Most builds are cached for the most part, so that is what has to be short.
                Some(made) => StepRecord { made_unix_s: Some(*made), definition: String::new(), ..step },
                None => step,
            }
        });
        let requests = || self.requests.iter().map(|target| target.request);
        let record = BuildRecord {
            name: self.name(),
            elapsed_ms: u64::try_from(progress.elapsed().as_millis()).unwrap_or(u64::MAX),
            started_unix_ms: self.started.seconds.saturating_mul(1000)
                + i64::from(self.started.nanoseconds / 1_000_000),
            request: RequestRecord {
                context: distinct(requests().map(|request| context(&request.context))).join(", "),
                dockerfile: match planned {
                    Some(planned) => planned.dockerfiles.join(", "),
                    None => distinct(requests().map(dockerfile)).join(", "),
                },
                target: if let [only] = self.requests { only.request.plan.target.clone() } else { None },
                platforms: planned.map(|planned| planned.platforms.clone()).unwrap_or_default(),
            },
            machine: machine(),
            steps: steps.collect(),
            findings: planned.map_or(&[][..], |planned| &planned.findings).iter().chain(measured).cloned().collect(),
            ..record
        };
        let number = self.keep(&record, &recorded.logs);
        // A build ends once.
        let _ = self.written.set(Written { record, number, logs: recorded.logs });
        number
    }

    /// What was built: its tags, or its context; for several, the names of the targets.
    fn name(&self) -> String {
        if let [only] = self.requests
            && only.name.is_empty()
        {
            let tags: Vec<String> = only.request.tags.iter().map(bake_oci::Reference::familiar).collect();
            return if tags.is_empty() { context(&only.request.context) } else { tags.join(", ") };
        }
        self.requests.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn keep(&self, record: &BuildRecord, logs: &[u8]) -> Option<i64> {
        let store = &self.host.store;
        let number = serde_json::to_vec(record)
            .map_err(|error| error.to_string())
            .and_then(|document| store.add_to_journal(&document).map_err(|error| bake::error::chain_text(&error)));
        let number =
            number.inspect_err(|error| tracing::debug!(%error, "could not write the journal of the build")).ok()?;
        if !logs.is_empty()
            && let Err(error) = store.keep_build_log(number, logs)
        {
            tracing::debug!(%error, "could not keep the output of the build");
        }
        Some(number)
    }
}

/// Texts, each once.
fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut distinct: Vec<String> = Vec::new();
    for text in texts {
        if !distinct.contains(&text) {
            distinct.push(text);
        }
    }
    distinct
}

/// Refuses a path at which no file could be written, as far as that can be told now.
fn check_report(path: &Path) -> Result<(), CommandError> {
    use rustix::fs::{Access, access};
    if path == Path::new("-") {
        return Err(CommandError::usage("`--report` writes to a file; standard output is for the digest"));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    access(parent, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| report_failed(path, &error.to_string()))?;
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(report_failed(path, "it is not a regular file")),
        _ => Ok(()),
    }
}

fn report_failed(path: &Path, why: &str) -> CommandError {
    CommandError::build(format!("cannot write the report `{}`: {why}", path.display()))
}

/// Findings with their lines.
pub(super) fn findings(target: &Planned<'_>, diagnostics: &[Diagnostic]) -> Vec<FindingRecord> {
    let source = &target.dockerfile.source;
    // A line alone says little where there are several Dockerfiles.
    let of = if target.name.is_empty() { String::new() } else { format!("{}: ", target.name) };
    let finding = |diagnostic: &Diagnostic| FindingRecord {
        rule: diagnostic.code.to_string(),
        severity: diagnostic.severity.to_string(),
        message: format!("{of}{}", diagnostic.message),
        // What is told of sizes has it at the end.
        help: diagnostic.help.clone().filter(|help| !diagnostic.message.ends_with(help.as_str())),
        line: Some(source.position(diagnostic.span.start).line),
        url: diagnostic.url.clone(),
    };
    diagnostics.iter().map(finding).collect()
}

/// When the layer that a step added was made, in seconds since 1970.
fn made(solved: &Solved, step: VertexId) -> Option<i64> {
    let nanoseconds = solved.outputs.get(&step)?.layers().last()?.created_ns?;
    Some(nanoseconds.div_euclid(1_000_000_000))
}

fn machine() -> MachineRecord {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    MachineRecord {
        processors: u32::try_from(processors).unwrap_or(u32::MAX),
        platform: Platform::host().to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn context(context: &ContextSpec) -> String {
    match context {
        ContextSpec::Directory(path) => {
            std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string()
        }
        other => other.to_string(),
    }
}

fn dockerfile(request: &BuildRequest) -> String {
    match &request.dockerfile {
        DockerfileSpec::Default => "Dockerfile".to_owned(),
        DockerfileSpec::Path(path) => path.display().to_string(),
        DockerfileSpec::Stdin => "standard input".to_owned(),
        DockerfileSpec::Inline(_) => "of the target".to_owned(),
        DockerfileSpec::Http(source) => bake_graph::without_credentials(&source.url),
    }
}
