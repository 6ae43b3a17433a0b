//! Caches that are imported: read beside the build, looked into when a key is not known here, fetched from when files are
//! needed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use bake_oci::{CacheKey, Digest, SnapshotId};
use bake_solver::{CacheStore, Layer, LayerBlob, Trace};
use bake_store::{BlobDescriptor, Store};
use bake_worker::{ImportError, ImportProgress, ImportedLayers, ImportedMounts, MountContent, StoreCache};

use crate::backend::Backend;
use crate::document::{Document, LayerEntry, StepResult};
use crate::layers::record_of;

/// How often somebody who waits for a cache looks whether the build was cancelled.
const LOOK_UP: Duration = Duration::from_millis(50);

/// How many traces of an outer key are evaluated, as in the local store.
pub(crate) const TRACES_MAX: usize = 16;

/// How many steps that ask nearly everything are passed on: each export has those of the one before, whether they still
/// exist or not.
const HEAVY_MAX: usize = 1000;

/// The imports of a build. Each is read on a thread of its own as soon as this is made.
#[derive(Debug)]
pub struct Imports {
    store: Store,
    sources: Vec<Arc<Import>>,
    /// Results that were used and are not in the store yet, by layer.
    waiting: Mutex<HashMap<SnapshotId, Vec<StepResult>>>,
    /// Outer keys of steps that ask nearly everything, as far as this build came upon them.
    heavy: Mutex<BTreeSet<CacheKey>>,
}

/// One cache.
#[derive(Debug)]
struct Import {
    backend: Arc<dyn Backend>,
    registry: Option<String>,
    state: Mutex<State>,
    changed: Condvar,
    cancelled: Arc<AtomicBool>,
}

#[derive(Debug, Clone)]
enum State {
    Reading,
    /// Nothing was exported there yet.
    Absent,
    /// It cannot be read; the text says why.
    Failed(String),
    Ready(Arc<Contents>),
    /// It was read, but did not give what it promised; the text says what.
    Broken(Arc<Contents>, String),
}

/// What a cache holds, by what is asked for.
#[derive(Debug, Default)]
struct Contents {
    document: Document,
    layers: HashMap<SnapshotId, usize>,
    records: HashMap<CacheKey, usize>,
    /// By outer key.
    traces: HashMap<CacheKey, Vec<usize>>,
    heavy: HashSet<CacheKey>,
    blobs: HashMap<Digest, BlobDescriptor>,
    mounts: HashMap<String, usize>,
}

/// A cache to import.
#[derive(Debug)]
pub struct ImportSource {
    /// Where it is.
    pub backend: Arc<dyn Backend>,
    /// The reference under which a registry has its blobs, if it is one.
    pub registry: Option<String>,
}

/// How an import went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportReport {
    /// The cache of this name holds so many results.
    Read(String, usize),
    /// Nothing was exported to the place of this name yet.
    Absent(String),
    /// It cannot be used; the text says why.
    Failed(String),
}

impl Imports {
    /// Begins to read caches, in the order in which they are to be asked.
    /// When `cancelled` is set, nobody waits for them any longer.
    pub fn begin(store: Store, sources: Vec<ImportSource>, cancelled: &Arc<AtomicBool>) -> Arc<Self> {
        let begin = |source| Import::begin(source, Arc::clone(cancelled));
        let sources: Vec<Arc<Import>> = sources.into_iter().map(begin).collect();
        Arc::new(Self { store, sources, waiting: Mutex::default(), heavy: Mutex::default() })
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Whether all of them have been read, or not.
    pub fn is_read(&self) -> bool {
        self.sources.iter().all(|import| !matches!(*import.lock(), State::Reading))
    }

    /// Waits until all are read, and says how each went.
    pub fn wait(&self) -> Vec<ImportReport> {
        self.sources.iter().map(|import| import.report(import.wait())).collect()
    }

    /// The imports that did not give what they promised, each with what happened. They are not asked any more.
    pub fn broken(&self) -> Vec<String> {
        let broken = |import: &Arc<Import>| match &*import.lock() {
            State::Broken(_, problem) => Some(format!("the cache {} is incomplete: {problem}", import.backend.name())),
            _ => None,
        };
        self.sources.iter().filter_map(broken).collect()
    }

    /// The layer recorded under `key` in the first import that has it. Nothing is fetched.
    pub fn lookup(&self, key: &CacheKey) -> Option<Layer> {
        let result = self.result(key)?;
        let layer = result.layer.clone();
        // Records are only written for what is in the store.
        self.later(result);
        Some(layer)
    }

    /// The result recorded under `key`.
    pub fn result(&self, key: &CacheKey) -> Option<StepResult> {
        self.sources.iter().find_map(|import| {
            let State::Ready(contents) = import.wait() else { return None };
            let record = contents.document.records.get(*contents.records.get(key)?)?;
            Some(StepResult {
                layer: contents.document.layers.get(record.layer)?.layer(),
                keys: record.keys.clone(),
                definition: record.definition,
                description: record.description.clone(),
                components: record.components.clone(),
                traces: record.traces.iter().filter_map(|at| contents.document.traces.get(*at).cloned()).collect(),
            })
        })
    }

    /// What the step of an outer key asked when it ran elsewhere, each list of questions once, from the first import that has
    /// it; at most 16.
    pub fn traces(&self, outer: &CacheKey) -> Vec<Trace> {
        let mut traces = Vec::new();
        let mut known = HashSet::new();
        for import in &self.sources {
            let State::Ready(contents) = import.wait() else { continue };
            let positions = contents.traces.get(outer).into_iter().flatten();
            // Reading one takes a millisecond at most; a document may have any number of them.
            for entry in positions.take(TRACES_MAX).filter_map(|at| contents.document.traces.get(*at)) {
                if let Some(trace) = entry.trace().filter(|trace| known.insert(trace.questions())) {
                    traces.push(trace);
                }
            }
        }
        traces.truncate(TRACES_MAX);
        traces
    }

    /// Whether the step of an outer key is known elsewhere to ask nearly everything.
    pub fn is_heavy(&self, outer: &CacheKey) -> bool {
        let knows = |import: &Arc<Import>| match import.wait() {
            State::Ready(contents) => contents.heavy.contains(outer),
            _ => false,
        };
        self.sources.iter().any(knows)
    }

    /// Notes for an export that the step of an outer key asks nearly everything.
    pub fn note_heavy(&self, outer: &CacheKey) {
        self.heavy.lock().unwrap_or_else(PoisonError::into_inner).insert(*outer);
    }

    /// The outer keys that were noted in this build, then those of the imports, at most 1000.
    pub fn heavy(&self) -> BTreeSet<CacheKey> {
        let mut heavy = self.heavy.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for import in &self.sources {
            let State::Ready(contents) = import.wait() else { continue };
            for outer in &contents.document.heavy {
                if heavy.len() >= HEAVY_MAX {
                    return heavy;
                }
                heavy.insert(*outer);
            }
        }
        heavy
    }

    /// What the import says of a layer that is still there, or was, when this build began.
    pub fn layer_entry(&self, layer: &Layer) -> Option<LayerEntry> {
        let blob = layer.blob.as_ref()?;
        self.holder(&blob.digest)
            .and_then(|(_, contents)| contents.document.layers.get(*contents.layers.get(&layer.snapshot)?).cloned())
    }

    /// A cache mount's entry, from the first import that has one.
    pub fn mount_entry(&self, id: &str) -> Option<crate::document::MountEntry> {
        self.sources.iter().find_map(|import| {
            let State::Ready(contents) = import.wait() else { return None };
            contents.document.mounts.get(*contents.mounts.get(id)?).cloned()
        })
    }

    /// Whether a layer is an imported one that is not in the store.
    pub fn is_elsewhere(&self, layer: &Layer) -> bool {
        layer.blob.as_ref().is_some_and(|blob| layer.is_of_step() && self.holder(&blob.digest).is_some())
            && self.store.snapshot(&layer.snapshot).ok().flatten().is_none()
    }

    /// Remembers a result to be recorded when its layer arrives.
    pub fn later(&self, result: StepResult) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let results = waiting.entry(result.layer.snapshot.clone()).or_default();
        if !results.contains(&result) {
            results.push(result);
        }
    }

    /// Brings a blob that an import has into its store. An import that does not have it after all counts as broken.
    pub fn bring(&self, blob: &Digest) -> Result<(), ImportError> {
        let known = self.holder(blob).and_then(|(_, contents)| contents.blobs.get(blob).cloned());
        let known = known.ok_or_else(|| format!("no imported cache has the blob {blob}"))?;
        let wanted =
            LayerBlob { media_type: known.media_type.clone(), digest: known.digest.clone(), size: known.size_bytes };
        self.fetch_from(&wanted, &self.store, &|_| {}).inspect_err(|error| self.mark_broken(blob, &chain_of(&**error)))
    }

    fn mark_broken(&self, blob: &Digest, problem: &str) {
        for import in &self.sources {
            let mut state = import.lock();
            if let State::Ready(contents) = &*state
                && contents.blobs.contains_key(blob)
            {
                *state = State::Broken(Arc::clone(contents), problem.to_owned());
            }
        }
    }

    fn holder(&self, blob: &Digest) -> Option<(&Arc<Import>, Arc<Contents>)> {
        self.sources.iter().find_map(|import| {
            let contents = match &*import.lock() {
                State::Ready(contents) | State::Broken(contents, _) => Arc::clone(contents),
                _ => return None,
            };
            contents.blobs.contains_key(blob).then_some((import, contents))
        })
    }

    fn fetch_from(&self, blob: &LayerBlob, store: &Store, progress: &ImportProgress<'_>) -> Result<(), ImportError> {
        let mut failure: Option<ImportError> = None;
        for import in &self.sources {
            let (State::Ready(contents) | State::Broken(contents, _)) = import.state() else { continue };
            let Some(known) = contents.blobs.get(&blob.digest) else { continue };
            match import.backend.fetch_blob(known, store, &|_, bytes| progress(bytes)) {
                Ok(()) => return Ok(()),
                Err(error) => failure = failure.or(Some(Box::new(error))),
            }
        }
        Err(failure.unwrap_or_else(|| format!("no imported cache has the blob {}", blob.digest).into()))
    }
}

impl Import {
    fn begin(source: ImportSource, cancelled: Arc<AtomicBool>) -> Arc<Self> {
        let ImportSource { backend, registry } = source;
        let (state, changed) = (Mutex::new(State::Reading), Condvar::new());
        let import = Arc::new(Self { backend, registry, state, changed, cancelled });
        let reading = Arc::clone(&import);
        // Nobody joins it: a build that needs nothing of the cache does not wait for it.
        std::thread::spawn(move || {
            let state = reading.read();
            *reading.lock() = state;
            reading.changed.notify_all();
        });
        import
    }

    fn read(&self) -> State {
        let bytes = match self.backend.read_document() {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return State::Absent,
            Err(error) => return State::Failed(chain_of(&error)),
        };
        match Document::parse(&bytes) {
            Ok(document) => State::Ready(Arc::new(Contents::of(document))),
            Err(error) => State::Failed(format!("cannot use the cache {}: {}", self.backend.name(), chain_of(&error))),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> State {
        self.lock().clone()
    }

    fn wait(&self) -> State {
        let mut state = self.lock();
        while matches!(*state, State::Reading) && !self.cancelled.load(Ordering::SeqCst) {
            (state, _) = self.changed.wait_timeout(state, LOOK_UP).unwrap_or_else(PoisonError::into_inner);
        }
        state.clone()
    }

    fn report(&self, state: State) -> ImportReport {
        match state {
            State::Ready(contents) | State::Broken(contents, _) => ImportReport::Read(
                self.backend.name(),
                contents.document.records.len() + contents.document.mounts.len(),
            ),
            State::Failed(problem) => ImportReport::Failed(problem),
            State::Absent | State::Reading => ImportReport::Absent(self.backend.name()),
        }
    }
}

impl Contents {
    fn of(document: Document) -> Self {
        let mut contents = Self::default();
        for (position, layer) in document.layers.iter().enumerate() {
            contents.layers.entry(layer.snapshot()).or_insert(position);
        }
        for (position, record) in document.records.iter().enumerate() {
            for key in &record.keys {
                contents.records.entry(*key).or_insert(position);
            }
        }
        for (position, trace) in document.traces.iter().enumerate() {
            contents.traces.entry(trace.outer).or_default().push(position);
        }
        contents.heavy.extend(&document.heavy);
        for (position, mount) in document.mounts.iter().enumerate() {
            contents.mounts.entry(mount.id.clone()).or_insert(position);
        }
        contents.blobs = document.blobs().into_iter().map(|blob| (blob.digest.clone(), blob)).collect();
        Self { document, ..contents }
    }
}

impl ImportedLayers for Imports {
    fn place(&self, blob: &Digest) -> Option<String> {
        // Errors put it between backticks.
        self.holder(blob).map(|(import, _)| format!("cache {}", import.backend.name().replace('`', "")))
    }

    fn reference(&self, blob: &Digest) -> Option<String> {
        self.holder(blob).and_then(|(import, _)| import.registry.clone())
    }

    fn fetch(&self, blob: &LayerBlob, store: &Store, progress: &ImportProgress<'_>) -> Result<(), ImportError> {
        self.fetch_from(blob, store, progress)
    }

    fn arrived(&self, layer: &Layer) {
        let results = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&layer.snapshot);
        // The next build finds the results here; that it might not is no reason to fail this one.
        let told = |error: &dyn std::error::Error| {
            tracing::debug!(error = chain_of(error), snapshot = %layer.snapshot, "an imported result is not recorded");
        };
        if let (Some(entry), Some(diff_id)) = (self.layer_entry(layer), &layer.diff_id)
            && let Some(compression) = &entry.compression
            && let Err(error) = self.store.remember_blob(diff_id, compression, &entry.blob.descriptor())
        {
            told(&error);
        }
        for result in results.into_iter().flatten() {
            // From here on it is a layer like one that was made here.
            let layer = Layer { diff_id: None, tar_size_bytes: None, blob: None, ..layer.clone() };
            let result = StepResult { layer, ..result };
            let cache = StoreCache::new(self.store.clone());
            if let Err(error) = cache.record(record_of(&result)) {
                told(&error);
            }
            for (outer, trace) in result.traces.iter().filter_map(|entry| Some((entry.outer, entry.trace()?))) {
                if let Err(error) = cache.add_trace(&outer, &trace, &result.keys) {
                    told(&error);
                }
            }
        }
    }

    fn lost(&self, layer: &Layer, problem: &str) {
        if let Some(blob) = &layer.blob {
            self.mark_broken(&blob.digest, problem);
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&layer.snapshot);
    }
}

impl ImportedMounts for Imports {
    fn content(&self, id: &str) -> Option<MountContent> {
        let entry = self.mount_entry(id)?;
        Some(MountContent { mode: entry.mode, uid: entry.uid, gid: entry.gid, blob: entry.blob.layer_blob() })
    }

    fn fetch(&self, blob: &LayerBlob, store: &Store, progress: &ImportProgress<'_>) -> Result<(), ImportError> {
        self.fetch_from(blob, store, progress)
    }
}

/// An error with its causes, each text once.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
