//! Locks between processes: `flock` on files of the store.
//!
//! `flock` belongs to an open file, so a lock ends with its holder, however the holder ends. Every lock opens its file
//! anew: two threads of one process exclude each other as two processes do.

use std::fs::{self, File, OpenOptions as FileOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bake_oci::CacheKey;
use rustix::fs::FlockOperation;

use crate::StoreError;
use crate::error::AtPath;
use crate::layout::{Layout, now_unix_s};
use crate::store::Store;

/// The holder line is a process ID and a time; more than this is not ours.
const HOLDER_SIZE_MAX: u64 = 128;

/// How often a waiter looks again: quick at first, because most steps that collide are short.
const WAIT_FIRST: Duration = Duration::from_millis(1);
const WAIT_MAX: Duration = Duration::from_millis(50);

/// Opens a lock file, creating it when needed.
pub(crate) fn open_lock_file(path: &Path) -> Result<File, StoreError> {
    FileOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).at("open", path)
}

/// Waits for a lock. The wait cannot be interrupted, so it is only for locks that are held shortly.
pub(crate) fn lock(file: &File, path: &Path, exclusive: bool) -> Result<(), StoreError> {
    let operation = if exclusive { FlockOperation::LockExclusive } else { FlockOperation::LockShared };
    rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation)).at("lock", path)
}

/// Takes a lock if nobody stands in the way; says whether it did.
pub(crate) fn try_lock(file: &File, path: &Path, exclusive: bool) -> Result<bool, StoreError> {
    let operation =
        if exclusive { FlockOperation::NonBlockingLockExclusive } else { FlockOperation::NonBlockingLockShared };
    match rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation)) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(StoreError::io("lock", path, errno.into())),
    }
}

/// The lock between taking things into use and removing them.
///
/// Shared holders look something up and write it into their lease in one go; the exclusive holder reads all leases and
/// removes what none names in one go. So neither can come between the other's two acts. Holders keep it for
/// microseconds (shared) or one small batch (exclusive), never across work of unbounded length.
#[derive(Debug)]
pub(crate) struct GcLock {
    _file: File,
}

impl GcLock {
    pub(crate) fn shared(layout: &Layout) -> Result<Self, StoreError> {
        Self::take(layout, false)
    }

    pub(crate) fn exclusive(layout: &Layout) -> Result<Self, StoreError> {
        Self::take(layout, true)
    }

    fn take(layout: &Layout, exclusive: bool) -> Result<Self, StoreError> {
        let path = layout.root().join("locks/gc");
        let file = open_lock_file(&path)?;
        lock(&file, &path, exclusive)?;
        Ok(Self { _file: file })
    }
}

/// The process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process ID, where it is known (as its own PID namespace counts).
    pub process_id: Option<u32>,
    /// When it took the lock, in seconds since 1970.
    pub since_unix_s: Option<i64>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.process_id {
            Some(id) => write!(f, "process {id}"),
            None => f.write_str("another process"),
        }
    }
}

/// The right to execute the step of one cache key; given back when dropped or when the process ends.
#[derive(Debug)]
pub struct KeyLock {
    path: PathBuf,
    _file: File,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // Removed while still locked: whoever waits on this file finds it gone from the directory and opens the new
        // one.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "could not remove a key lock");
        }
    }
}

/// The answer to an attempt to lock a key.
#[derive(Debug)]
pub enum TryLock {
    /// The lock is ours.
    Acquired(KeyLock),
    /// Somebody else holds it.
    HeldBy(Holder),
}

impl Store {
    /// Takes the lock of a cache key if it is free, so that one step runs in one process at a time.
    pub fn try_lock_key(&self, key: &CacheKey) -> Result<TryLock, StoreError> {
        let path = self.layout().key_lock(key);
        loop {
            let mut file = open_lock_file(&path)?;
            if !try_lock(&file, &path, true)? {
                return Ok(TryLock::HeldBy(read_holder(&mut file)));
            }
            if is_current(&file, &path)? {
                let holder = format!("{} {}\n", std::process::id(), now_unix_s());
                // Only information for waiters: a full disk must not stop the step here.
                if let Err(error) = file.rewind().and_then(|()| file.write_all(holder.as_bytes())) {
                    tracing::debug!(path = %path.display(), %error, "could not name the holder of a key lock");
                }
                return Ok(TryLock::Acquired(KeyLock { path, _file: file }));
            }
        }
    }

    /// Waits for the lock of a cache key for as long as `keep_waiting` says so.
    ///
    /// `keep_waiting` is called with the holder before each look (at most every 50 ms); when it returns false the
    /// result is `None`. The lock of a process that died is free at once.
    pub fn lock_key_while(
        &self,
        key: &CacheKey,
        mut keep_waiting: impl FnMut(&Holder) -> bool,
    ) -> Result<Option<KeyLock>, StoreError> {
        let mut pause = WAIT_FIRST;
        loop {
            match self.try_lock_key(key)? {
                TryLock::Acquired(lock) => return Ok(Some(lock)),
                TryLock::HeldBy(holder) if !keep_waiting(&holder) => return Ok(None),
                TryLock::HeldBy(_) => {}
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(WAIT_MAX);
        }
    }

    /// Waits for the lock of a cache key, however long its holder takes.
    pub fn lock_key(&self, key: &CacheKey) -> Result<KeyLock, StoreError> {
        loop {
            if let Some(lock) = self.lock_key_while(key, |_| true)? {
                return Ok(lock);
            }
        }
    }
}

/// Whether `file` is still what `path` names (its last holder may have removed it while we waited).
fn is_current(file: &File, path: &Path) -> Result<bool, StoreError> {
    let ours = file.metadata().at("inspect", path)?;
    match fs::symlink_metadata(path) {
        Ok(current) => Ok(current.ino() == ours.ino() && current.dev() == ours.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("inspect", path, error)),
    }
}

/// What the holder wrote into the lock file; it may not have come to it yet.
fn read_holder(file: &mut File) -> Holder {
    let mut text = String::new();
    if file.take(HOLDER_SIZE_MAX).read_to_string(&mut text).is_err() {
        text.clear();
    }
    let mut words = text.split_ascii_whitespace();
    Holder {
        process_id: words.next().and_then(|word| word.parse().ok()),
        since_unix_s: words.next().and_then(|word| word.parse().ok()),
    }
}

/// Removes lock files of keys that nobody holds (a killed process leaves them).
pub(crate) fn remove_stale_key_locks(layout: &Layout) -> Result<(), StoreError> {
    let directory = layout.directory("locks");
    for entry in fs::read_dir(&directory).at("list", &directory)? {
        let entry = entry.at("list", &directory)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b"key-") {
            continue;
        }
        let path = entry.path();
        let Ok(file) = File::open(&path) else { continue };
        if try_lock(&file, &path, true)? && is_current(&file, &path)? {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::TestStore;

    #[test]
    fn a_key_is_held_by_one_at_a_time_and_leaves_no_file() {
        let test = TestStore::new();
        let key = CacheKey::of(b"step");
        let first = test.store.lock_key(&key).unwrap();
        let TryLock::HeldBy(holder) = test.store.try_lock_key(&key).unwrap() else { panic!("taken twice") };
        assert_eq!(holder.process_id, Some(std::process::id()));
        let mut looks = 0;
        let given_up = test.store.lock_key_while(&key, |_| {
            looks += 1;
            looks < 3
        });
        assert!(given_up.unwrap().is_none());
        drop(first);
        drop(test.store.lock_key(&key).unwrap());
        assert!(!test.store.layout().key_lock(&key).exists());
    }

    #[test]
    fn waiters_on_a_key_get_it_in_turn() {
        let test = TestStore::new();
        let key = CacheKey::of(b"step");
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let _lock = test.store.lock_key(&key).unwrap();
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn lock_files_of_dead_holders_are_removed_and_live_ones_stay() {
        let test = TestStore::new();
        let dead = test.store.layout().key_lock(&CacheKey::of(b"dead"));
        fs::write(&dead, "1 1\n").unwrap();
        let live = test.store.lock_key(&CacheKey::of(b"live")).unwrap();
        remove_stale_key_locks(test.store.layout()).unwrap();
        assert!(!dead.exists());
        assert!(live.path.exists());
    }
}
