//! Trees in memory, for the tests of sources.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::collections::BTreeMap;

use crate::files::{Entry, EntryKind, Files, FilesError, RandomAccess, Visit};
use crate::inventory::{Inventory, Package};
use crate::scan::{Limits, SbomError, scan};

/// Files by path; all of them may be executed.
#[derive(Default)]
pub(crate) struct MemoryFiles(pub(crate) BTreeMap<Vec<u8>, Vec<u8>>);

impl Files for MemoryFiles {
    fn walk(&self, visit: &mut dyn FnMut(&Entry<'_>) -> Visit) -> Result<(), FilesError> {
        for (path, content) in &self.0 {
            let kind = EntryKind::File { executable: true, size_bytes: content.len() as u64 };
            if visit(&Entry { path, kind }) == Visit::Stop {
                break;
            }
        }
        Ok(())
    }

    fn open(&self, path: &[u8]) -> Result<Option<Box<dyn RandomAccess>>, FilesError> {
        Ok(self.0.get(path).map(|content| Box::new(content.clone()) as Box<dyn RandomAccess>))
    }
}

/// Scans a tree of these files.
pub(crate) fn inventory(files: &[(&str, &[u8])]) -> Inventory {
    try_inventory(files, &Limits::default()).unwrap()
}

pub(crate) fn try_inventory(files: &[(&str, &[u8])], limits: &Limits) -> Result<Inventory, SbomError> {
    let files = files.iter().map(|(path, content)| (path.as_bytes().to_vec(), content.to_vec()));
    scan(&MemoryFiles(files.collect()), limits)
}

/// The packages of a tree of these texts, of which all must be readable.
pub(crate) fn packages(files: &[(&str, &str)]) -> Vec<Package> {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
    let inventory = inventory(&files);
    assert_eq!(inventory.warnings, []);
    inventory.packages().cloned().collect()
}

/// The package URLs of a tree of these texts.
pub(crate) fn purls(files: &[(&str, &str)]) -> Vec<String> {
    packages(files).into_iter().map(|package| package.purl).collect()
}

/// Damages a file in many ways, and looks that the scan ends and tells of it or of packages; it must not panic.
pub(crate) fn survives_damage(path: &str, content: &[u8]) {
    let limits = Limits { packages_max: 10_000, text_bytes_max: 1 << 20, bytes_max: 64 << 20, ..Limits::default() };
    let attempt = |damaged: &[u8]| drop(try_inventory(&[(path, damaged)], &limits));
    for length in (0..content.len()).step_by(1 + content.len() / 300) {
        attempt(&content[..length]);
    }
    // The same damage every time: a linear congruential generator (Knuth, MMIX).
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below.max(1)
    };
    for _ in 0..2_000 {
        let mut damaged = content.to_vec();
        for _ in 0..=random(8) {
            let at = random(damaged.len());
            if let Some(byte) = damaged.get_mut(at) {
                *byte = [0, 0xff, 0x7f, 0x80, b'\n', b'"', b'{'][random(7)];
            }
        }
        attempt(&damaged);
    }
    let noise: Vec<u8> = (0..4096).map(|_| u8::try_from(random(256)).unwrap()).collect();
    attempt(&noise);
}
