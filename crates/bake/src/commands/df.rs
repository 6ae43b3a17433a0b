//! `bake df`.

use bake::cli::{DiskUsageArguments, ListFormat};
use bake::error::CommandError;
use bake::ui::measure::size;
use bake_oci::Timestamp;
use bake_store::{ItemKind, Need, StoreItem, Usage};
use serde::Serialize;

use super::age;
use super::table::{Table, json_lines, shortened};
use crate::wiring::{Host, store_failed};

/// The name of the results of steps.
const RECORDS: &str = "Cache records";

/// How much of a description fits into the table.
const DESCRIPTION_LENGTH: usize = 60;

/// How much of an ID is shown: enough of a digest to be unique.
const ID_LENGTH: usize = 19;

/// The kinds of things with the names people know them by.
const KINDS: [(&str, ItemKind); 7] = [
    ("Image blobs", ItemKind::Blob),
    ("Layers", ItemKind::Snapshot),
    (RECORDS, ItemKind::CacheRecord),
    ("Cache mounts", ItemKind::CacheMount),
    ("File hashes", ItemKind::FileHashes),
    ("Failed steps", ItemKind::FailedStep),
    ("Build logs", ItemKind::BuildLog),
];

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    active: String,
    reclaimable: String,
    reclaimable_bytes: u64,
    size: String,
    size_bytes: u64,
    total_count: String,
    r#type: String,
}

/// One thing, for programs: sizes are in bytes, times in RFC 3339.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Item<'a> {
    created_at: String,
    description: &'a str,
    #[serde(rename = "ID")]
    id: &'a str,
    in_use: bool,
    last_used_at: String,
    reclaimable: bool,
    shared_size: u64,
    size: u64,
    r#type: &'static str,
    unique_size: u64,
}

pub(crate) fn run(arguments: &DiskUsageArguments, host: &Host) -> Result<(), CommandError> {
    let usage = host.store.usage().map_err(|error| store_failed(&error))?;
    let rows = rows(&usage);
    match (arguments.format, arguments.verbose) {
        (ListFormat::Json, false) => return crate::print(&json_lines(&rows)?),
        (ListFormat::Json, true) => {
            let items: Vec<Item<'_>> = usage.items.iter().map(item).collect();
            return crate::print(&json_lines(&items)?);
        }
        (ListFormat::Table, _) => {}
    }
    let mut table = Table::new(&["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    for row in rows {
        table.row([row.r#type, row.total_count, row.active, row.size, row.reclaimable]);
    }
    let mut text = table.render();
    if arguments.verbose {
        text.push('\n');
        text.push_str(&details(&usage.items, Timestamp::now()));
    }
    crate::print(&text)
}

/// One row per kind. Together they are what `du` says of the store's directory.
fn rows(usage: &Usage) -> Vec<Row> {
    let mut rows: Vec<Row> = KINDS.iter().map(|(name, kind)| row(name, *kind, usage)).collect();
    for row in rows.iter_mut().filter(|row| row.r#type == RECORDS) {
        // A result takes no space of its own: only those without layers are items.
        row.total_count = usage.records.to_string();
    }
    rows.push(Row::of("Other", String::new(), String::new(), usage.other_bytes, usage.leftover_bytes));
    let items = usage.items.len().to_string();
    rows.push(Row::of("Total", items, String::new(), usage.total_bytes, usage.reclaimable_bytes));
    rows
}

fn row(name: &str, kind: ItemKind, usage: &Usage) -> Row {
    let of_kind = || usage.items.iter().filter(|item| item.kind == kind);
    let active = of_kind().filter(|item| item.need > Need::UnpackedImage).count();
    let bytes: u64 = of_kind().map(|item| item.counted_bytes).sum();
    let reclaimable = usage.reclaimable_by_kind.get(&kind).copied().unwrap_or(0);
    Row::of(name, of_kind().count().to_string(), active.to_string(), bytes, reclaimable)
}

impl Row {
    fn of(name: &str, total_count: String, active: String, size_bytes: u64, reclaimable_bytes: u64) -> Self {
        Self {
            active,
            reclaimable: share(reclaimable_bytes, size_bytes),
            reclaimable_bytes,
            size: size(size_bytes),
            size_bytes,
            total_count,
            r#type: name.to_owned(),
        }
    }
}

/// All things, as `docker system df --verbose` lists them: what is shared goes only with the last that shares it.
fn details(items: &[StoreItem], now: Timestamp) -> String {
    let mut table =
        Table::new(&["TYPE", "ID", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CREATED", "LAST USED", "USE", "DESCRIPTION"]);
    for item in items {
        let id = item.id.strip_prefix("sha256:").unwrap_or(&item.id);
        let need = match item.need {
            Need::Cache => "cache",
            Need::UnpackedImage => "unpacked",
            Need::Image => "image",
            Need::InUse => "in use",
        };
        table.row([
            item.kind.name().to_owned(),
            id.chars().take(ID_LENGTH).collect(),
            size(item.size_bytes),
            size(item.shared_bytes),
            size(item.size_bytes.saturating_sub(item.shared_bytes)),
            age::ago(time(item.created_unix_s), now),
            age::ago(time(item.used_unix_s), now),
            need.to_owned(),
            shortened(&item.description, DESCRIPTION_LENGTH),
        ]);
    }
    table.render()
}

fn item(item: &StoreItem) -> Item<'_> {
    Item {
        created_at: age::exact(time(item.created_unix_s)),
        description: &item.description,
        id: &item.id,
        in_use: item.need == Need::InUse,
        last_used_at: age::exact(time(item.used_unix_s)),
        reclaimable: item.need <= Need::UnpackedImage,
        shared_size: item.shared_bytes,
        size: item.size_bytes,
        r#type: item.kind.name(),
        unique_size: item.size_bytes.saturating_sub(item.shared_bytes),
    }
}

/// Zero stands for a time that is not known.
fn time(unix_s: i64) -> Option<Timestamp> {
    (unix_s != 0).then(|| Timestamp::from_seconds(unix_s))
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
        assert_eq!(row("Layers", ItemKind::Snapshot, &Usage::default()).reclaimable, "0B");
    }

    #[test]
    fn what_has_no_kind_has_a_row_too() {
        let usage = Usage { other_bytes: 1000, leftover_bytes: 100, total_bytes: 1000, ..Usage::default() };
        let rows = rows(&usage);
        let other = rows.iter().find(|row| row.r#type == "Other").expect("what has no kind has a row");
        assert_eq!((other.size.as_str(), other.reclaimable.as_str()), ("1.00kB", "100B (10%)"));
    }
}
