//! The worker: what it is given, and which op goes where.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use bake_graph::{FileAction, MountKind, Op, SourceOp, StepLabel, Vertex, VertexId};
use bake_oci::DefinitionDigest;
use bake_sandbox::{ExternalRuntime, FakeIds, IdMap, Killer, ProcSource};
use bake_snapshot::{Active, Contents, FileHasher, FileIdentity, LayerFormat, MergedView, Snapshotter};
use bake_solver::{Answer, ContentDigest, EventSink, Layer, Output, PathList, Question, Ran, StepError, Task, Worker};
use bake_store::Store;
use serde::{Deserialize, Serialize};

use crate::activity::Activities;
use crate::context::BuildContext;
use crate::exec::Failures;
use crate::fetched::Fetched;
use crate::grants::StepGrants;
use crate::images::{ImageError, Images, chain_of};
use crate::imported::ImportedMounts;
use crate::layers::LayerDigests;
use crate::network::Network;
use crate::select::{Selections, select, select_path};
use crate::source_tree::{SourceTree, TreeError};
use crate::step_network::{StepNetworkOptions, StepNetworks};
use crate::traced::Trees;
use crate::users::{ACCOUNT_FILES, Accounts};
use crate::{content, layers};

/// Account files larger than this are refused: a hostile image must not fill the memory.
const ACCOUNTS_BYTES_MAX: u64 = 1 << 20;

/// How steps are kept apart from the host.
#[derive(Debug)]
pub struct StepIsolation {
    /// Mounts layers for steps: owners go through the step's ID map.
    pub snapshotter: Box<dyn Snapshotter>,
    /// The IDs of steps.
    pub id_map: IdMap,
    /// The user namespace that trees of the host are mounted through, where that is needed.
    pub user_namespace: Option<OwnedFd>,
    /// Whether changes to IDs that do not exist in the step pretend to succeed.
    pub fake_ids: FakeIds,
    /// Where steps have their `/proc` from.
    pub proc: ProcSource,
}

/// How layers are mounted: for file operations at once, for steps when the first one runs.
pub struct Isolation {
    /// Mounts layers for file operations: owners on disk are what the layer says.
    pub files: Box<dyn Snapshotter>,
    make_steps: Box<MakeSteps>,
    steps: OnceLock<StepIsolation>,
    making: Mutex<()>,
}

/// Sets up the isolation of steps; a build whose steps are all cached never needs it.
type MakeSteps = dyn Fn() -> Result<StepIsolation, StepError> + Send + Sync;

impl std::fmt::Debug for Isolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Isolation").field("files", &self.files).field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl Isolation {
    /// File operations through `files`, steps through what `make_steps` gives when the first one runs.
    pub fn new(
        files: Box<dyn Snapshotter>,
        make_steps: impl Fn() -> Result<StepIsolation, StepError> + Send + Sync + 'static,
    ) -> Self {
        Self { files, make_steps: Box::new(make_steps), steps: OnceLock::new(), making: Mutex::new(()) }
    }

    pub(crate) fn steps(&self) -> Result<&StepIsolation, StepError> {
        if self.steps.get().is_none() {
            let _only_one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            if self.steps.get().is_none() {
                // Nobody else sets it while the lock is held.
                let _ = self.steps.set((self.make_steps)()?);
            }
        }
        self.steps.get().ok_or_else(|| StepError::input("the isolation of steps was not set up"))
    }
}

/// What a worker is given.
#[derive(Debug)]
pub struct WorkerOptions {
    /// Where layers and results are kept.
    pub store: Store,
    /// The images of the build.
    pub images: Arc<Images>,
    /// Registries and other servers.
    pub network: Arc<Network>,
    /// How steps are kept apart.
    pub isolation: Isolation,
    /// What steps may use, by the number of their Dockerfile ([`Origin::source`](bake_graph::Origin::source)).
    pub grants: Vec<StepGrants>,
    /// The OCI runtime that runs steps instead of the built-in sandbox.
    pub runtime: Option<ExternalRuntime>,
    /// The networks of steps.
    pub step_network: StepNetworkOptions,
    /// What cache mounts held where they were exported.
    pub imported_mounts: Option<Arc<dyn ImportedMounts>>,
    /// Whether users are told of steps that could not be traced.
    pub tells_untraced: bool,
    /// The variables that `git` is given (home directory, agent socket, proxies).
    pub git_environment: Vec<(OsString, OsString)>,
}

/// Where work is reported: that of a step, or of what is fetched before there are steps.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The identity under which it is shown.
    pub step: VertexId,
    /// How it is shown.
    pub label: &'a StepLabel,
    /// Where progress and output go.
    pub events: &'a dyn EventSink,
    /// The number of the Dockerfile that it is done for, and whose grants hold.
    pub source: u32,
}

impl<'a> Report<'a> {
    /// The report of a step.
    pub(crate) fn of(task: &Task<'a>) -> Self {
        let source = task.vertex.origin.map_or(0, |origin| origin.source);
        Self { step: task.id, label: &task.vertex.label, events: task.events, source }
    }
}

/// Carries out ops on this machine.
#[derive(Debug)]
pub struct LinuxWorker {
    pub(crate) options: WorkerOptions,
    pub(crate) no_grants: StepGrants,
    contexts: BTreeMap<String, BuildContext>,
    pub(crate) format: LayerFormat,
    digests: LayerDigests,
    killers: Mutex<HashMap<u64, Killer>>,
    next_killer: AtomicU64,
    /// Shared with what unpacks layers.
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) activities: Activities,
    pub(crate) step_networks: StepNetworks,
    selections: Mutex<HashMap<(DefinitionDigest, usize), Arc<Selections>>>,
    pub(crate) failures: Failures,
    pub(crate) fetched: Fetched,
    pub(crate) trees: Trees,
}

impl LinuxWorker {
    /// A worker without build contexts.
    pub fn new(options: WorkerOptions) -> Self {
        let format = options.isolation.files.format();
        let cancelled = options.images.cancelled();
        let digests = LayerDigests::new(options.store.clone(), format);
        let step_networks = StepNetworks::new(options.step_network.clone());
        Self {
            options,
            no_grants: StepGrants::default(),
            contexts: BTreeMap::new(),
            format,
            digests,
            killers: Mutex::default(),
            next_killer: AtomicU64::new(0),
            cancelled,
            activities: Activities::default(),
            step_networks,
            selections: Mutex::default(),
            failures: Failures::default(),
            fetched: Fetched::default(),
            trees: Trees::default(),
        }
    }

    /// The same worker, with what `SourceOp::Local` names. Reading it can take the worker's help, so it comes second.
    #[must_use]
    pub fn with_contexts(self, contexts: BTreeMap<String, BuildContext>) -> Self {
        Self { contexts, ..self }
    }

    /// Makes it usable again after a cancellation.
    pub fn begin_again(&self) {
        self.cancelled.store(false, Ordering::SeqCst);
    }

    /// The diff IDs of the layers that were made.
    pub fn digests(&self) -> &LayerDigests {
        &self.digests
    }

    /// The directories of the layers that `output` has, base first.
    pub(crate) fn directories(&self, output: &Output, task: &Task<'_>) -> Result<Vec<PathBuf>, StepError> {
        self.options.images.directories(output.layers(), task.id, task.events).map_err(|error| image_failed(&error))
    }

    /// The tree of an input, for copying from it.
    pub(crate) fn tree(
        &self,
        output: &Output,
        lookup: &dyn Fn() -> Result<Vec<PathBuf>, StepError>,
    ) -> Result<SourceTree, StepError> {
        let tree = match output {
            Output::Directory { name } => match self.context(name)? {
                BuildContext::Directory(directory) => directory.tree().map_err(|source| {
                    StepError::environment(
                        format!("cannot open the build context `{}`", directory.path.display()),
                        source,
                    )
                })?,
                BuildContext::Fetched(_) => {
                    return Err(StepError::input(format!("the build context `{name}` is no directory")));
                }
            },
            Output::Layers(_) => {
                let directories = lookup()?;
                let paths: Vec<&Path> = directories.iter().map(PathBuf::as_path).collect();
                let root = if paths.is_empty() { empty_directory(&self.options.store)? } else { self.view(&paths)? };
                SourceTree::new(root, None).with_ownership(self.format.ownership)
            }
        };
        Ok(tree.with_cancellation(Arc::clone(&self.cancelled)))
    }

    pub(crate) fn view(&self, paths: &[&Path]) -> Result<OwnedFd, StepError> {
        self.options.isolation.files.view(paths).map_err(|error| snapshot_failed(&error))
    }

    /// What `SourceOp::Local` of this name means.
    ///
    /// # Errors
    /// If the caller named none.
    pub fn context(&self, name: &str) -> Result<&BuildContext, StepError> {
        self.contexts.get(name).ok_or_else(|| StepError::input(format!("there is no build context called `{name}`")))
    }

    /// Publishes a layer and begins to compute its diff ID.
    pub(crate) fn publish(
        &self,
        active: bake_store::ActiveSnapshot,
        committed: &bake_snapshot::Committed,
        task: &Task<'_>,
    ) -> Result<Layer, StepError> {
        let (layer, path) = layers::publish(&self.options.store, active, committed, &task.vertex.label.to_string())
            .map_err(|error| store_failed(&error))?;
        self.digests.begin(&layer.snapshot, &path);
        Ok(layer)
    }

    /// Publishes what was fetched. It is copied from and never a layer of an image, so its diff ID is of no use.
    pub(crate) fn publish_source(
        &self,
        active: bake_store::ActiveSnapshot,
        report: &Report<'_>,
    ) -> Result<Layer, StepError> {
        let none: [&Path; 0] = [];
        let on_disk = Active { upper: active.fs(), work: active.work() };
        let committed = self
            .options
            .isolation
            .files
            .commit(&none, on_disk, &Contents::new())
            .map_err(|error| snapshot_failed(&error))?;
        let published = layers::publish(&self.options.store, active, &committed, &report.label.to_string());
        published.map(|(layer, _)| layer).map_err(|error| store_failed(&error))
    }

    /// A layer that was remembered as `name` in `space`, if it is still there.
    pub(crate) fn recall_layer(&self, space: &str, name: &str) -> Result<Option<(Layer, Vec<u8>)>, StepError> {
        let store = &self.options.store;
        let known = store.recall(space, &hidden(name), Duration::MAX).map_err(|error| store_failed(&error))?;
        let Some(known) = known else { return Ok(None) };
        let Ok(remembered) = serde_json::from_slice::<RememberedLayer>(&known.value) else { return Ok(None) };
        let there = store.snapshot(&remembered.layer.snapshot).map_err(|error| store_failed(&error))?.is_some();
        Ok(there.then_some((remembered.layer, known.value)))
    }

    /// Remembers something that holds a [`RememberedLayer`]'s fields. It is only a help, but a store that cannot take it is broken.
    pub(crate) fn remember_layer(&self, space: &str, name: &str, value: &impl Serialize) -> Result<(), StepError> {
        match serde_json::to_vec(value) {
            Ok(bytes) => {
                self.options.store.remember(space, &hidden(name), &bytes).map_err(|error| store_failed(&error))
            }
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn while_running<T>(&self, killer: &Killer, work: impl FnOnce() -> T) -> T {
        let number = self.next_killer.fetch_add(1, Ordering::Relaxed);
        self.killers.lock().unwrap_or_else(PoisonError::into_inner).insert(number, killer.clone());
        // A cancellation that came before the entry did not see it.
        if self.cancelled.load(Ordering::SeqCst) {
            killer.kill();
        }
        let result = work();
        self.killers.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        result
    }

    /// The selections that a vertex makes from one of its inputs; those of the key are used again for the work.
    pub(crate) fn selections(
        &self,
        vertex: &Vertex,
        input: usize,
        tree: &SourceTree,
    ) -> Result<Arc<Selections>, StepError> {
        let key = (vertex.definition, input);
        if let Some(known) = self.selections.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(known));
        }
        let selected = match &vertex.op {
            Op::File(file) => file
                .actions
                .iter()
                .filter_map(|action| match action {
                    FileAction::Copy(copy) if copy.from == input => Some(select(tree, copy)),
                    _ => None,
                })
                .collect::<Result<Vec<_>, _>>(),
            Op::Exec(exec) => exec
                .mounts
                .iter()
                .filter_map(|mount| match &mount.kind {
                    MountKind::Bind { input: from, source, .. } if *from == input => {
                        Some(select_path(tree, source.as_bytes(), None).map(|selection| vec![selection]))
                    }
                    _ => None,
                })
                .collect::<Result<Vec<_>, _>>(),
            Op::Source(_) | Op::Merge | Op::Diff => Ok(Vec::new()),
        };
        let selected = Arc::new(selected.map_err(|error| tree_failed(&error, tree))?);
        self.selections.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&selected));
        Ok(selected)
    }

    /// The paths of `source` that a COPY takes from its input number `input`, where links led there; `None` where something would have
    /// to be fetched to tell.
    ///
    /// # Errors
    /// If the files cannot be looked at.
    pub fn selected_paths(
        &self,
        vertex: &Vertex,
        input: usize,
        source: &Output,
    ) -> Result<Option<Vec<Vec<u8>>>, StepError> {
        let present = self.options.images.present(source.layers()).map_err(|error| image_failed(&error))?;
        let Some(directories) = present.into_iter().collect::<Option<Vec<PathBuf>>>() else { return Ok(None) };
        let tree = self.tree(source, &|| Ok(directories.clone()))?;
        let selections = self.selections(vertex, input, &tree)?;
        self.forget_selections(vertex, input);
        let items = selections.iter().flatten().flat_map(|selection| &selection.items);
        Ok(Some(items.map(|item| item.node.path.clone()).collect()))
    }

    /// Throws away what was selected: it was used for the last time.
    pub(crate) fn forget_selections(&self, vertex: &Vertex, input: usize) {
        self.selections.lock().unwrap_or_else(PoisonError::into_inner).remove(&(vertex.definition, input));
    }
}

impl Worker for LinuxWorker {
    fn content_digest(&self, vertex: &Vertex, input: usize, source: &Output) -> Result<ContentDigest, StepError> {
        let events = Silent;
        let lookup = || {
            self.options.images.directories(source.layers(), VertexId(0), &events).map_err(|error| image_failed(&error))
        };
        let tree = self.tree(source, &lookup)?;
        let selections = self.selections(vertex, input, &tree)?;
        let context = match source {
            Output::Directory { name } => match self.context(name)? {
                BuildContext::Directory(directory) => directory.path.as_os_str().as_encoded_bytes().to_vec(),
                BuildContext::Fetched(_) => Vec::new(),
            },
            Output::Layers(_) => Vec::new(),
        };
        let mut memory = Memory { store: &self.options.store, context, started: SystemTime::now() };
        let mut paths = PathList::default();
        let mut hasher = blake3::Hasher::new();
        for group in selections.iter() {
            let part = content::digest(&tree, group, &mut memory, &mut paths)
                .map_err(|error| StepError::input(error.to_string()))?;
            hasher.update(&part.0);
        }
        Ok(ContentDigest { digest: bake_oci::TreeDigest(*hasher.finalize().as_bytes()), paths })
    }

    fn is_here(&self, output: &Output) -> bool {
        // A store that cannot say will fail in earnest when the files are wanted.
        self.options.images.are_here(output.layers()).unwrap_or(true)
    }

    fn source(&self, task: &Task<'_>) -> Result<Output, StepError> {
        let Op::Source(source) = &task.vertex.op else { return Err(StepError::input("this vertex is no source")) };
        match source {
            SourceOp::Scratch => Ok(Output::Layers(Vec::new())),
            SourceOp::Local(local) => match self.context(&local.name)? {
                BuildContext::Directory(_) => Ok(Output::Directory { name: local.name.clone() }),
                BuildContext::Fetched(layers) => Ok(Output::Layers(layers.iter().cloned().map(Arc::new).collect())),
            },
            SourceOp::Image(image) => {
                self.options.images.layers(image).map(Output::Layers).map_err(|error| image_failed(&error))
            }
            // What comes from a server is waited for.
            SourceOp::Http(source) => {
                let _waiting = self.activities.wait(task.id);
                self.http(source, &Report::of(task)).map(|layer| Output::Layers(vec![Arc::new(layer)]))
            }
            SourceOp::Git(source) => {
                let _waiting = self.activities.wait(task.id);
                self.git(source, &Report::of(task)).map(|layer| Output::Layers(vec![Arc::new(layer)]))
            }
        }
    }

    fn run(&self, task: &Task<'_>) -> Result<Ran, StepError> {
        if self.cancelled.load(Ordering::SeqCst) {
            return Err(StepError::cancelled());
        }
        match &task.vertex.op {
            Op::Exec(exec) => self.exec(exec, task),
            Op::File(file) => self.file(file, task).map(Ran::from),
            Op::Source(_) | Op::Merge | Op::Diff => Err(StepError::input("this vertex makes no layer")),
        }
    }

    fn answers(&self, task: &Task<'_>, questions: &[Question]) -> Result<Option<Vec<Answer>>, StepError> {
        self.answers_of_slots(task, questions)
    }

    fn first_difference(&self, one: &Layer, other: &Layer) -> Option<String> {
        self.first_differing_path(one, other)
    }

    fn idle(&self, running: &[VertexId]) -> usize {
        self.activities.idle(running)
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        for killer in self.killers.lock().unwrap_or_else(PoisonError::into_inner).values() {
            killer.kill();
        }
    }
}

/// The shortest name for which a similar one is looked for: one slip turns a shorter one into any other.
const NEAR_CHARACTERS_MIN: usize = 3;

/// Looks for a name beside `path` that is nearly the same.
fn near(tree: &SourceTree, path: &str) -> Option<String> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    if name.chars().count() < NEAR_CHARACTERS_MIN {
        return None;
    }
    let directory = tree.resolve(parent.as_bytes()).ok()?;
    let names = tree.names(&directory.path).ok()?;
    let names: Vec<String> = names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect();
    let found = bake_dockerfile::suggest(name, names.iter().map(String::as_str), false)?;
    Some(if parent.is_empty() { found.to_owned() } else { format!("{parent}/{found}") })
}

/// A directory with nothing in it, for `--from=scratch`.
pub(crate) fn empty_directory(store: &Store) -> Result<OwnedFd, StepError> {
    let active = store.begin_snapshot().map_err(|error| store_failed(&error))?;
    open_directory(active.fs(), "cannot open an empty directory of the store")
}

/// Opens a directory that the store made; `problem` is what the error says.
pub(crate) fn open_directory(path: &Path, problem: &'static str) -> Result<OwnedFd, StepError> {
    crate::context::open(path).map_err(|error| StepError::environment(problem, error))
}

/// What the store is told of a name: an address can hold a password, or be a secret itself.
fn hidden(name: &str) -> String {
    bake_oci::Digest::of(name.as_bytes()).to_string()
}

/// What is remembered of anything that was fetched; there may be more beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RememberedLayer {
    pub(crate) layer: Layer,
}

/// Drops events.
#[derive(Debug)]
pub(crate) struct Silent;

impl EventSink for Silent {
    fn send(&self, _: bake_solver::BuildEvent) {}
}

/// The store's memory of file hashes. It is only a help: when it fails, files are read.
struct Memory<'a> {
    store: &'a Store,
    context: Vec<u8>,
    started: SystemTime,
}

fn stored(identity: &FileIdentity) -> bake_store::FileIdentity {
    let nanoseconds = |time: bake_oci::Timestamp| {
        time.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(time.nanoseconds))
    };
    bake_store::FileIdentity {
        device: identity.device,
        inode: identity.inode,
        size_bytes: identity.size_bytes,
        mtime_ns: nanoseconds(identity.mtime),
        ctime_ns: nanoseconds(identity.ctime),
    }
}

impl FileHasher for Memory<'_> {
    fn remembered(&mut self, files: &[FileIdentity]) -> Vec<Option<[u8; 32]>> {
        let files: Vec<_> = files.iter().map(stored).collect();
        self.store.file_hashes(&self.context, &files).unwrap_or_else(|error| {
            tracing::debug!(%error, "remembered file hashes cannot be read");
            vec![None; files.len()]
        })
    }

    fn computed(&mut self, files: &[(FileIdentity, [u8; 32])]) {
        if files.is_empty() {
            return;
        }
        let files: Vec<_> = files.iter().map(|(identity, hash)| (stored(identity), *hash)).collect();
        if let Err(error) = self.store.remember_file_hashes(&self.context, self.started, &files) {
            tracing::debug!(%error, "file hashes cannot be remembered");
        }
    }
}

/// The users and groups of a root file system.
pub(crate) fn accounts(view: &MergedView) -> Result<Accounts, StepError> {
    let read = |path: &str| match view.read_to_string(path.as_bytes(), ACCOUNTS_BYTES_MAX) {
        Ok(text) => Ok(text.unwrap_or_default()),
        Err(error) => Err(StepError::input(format!("cannot read `/{path}` of the image: {}", chain_of(&error)))),
    };
    let [passwd, group] = ACCOUNT_FILES.map(read);
    Ok(Accounts { passwd: passwd?, group: group? })
}

fn tree_failed(error: &TreeError, tree: &SourceTree) -> StepError {
    let failed = StepError::input(error.to_string());
    match error {
        TreeError::NotFound { ignored: true, .. } => {
            failed.hint("it is in the build context, but `.dockerignore` excludes it")
        }
        TreeError::NotFound { path, .. } => match near(tree, path) {
            Some(name) => failed.hint(format!("did you mean `{name}`?")),
            None if tree.is_context() => {
                failed.hint("paths are looked up in the build context, whatever they begin with")
            }
            None => failed,
        },
        _ => failed,
    }
}

pub(crate) fn image_failed(error: &ImageError) -> StepError {
    let failed = StepError::environment(chain_of(error), error.to_string());
    if error.is_disk_full() { failed.hint("`bake prune` frees space in the store") } else { failed }
}

pub(crate) fn store_failed(error: &bake_store::StoreError) -> StepError {
    let failed = StepError::environment(chain_of(error), error.to_string());
    if error.is_disk_full() { failed.hint("`bake prune` frees space in the store") } else { failed }
}

pub(crate) fn snapshot_failed(error: &bake_snapshot::SnapshotError) -> StepError {
    use rustix::io::Errno;
    let failed = StepError::environment(chain_of(error), error.to_string());
    match error.errno() {
        Some(Errno::NOSPC | Errno::DQUOT) => failed.hint("`bake prune` frees space in the store"),
        _ => failed,
    }
}

/// A duplicate of a descriptor.
pub(crate) fn duplicate(fd: &impl AsFd) -> Result<OwnedFd, StepError> {
    fd.as_fd().try_clone_to_owned().map_err(|error| StepError::environment("cannot duplicate a descriptor", error))
}
