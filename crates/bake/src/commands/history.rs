//! `bake history`.

use bake::cli::HistoryArguments;
use bake::error::CommandError;
use bake::ui::measure::size;
use bake_oci::{History, Timestamp};
use bake_store::Store;
use serde::Serialize;

use super::stored::{self, PlatformImage};
use super::table::{Table, shortened};
use super::{age, complete, listing, table, transfer};
use crate::wiring::{Host, store_failed};

/// How much of an instruction fits into the table.
const CREATED_BY_LENGTH: usize = 45;
/// What stands for the ID of all entries but the newest: they are no images of their own.
const MISSING: &str = "<missing>";

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    comment: String,
    created_at: String,
    created_by: String,
    created_since: String,
    #[serde(rename = "ID")]
    id: String,
    size: String,
}

/// What stands above the fields in a table by a template.
const HEADINGS: &[(&str, &str)] = &[
    ("Comment", "COMMENT"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("CreatedSince", "CREATED"),
    ("ID", "IMAGE"),
    ("Size", "SIZE"),
];

pub(crate) fn run(arguments: &HistoryArguments, host: &Host) -> Result<(), CommandError> {
    // Without a command for past builds there is an image.
    let name = arguments.image.as_deref().unwrap_or_default();
    let platform = transfer::platform(arguments.platform.as_deref())?;
    let found = stored::find(&host.store, name)?.for_platform(platform.as_ref())?;
    let image = found.image();
    let sizes = layer_sizes(image, &host.store.with_new_lease())?;
    let id = if arguments.no_trunc { image.config_digest.to_string() } else { image.config_digest.short().to_owned() };
    let form = Form { full: arguments.no_trunc, human: arguments.human, now: Timestamp::now() };
    let rows = rows(&image.config.history, &sizes, &id, &form);
    if arguments.quiet {
        return crate::print(&table::lines(rows.iter().map(|row| row.id.as_str())));
    }
    let text = listing::render(&rows, HEADINGS, &arguments.format, || {
        let created = if arguments.human { "CREATED" } else { "CREATED AT" };
        let mut table = Table::new(&["IMAGE", created, "CREATED BY", "SIZE", "COMMENT"]);
        for row in rows.iter().cloned() {
            let created = if arguments.human { row.created_since } else { row.created_at };
            table.row([row.id, created, row.created_by, row.size, row.comment]);
        }
        table
    });
    crate::print(&text?)
}

/// How rows are told.
struct Form {
    /// Nothing is cut.
    full: bool,
    /// Sizes and times are for people.
    human: bool,
    now: Timestamp,
}

/// The size of each layer's files where it is unpacked, else that of its blob.
fn layer_sizes(image: &PlatformImage, store: &Store) -> Result<Vec<u64>, CommandError> {
    let size = |layer| -> Result<u64, CommandError> {
        let blob = complete::blob(layer)?;
        let snapshots = store.snapshots_by_diff_id(&layer.diff_id).map_err(|error| store_failed(&error))?;
        Ok(snapshots.first().map_or(blob.size, |snapshot| snapshot.record.size_bytes))
    };
    image.layers.iter().map(size).collect()
}

/// Newest first. Layers without an entry (the history may be missing altogether) get one without text.
fn rows(history: &[History], sizes: &[u64], id: &str, form: &Form) -> Vec<Row> {
    let mut entries = history.to_vec();
    let told = entries.iter().filter(|entry| !entry.empty_layer).count();
    entries.extend((told..sizes.len()).map(|_| History::default()));
    let mut sizes = sizes.iter();
    let mut rows: Vec<Row> = entries
        .iter()
        .map(|entry| {
            let created = age::parse(entry.created.as_deref());
            let bytes = if entry.empty_layer { 0 } else { sizes.next().copied().unwrap_or(0) };
            let created_by =
                if form.full { entry.created_by.clone() } else { shortened(&entry.created_by, CREATED_BY_LENGTH) };
            Row {
                comment: entry.comment.clone(),
                created_at: age::exact(created),
                created_by,
                created_since: age::ago(created, form.now),
                id: MISSING.to_owned(),
                size: if form.human { size(bytes) } else { bytes.to_string() },
            }
        })
        .collect();
    rows.reverse();
    if let Some(newest) = rows.first_mut() {
        id.clone_into(&mut newest.id);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_meet_their_layers() {
        let entry = |text: &str, empty_layer| History {
            created: Some("2026-01-01T00:00:00Z".into()),
            created_by: text.into(),
            empty_layer,
            ..History::default()
        };
        let history = [entry("ADD a /", false), entry("ENV A=1", true), entry(&"x".repeat(60), false)];
        let now = Timestamp::parse_rfc3339("2026-01-03T00:00:00Z").unwrap_or(Timestamp::EPOCH);
        let rows = rows(&history, &[1000, 2000, 3000], "abc", &Form { full: false, human: true, now });
        let shown: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.size.as_str())).collect();
        assert_eq!(
            shown,
            [("abc", "3.00kB"), (MISSING, "2.00kB"), (MISSING, "0B"), (MISSING, "1.00kB")],
            "the layer without an entry comes last, which is first here"
        );
        assert_eq!(rows[1].created_by.chars().count(), CREATED_BY_LENGTH);
        assert_eq!(rows[3].created_since, "2 days ago");
        assert_eq!(rows[0].created_since, "N/A");
    }
}
