//! The licences of what is linked into the program: most ask that their text comes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::workspace;

/// A text longer than this is no licence.
const TEXT_BYTES_MAX: u64 = 128 << 10;

/// How names of files with licences begin.
const NAMES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"];

/// What cargo knows of the workspace.
#[derive(Debug)]
pub(super) struct Metadata {
    document: Value,
}

/// A crate that is linked.
#[derive(Debug)]
struct Linked {
    name: String,
    version: String,
    licence: String,
    directory: PathBuf,
}

impl Metadata {
    /// Asks cargo, for the dependencies of `target` alone.
    pub(super) fn read(target: &str) -> Result<Self, String> {
        let cargo = option_env!("CARGO").unwrap_or("cargo");
        let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", target];
        let bytes = workspace::output(Command::new(cargo).args(arguments).current_dir(workspace::root()))?;
        let document =
            serde_json::from_slice(&bytes).map_err(|error| format!("Failed to read what cargo said: {error}"))?;
        Ok(Self { document })
    }

    /// Where cargo puts what it compiles.
    pub(super) fn target_directory(&self) -> PathBuf {
        self.document["target_directory"].as_str().unwrap_or("target").into()
    }

    /// The directory in which cargo keeps the sources of crates.
    pub(super) fn sources(&self) -> Result<&str, String> {
        let manifests = list(&self.document["packages"]).filter_map(|package| package["manifest_path"].as_str());
        let mut homes = manifests.filter_map(|path| Some(path.split_once("/registry/src/")?.0));
        homes.next().ok_or_else(|| "cargo has no sources of crates".to_owned())
    }

    /// The crates from elsewhere that `bake` links, by name and version. What only its compilation needs does not count.
    fn linked(&self) -> Result<Vec<Linked>, String> {
        let packages: BTreeMap<&str, &Value> =
            list(&self.document["packages"]).filter_map(|package| Some((package["id"].as_str()?, package))).collect();
        let nodes: BTreeMap<&str, &Value> =
            list(&self.document["resolve"]["nodes"]).filter_map(|node| Some((node["id"].as_str()?, node))).collect();
        let is_bake = |(_, package): &(&&str, &&Value)| package["name"] == "bake" && package["source"].is_null();
        let (bake, _) = packages.iter().find(is_bake).ok_or("cargo knows no crate `bake`")?;
        let (mut waiting, mut seen) = (vec![*bake], BTreeSet::from([*bake]));
        while let Some(id) = waiting.pop() {
            let node = nodes.get(id).ok_or_else(|| format!("cargo tells no dependencies of {id}"))?;
            for dependency in list(&node["deps"]) {
                let is_normal = list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null());
                if let Some(id) = dependency["pkg"].as_str().filter(|_| is_normal)
                    && seen.insert(id)
                {
                    waiting.push(id);
                }
            }
        }
        let mut linked = Vec::new();
        for package in seen.iter().filter_map(|id| packages.get(id)).filter(|package| !package["source"].is_null()) {
            let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
            let manifest = PathBuf::from(text("manifest_path"));
            let directory = manifest.parent().unwrap_or(&manifest).to_owned();
            let licence = if package["license"].is_null() { "see below".to_owned() } else { text("license") };
            linked.push(Linked { name: text("name"), version: text("version"), licence, directory });
        }
        linked.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        Ok(linked)
    }

    /// A document with the crates, their licences, and each text of a licence once.
    pub(super) fn document(&self) -> Result<String, String> {
        let linked = self.linked()?;
        let mut text = String::from(
            "What is linked into bake, and under which licence. Where a licence names alternatives, bake uses the crate\n\
             under Apache-2.0 or MIT where these are among them. The texts follow.\n\n\
             Rust's standard library: MIT OR Apache-2.0, copyright (c) The Rust Project Contributors\n\
             musl, the C library: MIT, copyright (c) 2005-2020 Rich Felker, et al.\n",
        );
        // Equal texts differ in the ends of their lines, at most.
        let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Linked { name, version, licence, directory } in &linked {
            let _ = writeln!(text, "{name} {version}: {licence}");
            for path in workspace::entries(directory)? {
                if let Some(licence) = licence_text(&path)? {
                    texts.entry(licence).or_default().push(format!("{name} {version}"));
                }
            }
        }
        let mut texts: Vec<(String, Vec<String>)> = texts.into_iter().collect();
        texts.sort_by(|a, b| a.1.cmp(&b.1));
        for (licence, crates) in texts {
            let _ = write!(text, "\n{}\n{}:\n\n{licence}\n", "-".repeat(80), crates.join(", "));
        }
        Ok(text)
    }
}

/// The text of a file with a licence; `None` for any other.
fn licence_text(path: &Path) -> Result<Option<String>, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
    let is_source = path.extension().is_some_and(|extension| extension == "rs");
    if is_source || !NAMES.iter().any(|begin| name.starts_with(begin)) {
        return Ok(None);
    }
    let metadata = path.metadata().map_err(|error| format!("Failed to look at {}: {error}", path.display()))?;
    if !metadata.is_file() || metadata.len() == 0 || metadata.len() > TEXT_BYTES_MAX {
        return Ok(None);
    }
    let text = workspace::read(path)?;
    Ok(Some(text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_matches('\n').to_owned()))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_with_its_licence() {
        let metadata = Metadata::read(&format!("{}-unknown-linux-gnu", std::env::consts::ARCH)).unwrap();
        let document = metadata.document().unwrap();
        for expected in ["\nserde_json 1", "\nrusqlite 0", "\nzstd-sys 2", "Permission is hereby granted"] {
            assert!(document.contains(expected), "{expected:?} is not in the document");
        }
        // For tests, for compiling, for other systems.
        for absent in ["\nproptest ", "\ncc 1", "\nwindows-sys ", "\nbake-oci "] {
            assert!(!document.contains(absent), "{absent:?} is in the document");
        }
    }
}
