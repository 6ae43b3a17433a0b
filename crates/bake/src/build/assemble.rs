//! Puts the layers, the history and the config of each image together.

use bake::error::{CommandError, ErrorKind};
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
    pub(super) layers: Vec<Layer>,
    pub(super) created: Option<Timestamp>,
}

pub(super) fn assemble(
    plan: &Plan,
    solved: &Solved,
    worker: &LinuxWorker,
    epoch: Option<i64>,
) -> Result<Vec<Assembled>, CommandError> {
    plan.images.iter().map(|image| assemble_one(image, solved, worker, epoch)).collect()
}

fn assemble_one(
    plan: &ImagePlan,
    solved: &Solved,
    worker: &LinuxWorker,
    epoch: Option<i64>,
) -> Result<Assembled, CommandError> {
    let layers = solved.outputs.get(&plan.root).map(|output| output.layers().to_vec()).unwrap_or_default();
    let mut config = plan.config.clone();
    let base = config.rootfs.diff_ids.len().min(layers.len());
    pad_history(&mut config.history, base);

    let epoch = epoch.map(Timestamp::from_seconds);
    let new = &layers[base..];
    let created_of = |layer: &Layer| epoch.or_else(|| layer.created_ns.map(from_nanoseconds));
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
        exported.push(export_layer(layer, worker)?);
    }
    let image = ExportImage { platform: plan.platform.clone(), config, layers: exported };
    Ok(Assembled { image, layers, created })
}

/// A layer of a base by the blob that it came as, a layer made here by its directory.
fn export_layer(layer: &Layer, worker: &LinuxWorker) -> Result<ExportLayer, CommandError> {
    if let (Some(diff_id), Some(blob)) = (&layer.diff_id, &layer.blob) {
        return Ok(ExportLayer {
            diff_id: diff_id.clone(),
            tar_size_bytes: 0,
            content: LayerContent::Blob(BlobDescriptor {
                media_type: blob.media_type.clone(),
                digest: blob.digest.clone(),
                size_bytes: blob.size,
            }),
        });
    }
    let identity = worker.digests().wait(layer).map_err(|error| {
        CommandError::from_error(ErrorKind::Build, &error)
            .hint("`bake fsck` takes damaged layers out of the store, and the next build makes them again")
    })?;
    Ok(ExportLayer {
        diff_id: identity.diff_id,
        tar_size_bytes: identity.tar_size_bytes,
        content: LayerContent::Snapshot(layer.snapshot.clone()),
    })
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
