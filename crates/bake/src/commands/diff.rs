//! `bake diff`: what differs between two images, in configs and files.
//!
//! Files are compared as a container would see them, through the merged layers of each image: how an image is divided
//! into layers, and how these are compressed, makes no difference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use bake::cli::DiffArguments;
use bake::error::{CommandError, ErrorKind};
use bake::ui::measure::size;
use bake_graph::StepLabel;
use bake_oci::ImageConfig;
use bake_snapshot::{Change, Difference, FileKind, MergedView, TreeEntry, compare_trees};
use serde::Serialize;
use serde_json::Value;

use super::stored::{self, StoredImage};
use super::table::Table;
use super::{inspect, listing, run, transfer};
use crate::wiring::Host;

/// The exit code for images that differ.
const DIFFERENT_EXIT: u8 = 1;

/// Two images beside each other.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Comparison {
    before: Side,
    after: Side,
    config: Vec<FieldChange>,
    files: Vec<FileChange>,
}

/// What an image is called.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Side {
    name: String,
    id: String,
    digest: String,
}

/// A field of the config that is not the same. A list or map without order is compared by entry.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct FieldChange {
    field: String,
    before: Option<Value>,
    after: Option<Value>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct FileChange {
    path: String,
    /// `added`, `changed` or `deleted`.
    change: &'static str,
    /// What differs, of a changed file.
    differences: Vec<String>,
    before: Option<FileForm>,
    after: Option<FileForm>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct FileForm {
    kind: &'static str,
    size: u64,
    mode: String,
    uid: u32,
    gid: u32,
    modified: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

pub(crate) fn run(arguments: &DiffArguments, host: &Host) -> Result<ExitCode, CommandError> {
    let platform = transfer::platform(arguments.platform.as_deref())?;
    let find = |name: &str| stored::find(&host.store, name)?.for_platform(platform.as_ref());
    let (before, after) = (find(&arguments.before)?, find(&arguments.after)?);
    let files = changes(&before, &after, arguments.times, host)?;
    let comparison = Comparison {
        before: side(&arguments.before, &before),
        after: side(&arguments.after, &after),
        config: config_changes(&before.image().config, &after.image().config, arguments.times)?,
        files: files.iter().map(file_change).collect(),
    };
    let same = comparison.config.is_empty() && comparison.files.is_empty();
    if arguments.json {
        crate::print(&inspect::pretty(&comparison)?)?;
    } else if !arguments.quiet {
        crate::print(&text(&comparison))?;
        if same {
            transfer::say(sameness(&before, &after, arguments.times));
        }
    }
    let differ = !same && (arguments.exit_code || arguments.quiet);
    Ok(if differ { ExitCode::from(DIFFERENT_EXIT) } else { ExitCode::SUCCESS })
}

/// How the same two images are.
fn sameness(before: &StoredImage, after: &StoredImage, times: bool) -> &'static str {
    if before.image().descriptor.digest == after.image().descriptor.digest {
        "the same image"
    } else if times {
        "the same config and files; history, or how they are divided into layers, differs"
    } else {
        "the same config and files; times, history, or how they are divided into layers, differ (see `--times`)"
    }
}

fn side(name: &str, image: &StoredImage) -> Side {
    let platform = image.image();
    Side {
        name: name.to_owned(),
        id: platform.config_digest.to_string(),
        digest: platform.descriptor.digest.to_string(),
    }
}

/// The files that differ. Layers are unpacked where they are not.
fn changes(before: &StoredImage, after: &StoredImage, times: bool, host: &Host) -> Result<Vec<Change>, CommandError> {
    let images = host.images(BTreeMap::new());
    let files = host.isolation().files;
    let progress = transfer::progress(false, crate::settings::colour())?;
    let view = |image: &StoredImage| {
        image.hold(&host.store)?;
        // Of no interest unless it takes long.
        let label = StepLabel { internal: true, ..transfer::label(format!("unpacking {}", image.name())) };
        let directories =
            transfer::shown(&progress, label, |step| run::directories(image, host, &images, &progress, step))?;
        let lowers: Vec<&Path> = directories.iter().map(AsRef::as_ref).collect();
        MergedView::open(&*files, &lowers).map_err(|error| CommandError::from_error(ErrorKind::Build, &error))
    };
    let (old, new) = (view(before)?, view(after)?);
    progress.finish(None);
    compare_trees(&old, &new, times).map_err(|error| {
        CommandError::from_error(ErrorKind::Build, &error).context(format!(
            "cannot compare the files of `{}` and `{}`",
            before.name(),
            after.name()
        ))
    })
}

/// The differences of two configs: platform, author, and what containers are started with.
fn config_changes(before: &ImageConfig, after: &ImageConfig, times: bool) -> Result<Vec<FieldChange>, CommandError> {
    let (old, new) = (fields(before, times)?, fields(after, times)?);
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes = names.into_iter().filter(|name| old.get(*name) != new.get(*name)).map(|name| FieldChange {
        field: name.clone(),
        before: old.get(name).cloned(),
        after: new.get(name).cloned(),
    });
    Ok(changes.collect())
}

/// A config as fields with values; variables, labels, ports and volumes are fields of their own.
fn fields(config: &ImageConfig, times: bool) -> Result<BTreeMap<String, Value>, CommandError> {
    let mut fields = BTreeMap::new();
    fields.insert("Platform".to_owned(), config.platform().to_string().into());
    if !config.author.is_empty() {
        fields.insert("Author".to_owned(), config.author.clone().into());
    }
    if let (true, Some(created)) = (times, &config.created) {
        fields.insert("Created".to_owned(), created.clone().into());
    }
    let Value::Object(container) = listing::value(&config.config)? else { return Ok(fields) };
    for (name, value) in container {
        match (name.as_str(), value) {
            ("Env", Value::Array(variables)) => {
                for variable in variables.iter().filter_map(Value::as_str) {
                    let (key, value) = variable.split_once('=').unwrap_or((variable, ""));
                    fields.insert(format!("Env {key}"), value.into());
                }
            }
            ("Labels" | "ExposedPorts" | "Volumes", Value::Object(entries)) => {
                fields.extend(entries.into_iter().map(|(key, value)| (format!("{name} {key}"), value)));
            }
            (_, value) => {
                fields.insert(name, value);
            }
        }
    }
    Ok(fields)
}

fn file_change(change: &Change) -> FileChange {
    let letter = match (&change.before, &change.after) {
        (None, _) => "added",
        (_, None) => "deleted",
        _ => "changed",
    };
    let differences = match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            change.differences.iter().map(|difference| described(*difference, before, after)).collect()
        }
        _ => Vec::new(),
    };
    FileChange {
        path: format!("/{}", String::from_utf8_lossy(&change.path)),
        change: letter,
        differences,
        before: change.before.as_ref().map(form),
        after: change.after.as_ref().map(form),
    }
}

fn form(entry: &TreeEntry) -> FileForm {
    FileForm {
        kind: kind(entry.kind),
        size: entry.size_bytes,
        mode: format!("{:04o}", entry.mode),
        uid: entry.uid,
        gid: entry.gid,
        modified: entry.mtime.to_rfc3339(),
        target: entry.link_target.as_deref().map(|target| String::from_utf8_lossy(target).into_owned()),
    }
}

fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "link",
        FileKind::CharacterDevice { .. } => "character device",
        FileKind::BlockDevice { .. } => "block device",
        FileKind::Fifo => "FIFO",
        FileKind::Socket => "socket",
    }
}

fn described(difference: Difference, before: &TreeEntry, after: &TreeEntry) -> String {
    let target =
        |entry: &TreeEntry| String::from_utf8_lossy(entry.link_target.as_deref().unwrap_or_default()).into_owned();
    match difference {
        Difference::Kind => format!("{} → {}", kind(before.kind), kind(after.kind)),
        Difference::Content if after.kind == FileKind::Symlink => {
            format!("target {} → {}", target(before), target(after))
        }
        Difference::Content => "content".to_owned(),
        Difference::Mode => format!("mode {:04o} → {:04o}", before.mode, after.mode),
        Difference::Owner => format!("owner {}:{} → {}:{}", before.uid, before.gid, after.uid, after.gid),
        Difference::Attributes => "extended attributes".to_owned(),
        Difference::Time => format!("time {} → {}", before.mtime.to_rfc3339(), after.mtime.to_rfc3339()),
    }
}

fn text(comparison: &Comparison) -> String {
    let mut text = String::new();
    if !comparison.config.is_empty() {
        let mut table = Table::new(&["CONFIG", "BEFORE", "AFTER"]);
        for change in &comparison.config {
            let shown = |value: &Option<Value>| match value {
                None => "-".to_owned(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            table.row([change.field.clone(), shown(&change.before), shown(&change.after)]);
        }
        text.push_str(&table.render());
    }
    if comparison.files.is_empty() {
        return text;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let mut table = Table::new(&["", "SIZE", "PATH", "CHANGE"]);
    for change in &comparison.files {
        let letter = change.change.chars().next().unwrap_or_default().to_uppercase().to_string();
        let bytes = |form: &Option<FileForm>| form.as_ref().map_or(0, |form| form.size);
        let (old, new) = (bytes(&change.before), bytes(&change.after));
        let shown = match change.change {
            "changed" if old != new => format!("{} → {}", size(old), size(new)),
            "deleted" if old > 0 => format!("-{}", size(old)),
            _ => size(new),
        };
        let slash = change.after.as_ref().or(change.before.as_ref()).is_some_and(|form| form.kind == "directory");
        let path = if slash && change.path != "/" { format!("{}/", change.path) } else { change.path.clone() };
        table.row([letter, shown, path, change.differences.join(", ")]);
    }
    text.push_str(&table.render());
    text + "\n" + &summary(&comparison.files) + "\n"
}

/// How many files changed, and by how much.
fn summary(files: &[FileChange]) -> String {
    let bytes = |form: Option<&FileForm>| form.map_or(0, |form| form.size);
    let mut parts = Vec::new();
    for change in ["added", "changed", "deleted"] {
        let these: Vec<&FileChange> = files.iter().filter(|file| file.change == change).collect();
        if these.is_empty() {
            continue;
        }
        let old: u64 = these.iter().map(|file| bytes(file.before.as_ref())).sum();
        let new: u64 = these.iter().map(|file| bytes(file.after.as_ref())).sum();
        let (sign, by) = if new >= old { ("+", new - old) } else { ("-", old - new) };
        parts.push(format!("{} {change} ({sign}{})", these.len(), size(by)));
    }
    format!("Files: {}", parts.join(", "))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn configs_are_compared_by_field() {
        let mut before = ImageConfig::default();
        before.config.env = vec!["PATH=/bin".into(), "A=1".into(), "GONE=x".into()];
        before.config.cmd = vec!["sh".into()];
        before.created = Some("2026-01-01T00:00:00Z".into());
        let mut after = before.clone();
        after.config.env = vec!["A=2=3".into(), "PATH=/bin".into()];
        after.config.labels.insert("a".into(), "b".into());
        after.config.cmd.push("-c".into());
        after.created = None;
        let told: Vec<String> = config_changes(&before, &after, false)
            .unwrap()
            .iter()
            .map(|change| format!("{} {:?} {:?}", change.field, change.before, change.after))
            .collect();
        assert_eq!(
            told,
            [
                "Cmd Some(Array [String(\"sh\")]) Some(Array [String(\"sh\"), String(\"-c\")])",
                "Env A Some(String(\"1\")) Some(String(\"2=3\"))",
                "Env GONE Some(String(\"x\")) None",
                "Labels a None Some(String(\"b\"))",
            ]
        );
        assert_eq!(config_changes(&before, &after, true).unwrap().len(), 5);
        assert_eq!(config_changes(&before, &before, true).unwrap(), []);
    }
}
