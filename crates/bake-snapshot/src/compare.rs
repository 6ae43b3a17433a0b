//! What differs between the files of two trees.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io::Read;

use crate::error::{At, Result};
use crate::tree::{FileHasher, FileIdentity, Selection, TREE_ENTRIES_MAX, TreeEntry, TreeOptions, digest_tree};
use crate::view::{FileKind, MergedView};

/// How much of two files is compared at once, in bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// A file that is not the same in both trees. At least one of `before` and `after` is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Relative to the root; empty for the root itself.
    pub path: Vec<u8>,
    /// The file in the first tree.
    pub before: Option<TreeEntry>,
    /// The file in the second tree.
    pub after: Option<TreeEntry>,
    /// What differs, when it is in both.
    pub differences: Vec<Difference>,
}

/// What of a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Its type, or the number of a device. Nothing else is compared then.
    Kind,
    /// The bytes of a regular file, or the target of a link.
    Content,
    /// Permission bits.
    Mode,
    /// Owner or group.
    Owner,
    /// Extended attributes.
    Attributes,
    /// Modification time.
    Time,
}

/// Compares two trees; the changes come in the order of their paths, directories before what is in them.
///
/// Modification times count if `times` says so; which names are hard links of each other does not. Only files that have
/// the same size, and are not the same file on the disk, are read.
///
/// # Errors
/// As [`digest_tree`], for trees of at most [`TREE_ENTRIES_MAX`] files.
pub fn compare_trees(before: &MergedView, after: &MergedView, times: bool) -> Result<Vec<Change>> {
    let (old, new) = (listing(before)?, listing(after)?);
    let mut unmatched: HashMap<&[u8], &TreeEntry> = old.iter().map(|entry| (entry.path.as_slice(), entry)).collect();
    let mut changes = Vec::new();
    for entry in &new {
        let counterpart = unmatched.remove(entry.path.as_slice());
        let differences = match counterpart {
            Some(counterpart) => {
                let mut differences = differences(counterpart, entry, times);
                // The listings tell files apart by what they are on the disk, which need not mean other bytes.
                if differences.contains(&Difference::Content)
                    && entry.kind == FileKind::File
                    && counterpart.size_bytes == entry.size_bytes
                    && same_bytes(before, after, &entry.path)?
                {
                    differences.retain(|difference| *difference != Difference::Content);
                }
                if differences.is_empty() {
                    continue;
                }
                differences
            }
            None => Vec::new(),
        };
        let path = entry.path.clone();
        changes.push(Change { path, before: counterpart.cloned(), after: Some(entry.clone()), differences });
    }
    changes.extend(unmatched.into_values().map(|entry| Change {
        path: entry.path.clone(),
        before: Some(entry.clone()),
        after: None,
        differences: Vec::new(),
    }));
    changes.sort_by(|a, b| by_components(&a.path, &b.path));
    Ok(changes)
}

fn by_components(a: &[u8], b: &[u8]) -> Ordering {
    a.split(|byte| *byte == b'/').cmp(b.split(|byte| *byte == b'/'))
}

fn listing(view: &MergedView) -> Result<Vec<TreeEntry>> {
    let Some(root) = view.root() else { return Ok(Vec::new()) };
    let options = TreeOptions { ownership: view.ownership(), xattrs: true, entries_max: TREE_ENTRIES_MAX };
    let all = &mut |_: &[u8], _| Selection::Include;
    Ok(digest_tree(root, b"", options, all, &mut ByIdentity)?.unwrap_or_default())
}

fn differences(before: &TreeEntry, after: &TreeEntry, times: bool) -> Vec<Difference> {
    if before.kind != after.kind {
        return vec![Difference::Kind];
    }
    let is_link = after.kind == FileKind::Symlink;
    let checks = [
        (before.content != after.content || before.size_bytes != after.size_bytes, Difference::Content),
        // The mode of a link means nothing, and file systems disagree on it.
        (before.mode != after.mode && !is_link, Difference::Mode),
        ((before.uid, before.gid) != (after.uid, after.gid), Difference::Owner),
        (before.xattrs != after.xattrs, Difference::Attributes),
        (times && before.mtime != after.mtime, Difference::Time),
    ];
    checks.into_iter().filter(|(differs, _)| *differs).map(|(_, difference)| difference).collect()
}

/// Takes what a file is on the disk for its content, so that nothing is read.
///
/// Layers that both trees have are seen through two mounts, of different devices; but they are on one file system, where
/// the inode number and the time of the last change name a file and its state.
struct ByIdentity;

impl FileHasher for ByIdentity {
    fn remembered(&mut self, files: &[FileIdentity]) -> Vec<Option<[u8; 32]>> {
        let hash = |file: &FileIdentity| {
            let mut hasher = blake3::Hasher::new();
            for time in [file.mtime, file.ctime] {
                hasher.update(&time.seconds.to_le_bytes());
                hasher.update(&time.nanoseconds.to_le_bytes());
            }
            hasher.update(&file.inode.to_le_bytes());
            hasher.update(&file.size_bytes.to_le_bytes());
            Some(*hasher.finalize().as_bytes())
        };
        files.iter().map(hash).collect()
    }

    fn computed(&mut self, _: &[(FileIdentity, [u8; 32])]) {}
}

fn same_bytes(before: &MergedView, after: &MergedView, path: &[u8]) -> Result<bool> {
    let (Some(mut before), Some(mut after)) = (before.open_file(path)?, after.open_file(path)?) else {
        return Ok(false);
    };
    let (mut old, mut new) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    loop {
        let count = fill(&mut before, &mut old).at("read", path)?;
        if fill(&mut after, &mut new).at("read", path)? != count || old.get(..count) != new.get(..count) {
            return Ok(false);
        }
        if count < BUFFER_BYTES {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::Path;

    use super::*;
    use crate::format::Ownership;

    fn view(path: &Path) -> MergedView {
        MergedView::of_directory(fs::File::open(path).unwrap().into(), Ownership::Native)
    }

    #[test]
    fn every_kind_of_change_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        let large = vec![7; BUFFER_BYTES * 2 + 1];
        for root in [&a, &b] {
            fs::create_dir_all(root.join("d/sub")).unwrap();
            fs::write(root.join("d/same"), &large).unwrap();
            fs::write(root.join("d/mode"), "x").unwrap();
            fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        fs::File::options().append(true).open(b.join("d/same")).unwrap().set_modified(later).unwrap();
        let mut other = large.clone();
        other[BUFFER_BYTES * 2] = 8;
        fs::write(a.join("content"), &large).unwrap();
        fs::write(b.join("content"), &other).unwrap();
        fs::write(a.join("longer"), "x").unwrap();
        fs::write(b.join("longer"), "xy").unwrap();
        fs::set_permissions(b.join("d/mode"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(a.join("d/gone"), "").unwrap();
        fs::write(b.join("d.new"), "").unwrap();
        fs::write(a.join("kind"), "").unwrap();
        fs::create_dir(b.join("kind")).unwrap();
        symlink("one", a.join("link")).unwrap();
        symlink("two", b.join("link")).unwrap();
        let changes = compare_trees(&view(&a), &view(&b), false).unwrap();
        let told: Vec<_> = changes
            .iter()
            .map(|change| {
                let letter = match (&change.before, &change.after) {
                    (None, _) => 'A',
                    (_, None) => 'D',
                    _ => 'C',
                };
                (letter, std::str::from_utf8(&change.path).unwrap(), change.differences.as_slice())
            })
            .collect();
        assert_eq!(
            told,
            [
                ('C', "content", &[Difference::Content][..]),
                ('D', "d/gone", &[]),
                ('C', "d/mode", &[Difference::Mode]),
                ('A', "d.new", &[]),
                ('C', "kind", &[Difference::Kind]),
                ('C', "link", &[Difference::Content]),
                ('C', "longer", &[Difference::Content]),
            ]
        );
        assert_eq!(compare_trees(&view(&a), &view(&a), true).unwrap(), []);
        let times = compare_trees(&view(&a), &view(&b), true).unwrap();
        assert!(times.iter().any(|change| change.path == b"d/same" && change.differences == [Difference::Time]));
    }
}
