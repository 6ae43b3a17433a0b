//! Puts the layers, the history and the config of each image together.

use std::sync::Arc;

use bake::error::{CommandError, ErrorKind};
use bake_cache::{ImageLayerState, Imports, StepResult, put_inline, remove_inline};
use bake_exporter::{ExportImage, ExportLayer, LayerContent};
use bake_frontend::{ImagePlan, Plan};
use bake_oci::{History, Timestamp};
use bake_solver::{Layer, Solved};
use bake_store::BlobDescriptor;
use bake_worker::LinuxWorker;

/// What BuildKit writes into every entry; tools tell by it who wrote the history.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// One image with the layers that it came from.
pub(super) struct Assembled {
    pub(super) image: ExportImage,
    pub(super) layers: Vec<Arc<Layer>>,
    pub(super) created: Option<Timestamp>,
    /// How many of the layers are of the base image.
    pub(super) base_layers: usize,
    /// How many entries of the history are of the base image.
    base_history: usize,
}

impl Assembled {
    /// The image as if it had been made at another time.
    pub(super) fn with_epoch(&self, epoch: Timestamp) -> ExportImage {
        let mut image = self.image.clone();
        let created = Some(epoch.to_rfc3339());
        for entry in image.config.history.iter_mut().skip(self.base_history) {
            entry.created.clone_from(&created);
        }
        image.config.created = created;
        image
    }
}

/// What goes into the config of an image that carries its own results.
pub(super) struct Inline<'a> {
    pub(super) results: &'a [StepResult],
    /// The form of the blobs, where all exports have the same.
    pub(super) compression: Option<String>,
}

pub(super) fn assemble(
    plan: &Plan,
    solved: &Solved,
    worker: &LinuxWorker,
    epoch: Option<i64>,
    inline: Option<&Inline<'_>>,
    imports: &Imports,
) -> Result<Vec<Assembled>, CommandError> {
    plan.images.iter().map(|image| assemble_one(image, solved, worker, epoch, inline, imports)).collect()
}

fn assemble_one(
    plan: &ImagePlan,
    solved: &Solved,
    worker: &LinuxWorker,
    epoch: Option<i64>,
    inline: Option<&Inline<'_>>,
    imports: &Imports,
) -> Result<Assembled, CommandError> {
    let layers = solved.outputs.get(&plan.root).map(|output| output.layers().to_vec()).unwrap_or_default();
    let mut config = plan.config.clone();
    let base = config.rootfs.diff_ids.len().min(layers.len());
    pad_history(&mut config.history, base);
    let base_history = config.history.len();

    let epoch = epoch.map(Timestamp::from_seconds);
    let new = &layers[base..];
    let created_of = |layer: &Arc<Layer>| epoch.or_else(|| layer.created_ns.map(from_nanoseconds));
    // An entry without a layer takes the time of the layer before it, or of the first one.
    let mut current = new.first().and_then(created_of).or(epoch);
    let mut next = new.iter();
    for entry in &plan.history {
        if entry.layer
            && let Some(layer) = next.next()
        {
            current = created_of(layer).or(current);
        }
        config.history.push(History {
            created: current.map(Timestamp::to_rfc3339),
            created_by: entry.created_by.clone(),
            comment: HISTORY_COMMENT.to_owned(),
            empty_layer: !entry.layer,
            ..History::default()
        });
    }
    let last_of_base = plan.config.history.iter().rev().find_map(|entry| entry.created.clone());
    config.created = current.map(Timestamp::to_rfc3339).or(last_of_base);
    let created = config.created.as_deref().and_then(|text| Timestamp::parse_rfc3339(text).ok());

    let mut exported = Vec::with_capacity(layers.len());
    for layer in &layers {
        exported.push(export_layer(layer, worker, imports)?);
    }
    match inline {
        Some(inline) => {
            let state = |(layer, exported): (&Arc<Layer>, &ExportLayer)| ImageLayerState {
                snapshot: layer.snapshot.clone(),
                tar_size_bytes: exported.tar_size_bytes,
            };
            let states: Vec<_> = layers.iter().zip(&exported).map(state).collect();
            put_inline(&mut config, &states, inline.results, inline.compression.clone())
                .map_err(|error| CommandError::from_error(ErrorKind::Build, &error))?;
        }
        // That of the base image speaks of the base image.
        None => remove_inline(&mut config),
    }
    let image = ExportImage { platform: plan.platform.clone(), config, layers: exported };
    Ok(Assembled { image, layers, created, base_layers: base, base_history })
}

/// A layer of a base by the blob that it came as, a layer that a step made by its directory, even if it is not here yet.
fn export_layer(layer: &Layer, worker: &LinuxWorker, imports: &Imports) -> Result<ExportLayer, CommandError> {
    let blob = layer.blob.as_ref().map(|blob| BlobDescriptor {
        media_type: blob.media_type.clone(),
        digest: blob.digest.clone(),
        size_bytes: blob.size,
    });
    if let (false, Some(diff_id), Some(blob)) = (layer.is_of_step(), &layer.diff_id, &blob) {
        let content = LayerContent::Blob(blob.clone());
        return Ok(ExportLayer { diff_id: diff_id.clone(), tar_size_bytes: 0, content });
    }
    let identity = worker.digests().wait(layer).map_err(|error| {
        CommandError::from_error(ErrorKind::Build, &error)
            .hint("`bake fsck` takes damaged layers out of the store, and the next build makes them again")
    })?;
    let snapshot = layer.snapshot.clone();
    let content = match blob {
        Some(blob) if imports.is_elsewhere(layer) => {
            let compression = imports.layer_entry(layer).and_then(|entry| entry.compression);
            LayerContent::Elsewhere { snapshot, blob, compression }
        }
        _ => LayerContent::Snapshot(snapshot),
    };
    Ok(ExportLayer { diff_id: identity.diff_id, tar_size_bytes: identity.tar_size_bytes, content })
}

/// Bases may have fewer history entries than layers (OCI allows it); the new entries must still meet their layers.
fn pad_history(history: &mut Vec<History>, layers: usize) {
    let present = history.iter().filter(|entry| !entry.empty_layer).count();
    for _ in present..layers {
        history.push(History::default());
    }
    // More entries than layers cannot be matched at all.
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer).skip(layers) {
        entry.empty_layer = true;
    }
}

fn from_nanoseconds(nanoseconds: i64) -> Timestamp {
    const SECOND: i64 = 1_000_000_000;
    Timestamp {
        seconds: nanoseconds.div_euclid(SECOND),
        nanoseconds: u32::try_from(nanoseconds.rem_euclid(SECOND)).unwrap_or(0),
    }
}
