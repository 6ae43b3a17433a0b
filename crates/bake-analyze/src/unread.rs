//! What of a layer nobody used.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::listing::{Entry, EntryKind};

/// The files of a layer that nobody used, summed up. A file with several names counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// The bytes of those files.
    pub bytes: u64,
    /// How many they are.
    pub files: u64,
    /// The bytes of all files of the layer.
    pub of_bytes: u64,
    /// How many those are.
    pub of_files: u64,
    /// Where most of the bytes are: a directory of which no file was used, or a file; with `/` in front.
    pub largest: String,
}

/// A file of the layer, under whatever names.
struct File<'a> {
    bytes: u64,
    names: Vec<&'a [u8]>,
    is_used: bool,
}

impl Unread {
    /// Sums up what `listing` has beside the paths of `used`. A name that was used is a use of the file, under all of its names; what
    /// was asked of a directory uses nothing in it.
    pub fn of(listing: &[Entry], used: &HashSet<Vec<u8>>) -> Self {
        let mut files: Vec<File<'_>> = Vec::new();
        let mut known: HashMap<&[u8], usize> = HashMap::new();
        for Entry { path, kind, .. } in listing {
            let number = match kind {
                EntryKind::File { size_bytes, .. } => {
                    files.push(File { bytes: *size_bytes, names: Vec::new(), is_used: false });
                    files.len() - 1
                }
                EntryKind::HardLink { target } => match known.get(target.as_slice()) {
                    Some(number) => *number,
                    None => continue,
                },
                EntryKind::Directory { .. } | EntryKind::Other | EntryKind::Whiteout => continue,
            };
            known.insert(path, number);
            if let Some(file) = files.get_mut(number) {
                file.names.push(path);
                file.is_used |= used.contains(path);
            }
        }
        // The root is none of them: that it holds nothing of use says nothing.
        let in_use: HashSet<&[u8]> = files
            .iter()
            .filter(|file| file.is_used)
            .flat_map(|file| &file.names)
            .flat_map(|name| above(name))
            .collect();
        let mut sum = Self::default();
        let mut parts: BTreeMap<&[u8], u64> = BTreeMap::new();
        for File { bytes, names, is_used } in &files {
            (sum.of_bytes, sum.of_files) = (sum.of_bytes.saturating_add(*bytes), sum.of_files + 1);
            if let Some(name) = names.first().filter(|_| !is_used) {
                (sum.bytes, sum.files) = (sum.bytes.saturating_add(*bytes), sum.files + 1);
                let part = above(name).find(|directory| !in_use.contains(directory)).unwrap_or(name);
                let part = parts.entry(part).or_default();
                *part = part.saturating_add(*bytes);
            }
        }
        if let Some((path, _)) = parts.into_iter().rev().max_by_key(|(_, bytes)| *bytes) {
            sum.largest = format!("/{}", String::from_utf8_lossy(path));
        }
        sum
    }
}

/// The directories above a path but for the root, the topmost first.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
    ends.map(|end| &path[..end])
}

#[cfg(test)]
mod tests {
    use bake_oci::Timestamp;

    use super::*;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o644, uid: 0, gid: 0, mtime: Timestamp::EPOCH }
    }

    fn file(path: &str, size_bytes: u64) -> Entry {
        entry(path, EntryKind::File { size_bytes, content: None })
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(path, EntryKind::HardLink { target: target.into() })
    }

    fn directory(path: &str) -> Entry {
        entry(path, EntryKind::Directory { opaque: false })
    }

    /// Bytes and files that are unread, and the largest part.
    fn unread(listing: &[Entry], used: &[&str]) -> (u64, u64, String) {
        let used = used.iter().map(|path| path.as_bytes().to_vec()).collect();
        let Unread { bytes, files, largest, .. } = Unread::of(listing, &used);
        (bytes, files, largest)
    }

    #[test]
    fn what_was_used_is_left_out() {
        let listing = [
            directory("src"),
            file("src/main.c", 5),
            directory("src/deps"),
            directory("src/deps/a"),
            file("src/deps/a/x", 70),
            file("src/deps/a/y", 20),
            directory("src/deps/b"),
            file("src/deps/b/z", 80),
            file("src/deps-of-tests", 85),
            entry("src/link", EntryKind::Other),
            entry("src/gone", EntryKind::Whiteout),
        ];
        let all = unread(&listing, &[]);
        assert_eq!(all, (260, 5, "/src".to_owned()));
        // A directory uses nothing of what is in it, nor does what is not there.
        assert_eq!(unread(&listing, &["", "src", "src/deps", "src/none", "src/link", "src/deps/a/x/none"]), all);
        assert_eq!(unread(&listing, &["src/main.c"]), (255, 4, "/src/deps".to_owned()));
        assert_eq!(unread(&listing, &["src/main.c", "src/deps/b/z"]), (175, 3, "/src/deps/a".to_owned()));
        assert_eq!(unread(&listing, &["src/deps/a/x", "src/deps/b/z"]), (110, 3, "/src/deps-of-tests".to_owned()));
        let used = listing.iter().map(|entry| entry.path.clone()).collect();
        let nothing = Unread { of_bytes: 260, of_files: 5, ..Unread::default() };
        assert_eq!(Unread::of(&listing, &used), nothing);
        assert_eq!(Unread::of(&[], &used), Unread::default());
    }

    #[test]
    fn a_file_is_used_under_all_of_its_names() {
        let listing = [file("a/one", 9), link("b/two", "a/one"), link("c/three", "b/two"), file("b/other", 4)];
        assert_eq!(unread(&listing, &[]), (13, 2, "/a".to_owned()));
        for name in ["a/one", "b/two", "c/three"] {
            // The directory of another name of it is in use as well.
            assert_eq!(unread(&listing, &[name]), (4, 1, "/b/other".to_owned()), "{name}");
        }
        // A name of a file of another layer has no bytes here.
        assert_eq!(unread(&[link("a", "elsewhere")], &[]), (0, 0, String::new()));
    }

    #[test]
    fn of_equal_parts_the_first_is_named() {
        assert_eq!(unread(&[file("b", 3), file("a/x", 3), file("c", 3)], &[]), (9, 3, "/a".to_owned()));
    }
}
