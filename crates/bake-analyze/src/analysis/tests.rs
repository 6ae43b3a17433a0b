#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::collections::BTreeMap;

use bake_oci::Timestamp;
use proptest::prelude::*;

use super::*;

fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry { path: path.as_bytes().to_vec(), kind, mode: 0o644, uid: 0, gid: 0, mtime: Timestamp::EPOCH }
}

fn file(path: &str, size_bytes: u64, content: u8) -> Entry {
    entry(path, EntryKind::File { size_bytes, content: Some([content; 32]) })
}

fn directory(path: &str, opaque: bool) -> Entry {
    entry(path, EntryKind::Directory { opaque })
}

fn link(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::HardLink { target: target.as_bytes().to_vec() })
}

fn whiteout(path: &str) -> Entry {
    entry(path, EntryKind::Whiteout)
}

fn owned(entry: Entry, uid: u32) -> Entry {
    Entry { uid, ..entry }
}

fn told(layers: &[Listing]) -> Vec<String> {
    let analysis = analyze(layers, &mut |_| None).unwrap();
    let line = |waste: &Waste| {
        let Waste { path, bytes, written_by, hidden_by, cause } = waste;
        format!("{} {bytes} {written_by}->{hidden_by} {cause:?}", String::from_utf8_lossy(path))
    };
    analysis.waste.iter().map(line).collect()
}

#[test]
fn every_way_to_hide_a_file_is_told() {
    let base = vec![
        directory("d", false),
        file("d/a", 10, 1),
        file("d/b", 20, 2),
        file("owner", 30, 3),
        file("again", 40, 4),
        file("new", 50, 5),
        file("kind", 60, 6),
        file("gone", 70, 7),
        file("o/x", 80, 8),
        file("empty", 0, 0),
    ];
    let second = vec![
        whiteout("gone"),
        whiteout("never"),
        whiteout("d"),
        whiteout("empty"),
        owned(file("owner", 30, 3), 1),
        file("again", 40, 4),
        file("new", 50, 50),
        directory("kind", false),
        directory("o", true),
        file("o/y", 1, 1),
    ];
    assert_eq!(
        told(&[base, second]),
        [
            "o/x 80 0->1 Deleted",
            "gone 70 0->1 Deleted",
            "kind 60 0->1 Replaced",
            "new 50 0->1 Replaced",
            "again 40 0->1 StoredAgain",
            "owner 30 0->1 MetadataChanged",
            "d/b 20 0->1 Deleted",
            "d/a 10 0->1 Deleted",
        ]
    );
}

#[test]
fn directories_are_merged_and_links_counted_once() {
    let base = vec![file("d/a", 10, 1), link("d/b", "d/a"), file("d/c", 5, 2)];
    let second = vec![directory("d", false), file("d/a", 10, 9), link("e", "d/b"), link("broken", "none")];
    let third = vec![whiteout("d")];
    // The first content lives on under another name, which is of a later layer.
    assert_eq!(told(&[base.clone(), second.clone()]), [] as [&str; 0]);
    assert_eq!(told(&[base.clone(), second.clone(), third.clone()]), ["d/a 10 1->2 Deleted", "d/c 5 0->2 Deleted"]);
    let analysis = analyze(&[base, second, third], &mut |_| None).unwrap();
    assert_eq!(analysis.added_bytes(), 25);
    assert_eq!(analysis.files.iter().map(|file| file.bytes).sum::<u64>(), 10);
    assert!((analysis.efficiency() - 0.4).abs() < 1e-9);
}

#[test]
fn unknown_content_is_asked_for_and_else_judged_by_time() {
    let unknown = |seconds| Entry {
        mtime: Timestamp::from_seconds(seconds),
        ..entry("d/a", EntryKind::File { size_bytes: 3, content: None })
    };
    let cause = |second: Entry, answer: Option<bool>| {
        let mut asked = Vec::new();
        let analysis = analyze(&[vec![unknown(1)], vec![second]], &mut |overwrite| {
            asked.push((overwrite.path.to_vec(), overwrite.lower, overwrite.upper));
            answer
        });
        assert_eq!(asked, [(b"d/a".to_vec(), 0, 1)]);
        analysis.unwrap().waste[0].cause
    };
    assert_eq!(cause(unknown(2), Some(true)), Cause::StoredAgain);
    assert_eq!(cause(unknown(1), Some(false)), Cause::Replaced);
    assert_eq!(cause(owned(unknown(1), 5), None), Cause::MetadataChanged);
    assert_eq!(cause(unknown(2), None), Cause::Replaced);
}

#[test]
fn hostile_listings_are_bounded() {
    let deep = |number: usize| vec![file(&format!("{}{number}", "x/".repeat(2000)), 1, 1), whiteout("x")];
    let layers: Vec<Listing> = (0..30).map(deep).collect();
    assert_eq!(analyze_within(50_000, &layers, &mut |_| None), Err(AnalyzeError::TooManyNames));
    let huge = vec![file("a", u64::MAX, 1), file("b", u64::MAX, 2)];
    assert_eq!(analyze(&[huge], &mut |_| None).unwrap().added_bytes(), u64::MAX);
}

/// The obvious way: a flat map from paths to what is there; deleting is searching all of it.
#[derive(Default)]
struct Model {
    names: BTreeMap<String, Option<usize>>,
    /// Size, layer, and the layer that hid it.
    files: Vec<(u64, usize, Option<usize>)>,
}

impl Model {
    fn remove_below(&mut self, path: &str) {
        let prefix = format!("{path}/");
        self.names.retain(|name, _| !name.starts_with(&prefix));
    }

    fn apply(&mut self, layer: usize, listing: &Listing) {
        let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
        for entry in listing {
            let path = text(&entry.path);
            match entry.kind {
                EntryKind::Whiteout => {
                    self.remove_below(&path);
                    self.names.remove(&path);
                }
                EntryKind::Directory { opaque: true } => self.remove_below(&path),
                _ => {}
            }
        }
        for entry in listing {
            let path = text(&entry.path);
            if entry.kind == EntryKind::Whiteout {
                continue;
            }
            // Whatever a path leads through is a directory.
            for (slash, _) in path.match_indices('/') {
                self.names.insert(path[..slash].to_owned(), None);
            }
            match &entry.kind {
                EntryKind::Directory { .. } => {
                    self.names.insert(path, None);
                }
                EntryKind::File { size_bytes, .. } => {
                    self.remove_below(&path);
                    self.files.push((*size_bytes, layer, None));
                    self.names.insert(path, Some(self.files.len() - 1));
                }
                EntryKind::HardLink { target } => {
                    let file = self.names.get(&text(target)).copied().flatten();
                    self.remove_below(&path);
                    self.names.insert(path, file);
                }
                _ => {
                    self.remove_below(&path);
                    self.names.insert(path, None);
                }
            }
        }
        let mut there = vec![false; self.files.len()];
        for file in self.names.values().flatten() {
            there[*file] = true;
        }
        for (file, there) in self.files.iter_mut().zip(there) {
            if !there && file.2.is_none() {
                file.2 = Some(layer);
            }
        }
    }
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let path = proptest::collection::vec("[ab]", 1..4).prop_map(|names| names.join("/"));
    (path, 0..8_u8, 1..20_u64, 0..3_u8, "[ab](/[ab])?").prop_map(|(path, kind, size, content, target)| match kind {
        0 | 1 => whiteout(&path),
        2 => directory(&path, true),
        3 => directory(&path, false),
        // A link into itself has no meaning.
        4 if target != path && !target.starts_with(&format!("{path}/")) => link(&path, &target),
        5 => entry(&path, EntryKind::Other),
        _ => file(&path, size, content),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_books_agree_with_applying_layers_naively(
        layers in proptest::collection::vec(proptest::collection::vec(any_entry(), 0..8), 1..6)
    ) {
        let mut model = Model::default();
        for (index, listing) in layers.iter().enumerate() {
            model.apply(index, listing);
        }
        let analysis = analyze(&layers, &mut |_| None).unwrap();
        let mut expected: Vec<(u64, usize, usize)> =
            model.files.iter().filter_map(|(size, by, hidden)| Some((*size, *by, (*hidden)?))).collect();
        let mut found: Vec<(u64, usize, usize)> =
            analysis.waste.iter().map(|waste| (waste.bytes, waste.written_by, waste.hidden_by)).collect();
        expected.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(found, expected);

        let visible: Vec<String> =
            analysis.files.iter().map(|file| String::from_utf8(file.path.clone()).unwrap()).collect();
        let names: Vec<&String> = model.names.iter().filter(|(_, file)| file.is_some()).map(|(name, _)| name).collect();
        let mut sorted: Vec<&String> = visible.iter().collect();
        sorted.sort();
        prop_assert_eq!(sorted, names);

        let bytes: u64 = analysis.files.iter().map(|file| file.bytes).sum();
        prop_assert_eq!(analysis.added_bytes(), bytes + analysis.wasted_bytes());
        for (index, figures) in analysis.layers.iter().enumerate() {
            let of_layer: u64 = analysis.files.iter().filter(|file| file.layer == index).map(|file| file.bytes).sum();
            prop_assert_eq!(figures.added_bytes, of_layer + figures.hidden_bytes);
        }
        let hidden: u64 = analysis.layers.iter().map(|layer| layer.hides_bytes).sum();
        prop_assert_eq!(hidden, analysis.wasted_bytes());
    }
}
