//! Layers of an imported build cache: brought when they are needed, and from then on layers like those made here.

use bake_graph::VertexId;
use bake_oci::{DiffId, Digest};
use bake_solver::{EventSink, Layer};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bake_graph::ImageOrigin;

use super::{ImageError, Images, Origin, chain_of};

/// The part of the store's memory that says which registry has a step's layer that is not in the store, by diff ID.
const LAYER_ORIGIN: &str = "layer origin";

/// What is remembered of such a layer.
#[derive(Debug, Serialize, Deserialize)]
struct LeftLayer {
    layer: Layer,
    reference: String,
}

impl Images {
    /// Makes sure that those of `layers` that steps made are in the store as directories.
    pub fn bring(&self, layers: &[Arc<Layer>], step: VertexId, events: &dyn EventSink) -> Result<(), ImageError> {
        let mut missing = Vec::new();
        for layer in layers.iter().filter(|layer| layer.is_of_step() && layer.blob.is_some()) {
            if self.store.snapshot(&layer.snapshot)?.is_none() {
                missing.push(Arc::clone(layer));
            }
        }
        let directories = vec![None; missing.len()];
        self.unpack_missing(&missing, directories, step, events).map(|_| ())
    }

    /// Brings the blob of a layer, an image's or an imported one.
    pub fn fetch_layer(&self, layer: &Layer, step: VertexId, events: &dyn EventSink) -> Result<(), ImageError> {
        match &layer.blob {
            Some(blob) => self.or_lost(layer, self.fetch(blob, step, events)),
            None => Ok(()),
        }
    }

    /// The reference under which a registry has a blob, where one does.
    pub fn registry_of(&self, blob: &Digest) -> Option<String> {
        let origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        match origins.get(blob) {
            Some(Origin { reference, origin: ImageOrigin::Registry }) => Some(reference.clone()),
            Some(_) => None,
            None => self.imported.as_ref().and_then(|imported| imported.reference(blob)),
        }
    }

    /// Deals with imported layers that an image of the store is about to name: where a registry has them, that is written
    /// down, as for the layers of base images; from anywhere else they are brought now, because nobody could later.
    pub(super) fn leave_or_bring(
        &self,
        layer: &Layer,
        step: VertexId,
        events: &dyn EventSink,
    ) -> Result<(), ImageError> {
        let (Some(blob), Some(diff_id)) = (&layer.blob, &layer.diff_id) else { return Ok(()) };
        if self.store.snapshot(&layer.snapshot)?.is_some() {
            return Ok(());
        }
        let Some(reference) = self.imported.as_ref().and_then(|imported| imported.reference(&blob.digest)) else {
            return self.bring(&[Arc::new(layer.clone())], step, events);
        };
        let left = LeftLayer { layer: layer.clone(), reference };
        if let Ok(bytes) = serde_json::to_vec(&left) {
            self.store.remember(LAYER_ORIGIN, &diff_id.to_string(), &bytes)?;
        }
        Ok(())
    }

    /// A step's layer that an earlier build left at its registry; its blob can be fetched from now on.
    pub(super) fn left_at_registry(&self, diff_id: &DiffId) -> Result<Option<Layer>, ImageError> {
        let Some(known) = self.store.recall(LAYER_ORIGIN, &diff_id.to_string(), Duration::MAX)? else {
            return Ok(None);
        };
        let Ok(LeftLayer { layer, reference }) = serde_json::from_slice(&known.value) else { return Ok(None) };
        let Some(blob) = &layer.blob else { return Ok(None) };
        let origin = Origin { reference, origin: ImageOrigin::Registry };
        self.origins.lock().unwrap_or_else(PoisonError::into_inner).entry(blob.digest.clone()).or_insert(origin);
        Ok(Some(layer))
    }

    /// Whether an earlier build left a step's layer at its registry.
    pub fn is_left_at_registry(&self, diff_id: &DiffId) -> bool {
        self.left_at_registry(diff_id).is_ok_and(|left| left.is_some())
    }

    /// Brings a step's layer that an earlier build left at its registry; says whether there was one.
    pub fn bring_left(&self, diff_id: &DiffId, step: VertexId, events: &dyn EventSink) -> Result<bool, ImageError> {
        let Some(layer) = self.left_at_registry(diff_id)? else { return Ok(false) };
        self.bring(&[Arc::new(layer)], step, events)?;
        Ok(true)
    }

    /// Tells the import of a layer that cannot be had. A disk that is full, or a build that was cancelled, is not the
    /// import's fault.
    pub(super) fn or_lost<T>(&self, layer: &Layer, result: Result<T, ImageError>) -> Result<T, ImageError> {
        if let (Err(error), Some(imported), true, Some(_)) = (&result, &self.imported, layer.is_of_step(), &layer.blob)
            && !error.is_disk_full()
            && !self.cancelled.load(Ordering::SeqCst)
        {
            imported.lost(layer, &chain_of(error));
        }
        result
    }
}
