//! What a build leaves behind for later (`bake why`, `bake history`, `--report`): collected from its events, written down
//! once when it ends.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bake::error::{CommandError, ErrorKind};
use bake::ui::progress::Progress;
use bake_dockerfile::{Diagnostic, SourceText};
use bake_frontend::Plan;
use bake_graph::{Op, SourceOp, VertexId};
use bake_oci::{Platform, Timestamp};
use bake_report::{
    BuildRecord, BuildResult, FindingRecord, ImageRecord, LayerRecord, MachineRecord, Planned, Recorder, RequestRecord,
    StepKind, StepOutcome, StepRecord,
};
use bake_solver::Solved;

use super::export::{Exported, ExportedImage};
use crate::settings::{BuildRequest, ContextSpec, DockerfileSpec};
use crate::wiring::Host;

/// Collects what happens in a build. It is only a help: a store that cannot take it is no reason to fail.
#[derive(Debug)]
pub(super) struct Journal<'a> {
    host: &'a Host,
    request: &'a BuildRequest,
    started: Timestamp,
    recorder: Arc<Recorder>,
    planned: OnceLock<PlannedBuild>,
    written: OnceLock<()>,
}

/// What is known once a build is planned.
#[derive(Debug)]
struct PlannedBuild {
    vertices: Vec<Planned>,
    findings: Vec<FindingRecord>,
    dockerfile: String,
    platforms: Vec<String>,
}

/// What came of a build.
#[derive(Debug)]
pub(super) struct Success<'a> {
    pub(super) solved: &'a Solved,
    pub(super) exported: &'a Exported,
    /// The layers by instruction, and whether the base image is among them.
    pub(super) layers: Option<(Vec<LayerRecord>, bool)>,
    /// What measuring the layers found.
    pub(super) measured: Vec<FindingRecord>,
}

impl<'a> Journal<'a> {
    /// For a build that begins now.
    pub(super) fn begin(host: &'a Host, request: &'a BuildRequest) -> Self {
        Self {
            host,
            request,
            started: Timestamp::now(),
            recorder: Arc::default(),
            planned: OnceLock::new(),
            written: OnceLock::new(),
        }
    }

    /// What has to be told of all events.
    pub(super) fn recorder(&self) -> Arc<Recorder> {
        Arc::clone(&self.recorder)
    }

    /// Takes note of what is going to be done.
    pub(super) fn plan(&self, plan: &Plan, targets: &[VertexId], source: &SourceText) {
        let graph = &plan.graph;
        let vertices = graph.needed(targets).into_iter().map(|id| {
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
                line: vertex.origin.map(|origin| source.position(origin.start).line),
                // Only for these something is looked up by it.
                definition: if kind == StepKind::Instruction { vertex.definition.hex() } else { String::new() },
                ..StepRecord::default()
            });
            Planned { id, inputs: vertex.inputs.clone(), step }
        });
        let planned = PlannedBuild {
            vertices: vertices.collect(),
            findings: findings(source, &plan.warnings),
            dockerfile: source.name().to_owned(),
            platforms: plan.images.iter().map(|image| image.platform.to_string()).collect(),
        };
        // A build is planned once.
        let _ = self.planned.set(planned);
    }

    /// Writes down that the build succeeded, and returns its number.
    pub(super) fn succeeded(&self, progress: &Progress, success: &Success<'_>) -> Option<i64> {
        let image = success.exported.image.as_ref();
        let layers = success.layers.clone();
        let (layers, base_measured) = layers.unwrap_or_default();
        let image = (image.is_some() || !layers.is_empty()).then(|| ImageRecord {
            digest: image.map(|image| image.digest().to_string()).unwrap_or_default(),
            names: success.exported.tags.clone(),
            size_bytes: image.map(ExportedImage::size_bytes),
            layers,
            base_measured,
        });
        let record = BuildRecord {
            result: BuildResult::Succeeded,
            image,
            destinations: success.exported.destinations.clone(),
            ..BuildRecord::default()
        };
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
        let record = BuildRecord {
            name: name_of(self.request),
            elapsed_ms: u64::try_from(progress.elapsed().as_millis()).unwrap_or(u64::MAX),
            started_unix_ms: self.started.seconds.saturating_mul(1000)
                + i64::from(self.started.nanoseconds / 1_000_000),
            request: RequestRecord {
                context: context(&self.request.context),
                dockerfile: planned.map_or_else(|| dockerfile(self.request), |planned| planned.dockerfile.clone()),
                target: self.request.plan.target.clone(),
                platforms: planned.map(|planned| planned.platforms.clone()).unwrap_or_default(),
            },
            machine: machine(),
            steps: steps.collect(),
            findings: planned.map_or(&[][..], |planned| &planned.findings).iter().chain(measured).cloned().collect(),
            ..record
        };
        let number = self.keep(&record, &recorded.logs);
        // A build ends once.
        let _ = self.written.set(());
        number
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

/// Findings with their lines.
pub(super) fn findings(source: &SourceText, diagnostics: &[Diagnostic]) -> Vec<FindingRecord> {
    let finding = |diagnostic: &Diagnostic| FindingRecord {
        rule: diagnostic.code.to_string(),
        severity: diagnostic.severity.to_string(),
        message: diagnostic.message.clone(),
        help: diagnostic.help.clone(),
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

fn name_of(request: &BuildRequest) -> String {
    let tags: Vec<String> = request.tags.iter().map(bake_oci::Reference::familiar).collect();
    if tags.is_empty() { context(&request.context) } else { tags.join(", ") }
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
        DockerfileSpec::Http(source) => bake_graph::without_credentials(&source.url),
    }
}
