//! What was asked of a tree so far, and by which number the kernel knows each path.
//!
//! Every path has a number of its own, also when it is another name of a file that has one already: what is learnt of a
//! name that was looked up must not be answered from a cache for a name that was not.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::error::TraceError;
use crate::storm::Storm;

/// The number of the root directory (`FUSE_ROOT_ID`).
pub(crate) const ROOT: u64 = 1;
/// The most paths of a record, several hundred bytes each. Steps that ask for a hundredth of it depend on nearly everything.
pub(crate) const PATHS_MAX: usize = 2_000_000;

/// The questions that a served tree was asked. Paths are relative to its root; the root itself is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recorded {
    /// Paths about which everything was told except, for directories, their names: also that there is no such file.
    pub nodes: BTreeSet<Vec<u8>>,
    /// Directories whose names, with their types, were told.
    pub names: BTreeSet<Vec<u8>>,
    /// Requests of the kernel that were answered.
    pub requests: u64,
}

/// A path that was told to exist.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) path: Arc<[u8]>,
    pub(crate) size_bytes: u64,
}

/// The questions so far.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The path with the number `n` is at `n - 1`.
    known: Vec<Known>,
    /// Every path that was asked about; `None` where there is no file.
    numbers: HashMap<Arc<[u8]>, Option<u64>>,
    names: HashSet<u64>,
    storm: Storm,
}

impl Asked {
    /// The root counts as asked about: overlay reads its attributes once when it is mounted.
    pub(crate) fn new() -> Self {
        let root: Arc<[u8]> = Arc::from(&b""[..]);
        let known = Known { path: Arc::clone(&root), size_bytes: 0 };
        Self {
            known: vec![known],
            numbers: HashMap::from([(root, Some(ROOT))]),
            names: HashSet::new(),
            storm: Storm::default(),
        }
    }

    /// The path that the kernel calls `number`.
    pub(crate) fn known(&self, number: u64) -> Option<&Known> {
        self.known.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// Records that everything about the file at `path` is about to be told, and returns its number.
    ///
    /// # Errors
    /// [`TraceError::Changed`] if something else was told about the path before.
    pub(crate) fn exists(&mut self, path: &[u8], size_bytes: u64) -> Result<u64, TraceError> {
        match self.numbers.get(path) {
            Some(None) => return Err(TraceError::changed(path)),
            Some(Some(number)) => {
                let same = self.known(*number).is_some_and(|known| *number == ROOT || known.size_bytes == size_bytes);
                return if same { Ok(*number) } else { Err(TraceError::changed(path)) };
            }
            None => {}
        }
        let path: Arc<[u8]> = Arc::from(path);
        self.known.push(Known { path: Arc::clone(&path), size_bytes });
        let number = self.known.len() as u64;
        self.numbers.insert(path, Some(number));
        Ok(number)
    }

    /// Records that it is about to be told that there is no file at `path`.
    ///
    /// # Errors
    /// [`TraceError::Changed`] if there was one.
    pub(crate) fn absent(&mut self, path: &[u8]) -> Result<(), TraceError> {
        match self.numbers.get(path) {
            Some(None) => {}
            Some(Some(_)) => return Err(TraceError::changed(path)),
            // Nobody has to be told a number for these, so they need not be kept when the record is of no use any more.
            None if self.is_overfull() => {}
            None => drop(self.numbers.insert(Arc::from(path), None)),
        }
        Ok(())
    }

    /// Records that the names of a directory are about to be told.
    pub(crate) fn lists(&mut self, directory: u64) {
        self.names.insert(directory);
    }

    /// What the step does with directories that it lists.
    pub(crate) fn storm(&mut self) -> &mut Storm {
        &mut self.storm
    }

    pub(crate) fn is_asked(&self, path: &[u8]) -> bool {
        self.numbers.contains_key(path)
    }

    fn is_overfull(&self) -> bool {
        self.numbers.len() > PATHS_MAX
    }

    /// The record, after `requests` requests.
    ///
    /// # Errors
    /// [`TraceError::TooMany`].
    pub(crate) fn into_recorded(self, requests: u64) -> Result<Recorded, TraceError> {
        if self.is_overfull() {
            return Err(TraceError::TooMany { limit: PATHS_MAX });
        }
        let names =
            self.names.iter().filter_map(|number| self.known(*number)).map(|known| known.path.to_vec()).collect();
        Ok(Recorded { nodes: self.numbers.keys().map(|path| path.to_vec()).collect(), names, requests })
    }
}

/// `name` in the directory `path`.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(path.len() + 1 + name.len());
    joined.extend_from_slice(path);
    if !path.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn a_path_is_told_one_thing_only() {
        let mut asked = Asked::new();
        let number = asked.exists(b"a", 5).unwrap();
        assert_eq!(asked.exists(b"a", 5).unwrap(), number);
        assert_eq!(&*asked.known(number).unwrap().path, b"a");
        assert!(asked.exists(b"a", 6).is_err() && asked.absent(b"a").is_err());
        asked.absent(b"b").unwrap();
        asked.absent(b"b").unwrap();
        assert!(asked.exists(b"b", 0).is_err());
        asked.lists(ROOT);
        let recorded = asked.into_recorded(9).unwrap();
        assert_eq!(recorded.nodes, [&b""[..], b"a", b"b"].map(<[u8]>::to_vec).into());
        assert_eq!((recorded.names, recorded.requests), ([Vec::new()].into(), 9));
    }
}
