//! Garbage collection: choose by age and size, remove in small batches, delete afterwards.
//!
//! 1. Leftovers of killed processes go to the trash, and the trash is emptied. On a full disk the reserve is given up,
//!    which makes the room that the index needs for its own work.
//! 2. The inventory is taken; candidates go least recently used first, until the size goals are met.
//! 3. Per batch, with the lock against taking things into use: leases and tags are read again, victims that nobody
//!    needs are renamed into a bin of this prune, and their rows are deleted in one transaction. What had to stay is
//!    made up for by the next batch.
//! 4. The bin is deleted, which tells how much was freed, and the reserve is made again.
//!
//! Things share files by hard links, so what a removal frees is not its size: see the ledger.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;
use crate::cache_mounts::remove_slot;
use crate::error::AtPath;
use crate::layout::{RESERVE_BYTES, make_reserve, now_unix_s};
use crate::lease::is_locked;
use crate::ledger::Ledger;
use crate::lock::GcLock;
use crate::past::{evict_all_records, evict_record};
use crate::store::Store;
use crate::trash::{Bin, collect_ingests};
use crate::usage::{ItemKind, Need, Roots, StoreItem, Target};

/// Victims per batch: about 2 ms of renames, so nobody waits noticeably for the lock.
const BATCH: usize = 64;

/// Remembered values older than this are of no use to any of their users.
const REMEMBERED_KEEP: Duration = Duration::from_hours(90 * 24);

/// An index with more unused bytes than this is written anew when the whole cache was forgotten.
const INDEX_SLACK_BYTES: u64 = 1 << 20;

/// Which cached things a prune may remove at all.
#[derive(Clone)]
pub struct PruneFilter(Arc<dyn Fn(&StoreItem) -> bool + Send + Sync>);

impl fmt::Debug for PruneFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PruneFilter")
    }
}

impl PruneFilter {
    /// Only items for which `admits` says so.
    pub fn new(admits: impl Fn(&StoreItem) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(admits))
    }

    /// Only these kinds.
    pub fn kinds(kinds: Vec<ItemKind>) -> Self {
        Self::new(move |item| kinds.contains(&item.kind))
    }

    /// Whether the filter lets an item go.
    pub fn admits(&self, item: &StoreItem) -> bool {
        (self.0)(item)
    }
}

/// What to remove. Whatever a tag or a running process needs always stays.
///
/// Without a size goal everything that matches goes; with one or more, the least recently used goes until all are met.
#[derive(Debug, Clone, Default)]
pub struct PruneOptions {
    /// Also remove what would have to be made again for the images that stay: unpacked layers of images whose layer
    /// blobs are there, remembered file hashes and values, the output of past builds, and pulls that could be continued. Without filters and goals
    /// this is the whole build cache: results whose layers stay, because an image has them, are forgotten as results.
    pub all: bool,
    /// All of these must admit an item.
    pub filters: Vec<PruneFilter>,
    /// Keep what was used within this time.
    pub keep_duration: Option<Duration>,
    /// Goal: the store takes at most this many bytes, as [`Usage::total_bytes`](crate::Usage) counts them.
    pub max_used_bytes: Option<u64>,
    /// Goal: the file system has at least this many bytes free.
    pub min_free_bytes: Option<u64>,
    /// Of what could be removed, always leave this many bytes.
    pub reserved_bytes: Option<u64>,
    /// Only say what would be removed.
    pub dry_run: bool,
}

/// What a prune removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PruneReport {
    /// The items removed, in the order of removal.
    pub removed: Vec<StoreItem>,
    /// The number of cache records removed.
    pub records: u64,
    /// The disk space that was freed, in bytes: what was measured when files went with their last name. In a dry run, what
    /// would be freed.
    pub freed_bytes: u64,
    /// The part of it that was left over from earlier removals and killed processes, in bytes.
    pub leftover_bytes: u64,
    /// The disk space of the store afterwards, in bytes.
    pub left_bytes: u64,
}

impl PruneOptions {
    /// Whether the whole build cache is to go.
    fn is_everything(&self) -> bool {
        let goals = [self.max_used_bytes, self.min_free_bytes, self.reserved_bytes];
        self.all && self.filters.is_empty() && self.keep_duration.is_none() && goals.iter().all(Option::is_none)
    }

    /// Whether an item may go as far as its kind, its age and the filters are concerned.
    fn admits(&self, item: &StoreItem, now_unix_s: i64) -> bool {
        let removable = match item.need {
            Need::Cache => self.all || !matches!(item.kind, ItemKind::FileHashes | ItemKind::BuildLog),
            Need::UnpackedImage => self.all,
            Need::Image | Need::InUse => false,
        };
        // A time of use in the future is the work of a wrong clock, not of recent use.
        let is_recent = |keep: Duration| {
            let since = now_unix_s.saturating_sub(i64::try_from(keep.as_secs()).unwrap_or(i64::MAX));
            (since..=now_unix_s).contains(&item.used_unix_s)
        };
        removable && !self.keep_duration.is_some_and(is_recent) && self.filters.iter().all(|filter| filter.admits(item))
    }
}

impl Store {
    /// Removes cached things as the options say.
    ///
    /// Without a size goal, roots of failed steps go first: what they stand on may go then too.
    pub fn prune(&self, options: &PruneOptions) -> Result<PruneReport, StoreError> {
        let has_goal = options.max_used_bytes.or(options.min_free_bytes).or(options.reserved_bytes).is_some();
        if has_goal || options.dry_run || self.kept_roots()?.is_empty() {
            return self.prune_once(options);
        }
        let mut first = options.clone();
        first.filters.push(PruneFilter::kinds(vec![ItemKind::FailedStep]));
        let first = self.prune_once(&first)?;
        let mut report = self.prune_once(options)?;
        report.removed.splice(0..0, first.removed);
        report.freed_bytes += first.freed_bytes;
        report.leftover_bytes += first.leftover_bytes;
        Ok(report)
    }

    fn prune_once(&self, options: &PruneOptions) -> Result<PruneReport, StoreError> {
        let mut report = PruneReport::default();
        if !options.dry_run {
            if options.all {
                collect_ingests(self.layout(), &GcLock::exclusive(self.layout())?, Duration::ZERO)?;
            }
            report.leftover_bytes = self.empty_trash()?.freed_bytes;
            report.freed_bytes = report.leftover_bytes;
            if self.free_bytes()? < RESERVE_BYTES {
                self.layout().move_to_trash(&self.layout().reserve())?;
                self.delete_trash()?;
            }
        }
        let (mut inventory, roots) = self.inventory()?;
        let mut total_bytes = inventory.ledger.total_bytes();
        if options.dry_run {
            // This would be gone by now.
            report.leftover_bytes = inventory.ledger.remove(inventory.leftover());
            report.freed_bytes = report.leftover_bytes;
            total_bytes = total_bytes.saturating_sub(report.leftover_bytes);
        }
        let now = now_unix_s();
        let candidates: Vec<(usize, StoreItem)> =
            inventory.items.into_iter().enumerate().filter(|(_, item)| options.admits(item, now)).collect();
        let goal_bytes = self.goal(total_bytes, options)?;
        let mut choice = Choice::new(inventory.ledger, &candidates, goal_bytes, options.reserved_bytes);
        if options.dry_run {
            report.removed.extend(choice.by_ref().map(|(_, item)| item.clone()));
            report.freed_bytes += choice.freed_bytes;
            report.left_bytes = total_bytes.saturating_sub(choice.freed_bytes);
            return Ok(report);
        }
        let bin = Bin::create(self.layout())?;
        self.remove_chosen(&mut choice, roots, &bin, &mut report)?;
        self.remove_stale_referrers(&GcLock::exclusive(self.layout())?)?;
        if options.is_everything() {
            report.records += self.forget_records()?;
        }
        self.forget_unusable(options.all)?;
        self.tidy_past()?;
        self.tidy_traces()?;
        report.freed_bytes += bin.close(self.layout())?.freed_bytes;
        if options.is_everything() {
            self.compact_index();
        }
        // Before the reserve is taken: a shortened log may be what makes room for it.
        match self.index().checkpoint() {
            // Others fill the disk as fast as this frees it; the log can be copied later.
            Err(error) if error.is_disk_full() => tracing::debug!(%error, "could not shorten the index's log"),
            done => done?,
        }
        make_reserve(self.root());
        report.left_bytes = total_bytes.saturating_sub(choice.freed_bytes);
        Ok(report)
    }

    /// Removes batch by batch until the choice is satisfied.
    fn remove_chosen(
        &self,
        choice: &mut Choice<'_>,
        mut roots: Roots,
        bin: &Bin,
        report: &mut PruneReport,
    ) -> Result<(), StoreError> {
        loop {
            let batch: Vec<_> = choice.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let removed = self.remove_batch(&batch, &mut roots, bin, report)?;
            for ((position, item), removed) in batch.iter().zip(removed) {
                if removed {
                    report.removed.push((*item).clone());
                } else {
                    choice.take_back(*position);
                }
            }
        }
    }

    /// How many bytes must go to meet the size goals; `None` if there are none.
    fn goal(&self, total_bytes: u64, options: &PruneOptions) -> Result<Option<u64>, StoreError> {
        let by_use = options.max_used_bytes.map(|max| total_bytes.saturating_sub(max));
        let by_free = match options.min_free_bytes {
            Some(min) => Some(min.saturating_sub(self.free_bytes()?)),
            None => None,
        };
        Ok(by_use.into_iter().chain(by_free).max())
    }

    /// What this user can still write to the file system, in bytes.
    pub(crate) fn free_bytes(&self) -> Result<u64, StoreError> {
        let status = rustix::fs::statvfs(self.root()).at("ask for the free space of", self.root())?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    /// Removes those of a batch that nobody needs now; says which.
    fn remove_batch(
        &self,
        batch: &[(usize, &StoreItem)],
        roots: &mut Roots,
        bin: &Bin,
        report: &mut PruneReport,
    ) -> Result<Vec<bool>, StoreError> {
        let alone = GcLock::exclusive(self.layout())?;
        roots.refresh(self.layout(), &alone)?;
        let mut rows = Vec::new();
        let mut removed = Vec::with_capacity(batch.len());
        for (_, item) in batch {
            removed.push(match &item.target {
                Target::Blob(digest) => {
                    roots.need_of_blob(digest) == Need::Cache && bin.take(self.layout(), &self.layout().blob(digest))?
                }
                Target::Snapshot(id, records) => {
                    let state =
                        self.index().read("look up a snapshot", |connection| state_of(connection, id.as_str()))?;
                    let need = roots.need_of_snapshot(id, state.diff_id.as_ref());
                    // A record added since the choice was made shows that somebody counts on the snapshot.
                    let fresh = state.records > *records;
                    let removed = need <= Need::UnpackedImage && need <= item.need && !fresh;
                    if removed {
                        bin.take(self.layout(), &self.layout().snapshot(id))?;
                        rows.push(&item.target);
                    }
                    removed
                }
                Target::Record(_) => {
                    rows.push(&item.target);
                    true
                }
                Target::Path(path) if item.kind == ItemKind::CacheMount => {
                    remove_slot(self.layout(), path, bin, &alone)?
                }
                Target::Path(path) if item.kind == ItemKind::FailedStep && is_locked(&path.join("lock"))? => false,
                Target::Path(path) => bin.take(self.layout(), path)?,
            });
        }
        let mut deleted = self.delete_rows(&rows);
        if deleted.as_ref().is_err_and(StoreError::is_disk_full) {
            // What was just moved makes the room. Until then a row without its directory counts as absent.
            report.freed_bytes += bin.empty(self.layout())?.freed_bytes;
            deleted = self.delete_rows(&rows);
        }
        report.records += deleted?;
        Ok(removed)
    }

    /// Writes the index anew when most of it is unused. Others may stand in the way, and a full disk; then it stays long.
    fn compact_index(&self) {
        let compacted = self.index().read("write the index anew", |connection| {
            let slack: i64 = connection.query_row(
                "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size",
                [],
                |row| row.get(0),
            )?;
            if crate::index::from_sql(slack) > INDEX_SLACK_BYTES { connection.execute_batch("VACUUM") } else { Ok(()) }
        });
        if let Err(error) = compacted {
            tracing::debug!(%error, "could not write the index anew");
        }
    }

    /// Forgets all results and what their steps asked; their layers are for others to keep. Returns how many there were.
    fn forget_records(&self) -> Result<u64, StoreError> {
        self.index().write("forget all results", |connection| {
            crate::traces::forget_all_traces(connection)?;
            evict_all_records(connection, "bake prune")
        })
    }

    /// Deletes the rows of removed items; returns how many cache records went with them.
    fn delete_rows(&self, targets: &[&Target]) -> Result<u64, StoreError> {
        if targets.is_empty() {
            return Ok(0);
        }
        self.index().write("remove what was pruned", |connection| {
            let mut records = BTreeSet::new();
            for target in targets {
                match target {
                    Target::Snapshot(id, _) => {
                        let mut statement =
                            connection.prepare_cached("SELECT record FROM record_snapshot WHERE snapshot = ?1")?;
                        for record in statement.query_map([id.as_str()], |row| row.get::<_, i64>(0))? {
                            records.insert(record?);
                        }
                        connection.prepare_cached("DELETE FROM snapshot WHERE id = ?1")?.execute([id.as_str()])?;
                    }
                    Target::Record(id) => {
                        records.insert(*id);
                    }
                    Target::Blob(_) | Target::Path(_) => {}
                }
            }
            for record in &records {
                evict_record(connection, *record, "bake prune")?;
            }
            Ok(u64::try_from(records.len()).unwrap_or(u64::MAX))
        })
    }

    /// Deletes rows that can be of no use any more.
    fn forget_unusable(&self, all: bool) -> Result<(), StoreError> {
        let forms = self.index().read("list compressed layers", |connection| {
            let mut statement = connection.prepare(
                "SELECT diff_id, digest FROM compressed
                 WHERE diff_id NOT IN (SELECT diff_id FROM snapshot WHERE diff_id IS NOT NULL)",
            )?;
            let forms = statement.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, crate::index::parse_column::<bake_oci::Digest>(row, 1)?))
            })?;
            forms.collect::<Result<Vec<_>, _>>()
        })?;
        let gone: Vec<_> = forms.iter().filter(|(_, digest)| !self.layout().blob(digest).exists()).collect();
        let keep_s = if all { 0 } else { i64::try_from(REMEMBERED_KEEP.as_secs()).unwrap_or(i64::MAX) };
        let oldest = now_unix_s().saturating_sub(keep_s);
        self.index().write("forget old values", |connection| {
            let mut statement =
                connection.prepare_cached("DELETE FROM compressed WHERE diff_id = ?1 AND digest = ?2")?;
            for (diff_id, digest) in gone {
                statement.execute(params![diff_id, digest.to_string()])?;
            }
            let condition = if all { "seen <= ?1" } else { "seen < ?1" };
            connection.execute(&format!("DELETE FROM remembered WHERE {condition}"), [oldest])?;
            Ok(())
        })
    }
}

/// Goes through the candidates until the goals are met, keeping count of what is really freed.
#[derive(Debug)]
struct Choice<'a> {
    ledger: Ledger,
    candidates: std::slice::Iter<'a, (usize, StoreItem)>,
    goal_bytes: Option<u64>,
    reserved_bytes: u64,
    /// What all candidates together would free.
    removable_bytes: u64,
    freed_bytes: u64,
}

impl<'a> Choice<'a> {
    fn new(
        mut ledger: Ledger,
        candidates: &'a [(usize, StoreItem)],
        goal_bytes: Option<u64>,
        reserved_bytes: Option<u64>,
    ) -> Self {
        let removable_bytes = candidates.iter().map(|(position, _)| ledger.remove(*position)).sum();
        for (position, _) in candidates {
            ledger.restore(*position);
        }
        let reserved_bytes = reserved_bytes.unwrap_or(0);
        Self { ledger, candidates: candidates.iter(), goal_bytes, reserved_bytes, removable_bytes, freed_bytes: 0 }
    }

    /// Notes that the last choice was not carried out.
    fn take_back(&mut self, position: usize) {
        self.freed_bytes = self.freed_bytes.saturating_sub(self.ledger.restore(position));
    }
}

impl<'a> Iterator for Choice<'a> {
    type Item = (usize, &'a StoreItem);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.goal_bytes.is_some_and(|goal| self.freed_bytes >= goal) {
                return None;
            }
            let (position, item) = self.candidates.next()?;
            let freed = self.ledger.remove(*position);
            let left = self.removable_bytes.saturating_sub(self.freed_bytes + freed);
            if freed > 0 && left < self.reserved_bytes {
                self.ledger.restore(*position);
                continue;
            }
            self.freed_bytes += freed;
            return Some((*position, item));
        }
    }
}

/// What the index knows of a snapshot just before its removal.
#[derive(Default)]
struct SnapshotState {
    diff_id: Option<bake_oci::DiffId>,
    records: u64,
}

fn state_of(connection: &Connection, id: &str) -> rusqlite::Result<SnapshotState> {
    let text: Option<Option<String>> = connection
        .prepare_cached("SELECT diff_id FROM snapshot WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let records: i64 = connection
        .prepare_cached("SELECT count(*) FROM record_snapshot WHERE snapshot = ?1")?
        .query_row([id], |row| row.get(0))?;
    Ok(SnapshotState {
        diff_id: text.flatten().and_then(|text| text.parse().ok()),
        records: crate::index::from_sql(records),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use bake_oci::{CacheKey, DefinitionDigest, SnapshotId};

    use super::*;
    use crate::CacheRecord;
    use crate::testing::TestStore;

    fn add_record(test: &TestStore, key: &str, snapshots: &[&SnapshotId]) {
        let record = CacheRecord {
            keys: vec![CacheKey::of(key.as_bytes())],
            definition: DefinitionDigest::of(key.as_bytes()),
            result: b"{}".to_vec(),
            snapshots: snapshots.iter().map(|id| (*id).clone()).collect(),
            components: Vec::new(),
            description: format!("RUN {key}"),
            created_unix_s: now_unix_s(),
            used_unix_s: 0,
        };
        test.store.cache_record(&record).unwrap();
    }

    fn ids(report: &PruneReport) -> Vec<&str> {
        report.removed.iter().map(|item| item.id.as_str()).collect()
    }

    /// The index and its log change by some pages while others are measured.
    fn assert_near(bytes: u64, expected: u64) {
        assert!(bytes.abs_diff(expected) <= 64 << 10, "{bytes} instead of {expected}");
    }

    #[test]
    fn what_nothing_needs_goes_and_what_a_tag_needs_stays() {
        let test = TestStore::new();
        let image = test.image("kept", &["l1", "l2"]);
        let dangling = test.image("dangling", &["l2", "l3"]);
        test.store.with_new_lease().tag("app:1", &image, 0).unwrap();
        // The image's first layer exists as a snapshot only, its second as both.
        test.publish("l1", &[]);
        test.publish("l2", &[]);
        let cached = test.publish("cached", &[]);
        let l1 = bake_oci::Digest::of(b"l1");
        std::fs::remove_file(test.store.layout().blob(&l1)).unwrap();
        add_record(&test, "k", &[&cached]);
        add_record(&test, "without layers", &[]);

        let dry = test.store.prune(&PruneOptions { dry_run: true, ..PruneOptions::default() }).unwrap();
        let usage = test.store.usage().unwrap();
        assert_eq!((usage.tags, usage.records), (1, 2));
        let report = test.store.prune(&PruneOptions::default()).unwrap();
        assert_eq!(report.removed, dry.removed);
        assert_eq!(report.records, 2);
        assert_near(report.freed_bytes + report.left_bytes, usage.total_bytes);
        assert_eq!(report.freed_bytes, dry.freed_bytes);
        // The dangling manifest and config, layer l3, the cached snapshot, the record without layers.
        assert_eq!(report.removed.len(), 5, "{:?}", ids(&report));
        assert!(ids(&report).contains(&dangling.digest.to_string().as_str()));
        assert_eq!(test.store.list_blobs().unwrap().len(), 3);
        assert!(test.store.cache_lookup(&CacheKey::of(b"k")).unwrap().is_none());
        let reclaimable = usage.reclaimable_bytes - report.freed_bytes;

        let report = test.store.with_new_lease().prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
        assert_eq!(ids(&report), ["l2"]);
        assert_near(report.freed_bytes, reclaimable);
        assert!(test.store.snapshot(&SnapshotId::new("l1").unwrap()).unwrap().is_some());
        assert_eq!(test.leftovers(), Vec::<String>::new());
    }

    #[test]
    fn what_a_running_build_uses_stays_until_it_ends() {
        let test = TestStore::new();
        let id = test.publish("a", &[]);
        let (digest, _) = test.store.with_new_lease().put_bytes(b"blob").unwrap();
        add_record(&test, "k", &[&id]);
        let build = test.store.with_new_lease();
        build.cache_lookup(&CacheKey::of(b"k")).unwrap().unwrap();
        build.blob_size(&digest).unwrap().unwrap();
        let mount = build.try_cache_mount("go", crate::CacheSharing::Shared, |_| Ok(())).unwrap();
        let prune = || test.store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
        assert_eq!(prune().removed, []);
        drop(build);
        assert_eq!(prune().removed.len(), 2);
        drop(mount);
        assert_eq!(prune().removed.len(), 1);
        assert_eq!(test.store.usage().unwrap().items, []);
    }

    #[test]
    fn the_least_recently_used_go_first_until_the_goal_is_met() {
        let test = TestStore::new();
        let names = ["a", "b", "c", "d"].map(|name| test.publish(name, &[("file", &"x".repeat(100_000))]));
        for (age, id) in names.iter().enumerate() {
            test.sql(&format!("UPDATE snapshot SET used = {} WHERE id = '{id}'", 1000 - age));
        }
        // A recent record makes an old snapshot recent.
        add_record(&test, "k", &[&names[3]]);
        test.store.empty_trash().unwrap();
        let usage = test.store.usage().unwrap();
        let goal = usage.total_bytes - usage.items[0].size_bytes - 1;
        let options = PruneOptions { max_used_bytes: Some(goal), ..PruneOptions::default() };
        assert_eq!(ids(&test.store.prune(&options).unwrap()), ["c", "b"]);
        assert!(test.store.usage().unwrap().total_bytes <= goal);
        assert_eq!(test.store.prune(&options).unwrap().removed, []);
        let hour = Some(Duration::from_hours(1));
        let report = test.store.prune(&PruneOptions { keep_duration: hour, ..PruneOptions::default() }).unwrap();
        assert_eq!(ids(&report), ["a"]);
        let reserved = PruneOptions { reserved_bytes: Some(100), ..PruneOptions::default() };
        assert_eq!(test.store.prune(&reserved).unwrap().removed, []);
        assert_eq!(ids(&test.store.prune(&PruneOptions::default()).unwrap()), ["d"]);
    }

    #[test]
    fn filters_narrow_what_goes() {
        let test = TestStore::new();
        for name in ["a", "b"] {
            let id = test.publish(name, &[]);
            add_record(&test, name, &[&id]);
        }
        test.store.with_new_lease().put_bytes(b"blob").unwrap();
        let prune = |filters| test.store.prune(&PruneOptions { filters, ..PruneOptions::default() }).unwrap();
        let described = |text: &'static str| PruneFilter::new(move |item| item.description.contains(text));
        assert_eq!(prune(vec![described("RUN z")]).removed, []);
        assert_eq!(ids(&prune(vec![described("RUN a")])), ["a"]);
        let digest = bake_oci::Digest::of(b"blob");
        let short = digest.short().to_owned();
        let by_id =
            vec![PruneFilter::new(move |item| item.id.contains(&short)), PruneFilter::kinds(vec![ItemKind::Blob])];
        assert_eq!(ids(&prune(by_id)), [digest.to_string()]);
        assert_eq!(ids(&prune(vec![PruneFilter::kinds(vec![ItemKind::Snapshot])])), ["b"]);
    }

    #[test]
    fn everything_includes_results_whose_layers_stay() {
        let test = TestStore::new();
        let id = test.publish("held", &[]);
        add_record(&test, "k", &[&id]);
        let build = test.store.with_new_lease();
        assert!(build.snapshot(&id).unwrap().is_some());
        let key = CacheKey::of(b"k");
        test.store.prune(&PruneOptions::default()).unwrap();
        assert!(test.store.cache_lookup(&key).unwrap().is_some());
        let report = test.store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
        assert_eq!((report.records, test.store.cache_lookup(&key).unwrap()), (1, None));
        assert!(build.snapshot(&id).unwrap().is_some());
    }

    #[test]
    fn a_choice_that_has_become_wrong_is_not_carried_out() {
        let test = TestStore::new();
        let used = test.publish("used", &[]);
        let recorded = test.publish("recorded", &[]);
        let image = test.image("tagged meanwhile", &["l1"]);
        let (inventory, mut roots) = test.store.inventory().unwrap();
        assert!(inventory.items.iter().all(|item| item.need == Need::Cache));
        let build = test.store.with_new_lease();
        build.snapshot(&used).unwrap().unwrap();
        add_record(&test, "k", &[&recorded]);
        test.store.with_new_lease().tag("app:1", &image, 0).unwrap();
        let mut report = PruneReport::default();
        let bin = Bin::create(test.store.layout()).unwrap();
        let batch: Vec<_> = inventory.items.iter().enumerate().collect();
        let removed = test.store.remove_batch(&batch, &mut roots, &bin, &mut report).unwrap();
        assert_eq!(removed, vec![false; batch.len()]);
        assert_eq!(test.store.list_blobs().unwrap().len(), 3);
    }

    /// Publishes a snapshot with a file of its own and one that it shares with the snapshot before.
    fn publish_linked(test: &TestStore, name: &str, before: Option<&SnapshotId>) -> SnapshotId {
        let store = test.store.with_new_lease();
        let active = store.begin_snapshot().unwrap();
        std::fs::write(active.fs().join("own"), vec![1; 50_000]).unwrap();
        let shared = active.fs().join("shared");
        match before {
            Some(before) => std::fs::hard_link(store.layout().snapshot(before).join("fs/shared"), shared).unwrap(),
            None => std::fs::write(shared, vec![2; 1_000_000]).unwrap(),
        }
        store.publish_snapshot(active, TestStore::record(name)).unwrap().snapshot.record.id
    }

    #[test]
    fn shared_files_are_counted_once_and_freed_with_the_last_of_their_names() {
        let test = TestStore::new();
        let first = publish_linked(&test, "first", None);
        let second = publish_linked(&test, "second", Some(&first));
        let third = publish_linked(&test, "third", Some(&second));
        for (age, id) in [&first, &second, &third].iter().enumerate() {
            test.sql(&format!("UPDATE snapshot SET used = {age} WHERE id = '{id}'"));
        }
        test.store.empty_trash().unwrap();
        let usage = test.store.usage().unwrap();
        assert_eq!(
            usage.items.iter().map(|item| item.counted_bytes).sum::<u64>() + usage.other_bytes,
            usage.total_bytes
        );
        assert!(usage.items.iter().all(|item| item.shared_bytes >= 1_000_000 && item.size_bytes > item.shared_bytes));
        assert!(usage.items[0].counted_bytes >= 1_000_000 && usage.items[1].counted_bytes < 100_000);
        // One byte less than all: only the last one frees what they share.
        let goal = PruneOptions { max_used_bytes: Some(usage.total_bytes - 200_000), ..PruneOptions::default() };
        let report = test.store.prune(&PruneOptions { dry_run: true, ..goal.clone() }).unwrap();
        assert_eq!(ids(&report), ["first", "second", "third"]);
        let build = test.store.with_new_lease();
        build.snapshot(&third).unwrap().unwrap();
        let report = test.store.prune(&goal).unwrap();
        assert_eq!(ids(&report), ["first", "second"]);
        assert!((100_000..200_000).contains(&report.freed_bytes), "{report:?}");
        assert_near(report.left_bytes + report.freed_bytes, usage.total_bytes);
        drop(build);
        let report = test.store.prune(&PruneOptions::default()).unwrap();
        assert!(report.freed_bytes > 1_000_000, "{report:?}");
    }

    #[test]
    fn the_reserve_of_cache_stays() {
        let test = TestStore::new();
        for name in ["a", "b", "c"] {
            test.publish(name, &[("file", &"x".repeat(100_000))]);
        }
        let size = test.store.usage().unwrap().items[0].size_bytes;
        let options =
            PruneOptions { max_used_bytes: Some(0), reserved_bytes: Some(size + 1), ..PruneOptions::default() };
        assert_eq!(test.store.prune(&options).unwrap().removed.len(), 1);
    }
}
