//! The report of `bake analyze`, for people and for programs.

use std::collections::BTreeMap;

use bake::cli::AnalyzeArguments;
use bake::error::CommandError;
use bake::ui::measure::size;
use bake_analyze::{Analysis, Cause, EntryKind, LayerFigures, Listing, PackageCache, VisibleFile, package_cache};
use bake_oci::History;
use serde::Serialize;

use super::limits::Check;
use super::tree::Branch;
use crate::commands::inspect;
use crate::commands::stored::StoredImage;
use crate::commands::table::{Table, shortened};

/// How much of an instruction fits into the table.
const INSTRUCTION_LENGTH: usize = 60;
/// Wasted files that are listed when nobody says how many.
const TOP_TEXT: usize = 10;
const TOP_JSON: usize = 1000;
/// Set-user-ID and set-group-ID.
const SET_ID: u32 = 0o6000;

/// What is shown.
pub(super) struct Shown<'a> {
    pub(super) arguments: &'a AnalyzeArguments,
    pub(super) image: &'a StoredImage,
    pub(super) listings: &'a [Listing],
    pub(super) analysis: &'a Analysis,
    pub(super) checks: &'a [Check],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a> {
    name: &'a str,
    id: String,
    digest: String,
    platform: String,
    added_bytes: u64,
    visible_bytes: u64,
    wasted_bytes: u64,
    efficiency: f64,
    layers: Vec<Layer>,
    waste_count: usize,
    waste: Vec<Wasted>,
    package_caches: Vec<CacheLeft>,
    set_id: Vec<SetId>,
    checks: &'a [Check],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Layer {
    number: usize,
    diff_id: String,
    instruction: String,
    added_bytes: u64,
    hidden_bytes: u64,
    hides_bytes: u64,
    entries: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Wasted {
    path: String,
    bytes: u64,
    written_by: usize,
    hidden_by: usize,
    cause: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct CacheLeft {
    name: &'static str,
    directory: String,
    layer: usize,
    bytes: u64,
    files: u64,
    /// Whether images are better without it.
    useless: bool,
    advice: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SetId {
    path: String,
    mode: String,
    uid: u32,
    gid: u32,
    bytes: u64,
    layer: usize,
}

impl Shown<'_> {
    pub(super) fn json(&self) -> Result<String, CommandError> {
        let platform = self.image.image();
        let (added, wasted) = (self.analysis.added_bytes(), self.analysis.wasted_bytes());
        inspect::pretty(&Document {
            name: &self.arguments.image,
            id: platform.config_digest.to_string(),
            digest: platform.descriptor.digest.to_string(),
            platform: platform.config.platform().to_string(),
            added_bytes: added,
            visible_bytes: added.saturating_sub(wasted),
            wasted_bytes: wasted,
            efficiency: self.analysis.efficiency(),
            layers: self.layers(),
            waste_count: self.analysis.waste.len(),
            waste: self.waste(self.arguments.top.unwrap_or(TOP_JSON)),
            package_caches: self.package_caches(),
            set_id: self.set_id(),
            checks: self.checks,
        })
    }

    pub(super) fn text(&self) -> Result<String, CommandError> {
        let mut parts = vec![self.layer_table(), self.score()];
        let waste = self.waste(self.arguments.top.unwrap_or(TOP_TEXT));
        if !waste.is_empty() {
            let mut table = Table::new(&["WASTED", "LAYER", "BY", "HOW", "PATH"]);
            for file in waste {
                let (from, by) = (file.written_by.to_string(), file.hidden_by.to_string());
                table.row([size(file.bytes), from, by, file.cause.to_owned(), file.path]);
            }
            let more = self.analysis.waste.len().saturating_sub(self.arguments.top.unwrap_or(TOP_TEXT));
            let rest = if more > 0 { format!("and {more} more\n") } else { String::new() };
            parts.push(table.render() + &rest);
        }
        let caches = self.package_caches();
        if !caches.is_empty() {
            let mut table = Table::new(&["CACHE", "SIZE", "LAYER", "DIRECTORY", "INSTEAD"]);
            for cache in caches {
                let advice = cache.advice.to_owned();
                table.row([cache.name.to_owned(), size(cache.bytes), cache.layer.to_string(), cache.directory, advice]);
            }
            parts.push(table.render());
        }
        let set_id = self.set_id();
        if !set_id.is_empty() {
            let mut table = Table::new(&["SETUID", "OWNER", "SIZE", "LAYER", "PATH"]);
            for file in set_id {
                let owner = format!("{}:{}", file.uid, file.gid);
                table.row([file.mode, owner, size(file.bytes), file.layer.to_string(), file.path]);
            }
            parts.push(table.render());
        }
        if self.arguments.depth > 0 {
            parts.push(self.tree()?);
        }
        Ok(parts.join("\n"))
    }

    fn layer_table(&self) -> String {
        let mut table = Table::new(&["LAYER", "ADDED", "HIDDEN", "HIDES", "INSTRUCTION"]);
        for layer in self.layers() {
            let number = layer.number.to_string();
            let bytes = |bytes: u64| if bytes == 0 { "-".to_owned() } else { size(bytes) };
            let (hidden, hides) = (bytes(layer.hidden_bytes), bytes(layer.hides_bytes));
            let instruction = shortened(&layer.instruction, INSTRUCTION_LENGTH);
            table.row([number, size(layer.added_bytes), hidden, hides, instruction]);
        }
        table.render()
    }

    fn score(&self) -> String {
        let (added, wasted) = (self.analysis.added_bytes(), self.analysis.wasted_bytes());
        format!(
            "Efficiency: {:.2} %. Of {} in all layers, {} are not in the image.\n",
            self.analysis.efficiency() * 100.0,
            size(added),
            size(wasted)
        )
    }

    fn layers(&self) -> Vec<Layer> {
        let platform = self.image.image();
        let instructions = instructions(&platform.config.history, self.analysis.layers.len());
        let mut layers = Vec::with_capacity(instructions.len());
        for ((figures, layer), instruction) in self.analysis.layers.iter().zip(&platform.layers).zip(instructions) {
            let LayerFigures { added_bytes, hidden_bytes, hides_bytes, entries } = *figures;
            let (number, diff_id) = (layers.len() + 1, layer.diff_id.to_string());
            layers.push(Layer { number, diff_id, instruction, added_bytes, hidden_bytes, hides_bytes, entries });
        }
        layers
    }

    fn waste(&self, top: usize) -> Vec<Wasted> {
        let told = |waste: &bake_analyze::Waste| Wasted {
            path: shown(&waste.path),
            bytes: waste.bytes,
            written_by: waste.written_by + 1,
            hidden_by: waste.hidden_by + 1,
            cause: cause(waste.cause),
        };
        self.analysis.waste.iter().take(top).map(told).collect()
    }

    /// The caches that the image still has, the largest first.
    fn package_caches(&self) -> Vec<CacheLeft> {
        let mut left: BTreeMap<(&PackageCache, &[u8], usize), (u64, u64)> = BTreeMap::new();
        for file in &self.analysis.files {
            let Some((cache, mut directory)) = package_cache(&file.path) else { continue };
            // There is one in each directory with a module; together they are one matter.
            if !cache.useless {
                directory = b"";
            }
            let (bytes, files) = left.entry((cache, directory, file.layer)).or_default();
            *bytes = bytes.saturating_add(file.bytes);
            *files += 1;
        }
        let mut left: Vec<CacheLeft> = left
            .into_iter()
            .filter(|(_, (bytes, _))| *bytes > 0)
            .map(|((cache, directory, layer), (bytes, files))| CacheLeft {
                name: cache.name,
                directory: shown(directory),
                layer: layer + 1,
                bytes,
                files,
                useless: cache.useless,
                advice: cache.advice,
            })
            .collect();
        left.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.directory.cmp(&b.directory)));
        left
    }

    fn set_id(&self) -> Vec<SetId> {
        let told = |file: &VisibleFile| SetId {
            path: shown(&file.path),
            mode: format!("{:04o}", file.mode),
            uid: file.uid,
            gid: file.gid,
            bytes: file.bytes,
            layer: file.layer + 1,
        };
        self.analysis.files.iter().filter(|file| file.mode & SET_ID != 0).map(told).collect()
    }

    /// The tree that was asked for, under a heading.
    fn tree(&self) -> Result<String, CommandError> {
        let depth = usize::from(self.arguments.depth);
        let mut root = Branch::default();
        let heading = if let Some(number) = self.arguments.layer {
            let index = usize::try_from(number).unwrap_or(usize::MAX) - 1;
            let listing = self.listings.get(index).ok_or_else(|| {
                CommandError::usage(format!("the image has {} layers, not {number}", self.listings.len()))
            })?;
            for entry in listing {
                match entry.kind {
                    EntryKind::File { size_bytes, .. } => root.add(&entry.path, depth, size_bytes, ""),
                    EntryKind::Whiteout => root.add(&entry.path, depth, 0, "deletes"),
                    EntryKind::Directory { opaque: true } => root.add(&entry.path, depth, 0, "hides what was in it"),
                    EntryKind::HardLink { .. } | EntryKind::Other => root.add(&entry.path, depth, 0, ""),
                    EntryKind::Directory { opaque: false } => {}
                }
            }
            format!("Files of layer {number}:\n")
        } else if self.arguments.wasted {
            for waste in &self.analysis.waste {
                let note = format!("{}, layer {} by {}", cause(waste.cause), waste.written_by + 1, waste.hidden_by + 1);
                root.add(&waste.path, depth, waste.bytes, &note);
            }
            "Files of layers that are not in the image:\n".to_owned()
        } else {
            for file in &self.analysis.files {
                root.add(&file.path, depth, file.bytes, "");
            }
            "Files of the image:\n".to_owned()
        };
        Ok(heading + &root.render())
    }
}

fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Deleted => "deleted",
        Cause::Replaced => "replaced",
        Cause::MetadataChanged => "owner or mode changed",
        Cause::StoredAgain => "stored again",
    }
}

/// What made each layer, as the history says; layers without an entry get none.
fn instructions(history: &[History], layers: usize) -> Vec<String> {
    let mut told: Vec<String> =
        history.iter().filter(|entry| !entry.empty_layer).map(|entry| entry.created_by.clone()).collect();
    told.resize(layers, String::new());
    told
}
