//! What the image of a build weighs, by instruction, and what of it is wasted. What is copied and not read is found by [`super::unread`].
//!
//! The listings of layers are compared, no file is read: a file that has the size and the time of the one it replaces is taken for the
//! same. The outcome is remembered under the identity of the layers, so a build in which everything is cached looks it up and no more.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake::ui::measure::size;
use bake::ui::progress::Progress;
use bake::ui::sanitize::sanitize_line;
use bake_analyze::{Listing, Summary, analyze};
use bake_dockerfile::{Diagnostic, Dockerfile, SourceText};
use bake_graph::{BuildGraph, Op, Origin, SourceOp, VertexId};
use bake_lint::{LintOptions, MeasuredCache, MeasuredUnread, MeasuredWaste, Measurements, lint_measured};
use bake_report::LayerRecord;
use bake_solver::{EventSink, Solved, StateDigest};
use bake_worker::{Images, LinuxWorker};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::build_one;
use super::target::{Planned, Sources};
use super::verify::Purpose;
use crate::lint_settings::SettingsFinder;
use crate::listings;
use crate::settings::BuildRequest;
use crate::wiring::Host;

/// Where outcomes are remembered. The number is raised when summaries change their form or meaning.
const SPACE: &str = "measure 1";

/// How many instructions are told of in the line about layers.
const INSTRUCTIONS_SHOWN_MAX: usize = 5;

/// What an image weighs.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    summary: Summary,
    /// For each layer the instruction that made it (an index); `None` for those of the base image.
    instructions: Vec<Option<usize>>,
    /// Whether the layers of the base image were looked at: they are not where nothing needed to unpack them.
    with_base: bool,
    /// The copies that are not in the image, and of which something was not read.
    unread: Vec<MeasuredUnread>,
}

/// What a build left that was made to be measured.
#[derive(Debug)]
pub(crate) struct MeasuredBuild {
    pub(crate) measured: Measured,
    /// The Dockerfile that was built.
    pub(crate) source: SourceText,
}

/// Builds without making outputs, and measures the first image with its base.
pub(crate) fn measure_build(
    request: &BuildRequest,
    host: &Host,
    colour: Colour,
) -> Result<MeasuredBuild, CommandError> {
    let measurement = OnceLock::new();
    build_one(Purpose::Measurement(&measurement), request, host, colour, None)?;
    let measured = measurement.into_inner().flatten();
    measured.ok_or_else(|| CommandError::build("the layers of the image are not here, so they cannot be measured"))
}

/// A remembered summary.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    with_base: bool,
    summary: Summary,
}

/// Where layers are found.
pub(super) struct Measuring<'a> {
    pub(super) target: &'a Planned<'a>,
    pub(super) graph: &'a BuildGraph,
    pub(super) sources: Sources<'a>,
    pub(super) solved: &'a Solved,
    pub(super) images: &'a Images,
    pub(super) host: &'a Host,
    pub(super) worker: &'a LinuxWorker,
    pub(super) events: &'a dyn EventSink,
    /// The vertices whose results the build is for, those of other targets included.
    pub(super) wanted: &'a [VertexId],
    /// Whether the build goes on from a failure: what steps read is not recorded then.
    pub(super) is_continued: bool,
}

/// How much is done for a measurement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Effort<'a> {
    /// Only what is unpacked is looked at.
    Little,
    /// What is missing is fetched and unpacked.
    Full(&'a Progress),
}

impl Measuring<'_> {
    /// Weighs the first image. A measurement is no reason to fail a build: where layers cannot be listed, there is none.
    pub(super) fn measure(&self, effort: Effort<'_>) -> Option<Measured> {
        let began = Instant::now();
        match self.try_measure(effort) {
            Ok(measured) => {
                tracing::debug!(elapsed = ?began.elapsed(), here = measured.is_some(), "measured the layers");
                measured
            }
            Err(error) => {
                tracing::debug!(error = error.message(), "the image is not measured");
                None
            }
        }
    }

    /// The same, with what went wrong. `None` where a layer is not here.
    pub(super) fn try_measure(&self, effort: Effort<'_>) -> Result<Option<Measured>, CommandError> {
        let Some(image) = self.target.plan.images.first() else { return Ok(None) };
        let layers = self.solved.outputs.get(&image.root).map_or(&[][..], |output| output.layers());
        let instructions = self.makers(image.root, layers.len());
        let name = StateDigest::of(layers).0.to_string();
        if let Some(Remembered { with_base, summary }) = self.recall(SPACE, &name)
            && summary.layers.len() == layers.len()
            && (with_base || matches!(effort, Effort::Little))
        {
            return Ok(Some(Measured { summary, instructions, with_base, unread: self.unread() }));
        }
        if let Effort::Full(progress) = effort {
            self.images.directories(layers, image.root, progress).map_err(|error| failed(&error))?;
        }
        let directories: Vec<Option<PathBuf>> = self.images.present(layers).map_err(|error| failed(&error))?;
        let mut with_base = true;
        let mut listed: Vec<Listing> = Vec::with_capacity(layers.len());
        for (layer, directory) in layers.iter().zip(&directories) {
            listed.push(match directory {
                Some(directory) => {
                    listings::of_directory(directory, self.host.format).map_err(|error| failed(&error))?
                }
                None if layer.is_of_step() => return Ok(None),
                None => {
                    with_base = false;
                    Listing::new()
                }
            });
        }
        let summary = Summary::of(&analyze(&listed, &mut |_| None).map_err(|error| failed(&error))?);
        let remembered = Remembered { with_base, summary };
        self.remember(SPACE, &name, &remembered);
        Ok(Some(Measured { summary: remembered.summary, instructions, with_base, unread: self.unread() }))
    }

    /// An outcome that was remembered; one that cannot be read counts as none.
    pub(super) fn recall<T: DeserializeOwned>(&self, space: &str, name: &str) -> Option<T> {
        let known = self.host.store.recall(space, name, Duration::MAX).ok()??;
        serde_json::from_slice(&known.value).ok()
    }

    /// Remembers an outcome. Without it the next build does the same work, and no more is lost.
    pub(super) fn remember(&self, space: &str, name: &str, outcome: &impl Serialize) {
        if let Ok(value) = serde_json::to_vec(outcome)
            && let Err(error) = self.host.store.remember(space, name, &value)
        {
            tracing::debug!(%error, space, "an outcome is not remembered");
        }
    }

    /// For each layer of `root` the instruction that made it.
    fn makers(&self, root: VertexId, layers: usize) -> Vec<Option<usize>> {
        // From the top down: the layers of an input lie below what is made of it.
        let mut makers = Vec::with_capacity(layers);
        let mut left = vec![root];
        while let Some(id) = left.pop() {
            let vertex = self.graph.vertex(id);
            match &vertex.op {
                Op::Exec(_) | Op::File(_) => {
                    makers.push(vertex.origin.and_then(|origin| self.instruction_at(origin)));
                    left.extend(vertex.inputs.first());
                }
                // The last input is on top.
                Op::Merge => left.extend(&vertex.inputs),
                Op::Source(SourceOp::Scratch) => {}
                Op::Source(_) | Op::Diff => {
                    let count = self.solved.outputs.get(&id).map_or(0, |output| output.layers().len());
                    makers.extend(std::iter::repeat_n(None, count));
                }
            }
        }
        makers.reverse();
        // Whatever is not known is of the base.
        let unknown = layers.saturating_sub(makers.len());
        std::iter::repeat_n(None, unknown).chain(makers).take(layers).collect()
    }

    /// The instruction of this Dockerfile; `None` for what another target's is the origin of, which is a base here.
    pub(super) fn instruction_at(&self, origin: Origin) -> Option<usize> {
        let dockerfile = &self.target.dockerfile;
        if !self.sources.is_in(origin, &dockerfile.source) {
            return None;
        }
        let after = dockerfile.instructions.partition_point(|instruction| instruction.span.start <= origin.start);
        after.checked_sub(1)
    }
}

impl Measured {
    /// What the rules of the linter judge.
    pub(crate) fn measurements(&self) -> Measurements {
        let maker = |layer: usize| self.instructions.get(layer).copied().flatten();
        let waste = self.summary.waste.iter().filter_map(|sum| {
            Some(MeasuredWaste {
                written_by: maker(sum.written_by),
                hidden_by: maker(sum.hidden_by)?,
                cause: sum.cause,
                bytes: sum.bytes,
                files: sum.files,
                largest: sum.largest.clone(),
            })
        });
        let caches = self.summary.caches.iter().filter_map(|sum| {
            let (instruction, cache) = (maker(sum.layer)?, sum.cache()?);
            Some(MeasuredCache { instruction, cache, directory: sum.directory.clone(), bytes: sum.bytes })
        });
        Measurements {
            image_bytes: self.summary.added_bytes(),
            waste: waste.collect(),
            caches: caches.collect(),
            unread: self.unread.clone(),
        }
    }

    /// Each instruction that made a layer, with the bytes it added and those of them that are hidden, in the order of the layers; first
    /// the base image, if there is one.
    pub(crate) fn by_instruction(&self) -> Vec<(Option<usize>, u64, u64)> {
        let mut rows: Vec<(Option<usize>, u64, u64)> = Vec::new();
        for (layer, instruction) in self.summary.layers.iter().zip(&self.instructions) {
            match rows.last_mut().filter(|(last, ..)| last == instruction) {
                Some((_, added, hidden)) => {
                    *added = added.saturating_add(layer.added_bytes);
                    *hidden = hidden.saturating_add(layer.hidden_bytes);
                }
                None => rows.push((*instruction, layer.added_bytes, layer.hidden_bytes)),
            }
        }
        rows
    }

    /// What each instruction adds, for the record of the build, and whether the base image is among them.
    pub(super) fn records(&self, dockerfile: &Dockerfile) -> (Vec<LayerRecord>, bool) {
        let rows = self.by_instruction().into_iter().map(|(instruction, added_bytes, hidden_bytes)| {
            let instruction = instruction.and_then(|index| dockerfile.instructions.get(index));
            LayerRecord {
                line: instruction.map(|instruction| dockerfile.source.position(instruction.span.start).line),
                instruction: match instruction {
                    Some(instruction) => sanitize_line(dockerfile.source.slice(instruction.span)),
                    None => "base image".to_owned(),
                },
                added_bytes,
                hidden_bytes,
            }
        });
        (rows.collect(), self.with_base)
    }

    /// Tells of what is worth a word at the end of a build, and returns what was found.
    pub(super) fn tell(&self, target: &Planned<'_>, progress: &Progress) -> Vec<Diagnostic> {
        let (dockerfile, request) = (&target.dockerfile, target.request);
        let measurements = self.measurements();
        if let Some(line) = self.layers_line(dockerfile, &measurements) {
            let of = if target.name.is_empty() { String::new() } else { format!("{}: ", target.name) };
            progress.print(format!("{of}{line}"));
        }
        let judged = measurements.waste.iter().map(|waste| waste.bytes);
        let total = judged.chain(measurements.caches.iter().map(|cache| cache.bytes)).fold(0, u64::saturating_add);
        // Mostly there is nothing, and then the file need not be read as the linter reads it.
        if !measurements.is_notable(total) && !measurements.unread.iter().any(MeasuredUnread::is_notable) {
            return Vec::new();
        }
        let options = LintOptions { measurements: Some(measurements), ..lint_options(request) };
        let told: Vec<Diagnostic> = lint_measured(dockerfile, &options)
            .iter()
            .map(|finding| {
                let mut diagnostic = finding.diagnostic();
                if let Some(help) = &finding.help {
                    diagnostic.message = format!("{}; {help}", diagnostic.message);
                }
                diagnostic
            })
            .collect();
        progress.measured(&dockerfile.source, &told);
        told
    }

    /// The bytes of the base image and of the instructions that added most, where that is worth a word.
    fn layers_line(&self, dockerfile: &Dockerfile, measurements: &Measurements) -> Option<String> {
        let rows = self.by_instruction();
        let mut largest: Vec<u64> = rows
            .iter()
            .filter(|(instruction, bytes, _)| instruction.is_some() && measurements.is_notable(*bytes))
            .map(|(_, bytes, _)| *bytes)
            .collect();
        largest.sort_unstable_by(|a, b| b.cmp(a));
        largest.truncate(INSTRUCTIONS_SHOWN_MAX);
        let smallest = *largest.last()?;
        let told: Vec<String> = rows
            .iter()
            .filter(|(instruction, bytes, _)| *bytes >= if instruction.is_some() { smallest } else { 1 })
            .map(|(instruction, bytes, _)| format!("{} {}", size(*bytes), place(dockerfile, *instruction)))
            .collect();
        Some(format!("layers {}", told.join(", ")))
    }

    /// The entry of the metadata file.
    pub(super) fn metadata(&self, dockerfile: &Dockerfile) -> Value {
        let (added, wasted) = (self.summary.added_bytes(), self.summary.wasted_bytes());
        let rows = self.by_instruction().into_iter().map(|(instruction, added, hidden)| {
            let mut row = json!({ "addedBytes": added, "hiddenBytes": hidden });
            if let Some(instruction) = instruction.and_then(|index| dockerfile.instructions.get(index)) {
                row["line"] = dockerfile.source.position(instruction.span.start).line.into();
                row["instruction"] = dockerfile.source.slice(instruction.keyword.span).to_uppercase().into();
            }
            row
        });
        json!({
            "addedBytes": added,
            "wastedBytes": wasted,
            "baseMeasured": self.with_base,
            "layers": rows.collect::<Vec<_>>(),
        })
    }
}

pub(super) fn failed(error: &dyn std::error::Error) -> CommandError {
    CommandError::build(bake::error::chain_text(error))
}

/// What the settings of the linter say of a Dockerfile: which rules are off, how serious they are. A mistake in them is for `bake lint`
/// to tell; a build is not about it.
fn lint_options(request: &BuildRequest) -> LintOptions {
    let path = request.dockerfile_path().unwrap_or_default();
    let directory = path.parent().unwrap_or(&path);
    match SettingsFinder::new(None, false).and_then(|mut finder| finder.for_directory(directory)) {
        Ok(settings) => settings.options_for(&std::path::absolute(&path).unwrap_or_else(|_| path.clone())),
        Err(error) => {
            tracing::debug!(error = error.message(), "the settings of the linter are not used");
            LintOptions::default()
        }
    }
}

/// How an instruction is called in a row.
pub(crate) fn place(dockerfile: &Dockerfile, instruction: Option<usize>) -> String {
    match instruction.and_then(|index| dockerfile.instructions.get(index)) {
        Some(instruction) => format!(
            "{} on line {}",
            dockerfile.source.slice(instruction.keyword.span).to_uppercase(),
            dockerfile.source.position(instruction.span.start).line
        ),
        None => "base image".to_owned(),
    }
}
