//! What of the files that a COPY brought into a stage no later step read.
//!
//! It is known for certain, or nothing is said. A file counts as read if
//!
//! - a RUN that stands on the copy, or mounts its stage, asked for it: all of them must have a trace that still holds
//!   ([`past_questions`]) and in which the copy is a slot;
//! - a COPY takes it from the stage;
//! - the copy is part of a result, or a stage that was not built may use it.
//!
//! Nothing is fetched or unpacked for it. The outcome is remembered under the identity of the layer and of the steps that see it, so that
//! builds in which everything is cached only look it up.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;

use bake::error::CommandError;
use bake_analyze::Unread;
use bake_dockerfile::instruction::InstructionKind;
use bake_graph::{FileAction, MountKind, Op, SourceOp, Unpack, Vertex, VertexId};
use bake_lint::MeasuredUnread;
use bake_solver::{Asked, Layer, Output, Scope, Slot, Task, TraceRun, Worker as _, past_questions, step_key};
use bake_worker::{ACCOUNT_FILES, StoreCache};

use super::measure::{Measuring, failed};
use crate::listings;

/// Where outcomes are remembered. The number is raised when they change their form or meaning.
const SPACE: &str = "unread 1";

/// A step that sees files of a copy.
#[derive(Debug)]
struct Reader {
    step: VertexId,
    how: How,
}

#[derive(Debug)]
enum How {
    /// It runs on them, or mounts them.
    Runs(Scope),
    /// It copies from its input of this number.
    Copies(usize),
}

impl Measuring<'_> {
    /// The copies of which something was not read. A measurement is no reason to fail a build: what goes wrong is no finding.
    pub(super) fn unread(&self) -> Vec<MeasuredUnread> {
        let began = Instant::now();
        if self.target.request.trace_run == TraceRun::Off || self.is_continued {
            return Vec::new();
        }
        let needed = self.graph.needed(self.wanted);
        let mut made: BTreeMap<usize, Vec<VertexId>> = BTreeMap::new();
        for id in &needed {
            let vertex = self.graph.vertex(*id);
            let instruction = vertex.origin.and_then(|origin| self.instruction_at(origin));
            if let (Some(instruction), Op::Exec(_) | Op::File(_)) = (instruction, &vertex.op) {
                made.entry(instruction).or_default().push(*id);
            }
        }
        let built: BTreeSet<usize> = made.keys().copied().collect();
        let mut found = Vec::new();
        for (instruction, steps) in made {
            // An instruction that was carried out several times, for several platforms, say, is read by all that followed each.
            let [step] = steps.as_slice() else { continue };
            // What targets have in common is told of the first.
            let target = self.graph.vertex(*step).origin.and_then(|origin| self.sources.target(origin));
            if !target.is_some_and(|target| std::ptr::eq(target, self.target)) {
                continue;
            }
            match self.unread_of(instruction, *step, &needed, &built) {
                Ok(Some(unread)) if unread.bytes > 0 => found.push(MeasuredUnread { instruction, unread }),
                Ok(_) => {}
                Err(error) => tracing::debug!(error = error.message(), "whether a copy is read is not known"),
            }
        }
        tracing::debug!(elapsed = ?began.elapsed(), "looked for copies that are not read");
        found
    }

    /// What was not read of that which `step` copied for `instruction`; `None` if that is not known for certain, or of no concern.
    fn unread_of(
        &self,
        instruction: usize,
        step: VertexId,
        needed: &[VertexId],
        built: &BTreeSet<usize>,
    ) -> Result<Option<Unread>, CommandError> {
        if !self.copies_context(instruction, self.graph.vertex(step)) {
            return Ok(None);
        }
        let Some(layer) = self.layers(step).last().filter(|layer| layer.copied.is_some()) else { return Ok(None) };
        let is_of_result = self.wanted.iter().any(|root| holds(self.layers(*root), layer));
        if is_of_result || self.may_be_used_elsewhere(instruction, built) {
            return Ok(None);
        }
        let snapshot = self.host.store.snapshot(&layer.snapshot).map_err(|error| failed(&error))?;
        let Some(snapshot) =
            snapshot.filter(|snapshot| snapshot.record.size_bytes >= MeasuredUnread::NOTABLE_BYTES_MIN)
        else {
            return Ok(None);
        };
        let Some((readers, name)) = self.readers(layer, needed) else { return Ok(None) };
        if let Some(unread) = self.recall(SPACE, &name) {
            return Ok(Some(unread));
        }
        // These are read for every step that has a user or an owner by name.
        let mut used: HashSet<Vec<u8>> = ACCOUNT_FILES.map(|path| path.as_bytes().to_vec()).into();
        for reader in &readers {
            let Some(paths) = self.read_by(reader, layer)? else { return Ok(None) };
            used.extend(paths);
        }
        let listing = listings::of_directory(&snapshot.path, self.host.format).map_err(|error| failed(&error))?;
        let unread = Unread::of(&listing, &used);
        self.remember(SPACE, &name, &unread);
        Ok(Some(unread))
    }

    /// Whether `vertex` does nothing but copy files of a build context for a COPY or ADD.
    fn copies_context(&self, instruction: usize, vertex: &Vertex) -> bool {
        let instruction = self.target.dockerfile.instructions.get(instruction).map(|instruction| &instruction.kind);
        let (Some(InstructionKind::Copy(_) | InstructionKind::Add(_)), Op::File(file)) = (instruction, &vertex.op)
        else {
            return false;
        };
        let is_context = |input: usize| {
            let source = vertex.inputs.get(input).map(|id| &self.graph.vertex(*id).op);
            matches!(source, Some(Op::Source(SourceOp::Local(_))))
        };
        file.actions.iter().all(|action| match action {
            // What comes out of an archive cannot be left out. All of a context is none.
            FileAction::Copy(copy) => {
                let is_whole = matches!(copy.source.trim_matches('/'), "" | ".");
                is_context(copy.from) && (is_whole || copy.unpack == Unpack::Never)
            }
            FileAction::Mkfile { .. } => true,
            FileAction::Mkdir { .. } | FileAction::Rm { .. } | FileAction::Symlink { .. } => false,
        })
    }

    /// Whether a stage may use the files that was not built, such as one of tests.
    fn may_be_used_elsewhere(&self, instruction: usize, built: &BTreeSet<usize>) -> bool {
        let dockerfile = &self.target.dockerfile;
        let Some(own) = dockerfile.stages.iter().find(|stage| stage.instructions.contains(&instruction)) else {
            return true;
        };
        let uses = |user: &usize| dockerfile.stages.get(*user);
        bake_frontend::users_of_stage(dockerfile, own.index).iter().filter_map(uses).any(|stage| {
            let makes_something = dockerfile.stage_instructions(stage).iter().any(|instruction| {
                matches!(instruction.kind, InstructionKind::Run(_) | InstructionKind::Copy(_) | InstructionKind::Add(_))
            });
            makes_something && built.range(stage.instructions.clone()).next().is_none()
        })
    }

    /// The steps that see files of `layer`, and the name for all that they depend on; `None` if one of them tells nothing of what it reads.
    fn readers(&self, layer: &Layer, needed: &[VertexId]) -> Option<(Vec<Reader>, String)> {
        let mut readers = Vec::new();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&layer.tree.0);
        for step in needed {
            let (vertex, inputs) = (self.graph.vertex(*step), self.inputs(*step)?);
            let has_layer = |input: usize| inputs.get(input).is_some_and(|input| holds(input.layers(), layer));
            if !(0..inputs.len()).any(has_layer) {
                continue;
            }
            let before = readers.len();
            match &vertex.op {
                Op::Exec(exec) => {
                    // What a cache mount is filled with is not in a trace.
                    let fills_cache = exec.mounts.iter().any(|mount| match &mount.kind {
                        MountKind::Cache(cache) => cache.from.as_ref().is_some_and(|(input, _)| has_layer(*input)),
                        _ => false,
                    });
                    let scope = bake_solver::scope(vertex, &inputs).filter(|_| !fills_cache)?;
                    let root = inputs.first().map_or(&[][..], |root| root.layers());
                    let mut places = (0..root.len()).filter(|place| root[*place].tree == layer.tree);
                    if !places.all(|place| scope.slots.contains(&Slot::Layer(place))) {
                        return None;
                    }
                    readers.push(Reader { step: *step, how: How::Runs(scope) });
                }
                Op::File(file) => {
                    let from: BTreeSet<usize> = file.actions.iter().filter_map(copied_from).collect();
                    let inputs = from.into_iter().filter(|input| has_layer(*input));
                    readers.extend(inputs.map(|input| Reader { step: *step, how: How::Copies(input) }));
                }
                Op::Source(_) | Op::Merge | Op::Diff => {}
            }
            if readers.len() > before {
                // A step that mounts a build context has no such key, and its trace would take another look at the context.
                hasher.update(&step_key(vertex, &inputs, &[])?.key.0);
            }
        }
        Some((readers, hasher.finalize().to_hex().to_string()))
    }

    /// The paths of `layer` that `reader` used; `None` if that is not known.
    fn read_by(&self, reader: &Reader, layer: &Layer) -> Result<Option<Vec<Vec<u8>>>, CommandError> {
        let (step, vertex) = (reader.step, self.graph.vertex(reader.step));
        let Some(inputs) = self.inputs(step) else { return Ok(None) };
        let scope = match &reader.how {
            How::Copies(input) => {
                let Some(source) = inputs.get(*input) else { return Ok(None) };
                return self.worker.selected_paths(vertex, *input, source).map_err(|error| failed(&error));
            }
            How::Runs(scope) => scope,
        };
        let slots = scope.slots.as_slice();
        let trees: Option<Vec<Output>> = slots.iter().map(|slot| slot_output(*slot, vertex, &inputs)).collect();
        // Asking would fetch what is missing.
        let Some(trees) = trees.filter(|trees| trees.iter().all(|tree| self.worker.is_here(tree))) else {
            return Ok(None);
        };
        let task = Task { id: step, vertex, inputs, slots, events: self.events };
        let cache = StoreCache::new(self.host.store.clone());
        let asked = past_questions(scope, &task, self.worker, &cache).map_err(|error| failed(&error))?;
        let is_of_layer = |slot: u16| trees.get(usize::from(slot)).is_some_and(|tree| holds(tree.layers(), layer));
        Ok(asked.map(|asked| {
            let nodes =
                asked.into_iter().filter(|question| question.asked == Asked::Node && is_of_layer(question.slot));
            nodes.map(|question| question.path).collect()
        }))
    }

    fn layers(&self, id: VertexId) -> &[Arc<Layer>] {
        self.solved.outputs.get(&id).map_or(&[], Output::layers)
    }

    fn inputs(&self, id: VertexId) -> Option<Vec<&Output>> {
        self.graph.vertex(id).inputs.iter().map(|input| self.solved.outputs.get(input)).collect()
    }
}

/// What a slot shows.
fn slot_output(slot: Slot, vertex: &Vertex, inputs: &[&Output]) -> Option<Output> {
    match slot {
        Slot::Layer(number) => Some(Output::Layers(vec![inputs.first()?.layers().get(number)?.clone()])),
        Slot::Mount(number) => {
            let Op::Exec(exec) = &vertex.op else { return None };
            let MountKind::Bind { input, .. } = &exec.mounts.get(number)?.kind else { return None };
            inputs.get(*input).copied().cloned()
        }
    }
}

fn copied_from(action: &FileAction) -> Option<usize> {
    match action {
        FileAction::Copy(copy) => Some(copy.from),
        _ => None,
    }
}

/// Whether what `layer` holds is among `layers`.
fn holds(layers: &[Arc<Layer>], layer: &Layer) -> bool {
    layers.iter().any(|other| other.tree == layer.tree)
}
