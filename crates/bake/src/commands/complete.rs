//! Brings an image of the store into a form that can leave it: every layer as a blob.
//!
//! A layer that a step made exists as a directory only, and one of a base image may never have been fetched. An image
//! whose layers are all there as blobs leaves the store byte for byte; any other one gets a new manifest, with the same
//! config where bake wrote it, so the image ID stays.

use std::collections::{BTreeMap, HashMap};

use bake::error::CommandError;
use bake::ui::progress::Progress;
use bake_exporter::{
    AnnotationLevel, Annotations, ExportCompression, ExportImage, ExportLayer, ImageOptions, LayerContent, Stored,
};
use bake_graph::VertexId;
use bake_oci::manifest::{descriptor_digest, descriptor_platform};
use bake_oci::media_type::{DOCKER_MANIFEST, Family};
use bake_oci::{DiffId, ImageLayer, Platform};
use bake_solver::LayerBlob;
use bake_store::{BlobDescriptor, Snapshot};
use bake_worker::Images;

use super::stored::{PlatformImage, StoredImage};
use super::transfer::{export_failed, exporter, image_failed, side_by_side};
use crate::wiring::{Host, store_failed};

/// The image with all its layers as blobs in the store.
pub(super) fn with_blobs(
    image: &StoredImage,
    host: &Host,
    progress: &Progress,
    step: VertexId,
) -> Result<Stored, CommandError> {
    image.hold(&host.store)?;
    let images = host.images(BTreeMap::new());
    let mut exported = Vec::with_capacity(image.platforms.len());
    let mut verbatim = true;
    for platform in &image.platforms {
        let layers = layers(image, platform, host, &images, progress, step)?;
        let as_blobs = layers.iter().all(|layer| matches!(layer.content, LayerContent::Blob(_)));
        verbatim &= as_blobs;
        exported.push(ExportImage { platform: platform.config.platform(), config: platform.config.clone(), layers });
    }
    if verbatim {
        let images: Vec<_> = image.platforms.iter().map(PlatformImage::verbatim).collect();
        // Of an index with a single platform in the store, that platform is all there is to give.
        let descriptor = match image.platforms.as_slice() {
            [only] => only.descriptor.clone(),
            _ => image.target.clone(),
        };
        return Ok(Stored::new(descriptor, images));
    }
    let options = documents_of(image);
    exporter(host).with_blobs(&exported, ExportCompression::default(), &options).map_err(|error| export_failed(&error))
}

/// The annotations and media types that the documents of an image have now.
fn documents_of(image: &StoredImage) -> ImageOptions {
    let mut annotations = Annotations::default();
    let mut add = |level, platform: Option<&Platform>, of: Option<&HashMap<String, String>>| {
        for (key, value) in of.into_iter().flatten() {
            annotations.add(level, platform.cloned(), key, value);
        }
    };
    for platform in &image.platforms {
        let its = platform.config.platform();
        add(AnnotationLevel::Manifest, Some(&its), platform.manifest.annotations().as_ref());
    }
    // One image out of several leaves without the index that it was in.
    if let Some(index) = image.index.as_ref().filter(|index| index.manifests().len() == image.platforms.len()) {
        add(AnnotationLevel::Index, None, index.annotations().as_ref());
        for descriptor in index.manifests() {
            let platform = descriptor_platform(descriptor);
            add(AnnotationLevel::ManifestDescriptor, platform.as_ref(), descriptor.annotations().as_ref());
        }
    }
    let media_type = image.image().manifest.media_type().as_ref().map(AsRef::as_ref);
    let family = if media_type == Some(DOCKER_MANIFEST) { Family::Docker } else { Family::Oci };
    ImageOptions { family, annotations }
}

/// Where the bytes of each layer are; what is nowhere in the store is fetched.
fn layers(
    image: &StoredImage,
    platform: &PlatformImage,
    host: &Host,
    images: &Images,
    progress: &Progress,
    step: VertexId,
) -> Result<Vec<ExportLayer>, CommandError> {
    let mut layers = Vec::with_capacity(platform.layers.len());
    let mut missing = Vec::new();
    for layer in &platform.layers {
        let blob = blob(layer)?;
        let there = host.store.blob_size(&blob.digest).map_err(|error| store_failed(&error))?.is_some();
        let made = if there { None } else { made_by_step(images, &layer.diff_id, progress, step)? };
        if !there && made.is_none() {
            missing.push(blob.clone());
        }
        let as_blob = || LayerContent::Blob(descriptor(&blob));
        let content = made.map_or_else(as_blob, |snapshot| LayerContent::Snapshot(snapshot.record.id));
        layers.push(ExportLayer { diff_id: layer.diff_id.clone(), tar_size_bytes: layer.descriptor.size(), content });
    }
    fetch(&missing, image, images, progress, step)?;
    Ok(layers)
}

/// Fetches blobs that an image lacks from where they came from.
pub(super) fn fetch(
    blobs: &[LayerBlob],
    image: &StoredImage,
    images: &Images,
    progress: &Progress,
    step: VertexId,
) -> Result<(), CommandError> {
    let references: Vec<String> = image.references.iter().map(ToString::to_string).collect();
    side_by_side(blobs, |blob| images.fetch_again(blob, &references, step, progress)).map_err(|error| {
        image_failed(&error)
            .context(format!("a layer of `{}` is not in the store, and cannot be fetched", image.name()))
            .hint("pull the image, or the base image it was built from, again")
    })
}

/// The layer as its manifest names it.
pub(super) fn blob(layer: &ImageLayer) -> Result<LayerBlob, CommandError> {
    let digest = descriptor_digest(&layer.descriptor).map_err(|error| CommandError::build(error.to_string()))?;
    Ok(LayerBlob { media_type: layer.descriptor.media_type().to_string(), digest, size: layer.descriptor.size() })
}

fn descriptor(blob: &LayerBlob) -> BlobDescriptor {
    BlobDescriptor { media_type: blob.media_type.clone(), digest: blob.digest.clone(), size_bytes: blob.size }
}

/// The directory of a layer that a step made, here or on another machine; one that was left at a registry is brought.
pub(super) fn made_by_step(
    images: &Images,
    diff_id: &DiffId,
    progress: &Progress,
    step: VertexId,
) -> Result<Option<Snapshot>, CommandError> {
    let made = || images.made_by_step(diff_id).map_err(|error| image_failed(&error));
    match made()? {
        Some(snapshot) => Ok(Some(snapshot)),
        None if images.bring_left(diff_id, step, progress).map_err(|error| image_failed(&error))? => made(),
        None => Ok(None),
    }
}
