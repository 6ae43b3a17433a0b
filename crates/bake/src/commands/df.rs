//! `bake df`.

use bake::cli::{DiskUsageArguments, ListFormat};
use bake::error::CommandError;
use bake::ui::measure::size;
use bake_store::{ItemKind, Need, StoreItem};
use serde::Serialize;

use super::table::{Table, json_lines};
use crate::wiring::{Host, store_failed};

/// The name of the results of steps.
const RECORDS: &str = "Cache records";

/// The kinds of things with the names people know them by.
const KINDS: [(&str, ItemKind); 5] = [
    ("Image blobs", ItemKind::Blob),
    ("Layers", ItemKind::Snapshot),
    (RECORDS, ItemKind::CacheRecord),
    ("Cache mounts", ItemKind::CacheMount),
    ("File hashes", ItemKind::FileHashes),
];

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    active: String,
    reclaimable: String,
    size: String,
    total_count: String,
    r#type: String,
}

pub(crate) fn run(arguments: &DiskUsageArguments, host: &Host) -> Result<(), CommandError> {
    let usage = host.store.usage().map_err(|error| store_failed(&error))?;
    let mut rows: Vec<Row> = KINDS.iter().map(|(name, kind)| row(name, *kind, &usage.items)).collect();
    for row in rows.iter_mut().filter(|row| row.r#type == RECORDS) {
        // A result takes no space of its own: only those without layers are items.
        row.total_count = usage.records.to_string();
    }
    if arguments.format == ListFormat::Json {
        return crate::print(&json_lines(&rows)?);
    }
    let mut table = Table::new(&["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    for row in rows {
        table.row([row.r#type, row.total_count, row.active, row.size, row.reclaimable]);
    }
    let total = share(usage.reclaimable_bytes, usage.total_bytes);
    table.row(["Total".to_owned(), usage.items.len().to_string(), String::new(), size(usage.total_bytes), total]);
    crate::print(&table.render())
}

fn row(name: &str, kind: ItemKind, items: &[StoreItem]) -> Row {
    let of_kind = || items.iter().filter(|item| item.kind == kind);
    let active = |item: &&StoreItem| item.need > Need::UnpackedImage;
    let bytes: u64 = of_kind().map(|item| item.size_bytes).sum();
    let needed: u64 = of_kind().filter(active).map(|item| item.size_bytes).sum();
    Row {
        active: of_kind().filter(active).count().to_string(),
        reclaimable: share(bytes - needed, bytes),
        size: size(bytes),
        total_count: of_kind().count().to_string(),
        r#type: name.to_owned(),
    }
}

/// `1.20GB (45%)`.
fn share(part: u64, whole: u64) -> String {
    match (u128::from(part) * 100).checked_div(u128::from(whole)) {
        Some(percent) => format!("{} ({percent}%)", size(part)),
        None => size(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_in_percent() {
        assert_eq!(share(500, 1000), "500B (50%)");
        assert_eq!(share(0, 0), "0B");
        assert_eq!(share(u64::MAX, u64::MAX), "18446PB (100%)");
        assert_eq!(row("Layers", ItemKind::Snapshot, &[]).reclaimable, "0B");
    }
}
