//! Remembered content hashes of build contexts: an unchanged file costs a `stat`, not a read.
//!
//! One compact sorted file per context, because row by row an index is ten times slower (10,000 `SQLite` reads took
//! 150 ms where a search in this file takes about 1):
//!
//! ```text
//! "bakefh1\n"  generation u64  BLAKE3 of the rest [32]
//! then per file, sorted by (device, inode), all numbers little-endian:
//!   device u64  inode u64  size u64  mtime_ns i64  ctime_ns i64  last_seen u64  BLAKE3 of the content [32]
//! ```
//!
//! It is not synced: a file cut short by a power loss fails its checksum and counts as empty.
//! Changing the format needs a new first line, nothing else: an unknown one counts as empty.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::SystemTime;

use crate::StoreError;
use crate::error::AtPath;
use crate::ingest::Temporary;
use crate::lock::GcLock;
use crate::store::Store;

const MAGIC: &[u8; 8] = b"bakefh1\n";
const HEADER_SIZE: usize = 8 + 8 + 32;
const ENTRY_SIZE: usize = 6 * 8 + 32;

/// A context of a million files makes an 80 MB table; beyond that the oldest entries go.
const ENTRIES_MAX: usize = 1_000_000;

/// Entries that this many rewrites of the table did not see are dropped (deleted files, mostly).
const GENERATIONS_KEPT: u64 = 16;

/// A file changed this shortly before it was hashed may change again without its times changing.
///
/// Two seconds is the coarsest time stamp in use (FAT); others are finer, but their clock is not always this machine's.
const RACY_NS: i64 = 2_000_000_000;

/// The state of a file as `stat` shows it: if none of it changed, neither did the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileIdentity {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
    /// `st_size`, in bytes.
    pub size_bytes: u64,
    /// The modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// The time of the last change of the inode in nanoseconds since 1970; users cannot set it.
    pub ctime_ns: i64,
}

/// The BLAKE3 hash of a file's content.
pub type ContentHash = [u8; 32];

/// A loaded table: a checked byte string that is searched in place.
struct Table {
    generation: u64,
    bytes: Vec<u8>,
}

impl Store {
    /// The remembered content hashes of files of one context, in the order asked.
    ///
    /// `context` names the table: the canonical path of the context directory. A table that is absent or damaged
    /// remembers nothing.
    pub fn file_hashes(&self, context: &[u8], files: &[FileIdentity]) -> Result<Vec<Option<ContentHash>>, StoreError> {
        let Some(table) = self.load_table(context)? else { return Ok(vec![None; files.len()]) };
        Ok(files.iter().map(|file| table.find(file)).collect())
    }

    /// Remembers content hashes of files of one context.
    ///
    /// `started` is a time before the first of these files was looked at. A file whose times are less than two seconds
    /// older than that, or later, is not remembered: it could be written again within the same tick of its time stamp.
    pub fn remember_file_hashes(
        &self,
        context: &[u8],
        started: SystemTime,
        hashes: &[(FileIdentity, ContentHash)],
    ) -> Result<(), StoreError> {
        let started_ns = nanoseconds(started);
        let mut fresh: Vec<_> = hashes.iter().filter(|(file, _)| !is_racy(file, started_ns)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        fresh.sort_by_key(|(file, _)| (file.device, file.inode));
        fresh.dedup_by_key(|(file, _)| (file.device, file.inode));
        let old = self.load_table(context)?.unwrap_or(Table { generation: 0, bytes: Vec::new() });
        let bytes = merge(&old, &fresh);

        let path = self.layout().file_hashes(context);
        let mut temporary = Temporary::create(self.layout())?;
        temporary.file.write_all(&bytes).at("write", &temporary.path)?;
        let _no_removal = GcLock::shared(self.layout())?;
        temporary.publish(&path)
    }

    fn load_table(&self, context: &[u8]) -> Result<Option<Table>, StoreError> {
        Table::load(&self.layout().file_hashes(context))
    }
}

/// Whether the table at `path` can be read, or has vanished.
pub(crate) fn is_sound_table(path: &Path) -> Result<bool, StoreError> {
    Ok(Table::load(path)?.is_some() || !path.exists())
}

impl Table {
    fn load(path: &Path) -> Result<Option<Self>, StoreError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("open", path, error)),
        };
        let size = file.metadata().at("inspect", path)?.len();
        let size_max = HEADER_SIZE + ENTRIES_MAX * ENTRY_SIZE;
        let Some(size) = usize::try_from(size).ok().filter(|size| (HEADER_SIZE..=size_max).contains(size)) else {
            return Ok(None);
        };
        let mut header = [0; HEADER_SIZE];
        let mut bytes = vec![0; size - HEADER_SIZE];
        if let Err(error) = file.read_exact(&mut header).and_then(|()| file.read_exact(&mut bytes)) {
            return if error.kind() == io::ErrorKind::UnexpectedEof {
                Ok(None)
            } else {
                Err(StoreError::io("read", path, error))
            };
        }
        let sound = header.starts_with(MAGIC)
            && bytes.len().is_multiple_of(ENTRY_SIZE)
            && header[16..] == *blake3::hash(&bytes).as_bytes();
        Ok(sound.then(|| Table { generation: number(&header, 1), bytes }))
    }

    fn find(&self, file: &FileIdentity) -> Option<ContentHash> {
        let (mut low, mut high) = (0, self.bytes.len() / ENTRY_SIZE);
        while low < high {
            let middle = usize::midpoint(low, high);
            let entry = self.bytes.get(middle * ENTRY_SIZE..(middle + 1) * ENTRY_SIZE)?;
            match key(entry).cmp(&(file.device, file.inode)) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let same = number(entry, 2) == file.size_bytes
                        && number(entry, 3).cast_signed() == file.mtime_ns
                        && number(entry, 4).cast_signed() == file.ctime_ns;
                    return if same { entry.get(48..)?.try_into().ok() } else { None };
                }
            }
        }
        None
    }
}

/// The bytes of a table that holds `fresh` (sorted) and what is still worth keeping of `old`.
fn merge(old: &Table, fresh: &[&(FileIdentity, ContentHash)]) -> Vec<u8> {
    let generation = old.generation + 1;
    let mut bytes = Vec::with_capacity(HEADER_SIZE + old.bytes.len() + fresh.len() * ENTRY_SIZE);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&[0; 32]);
    let mut kept = old.bytes.chunks_exact(ENTRY_SIZE).peekable();
    let mut room = ENTRIES_MAX.saturating_sub(fresh.len());
    let mut keep = |entry: &[u8], bytes: &mut Vec<u8>| {
        if number(entry, 5) + GENERATIONS_KEPT > generation && room > 0 {
            bytes.extend_from_slice(entry);
            room -= 1;
        }
    };
    for (file, hash) in fresh.iter().take(ENTRIES_MAX) {
        while let Some(entry) = kept.next_if(|entry| key(entry) < (file.device, file.inode)) {
            keep(entry, &mut bytes);
        }
        kept.next_if(|entry| key(entry) == (file.device, file.inode));
        for value in [
            file.device,
            file.inode,
            file.size_bytes,
            file.mtime_ns.cast_unsigned(),
            file.ctime_ns.cast_unsigned(),
            generation,
        ] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(hash);
    }
    kept.for_each(|entry| keep(entry, &mut bytes));
    let checksum = blake3::hash(&bytes[HEADER_SIZE..]);
    bytes[16..HEADER_SIZE].copy_from_slice(checksum.as_bytes());
    bytes
}

/// The number in the `position`th eight bytes.
fn number(bytes: &[u8], position: usize) -> u64 {
    let start = position * 8;
    bytes.get(start..start + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn key(entry: &[u8]) -> (u64, u64) {
    (number(entry, 0), number(entry, 1))
}

fn is_racy(file: &FileIdentity, started_ns: i64) -> bool {
    // The inode's own time is always this machine's (or server's) clock: anything recent or in the future is racy.
    // The modification time can be set by users, so only one near the start says something.
    file.ctime_ns >= started_ns.saturating_sub(RACY_NS)
        || file.mtime_ns.saturating_sub(started_ns).unsigned_abs() <= RACY_NS.unsigned_abs()
}

fn nanoseconds(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanoseconds| -nanoseconds),
    }
}

/// The files of the remembered tables, with the time they were last written.
pub(crate) fn tables(store: &Store) -> Result<Vec<(std::path::PathBuf, i64)>, StoreError> {
    use std::os::unix::fs::MetadataExt;
    let directory = store.layout().directory("file-hashes");
    let mut tables = Vec::new();
    for entry in fs::read_dir(&directory).at("list", &directory)? {
        let path = entry.at("list", &directory)?.path();
        if let Ok(metadata) = fs::symlink_metadata(&path) {
            tables.push((path, metadata.mtime()));
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::time::{Duration, Instant};

    use super::*;
    use crate::testing::TestStore;

    const OLD: i64 = 1_600_000_000_000_000_000;

    fn file(inode: u64) -> FileIdentity {
        FileIdentity { device: 7, inode, size_bytes: inode * 3, mtime_ns: OLD, ctime_ns: OLD }
    }

    fn hash(value: u64) -> ContentHash {
        *blake3::hash(&value.to_le_bytes()).as_bytes()
    }

    #[test]
    fn an_unchanged_file_is_known_and_a_changed_one_is_not() {
        let test = TestStore::new();
        let store = &test.store;
        let now = SystemTime::now();
        store.remember_file_hashes(b"/src", now, &[(file(5), hash(5)), (file(1), hash(1))]).unwrap();
        store.remember_file_hashes(b"/src", now, &[(file(3), hash(3)), (file(5), hash(55))]).unwrap();
        let bigger = FileIdentity { size_bytes: 99, ..file(1) };
        let touched = FileIdentity { mtime_ns: OLD + 1, ..file(1) };
        let changed = FileIdentity { ctime_ns: OLD - 1, ..file(1) };
        let asked = [file(1), file(2), file(3), file(5), bigger, touched, changed];
        assert_eq!(
            store.file_hashes(b"/src", &asked).unwrap(),
            [Some(hash(1)), None, Some(hash(3)), Some(hash(55)), None, None, None]
        );
        assert_eq!(store.file_hashes(b"/other", &asked[..1]).unwrap(), [None]);
        assert_eq!(test.leftovers(), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_could_still_change_unseen_is_not_remembered() {
        let test = TestStore::new();
        let now = SystemTime::now();
        let now_ns = nanoseconds(now);
        let just_changed = FileIdentity { ctime_ns: now_ns - 1_000_000_000, ..file(1) };
        let in_the_future = FileIdentity { ctime_ns: now_ns + 3_600_000_000_000, ..file(2) };
        let just_modified = FileIdentity { mtime_ns: now_ns, ..file(3) };
        let settled = FileIdentity { ctime_ns: now_ns - 3_000_000_000, mtime_ns: now_ns - 3_000_000_000, ..file(4) };
        // A modification time far in the future was set by hand; the inode's time tells the truth.
        let set_by_hand = FileIdentity { mtime_ns: now_ns + 3_600_000_000_000, ..file(5) };
        let all = [just_changed, in_the_future, just_modified, settled, set_by_hand];
        let hashes: Vec<_> = all.iter().map(|file| (*file, hash(file.inode))).collect();
        test.store.remember_file_hashes(b"/src", now, &hashes).unwrap();
        assert_eq!(test.store.file_hashes(b"/src", &all).unwrap(), [None, None, None, Some(hash(4)), Some(hash(5))]);
    }

    #[test]
    fn a_damaged_table_remembers_nothing_and_is_replaced() {
        let test = TestStore::new();
        let now = SystemTime::now();
        test.store.remember_file_hashes(b"/src", now, &[(file(1), hash(1))]).unwrap();
        let path = test.store.layout().file_hashes(b"/src");
        let mut bytes = fs::read(&path).unwrap();
        for cut in [0, 10, HEADER_SIZE, bytes.len() - 1] {
            fs::write(&path, &bytes[..cut]).unwrap();
            assert_eq!(test.store.file_hashes(b"/src", &[file(1)]).unwrap(), [None]);
        }
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(test.store.file_hashes(b"/src", &[file(1)]).unwrap(), [None]);
        test.store.remember_file_hashes(b"/src", now, &[(file(1), hash(1))]).unwrap();
        assert_eq!(test.store.file_hashes(b"/src", &[file(1)]).unwrap(), [Some(hash(1))]);
    }

    #[test]
    fn files_not_seen_for_long_are_forgotten() {
        let test = TestStore::new();
        let now = SystemTime::now();
        test.store.remember_file_hashes(b"/src", now, &[(file(1), hash(1))]).unwrap();
        for _ in 0..GENERATIONS_KEPT - 1 {
            test.store.remember_file_hashes(b"/src", now, &[(file(2), hash(2))]).unwrap();
        }
        assert_eq!(test.store.file_hashes(b"/src", &[file(1)]).unwrap(), [Some(hash(1))]);
        test.store.remember_file_hashes(b"/src", now, &[(file(2), hash(2))]).unwrap();
        assert_eq!(test.store.file_hashes(b"/src", &[file(1), file(2)]).unwrap(), [None, Some(hash(2))]);
    }

    #[test]
    fn fifty_thousand_files_are_looked_up_quickly() {
        let test = TestStore::new();
        let hashes: Vec<_> = (0..50_000).map(|inode| (file(inode * 7), hash(inode))).collect();
        let files: Vec<_> = hashes.iter().map(|(file, _)| *file).collect();
        test.store.remember_file_hashes(b"/src", SystemTime::now(), &hashes).unwrap();
        let started = Instant::now();
        let found = test.store.file_hashes(b"/src", &files).unwrap();
        let elapsed = started.elapsed();
        assert!(found.iter().zip(&hashes).all(|(found, (_, hash))| *found == Some(*hash)));
        eprintln_test(&format!("50,000 file hashes looked up in {elapsed:?}"));
        // Far above the expected time, also of an unoptimised build on a busy machine.
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    }

    #[expect(clippy::print_stderr, reason = "a measurement for whoever runs the test with --nocapture")]
    fn eprintln_test(text: &str) {
        eprintln!("{text}");
    }
}
