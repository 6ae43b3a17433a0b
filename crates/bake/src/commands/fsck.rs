//! `bake fsck`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use bake::cli::FsckArguments;
use bake::error::{CommandError, chain_text};
use bake::ui::colour::Colour;
use bake::ui::measure::size;
use bake::ui::progress::Progress;
use bake::ui::sanitize::sanitize_line;
use bake_exporter::{ExportLayer, LayerContent};
use bake_graph::VertexId;
use bake_oci::{Compression, DiffId, TreeDigest};
use bake_solver::LayerBlob;
use bake_store::{Described, FsckOptions, LostBlob, Snapshot};
use bake_worker::verify_layer;

use super::transfer::{self, exporter, say};
use crate::wiring::{Host, store_failed};

/// Checks and repairs. Ends with 1 when something is left that could not be repaired.
pub(crate) fn run(arguments: &FsckArguments, host: &Host, colour: Colour) -> Result<ExitCode, CommandError> {
    let progress = transfer::progress(false, colour)?;
    let activity = progress.begin(transfer::label("checking the store"));
    let step = activity.id();
    let check = |snapshot: &Snapshot, content: Option<TreeDigest>| verify_layer(snapshot, content, host.format);
    let heal = |lost: &LostBlob| heal(lost, host, &progress, step);
    let images = host.images(BTreeMap::new());
    let is_elsewhere = |diff_id: &DiffId| images.is_left_at_registry(diff_id);
    let options = FsckOptions {
        rebuild: arguments.rebuild,
        repair: true,
        check_snapshot: Some(&check),
        heal_blob: Some(&heal),
        is_elsewhere: Some(&is_elsewhere),
    };
    let report = host.store.fsck(options).map_err(|error| store_failed(&error));
    match &report {
        Ok(_) => activity.done(),
        Err(error) => activity.failed(error.message()),
    }
    progress.finish(None);
    let report = report?;
    let lines = report.problems.iter().map(|problem| {
        let outcome = if problem.repaired { "repaired" } else { "not repaired" };
        format!("{outcome}: {}\n", sanitize_line(&problem.text))
    });
    crate::print(&lines.collect::<String>())?;
    say(&format!(
        "checked {} blobs ({}), {} layers, {} tags: {}",
        report.blobs,
        size(report.blob_bytes),
        report.snapshots,
        report.tags,
        match report.problems.len() {
            0 => "nothing is wrong".to_owned(),
            1 => "1 problem".to_owned(),
            count => format!("{count} problems"),
        }
    ));
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Brings back a blob that an image needs: made again from the layer's directory, from another form of the layer, or
/// fetched from where it came from.
fn heal(lost: &LostBlob, host: &Host, progress: &Progress, step: VertexId) -> Result<(), String> {
    let images = host.images(BTreeMap::new());
    let Some(described) = &lost.described else {
        return images.fetch_manifest_again(&lost.digest, &lost.references).map_err(|error| chain_text(&error));
    };
    if let Some(diff_id) = &described.diff_id
        && remake(lost, diff_id, host)?
    {
        return Ok(());
    }
    let Described { media_type, size_bytes, .. } = described.clone();
    let blob = LayerBlob { media_type, digest: lost.digest.clone(), size: size_bytes };
    let fetched = images.fetch_again(&blob, &lost.references, step, progress);
    fetched.or_else(|error| {
        // Manifests of platforms are no blobs for a registry.
        let manifest = described.diff_id.is_none() && described.media_type.contains("manifest");
        match manifest.then(|| images.fetch_manifest_again(&lost.digest, &lost.references)) {
            Some(Ok(())) => Ok(()),
            _ => Err(chain_text(&error)),
        }
    })
}

/// Makes the blob of a layer from what the store has of it; false if nothing does.
fn remake(lost: &LostBlob, diff_id: &DiffId, host: &Host) -> Result<bool, String> {
    let compression = if lost.digest == diff_id.0 {
        Some(Compression::Uncompressed)
    } else {
        let form = lost.forms.iter().find(|(_, form)| form.digest == lost.digest);
        form.and_then(|(compression, _)| Compression::from_id(compression))
    };
    let Some(compression) = compression else { return Ok(false) };
    let snapshots = host.store.snapshots_by_diff_id(diff_id).map_err(|error| chain_text(&error))?;
    let from_snapshots = snapshots.into_iter().map(|snapshot| LayerContent::Snapshot(snapshot.record.id));
    let other_forms = lost.forms.iter().map(|(_, form)| form).filter(|form| form.digest != lost.digest);
    let from_forms = other_forms.map(|form| LayerContent::Blob(form.clone()));
    for content in from_snapshots.chain(from_forms) {
        let layer = ExportLayer { diff_id: diff_id.clone(), tar_size_bytes: 0, content };
        match exporter(host).remake_blob(&layer, compression, &lost.digest) {
            Ok(()) => return Ok(true),
            // The archive of a layer that somebody else made cannot always be made again.
            Err(error) => tracing::debug!(error = chain_text(&error), digest = %lost.digest, "no source of the layer"),
        }
    }
    Ok(false)
}
