//! Sends the images where they were asked for.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bake::error::{CommandError, ErrorKind};
use bake::ui::progress::Progress;
use bake_exporter::{ArchiveKind, ExportError, ExportImage, ExportSpec, ExportTarget, Exporter, Pusher, Stored};
use bake_graph::StepLabel;
use bake_oci::Digest;
use bake_worker::Images;

use super::assemble::Assembled;
use crate::settings::BuildRequest;
use crate::wiring::Host;

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
    request: &BuildRequest,
    host: &Host,
    images: &Images,
    progress: &Progress,
    cancelled: &AtomicBool,
) -> Result<Exported, CommandError> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let exporter = Exporter::new(host.store.clone(), host.format, threads).with_index(request.multi_platform);
    let exports: Vec<ExportImage> = assembled.iter().map(|assembled| assembled.image.clone()).collect();
    let context = Context { assembled, exports: &exports, request, host, images, exporter: &exporter, cancelled };
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
        write_results(stored, request)?;
    }
    Ok(outcome)
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
    exports: &'a [ExportImage],
    request: &'a BuildRequest,
    host: &'a Host,
    images: &'a Images,
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
                let layers: Vec<_> =
                    self.assembled.iter().flat_map(|assembled| assembled.layers.iter().cloned()).collect();
                self.images
                    .remember_origins(&layers)
                    .map_err(|error| CommandError::from_error(ErrorKind::Build, &error))?;
                exported.tags.extend(names.iter().map(bake_oci::Reference::familiar));
                Ok(Some(stored))
            }
            ExportTarget::Registry => {
                let stored = self.blobs(spec, progress, step)?;
                let (runtime, client) =
                    self.host.network.start().map_err(|error| CommandError::from_error(ErrorKind::Build, &error))?;
                for name in names {
                    let quiet: Arc<bake_exporter::PushProgress> = Arc::new(|_, _, _| {});
                    let digest = self
                        .exporter
                        .push(&stored, name, Pusher { runtime, client }, &quiet)
                        .map_err(|error| failed(&error))?;
                    exported.destinations.push(format!("pushed {}@{digest}", name.familiar()));
                }
                Ok(Some(stored))
            }
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
                for assembled in self.assembled {
                    let directories = self.directories(assembled, progress, step)?;
                    let target = self.platform_directory(assembled, path);
                    self.exporter
                        .to_directory(&self.host.files(), &directories, &target)
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
                write_to(path.as_deref(), self.cancelled, |out| {
                    self.exporter.to_tar(&self.host.files(), &directories, out)
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

    /// The images with every layer as a blob; those of bases are fetched where only the registry has them.
    fn blobs(
        &self,
        spec: &ExportSpec,
        progress: &Progress,
        step: bake_graph::VertexId,
    ) -> Result<Stored, CommandError> {
        for layer in self.assembled.iter().flat_map(|assembled| &assembled.layers) {
            if let Some(blob) = &layer.blob {
                self.images
                    .fetch(blob, step, progress)
                    .map_err(|error| CommandError::from_error(ErrorKind::Build, &error))?;
            }
        }
        self.exporter
            .with_blobs(self.exports, spec.compression, &self.request.annotations)
            .map_err(|error| failed(&error))
    }

    fn directories(
        &self,
        assembled: &Assembled,
        progress: &Progress,
        step: bake_graph::VertexId,
    ) -> Result<Vec<PathBuf>, CommandError> {
        self.images
            .directories(&assembled.layers, step, progress)
            .map_err(|error| CommandError::from_error(ErrorKind::Build, &error))
    }

    fn platform_directory(&self, assembled: &Assembled, path: &Path) -> PathBuf {
        if self.assembled.len() == 1 && !self.request.multi_platform {
            return path.to_owned();
        }
        path.join(assembled.image.platform.to_string().replace('/', "_"))
    }
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
fn write_results(stored: &Stored, request: &BuildRequest) -> Result<(), CommandError> {
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
