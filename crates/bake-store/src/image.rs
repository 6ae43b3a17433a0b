//! What an image refers to: enough of manifests and indexes to know which blobs and layers must stay.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};

use bake_oci::{DiffId, Digest};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::StoreError;
use crate::error::AtPath;
use crate::fsck::Described;
use crate::layout::Layout;

/// OCI distribution: registries must take manifests up to 4 MiB, and configs are not much larger.
const DOCUMENT_SIZE_MAX: u64 = 8 << 20;

/// Indexes may nest; four levels are more than anything in use.
const DEPTH_MAX: usize = 8;

/// More blobs than any index of images refers to.
const BLOBS_MAX: usize = 100_000;

/// The parts of an image manifest or index that refer to other blobs.
#[derive(Debug, Deserialize)]
struct Manifest {
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: Digest,
    #[serde(default)]
    size: u64,
    #[serde(default, rename = "mediaType")]
    media_type: String,
}

impl Descriptor {
    fn described(&self, diff_id: Option<&DiffId>) -> Described {
        Described { media_type: self.media_type.clone(), size_bytes: self.size, diff_id: diff_id.cloned() }
    }
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    rootfs: Option<RootFs>,
}

#[derive(Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<DiffId>>,
}

/// Everything that one or more images refer to.
#[derive(Debug, Default)]
pub(crate) struct Closure {
    /// Blobs that are there.
    pub(crate) blobs: HashSet<Digest>,
    /// Blobs that are not there.
    pub(crate) absent: HashSet<Digest>,
    /// Layers without a blob: their snapshots are all there is of them.
    pub(crate) needed_diff_ids: HashSet<DiffId>,
    /// Layers with a blob: their snapshots can be made again.
    pub(crate) unpacked_diff_ids: HashSet<DiffId>,
    /// What is said of all these blobs, except the outermost.
    pub(crate) described: HashMap<Digest, Described>,
    /// The configs of images.
    pub(crate) configs: HashSet<Digest>,
    /// The sum of the sizes that the descriptors state, in bytes, without the outermost.
    pub(crate) stated_bytes: u64,
    /// Blobs that should be manifests or configs and cannot be read as such.
    pub(crate) unreadable: Vec<Digest>,
}

impl Closure {
    /// What the manifest or index `digest` refers to.
    pub(crate) fn of(layout: &Layout, digest: &Digest) -> Result<Self, StoreError> {
        let mut closure = Self::default();
        closure.add(layout, digest)?;
        Ok(closure)
    }

    /// Adds what the manifest or index `digest` refers to.
    pub(crate) fn add(&mut self, layout: &Layout, digest: &Digest) -> Result<(), StoreError> {
        self.add_manifest(layout, digest, 0)
    }

    fn add_manifest(&mut self, layout: &Layout, digest: &Digest, depth: usize) -> Result<(), StoreError> {
        if depth > DEPTH_MAX || self.blobs.contains(digest) || self.blobs.len() > BLOBS_MAX {
            return Ok(());
        }
        let Some(manifest) = self.read::<Manifest>(layout, digest)? else { return Ok(()) };
        let layers = manifest.layers.unwrap_or_default();
        if let Some(config) = &manifest.config {
            self.stated_bytes = self.stated_bytes.saturating_add(config.size);
            self.described.insert(config.digest.clone(), config.described(None));
            self.configs.insert(config.digest.clone());
            let config = self.read::<Config>(layout, &config.digest)?.unwrap_or_default();
            let diff_ids = config.rootfs.and_then(|rootfs| rootfs.diff_ids).unwrap_or_default();
            self.add_layers(layout, &layers, &diff_ids);
        } else {
            self.add_layers(layout, &layers, &[]);
        }
        // They stay as long as the image does, but are no part of it.
        let stated_bytes = self.stated_bytes;
        for referrer in crate::referrers::read(layout, digest)? {
            self.add_manifest(layout, &referrer.digest, depth + 1)?;
        }
        self.stated_bytes = stated_bytes;
        for child in manifest.manifests.unwrap_or_default() {
            self.stated_bytes = self.stated_bytes.saturating_add(child.size);
            self.described.insert(child.digest.clone(), child.described(None));
            self.add_manifest(layout, &child.digest, depth + 1)?;
        }
        Ok(())
    }

    fn add_layers(&mut self, layout: &Layout, layers: &[Descriptor], diff_ids: &[DiffId]) {
        for (position, layer) in layers.iter().enumerate() {
            let diff_id = diff_ids.get(position);
            self.described.insert(layer.digest.clone(), layer.described(diff_id));
            if layout.blob(&layer.digest).exists() {
                if self.blobs.insert(layer.digest.clone()) {
                    self.stated_bytes = self.stated_bytes.saturating_add(layer.size);
                }
                self.unpacked_diff_ids.extend(diff_id.cloned());
            } else {
                if self.absent.insert(layer.digest.clone()) {
                    self.stated_bytes = self.stated_bytes.saturating_add(layer.size);
                }
                // An uncompressed layer's digest is its diff ID.
                self.needed_diff_ids.insert(diff_id.cloned().unwrap_or_else(|| DiffId(layer.digest.clone())));
            }
        }
    }

    /// Reads a JSON blob; one that is absent or unreadable is noted and is no error, for removal must go on.
    fn read<T: DeserializeOwned>(&mut self, layout: &Layout, digest: &Digest) -> Result<Option<T>, StoreError> {
        let path = layout.blob(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.absent.insert(digest.clone());
                return Ok(None);
            }
            Err(error) => return Err(StoreError::io("open", path, error)),
        };
        self.blobs.insert(digest.clone());
        let mut bytes = Vec::new();
        file.take(DOCUMENT_SIZE_MAX).read_to_end(&mut bytes).at("read", &path)?;
        let parsed = serde_json::from_slice(&bytes).ok();
        if parsed.is_none() {
            self.unreadable.push(digest.clone());
        }
        Ok(parsed)
    }
}
