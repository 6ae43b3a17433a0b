//! Garbage collection: choose by age and size, remove in small batches, delete afterwards.
//!
//! 1. Leftovers of killed processes go to the trash, and the trash is emptied. On a full disk the reserve is given up,
//!    which makes the room that the index needs for its own work.
//! 2. The inventory is taken and the victims are chosen, least recently used first.
//! 3. Per batch, with the lock against taking things into use: leases and tags are read again, victims that nobody
//!    needs are renamed into the trash, and their rows are deleted in one transaction.
//! 4. The trash is emptied, and the reserve is made again.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use crate::StoreError;
use crate::cache::delete_record;
use crate::cache_mounts::remove_slot;
use crate::error::AtPath;
use crate::layout::{RESERVE_BYTES, make_reserve, now_unix_s};
use crate::lock::GcLock;
use crate::past::evict_all_records;
use crate::store::Store;
use crate::trash::collect_ingests;
use crate::usage::{ItemKind, Need, Roots, StoreItem, Target};

/// Victims per batch: about 2 ms of renames, so nobody waits noticeably for the lock.
const BATCH: usize = 64;

/// Remembered values older than this are of no use to any of their users.
const REMEMBERED_KEEP: Duration = Duration::from_hours(90 * 24);

/// Which cached things a prune may remove at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PruneFilter {
    /// Only these kinds.
    Kind(Vec<ItemKind>),
    /// Only those whose ID (with or without `sha256:`) starts with this.
    Id(String),
    /// Only those whose description contains this.
    Description(String),
}

impl PruneFilter {
    fn admits(&self, item: &StoreItem) -> bool {
        match self {
            Self::Kind(kinds) => kinds.contains(&item.kind),
            Self::Id(prefix) => {
                item.id.starts_with(prefix.as_str())
                    || item.id.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(prefix.as_str()))
            }
            Self::Description(text) => item.description.contains(text.as_str()),
        }
    }
}

/// What to remove. Whatever a tag or a running process needs always stays.
///
/// Without a size goal everything that matches goes; with one or more, the least recently used goes until all are met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PruneOptions {
    /// Also remove what would have to be made again for the images that stay: unpacked layers of images whose layer
    /// blobs are there, remembered file hashes and values, and pulls that could be continued. Without filters and goals
    /// this is the whole build cache: results whose layers stay, because an image has them, are forgotten as results.
    pub all: bool,
    /// All of these must admit an item.
    pub filters: Vec<PruneFilter>,
    /// Keep what was used within this time.
    pub keep_duration: Option<Duration>,
    /// Goal: the store takes at most this many bytes.
    pub max_used_bytes: Option<u64>,
    /// Goal: the file system has at least this many bytes free.
    pub min_free_bytes: Option<u64>,
    /// Never shrink the store below this many bytes.
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
    /// The sum of the sizes of the removed items in bytes, as [`Store::usage`] counts them.
    pub freed_bytes: u64,
    /// The sum of the sizes of what is left in bytes.
    pub left_bytes: u64,
}

impl PruneOptions {
    /// Whether the whole build cache is to go.
    fn is_everything(&self) -> bool {
        let goals = [self.max_used_bytes, self.min_free_bytes, self.reserved_bytes];
        self.all && self.filters.is_empty() && self.keep_duration.is_none() && goals.iter().all(Option::is_none)
    }
}

impl Store {
    /// Removes cached things as the options say.
    pub fn prune(&self, options: &PruneOptions) -> Result<PruneReport, StoreError> {
        if !options.dry_run {
            self.empty_trash()?;
            if self.free_bytes()? < RESERVE_BYTES {
                self.layout().move_to_trash(&self.layout().reserve())?;
                self.delete_trash()?;
            }
        }
        let (inventory, mut roots) = self.inventory(true)?;
        let total_bytes: u64 = inventory.items.iter().map(|item| item.size_bytes).sum();
        let victims = self.choose(inventory.items, total_bytes, options)?;
        let mut report = PruneReport::default();
        if options.dry_run {
            report.freed_bytes = victims.iter().map(|item| item.size_bytes).sum();
            report.removed = victims;
        } else {
            for batch in victims.chunks(BATCH) {
                self.remove_batch(batch, &mut roots, &mut report)?;
            }
            if options.is_everything() {
                report.records += self.forget_records()?;
            }
            self.forget_unusable(options.all)?;
            self.tidy_past()?;
            if options.all {
                collect_ingests(self.layout(), &GcLock::exclusive(self.layout())?, Duration::ZERO)?;
            }
            self.delete_trash()?;
            // Before the reserve is taken: a shortened log may be what makes room for it.
            match self.index().checkpoint() {
                // Others fill the disk as fast as this frees it; the log can be copied later.
                Err(error) if error.is_disk_full() => tracing::debug!(%error, "could not shorten the index's log"),
                done => done?,
            }
            make_reserve(self.root());
        }
        report.left_bytes = total_bytes.saturating_sub(report.freed_bytes);
        Ok(report)
    }

    /// The items to remove, in the order of removal.
    fn choose(
        &self,
        items: Vec<StoreItem>,
        total_bytes: u64,
        options: &PruneOptions,
    ) -> Result<Vec<StoreItem>, StoreError> {
        let keep_since = options
            .keep_duration
            .map(|keep| now_unix_s().saturating_sub(i64::try_from(keep.as_secs()).unwrap_or(i64::MAX)));
        let goal_bytes = self.goal(total_bytes, options)?;
        let mut freed_bytes = 0;
        let mut victims = Vec::new();
        for item in items {
            let removable = match item.need {
                Need::Cache => options.all || item.kind != ItemKind::FileHashes,
                Need::UnpackedImage => options.all,
                Need::Image | Need::InUse => false,
            };
            // A time of use in the future is the work of a wrong clock, not of recent use.
            let recent = keep_since.is_some_and(|since| item.used_unix_s >= since && item.used_unix_s <= now_unix_s());
            if !removable || recent || !options.filters.iter().all(|filter| filter.admits(&item)) {
                continue;
            }
            if goal_bytes.is_some_and(|goal| freed_bytes >= goal) {
                break;
            }
            let left_bytes = total_bytes.saturating_sub(freed_bytes + item.size_bytes);
            if item.size_bytes > 0 && options.reserved_bytes.is_some_and(|reserved| left_bytes < reserved) {
                continue;
            }
            freed_bytes += item.size_bytes;
            victims.push(item);
        }
        Ok(victims)
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
    fn free_bytes(&self) -> Result<u64, StoreError> {
        let status = rustix::fs::statvfs(self.root()).at("ask for the free space of", self.root())?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    fn remove_batch(&self, batch: &[StoreItem], roots: &mut Roots, report: &mut PruneReport) -> Result<(), StoreError> {
        let alone = GcLock::exclusive(self.layout())?;
        roots.refresh(self.layout(), &alone)?;
        let mut rows = Vec::new();
        for item in batch {
            let removed = match &item.target {
                Target::Blob(digest) => {
                    roots.need_of_blob(digest) == Need::Cache
                        && self.layout().move_to_trash(&self.layout().blob(digest))?
                }
                Target::Snapshot(id, records) => {
                    let state =
                        self.index().read("look up a snapshot", |connection| state_of(connection, id.as_str()))?;
                    let need = roots.need_of_snapshot(id, state.diff_id.as_ref());
                    // A record added since the choice was made shows that somebody counts on the snapshot.
                    let fresh = state.records > *records;
                    let removed = need <= Need::UnpackedImage && need <= item.need && !fresh;
                    if removed {
                        self.layout().move_to_trash(&self.layout().snapshot(id))?;
                        rows.push(&item.target);
                    }
                    removed
                }
                Target::Record(_) => {
                    rows.push(&item.target);
                    true
                }
                Target::Path(path) if item.kind == ItemKind::CacheMount => remove_slot(self.layout(), path, &alone)?,
                Target::Path(path) => self.layout().move_to_trash(path)?,
            };
            if removed {
                report.freed_bytes += item.size_bytes;
                report.removed.push(item.clone());
            }
        }
        let mut deleted = self.delete_rows(&rows);
        if deleted.as_ref().is_err_and(StoreError::is_disk_full) {
            // What was just moved makes the room. Until then a row without its directory counts as absent.
            self.delete_trash()?;
            deleted = self.delete_rows(&rows);
        }
        report.records += deleted?;
        Ok(())
    }

    /// Forgets all results; their layers are for others to keep. Returns how many there were.
    fn forget_records(&self) -> Result<u64, StoreError> {
        self.index().write("forget all results", |connection| evict_all_records(connection, "bake prune"))
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
                delete_record(connection, *record)?;
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
        assert_eq!(report.freed_bytes + report.left_bytes, usage.total_bytes);
        // The dangling manifest and config, layer l3, the cached snapshot, the record without layers.
        assert_eq!(report.removed.len(), 5, "{:?}", ids(&report));
        assert!(ids(&report).contains(&dangling.digest.to_string().as_str()));
        assert_eq!(test.store.list_blobs().unwrap().len(), 3);
        assert!(test.store.cache_lookup(&CacheKey::of(b"k")).unwrap().is_none());
        let reclaimable = usage.reclaimable_bytes - report.freed_bytes;

        let report = test.store.with_new_lease().prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
        assert_eq!(ids(&report), ["l2"]);
        assert_eq!(report.freed_bytes, reclaimable);
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
        let names = ["a", "b", "c", "d"].map(|name| test.publish(name, &[]));
        for (age, id) in names.iter().enumerate() {
            test.sql(&format!("UPDATE snapshot SET used = {} WHERE id = '{id}'", 1000 - age));
        }
        // A recent record makes an old snapshot recent.
        add_record(&test, "k", &[&names[3]]);
        let options = PruneOptions { max_used_bytes: Some(250), ..PruneOptions::default() };
        assert_eq!(ids(&test.store.prune(&options).unwrap()), ["c", "b"]);
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
        assert_eq!(prune(vec![PruneFilter::Description("RUN z".into())]).removed, []);
        assert_eq!(ids(&prune(vec![PruneFilter::Description("RUN a".into())])), ["a"]);
        let digest = bake_oci::Digest::of(b"blob");
        let by_id = vec![PruneFilter::Id(digest.short().into()), PruneFilter::Kind(vec![ItemKind::Blob])];
        assert_eq!(ids(&prune(by_id)), [digest.to_string()]);
        assert_eq!(ids(&prune(vec![PruneFilter::Kind(vec![ItemKind::Snapshot])])), ["b"]);
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
        let (inventory, mut roots) = test.store.inventory(true).unwrap();
        assert!(inventory.items.iter().all(|item| item.need == Need::Cache));
        let build = test.store.with_new_lease();
        build.snapshot(&used).unwrap().unwrap();
        add_record(&test, "k", &[&recorded]);
        test.store.with_new_lease().tag("app:1", &image, 0).unwrap();
        let mut report = PruneReport::default();
        test.store.remove_batch(&inventory.items, &mut roots, &mut report).unwrap();
        assert_eq!(report.removed, []);
        assert_eq!(test.store.list_blobs().unwrap().len(), 3);
    }
}
