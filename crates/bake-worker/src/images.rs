//! Images: what a reference means, and layers brought into the store when a step first needs them.

mod flatten;
mod imports;
mod pull;
mod unpack;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bake_graph::{ImageOrigin, ImageSource, VertexId};
use bake_oci::manifest::{Document, ImageManifest, descriptor_digest, select_manifest};
use bake_oci::{ChainId, DiffId, Digest, ImageConfig, Platform, Reference, SnapshotId, TreeDigest};
use bake_snapshot::LayerFormat;
use bake_solver::{BuildEvent, EventSink, Layer, LayerBlob};
use bake_store::{Snapshot, Store};

use crate::arrival::Arrival;
use crate::imported::ImportedLayers;
use crate::network::{Network, NetworkError, Wanted};
use crate::verify::verify_layer;
use crate::worker::Silent;

pub use pull::Pulled;

/// The largest manifest and index.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// The largest image config.
const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// The part of the store's memory where resolved references are kept.
const RESOLVED: &str = "reference";

/// What went wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The store.
    #[error(transparent)]
    Store(#[from] bake_store::StoreError),
    /// The registry.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A manifest, index or config is wrong.
    #[error("the image `{reference}` is not valid: {problem}")]
    Invalid {
        /// Which image.
        reference: String,
        /// What is wrong.
        problem: String,
    },
    /// A layer directory does not hold any more what it held when it was made.
    #[error("the layer {snapshot} of `{origin}` {problem}")]
    Damaged {
        /// Which.
        snapshot: SnapshotId,
        /// What made it.
        origin: String,
        /// What is wrong.
        problem: String,
    },
    /// An OCI layout cannot be read.
    #[error("cannot read `{path}` of the OCI layout")]
    Layout {
        /// Which file.
        path: PathBuf,
        /// What lies underneath.
        #[source]
        source: std::io::Error,
    },
    /// A blob is nowhere to be found.
    #[error("blob {digest} of `{reference}` is not in the store and not at its source")]
    MissingBlob {
        /// Which blob.
        digest: Digest,
        /// Of which image.
        reference: String,
    },
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer {digest} of `{reference}`: {problem}")]
    Unpack {
        /// Which blob.
        digest: Digest,
        /// Of which image.
        reference: String,
        /// What is wrong.
        problem: String,
        /// Whether that is for want of space.
        disk_full: bool,
    },
    /// A blob could not be brought into the store.
    #[error("cannot fetch layer {digest} of `{reference}`")]
    Fetch {
        /// Which blob.
        digest: Digest,
        /// Of which image.
        reference: String,
        /// What lies underneath.
        #[source]
        source: Box<ImageError>,
    },
    /// An imported cache does not give what it promised.
    #[error(transparent)]
    Import(crate::imported::ImportError),
}

impl ImageError {
    /// Whether the store's disk is full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Unpack { disk_full, .. } => *disk_full,
            Self::Fetch { source, .. } => source.is_disk_full(),
            Self::Store(error) | Self::Network(NetworkError::Store(error)) => error.is_disk_full(),
            _ => false,
        }
    }
}

/// An image, pinned to one platform's manifest.
#[derive(Debug, Clone)]
pub struct PinnedImage {
    /// The canonical reference with the manifest's digest.
    pub reference: String,
    /// The digest of the manifest.
    pub manifest: Digest,
    /// Where the blobs are.
    pub origin: ImageOrigin,
    /// The config.
    pub config: ImageConfig,
}

/// Where the blobs of layers come from.
#[derive(Debug, Clone)]
struct Origin {
    reference: String,
    origin: ImageOrigin,
}

/// The images of a build.
#[derive(Debug)]
pub struct Images {
    store: Store,
    network: Arc<Network>,
    layouts: BTreeMap<String, PathBuf>,
    format: LayerFormat,
    /// The build cache that was imported.
    imported: Option<Arc<dyn ImportedLayers>>,
    /// Where blobs that were named by some image come from, by blob.
    origins: Mutex<HashMap<Digest, Origin>>,
    /// Directories of layers that were looked up before: the store keeps them for as long as it is used here.
    known: Mutex<HashMap<SnapshotId, PathBuf>>,
    /// Layers being unpacked: whoever wants one that is under way waits for it.
    unpacking: Mutex<HashMap<SnapshotId, Arc<Mutex<()>>>>,
    cancelled: Arc<AtomicBool>,
}

impl Images {
    /// Images in `store`, at registries, and in the named OCI `layouts`.
    pub fn new(store: Store, network: Arc<Network>, layouts: BTreeMap<String, PathBuf>, format: LayerFormat) -> Self {
        Self {
            store,
            network,
            layouts,
            format,
            imported: None,
            origins: Mutex::default(),
            known: Mutex::default(),
            unpacking: Mutex::default(),
            cancelled: Arc::default(),
        }
    }

    /// The same, with layers of an imported build cache.
    #[must_use]
    pub fn with_imported(self, imported: Arc<dyn ImportedLayers>) -> Self {
        Self { imported: Some(imported), ..self }
    }

    /// Setting it ends transfers and unpacking soon, with an error.
    pub fn cancelled(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.cancelled)
    }

    /// Pins `reference` for `platform`: an image of the local store, one that was resolved before, or what the registry
    /// says; `pull` asks the registry in any case.
    pub fn resolve(&self, reference: &Reference, platform: &Platform, pull: bool) -> Result<PinnedImage, ImageError> {
        let reference = reference.or_latest();
        if !pull && let Some(image) = self.resolve_locally(&reference, platform)? {
            return Ok(image);
        }
        let resolved = self.network.resolve(&reference)?;
        self.store.put_bytes(&resolved.bytes)?;
        let document = parse_document(&reference, &resolved.bytes)?;
        let image = self.pin(&reference, platform, document, &resolved.digest, ImageOrigin::Registry)?;
        self.store.remember(RESOLVED, &reference.to_string(), resolved.digest.to_string().as_bytes())?;
        Ok(image)
    }

    fn resolve_locally(&self, reference: &Reference, platform: &Platform) -> Result<Option<PinnedImage>, ImageError> {
        let tagged = match reference.digest() {
            Some(digest) => Some(digest.clone()),
            None => self.store.resolve(&reference.to_string())?.map(|tag| tag.descriptor.digest),
        };
        let candidates = [
            (tagged, ImageOrigin::Store),
            (
                self.store
                    .recall(RESOLVED, &reference.to_string(), Duration::MAX)?
                    .and_then(|value| std::str::from_utf8(&value.value).ok().and_then(|text| Digest::parse(text).ok())),
                ImageOrigin::Registry,
            ),
        ];
        for (digest, origin) in candidates {
            let Some(digest) = digest else { continue };
            let Some(bytes) = self.store.read_small_blob(&digest, MANIFEST_BYTES_MAX)? else { continue };
            let document = parse_document(reference, &bytes)?;
            // Blobs that are gone, or another platform than the one pulled, are for the registry to bring.
            match self.pin_from_store(reference, platform, document, &digest, origin) {
                Ok(Some(image)) => return Ok(Some(image)),
                Ok(None) | Err(ImageError::MissingBlob { .. } | ImageError::Invalid { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Pins the image `name` (tag or digest, or the only one) of a named OCI layout.
    pub fn resolve_in_layout(
        &self,
        context: &str,
        name: Option<&str>,
        platform: &Platform,
    ) -> Result<PinnedImage, ImageError> {
        let directory = self.layout(context)?;
        let path = directory.join("index.json");
        let bytes = read_limited(&path, MANIFEST_BYTES_MAX)?;
        let shown = directory.display().to_string();
        let invalid = |problem: String| ImageError::Invalid { reference: shown.clone(), problem };
        let document = Document::parse(&bytes, None).map_err(|problem| invalid(chain_of(&problem)))?;
        let Document::Index(index) = document else { return Err(invalid("its index.json is no index".into())) };
        let named = |descriptor: &bake_oci::manifest::Descriptor| {
            let annotations = descriptor.annotations().clone().unwrap_or_default();
            let keys = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];
            keys.iter()
                .filter_map(|key| annotations.get(*key))
                .any(|value| Some(value.as_str()) == name || value.rsplit_once(':').map(|(_, tag)| tag) == name)
                || Some(descriptor.digest().to_string().as_str()) == name
        };
        let manifests = index.manifests();
        let chosen = match manifests.iter().find(|descriptor| named(descriptor)) {
            Some(descriptor) => descriptor,
            // Without a name of its own, the one image of a layout is the one that is meant.
            None => match manifests.as_slice() {
                [only] if name.is_none_or(|name| name == "latest") => only,
                _ if name.is_none_or(|name| name == "latest") => {
                    select_manifest(&index, platform).map_err(|problem| invalid(chain_of(&problem)))?
                }
                _ => return Err(invalid(format!("it has no image called `{}`", name.unwrap_or("latest")))),
            },
        };
        let digest = descriptor_digest(chosen).map_err(|problem| invalid(chain_of(&problem)))?;
        let origin = ImageOrigin::Layout { name: context.to_owned() };
        let bytes = self.layout_blob(directory, &digest, MANIFEST_BYTES_MAX)?;
        let document = Document::parse(&bytes, None).map_err(|problem| invalid(chain_of(&problem)))?;
        let reference = Reference::parse(context)
            .or_else(|_| Reference::parse("oci-layout"))
            .map_err(|e| invalid(e.to_string()))?;
        self.pin(&reference, platform, document, &digest, origin)
    }

    fn layout(&self, context: &str) -> Result<&Path, ImageError> {
        self.layouts.get(context).map(PathBuf::as_path).ok_or_else(|| ImageError::Invalid {
            reference: context.to_owned(),
            problem: "no OCI layout of that name was given".into(),
        })
    }

    fn layout_blob(&self, directory: &Path, digest: &Digest, limit: u64) -> Result<Vec<u8>, ImageError> {
        let path = directory.join("blobs").join(digest.algorithm().name()).join(digest.hex());
        let bytes = read_limited(&path, limit)?;
        self.store.put_blob(Some(digest), &mut bytes.as_slice())?;
        Ok(bytes)
    }

    fn pin_from_store(
        &self,
        reference: &Reference,
        platform: &Platform,
        document: Document,
        digest: &Digest,
        origin: ImageOrigin,
    ) -> Result<Option<PinnedImage>, ImageError> {
        let invalid = |problem: String| ImageError::Invalid { reference: reference.familiar(), problem };
        let stored = |digest: &Digest| self.store_blob(digest, MANIFEST_BYTES_MAX, reference);
        let (manifest, digest) = manifest_for(reference, platform, document, digest, stored)?;
        let config = descriptor_digest(manifest.config()).map_err(|problem| invalid(chain_of(&problem)))?;
        let bytes = self.store_blob(&config, CONFIG_BYTES_MAX, reference)?;
        let config = ImageConfig::parse(&bytes).map_err(|problem| invalid(chain_of(&problem)))?;
        if !platform.matches(&config.platform()) {
            return Ok(None);
        }
        Ok(Some(PinnedImage { reference: pinned(reference, &digest), manifest: digest, origin, config }))
    }

    /// Goes from a document that was just fetched to the config of the platform's image, fetching what is missing.
    fn pin(
        &self,
        reference: &Reference,
        platform: &Platform,
        document: Document,
        digest: &Digest,
        origin: ImageOrigin,
    ) -> Result<PinnedImage, ImageError> {
        let invalid = |problem: String| ImageError::Invalid { reference: reference.familiar(), problem };
        let bring = |digest: &Digest| match &origin {
            ImageOrigin::Registry => {
                let bytes = self.network.manifest(reference, digest)?;
                self.store.put_blob(Some(digest), &mut bytes.as_slice())?;
                Ok(bytes)
            }
            ImageOrigin::Layout { name } => self.layout_blob(self.layout(name)?, digest, MANIFEST_BYTES_MAX),
            ImageOrigin::Store => self.store_blob(digest, MANIFEST_BYTES_MAX, reference),
        };
        let (manifest, digest) = manifest_for(reference, platform, document, digest, bring)?;
        let config = manifest.config();
        let config_digest = descriptor_digest(config).map_err(|problem| invalid(chain_of(&problem)))?;
        let bytes = match self.store.read_small_blob(&config_digest, CONFIG_BYTES_MAX)? {
            Some(bytes) => bytes,
            None => match &origin {
                ImageOrigin::Registry => {
                    let bytes = self.network.small_blob(reference, &config_digest, config.size(), CONFIG_BYTES_MAX)?;
                    self.store.put_blob(Some(&config_digest), &mut bytes.as_slice())?;
                    bytes
                }
                ImageOrigin::Layout { name } => {
                    self.layout_blob(self.layout(name)?, &config_digest, CONFIG_BYTES_MAX)?
                }
                ImageOrigin::Store => self.store_blob(&config_digest, CONFIG_BYTES_MAX, reference)?,
            },
        };
        let config = ImageConfig::parse(&bytes).map_err(|problem| invalid(chain_of(&problem)))?;
        Ok(PinnedImage { reference: pinned(reference, &digest), manifest: digest, origin, config })
    }

    fn store_blob(&self, digest: &Digest, limit: u64, reference: &Reference) -> Result<Vec<u8>, ImageError> {
        let missing = || ImageError::MissingBlob { digest: digest.clone(), reference: reference.familiar() };
        self.store.read_small_blob(digest, limit)?.ok_or_else(missing)
    }

    /// The layers of a pinned image. Nothing is fetched but the manifest and the config, which pinning brought.
    pub fn layers(&self, image: &ImageSource) -> Result<Vec<Arc<Layer>>, ImageError> {
        let invalid = |problem: String| ImageError::Invalid { reference: image.reference.clone(), problem };
        let reference = Reference::parse(&image.reference).map_err(|problem| invalid(chain_of(&problem)))?;
        let bytes = self.store_blob(&image.manifest, MANIFEST_BYTES_MAX, &reference)?;
        let Document::Manifest(manifest) = parse_document(&reference, &bytes)? else {
            return Err(invalid("an index stands where a manifest is expected".into()));
        };
        let config = descriptor_digest(manifest.config()).map_err(|problem| invalid(chain_of(&problem)))?;
        let config = ImageConfig::parse(&self.store_blob(&config, CONFIG_BYTES_MAX, &reference)?)
            .map_err(|problem| invalid(chain_of(&problem)))?;
        if config.rootfs.diff_ids.len() != manifest.layers().len() {
            let (ids, layers) = (config.rootfs.diff_ids.len(), manifest.layers().len());
            return Err(invalid(format!("its config has {ids} diff IDs, but its manifest {layers} layers")));
        }
        let mut layers = Vec::with_capacity(manifest.layers().len());
        for (descriptor, diff_id) in manifest.layers().iter().zip(&config.rootfs.diff_ids) {
            let digest = descriptor_digest(descriptor).map_err(|problem| invalid(chain_of(&problem)))?;
            self.origins
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(digest.clone())
                .or_insert_with(|| Origin { reference: image.reference.clone(), origin: image.origin.clone() });
            if let Some(made_here) = self.made_here(&digest, diff_id)? {
                layers.push(Arc::new(made_here));
                continue;
            }
            layers.push(Arc::new(Layer {
                snapshot: SnapshotId::for_layer(diff_id),
                tree: image_layer_tree(diff_id),
                diff_id: Some(diff_id.clone()),
                tar_size_bytes: None,
                blob: Some(LayerBlob {
                    media_type: descriptor.media_type().to_string(),
                    digest,
                    size: descriptor.size(),
                }),
                created_ns: None,
                copied: None,
            }));
        }
        Ok(layers)
    }

    fn copy_from_layout(&self, name: &str, blob: &LayerBlob) -> Result<(), ImageError> {
        let directory = self.layout(name)?;
        let path = directory.join("blobs").join(blob.digest.algorithm().name()).join(blob.digest.hex());
        let file = open_file(&path).map_err(|source| ImageError::Layout { path, source })?;
        self.store.put_blob(Some(&blob.digest), &mut file.take(blob.size + 1))?;
        Ok(())
    }

    /// A layer that a step on this machine made: it has no blob, but the directory that its archive is streamed from.
    fn made_here(&self, digest: &Digest, diff_id: &DiffId) -> Result<Option<Layer>, ImageError> {
        if *digest != diff_id.0 || self.store.blob_size(digest)?.is_some() {
            return Ok(None);
        }
        let mut made = self.made_by_step(diff_id)?;
        if made.is_none() && self.bring_left(diff_id, VertexId(0), &Silent)? {
            made = self.made_by_step(diff_id)?;
        }
        Ok(made.map(|snapshot| Layer {
            snapshot: snapshot.record.id,
            tree: image_layer_tree(diff_id),
            diff_id: Some(diff_id.clone()),
            tar_size_bytes: None,
            blob: None,
            created_ns: None,
            copied: None,
        }))
    }

    /// The directory of a layer that a step made, here or on another machine. Unpacked layers of images are left out:
    /// their archive cannot always be made again byte for byte, since others wrote it.
    pub fn made_by_step(&self, diff_id: &DiffId) -> Result<Option<Snapshot>, ImageError> {
        let unpacked = [SnapshotId::LAYER_PREFIX, SnapshotId::CHAIN_PREFIX];
        let snapshots = self.store.snapshots_by_diff_id(diff_id)?;
        Ok(snapshots
            .into_iter()
            .find(|snapshot| !unpacked.iter().any(|prefix| snapshot.record.id.as_str().starts_with(prefix))))
    }

    /// Brings the blob of an image's layer into the store.
    pub fn fetch(&self, blob: &LayerBlob, step: VertexId, events: &dyn EventSink) -> Result<(), ImageError> {
        self.fetch_following(blob, &Arrival::default(), step, events)
    }

    /// The same for those who follow the `arrival` of the blob.
    fn fetch_following(
        &self,
        blob: &LayerBlob,
        arrival: &Arrival,
        step: VertexId,
        events: &dyn EventSink,
    ) -> Result<(), ImageError> {
        self.fetch_missing(blob, arrival, step, events).map_err(|source| {
            let reference = self.place_of(&blob.digest);
            ImageError::Fetch { digest: blob.digest.clone(), reference, source: Box::new(source) }
        })
    }

    /// Where a blob comes from, for people.
    fn place_of(&self, blob: &Digest) -> String {
        let origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = origins.get(blob).map(|origin| origin.reference.clone());
        let imported = || self.imported.as_ref().and_then(|imported| imported.place(blob));
        origin.or_else(imported).unwrap_or_else(|| "an image".to_owned())
    }

    fn fetch_missing(
        &self,
        blob: &LayerBlob,
        arrival: &Arrival,
        step: VertexId,
        events: &dyn EventSink,
    ) -> Result<(), ImageError> {
        if self.store.blob_size(&blob.digest)?.is_some() {
            return Ok(());
        }
        let origin = self.origins.lock().unwrap_or_else(PoisonError::into_inner).get(&blob.digest).cloned();
        let missing =
            |reference: &str| ImageError::MissingBlob { digest: blob.digest.clone(), reference: reference.to_owned() };
        let Some(Origin { reference, origin }) = origin else {
            return match &self.imported {
                Some(imported) if imported.place(&blob.digest).is_some() => {
                    let id = format!("import {}", blob.digest.short());
                    let progress = |current| {
                        events.send(BuildEvent::Transfer { step, id: id.clone(), current, total: Some(blob.size) });
                    };
                    imported.fetch(blob, &self.store, &progress).map_err(ImageError::Import)
                }
                _ => Err(missing("an image")),
            };
        };
        match origin {
            ImageOrigin::Layout { name } => self.copy_from_layout(&name, blob)?,
            ImageOrigin::Registry | ImageOrigin::Store => {
                let parsed = Reference::parse(&reference).map_err(|_| missing(&reference))?;
                let id = format!("pull {}", blob.digest.short());
                let progress = |current| {
                    events.send(BuildEvent::Transfer { step, id: id.clone(), current, total: Some(blob.size) });
                };
                let wanted = Wanted { reference: &parsed, digest: &blob.digest, size: blob.size };
                self.network.fetch_following(&self.store, &wanted, arrival, &progress, &self.cancelled)?;
            }
        }
        Ok(())
    }

    /// The directories of a stack of layers, base first; layers of images are fetched and unpacked where they are missing.
    pub fn directories(
        &self,
        layers: &[Arc<Layer>],
        step: VertexId,
        events: &dyn EventSink,
    ) -> Result<Vec<PathBuf>, ImageError> {
        let mut directories: Vec<Option<PathBuf>> = Vec::with_capacity(layers.len());
        for (index, layer) in layers.iter().enumerate() {
            directories.push(self.directory_of(layers, index, layer)?);
        }
        let directories = self.unpack_missing(layers, directories, step, events)?;
        self.shortened(layers, directories)
    }

    /// Reads the files of those of `directories` that were there before, and fails if one does not hold what it held when it
    /// was made.
    ///
    /// An archive of layers is checked by its diff IDs; this is for results that are made of the files.
    pub fn verify(&self, directories: &[PathBuf]) -> Result<(), ImageError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (id, _) in known.iter().filter(|(_, path)| directories.contains(path)) {
            let Some(snapshot) = self.store.snapshot(id)? else { continue };
            verify_layer(&snapshot, snapshot.noted_content()?, self.format).map_err(|problem| ImageError::Damaged {
                snapshot: id.clone(),
                origin: snapshot.record.origin.clone(),
                problem,
            })?;
        }
        Ok(())
    }

    /// A directory that was looked up before.
    fn known_directory(&self, id: &SnapshotId) -> Option<PathBuf> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Keeps the directory of a snapshot in mind: a long stack is looked up once for each of its steps.
    fn know_directory(&self, id: SnapshotId, path: PathBuf) -> PathBuf {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id, path.clone());
        path
    }

    /// The directories of those of `layers` that are unpacked, base first. Nothing is fetched.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub fn present(&self, layers: &[Arc<Layer>]) -> Result<Vec<Option<PathBuf>>, ImageError> {
        layers.iter().enumerate().map(|(index, layer)| self.directory_of(layers, index, layer)).collect()
    }

    /// Whether all layers are unpacked.
    pub(crate) fn are_here(&self, layers: &[Arc<Layer>]) -> Result<bool, ImageError> {
        for (index, layer) in layers.iter().enumerate() {
            if self.directory_of(layers, index, layer)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The directory of layer number `index` if it is there: under the layer's own name, or under that of the stack.
    fn directory_of(&self, layers: &[Arc<Layer>], index: usize, layer: &Layer) -> Result<Option<PathBuf>, ImageError> {
        if let Some(path) = self.known_directory(&layer.snapshot) {
            return Ok(Some(path));
        }
        if let Some(snapshot) = self.store.snapshot(&layer.snapshot)? {
            return Ok(Some(self.know_directory(layer.snapshot.clone(), snapshot.path)));
        }
        // A step's layer is complete by itself, so it is never kept under the name of a stack.
        if layer.blob.is_none() || layer.is_of_step() {
            return Ok(None);
        }
        let Some(chain) = chain(&layers[..=index]) else { return Ok(None) };
        let id = SnapshotId::for_chain(&chain);
        Ok(self.store.snapshot(&id)?.map(|snapshot| self.know_directory(id, snapshot.path)))
    }

    /// What must be held while a snapshot is made, so that it is made once.
    fn gate(&self, id: &SnapshotId) -> Arc<Mutex<()>> {
        let mut unpacking = self.unpacking.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(unpacking.entry(id.clone()).or_default())
    }
}

/// The manifest of the platform's image: the document itself, or what its index lists for the platform, by `read`.
fn manifest_for(
    reference: &Reference,
    platform: &Platform,
    document: Document,
    digest: &Digest,
    read: impl FnOnce(&Digest) -> Result<Vec<u8>, ImageError>,
) -> Result<(Box<ImageManifest>, Digest), ImageError> {
    let index = match document {
        Document::Manifest(manifest) => return Ok((manifest, digest.clone())),
        Document::Index(index) => index,
    };
    let invalid = |problem: String| ImageError::Invalid { reference: reference.familiar(), problem };
    let chosen = select_manifest(&index, platform).map_err(|problem| invalid(chain_of(&problem)))?;
    let digest = descriptor_digest(chosen).map_err(|problem| invalid(chain_of(&problem)))?;
    match parse_document(reference, &read(&digest)?)? {
        Document::Manifest(manifest) => Ok((manifest, digest)),
        Document::Index(_) => Err(invalid("an index stands where a manifest is expected".into())),
    }
}

fn parse_document(reference: &Reference, bytes: &[u8]) -> Result<Document, ImageError> {
    Document::parse(bytes, None)
        .map_err(|problem| ImageError::Invalid { reference: reference.familiar(), problem: chain_of(&problem) })
}

/// The identity of an image's layer for cache keys. The archive says what it holds, so nothing has to be unpacked for it.
pub(crate) fn image_layer_tree(diff_id: &DiffId) -> TreeDigest {
    TreeDigest::of(format!("image layer {diff_id}").as_bytes())
}

/// The chain ID of layers that all come from images.
fn chain(layers: &[Arc<Layer>]) -> Option<ChainId> {
    let ids: Option<Vec<DiffId>> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    ChainId::of(&ids?)
}

fn pinned(reference: &Reference, digest: &Digest) -> String {
    reference.with_digest(digest.clone()).to_string()
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

fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, ImageError> {
    let failed = |source| ImageError::Layout { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    open_file(path).map_err(failed)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(failed(std::io::Error::other(format!("it is larger than {limit} bytes"))));
    }
    Ok(bytes)
}

/// Opens a file of a layout, also behind links: its digest says whether it is the right one. Anything else that might keep
/// a reader waiting, or never end, is an error.
fn open_file(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let not_blocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(not_blocking).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::Error::other("it is not a regular file")) }
}
