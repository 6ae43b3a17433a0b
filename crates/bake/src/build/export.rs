//! Sends the images where they were asked for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bake::error::{CommandError, ErrorKind};
use bake::ui::progress::Progress;
use bake_attest::Statement;
use bake_exporter::{
    ArchiveKind, AttestationForm, BesideFile, ExportError, ExportImage, ExportSpec, ExportTarget, Exporter,
    LayerContent, Pusher, Stored,
};
use bake_graph::StepLabel;
use bake_oci::{Digest, Reference, Timestamp};
use bake_solver::{BuildEvent, EventSink, Layer};
use bake_worker::Images;

use super::assemble::Assembled;
use super::attest::Attestations;
use crate::settings::BuildRequest;
use crate::wiring::{Host, store_failed};

/// What came of the exports.
#[derive(Debug, Default)]
pub(super) struct Exported {
    pub(super) digest: Option<Digest>,
    pub(super) tags: Vec<String>,
    pub(super) destinations: Vec<String>,
    pub(super) size_bytes: Option<u64>,
}

pub(super) fn export(
    assembled: &[Assembled],
    attestations: &Attestations,
    request: &BuildRequest,
    host: &Host,
    images: &Arc<Images>,
    progress: &Progress,
    cancelled: &AtomicBool,
) -> Result<Exported, CommandError> {
    let exporter = exporter(request, host);
    let exports: Vec<ExportImage> = assembled.iter().map(|assembled| assembled.image.clone()).collect();
    let exporter = &exporter;
    let context = Context { assembled, attestations, exports: &exports, request, host, images, exporter, cancelled };
    let mut outcome = Exported::default();
    let mut stored: Option<Stored> = None;
    for spec in &request.exports {
        let text = describe(spec);
        let activity = progress.begin(StepLabel { text: text.clone(), internal: false, ..StepLabel::default() });
        match context.one(spec, &mut outcome, progress, activity.id()) {
            Ok(result) => {
                activity.done();
                stored = stored.or(result);
            }
            Err(error) => {
                activity.failed(error.message());
                return Err(error.context(text));
            }
        }
    }
    if let Some(stored) = &stored {
        outcome.size_bytes = Some(stored.images.iter().map(bake_oci::Image::size_bytes).sum());
        outcome.digest = Some(stored.descriptor.digest.clone());
        write_results(stored, request, attestations)?;
    }
    Ok(outcome)
}

/// What turns results into images and blobs.
pub(super) fn exporter(request: &BuildRequest, host: &Host) -> Exporter {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    Exporter::new(host.store.clone(), host.format, threads).with_index(request.multi_platform)
}

/// The form that steps' layers have as blobs, if it is the same wherever the image goes.
pub(super) fn common_compression(exports: &[ExportSpec]) -> Option<String> {
    let mut forms = exports.iter().map(|export| export.compression.compression().id());
    let first = forms.next()?;
    forms.all(|form| form == first).then_some(first)
}

fn describe(spec: &ExportSpec) -> String {
    match &spec.target {
        ExportTarget::Store => "exporting to the local store".into(),
        ExportTarget::Registry => "pushing".into(),
        ExportTarget::OciArchive(_) | ExportTarget::OciDirectory(_) => "exporting to an OCI layout".into(),
        ExportTarget::DockerArchive(_) => "exporting to a docker archive".into(),
        ExportTarget::Local(path) => format!("copying files to `{}`", path.display()),
        ExportTarget::Tar(_) => "writing files to an archive".into(),
        ExportTarget::CacheOnly => "keeping the result in the build cache".into(),
    }
}

struct Context<'a> {
    assembled: &'a [Assembled],
    attestations: &'a Attestations,
    exports: &'a [ExportImage],
    request: &'a BuildRequest,
    host: &'a Host,
    images: &'a Arc<Images>,
    exporter: &'a Exporter,
    cancelled: &'a AtomicBool,
}

fn failed(error: &ExportError) -> CommandError {
    let failed = CommandError::from_error(ErrorKind::Build, error);
    match error {
        ExportError::Store(error) if error.is_disk_full() => failed.hint("`bake prune` frees space in the store"),
        _ => failed,
    }
}

impl Context<'_> {
    fn one(
        &self,
        spec: &ExportSpec,
        exported: &mut Exported,
        progress: &Progress,
        step: bake_graph::VertexId,
    ) -> Result<Option<Stored>, CommandError> {
        let created = self.assembled.first().and_then(|assembled| assembled.created);
        let names = &self.request.tags;
        match &spec.target {
            ExportTarget::CacheOnly => Ok(None),
            ExportTarget::Store => {
                let references: Vec<String> = names.iter().map(ToString::to_string).collect();
                let seconds = created.map_or(0, |time| time.seconds);
                let stored = self
                    .exporter
                    .to_store(self.exports, &references, seconds, &self.request.annotations)
                    .map_err(|error| failed(&error))?;
                let stored = self.attest(spec, stored)?;
                self.exporter.keep_attached(&stored).map_err(|error| failed(&error))?;
                let layers: Vec<_> =
                    self.assembled.iter().flat_map(|assembled| assembled.layers.iter().cloned()).collect();
                self.images
                    .remember_origins(&layers, step, progress)
                    .map_err(|error| CommandError::from_error(ErrorKind::Build, &error))?;
                exported.tags.extend(names.iter().map(bake_oci::Reference::familiar));
                Ok(Some(stored))
            }
            ExportTarget::Registry => self.registry(spec, exported, progress, step).map(Some),
            ExportTarget::OciArchive(path) => {
                self.archive(spec, ArchiveKind::Oci, path.as_deref(), progress, step, exported)
            }
            ExportTarget::DockerArchive(path) => {
                self.archive(spec, ArchiveKind::Docker, path.as_deref(), progress, step, exported)
            }
            ExportTarget::OciDirectory(path) => {
                let stored = self.blobs(spec, progress, step)?;
                self.exporter.to_layout(&stored, names, created, path).map_err(|error| failed(&error))?;
                exported.destinations.push(format!("wrote {}", path.display()));
                Ok(Some(stored))
            }
            ExportTarget::Local(path) => {
                for (index, assembled) in self.assembled.iter().enumerate() {
                    let directories = self.directories(assembled, progress, step)?;
                    let target = self.platform_directory(assembled, path);
                    let beside = self.beside(spec, index, &directories)?;
                    self.exporter
                        .to_directory(&self.host.files(), &directories, &target)
                        .and_then(|()| self.exporter.files_beside(&beside, &target))
                        .map_err(|error| failed(&error))?;
                }
                exported.destinations.push(format!("wrote {}", path.display()));
                Ok(None)
            }
            ExportTarget::Tar(path) => {
                let [assembled] = self.assembled else {
                    return Err(CommandError::usage("type=tar takes a single platform"));
                };
                let directories = self.directories(assembled, progress, step)?;
                let beside = self.beside(spec, 0, &directories)?;
                write_to(path.as_deref(), self.cancelled, |out| {
                    self.exporter.to_tar_with(&self.host.files(), &directories, &beside, out)
                })?;
                exported.destinations.extend(path.iter().map(|path| format!("wrote {}", path.display())));
                Ok(None)
            }
        }
    }

    fn archive(
        &self,
        spec: &ExportSpec,
        kind: ArchiveKind,
        path: Option<&Path>,
        progress: &Progress,
        step: bake_graph::VertexId,
        exported: &mut Exported,
    ) -> Result<Option<Stored>, CommandError> {
        let stored = self.blobs(spec, progress, step)?;
        let created = self.assembled.first().and_then(|assembled| assembled.created);
        write_to(path, self.cancelled, |out| {
            self.exporter.to_archive(&stored, &self.request.tags, created, kind, out)
        })?;
        exported.destinations.extend(path.iter().map(|path| format!("wrote {}", path.display())));
        Ok(Some(stored))
    }

    /// Pushes. What the registry has, or can take over from another of its repositories, is not fetched for it.
    fn registry(
        &self,
        spec: &ExportSpec,
        exported: &mut Exported,
        progress: &Progress,
        step: bake_graph::VertexId,
    ) -> Result<Stored, CommandError> {
        let absent = self.absent(spec)?;
        let sizes =
            absent.iter().map(|(digest, layer)| (digest.clone(), layer.blob.as_ref().map_or(0, |blob| blob.size)));
        let sender = self.exporter.clone().with_absent(sizes.collect());
        for layer in self.assembled.iter().flat_map(|assembled| &assembled.layers) {
            if !layer.blob.as_ref().is_some_and(|blob| absent.contains_key(&blob.digest)) {
                self.layer_in_store(layer, progress, step)?;
            }
        }
        let stored = sender
            .with_blobs(self.exports, spec.compression, &self.request.annotations)
            .map_err(|error| failed(&error))?;
        let stored = self.attest(spec, stored)?;
        let (runtime, client) =
            self.host.network.start().map_err(|error| CommandError::from_error(ErrorKind::Build, &error))?;
        for name in &self.request.tags {
            let quiet: Arc<bake_exporter::PushProgress> = Arc::new(|_, _, _| {});
            let pusher = Pusher::new(runtime, client)
                .with_mount_from(self.repositories(name, absent.keys()))
                .with_bring(self.bring(&absent));
            let digest = sender.push(&stored, name, &pusher, &quiet).map_err(|error| failed(&error))?;
            exported.destinations.push(format!("pushed {}@{digest}", name.familiar()));
        }
        Ok(stored)
    }

    /// The layers whose blobs are in the wanted form in some registry, but not in the store.
    fn absent(&self, spec: &ExportSpec) -> Result<HashMap<Digest, Arc<Layer>>, CommandError> {
        let form = spec.compression.compression().id();
        let mut absent = HashMap::new();
        for assembled in self.assembled {
            for (layer, exported) in assembled.layers.iter().zip(&assembled.image.layers) {
                let Some(blob) = &layer.blob else { continue };
                let as_it_is = match &exported.content {
                    LayerContent::Elsewhere { compression, .. } => compression.as_ref() == Some(&form),
                    LayerContent::Blob(_) => !spec.compression.force,
                    LayerContent::Snapshot(_) => false,
                };
                if as_it_is && self.host.store.blob_size(&blob.digest).map_err(|error| store_failed(&error))?.is_none()
                {
                    absent.insert(blob.digest.clone(), layer.clone());
                }
            }
        }
        Ok(absent)
    }

    /// The repositories of the registry of `name` that are known to have blobs.
    fn repositories<'a>(&self, name: &Reference, blobs: impl Iterator<Item = &'a Digest>) -> HashMap<Digest, String> {
        blobs
            .filter_map(|digest| {
                let reference = Reference::parse(&self.images.registry_of(digest)?).ok()?;
                let same = reference.registry() == name.registry();
                same.then(|| (digest.clone(), reference.repository().to_owned()))
            })
            .collect()
    }

    /// Fetches a blob that the registry turns out to need.
    fn bring(&self, absent: &HashMap<Digest, Arc<Layer>>) -> Arc<bake_exporter::BringBlob> {
        let (images, absent) = (Arc::clone(self.images), absent.clone());
        Arc::new(move |digest| match absent.get(digest) {
            Some(layer) => images
                .fetch_layer(layer, bake_graph::VertexId(0), &Unseen)
                .map_err(|error| std::io::Error::other(bake::error::chain_text(&error))),
            None => Ok(()),
        })
    }

    /// The images with every layer as a blob; those of bases are fetched where only the registry has them.
    fn blobs(
        &self,
        spec: &ExportSpec,
        progress: &Progress,
        step: bake_graph::VertexId,
    ) -> Result<Stored, CommandError> {
        for layer in self.assembled.iter().flat_map(|assembled| &assembled.layers) {
            self.layer_in_store(layer, progress, step)?;
        }
        let stored = self
            .exporter
            .with_blobs(self.exports, spec.compression, &self.request.annotations)
            .map_err(|error| failed(&error))?;
        self.attest(spec, stored)
    }

    /// The images with what is said of them, which depends on what bytes they have in this output.
    fn attest(&self, spec: &ExportSpec, stored: Stored) -> Result<Stored, CommandError> {
        let said = self.attestations.statements(&stored.images, &self.request.tags);
        self.exporter.attest(stored, &said, spec.attestations).map_err(|error| failed(&error))
    }

    /// What is said of the files of the image at `index`, as files beside them.
    fn beside(
        &self,
        spec: &ExportSpec,
        index: usize,
        directories: &[PathBuf],
    ) -> Result<Vec<BesideFile>, CommandError> {
        let attestations = self.attestations.images.get(index).filter(|_| spec.attestations != AttestationForm::None);
        let prefix = &spec.attestation_prefix;
        let names = attestations.map(|image| image.beside_names(prefix)).unwrap_or_default();
        let (Some(attestations), false) = (attestations, names.is_empty()) else { return Ok(Vec::new()) };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let files =
            self.exporter.file_digests(&self.host.files(), directories, &names).map_err(|error| match error {
                ExportError::NameTaken(_) => failed(&error).hint("give it another name with `attestation-prefix=`"),
                error => failed(&error),
            })?;
        let mtime = self.assembled.get(index).and_then(|assembled| assembled.created).unwrap_or(Timestamp::EPOCH);
        let file = |(name, statement): (String, Statement)| {
            let bytes = statement.to_bytes().map_err(|error| CommandError::from_error(ErrorKind::Build, &error))?;
            Ok(BesideFile { name, bytes, mtime })
        };
        attestations.beside(prefix, &files).into_iter().map(file).collect()
    }

    /// Makes sure that a layer can be made a blob: one of a base is one, one of a step has its directory.
    fn layer_in_store(
        &self,
        layer: &Arc<Layer>,
        progress: &Progress,
        step: bake_graph::VertexId,
    ) -> Result<(), CommandError> {
        let result = match &layer.blob {
            None => Ok(()),
            Some(_) if layer.is_of_step() => self.images.bring(std::slice::from_ref(layer), step, progress),
            Some(blob) => self.images.fetch(blob, step, progress),
        };
        result.map_err(|error| CommandError::from_error(ErrorKind::Build, &error))
    }

    fn directories(
        &self,
        assembled: &Assembled,
        progress: &Progress,
        step: bake_graph::VertexId,
    ) -> Result<Vec<PathBuf>, CommandError> {
        let failed = |error: &bake_worker::ImageError| CommandError::from_error(ErrorKind::Build, error);
        let directories = self.images.directories(&assembled.layers, step, progress).map_err(|error| failed(&error))?;
        // Nothing that is made of the files shows whether they are what they were.
        self.images
            .verify(&directories)
            .map_err(|error| failed(&error).hint("`bake fsck` removes what is damaged, so that it is made again"))?;
        Ok(directories)
    }

    fn platform_directory(&self, assembled: &Assembled, path: &Path) -> PathBuf {
        if self.assembled.len() == 1 && !self.request.multi_platform {
            return path.to_owned();
        }
        path.join(assembled.image.platform.to_string().replace('/', "_"))
    }
}

/// Drops events: the display cannot be reached from the threads of a push.
#[derive(Debug)]
struct Unseen;

impl EventSink for Unseen {
    fn send(&self, _: BuildEvent) {}
}

/// Writes to a file (complete, or not at all, even when it is cancelled) or to standard output.
fn write_to(
    path: Option<&Path>,
    cancelled: &AtomicBool,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), CommandError> {
    let Some(path) = path else {
        let mut out = BufWriter::with_capacity(256 * 1024, std::io::stdout().lock());
        write(&mut out).map_err(|error| failed(&error))?;
        return out.flush().map_err(|error| CommandError::build(format!("cannot write to standard output: {error}")));
    };
    let cannot = |action: &str, error: std::io::Error| {
        CommandError::build(format!("cannot {action} `{}`: {error}", path.display()))
    };
    // Devices and pipes are written to as they are.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let mut out = BufWriter::new(File::options().write(true).open(path).map_err(|error| cannot("open", error))?);
        write(&mut out).map_err(|error| failed(&error))?;
        return out.flush().map_err(|error| cannot("write", error));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let result = (|| {
        let file = File::create(&partial).map_err(|error| cannot("create", error))?;
        let mut out = BufWriter::with_capacity(256 * 1024, Cancellable { file, cancelled });
        write(&mut out).map_err(|error| failed(&error))?;
        out.flush().map_err(|error| cannot("write", error))?;
        std::fs::rename(&partial, path).map_err(|error| cannot("write", error))
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    result
}

/// Writes to a file until that is cancelled.
struct Cancellable<'a> {
    file: File,
    cancelled: &'a AtomicBool,
}

impl Write for Cancellable<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("the build was cancelled"));
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// `--iidfile` and `--metadata-file`.
fn write_results(stored: &Stored, request: &BuildRequest, attestations: &Attestations) -> Result<(), CommandError> {
    let config = stored.images.first().map(|image| image.config_digest.to_string()).unwrap_or_default();
    if let Some(path) = &request.iidfile {
        let digest = if stored.single().is_some() { config.clone() } else { stored.descriptor.digest.to_string() };
        std::fs::write(path, digest)
            .map_err(|error| CommandError::build(format!("cannot write `{}`: {error}", path.display())))?;
    }
    if let Some(path) = &request.metadata_file {
        let names: Vec<String> = request.tags.iter().map(ToString::to_string).collect();
        let mut metadata = serde_json::json!({
            "containerimage.digest": stored.descriptor.digest.to_string(),
            "containerimage.config.digest": config,
            "containerimage.descriptor": {
                "mediaType": stored.descriptor.media_type,
                "digest": stored.descriptor.digest.to_string(),
                "size": stored.descriptor.size_bytes,
            },
        });
        for (key, provenance) in attestations.metadata(request.multi_platform) {
            metadata[key.as_str()] = provenance;
        }
        if !names.is_empty() {
            metadata["image.name"] = names.join(",").into();
        }
        let mut text =
            serde_json::to_vec_pretty(&metadata).map_err(|error| CommandError::internal(error.to_string()))?;
        text.push(b'\n');
        std::fs::write(path, text)
            .map_err(|error| CommandError::build(format!("cannot write `{}`: {error}", path.display())))?;
    }
    Ok(())
}
