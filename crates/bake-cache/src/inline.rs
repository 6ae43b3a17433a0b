//! A cache in the config of the image itself: only records; the layers are those of the image.
//!
//! ```text
//! "bake.cache.v1": {
//!   "layers":  [ {"position", "tree", "created", "tarSize", "copied"} ],
//!   "compression": the form of their blobs,
//!   "records": [ {"keys", "definition", "description", "layer"} ]
//! }
//! ```
//!
//! `position` counts the image's layers from 0, base first; everything else is as in [`crate::document`]. The parts of
//! keys are left out: they only serve explanations, and a config is read by everybody who runs the image. So are traces, which
//! name files of the build context.

use bake_oci::manifest::descriptor_digest;
use bake_oci::{Descriptor, ImageConfig, ImageManifest, SnapshotId, TreeDigest};
use bake_solver::CopiedLayer;
use serde::{Deserialize, Serialize};

use crate::document::{BlobEntry, Document, DocumentError, LayerEntry, RecordEntry, StepResult};

/// The field of the config.
pub const INLINE_FIELD: &str = "bake.cache.v1";

#[derive(Debug, Serialize, Deserialize)]
struct Inline {
    layers: Vec<InlineLayer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compression: Option<String>,
    records: Vec<RecordEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InlineLayer {
    position: usize,
    tree: TreeDigest,
    created: i64,
    tar_size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    copied: Option<CopiedLayer>,
}

/// One layer of an image that is about to be assembled.
#[derive(Debug, Clone)]
pub struct ImageLayerState {
    /// Its name in the store.
    pub snapshot: SnapshotId,
    /// The size of its archive in bytes.
    pub tar_size_bytes: u64,
}

/// Puts the results of an image's layers (base first) into its config; takes out what a base image had there.
/// `compression` names the form of the blobs of steps' layers, where all exports of the image have the same.
pub fn put_inline(
    config: &mut ImageConfig,
    layers: &[ImageLayerState],
    results: &[StepResult],
    compression: Option<String>,
) -> Result<(), DocumentError> {
    let mut inline = Inline { layers: Vec::new(), compression, records: Vec::new() };
    for (position, layer) in layers.iter().enumerate() {
        let mut made: Vec<&StepResult> = results
            .iter()
            .filter(|result| result.layer.snapshot == layer.snapshot && !result.keys.is_empty())
            .collect();
        let Some(first) = made.first() else { continue };
        inline.layers.push(InlineLayer {
            position,
            tree: first.layer.tree,
            created: first.layer.created_ns.unwrap_or(0),
            tar_size: layer.tar_size_bytes,
            copied: first.layer.copied,
        });
        made.sort_by(|a, b| a.keys.cmp(&b.keys));
        inline.records.extend(made.into_iter().map(|result| RecordEntry {
            keys: result.keys.clone(),
            definition: result.definition,
            description: result.description.clone(),
            components: Vec::new(),
            layer: inline.layers.len() - 1,
            traces: Vec::new(),
        }));
    }
    let json = |source| DocumentError::Json(bake_oci::JsonError::Write { source });
    config.extra.insert(INLINE_FIELD.to_owned(), serde_json::to_value(&inline).map_err(json)?);
    Ok(())
}

/// Takes out what a base image had.
pub fn remove_inline(config: &mut ImageConfig) {
    config.extra.remove(INLINE_FIELD);
}

/// The document that an image with an inline cache stands for; `None` for an image without.
pub(crate) fn document_of(config: &ImageConfig, manifest: &ImageManifest) -> Result<Option<Document>, DocumentError> {
    let Some(value) = config.extra.get(INLINE_FIELD) else { return Ok(None) };
    let syntax = |source| DocumentError::Json(bake_oci::JsonError::Syntax { what: "inline cache", source });
    let inline: Inline = serde_json::from_value(value.clone()).map_err(syntax)?;
    let mut document = Document::new(&[], Vec::new());
    for layer in inline.layers {
        let entry = manifest.layers().get(layer.position).zip(config.rootfs.diff_ids.get(layer.position));
        let Some((descriptor, diff_id)) = entry else {
            return Err(DocumentError::Invalid(format!("the image has no layer {}", layer.position)));
        };
        document.layers.push(LayerEntry {
            diff_id: diff_id.clone(),
            tar_size: layer.tar_size,
            tree: layer.tree,
            created: layer.created,
            blob: blob_of(descriptor)?,
            copied: layer.copied,
            compression: inline.compression.clone(),
        });
    }
    document.records = inline.records;
    // Checks everything that came from outside.
    Document::parse(&document.to_bytes()?).map(Some)
}

fn blob_of(descriptor: &Descriptor) -> Result<BlobEntry, DocumentError> {
    let digest = descriptor_digest(descriptor).map_err(|error| DocumentError::Invalid(error.to_string()))?;
    Ok(BlobEntry { media_type: descriptor.media_type().to_string(), digest, size: descriptor.size() })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::collections::BTreeMap;

    use bake_oci::manifest::descriptor;
    use bake_oci::{CacheKey, DefinitionDigest, DiffId, Digest, Image, ImageLayer, Platform, media_type};
    use bake_solver::Layer;

    use super::*;

    fn layer(name: &str) -> Layer {
        Layer {
            snapshot: SnapshotId::new(&format!("step-{name}")).unwrap(),
            tree: TreeDigest::of(name.as_bytes()),
            diff_id: None,
            tar_size_bytes: None,
            blob: None,
            created_ns: Some(5),
            copied: None,
        }
    }

    fn result(name: &str) -> StepResult {
        StepResult {
            layer: layer(name),
            keys: vec![CacheKey::of(name.as_bytes())],
            definition: DefinitionDigest::of(name.as_bytes()),
            description: name.to_owned(),
            components: Vec::new(),
            traces: Vec::new(),
        }
    }

    fn state(name: &str) -> ImageLayerState {
        ImageLayerState { snapshot: layer(name).snapshot, tar_size_bytes: 1024 }
    }

    /// An image of a base layer and two steps' layers, whose config `change` has gone over.
    fn image(change: impl FnOnce(&mut ImageConfig)) -> Image {
        let mut config = ImageConfig::for_platform(&Platform::host());
        let states = [state("base"), state("one"), state("two")];
        put_inline(&mut config, &states, &[result("two"), result("one"), result("other")], Some("gzip-4".into()))
            .unwrap();
        change(&mut config);
        let layers = ["base", "one", "two"].map(|name| ImageLayer {
            diff_id: DiffId(Digest::of(name.as_bytes())),
            descriptor: descriptor(media_type::OCI_LAYER_GZIP, &Digest::of(format!("{name} blob").as_bytes()), 9),
        });
        Image::assemble(config, layers.to_vec(), BTreeMap::new()).unwrap()
    }

    #[test]
    fn an_image_stands_for_a_document_of_its_own_layers() {
        let image = image(|_| {});
        let config = ImageConfig::parse(&image.config_bytes).unwrap();
        let document = document_of(&config, &image.manifest).unwrap().unwrap();
        assert_eq!((document.layers.len(), document.records.len()), (2, 2));
        for record in &document.records {
            let layer = &document.layers[record.layer];
            assert_eq!(layer.diff_id, DiffId(Digest::of(record.description.as_bytes())));
            assert_eq!(layer.blob.digest, Digest::of(format!("{} blob", record.description).as_bytes()));
            assert_eq!(layer.compression.as_deref(), Some("gzip-4"));
        }
        assert!(document_of(&ImageConfig::default(), &image.manifest).unwrap().is_none());
    }

    #[test]
    fn hostile_configs_are_refused() {
        let wrong: [fn(&mut serde_json::Value); 5] = [
            |value| value["layers"][0]["position"] = 3.into(),
            |value| value["records"][0]["layer"] = 2.into(),
            |value| value["layers"][0]["tree"] = "x".into(),
            |value| value["records"][0]["keys"] = serde_json::json!([]),
            |value| *value = serde_json::json!([]),
        ];
        for (number, change) in wrong.into_iter().enumerate() {
            let image = image(|config| change(config.extra.get_mut(INLINE_FIELD).unwrap()));
            assert!(document_of(&image.config, &image.manifest).is_err(), "change {number}");
        }
    }
}
