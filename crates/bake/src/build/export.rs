//! Sends the images where they were asked for.

mod results;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bake::error::{CommandError, ErrorKind};
use bake::ui::progress::Progress;
use bake_attest::Statement;
use bake_exporter::{
    ArchiveKind, AttestationForm, BesideFile, ContainerdError, DockerEndpoint, DockerError, ExportError, ExportImage,
    ExportSpec, ExportTarget, Exporter, FileTree, LayerContent, LocalMode, PlacingOptions, Pusher, Stored,
};
use bake_graph::{StepLabel, VertexId};
use bake_oci::{Digest, Reference, Timestamp};
use bake_solver::{BuildEvent, EventSink, Layer};
use bake_worker::Images;

use super::assemble::Assembled;
use super::attest::Attestations;
use crate::push_progress;
use crate::settings::BuildRequest;
use crate::wiring::{Host, store_failed};

pub(super) use self::results::{BuildFacts, Results, forget_results};
use self::write::write_to;

/// What came of the exports.
#[derive(Debug, Default)]
pub(super) struct Exported {
    /// The first image that was made, if any was.
    pub(super) image: Option<ExportedImage>,
    pub(super) tags: Vec<String>,
    pub(super) destinations: Vec<String>,
    /// What is said of the images, for the metadata file.
    pub(super) metadata: BTreeMap<String, serde_json::Value>,
}

/// An image as an output made it.
#[derive(Debug)]
pub(super) struct ExportedImage {
    pub(super) stored: Stored,
    /// What it is called there.
    pub(super) names: Vec<String>,
}

impl ExportedImage {
    /// The digest of its manifest or index.
    pub(super) fn digest(&self) -> &Digest {
        &self.stored.descriptor.digest
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.stored.images.iter().map(bake_oci::Image::size_bytes).sum()
    }
}

/// What all outputs of a build have in common.
#[derive(Clone, Copy)]
pub(super) struct Exporting<'a> {
    /// The name of the target; empty for a request of its own.
    pub(super) target: &'a str,
    pub(super) assembled: &'a [Assembled],
    pub(super) attestations: &'a Attestations,
    pub(super) request: &'a BuildRequest,
    pub(super) host: &'a Host,
    pub(super) images: &'a Arc<Images>,
    pub(super) progress: &'a Progress,
    pub(super) cancelled: &'a AtomicBool,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970.
    pub(super) epoch: Option<i64>,
}

impl Exporting<'_> {
    /// The images as the first output that is one wants them, which need not be blobs.
    pub(super) fn images_of_first_output(self) -> Result<Vec<ExportImage>, CommandError> {
        let store = ExportSpec::store();
        let spec = self.request.exports.iter().find(|spec| spec.is_image()).unwrap_or(&store);
        let exporter = exporter(self.request, self.host);
        let activity = self.progress.begin(StepLabel { text: "comparing".into(), ..StepLabel::default() });
        let output = Output { all: self, spec, exporter: &exporter, step: activity.id() };
        let images = self.assembled.iter().try_for_each(|assembled| output.bring_layers(assembled));
        let images = images.and_then(|()| output.prepared());
        match &images {
            Ok(_) => activity.done(),
            Err(error) => activity.failed(error.message()),
        }
        images
    }

    /// Carries out every output of the request.
    pub(super) fn export(self) -> Result<Exported, CommandError> {
        let exporter = exporter(self.request, self.host);
        let mut outcome = Exported::default();
        for spec in &self.request.exports {
            let text = describe(spec);
            let label = StepLabel {
                stage: self.target.to_owned(),
                text: text.clone(),
                // What other targets are built from is nobody's result.
                internal: spec.target == ExportTarget::CacheOnly && !self.target.is_empty(),
                ..StepLabel::default()
            };
            let activity = self.progress.begin(label);
            let compressing = push_progress::compressing(self.progress.transfers(activity.id()));
            let exporter = exporter.clone().with_compressing(compressing);
            let output = Output { all: self, spec, exporter: &exporter, step: activity.id() };
            match output.write(&mut outcome) {
                Ok(image) => {
                    activity.done();
                    outcome.image = outcome.image.or(image);
                }
                Err(error) => {
                    activity.failed(error.message());
                    return Err(error.context(text));
                }
            }
        }
        Ok(outcome)
    }
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
        ExportTarget::Docker { endpoint: Some(endpoint), .. } => format!("loading into docker at {endpoint}"),
        ExportTarget::Docker { endpoint: None, .. } => "loading into docker".into(),
        ExportTarget::Containerd => "loading into containerd".into(),
        ExportTarget::Local(path) => format!("copying files to `{}`", path.display()),
        ExportTarget::Tar(_) => "writing files to an archive".into(),
        ExportTarget::CacheOnly => "keeping the result in the build cache".into(),
    }
}

/// Refuses outputs that need a time where there is none, before anything is built for them.
pub(super) fn check_times(request: &BuildRequest, epoch: Option<i64>) -> Result<(), CommandError> {
    let needs_time = |spec: &ExportSpec| spec.times.rewrite && spec.times.epoch.is_none();
    if epoch.is_none() && request.exports.iter().any(needs_time) { Err(no_newest_time()) } else { Ok(()) }
}

fn no_newest_time() -> CommandError {
    CommandError::usage("rewrite-timestamp needs a time that no file may be later than")
        .hint("set `SOURCE_DATE_EPOCH` in the environment, or `source-date-epoch` beside `rewrite-timestamp`")
}

pub(super) fn failed(error: &ExportError) -> CommandError {
    let failed = CommandError::from_error(ErrorKind::Build, error);
    match error {
        ExportError::Registry(error) => failed.hints(crate::registries::hint(error)),
        ExportError::Docker(DockerError::Connect { .. }) => failed
            .hint("start docker, or say where it is by `DOCKER_HOST` or `context=`")
            .hint("`type=docker,dest=FILE` writes an archive for `docker load`; `dest=-` writes it to standard output"),
        ExportError::Containerd(ContainerdError::Start(_)) => {
            failed.hint("`ctr` comes with containerd; `type=oci` writes an archive that it imports elsewhere")
        }
        ExportError::Containerd(ContainerdError::Refused(_)) => failed.hint(
            "`CONTAINERD_ADDRESS` says where containerd listens, `CONTAINERD_NAMESPACE` whose image it is (`k8s.io` for \
             Kubernetes)",
        ),
        ExportError::Store(error) if error.is_disk_full() => failed.hint("`bake prune` frees space in the store"),
        _ => failed,
    }
}

fn image_failed(error: &bake_worker::ImageError) -> CommandError {
    CommandError::from_error(ErrorKind::Build, error)
}

/// One output.
struct Output<'a> {
    all: Exporting<'a>,
    spec: &'a ExportSpec,
    exporter: &'a Exporter,
    step: VertexId,
}

impl Output<'_> {
    /// Writes it; the image, if it is one.
    fn write(&self, exported: &mut Exported) -> Result<Option<ExportedImage>, CommandError> {
        match &self.spec.target {
            ExportTarget::CacheOnly => return Ok(None),
            ExportTarget::Local(path) => {
                self.directory(path)?;
                exported.destinations.push(format!("wrote {}", path.display()));
                return Ok(None);
            }
            ExportTarget::Tar(path) => {
                let (trees, mtime) = (self.trees()?, self.epoch());
                write_to(path.as_deref(), self.all.cancelled, |out| {
                    self.exporter.to_tar(&self.all.host.files(), &trees, mtime, out)
                })?;
                exported.destinations.extend(path.iter().map(|path| format!("wrote {}", path.display())));
                return Ok(None);
            }
            _ => {}
        }
        let images = self.prepared()?;
        let created = self.created();
        let names = &self.spec.names;
        let stored = match &self.spec.target {
            ExportTarget::Registry => self.registry(&images, exported)?,
            ExportTarget::Store if !self.spec.compression.is_asked_for() => {
                let stored = self.exporter.to_store(&images, &self.spec.image).map_err(|error| failed(&error))?;
                self.attest(stored)?
            }
            _ => self.blobs(&images)?,
        };
        match &self.spec.target {
            ExportTarget::OciArchive(path) => self.archive(&stored, ArchiveKind::Oci, path.as_deref(), exported)?,
            ExportTarget::Docker { endpoint, .. } => {
                let standard = DockerEndpoint::standard();
                let endpoint = endpoint.as_ref().unwrap_or(&standard);
                let said = self.exporter.to_docker(&stored, names, created, endpoint, self.all.cancelled);
                exported.destinations.extend(said.map_err(|error| failed(&error))?);
            }
            ExportTarget::Containerd => {
                let said = self.exporter.to_containerd(&stored, names, created, self.all.cancelled);
                exported.destinations.extend(said.map_err(|error| failed(&error))?);
            }
            ExportTarget::DockerArchive(path) => {
                self.archive(&stored, ArchiveKind::Docker, path.as_deref(), exported)?;
            }
            ExportTarget::OciDirectory(path) => {
                self.exporter.to_layout(&stored, names, created, path).map_err(|error| failed(&error))?;
                exported.destinations.push(format!("wrote {}", path.display()));
            }
            _ => {}
        }
        let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
        if matches!(self.spec.target, ExportTarget::Store | ExportTarget::Registry) {
            names = names_with_dangling(names, &self.spec.placing, &stored.descriptor.digest);
            self.place(&stored, &names, created, exported)?;
        }
        Ok(Some(ExportedImage { stored, names }))
    }

    /// The images as this output wants them.
    fn prepared(&self) -> Result<Vec<ExportImage>, CommandError> {
        let times = self.spec.times;
        let mut images = Vec::with_capacity(self.all.assembled.len());
        for assembled in self.all.assembled {
            let image = match times.epoch {
                Some(seconds) => assembled.with_epoch(Timestamp::from_seconds(seconds)),
                None => assembled.image.clone(),
            };
            if !times.rewrite {
                images.push(image);
                continue;
            }
            let newest = self.epoch().ok_or_else(no_newest_time)?;
            self.bring_layers(assembled)?;
            let rewritten = self.exporter.with_times_until(&image, assembled.base_layers, newest);
            images.push(rewritten.map_err(|error| failed(&error))?);
        }
        Ok(images)
    }

    fn epoch(&self) -> Option<Timestamp> {
        self.spec.times.epoch.or(self.all.epoch).map(Timestamp::from_seconds)
    }

    /// When the image was made.
    fn created(&self) -> Option<Timestamp> {
        let of_build = || self.all.assembled.first().and_then(|assembled| assembled.created);
        self.spec.times.epoch.map(Timestamp::from_seconds).or_else(of_build)
    }

    /// What is done with an image of the local store, or of a registry that is to be in the local store too.
    fn place(
        &self,
        stored: &Stored,
        names: &[String],
        created: Option<Timestamp>,
        exported: &mut Exported,
    ) -> Result<(), CommandError> {
        let placing = &self.spec.placing;
        let layers: Vec<_> = self.all.assembled.iter().flat_map(|assembled| assembled.layers.iter().cloned()).collect();
        if placing.store {
            let mut references = names.to_vec();
            if placing.canonical_names {
                let digest = &stored.descriptor.digest;
                references.extend(self.spec.names.iter().map(|name| format!("{}@{digest}", name.name())));
            }
            let seconds = created.map_or(0, |time| time.seconds);
            self.exporter.tag(stored, &references, seconds).map_err(|error| failed(&error))?;
            self.exporter.keep_attached(stored).map_err(|error| failed(&error))?;
            self.all
                .images
                .remember_origins(&layers, self.step, self.all.progress)
                .map_err(|error| image_failed(&error))?;
            exported.tags.extend(self.spec.names.iter().map(Reference::familiar));
        }
        if placing.unpack {
            for assembled in self.all.assembled {
                self.directories(assembled)?;
            }
        }
        Ok(())
    }

    fn archive(
        &self,
        stored: &Stored,
        kind: ArchiveKind,
        path: Option<&Path>,
        exported: &mut Exported,
    ) -> Result<(), CommandError> {
        let created = self.created();
        write_to(path, self.all.cancelled, |out| {
            self.exporter.to_archive(stored, &self.spec.names, created, kind, out)
        })?;
        exported.destinations.extend(path.iter().map(|path| format!("wrote {}", path.display())));
        Ok(())
    }

    fn directory(&self, path: &Path) -> Result<(), CommandError> {
        let store = self.all.host.store.root();
        if self.spec.files.mode == LocalMode::Delete
            && let (Ok(store), Ok(destination)) = (store.canonicalize(), path.canonicalize())
            && store.starts_with(&destination)
        {
            return Err(CommandError::usage(format!("mode=delete would delete the store in `{}`", store.display()))
                .hint("name a directory that holds nothing but the result"));
        }
        let (trees, mtime) = (self.trees()?, self.epoch());
        self.exporter
            .to_directory(&self.all.host.files(), &trees, path, self.spec.files.mode, mtime)
            .map_err(|error| failed(&error))
    }

    /// Pushes. What the registry has, or can take over from another of its repositories, is not fetched for it.
    fn registry(&self, images: &[ExportImage], exported: &mut Exported) -> Result<Stored, CommandError> {
        let absent = self.absent(images)?;
        let sizes =
            absent.iter().map(|(digest, layer)| (digest.clone(), layer.blob.as_ref().map_or(0, |blob| blob.size)));
        let sender = self.exporter.clone().with_absent(sizes.collect());
        for layer in self.all.assembled.iter().flat_map(|assembled| &assembled.layers) {
            if !layer.blob.as_ref().is_some_and(|blob| absent.contains_key(&blob.digest)) {
                self.layer_in_store(layer)?;
            }
        }
        let stored =
            sender.with_blobs(images, self.spec.compression, &self.spec.image).map_err(|error| failed(&error))?;
        let stored = self.attest(stored)?;
        let (runtime, client) =
            self.all.host.network.start().map_err(|error| CommandError::from_error(ErrorKind::Build, &error))?;
        for name in &self.spec.names {
            let (sending, told) = push_progress::callbacks(&self.all.progress.transfers(self.step));
            let pusher = Pusher::new(runtime, client)
                .with_sending(sending)
                .with_mount_from(self.repositories(name, absent.keys()))
                .with_bring(self.bring(&absent))
                .by_digest(self.spec.placing.by_digest);
            let digest = sender.push(&stored, name, &pusher, &told).map_err(|error| failed(&error))?;
            let shown = if self.spec.placing.by_digest { name.familiar_name() } else { name.familiar() };
            exported.destinations.push(format!("pushed {shown}@{digest}"));
        }
        Ok(stored)
    }

    /// The layers whose blobs are in the wanted form in some registry, but not in the store.
    fn absent(&self, images: &[ExportImage]) -> Result<HashMap<Digest, Arc<Layer>>, CommandError> {
        let compression = self.spec.compression;
        let form = compression.compression().id();
        let mut absent = HashMap::new();
        for (assembled, image) in self.all.assembled.iter().zip(images) {
            for (layer, exported) in assembled.layers.iter().zip(&image.layers) {
                let Some(blob) = &layer.blob else { continue };
                let as_it_is = match &exported.content {
                    LayerContent::Elsewhere { compression: its, .. } => {
                        its.as_ref() == Some(&form) && !compression.estargz
                    }
                    LayerContent::Blob(_) => !compression.force,
                    LayerContent::Snapshot(_) | LayerContent::Rewritten { .. } => false,
                };
                let is_here = || self.all.host.store.blob_size(&blob.digest).map_err(|error| store_failed(&error));
                if as_it_is && is_here()?.is_none() {
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
                let reference = Reference::parse(&self.all.images.registry_of(digest)?).ok()?;
                let same = reference.registry() == name.registry();
                same.then(|| (digest.clone(), reference.repository().to_owned()))
            })
            .collect()
    }

    /// Fetches a blob that the registry turns out to need.
    fn bring(&self, absent: &HashMap<Digest, Arc<Layer>>) -> Arc<bake_exporter::BringBlob> {
        let (images, absent) = (Arc::clone(self.all.images), absent.clone());
        Arc::new(move |digest| match absent.get(digest) {
            Some(layer) => images
                .fetch_layer(layer, VertexId(0), &Unseen)
                .map_err(|error| std::io::Error::other(bake::error::chain_text(&error))),
            None => Ok(()),
        })
    }

    /// The images with every layer as a blob, or as one that an archive can have; those of bases are fetched where only the registry has them.
    fn blobs(&self, images: &[ExportImage]) -> Result<Stored, CommandError> {
        for assembled in self.all.assembled {
            self.bring_layers(assembled)?;
        }
        let (compression, options) = (self.spec.compression, &self.spec.image);
        let stored = match self.spec.target {
            ExportTarget::OciArchive(_)
            | ExportTarget::DockerArchive(_)
            | ExportTarget::Docker { .. }
            | ExportTarget::Containerd => self.exporter.for_archive(images, compression, options),
            _ => self.exporter.with_blobs(images, compression, options),
        };
        self.attest(stored.map_err(|error| failed(&error))?)
    }

    /// The images with what is said of them, which depends on what bytes they have in this output.
    fn attest(&self, stored: Stored) -> Result<Stored, CommandError> {
        let said = self.all.attestations.statements(&stored.images, &self.spec.names)?;
        self.exporter.attest(stored, &said, self.spec.attestations.form).map_err(|error| failed(&error))
    }

    fn bring_layers(&self, assembled: &Assembled) -> Result<(), CommandError> {
        assembled.layers.iter().try_for_each(|layer| self.layer_in_store(layer))
    }

    /// Makes sure that a layer can be made a blob: one of a base is one, one of a step has its directory.
    fn layer_in_store(&self, layer: &Arc<Layer>) -> Result<(), CommandError> {
        let (images, step, progress) = (self.all.images, self.step, self.all.progress);
        let result = match &layer.blob {
            None => Ok(()),
            Some(_) if layer.is_of_step() => images.bring(std::slice::from_ref(layer), step, progress),
            Some(blob) => images.fetch(blob, step, progress),
        };
        result.map_err(|error| image_failed(&error))
    }

    /// The files of each platform, and the directory that they go to.
    fn trees(&self) -> Result<Vec<FileTree>, CommandError> {
        let several = self.all.assembled.len() > 1 || self.all.request.multi_platform;
        let split = self.spec.files.platform_split.unwrap_or(several);
        let mut trees = Vec::with_capacity(self.all.assembled.len());
        for (index, assembled) in self.all.assembled.iter().enumerate() {
            let platform = assembled.image.platform.clone();
            let name = platform.to_string().replace('/', "_");
            let directory = split.then(|| name.clone());
            let layers = self.directories(assembled)?;
            let mut tree = FileTree { platform, directory, layers, beside: Vec::new() };
            tree.beside = self.beside(&tree, index, (several && !split).then_some(name.as_str()))?;
            trees.push(tree);
        }
        Ok(trees)
    }

    /// What is said of the files of the image at `index`, as files beside them. Where the files of several platforms come
    /// together, the names have the platform in them.
    fn beside(&self, tree: &FileTree, index: usize, platform: Option<&str>) -> Result<Vec<BesideFile>, CommandError> {
        let options = &self.spec.attestations;
        let wanted = options.form != AttestationForm::None;
        let Some(image) = self.all.attestations.images.get(index).filter(|_| wanted) else { return Ok(Vec::new()) };
        let names = image.beside_names(&options.prefix, platform);
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let files = self.exporter.file_digests(&self.all.host.files(), tree, &names).map_err(|error| match error {
            ExportError::NameTaken(_) => failed(&error).hint("give it another name with `attestation-prefix=`"),
            error => failed(&error),
        })?;
        let mtime = self.created().unwrap_or(Timestamp::EPOCH);
        let file = |(name, statement): (String, Statement)| {
            let bytes = statement.to_bytes().map_err(|error| CommandError::from_error(ErrorKind::Build, &error))?;
            Ok(BesideFile { name, bytes, mtime })
        };
        names.into_iter().zip(image.beside(&files)?).map(file).collect()
    }

    fn directories(&self, assembled: &Assembled) -> Result<Vec<std::path::PathBuf>, CommandError> {
        let images = self.all.images;
        let directories = images
            .directories(&assembled.layers, self.step, self.all.progress)
            .map_err(|error| image_failed(&error))?;
        // Nothing that is made of the files shows whether they are what they were.
        images.verify(&directories).map_err(|error| {
            image_failed(&error).hint("`bake fsck` removes what is damaged, so that it is made again")
        })?;
        Ok(directories)
    }
}

/// The names of an image with the one that is made of its digest.
fn names_with_dangling(mut names: Vec<String>, placing: &PlacingOptions, digest: &Digest) -> Vec<String> {
    if let Some(prefix) = &placing.dangling_prefix
        && (names.is_empty() || !placing.dangling_if_nameless)
    {
        names.push(format!("{prefix}@{digest}"));
    }
    names
}

/// Drops events: the display cannot be reached from the threads of a push.
#[derive(Debug)]
struct Unseen;

impl EventSink for Unseen {
    fn send(&self, _: BuildEvent) {}
}
