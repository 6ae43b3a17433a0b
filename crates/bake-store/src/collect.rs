//! Automatic garbage collection: keeps the store within a budget, between builds and at no cost for them.
//!
//! `locks/collect` is locked by the process that collects, and its modification time is when somebody looked last. So a
//! look that is not due costs one `stat`. One that is due asks the file system for its free space first: a store cannot
//! be larger than what is used of its file system, so most budgets are known to be kept without measuring anything.

use std::fs::File;
use std::time::{Duration, SystemTime};

use crate::StoreError;
use crate::error::AtPath;
use crate::layout::Layout;
use crate::lease::other_live_leases;
use crate::lock::{GcLock, open_lock_file, try_lock};
use crate::prune::{PruneOptions, PruneReport};
use crate::store::Store;

/// How often somebody looks.
const INTERVAL: Duration = Duration::from_mins(10);

/// While other builds run, a collection waits for them for at most this long.
const PATIENCE: Duration = Duration::from_hours(1);

/// Without a word about it, this much cache stays, or a tenth of the file system if that is less.
const RESERVED_BYTES: u64 = 10 << 30;
const RESERVED_PERCENT: u8 = 10;

/// An amount of disk space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of the file system that the store is on.
    Percent(u8),
}

/// What a store may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The most that the store takes, images included.
    pub max_used: Option<Space>,
    /// The least that stays free on the file system.
    pub min_free: Option<Space>,
    /// This much of what could be removed stays in any case; `None` for 10 GB, or 10 % of a smaller file system.
    pub reserved: Option<Space>,
    /// What was used within this time stays in any case.
    pub keep_duration: Option<Duration>,
}

impl Default for Budget {
    /// 60 % of the file system, 10 % of it free.
    fn default() -> Self {
        Self {
            max_used: Some(Space::Percent(60)),
            min_free: Some(Space::Percent(10)),
            reserved: None,
            keep_duration: None,
        }
    }
}

/// The file system of a store, in bytes.
#[derive(Debug, Clone, Copy)]
struct FileSystem {
    total: u64,
    used: u64,
    /// What this user can still write.
    free: u64,
}

impl Space {
    fn bytes(self, total_bytes: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => {
                u64::try_from(u128::from(total_bytes) * u128::from(percent) / 100).unwrap_or(u64::MAX)
            }
        }
    }
}

impl Store {
    /// The number of bytes that `space` stands for on the file system of this store.
    pub fn space_bytes(&self, space: Space) -> Result<u64, StoreError> {
        match space {
            Space::Bytes(bytes) => Ok(bytes),
            Space::Percent(_) => Ok(space.bytes(FileSystem::of(self.layout())?.total)),
        }
    }

    /// Brings the store back into its budget if somebody has to look and nobody else does; `None` if nothing was to do.
    ///
    /// What this process uses (its lease) and what images need stays. Call it when a build is over and reported.
    pub fn collect_garbage(&self, budget: &Budget) -> Result<Option<PruneReport>, StoreError> {
        let path = self.layout().collect_lock();
        let file = open_lock_file(&path)?;
        let metadata = file.metadata().at("inspect", &path)?;
        // A new file was never looked at; a time in the future is the work of a wrong clock.
        let never = metadata.len() == 0;
        let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if !never && age.is_some_and(|age| age < INTERVAL) {
            return Ok(None);
        }
        let file_system = FileSystem::of(self.layout())?;
        let max_used = budget.max_used.map(|space| space.bytes(file_system.total));
        let min_free = budget.min_free.map(|space| space.bytes(file_system.total));
        let kept =
            max_used.is_none_or(|max| file_system.used <= max) && min_free.is_none_or(|min| file_system.free >= min);
        if kept {
            stamp(&file)?;
            return Ok(None);
        }
        if !try_lock(&file, &path, true)? {
            return Ok(None);
        }
        let is_patient = !never && age.is_none_or(|age| age < PATIENCE);
        if is_patient && self.is_used_by_others()? {
            return Ok(None);
        }
        stamp(&file)?;
        let default_reserve = || RESERVED_BYTES.min(Space::Percent(RESERVED_PERCENT).bytes(file_system.total));
        let options = PruneOptions {
            keep_duration: budget.keep_duration,
            max_used_bytes: max_used,
            min_free_bytes: min_free,
            reserved_bytes: Some(budget.reserved.map_or_else(default_reserve, |space| space.bytes(file_system.total))),
            ..PruneOptions::default()
        };
        let mut report = self.prune(&options)?;
        let free_bytes = FileSystem::of(self.layout())?.free;
        if max_used.is_some_and(|max| report.left_bytes > max) || min_free.is_some_and(|min| free_bytes < min) {
            // What images could be unpacked from again goes last.
            let more = self.prune(&PruneOptions { all: true, ..options })?;
            report.removed.extend(more.removed);
            report.records += more.records;
            report.freed_bytes += more.freed_bytes;
            report.left_bytes = more.left_bytes;
        }
        Ok(Some(report).filter(|report| !report.removed.is_empty()))
    }

    fn is_used_by_others(&self) -> Result<bool, StoreError> {
        let alone = GcLock::exclusive(self.layout())?;
        Ok(other_live_leases(self.layout(), &alone, self.lease_ref())? > 0)
    }
}

/// Notes that somebody looked. The byte tells a stamp from a new file.
fn stamp(file: &File) -> Result<(), StoreError> {
    use std::os::unix::fs::FileExt;
    // A full disk must not keep the collection from freeing it: the time is set in any case.
    if let Err(error) = file.write_all_at(b"\n", 0) {
        tracing::debug!(%error, "could not mark the stamp of collections");
    }
    file.set_modified(SystemTime::now()).at("set the time of", "locks/collect")
}

impl FileSystem {
    fn of(layout: &Layout) -> Result<Self, StoreError> {
        let status = rustix::fs::statvfs(layout.root()).at("ask for the free space of", layout.root())?;
        let bytes = |blocks: u64| blocks.saturating_mul(status.f_frsize);
        Ok(Self {
            total: bytes(status.f_blocks),
            used: bytes(status.f_blocks.saturating_sub(status.f_bfree)),
            free: bytes(status.f_bavail),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::TestStore;

    fn budget(max_used_bytes: u64) -> Budget {
        Budget { max_used: Some(Space::Bytes(max_used_bytes)), min_free: None, reserved: None, keep_duration: None }
    }

    fn make_due(test: &TestStore) {
        let file = open_lock_file(&test.store.layout().collect_lock()).unwrap();
        file.set_modified(SystemTime::now() - INTERVAL - Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn a_budget_is_enforced_when_a_look_is_due() {
        let test = TestStore::new();
        for name in ["a", "b"] {
            test.publish(name, &[("file", &"x".repeat(200_000))]);
        }
        test.sql("UPDATE snapshot SET used = 1 WHERE id = 'a'");
        let none = Budget { reserved: Some(Space::Bytes(0)), ..budget(u64::MAX) };
        assert_eq!(test.store.collect_garbage(&none).unwrap(), None);
        // Just looked at.
        test.store.empty_trash().unwrap();
        let tight = test.store.usage().unwrap().total_bytes - 100_000;
        let tight = Budget { reserved: Some(Space::Bytes(0)), ..budget(tight) };
        assert_eq!(test.store.collect_garbage(&tight).unwrap(), None);
        make_due(&test);
        let report = test.store.collect_garbage(&tight).unwrap().unwrap();
        assert_eq!(report.removed.iter().map(|item| item.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert!(report.freed_bytes >= 200_000);
        make_due(&test);
        // A generous reserve keeps the rest.
        assert_eq!(test.store.collect_garbage(&budget(0)).unwrap(), None);
    }

    #[test]
    fn it_gives_way_to_builds_and_to_another_collection() {
        let test = TestStore::new();
        let id = test.publish("a", &[]);
        test.publish("b", &[]);
        let everything = Budget { reserved: Some(Space::Bytes(0)), ..budget(0) };
        stamp(&open_lock_file(&test.store.layout().collect_lock()).unwrap()).unwrap();
        make_due(&test);
        let build = test.store.with_new_lease();
        build.snapshot(&id).unwrap().unwrap();
        assert_eq!(test.store.collect_garbage(&everything).unwrap(), None);
        drop(build);
        let path = test.store.layout().collect_lock();
        let other = open_lock_file(&path).unwrap();
        assert!(try_lock(&other, &path, true).unwrap());
        assert_eq!(test.store.collect_garbage(&everything).unwrap(), None);
        drop(other);
        assert_eq!(test.store.collect_garbage(&everything).unwrap().unwrap().removed.len(), 2);
    }

    #[test]
    fn shares_are_of_the_file_system() {
        let test = TestStore::new();
        let total = test.store.space_bytes(Space::Percent(100)).unwrap();
        assert!(total > 0);
        assert_eq!(test.store.space_bytes(Space::Percent(50)).unwrap(), total / 2);
        assert_eq!(test.store.space_bytes(Space::Bytes(7)).unwrap(), 7);
    }
}
