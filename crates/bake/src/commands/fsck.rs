//! `bake fsck`.

use std::process::ExitCode;

use bake::cli::FsckArguments;
use bake::error::{CommandError, chain_text};
use bake::ui::measure::size;
use bake::ui::sanitize::sanitize_line;
use bake_oci::TreeDigest;
use bake_snapshot::{LayerFormat, digest_layer};
use bake_store::{FsckOptions, Snapshot};

use super::transfer::say;
use crate::wiring::{Host, store_failed};

/// Checks and repairs. Ends with 1 when something is left that could not be repaired.
pub(crate) fn run(arguments: &FsckArguments, host: &Host) -> Result<ExitCode, CommandError> {
    let check = |snapshot: &Snapshot| check_snapshot(snapshot, host.format);
    let options = FsckOptions { rebuild: arguments.rebuild, repair: true, check_snapshot: Some(&check) };
    let report = host.store.fsck(options).map_err(|error| store_failed(&error))?;
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

/// Compares the files of a layer with what is known of them.
fn check_snapshot(snapshot: &Snapshot, format: LayerFormat) -> Result<(), String> {
    let found = digest_layer(&snapshot.path, format).map_err(|error| chain_text(&error))?;
    let record = &snapshot.record;
    // The layers of images are known by their diff ID; their tree digest stands for that and not for the files.
    if let Some(diff_id) = &record.diff_id
        && record.tree == TreeDigest::of(format!("image layer {diff_id}").as_bytes())
    {
        if found.size_bytes == record.size_bytes {
            return Ok(());
        }
        return Err(format!("its files have {} bytes, not {}", found.size_bytes, record.size_bytes));
    }
    if found.tree == record.tree {
        return Ok(());
    }
    Err(format!("its files have the tree digest {}, not {}", found.tree, record.tree))
}
