//! What steps left, as the store knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use bake_graph::Component;
use bake_oci::Digest;
use rusqlite::Connection;

use super::stages::mark;

/// Lines that are shown of a difference.
const LINES_MAX: usize = 20;

/// The states that the stages are in after a build of a round: each the digest of all layers, without times.
pub(super) fn of_round(store: &Path, round: usize) -> Result<BTreeMap<usize, String>, String> {
    let failed = |error: rusqlite::Error| format!("the steps of round {round} cannot be read: {error}");
    let connection = open(store)?;
    let query = "SELECT step, components FROM record WHERE step LIKE ?1 ORDER BY id";
    let mut statement = connection.prepare(query).map_err(failed)?;
    let rows = statement
        .query_map([format!("[t%] WORKDIR {}/%", mark(round))], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(failed)?;
    let mut states = BTreeMap::new();
    for row in rows {
        let (step, components): (String, Vec<u8>) = row.map_err(failed)?;
        let stage =
            step.strip_prefix("[t").and_then(|step| step.split(']').next()).and_then(|stage| stage.parse().ok());
        let components: Vec<Component> = serde_json::from_slice(&components).map_err(|error| error.to_string())?;
        let root = components.into_iter().find(|component| component.name == "input 0");
        if let (Some(stage), Some(root)) = (stage, root) {
            // A later one is of a later build.
            states.insert(stage, root.value);
        }
    }
    Ok(states)
}

/// In what the newest result of a stage differs from the one before it that differs least.
pub(super) fn difference(store: &Path, stage: usize) -> Result<String, String> {
    let connection = open(store)?;
    let query = "SELECT s.snapshot FROM record r JOIN record_snapshot s ON s.record = r.id
                 WHERE r.definition = (SELECT definition FROM record WHERE step LIKE ?1 ORDER BY id DESC LIMIT 1)
                     AND s.position = (SELECT max(position) FROM record_snapshot WHERE record = r.id)
                 ORDER BY r.id DESC";
    let mut statement = connection.prepare(query).map_err(|error| error.to_string())?;
    let rows =
        statement.query_map([format!("[s{stage}] RUN%")], |row| row.get(0)).map_err(|error| error.to_string())?;
    let snapshots = rows.collect::<Result<Vec<String>, _>>().map_err(|error| error.to_string())?;
    let mut layers = Vec::new();
    for snapshot in snapshots {
        let root = store.join("snapshots").join(snapshot).join("fs");
        let mut lines = BTreeSet::new();
        list(&root, Path::new(""), &mut lines)?;
        layers.push(lines);
    }
    let Some((newest, others)) = layers.split_first() else { return Ok("its layers are not in the store".to_owned()) };
    let differences = others.iter().map(|other| {
        let gone = other.difference(newest).map(|line| format!("- {line}"));
        let new = newest.difference(other).map(|line| format!("+ {line}"));
        gone.chain(new).collect::<Vec<String>>()
    });
    let least = differences.filter(|lines| !lines.is_empty()).min_by_key(Vec::len);
    let mut lines = least.unwrap_or_else(|| vec!["there is no other layer in the store".to_owned()]);
    lines.truncate(LINES_MAX);
    Ok(lines.join("\n"))
}

fn open(store: &Path) -> Result<Connection, String> {
    let path = store.join("index.sqlite");
    Connection::open(&path).map_err(|error| format!("{}: {error}", path.display()))
}

/// One line for each file of a layer.
fn list(root: &Path, directory: &Path, lines: &mut BTreeSet<String>) -> Result<(), String> {
    let at = root.join(directory);
    let failed = |error: std::io::Error| format!("{}: {error}", at.display());
    for entry in fs::read_dir(&at).map_err(failed)? {
        let name = directory.join(entry.map_err(failed)?.file_name());
        let path = root.join(&name);
        let node = path.symlink_metadata().map_err(failed)?;
        let kind = node.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&path).map_err(failed)?.display().to_string()
        } else if kind.is_file() {
            let bytes = fs::read(&path).map_err(failed)?;
            let shown = String::from_utf8_lossy(bytes.get(..bytes.len().min(300)).unwrap_or_default())
                .escape_debug()
                .to_string();
            format!("{} {shown}", Digest::of(&bytes))
        } else if kind.is_char_device() || kind.is_block_device() {
            format!("device {}", node.rdev())
        } else {
            String::new()
        };
        lines.insert(format!("{} {:o} {}:{} {content}", name.display(), node.mode(), node.uid(), node.gid()));
        if kind.is_dir() {
            list(root, &name, lines)?;
        }
    }
    Ok(())
}
