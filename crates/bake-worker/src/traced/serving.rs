//! A step whose slots are served.

use std::path::Path;
use std::sync::Arc;

use bake_graph::ExecOp;
use bake_sandbox::IdRange;
use bake_snapshot::{Active, LayerTree, Lower, Ownership, SnapshotError, Snapshotter};
use bake_solver::{
    Answer, Asked, BuildEvent, Output, QUESTIONS_LIGHT, QUESTIONS_MAX, Question, Slot, StepError, Task, Trace, Traced,
};
use bake_trace::{Attributes, OwnerShift, ServeOptions, TraceError, TracedTree};
use rustix::fs::Mode;

use super::{answer, host};
use crate::images::chain_of;
use crate::worker::{LinuxWorker, StepIsolation, image_failed, snapshot_failed};

/// Stacks up to this length are mounted layer by layer, so that slots are not lost in directories that stand for several layers.
const LAYERS_MAX: usize = 128;

/// What is said to nobody in particular when a step could not be traced.
type Problem = String;

/// The servers of a step.
#[derive(Debug)]
pub(crate) struct Tracing {
    owners: OwnerShift,
    ownership: Ownership,
    served: Vec<Served>,
    /// Why there will be no trace.
    problem: Option<Problem>,
}

/// A slot that is served.
#[derive(Debug)]
pub(crate) struct Served {
    /// Its number among the slots.
    number: u16,
    slot: Slot,
    tree: Arc<LayerTree>,
    server: TracedTree,
}

impl Served {
    /// It as a lower directory.
    pub(crate) fn lower(&self) -> Lower<'_> {
        Lower::Served { tree: &self.tree, mount: self.server.mount() }
    }
}

impl Tracing {
    fn new(isolation: &StepIsolation, ownership: Ownership) -> Self {
        // Owners on the disk go through the step's ID map where there is one; a server tells what comes out of it.
        let owners = if isolation.user_namespace.is_some() {
            OwnerShift::Ranges { users: shown(&isolation.id_map.users), groups: shown(&isolation.id_map.groups) }
        } else {
            OwnerShift::Identity
        };
        Self { owners, ownership, served: Vec::new(), problem: None }
    }

    /// Whether there is still something to record.
    fn is_going_on(&self) -> bool {
        self.problem.is_none()
    }

    /// There will be no trace: steps do not fail for want of one.
    pub(crate) fn give_up(&mut self, problem: impl Into<Problem>) {
        let problem = problem.into();
        tracing::debug!(%problem, "a step is not traced");
        self.problem.get_or_insert(problem);
    }

    /// Serves what mount number `mount` of the step shows, if that is a slot and nothing went wrong so far.
    pub(crate) fn serve_mount(
        &mut self,
        mount: usize,
        task: &Task<'_>,
        attributes: MountAttributes,
        tree: impl FnOnce() -> Result<LayerTree, StepError>,
    ) -> Result<Option<&Served>, StepError> {
        let slot = Slot::Mount(mount);
        let Some(number) = task.slots.iter().position(|one| *one == slot).filter(|_| self.is_going_on()) else {
            return Ok(None);
        };
        let tree = Arc::new(tree()?);
        let attributes = match (self.ownership, attributes) {
            (Ownership::Native, MountAttributes::None) => Attributes::Hidden,
            _ => Attributes::Raw,
        };
        Ok(self.serve(number, slot, tree, attributes))
    }

    fn serve(&mut self, number: usize, slot: Slot, tree: Arc<LayerTree>, attributes: Attributes) -> Option<&Served> {
        let Ok(number) = u16::try_from(number) else { return None };
        let options = ServeOptions { owners: self.owners.clone(), attributes };
        match TracedTree::serve(Arc::clone(&tree), options) {
            Ok(server) => {
                self.served.push(Served { number, slot, tree, server });
                self.served.last()
            }
            Err(error) => {
                self.give_up(chain_of(&error));
                None
            }
        }
    }

    fn layer(&self, number: usize) -> Option<&Served> {
        self.served.iter().find(|served| served.slot == Slot::Layer(number))
    }
}

/// Whether files below a bind mount can have extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountAttributes {
    /// They were not copied.
    None,
    /// As the stage has them.
    Kept,
}

impl LinuxWorker {
    /// Serves the layers of a step that are slots. `None` if the step is not to be traced.
    pub(crate) fn begin_tracing(&self, task: &Task<'_>, base: &Output) -> Result<Option<Tracing>, StepError> {
        if task.slots.is_empty() {
            return Ok(None);
        }
        let mut tracing = Tracing::new(self.options.isolation.steps()?, self.format.ownership);
        if base.layers().len() > LAYERS_MAX {
            tracing.give_up(format!("it stands on more than {LAYERS_MAX} layers"));
        }
        let present = self.options.images.present(base.layers()).map_err(|error| image_failed(&error))?;
        for (number, slot) in task.slots.iter().enumerate() {
            let Slot::Layer(layer) = *slot else { continue };
            if !tracing.is_going_on() {
                break;
            }
            let (Some(Some(directory)), Some(about)) = (present.get(layer), base.layers().get(layer)) else {
                tracing.give_up("a layer is not in the store");
                break;
            };
            let attributes = match (self.format.ownership, about.copied) {
                (Ownership::Recorded, _) => Attributes::Raw,
                (Ownership::Native, Some(copied)) if !copied.attributes => Attributes::Hidden,
                (Ownership::Native, _) => {
                    tracing.give_up("files that were copied for it have extended attributes");
                    break;
                }
            };
            match self.layer_tree(about, directory)? {
                Some(tree) => drop(tracing.serve(number, *slot, Arc::new(tree), attributes)),
                None => tracing.give_up("a layer is no layer of copies"),
            }
        }
        Ok(Some(tracing))
    }

    /// Mounts the root of a step, with what is served of it in place of the directories. `lowers` are those of a plain mount.
    pub(crate) fn mount_root(
        &self,
        base: &Output,
        lowers: &[&Path],
        active: Active<'_>,
        tracing: Option<&mut Tracing>,
    ) -> Result<std::os::fd::OwnedFd, StepError> {
        let snapshotter = &*self.options.isolation.steps()?.snapshotter;
        let Some(tracing) = tracing.filter(|tracing| tracing.is_going_on()) else {
            return snapshotter.mount(lowers, active).map_err(|error| snapshot_failed(&error));
        };
        let present = self.options.images.present(base.layers()).map_err(|error| image_failed(&error))?;
        let mut all = Vec::with_capacity(present.len());
        for (number, directory) in present.iter().enumerate() {
            let lower = tracing.layer(number).map(Served::lower);
            all.push(lower.or_else(|| directory.as_deref().map(Lower::Layer)));
        }
        let all: Option<Vec<Lower<'_>>> = all.into_iter().collect();
        let mounted = match all {
            Some(all) if !all.is_empty() => mount_or_fall_back(snapshotter, &all, lowers, Some(active)),
            // Slots are mounts only, over nothing.
            _ => return snapshotter.mount(lowers, active).map_err(|error| snapshot_failed(&error)),
        };
        let (root, problem) = mounted.map_err(|error| snapshot_failed(&error))?;
        if let Some(problem) = problem {
            tracing.give_up(chain_of(&problem));
        }
        Ok(root)
    }

    /// What a step asked, after it has ended and nothing of it is mounted any more. `None` if that is not known for certain.
    pub(crate) fn trace_of(
        &self,
        mut tracing: Tracing,
        op: &ExecOp,
        lowers: &[&Path],
        task: &Task<'_>,
    ) -> Option<Traced> {
        let traced = self.evaluate(&mut tracing, op, lowers, task);
        let problem = match traced {
            Ok(traced) => return Some(traced),
            Err(problem) => problem,
        };
        tracing::debug!(%problem, step = %task.vertex.label, "there is no trace of a step");
        if self.options.tells_untraced {
            let message = format!("what this step reads is not recorded: {problem}");
            task.events.send(BuildEvent::Notice { step: task.id, message });
        }
        None
    }

    fn evaluate(
        &self,
        tracing: &mut Tracing,
        op: &ExecOp,
        lowers: &[&Path],
        task: &Task<'_>,
    ) -> Result<Traced, Problem> {
        if let Some(problem) = tracing.problem.take() {
            return Err(problem);
        }
        if tracing.served.len() != task.slots.len() {
            return Err("not everything that was copied for it could be served".to_owned());
        }
        let mut recorded = Vec::with_capacity(tracing.served.len());
        for served in tracing.served.drain(..) {
            let asked = served.server.finish().map_err(|error: TraceError| chain_of(&error))?;
            recorded.push((served.number, served.slot, served.tree, asked));
        }
        let questions = recorded.iter().map(|(.., asked)| asked.nodes.len() + asked.names.len()).sum::<usize>();
        if questions > QUESTIONS_MAX {
            return Ok(Traced::TooMuch);
        }
        let of_step = |error: StepError| chain_of(&error);
        let looked_up = host::looked_up(op, lowers, self.format).map_err(|error| chain_of(&error))?;
        let mut entries: Vec<(Question, Answer)> = Vec::new();
        let mut trees = Vec::with_capacity(recorded.len());
        for (slot, place, tree, recorded) in recorded {
            // A layer that is asked again and again knows what its files hold.
            let tree = match place {
                Slot::Layer(layer) => self.slot_layer(layer, task).map_err(of_step)?.unwrap_or(tree),
                Slot::Mount(_) => tree,
            };
            let asked = |asked| move |path| Question { slot, path, asked };
            let nodes = recorded.nodes.into_iter().map(asked(Asked::Node));
            for question in nodes.chain(recorded.names.into_iter().map(asked(Asked::Names))) {
                let answer = answer(&tree, question.asked, &question.path).map_err(of_step)?;
                entries.push((question, answer));
            }
            if let Slot::Layer(_) = place {
                host::ask(slot, &tree, &looked_up, &mut entries).map_err(of_step)?;
            }
            if let Some(path) = host::only_file(&tree).map_err(|error| chain_of(&error))? {
                let answer = answer(&tree, Asked::Node, &path).map_err(of_step)?;
                entries.push((Question { slot, path, asked: Asked::Node }, answer));
            }
            trees.push(tree);
        }
        let trace = Trace::new(entries);
        if trace.len() > QUESTIONS_MAX {
            return Ok(Traced::TooMuch);
        }
        let mut slot_paths = 0;
        if trace.len() > QUESTIONS_LIGHT {
            for tree in trees {
                slot_paths += count(&tree).map_err(|error| chain_of(&error))?;
            }
        }
        Ok(Traced::Trace { trace, slot_paths })
    }
}

/// Ranges of an ID map as a server takes them.
fn shown(ranges: &[IdRange]) -> Vec<bake_trace::IdRange> {
    let shown = |range: &IdRange| bake_trace::IdRange { tree: range.inside, shown: range.outside, count: range.count };
    ranges.iter().map(shown).collect()
}

/// Mounts `wanted`, or if that is refused, `plain`; then also the reason.
pub(crate) fn mount_or_fall_back(
    snapshotter: &dyn Snapshotter,
    wanted: &[Lower<'_>],
    plain: &[&Path],
    active: Option<Active<'_>>,
) -> Result<(std::os::fd::OwnedFd, Option<SnapshotError>), SnapshotError> {
    let refused = match snapshotter.mount_over(wanted, active) {
        Ok(mount) => return Ok((mount, None)),
        Err(refused) => refused,
    };
    let mount = match active {
        None => snapshotter.view(plain)?,
        Some(active) => {
            // A mount that failed may have left something in its work directory.
            let work = active.work.with_file_name("work-of-plain");
            if rustix::fs::mkdir(&work, Mode::RWXU).is_err() {
                return Err(refused);
            }
            snapshotter.mount(plain, Active { upper: active.upper, work: &work })?
        }
    };
    Ok((mount, Some(refused)))
}

/// How many files and directories there are in a tree.
fn count(tree: &LayerTree) -> Result<u64, SnapshotError> {
    let mut counted = 0;
    let mut pending = vec![Vec::new()];
    while let Some(directory) = pending.pop() {
        for (name, kind) in tree.names(&directory)?.unwrap_or_default() {
            counted += 1;
            if kind == Some(bake_snapshot::FileKind::Directory) {
                pending.push(crate::source_tree::join(&directory, &name));
            }
        }
    }
    Ok(counted)
}
