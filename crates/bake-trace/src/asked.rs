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
/// The most paths that are remembered, several hundred bytes each. A hundredth of it is more than any use of a record.
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
    pub(crate) fn exists(&mut self, path: &[u8], size_bytes: u64) -> Result<u64, TraceError> {
        if let Some(Some(number)) = self.numbers.get(path) {
            return Ok(*number);
        }
        self.check_limit()?;
        let path: Arc<[u8]> = Arc::from(path);
        self.known.push(Known { path: Arc::clone(&path), size_bytes });
        let number = self.known.len() as u64;
        self.numbers.insert(path, Some(number));
        Ok(number)
    }

    /// Records that it is about to be told that there is no file at `path`.
    pub(crate) fn absent(&mut self, path: &[u8]) -> Result<(), TraceError> {
        if !self.numbers.contains_key(path) {
            self.check_limit()?;
            self.numbers.insert(Arc::from(path), None);
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

    fn check_limit(&self) -> Result<(), TraceError> {
        if self.numbers.len() < PATHS_MAX { Ok(()) } else { Err(TraceError::TooMany { limit: PATHS_MAX }) }
    }

    /// The record, after `requests` requests.
    pub(crate) fn into_recorded(self, requests: u64) -> Recorded {
        let names =
            self.names.iter().filter_map(|number| self.known(*number)).map(|known| known.path.to_vec()).collect();
        Recorded { nodes: self.numbers.keys().map(|path| path.to_vec()).collect(), names, requests }
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
