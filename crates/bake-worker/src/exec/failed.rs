//! Steps that failed: their roots are handed out to be kept, looked into, and gone on from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bake_graph::{ExecOp, MountKind, Op, StepLabel, Vertex, VertexId};
use bake_oci::{DefinitionDigest, SnapshotId};
use bake_sandbox::{Exit, MountSource, StepMount};
use bake_snapshot::{Active, Contents, MergedView, Ownership};
use bake_solver::{BuildEvent, Layer, Output, StepError, StepErrorKind, StepUsage, Task};
use bake_store::ActiveSnapshot;
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use super::run::{Started, Streams, Watched, run_to_end};
use super::{new_step, spec};
use crate::copy::{CopyOptions, copy};
use crate::destination::Destination;
use crate::mounts::Prepared;
use crate::reuse::Copied;
use crate::select::select_path;
use crate::source_tree::SourceTree;
use crate::step_network::HostNames;
use crate::worker::{LinuxWorker, Silent, accounts, open_directory, snapshot_failed};

/// Where the toolbox is seen inside. Nothing of it enters the layer: what is mounted on is removed again.
const TOOLBOX: &str = "/.bake/busybox";
/// Shells that are looked for in a root, after that of the step.
const SHELLS: [&str; 3] = ["/bin/bash", "/bin/sh", "/busybox/sh"];

/// A step as it failed, with all that is needed to enter its root again. It holds no secrets and no proxy settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailedStep {
    /// What was asked for.
    pub definition: DefinitionDigest,
    /// How it was shown.
    pub name: String,
    /// What it did.
    pub op: ExecOp,
    /// What it worked on; the first is what its root stands on.
    pub inputs: Vec<FailedInput>,
}

/// What a failed step worked on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum FailedInput {
    /// A root file system.
    Layers(Vec<Layer>),
    /// The build context of this name.
    Directory(String),
}

impl FailedStep {
    fn of(op: &ExecOp, task: &Task<'_>) -> Self {
        let inputs = task.inputs.iter().map(|input| match input {
            Output::Layers(layers) => FailedInput::Layers(layers.iter().map(|layer| (**layer).clone()).collect()),
            Output::Directory { name } => FailedInput::Directory(name.clone()),
        });
        Self {
            definition: task.vertex.definition,
            name: task.vertex.label.to_string(),
            op: ExecOp { proxy_env: Vec::new(), ..op.clone() },
            inputs: inputs.collect(),
        }
    }

    /// The layers of what its root stands on, base first.
    pub fn base(&self) -> &[Layer] {
        match self.inputs.first() {
            Some(FailedInput::Layers(layers)) => layers,
            _ => &[],
        }
    }

    /// The directories of the store that are needed to enter its root.
    pub fn snapshots(&self) -> Vec<SnapshotId> {
        let layers = self.inputs.iter().flat_map(|input| match input {
            FailedInput::Layers(layers) => layers.as_slice(),
            FailedInput::Directory(_) => &[],
        });
        let mut snapshots: Vec<SnapshotId> = layers.map(|layer| layer.snapshot.clone()).collect();
        snapshots.sort();
        snapshots.dedup();
        snapshots
    }

    fn outputs(&self) -> Vec<Output> {
        let output = |input: &FailedInput| match input {
            FailedInput::Layers(layers) => Output::Layers(layers.iter().cloned().map(Arc::new).collect()),
            FailedInput::Directory(name) => Output::Directory { name: name.clone() },
        };
        self.inputs.iter().map(output).collect()
    }
}

/// A failed step and its root.
#[derive(Debug)]
pub struct FailedRoot {
    /// What it wrote. It goes to the trash when dropped, unless the store is told to keep it.
    pub root: ActiveSnapshot,
    /// The step.
    pub step: FailedStep,
}

/// What a build that goes on from a failed step uses instead of carrying steps out from the beginning.
#[derive(Debug, Default)]
pub struct Continuation {
    /// Layers that were made by going on from earlier failures, by the step.
    pub layers: HashMap<DefinitionDigest, Layer>,
    /// The step to go on with.
    pub step: Option<ContinuedStep>,
}

/// A step that goes on in the root that its failure left.
#[derive(Debug)]
pub struct ContinuedStep {
    /// Its definition.
    pub definition: DefinitionDigest,
    /// What its root stands on, base first.
    pub base: Vec<SnapshotId>,
    /// Its root.
    pub root: ActiveSnapshot,
    /// Whether the root is taken as it is, and nothing is run.
    pub accept: bool,
}

/// Failed roots of a build, and what a continued build uses.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    failed: Mutex<HashMap<VertexId, FailedRoot>>,
    continuation: Mutex<Continuation>,
    made: Mutex<HashMap<DefinitionDigest, Layer>>,
}

/// How a continued step begins.
pub(super) struct Beginning {
    pub(super) root: ActiveSnapshot,
    pub(super) accept: bool,
}

/// A command to be run in a failed root.
#[derive(Debug, Default)]
pub struct DebugSession {
    /// Program and arguments; without any, a shell.
    pub args: Vec<String>,
    /// Variables to be added.
    pub env: Vec<(String, String)>,
    /// A static busybox, for roots without a shell.
    pub toolbox: Option<Vec<u8>>,
    /// What the command reads and writes.
    pub streams: Streams,
}

/// What a root was entered without, for people.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Targets of bind mounts whose build context is not there any more.
    pub binds: Vec<String>,
    /// IDs of secrets that were not given again.
    pub secrets: Vec<String>,
    /// IDs of SSH agents that were not given again.
    pub agents: Vec<String>,
}

impl LinuxWorker {
    /// The same worker, going on from a failed step.
    #[must_use]
    pub fn with_continuation(mut self, continuation: Continuation) -> Self {
        self.failures = Failures { continuation: Mutex::new(continuation), ..Failures::default() };
        self
    }

    /// Takes the root of a step that failed, if it left one.
    pub fn take_failed(&self, step: VertexId) -> Option<FailedRoot> {
        self.failures.failed.lock().unwrap_or_else(PoisonError::into_inner).remove(&step)
    }

    /// Layers of this build that only it may use: of steps that went on from a failure.
    pub fn continued_layers(&self) -> HashMap<DefinitionDigest, Layer> {
        let mut layers = self.failures.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let continuation = self.failures.continuation.lock().unwrap_or_else(PoisonError::into_inner);
        layers.extend(continuation.layers.iter().map(|(definition, layer)| (*definition, layer.clone())));
        layers
    }

    /// The layer that takes the place of a step in a continued build.
    pub(super) fn layer_from_before(&self, task: &Task<'_>) -> Option<Layer> {
        let continuation = self.failures.continuation.lock().unwrap_or_else(PoisonError::into_inner);
        continuation.layers.get(&task.vertex.definition).cloned()
    }

    /// The root that a continued step begins with.
    pub(super) fn beginning(&self, task: &Task<'_>, base: &Output) -> Result<Option<Beginning>, StepError> {
        let mut continuation = self.failures.continuation.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(step) = continuation.step.take_if(|step| step.definition == task.vertex.definition) else {
            return Ok(None);
        };
        let same = base.layers().iter().map(|layer| &layer.snapshot).eq(&step.base);
        if !same {
            return Err(StepError::input("what is below the failed step is not what it was when the step failed")
                .hint("build anew: the steps before it have another result now"));
        }
        Ok(Some(Beginning { root: step.root, accept: step.accept }))
    }

    /// Remembers that a layer is of a continued step.
    pub(super) fn note_continued(&self, task: &Task<'_>, layer: &Layer) {
        let mut made = self.failures.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert(task.vertex.definition, layer.clone());
    }

    /// Sets the root of a failed step aside for whoever wants to keep it.
    pub(super) fn set_aside(&self, root: ActiveSnapshot, op: &ExecOp, task: &Task<'_>, error: &StepError) {
        if matches!(error.kind, StepErrorKind::Exit(_) | StepErrorKind::Signal(_)) {
            let failed = FailedRoot { root, step: FailedStep::of(op, task) };
            self.failures.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(task.id, failed);
        }
    }

    /// Publishes what is in a layer directory as the result of a step.
    pub(super) fn commit(
        &self,
        lowers: &[&Path],
        root: ActiveSnapshot,
        used: Option<StepUsage>,
        task: &Task<'_>,
    ) -> Result<Layer, StepError> {
        let active = Active { upper: root.fs(), work: root.work() };
        let files = &self.options.isolation.files;
        let committed = files.commit(lowers, active, &Contents::new()).map_err(|error| snapshot_failed(&error))?;
        if let Some(used) = used {
            let usage = StepUsage { written_bytes: Some(committed.size_bytes), ..used };
            task.events.send(BuildEvent::Used { step: task.id, usage });
        }
        self.publish(root, &committed, task)
    }

    /// Runs a command in the root of a failed step, as the step was run. What it changes stays there.
    ///
    /// `notice` is told what the user has to know, `told` gets what is missing before the command starts.
    ///
    /// # Errors
    /// As [`LinuxWorker::run_image`].
    #[expect(clippy::too_many_arguments, reason = "a step, and who looks at it")]
    pub fn debug(
        &self,
        root: &ActiveSnapshot,
        step: &FailedStep,
        session: DebugSession,
        notice: &dyn Fn(String),
        told: impl FnOnce(&Missing),
        started: impl FnOnce(Started),
        output: &mut dyn FnMut(bake_sandbox::Stream, &[u8]),
    ) -> Result<Exit, StepError> {
        let outputs = step.outputs();
        let mut op = step.op.clone();
        let missing = self.leave_out(&mut op, &outputs);
        told(&missing);
        for (name, value) in session.env {
            op.env.retain(|(known, _)| *known != name);
            op.env.push((name, value));
        }
        let vertex = Vertex {
            op: Op::Exec(op.clone()),
            inputs: (0..).map(VertexId).take(outputs.len()).collect(),
            definition: step.definition,
            label: StepLabel { text: step.name.clone(), ..StepLabel::default() },
            origin: None,
            ignore_cache: true,
            untraced: true,
        };
        let task =
            Task { id: VertexId(0), vertex: &vertex, inputs: outputs.iter().collect(), slots: &[], events: &Silent };
        let base = outputs.first().ok_or_else(|| StepError::input("the failed step had no root file system"))?;
        let lowers = self.directories(base, &task)?;
        let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
        let active = Active { upper: root.fs(), work: root.work() };
        self.working_directory(&op, &lowers, active)?;
        // Users that the failed step made count too.
        let all: Vec<&Path> = lowers.iter().copied().chain([root.fs()]).collect();
        let view = MergedView::open(&*self.options.isolation.files, &all).map_err(|error| snapshot_failed(&error))?;
        let identity = accounts(&view)?.identity(&op.user).map_err(|error| StepError::input(error.to_string()))?;
        let (args, toolbox) = command(&op, session.args, session.toolbox, &view)?;
        drop(view);
        op.args = args;
        if let Some(limits) = &mut op.limits {
            // Whoever looks around takes as long as it takes.
            limits.timeout_ns = None;
        }
        let isolation = self.options.isolation.steps()?;
        let mut network = self.step_networks.lease(op.network, &isolation.id_map, &[], notice)?;
        let mount = isolation.snapshotter.mount(&lowers, active).map_err(|error| snapshot_failed(&error))?;
        let mut prepared = Prepared::default();
        self.prepare_mounts(&op, &task, &mut prepared)?;
        if let Some(content) = toolbox {
            let source = MountSource::File { content, mode: 0o755, uid: 0, gid: 0 };
            prepared.mounts.push(StepMount::read_only(TOOLBOX, source));
        }
        let process = spec(&op, &identity, &prepared, &self.grants(0).limits);
        let names = HostNames { own: op.hostname.as_deref(), extra: &op.extra_hosts };
        let ready = network.ready(&names, notice)?;
        // No other runtime, whatever the build had: those know neither terminals nor the toolbox.
        let step = new_step(&op, process, mount, isolation, ready, &mut prepared);
        run_to_end(self, step, session.streams, &Watched { op: &op, layer: root.fs() }, notice, started, output)
    }

    /// Takes out of `op` what this worker was not given.
    fn leave_out(&self, op: &mut ExecOp, inputs: &[Output]) -> Missing {
        let mut missing = Missing::default();
        op.mounts.retain(|mount| match &mount.kind {
            MountKind::Bind { input, .. } => {
                let there = match inputs.get(*input) {
                    Some(Output::Directory { name }) => self.context(name).is_ok(),
                    _ => true,
                };
                if !there {
                    missing.binds.push(mount.target.clone());
                }
                there
            }
            MountKind::Secret { id, .. } if !self.grants(0).secrets.contains_key(id) => {
                missing.secrets.push(id.clone());
                false
            }
            MountKind::Ssh { id, .. } if !self.grants(0).agents.contains_key(id) => {
                missing.agents.push(id.clone());
                false
            }
            _ => true,
        });
        op.secret_env.retain(|secret| {
            let there = self.grants(0).secrets.contains_key(&secret.id);
            if !there {
                missing.secrets.push(secret.id.clone());
            }
            there
        });
        missing
    }

    /// Copies what is at `path` of a failed root into the directory `destination`, which is made, under its own name; the
    /// content of the whole root for `/`. Everything belongs to whoever runs bake; devices, sockets and pipes are left out,
    /// and so are set-user-id bits. No link leads out of the root, and none of the destination out of that.
    ///
    /// # Errors
    /// There is nothing at `path`; the destination cannot be written.
    pub fn export_failed(&self, failed: &FailedRoot, path: &str, destination: &Path) -> Result<(), StepError> {
        let base = Output::Layers(failed.step.base().iter().cloned().map(Arc::new).collect());
        let mut layers = self.options.images.directories(base.layers(), VertexId(0), &Silent).map_err(|error| {
            StepError::environment(format!("cannot read the failed step's root: {error}"), error.to_string())
        })?;
        layers.push(failed.root.fs().to_owned());
        let layers: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
        let tree = SourceTree::new(self.view(&layers)?, None).with_ownership(self.format.ownership);
        let told = |error: &dyn std::error::Error| StepError::input(format!("cannot save `{path}`: {error}"));
        let mut selection = select_path(&tree, path.as_bytes(), None).map_err(|error| told(&error))?;
        selection.items.retain(|item| {
            matches!(item.node.file_type(), FileType::RegularFile | FileType::Directory | FileType::Symlink)
        });
        for item in &mut selection.items {
            item.node.stat.st_mode &= !0o7000;
        }
        std::fs::create_dir_all(destination).map_err(|error| {
            StepError::environment(format!("cannot make the directory `{}`", destination.display()), error)
        })?;
        let open = || open_directory(destination, "cannot open the directory for what a failed step left");
        let into = Destination::new(open()?, open()?, Ownership::Native);
        let name = path.trim_matches('/').rsplit('/').next().unwrap_or_default();
        let target = match (selection.is_directory, name) {
            (_, "") => "/".to_owned(),
            (true, name) => format!("/{name}/"),
            (false, name) => format!("/{name}"),
        };
        let options = CopyOptions { owner: None, root_owned: true, mode: None, file_name: None, xattrs: false };
        copy(&tree, &selection, &into, &target, &options, &mut Copied::default(), &|_| {}).map_err(|error| told(&error))
    }
}

/// What is run, and the toolbox if that takes it.
fn command(
    op: &ExecOp,
    args: Vec<String>,
    toolbox: Option<Vec<u8>>,
    view: &MergedView,
) -> Result<(Vec<String>, Option<Vec<u8>>), StepError> {
    let is_there = |path: &str| {
        let found = view.stat(path.trim_start_matches('/').as_bytes());
        path.starts_with('/') && found.is_ok_and(|status| status.is_some())
    };
    let own = op.args.first().map(String::as_str).filter(|program| {
        let name = program.rsplit('/').next().unwrap_or(program);
        matches!(name, "sh" | "ash" | "bash" | "dash" | "ksh" | "zsh")
    });
    let shell = own.into_iter().chain(SHELLS).find(|path| is_there(path));
    match (shell, toolbox) {
        (Some(shell), _) => Ok((if args.is_empty() { vec![shell.to_owned()] } else { args }, None)),
        (None, Some(toolbox)) => {
            let mut with = vec![TOOLBOX.to_owned()];
            match args.first() {
                None => with.push("sh".to_owned()),
                // A program by its path is the image's own.
                Some(program) if program.contains('/') => with.clear(),
                Some(_) => {}
            }
            with.extend(args);
            Ok((with, Some(toolbox)))
        }
        (None, None) if args.is_empty() => {
            Err(StepError::input("the failed step's root has no shell, and there is no static busybox here")
                .hint("install Debian's package `busybox-static`, or name a program of the image after `--`"))
        }
        (None, None) => Ok((args, None)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use bake_graph::SecurityMode;

    use super::*;

    fn op(args: &[&str]) -> ExecOp {
        ExecOp {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: Vec::new(),
            build_args: Vec::new(),
            proxy_env: vec![("https_proxy".into(), "http://user:word@proxy".into())],
            cwd: "/".into(),
            user: String::new(),
            mounts: Vec::new(),
            secret_env: Vec::new(),
            network: bake_graph::NetworkMode::Default,
            security: SecurityMode::Sandbox,
            extra_hosts: Vec::new(),
            hostname: None,
            platform: "linux/amd64".into(),
            limits: None,
        }
    }

    fn chosen(files: &[&str], args: &[&str], toolbox: bool) -> Option<(Vec<String>, bool)> {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let root = open_directory(directory.path(), "cannot open").unwrap();
        let view = MergedView::of_directory(root, Ownership::Native);
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let found = command(&op(&["/bin/ash", "-c", "false"]), args, toolbox.then(Vec::new), &view);
        found.ok().map(|(args, toolbox)| (args, toolbox.is_some()))
    }

    #[test]
    fn the_shell_is_that_of_the_step_or_another_one_or_the_toolbox() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(chosen(&["bin/ash", "bin/sh"], &[], true), Some((words(&["/bin/ash"]), false)));
        assert_eq!(chosen(&["bin/sh"], &[], true), Some((words(&["/bin/sh"]), false)));
        assert_eq!(chosen(&["bin/sh"], &["ls"], true), Some((words(&["ls"]), false)));
        assert_eq!(chosen(&[], &[], true), Some((words(&[TOOLBOX, "sh"]), true)));
        assert_eq!(chosen(&[], &["cat", "/x"], true), Some((words(&[TOOLBOX, "cat", "/x"]), true)));
        assert_eq!(chosen(&[], &["/app", "x"], true), Some((words(&["/app", "x"]), true)));
        assert_eq!(chosen(&[], &["/app"], false), Some((words(&["/app"]), false)));
        assert_eq!(chosen(&[], &[], false), None);
    }
}
