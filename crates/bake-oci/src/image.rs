//! Puts an image together: config and layers become the exact bytes of a config and a manifest.

use std::collections::{BTreeMap, HashMap};

use oci_spec::image::ImageManifestBuilder;

use crate::config::{ConfigError, ImageConfig};
use crate::digest::{DiffId, Digest};
use crate::layer::compress::CompressedLayer;
use crate::manifest::{
    Descriptor, Document, ImageIndex, ImageManifest, LAYERS_MAX, ManifestError, descriptor, index_bytes,
    manifest_bytes, set_descriptor_platform,
};
use crate::media_type::{self, Family};
use crate::platform::Platform;

/// Why an image cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The config cannot be written, or is longer than others would read.
    #[error("Failed to write the image config")]
    Config(#[from] ConfigError),
    /// The manifest or index cannot be written, or is not one others would accept.
    #[error("Failed to write the manifest")]
    Manifest(#[from] ManifestError),
    /// The history has another number of layers than the image.
    #[error("the history has {history} entries with a layer, the image has {layers} layers")]
    History {
        /// Entries that stand for a layer.
        history: usize,
        /// Layers.
        layers: usize,
    },
    /// More layers than any engine mounts.
    #[error("the image has {0} layers, more than the limit of {LAYERS_MAX}")]
    TooManyLayers(usize),
}

/// A layer of an image: its blob, and what it decompresses to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    /// The digest of the uncompressed archive.
    pub diff_id: DiffId,
    /// The blob: media type, digest, size, annotations.
    pub descriptor: Descriptor,
}

impl From<&CompressedLayer> for ImageLayer {
    fn from(layer: &CompressedLayer) -> Self {
        let descriptor = descriptor(layer.media_type, &layer.digest, layer.size_bytes);
        Self { diff_id: layer.diff_id.clone(), descriptor }
    }
}

/// An image for one platform. Its digests were taken once, from the bytes it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The config, with the diff IDs of the layers.
    pub config: ImageConfig,
    /// The bytes of the config blob.
    pub config_bytes: Vec<u8>,
    /// The digest of the config blob: the image ID.
    pub config_digest: Digest,
    /// The layers, base first.
    pub layers: Vec<ImageLayer>,
    /// The manifest.
    pub manifest: ImageManifest,
    /// The bytes of the manifest.
    pub manifest_bytes: Vec<u8>,
    /// The digest of the manifest.
    pub digest: Digest,
}

impl Image {
    /// Puts an image together in OCI's media types. The config's diff IDs are set from `layers`; its history, if it
    /// has any, must have an entry for each layer. `annotations` are the manifest's.
    pub fn assemble(
        config: ImageConfig,
        layers: Vec<ImageLayer>,
        annotations: BTreeMap<String, String>,
    ) -> Result<Self, ImageError> {
        Self::assemble_in(Family::Oci, config, layers, annotations)
    }

    /// As [`Image::assemble`], in the media types of `family`; the layers' media types are changed to that family.
    /// Docker's manifests have no annotations: with that family they are dropped.
    pub fn assemble_in(
        family: Family,
        mut config: ImageConfig,
        mut layers: Vec<ImageLayer>,
        annotations: BTreeMap<String, String>,
    ) -> Result<Self, ImageError> {
        if layers.len() > LAYERS_MAX {
            return Err(ImageError::TooManyLayers(layers.len()));
        }
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let history = config.history_layers();
        if !config.history.is_empty() && history != layers.len() {
            return Err(ImageError::History { history, layers: layers.len() });
        }
        for layer in &mut layers {
            let name = media_type::in_family(layer.descriptor.media_type().as_ref(), family).to_owned();
            layer.descriptor.set_media_type(name.as_str().into());
        }
        let config_bytes = config.to_bytes()?;
        // Others read what we write within the same limits as we do.
        ImageConfig::parse(&config_bytes)?;
        let config_digest = Digest::of(&config_bytes);

        let mut manifest = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .media_type(family.manifest())
            .config(descriptor(family.config(), &config_digest, config_bytes.len() as u64))
            .layers(layers.iter().map(|layer| layer.descriptor.clone()).collect::<Vec<_>>())
            .build()
            .expect("every field that must be set is set");
        let annotations: HashMap<String, String> = annotations.into_iter().collect();
        manifest.set_annotations(Some(annotations).filter(|map| !map.is_empty() && family == Family::Oci));
        let bytes = manifest_bytes(&manifest)?;
        Document::parse(&bytes, Some(family.manifest()))?;
        let digest = Digest::of(&bytes);
        Ok(Self { config, config_bytes, config_digest, layers, manifest, manifest_bytes: bytes, digest })
    }

    /// A descriptor of the manifest, as an index holds it; `platform` is left out of single-platform indexes.
    pub fn descriptor(&self, platform: Option<&Platform>) -> Descriptor {
        let media_type = self.manifest.media_type().as_ref().map_or(media_type::OCI_MANIFEST, AsRef::as_ref);
        let mut descriptor = descriptor(media_type, &self.digest, self.manifest_bytes.len() as u64);
        if let Some(platform) = platform {
            set_descriptor_platform(&mut descriptor, platform);
        }
        descriptor
    }

    /// What the image runs on.
    pub fn platform(&self) -> Platform {
        self.config.platform()
    }

    /// The sum of the sizes of the layers' blobs, the config and the manifest, in bytes.
    pub fn size_bytes(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(|layer| layer.descriptor.size()).sum();
        layers + self.config_bytes.len() as u64 + self.manifest_bytes.len() as u64
    }
}

/// An index over several images: its bytes and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembledIndex {
    /// The index.
    pub index: ImageIndex,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The digest of its bytes.
    pub digest: Digest,
}

impl AssembledIndex {
    /// A descriptor of the index.
    pub fn descriptor(&self) -> Descriptor {
        let media_type = self.index.media_type().as_ref().map_or(media_type::OCI_INDEX, AsRef::as_ref);
        descriptor(media_type, &self.digest, self.bytes.len() as u64)
    }
}

/// Puts an index together from descriptors with their platforms, in the order given.
pub fn assemble_index(
    family: Family,
    manifests: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
) -> Result<AssembledIndex, ImageError> {
    let mut index = ImageIndex::default();
    index.set_schema_version(2);
    index.set_media_type(Some(family.index().into()));
    index.set_manifests(manifests);
    let annotations: HashMap<String, String> = annotations.into_iter().collect();
    index.set_annotations(Some(annotations).filter(|map| !map.is_empty() && family == Family::Oci));
    let bytes = index_bytes(&index)?;
    Document::parse(&bytes, Some(family.index()))?;
    let digest = Digest::of(&bytes);
    Ok(AssembledIndex { index, bytes, digest })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;
    use crate::config::History;

    fn layer(content: &[u8]) -> ImageLayer {
        let digest = Digest::of(content);
        ImageLayer {
            diff_id: DiffId(digest.clone()),
            descriptor: descriptor(media_type::OCI_LAYER_GZIP, &digest, content.len() as u64),
        }
    }

    fn config() -> ImageConfig {
        let mut config = ImageConfig::for_platform(&Platform::new("linux", "amd64", None));
        config.history = vec![
            History { created_by: "COPY a /".to_owned(), ..History::default() },
            History { created_by: "ENV A=1".to_owned(), empty_layer: true, ..History::default() },
        ];
        config
    }

    #[test]
    fn equal_inputs_give_equal_bytes() {
        let annotations: BTreeMap<_, _> = (0..20).map(|n| (format!("key{n}"), format!("value{n}"))).collect();
        let first = Image::assemble(config(), vec![layer(b"a")], annotations.clone()).unwrap();
        for _ in 0..10 {
            assert_eq!(Image::assemble(config(), vec![layer(b"a")], annotations.clone()).unwrap(), first);
        }
        assert_eq!(first.digest, Digest::of(&first.manifest_bytes));
        assert_eq!(first.config_digest, Digest::of(&first.config_bytes));
        assert_eq!(first.config.rootfs.diff_ids, [layer(b"a").diff_id]);
        assert_eq!(first.descriptor(None).size(), first.manifest_bytes.len() as u64);
    }

    #[test]
    fn history_and_layers_must_agree() {
        let error = Image::assemble(config(), Vec::new(), BTreeMap::new()).unwrap_err();
        assert!(matches!(error, ImageError::History { history: 1, layers: 0 }));
        assert!(Image::assemble(ImageConfig::default(), vec![layer(b"a")], BTreeMap::new()).is_ok());
    }

    #[test]
    fn dockers_family_is_consistent() {
        let image = Image::assemble_in(Family::Docker, config(), vec![layer(b"a")], BTreeMap::new()).unwrap();
        assert_eq!(image.descriptor(None).media_type().as_ref(), media_type::DOCKER_MANIFEST);
        assert_eq!(image.manifest.config().media_type().as_ref(), media_type::DOCKER_CONFIG);
        assert_eq!(image.layers[0].descriptor.media_type().as_ref(), media_type::DOCKER_LAYER_GZIP);
    }

    #[test]
    fn an_index_lists_platforms() {
        let image = Image::assemble(config(), vec![layer(b"a")], BTreeMap::new()).unwrap();
        let entries = ["linux/amd64", "linux/arm/v7"]
            .map(|platform| image.descriptor(Some(&Platform::parse(platform).unwrap())))
            .to_vec();
        let assembled = assemble_index(Family::Oci, entries.clone(), BTreeMap::new()).unwrap();
        assert_eq!(assembled, assemble_index(Family::Oci, entries, BTreeMap::new()).unwrap());
        let found = crate::manifest::select_manifest(&assembled.index, &Platform::parse("linux/arm").unwrap()).unwrap();
        assert_eq!(found.digest().as_ref(), image.digest.to_string());
    }
}
