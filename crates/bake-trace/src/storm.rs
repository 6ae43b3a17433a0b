//! When to give attributes along with the names of a directory.
//!
//! Attributes that were given are recorded, so giving them to a step that only wants the names makes its record wider than
//! it has to be; not giving them to `find -size` or `tar` costs a round trip for every file. So a step first has to look up
//! most files of several directories that it listed, or of fewer that are large; from then on, everything below what those
//! directories have in common is listed with attributes. Either way the record says what was told: this decides about speed
//! and width only.

use std::collections::HashMap;

/// So many directories are the beginning of a storm.
const DIRECTORIES: usize = 8;
/// So few are, if they have [`FILES_LARGE`] files together.
const DIRECTORIES_LARGE: usize = 3;
const FILES_LARGE: u32 = 48;
/// A directory with fewer files says nothing: `ls data; cat data/only` is no storm.
const FILES_MIN: u32 = 2;

/// What a step did with directories that it listed without attributes.
#[derive(Debug, Default)]
pub(crate) struct Storm {
    /// By path.
    listed: HashMap<Box<[u8]>, Listed>,
    /// Directories most of whose files were looked up, with how many they have; nothing follows of them yet.
    searched: Vec<(Box<[u8]>, u32)>,
    /// Below this everything is listed with attributes.
    root: Option<Box<[u8]>>,
}

#[derive(Debug)]
struct Listed {
    files: u32,
    looked_up: u32,
}

impl Storm {
    /// Whether to list `directory` with attributes.
    pub(crate) fn covers(&self, directory: &[u8]) -> bool {
        self.root.as_ref().is_some_and(|root| is_within(directory, root))
    }

    /// `directory` with so many files that are no directories was listed without attributes.
    pub(crate) fn listed(&mut self, directory: &[u8], files: usize) {
        let files = u32::try_from(files).unwrap_or(u32::MAX);
        if files >= FILES_MIN {
            self.listed.entry(directory.into()).or_insert(Listed { files, looked_up: 0 });
        }
    }

    /// A file of `directory` was looked up for the first time.
    pub(crate) fn looked_up(&mut self, directory: &[u8]) {
        if self.listed.is_empty() {
            return;
        }
        let Some(listed) = self.listed.get_mut(directory) else { return };
        listed.looked_up += 1;
        // Three quarters.
        if u64::from(listed.looked_up) * 4 < u64::from(listed.files) * 3 {
            return;
        }
        if let Some((path, listed)) = self.listed.remove_entry(directory)
            && !self.covers(&path)
        {
            self.searched.push((path, listed.files));
        }
        let files = self.searched.iter().fold(0, |sum: u32, (_, files)| sum.saturating_add(*files));
        let are_large = self.searched.len() >= DIRECTORIES_LARGE && files >= FILES_LARGE;
        if self.searched.len() >= DIRECTORIES || are_large {
            // A step that searches a second place will search a third: the new root has the old one below it.
            let searched = std::mem::take(&mut self.searched);
            let mut directories = searched.iter().map(|(path, _)| path).chain(&self.root);
            if let Some(first) = directories.next() {
                let common = directories.fold(&**first, |common, path| common_directory(common, path));
                self.root = Some(common.into());
            }
        }
    }
}

/// Whether `path` is `directory` or below it.
fn is_within(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The deepest directory that both are in.
fn common_directory<'a>(mut one: &'a [u8], other: &[u8]) -> &'a [u8] {
    while !is_within(other, one) {
        let end = one.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        one = one.get(..end).unwrap_or_default();
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_covers_what_its_directories_have_in_common() {
        let mut storm = Storm::default();
        for number in 0..DIRECTORIES {
            let directory = format!("src/lib/{number}");
            storm.listed(directory.as_bytes(), 4);
            assert!(!storm.covers(b"src/lib/x"));
            for _ in 0..4 {
                storm.looked_up(directory.as_bytes());
            }
        }
        for (path, covered) in [("src/lib", true), ("src/lib/new/deep", true), ("src/library", false), ("src", false)] {
            assert_eq!(storm.covers(path.as_bytes()), covered, "{path}");
        }
        assert!(!storm.covers(b""));
        for number in 0..DIRECTORIES {
            let directory = format!("src/bin/{number}");
            storm.listed(directory.as_bytes(), 2);
            storm.looked_up(directory.as_bytes());
            storm.looked_up(directory.as_bytes());
        }
        assert!(storm.covers(b"src/other") && !storm.covers(b"doc"));
    }

    #[test]
    fn a_few_large_directories_are_enough() {
        let mut storm = Storm::default();
        let mut searched = |files: usize, number: usize| {
            let directory = format!("a/{number}");
            storm.listed(directory.as_bytes(), files);
            (0..files).for_each(|_| storm.looked_up(directory.as_bytes()));
            storm.covers(b"a/other")
        };
        assert!(!searched(100, 1) && !searched(100, 2) && searched(2, 3));
    }

    #[test]
    fn few_files_and_few_directories_are_no_storm() {
        let mut storm = Storm::default();
        for number in 0..100 {
            let directory = format!("data/{number}");
            // `ls data/N; cat data/N/first`, with one, three and ten files.
            storm.listed(directory.as_bytes(), [1, 3, 10][number % 3]);
            storm.looked_up(directory.as_bytes());
        }
        for number in 0..DIRECTORIES - 1 {
            let directory = format!("other/{number}");
            storm.listed(directory.as_bytes(), 2);
            storm.looked_up(directory.as_bytes());
            storm.looked_up(directory.as_bytes());
        }
        assert!(!storm.covers(b"data/1") && !storm.covers(b"other/1"));
    }

    #[test]
    fn common_directories() {
        assert_eq!(common_directory(b"a/b/c", b"a/b/d"), b"a/b");
        assert_eq!(common_directory(b"a/b", b"a/b/d"), b"a/b");
        assert_eq!(common_directory(b"a/bc", b"a/b"), b"a");
        assert_eq!(common_directory(b"x", b"y"), b"");
        assert_eq!(common_directory(b"", b"y"), b"");
    }
}
