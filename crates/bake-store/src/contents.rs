//! What the files of a layer directory hold, written down beside it: hashes by path.
//!
//! With it the next result of the same COPY can share the files that did not change, and whoever streams the layer
//! notices a file that has changed on the disk since.
//!
//! ```text
//! "bakelc1\n"  BLAKE3 of the rest [32]
//! then per file, sorted by path:  length of the path u32 (little-endian)  path  BLAKE3 of the content [32]
//! ```
//!
//! It is only a help: an absent or damaged list counts as none. Changing the format needs a new first line, nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::StoreError;
use crate::error::AtPath;
use crate::snapshots::{ActiveSnapshot, Snapshot};

const MAGIC: &[u8; 8] = b"bakelc1\n";
const HEADER_SIZE: usize = 8 + 32;

/// A list is at most this long: a layer of about 2,000,000 files.
const SIZE_MAX: u64 = 256 << 20;

/// BLAKE3 hashes of the content of regular files, by their path in the layer.
type Contents = BTreeMap<Vec<u8>, [u8; 32]>;

/// The name of the list, beside the layer directory.
pub(crate) const FILE_NAME: &str = "contents";

impl ActiveSnapshot {
    /// Writes down what the files of the layer hold. A list that would be too long is not written.
    pub fn write_contents(&self, contents: &Contents) -> Result<(), StoreError> {
        let size = contents.keys().map(|path| path.len() + 4 + 32).sum::<usize>() + HEADER_SIZE;
        if size as u64 > SIZE_MAX {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[0; 32]);
        for (path, hash) in contents {
            bytes.extend_from_slice(&u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(path);
            bytes.extend_from_slice(hash);
        }
        let checksum = blake3::hash(&bytes[HEADER_SIZE..]);
        bytes[8..HEADER_SIZE].copy_from_slice(checksum.as_bytes());
        let path = self.fs().with_file_name(FILE_NAME);
        fs::write(&path, bytes).at("write", &path)
    }
}

/// What the files of the layer directory `layer` held when it was made, if that was written down.
pub fn contents_beside(layer: &Path) -> Result<Option<Contents>, StoreError> {
    let path = layer.with_file_name(FILE_NAME);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes).at("read", &path)?;
    Ok(if bytes.len() as u64 > SIZE_MAX { None } else { parse(&bytes) })
}

impl Snapshot {
    /// What the files of the layer held when it was made, if that was written down.
    pub fn contents(&self) -> Result<Option<Contents>, StoreError> {
        contents_beside(&self.path)
    }
}

fn parse(bytes: &[u8]) -> Option<Contents> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (checksum, mut rest) = rest.split_first_chunk::<32>()?;
    if blake3::hash(rest) != *checksum {
        return None;
    }
    let mut contents = Contents::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (path, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        let (hash, after) = after.split_first_chunk::<32>()?;
        contents.insert(path.to_vec(), *hash);
        rest = after;
    }
    Some(contents)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::os::unix::fs::FileExt;

    use bake_oci::{SnapshotId, TreeDigest};

    use super::*;
    use crate::snapshots::SnapshotRecord;
    use crate::testing::TestStore;

    fn published(test: &TestStore, contents: Option<&Contents>) -> Snapshot {
        let active = test.store.begin_snapshot().unwrap();
        if let Some(contents) = contents {
            active.write_contents(contents).unwrap();
        }
        let record = SnapshotRecord {
            id: SnapshotId::new("step-1").unwrap(),
            tree: TreeDigest::of(b"tree"),
            diff_id: None,
            tar_size_bytes: None,
            size_bytes: 0,
            entries: 0,
            origin: String::new(),
        };
        test.store.publish_snapshot(active, record).unwrap().snapshot
    }

    #[test]
    fn contents_are_found_with_their_layer() {
        let test = TestStore::new();
        let contents = Contents::from([(b"a/b".to_vec(), [1; 32]), (b"a\xff".to_vec(), [2; 32])]);
        let snapshot = published(&test, Some(&contents));
        assert_eq!(snapshot.contents().unwrap(), Some(contents));
    }

    #[test]
    fn no_list_and_a_damaged_one_are_none() {
        let test = TestStore::new();
        assert_eq!(published(&test, None).contents().unwrap(), None);
        let test = TestStore::new();
        let contents = Contents::from([(b"file".to_vec(), [1; 32])]);
        let snapshot = published(&test, Some(&contents));
        let path = snapshot.path.with_file_name(FILE_NAME);
        let file = File::options().write(true).open(path).unwrap();
        for place in [2, 20, 41, 47] {
            file.write_at(b"?", place).unwrap();
            assert_eq!(snapshot.contents().unwrap(), None, "{place}");
        }
        file.set_len(10).unwrap();
        assert_eq!(snapshot.contents().unwrap(), None);
    }
}
