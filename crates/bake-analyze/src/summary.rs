//! The books of an image in a few lines: what reports and rules need, small enough to be remembered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::analysis::{Analysis, Cause};
use crate::package_cache::{PackageCache, package_cache};

/// The most groups of each kind that are kept, the largest first: an image has at most some hundred layers, and nobody reads more.
const GROUPS_MAX: usize = 1000;

/// What became of the bytes of an image, summed up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Bytes added and hidden, for each layer, base first.
    pub layers: Vec<LayerSum>,
    /// What is hidden, by layers and cause, the largest first.
    pub waste: Vec<WasteSum>,
    /// The package caches that are left, the largest first.
    pub caches: Vec<CacheSum>,
}

/// The bytes of one layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSum {
    /// The bytes of its files.
    pub added_bytes: u64,
    /// Those of them that are hidden.
    pub hidden_bytes: u64,
}

/// All files of one layer that one layer hides in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasteSum {
    /// The layer that holds the bytes, from 0.
    pub written_by: usize,
    /// The layer that hides them, from 0.
    pub hidden_by: usize,
    /// How.
    pub cause: Cause,
    /// The bytes.
    pub bytes: u64,
    /// How many files.
    pub files: u64,
    /// The path of the largest, with `/` in front.
    pub largest: String,
}

/// A cache that a package manager left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSum {
    /// The layer that holds it, from 0.
    pub layer: usize,
    /// The directory, with `/` in front.
    pub directory: String,
    /// The bytes.
    pub bytes: u64,
}

impl Summary {
    /// Sums up an analysis.
    pub fn of(analysis: &Analysis) -> Self {
        let shown = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path));
        let layers = analysis
            .layers
            .iter()
            .map(|layer| LayerSum { added_bytes: layer.added_bytes, hidden_bytes: layer.hidden_bytes })
            .collect();
        // The largest file of a group comes first.
        let mut waste: BTreeMap<(usize, usize, Cause), WasteSum> = BTreeMap::new();
        for file in &analysis.waste {
            let (written_by, hidden_by, cause) = (file.written_by, file.hidden_by, file.cause);
            let sum = waste.entry((written_by, hidden_by, cause)).or_insert_with(|| WasteSum {
                written_by,
                hidden_by,
                cause,
                bytes: 0,
                files: 0,
                largest: shown(&file.path),
            });
            sum.bytes = sum.bytes.saturating_add(file.bytes);
            sum.files += 1;
        }
        let mut caches: BTreeMap<(usize, &[u8]), u64> = BTreeMap::new();
        for file in &analysis.files {
            if let Some((PackageCache { useless: true, .. }, directory)) = package_cache(&file.path) {
                let bytes = caches.entry((file.layer, directory)).or_default();
                *bytes = bytes.saturating_add(file.bytes);
            }
        }
        let mut waste: Vec<WasteSum> = waste.into_values().collect();
        waste.sort_by_key(|sum| std::cmp::Reverse(sum.bytes));
        waste.truncate(GROUPS_MAX);
        let mut caches: Vec<CacheSum> = caches
            .into_iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|((layer, directory), bytes)| CacheSum { layer, directory: shown(directory), bytes })
            .collect();
        caches.sort_by_key(|sum| std::cmp::Reverse(sum.bytes));
        caches.truncate(GROUPS_MAX);
        Self { layers, waste, caches }
    }

    /// The bytes of all layers.
    pub fn added_bytes(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.added_bytes))
    }

    /// Those of them that are not in the image.
    pub fn wasted_bytes(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.hidden_bytes))
    }
}

impl CacheSum {
    /// Whose cache it is.
    pub fn cache(&self) -> Option<&'static PackageCache> {
        // Any file in it tells; archives of gems are known by their name.
        let file = format!("{}/x.gem", self.directory.trim_start_matches('/'));
        package_cache(file.as_bytes()).map(|(cache, _)| cache)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_oci::Timestamp;

    use super::*;
    use crate::{Entry, EntryKind, Listing, analyze};

    fn file(path: &str, size_bytes: u64) -> Entry {
        let kind = EntryKind::File { size_bytes, content: None };
        Entry { path: path.as_bytes().to_vec(), kind, mode: 0o644, uid: 0, gid: 0, mtime: Timestamp::EPOCH }
    }

    #[test]
    fn groups_are_summed_up() {
        let first: Listing =
            vec![file("d/a", 10), file("d/b", 30), file("var/lib/apt/lists/x", 7), file("var/lib/apt/lists/y", 3)];
        let second: Listing = vec![
            Entry { kind: EntryKind::Whiteout, ..file("d", 0) },
            file("root/.cache/pip/z", 5),
            file("a/__pycache__/b.pyc", 100),
            file("usr/lib/ruby/gems/3.1.0/cache/rake.gem", 4),
        ];
        let summary = Summary::of(&analyze(&[first, second], &mut |_| None).unwrap());
        assert_eq!((summary.added_bytes(), summary.wasted_bytes()), (159, 40));
        assert_eq!(
            summary.waste,
            [WasteSum {
                written_by: 0,
                hidden_by: 1,
                cause: Cause::Deleted,
                bytes: 40,
                files: 2,
                largest: "/d/b".into()
            }]
        );
        let caches: Vec<_> = summary
            .caches
            .iter()
            .map(|sum| (sum.cache().unwrap().name, sum.layer, sum.directory.as_str(), sum.bytes))
            .collect();
        assert_eq!(
            caches,
            [
                ("apt lists", 0, "/var/lib/apt/lists", 10),
                ("pip", 1, "/root/.cache/pip", 5),
                ("gem", 1, "/usr/lib/ruby/gems/3.1.0/cache", 4)
            ]
        );
    }
}
