//! What the steps of past builds wrote, one file for each build of the journal that wrote anything.
//!
//! ```text
//! "bakelog1"  BLAKE3 of the rest [32]  the logs, in a form that is their writer's business
//! ```
//!
//! A file is called as the number of its build. Builds that the journal forgets lose it; so do the oldest while all of them
//! together take more than [`LOGS_BYTES_MAX`]. It is only a help: an absent or damaged one counts as none.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::StoreError;
use crate::error::AtPath;
use crate::ingest::Temporary;
use crate::layout::Layout;
use crate::store::Store;

/// Where they are.
pub(crate) const DIRECTORY: &str = "builds";

/// What the logs of all builds may take together, in bytes.
const LOGS_BYTES_MAX: u64 = 64 << 20;

const MAGIC: &[u8; 8] = b"bakelog1";
const HEADER_SIZE: usize = MAGIC.len() + 32;

/// The logs of one build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuildLog {
    pub(crate) path: PathBuf,
    /// The number of the build; `None` where the name is none.
    pub(crate) number: Option<i64>,
    pub(crate) size_bytes: u64,
    pub(crate) written_unix_s: i64,
}

impl Store {
    /// Keeps what the steps of the build `number` wrote. Logs of older builds may go in their favour.
    ///
    /// # Errors
    /// If they are longer than what may be kept altogether (64 MiB), or cannot be written.
    pub fn keep_build_log(&self, number: i64, logs: &[u8]) -> Result<(), StoreError> {
        let size_bytes = (HEADER_SIZE + logs.len()) as u64;
        if size_bytes > LOGS_BYTES_MAX {
            return Err(StoreError::TooLarge {
                what: format!("the output of build {number}"),
                limit_bytes: LOGS_BYTES_MAX,
            });
        }
        let path = path(self.layout(), number);
        let mut partial = Temporary::create(self.layout())?;
        let written = partial
            .file
            .write_all(MAGIC)
            .and_then(|()| partial.file.write_all(blake3::hash(logs).as_bytes()))
            .and_then(|()| partial.file.write_all(logs));
        written.at("write", &path)?;
        // Stores of earlier versions have no such directory.
        let directory = self.layout().directory(DIRECTORY);
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::io("create", directory, error));
            }
            _ => partial.publish(&path)?,
        }
        self.make_room_for_logs(number)
    }

    /// What the steps of the build `number` wrote, if it is still known and sound.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn build_log(&self, number: i64) -> Result<Option<Vec<u8>>, StoreError> {
        read(&path(self.layout(), number))
    }

    /// Forgets a build and what its steps wrote; whether there was one.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn remove_build(&self, number: i64) -> Result<bool, StoreError> {
        let known = self.index().write("remove a build", |connection| {
            connection.prepare_cached("DELETE FROM build WHERE number = ?1")?.execute([number])
        })?;
        self.remove_build_log(number)?;
        Ok(known > 0)
    }

    pub(crate) fn remove_build_log(&self, number: i64) -> Result<(), StoreError> {
        remove(&path(self.layout(), number))
    }

    fn make_room_for_logs(&self, newest: i64) -> Result<(), StoreError> {
        let mut logs = build_logs(self.layout())?;
        let mut total = logs.iter().fold(0_u64, |sum, log| sum.saturating_add(log.size_bytes));
        logs.sort_by_key(|log| log.number);
        for log in logs {
            if total <= LOGS_BYTES_MAX {
                break;
            }
            if log.number != Some(newest) {
                remove(&log.path)?;
                total = total.saturating_sub(log.size_bytes);
            }
        }
        Ok(())
    }
}

/// All that are there.
pub(crate) fn build_logs(layout: &Layout) -> Result<Vec<BuildLog>, StoreError> {
    let directory = layout.directory(DIRECTORY);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", directory, error)),
    };
    let mut logs = Vec::new();
    for entry in entries {
        let path = entry.at("list", &directory)?.path();
        // One that has gone since is none.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let number = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        logs.push(BuildLog { path, number, size_bytes: metadata.size(), written_unix_s: metadata.mtime() });
    }
    Ok(logs)
}

/// Whether the file holds what was written.
pub(crate) fn is_sound_log(path: &Path) -> Result<bool, StoreError> {
    Ok(read(path)?.is_some())
}

fn path(layout: &Layout, number: i64) -> PathBuf {
    layout.directory(DIRECTORY).join(number.to_string())
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path, error)),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(LOGS_BYTES_MAX + 1).read_to_end(&mut bytes).at("read", path)?;
    let checksum = bytes.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk::<32>()).copied();
    let sound = bytes.len() as u64 <= LOGS_BYTES_MAX
        && checksum.is_some_and(|checksum| blake3::hash(&bytes[HEADER_SIZE..]) == checksum);
    Ok(sound.then(|| bytes.split_off(HEADER_SIZE)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::FsckOptions;
    use crate::testing::TestStore;

    #[test]
    fn logs_are_kept_with_their_builds() {
        let test = TestStore::new();
        let store = &test.store;
        assert_eq!(store.build_log(1).unwrap(), None);
        let number = store.add_to_journal(b"{}").unwrap();
        store.keep_build_log(number, b"output").unwrap();
        assert_eq!(store.build_log(number).unwrap().as_deref(), Some(&b"output"[..]));
        store.keep_build_log(number, b"again").unwrap();
        assert_eq!(store.build_log(number).unwrap().as_deref(), Some(&b"again"[..]));
        assert!(store.remove_build(number).unwrap());
        assert_eq!((store.build_log(number).unwrap(), store.journal().unwrap()), (None, Vec::new()));
        assert!(!store.remove_build(number).unwrap());
        assert_eq!(test.leftovers(), Vec::<String>::new());
    }

    #[test]
    fn builds_that_are_forgotten_lose_their_logs() {
        let test = TestStore::new();
        let first = test.store.add_to_journal(b"{}").unwrap();
        test.store.keep_build_log(first, b"output").unwrap();
        for _ in 0..50 {
            test.store.add_to_journal(b"{}").unwrap();
        }
        assert_eq!(build_logs(test.store.layout()).unwrap(), Vec::new());
    }

    #[test]
    fn the_oldest_logs_go_where_all_are_too_large() {
        let test = TestStore::new();
        let store = &test.store;
        let half = vec![7; usize::try_from(LOGS_BYTES_MAX / 2).unwrap() - HEADER_SIZE];
        for number in [9, 10, 11] {
            store.keep_build_log(number, &half).unwrap();
        }
        assert!(store.build_log(9).unwrap().is_none());
        assert!(store.build_log(10).unwrap().is_some() && store.build_log(11).unwrap().is_some());
        let all = vec![7; usize::try_from(LOGS_BYTES_MAX).unwrap()];
        assert!(matches!(store.keep_build_log(12, &all), Err(StoreError::TooLarge { .. })));
    }

    #[test]
    fn damaged_and_stray_logs_are_found() {
        let test = TestStore::new();
        let store = &test.store;
        let number = store.add_to_journal(b"{}").unwrap();
        store.keep_build_log(number, b"output").unwrap();
        assert!(store.fsck(FsckOptions::default()).unwrap().problems.is_empty());
        let path = path(store.layout(), number);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(store.build_log(number).unwrap(), None);
        store.keep_build_log(77, b"of no build").unwrap();
        assert_eq!(store.fsck(FsckOptions::default()).unwrap().problems.len(), 2);
        assert!(store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap().is_sound());
        assert_eq!(build_logs(store.layout()).unwrap(), Vec::new());
    }
}
