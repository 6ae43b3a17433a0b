//! What steps ask of their slots, and what the slots answer.
//!
//! A slot is a layer that COPY or ADD made, or what a bind mount shows ([`bake_solver::Slot`]). A step that is traced sees its
//! slots through servers ([`Tracing`]) that note what it asks; the answers are computed afterwards, from the same trees and by the
//! same function ([`answer`]) that answers for slots of a later build ([`LinuxWorker::answers_of_slots`]).
//!
//! Paths are relative to the root of what is served: of a layer's root; of all of a stage, also where the mount shows only a part
//! of it; of the copy that is made of a part of a build context, where a single file is called `file`.

mod host;
mod selected;
mod serving;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bake_graph::{MountKind, Op};
use bake_oci::SnapshotId;
use bake_snapshot::{Contents, FileKind, LayerTraits, LayerTree, MergedView, TreeName, compare_trees, kind_letter};
use bake_solver::{Answer, Asked, Layer, NodeAnswer, Output, Question, Slot, StepError, Task};
use bake_trace::TraceError;

use self::selected::SelectedTree;
use crate::source_tree::shown;
use crate::worker::{LinuxWorker, image_failed, open_directory, snapshot_failed};

pub(crate) use self::serving::{MountAttributes, Tracing, mount_or_fall_back};

/// Whether what steps read can be recorded here; if not, why.
///
/// # Errors
/// Of opening the device.
pub fn recording_available() -> std::io::Result<()> {
    bake_trace::available().map_err(|error| match error {
        TraceError::Device { source } => source,
        other => std::io::Error::other(other),
    })
}

/// Layers of copies that were looked into, by their names in the store.
#[derive(Debug, Default)]
pub(crate) struct Trees(Mutex<HashMap<SnapshotId, Arc<LayerTree>>>);

/// Something that questions are asked of.
#[derive(Debug)]
enum Askable {
    /// A tree that stands on the disk.
    Tree(Arc<LayerTree>),
    /// What a copy of files of a build context would hold.
    Selected(SelectedTree),
}

impl LinuxWorker {
    /// The answers of the slots of `task` as they are now; `None` if one of them cannot be asked.
    pub(crate) fn answers_of_slots(
        &self,
        task: &Task<'_>,
        questions: &[Question],
    ) -> Result<Option<Vec<Answer>>, StepError> {
        let mut opened: HashMap<u16, Askable> = HashMap::new();
        let mut answers = Vec::with_capacity(questions.len());
        for question in questions {
            let slot = match opened.entry(question.slot) {
                std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::hash_map::Entry::Vacant(entry) => {
                    let Some(slot) = task.slots.get(usize::from(question.slot)) else { return Ok(None) };
                    match self.askable(*slot, task)? {
                        Some(askable) => entry.insert(askable),
                        None => return Ok(None),
                    }
                }
            };
            answers.push(match slot {
                Askable::Tree(tree) => answer(tree, question.asked, &question.path)?,
                Askable::Selected(tree) => tree.answer(question.asked, &question.path)?,
            });
        }
        Ok(Some(answers))
    }

    fn askable(&self, slot: Slot, task: &Task<'_>) -> Result<Option<Askable>, StepError> {
        let number = match slot {
            Slot::Layer(number) => return Ok(self.slot_layer(number, task)?.map(Askable::Tree)),
            Slot::Mount(number) => number,
        };
        let Some(bind) = bind_of(task, number) else { return Ok(None) };
        let Some(output) = task.inputs.get(bind.input) else { return Ok(None) };
        if let Output::Layers(_) = output {
            let directories = self.directories(output, task)?;
            return self.stage_tree(&directories).map(|tree| Some(Askable::Tree(Arc::new(tree))));
        }
        let tree = self.tree(output, &|| Ok(Vec::new()))?;
        let selections = self.selections(task.vertex, bind.input, &tree)?;
        Ok(SelectedTree::new(tree, selections, bind.position).map(Askable::Selected))
    }

    /// Layer number `number` of the root file system of `task`, if copies made it and it can be had.
    fn slot_layer(&self, number: usize, task: &Task<'_>) -> Result<Option<Arc<LayerTree>>, StepError> {
        let Some(base) = task.inputs.first() else { return Ok(None) };
        let Some(layer) = base.layers().get(number) else { return Ok(None) };
        let trees = || self.trees.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = trees().get(&layer.snapshot) {
            return Ok(Some(Arc::clone(known)));
        }
        // A layer of a step is complete by itself, so it can be had without those below it.
        let alone = std::slice::from_ref(layer);
        let mut directory = self.options.images.present(alone).map_err(|error| image_failed(&error))?.pop().flatten();
        if directory.is_none() && layer.is_of_step() {
            directory = match self.options.images.directories(alone, task.id, task.events) {
                Ok(mut fetched) => fetched.pop(),
                Err(_) if self.cancelled.load(Ordering::SeqCst) => return Err(StepError::cancelled()),
                // Whether the step can do without it is for the step to find out.
                Err(error) => {
                    tracing::debug!(%error, layer = %layer.snapshot, "a layer cannot be asked");
                    None
                }
            };
        }
        let Some(directory) = directory else { return Ok(None) };
        let Some(tree) = self.layer_tree(layer, &directory)? else { return Ok(None) };
        let tree = Arc::new(tree.knowing(move || known_contents(&directory)));
        trees().insert(layer.snapshot.clone(), Arc::clone(&tree));
        Ok(Some(tree))
    }

    /// Looks into a layer that copies made.
    fn layer_tree(&self, layer: &Layer, directory: &Path) -> Result<Option<LayerTree>, StepError> {
        let Some(copied) = layer.copied else { return Ok(None) };
        let traits = LayerTraits { attributes: copied.attributes, links: copied.links };
        LayerTree::of_layer(directory, self.format, traits).map(Some).map_err(|error| snapshot_failed(&error))
    }

    /// Looks into the root file system that `directories` make, base first.
    pub(crate) fn stage_tree(&self, directories: &[PathBuf]) -> Result<LayerTree, StepError> {
        let directories: Vec<&Path> = directories.iter().map(PathBuf::as_path).collect();
        let root = if directories.is_empty() {
            crate::worker::empty_directory(&self.options.store)?
        } else {
            self.view(&directories)?
        };
        Ok(LayerTree::of_directory(root, self.format.ownership))
    }

    /// The first path in which two layers differ; `None` if none does, or they cannot be looked at.
    pub(crate) fn first_differing_path(&self, one: &Layer, other: &Layer) -> Option<String> {
        let view = |layer: &Layer| -> Option<MergedView> {
            let snapshot = self.options.store.snapshot(&layer.snapshot).ok()??;
            let root: OwnedFd = open_directory(&snapshot.path, "cannot open a layer").ok()?;
            Some(MergedView::of_directory(root, self.format.ownership))
        };
        let changes = compare_trees(&view(one)?, &view(other)?, false).ok()?;
        changes.first().map(|change| shown(&change.path))
    }
}

/// What the files of the layer in `directory` hold, as far as it was noted when the layer was made. The rest can be read.
fn known_contents(directory: &Path) -> Contents {
    match bake_store::contents_beside(directory) {
        Ok(contents) => contents.unwrap_or_default(),
        Err(error) => {
            tracing::debug!(%error, directory = %directory.display(), "the files of a layer are read");
            Contents::new()
        }
    }
}

/// A bind mount of a step.
#[derive(Debug, Clone, Copy)]
struct BindPlace {
    /// The number of the input that it shows.
    input: usize,
    /// Its place among the bind mounts that show the same input.
    position: usize,
}

/// The bind mount that is number `number` of the mounts of `task`.
fn bind_of(task: &Task<'_>, number: usize) -> Option<BindPlace> {
    let Op::Exec(exec) = &task.vertex.op else { return None };
    let input_of = |kind: &MountKind| match kind {
        MountKind::Bind { input, .. } => Some(*input),
        _ => None,
    };
    let input = input_of(&exec.mounts.get(number)?.kind)?;
    let position = exec.mounts.iter().take(number).filter(|mount| input_of(&mount.kind) == Some(input)).count();
    Some(BindPlace { input, position })
}

/// What `tree` answers.
fn answer(tree: &LayerTree, asked: Asked, path: &[u8]) -> Result<Answer, StepError> {
    let failed = |error| snapshot_failed(&error);
    match asked {
        Asked::Node => {
            let Some(node) = tree.node(path).map_err(failed)? else { return Ok(Answer::Absent) };
            Ok(Answer::Node(NodeAnswer {
                kind: kind_letter(node.kind),
                mode: node.mode,
                uid: node.uid,
                gid: node.gid,
                size: node.size_bytes,
                links: node.links,
                attributes: node.attributes,
                content: tree.content(path, &node).map_err(failed)?,
            }))
        }
        Asked::Names => {
            Ok(tree.names(path).map_err(failed)?.map_or(Answer::Absent, |names| Answer::Names(names_digest(&names))))
        }
    }
}

/// The digest of the names and types in a directory, in byte order.
fn names_digest(names: &[TreeName]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for (name, kind) in names {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update(&[kind_letter(*kind)]);
    }
    *hasher.finalize().as_bytes()
}

/// Whether the answer is that there is a directory.
fn is_directory(answer: &Answer) -> bool {
    matches!(answer, Answer::Node(node) if node.kind == kind_letter(Some(FileKind::Directory)))
}
