//! The build cache outside of the store: what is imported before a build and exported after it.
//!
//! Reading an import begins at once, on a thread of its own, and nobody waits for it before a result is missing here. A
//! cache is only ever a help: one that cannot be read is told of and left out, and one that turns out to be incomplete is
//! dropped and the build begins again without it ([`Imported::give_up_on_broken`]).

use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

use bake::error::{CommandError, ErrorKind, chain_text};
use bake::ui::progress::Progress;
use bake_cache::{
    Backend, BackendError, BlobEntry, Connection, Document, ExportSpec, GhaBackend, GhaOptions, ImportReport,
    ImportSource, ImportSpec, ImportingCache, Imports, LayerEntry, LocalBackend, Mode, MountEntry, Place,
    RegistryBackend, S3Backend, S3Options, StepResult, UsedResults,
};
use bake_exporter::{ExportError, ExportLayer, Exporter, LayerContent};
use bake_graph::{BuildGraph, MountKind, Op, StepLabel, VertexId};
use bake_oci::{Reference, SnapshotId};
use bake_snapshot::read_owner;
use bake_solver::{BuildEvent, EventSink, Layer, Output, Solved};
use bake_store::BlobDescriptor;
use bake_worker::{Images, LinuxWorker, StoreCache, cache_mount_id};

use super::assemble::Assembled;
use super::target::TargetRequest;
use crate::settings::{BuildRequest, CacheRequest, variable};
use crate::wiring::{Host, store_failed};

/// How often a cache mount is packed before it counts as impossible.
const PACK_ATTEMPTS: u32 = 3;

/// The imports of a build.
pub(super) struct Imported {
    /// Results of steps.
    pub(super) steps: Arc<Imports>,
    /// Cache mounts.
    pub(super) mounts: Arc<Imports>,
    told: Once,
    /// How many imports are known to be broken.
    broken: std::cell::Cell<usize>,
}

/// The cache that the solver looks into.
pub(super) type BuildCache<'a> = UsedResults<ImportingCache<'a, StoreCache>>;

impl Imported {
    /// Begins to read what is to be imported.
    pub(super) fn begin(
        requests: &[TargetRequest<'_>],
        host: &Host,
        cancelled: &Arc<AtomicBool>,
    ) -> Result<Self, CommandError> {
        let begin = |of: fn(&CacheRequest) -> &[ImportSpec]| {
            let mut specs: Vec<&ImportSpec> = Vec::new();
            for spec in requests.iter().flat_map(|target| of(&target.request.cache)) {
                // Targets often share their caches.
                if !specs.contains(&spec) {
                    specs.push(spec);
                }
            }
            let sources =
                specs.iter().map(|spec| source(&spec.place, host, cancelled)).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, CommandError>(Imports::begin(host.store.clone(), sources, cancelled))
        };
        Ok(Self {
            steps: begin(|cache| &cache.from)?,
            mounts: begin(|cache| &cache.mounts_from)?,
            told: Once::new(),
            broken: std::cell::Cell::new(0),
        })
    }

    /// The cache of this build: the store first, then the imports. `waiting` is called before each look into an import.
    pub(super) fn cache<'a>(&self, host: &Host, waiting: &'a (dyn Fn() + Sync)) -> BuildCache<'a> {
        UsedResults::new(ImportingCache::new(StoreCache::new(host.store.clone()), Arc::clone(&self.steps), waiting))
    }

    /// Waits for the imports, and tells how they went; once.
    pub(super) fn tell(told: &Once, imports: &Imports, progress: &Progress) {
        told.call_once(|| {
            let text = "importing the build cache".to_owned();
            let activity = progress.begin(StepLabel { text, internal: true, ..StepLabel::default() });
            let reports = imports.wait();
            activity.done();
            for report in reports {
                tell(&report, progress);
            }
        });
    }

    pub(super) fn told(&self) -> &Once {
        &self.told
    }

    /// Whether an import turned out to be incomplete since this was last asked. It is not asked any more.
    pub(super) fn give_up_on_broken(&self, progress: &Progress) -> bool {
        let broken = self.steps.broken();
        let news = broken.len() > self.broken.replace(broken.len());
        if let (true, Some(problem)) = (news, broken.last()) {
            let text = format!("{problem}; beginning again without it");
            progress.print(format!("{} {text}", progress.colour().warning("warning:")));
        }
        news
    }

    /// Tells of imports of cache mounts that failed, if they were needed.
    pub(super) fn tell_of_mounts(&self, progress: &Progress) {
        if self.mounts.is_read() {
            self.mounts.wait().iter().for_each(|report| tell(report, progress));
        }
    }
}

fn tell(report: &ImportReport, progress: &Progress) {
    let colour = progress.colour();
    match report {
        ImportReport::Read(..) => {}
        ImportReport::Absent(name) => {
            progress.print(format!("{} nothing was exported to the cache {name} yet", colour.hint("note:")));
        }
        ImportReport::Failed(problem) => {
            progress.print(format!("{} {problem}; building without it", colour.warning("warning:")));
        }
    }
}

/// A cache to import.
fn source(place: &Place, host: &Host, cancelled: &Arc<AtomicBool>) -> Result<ImportSource, CommandError> {
    let registry = match place {
        Place::Registry { reference, .. } => Some(reference.to_string()),
        _ => None,
    };
    Ok(ImportSource { backend: backend(place, host, cancelled, None)?, registry })
}

/// Where what is exported may also come from.
struct Sources<'a> {
    /// The image, if it was pushed.
    image: Option<&'a Reference>,
    imports: &'a Arc<Imports>,
}

/// The client of the place where a cache is kept; with `sources`, for an export.
fn backend(
    place: &Place,
    host: &Host,
    cancelled: &Arc<AtomicBool>,
    sources: Option<&Sources<'_>>,
) -> Result<Arc<dyn Backend>, CommandError> {
    match place {
        Place::Registry { reference, .. } => {
            let network = Arc::clone(&host.network);
            let backend = RegistryBackend::new(network, reference.clone(), Arc::clone(cancelled));
            let Some(sources) = sources else { return Ok(Arc::new(backend)) };
            let same_registry = |image: &&Reference| image.registry() == reference.registry();
            let repository = sources.image.filter(same_registry).map(|image| image.repository().to_owned());
            Ok(Arc::new(backend.with_mount_from(repository).with_imports(Arc::clone(sources.imports))))
        }
        Place::Local { directory, tag, digest, reset } => {
            Ok(Arc::new(LocalBackend::new(directory.clone(), tag.clone(), digest.clone(), *reset)))
        }
        Place::S3(attributes) => {
            let options = S3Options::from_attributes(attributes, &variable).map_err(|error| unusable(&error))?;
            let backend = S3Backend::new(options, connection(host, cancelled)?).map_err(|error| unusable(&error))?;
            Ok(Arc::new(backend))
        }
        Place::Gha(attributes) => {
            let options = GhaOptions::from_attributes(attributes, &variable).map_err(|error| unusable(&error))?;
            let backend = GhaBackend::new(options, connection(host, cancelled)?).map_err(|error| unusable(&error))?;
            Ok(Arc::new(backend))
        }
        Place::Inline => Err(CommandError::internal("an inline cache has no place of its own")),
    }
}

/// How services other than registries are reached: as registries are.
fn connection<'a>(host: &'a Host, cancelled: &Arc<AtomicBool>) -> Result<Connection<'a>, CommandError> {
    let (runtime, client) = host.network.start().map_err(|error| failed(&error))?;
    let (options, runtime) = (client.options(), runtime.handle().clone());
    Ok(Connection { options, runtime, cancelled: Arc::clone(cancelled) })
}

fn unusable(error: &BackendError) -> CommandError {
    CommandError::usage(chain_text(error))
}

/// What an export of the cache works with.
pub(super) struct Export<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) host: &'a Host,
    pub(super) images: &'a Images,
    pub(super) worker: &'a LinuxWorker,
    pub(super) exporter: &'a Exporter,
    pub(super) imported: &'a Imported,
    pub(super) progress: &'a Progress,
    pub(super) cancelled: &'a AtomicBool,
}

impl Export<'_> {
    /// Leaves the results of the build, or those whose layers are in its images, wherever that was asked for.
    pub(super) fn steps(&self, results: &[StepResult], assembled: &[Assembled]) -> Result<(), CommandError> {
        let in_images: HashSet<&SnapshotId> =
            assembled.iter().flat_map(|image| image.layers.iter().map(|layer| &layer.snapshot)).collect();
        for spec in self.request.cache.to.iter().filter(|spec| spec.place != Place::Inline) {
            let wanted = |result: &&StepResult| spec.mode == Mode::Max || in_images.contains(&result.layer.snapshot);
            let wanted: Vec<&StepResult> = results.iter().filter(wanted).collect();
            self.shown(spec, "the build cache", &self.imported.steps, |step, backend| {
                let mut entries = Vec::with_capacity(wanted.len());
                let mut elsewhere = Vec::new();
                for result in wanted {
                    let entry = self.layer(&result.layer, spec, step, &mut elsewhere)?;
                    entries.push((result.clone(), entry));
                }
                let document = Document::new(&entries, Vec::new()).with_heavy(self.imported.steps.heavy());
                self.write(&document, &elsewhere, backend, step)
            })?;
        }
        Ok(())
    }

    /// What an export says of a layer, whose blob is then in the store, or is noted as being elsewhere.
    fn layer(
        &self,
        layer: &Layer,
        spec: &ExportSpec,
        step: VertexId,
        elsewhere: &mut Vec<Layer>,
    ) -> Result<LayerEntry, CommandError> {
        let form = spec.compression.compression().id();
        if self.imported.steps.is_elsewhere(layer)
            && let Some(entry) = self.imported.steps.layer_entry(layer)
        {
            if !spec.compression.force || entry.compression.as_ref() == Some(&form) {
                elsewhere.push(layer.clone());
                return Ok(entry);
            }
            self.images.bring(&[Arc::new(layer.clone())], step, self.progress).map_err(|error| failed(&error))?;
        }
        let identity = self.worker.digests().wait(layer).map_err(|error| failed(&error))?;
        let exported = ExportLayer {
            diff_id: identity.diff_id.clone(),
            tar_size_bytes: identity.tar_size_bytes,
            content: LayerContent::Snapshot(layer.snapshot.clone()),
        };
        let blob = self.exporter.layer_blob(&exported, spec.compression).map_err(|error| failed(&error))?;
        Ok(LayerEntry {
            diff_id: identity.diff_id,
            tar_size: identity.tar_size_bytes,
            tree: layer.tree,
            created: layer.created_ns.unwrap_or(0),
            blob: BlobEntry::from(&blob),
            copied: layer.copied,
            compression: Some(form),
        })
    }

    /// Writes a document; of the blobs that are not in the store, those are brought that the place lacks.
    fn write(
        &self,
        document: &Document,
        elsewhere: &[Layer],
        backend: &dyn Backend,
        step: VertexId,
    ) -> Result<(), CommandError> {
        let bytes = document.to_bytes().map_err(|error| failed(&error))?;
        let absent = |layer: &Layer| layer.blob.as_ref().map(|blob| blob.digest.clone());
        let asked: HashSet<_> = elsewhere.iter().filter_map(absent).collect();
        if !asked.is_empty() {
            let blobs: Vec<BlobDescriptor> =
                document.blobs().into_iter().filter(|blob| asked.contains(&blob.digest)).collect();
            let missing = backend.missing(&blobs).map_err(|error| failed(&error))?;
            let missing: HashSet<_> = missing.into_iter().map(|blob| blob.digest).collect();
            for layer in elsewhere {
                if absent(layer).is_some_and(|digest| missing.contains(&digest)) {
                    self.images.fetch_layer(layer, step, self.progress).map_err(|error| failed(&error))?;
                }
            }
        }
        let progress = |blob: &BlobDescriptor, current: u64| {
            let (id, total) = (format!("export {}", blob.digest.short()), Some(blob.size_bytes));
            self.progress.send(BuildEvent::Transfer { step, id, current, total });
        };
        backend.write(&bytes, &document.blobs(), &self.host.store, &progress).map_err(|error| failed(&error))
    }

    /// Leaves the content of the cache mounts that the steps of this build have, whether they ran or not.
    pub(super) fn mounts(&self, graph: &BuildGraph, wanted: &[VertexId], solved: &Solved) -> Result<(), CommandError> {
        if self.request.cache.mounts_to.is_empty() {
            return Ok(());
        }
        let ids = mount_ids(graph, wanted, solved);
        for spec in &self.request.cache.mounts_to {
            self.shown(spec, "the cache mounts", &self.imported.mounts, |step, backend| {
                let broken = self.imported.mounts.broken().len();
                match self.write_mounts(&ids, spec, backend, step) {
                    // What cannot be had cannot be passed on; its import is not asked any more.
                    Err(_) if self.imported.mounts.broken().len() > broken => {
                        self.warn(&format!("{}; leaving it out", self.imported.mounts.broken().join("; ")));
                        self.write_mounts(&ids, spec, backend, step)
                    }
                    result => result,
                }
            })?;
        }
        Ok(())
    }

    fn write_mounts(
        &self,
        ids: &BTreeSet<String>,
        spec: &ExportSpec,
        backend: &dyn Backend,
        step: VertexId,
    ) -> Result<(), CommandError> {
        let mut entries = Vec::with_capacity(ids.len());
        let mut elsewhere = Vec::new();
        for id in ids {
            if let Some(entry) = self.mount(id, spec)? {
                entries.push(entry);
            } else if let Some(entry) = self.imported.mounts.mount_entry(id) {
                // No step has used it, so it is what it was.
                elsewhere.push(entry.blob.descriptor());
                entries.push(entry);
            }
        }
        if !elsewhere.is_empty() {
            for blob in backend.missing(&elsewhere).map_err(|error| failed(&error))? {
                self.imported.mounts.bring(&blob.digest).map_err(|error| failed(&*error))?;
            }
        }
        self.write(&Document::new(&[], entries), &[], backend, step)
    }

    /// The content of a cache mount as a blob in the store; `None` if there is none here.
    fn mount(&self, id: &str, spec: &ExportSpec) -> Result<Option<MountEntry>, CommandError> {
        let mount = self.host.store.existing_cache_mount(id, || !self.cancelled.load(Ordering::SeqCst));
        let Some(mount) = mount.map_err(|error| store_failed(&error))? else { return Ok(None) };
        let unreadable = |error: std::io::Error| {
            CommandError::build(format!("cannot read the cache mount `{}`: {error}", name_of_mount(id)))
        };
        let directory = std::fs::File::open(mount.path()).map_err(unreadable)?;
        let mode = directory.metadata().map_err(unreadable)?.permissions().mode() & 0o7777;
        let (uid, gid) = read_owner(self.host.format.ownership, &directory, b"").map_err(|error| failed(&error))?;
        let mut attempts = 1;
        let blob = loop {
            match self.exporter.directory_blob(mount.path(), spec.compression) {
                Ok(blob) => break blob,
                // Another build's step may be writing to it.
                Err(ExportError::Files(_)) if attempts < PACK_ATTEMPTS => attempts += 1,
                Err(error) => {
                    return Err(failed(&error).context(format!("cannot pack the cache mount `{}`", name_of_mount(id))));
                }
            }
        };
        Ok(Some(MountEntry { id: id.to_owned(), mode, uid, gid, blob: BlobEntry::from(&blob) }))
    }

    /// Shows an export as a step, and decides what its failure means.
    fn shown(
        &self,
        spec: &ExportSpec,
        what: &str,
        imports: &Arc<Imports>,
        work: impl FnOnce(VertexId, &dyn Backend) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let sources = Sources { image: self.request.tags.first(), imports };
        let backend = backend(&spec.place, self.host, &self.images.cancelled(), Some(&sources))?;
        let text = format!("exporting {what} to {}", backend.name());
        let activity = self.progress.begin(StepLabel { text: text.clone(), ..StepLabel::default() });
        match work(activity.id(), &*backend) {
            Ok(()) => activity.done(),
            Err(error) => {
                activity.failed(error.message());
                // A broken import is dealt with before anything else.
                if !spec.ignore_error || !self.imported.steps.broken().is_empty() {
                    return Err(error.context(text));
                }
                self.warn(&format!("{text}: {}; the build goes on", error.message()));
            }
        }
        Ok(())
    }

    fn warn(&self, text: &str) {
        self.progress.print(format!("{} {text}", self.progress.colour().warning("warning:")));
    }
}

/// The results of the steps that `wanted` needs.
pub(super) fn results_of(
    results: &[StepResult],
    graph: &BuildGraph,
    wanted: &[VertexId],
    solved: &Solved,
) -> Vec<StepResult> {
    if results.is_empty() {
        return Vec::new();
    }
    let outputs = graph.needed(wanted).into_iter().filter_map(|id| solved.outputs.get(&id));
    let own: HashSet<&SnapshotId> = outputs.flat_map(Output::layers).map(|layer| &layer.snapshot).collect();
    results.iter().filter(|result| own.contains(&result.layer.snapshot)).cloned().collect()
}

/// The identities of all cache mounts of the steps that `wanted` needs, each once.
fn mount_ids(graph: &BuildGraph, wanted: &[VertexId], solved: &Solved) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for vertex in graph.needed(wanted) {
        let vertex = graph.vertex(vertex);
        let Op::Exec(exec) = &vertex.op else { continue };
        let inputs: Vec<&Output> = vertex.inputs.iter().filter_map(|input| solved.outputs.get(input)).collect();
        for mount in &exec.mounts {
            if let MountKind::Cache(cache) = &mount.kind {
                ids.insert(cache_mount_id(cache, &inputs));
            }
        }
    }
    ids
}

/// What people know a cache mount by.
fn name_of_mount(id: &str) -> &str {
    id.split('\0').next().unwrap_or(id)
}

fn failed(error: &(dyn std::error::Error + 'static)) -> CommandError {
    if let Some(bake_exporter::ExportError::Store(error)) = error.downcast_ref() {
        return store_failed(error);
    }
    CommandError::new(ErrorKind::Build, chain_text(error))
}
