//! Pulling whole images, and finding again what was never fetched.

use bake_graph::{ImageOrigin, ImageSource, VertexId};
use bake_oci::{Digest, ImageConfig, Platform, Reference};
use bake_solver::{EventSink, Layer, LayerBlob};
use bake_store::BlobDescriptor;

use super::{ImageError, Images, Origin, RESOLVED, parse_document};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The part of the store's memory that says where blobs come from which are not in the store.
const BLOB_ORIGIN: &str = "blob origin";

/// What a reference means at its registry, with the layers of one platform's image.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// What the reference names: a manifest, or an index.
    pub descriptor: BlobDescriptor,
    /// The config of the platform's image.
    pub config: ImageConfig,
    /// Its layers, base first; [`Images::fetch`] brings them.
    pub layers: Vec<LayerBlob>,
}

impl Images {
    /// Asks the registry what `reference` means, and brings manifest and config of the image for `platform`. An image that
    /// is no index may be for another platform: the config says so.
    pub fn pull(&self, reference: &Reference, platform: &Platform) -> Result<Pulled, ImageError> {
        let reference = reference.or_latest();
        let resolved = self.network.resolve(&reference)?;
        self.store.put_blob(Some(&resolved.digest), &mut resolved.bytes.as_slice())?;
        let document = parse_document(&reference, &resolved.bytes)?;
        let descriptor = BlobDescriptor {
            media_type: document.media_type(),
            digest: resolved.digest.clone(),
            size_bytes: resolved.bytes.len() as u64,
        };
        let image = self.pin(&reference, platform, document, &resolved.digest, ImageOrigin::Registry)?;
        self.store.remember(RESOLVED, &reference.to_string(), resolved.digest.to_string().as_bytes())?;
        let source = ImageSource { reference: image.reference, manifest: image.manifest, origin: image.origin };
        let layers = self.layers(&source)?.into_iter().filter_map(|layer| layer.blob.clone()).collect();
        Ok(Pulled { descriptor, config: image.config, layers })
    }

    /// Writes down where the blobs of `layers` come from that are not in the store. An image that is built on them and kept
    /// is incomplete until somebody needs them: [`Images::fetch_again`] then finds them. Those of a layout are brought in.
    pub fn remember_origins(
        &self,
        layers: &[Arc<Layer>],
        step: VertexId,
        events: &dyn EventSink,
    ) -> Result<(), ImageError> {
        for layer in layers {
            let Some(blob) = &layer.blob else { continue };
            if layer.is_of_step() {
                self.leave_or_bring(layer, step, events)?;
                continue;
            }
            if self.store.blob_size(&blob.digest)?.is_some() {
                continue;
            }
            let origin = self.origins.lock().unwrap_or_else(PoisonError::into_inner).get(&blob.digest).cloned();
            match origin {
                Some(Origin { reference, origin: ImageOrigin::Registry | ImageOrigin::Store }) => {
                    self.store.remember(BLOB_ORIGIN, &blob.digest.to_string(), reference.as_bytes())?;
                }
                // Only this build knows where the layout is.
                Some(Origin { origin: ImageOrigin::Layout { name }, .. }) => self.copy_from_layout(&name, blob)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Brings a blob into the store that an earlier command left at its registry: the one that was written down, else the
    /// `references` of the image it belongs to.
    pub fn fetch_again(
        &self,
        blob: &LayerBlob,
        references: &[String],
        step: VertexId,
        events: &dyn EventSink,
    ) -> Result<(), ImageError> {
        let known = self.store.recall(BLOB_ORIGIN, &blob.digest.to_string(), Duration::MAX)?;
        let known = known.and_then(|known| String::from_utf8(known.value).ok());
        let mut failure = None;
        for reference in known.iter().chain(references) {
            let origin = Origin { reference: reference.clone(), origin: ImageOrigin::Registry };
            self.origins.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest.clone(), origin);
            match self.fetch(blob, step, events) {
                Ok(()) => return Ok(()),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let missing = || ImageError::MissingBlob { digest: blob.digest.clone(), reference: "an image".into() };
        Err(failure.unwrap_or_else(missing))
    }

    /// Brings a manifest or index into the store that one of the `references` named when it was there.
    pub fn fetch_manifest_again(&self, digest: &Digest, references: &[String]) -> Result<(), ImageError> {
        let mut failure = None;
        for reference in references.iter().filter_map(|reference| Reference::parse(reference).ok()) {
            match self.network.manifest(&reference, digest) {
                Ok(bytes) => {
                    self.store.put_blob(Some(digest), &mut bytes.as_slice())?;
                    return Ok(());
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let missing = || ImageError::MissingBlob { digest: digest.clone(), reference: "an image".into() };
        Err(failure.map_or_else(missing, ImageError::from))
    }
}
