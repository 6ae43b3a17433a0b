//! Checking the store, and rebuilding its index from what is on the disk.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bake_oci::{Digest, Digester, SnapshotId};

use crate::StoreError;
use crate::error::AtPath;
use crate::image::Closure;
use crate::ingest::hash_into;
use crate::layout::ALGORITHMS;
use crate::lease::other_live_leases;
use crate::lock::GcLock;
use crate::past::evict_record;
use crate::snapshots::{Snapshot, all_rows, row_from_directory};
use crate::store::Store;
use crate::tags::{read_tag, read_tags};

/// Blobs are hashed on at most this many threads; the disk is the limit beyond.
const THREADS_MAX: usize = 8;

/// Compares the content of a snapshot with its tree digest; the text says what is wrong.
pub type SnapshotCheck<'a> = &'a dyn Fn(&Snapshot) -> Result<(), String>;

/// What a check does.
#[derive(Clone, Copy, Default)]
pub struct FsckOptions<'a> {
    /// Replace the index by one made from the snapshots on the disk. Cache records and remembered values are lost;
    /// tags, blobs and snapshots are not.
    pub rebuild: bool,
    /// Take what is damaged out of the store, so that it is pulled or built again instead of failing again.
    pub repair: bool,
    /// How to check the content of snapshots; without it only their presence is checked.
    pub check_snapshot: Option<SnapshotCheck<'a>>,
}

impl fmt::Debug for FsckOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsckOptions")
            .field("rebuild", &self.rebuild)
            .field("repair", &self.repair)
            .field("check_snapshot", &self.check_snapshot.is_some())
            .finish()
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsckProblem {
    /// What is wrong, naming the digest, ID or path.
    pub text: String,
    /// Whether it was put right.
    pub repaired: bool,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FsckReport {
    /// The number of blobs hashed.
    pub blobs: usize,
    /// Their size in bytes.
    pub blob_bytes: u64,
    /// The number of snapshots checked.
    pub snapshots: usize,
    /// The number of tags checked.
    pub tags: usize,
    /// What is wrong.
    pub problems: Vec<FsckProblem>,
}

impl FsckReport {
    /// Whether nothing is wrong, or all of it was put right.
    pub fn is_sound(&self) -> bool {
        self.problems.iter().all(|problem| problem.repaired)
    }

    fn problem(&mut self, text: String, repaired: bool) {
        self.problems.push(FsckProblem { text, repaired });
    }
}

impl Store {
    /// Checks every blob against its digest, snapshots against the index, tags against blobs, and the index itself.
    ///
    /// `rebuild` refuses while other processes use the store.
    pub fn fsck(&self, options: FsckOptions<'_>) -> Result<FsckReport, StoreError> {
        let mut report = FsckReport::default();
        self.layout().create_directories()?;
        if options.rebuild {
            self.rebuild_index(&mut report)?;
        } else {
            for text in self.index().integrity_problems()? {
                report.problem(format!("the index: {text}"), false);
            }
        }
        self.check_blobs(options.repair, &mut report)?;
        self.check_snapshots(&options, &mut report)?;
        self.check_records(options.repair, &mut report)?;
        self.check_tags(options.repair, &mut report)?;
        Ok(report)
    }

    fn rebuild_index(&self, report: &mut FsckReport) -> Result<(), StoreError> {
        let alone = GcLock::exclusive(self.layout())?;
        let others = other_live_leases(self.layout(), &alone, self.lease_ref())?;
        if others > 0 {
            let what = format!("the store `{}`", self.root().display());
            let holder = format!("{others} other process{}", if others == 1 { "" } else { "es" });
            return Err(StoreError::Locked { what, holder });
        }
        self.index().replace(|path| self.layout().move_to_trash(path).map(|_| ()))?;
        let boot_id = self.boot_id();
        let mut rows = Vec::new();
        for directory in self.snapshot_directories()? {
            match row_from_directory(&directory)? {
                Some(row) if row.is_trusted(boot_id) && Some(row.record.id.as_str()) == name_of(&directory) => {
                    rows.push(row);
                }
                _ => {
                    self.layout().move_to_trash(&directory)?;
                    report
                        .problem(format!("`{}` was not completely written before a crash", directory.display()), true);
                }
            }
        }
        self.index().write("rebuild the tables", |connection| rows.iter().try_for_each(|row| row.insert(connection)))
    }

    fn check_blobs(&self, repair: bool, report: &mut FsckReport) -> Result<(), StoreError> {
        for algorithm in ALGORITHMS {
            let directory = self.layout().blobs(algorithm);
            for entry in fs::read_dir(&directory).at("list", &directory)? {
                let path = entry.at("list", &directory)?.path();
                let digest = name_of(&path).map(|hex| Digest::parse(&format!("{}:{hex}", algorithm.name())));
                if !matches!(digest, Some(Ok(_))) {
                    let repaired = repair && self.layout().move_to_trash(&path)?;
                    report.problem(format!("`{}` is not named by a digest", path.display()), repaired);
                }
            }
        }
        let digests = self.list_blobs()?;
        let next = AtomicUsize::new(0);
        let found = Mutex::new((0_u64, Vec::new()));
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(digest) = digests.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let (bytes, problem) = check_blob(&self.layout().blob(digest), digest);
                        let mut found = found.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        found.0 += bytes;
                        found.1.extend(problem.map(|problem| (digest.clone(), problem)));
                    }
                });
            }
        });
        let (bytes, mut damaged) = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        damaged.sort();
        report.blobs = digests.len();
        report.blob_bytes = bytes;
        for (digest, problem) in damaged {
            let repaired = repair && {
                let _alone = GcLock::exclusive(self.layout())?;
                self.layout().move_to_trash(&self.layout().blob(&digest))?
            };
            report.problem(format!("blob {digest} {problem}"), repaired);
        }
        Ok(())
    }

    fn check_snapshots(&self, options: &FsckOptions<'_>, report: &mut FsckReport) -> Result<(), StoreError> {
        let rows = self.index().read("list snapshots", all_rows)?;
        let mut known = HashSet::new();
        for row in rows {
            let id = row.record.id.clone();
            known.insert(id.clone());
            let directory = self.layout().snapshot(&id);
            let problem = if !directory.join("fs").is_dir() {
                Some("has no layer directory".to_owned())
            } else if !row.is_trusted(self.boot_id()) {
                Some("was not completely written before a crash".to_owned())
            } else if let (Some(check), Some(snapshot)) = (options.check_snapshot, self.snapshot(&id)?) {
                check(&snapshot).err()
            } else {
                None
            };
            report.snapshots += 1;
            if let Some(problem) = problem {
                let repaired = options.repair && self.remove_snapshot(&id)?;
                report.problem(format!("snapshot {id} {problem}"), repaired);
            }
        }
        for directory in self.snapshot_directories()? {
            let id = name_of(&directory).and_then(|name| SnapshotId::new(name).ok());
            if id.as_ref().is_none_or(|id| !known.contains(id)) {
                // Seen again under the lock: it may have been published since the rows were read.
                let _alone = GcLock::exclusive(self.layout())?;
                let listed = self.index().read("list snapshots", all_rows)?;
                if listed.iter().any(|row| Some(&row.record.id) == id.as_ref()) {
                    continue;
                }
                let repaired = options.repair && self.layout().move_to_trash(&directory)?;
                report.problem(format!("`{}` is not in the index", directory.display()), repaired);
            }
        }
        Ok(())
    }

    fn check_records(&self, repair: bool, report: &mut FsckReport) -> Result<(), StoreError> {
        let dangling = self.index().read("list cache records", |connection| {
            let mut statement = connection.prepare(
                "SELECT r.id, r.description, rs.snapshot FROM record r JOIN record_snapshot rs ON rs.record = r.id
                 LEFT JOIN snapshot s ON s.id = rs.snapshot WHERE s.id IS NULL GROUP BY r.id",
            )?;
            let rows = statement
                .query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?)))?;
            rows.collect::<Result<Vec<_>, _>>()
        })?;
        for (id, description, snapshot) in dangling {
            if repair {
                self.index().write("remove a cache record", |connection| evict_record(connection, id, "bake fsck"))?;
            }
            report.problem(
                format!("the cache record of `{description}` needs snapshot {snapshot}, which is gone"),
                repair,
            );
        }
        Ok(())
    }

    fn check_tags(&self, repair: bool, report: &mut FsckReport) -> Result<(), StoreError> {
        let directory = self.layout().directory("tags");
        for entry in fs::read_dir(&directory).at("list", &directory)? {
            let path = entry.at("list", &directory)?.path();
            let sound = match read_tag(&path) {
                Ok(tag) => tag.is_none_or(|tag| self.layout().tag(&tag.reference) == path),
                Err(StoreError::Damaged { .. }) => false,
                Err(error) => return Err(error),
            };
            if !sound {
                let repaired = repair && self.layout().move_to_trash(&path)?;
                report.problem(format!("the tag file `{}` is damaged", path.display()), repaired);
            }
        }
        // A damaged file that was not taken out keeps the rest from being listed.
        let Ok(tags) = read_tags(self.layout()) else { return Ok(()) };
        report.tags = tags.len();
        for tag in tags {
            let closure = Closure::of(self.layout(), &tag.descriptor.digest)?;
            for digest in &closure.unreadable {
                report
                    .problem(format!("`{}` refers to {digest}, which is no manifest or config", tag.reference), false);
            }
            if closure.absent.contains(&tag.descriptor.digest) {
                report.problem(format!("`{}` names {}, which is gone", tag.reference, tag.descriptor.digest), false);
            }
        }
        Ok(())
    }

    /// Takes a damaged snapshot out of the store, with the records that need it. Refuses one that is in use.
    fn remove_snapshot(&self, id: &SnapshotId) -> Result<bool, StoreError> {
        let alone = GcLock::exclusive(self.layout())?;
        let held = crate::lease::held_by_anyone(self.layout(), &alone)?;
        let own = crate::lease::Held::Snapshot(id.clone());
        // Checking it took it into use by this process; only others count.
        if held.contains(&own) && !self.lease_ref().holds(&own) {
            return Ok(false);
        }
        self.layout().move_to_trash(&self.layout().snapshot(id))?;
        self.index().write("remove a snapshot", |connection| {
            connection.execute("DELETE FROM snapshot WHERE id = ?1", [id.as_str()])?;
            Ok(())
        })?;
        Ok(true)
    }

    fn snapshot_directories(&self) -> Result<Vec<PathBuf>, StoreError> {
        let directory = self.layout().directory("snapshots");
        let entries = fs::read_dir(&directory).at("list", &directory)?;
        let mut paths =
            entries.map(|entry| Ok(entry.at("list", &directory)?.path())).collect::<Result<Vec<_>, StoreError>>()?;
        paths.sort();
        Ok(paths)
    }
}

/// The number of bytes of a blob, and what is wrong with it.
fn check_blob(path: &Path, digest: &Digest) -> (u64, Option<String>) {
    let mut digester = Digester::for_algorithm(digest.algorithm());
    match File::open(path).and_then(|mut file| hash_into(&mut digester, &mut file)) {
        Ok(bytes) => {
            let actual = digester.finish();
            (bytes, (actual != *digest).then(|| format!("is damaged: its content has digest {actual}")))
        }
        // Pruned since the list was made.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => (0, None),
        Err(error) => (0, Some(format!("cannot be read: {error}"))),
    }
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::testing::{OPTIONS, TestStore};

    fn texts(report: &FsckReport) -> Vec<&str> {
        report.problems.iter().map(|problem| problem.text.as_str()).collect()
    }

    #[test]
    fn a_flipped_bit_in_a_blob_is_found_and_taken_out() {
        let test = TestStore::new();
        let store = &test.store;
        let image = test.image("a", &["layer"]);
        store.tag("app:1", &image, 0).unwrap();
        let report = store.fsck(FsckOptions::default()).unwrap();
        assert_eq!((report.blobs, report.tags, texts(&report).len()), (3, 1, 0));
        let layer = Digest::of(b"layer");
        let path = store.layout().blob(&layer);
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"L", 0).unwrap();
        let report = store.fsck(FsckOptions::default()).unwrap();
        assert!(texts(&report)[0].starts_with(&format!("blob {layer} is damaged")), "{report:?}");
        assert!(!report.is_sound());
        let report = store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap();
        assert!(report.is_sound());
        assert_eq!(store.blob_size(&layer).unwrap(), None);
        // Pulled again, it is sound.
        store.put_bytes(b"layer").unwrap();
        assert_eq!(texts(&store.fsck(FsckOptions::default()).unwrap()), Vec::<&str>::new());
    }

    #[test]
    fn snapshots_and_index_are_compared_both_ways() {
        let test = TestStore::new();
        let store = &test.store;
        let [gone, unlisted, wrong, torn] = ["gone", "unlisted", "wrong", "torn"].map(|name| test.publish(name, &[]));
        fs::remove_dir_all(store.layout().snapshot(&gone)).unwrap();
        test.sql(&format!("DELETE FROM snapshot WHERE id = '{unlisted}'"));
        test.sql(&format!("UPDATE snapshot SET boot_id = 'other' WHERE id = '{torn}'"));
        test.sql("INSERT INTO record VALUES (1, zeroblob(32), x'', x'', 'RUN x', 0, 0, '', x'', x'')");
        test.sql("INSERT INTO record_snapshot VALUES (1, 0, 'never')");
        let check = |snapshot: &Snapshot| {
            if snapshot.record.id == wrong { Err("has another tree".to_owned()) } else { Ok(()) }
        };
        let options = FsckOptions { check_snapshot: Some(&check), ..FsckOptions::default() };
        let report = store.fsck(options).unwrap();
        assert_eq!(
            texts(&report),
            [
                "snapshot gone has no layer directory".to_owned(),
                "snapshot torn was not completely written before a crash".to_owned(),
                "snapshot wrong has another tree".to_owned(),
                format!("`{}` is not in the index", store.layout().snapshot(&unlisted).display()),
                "the cache record of `RUN x` needs snapshot never, which is gone".to_owned(),
            ]
        );
        let report = store.fsck(FsckOptions { repair: true, ..options }).unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(texts(&store.fsck(options).unwrap()), Vec::<&str>::new());
        assert_eq!(fs::read_dir(store.layout().directory("snapshots")).unwrap().count(), 0);
    }

    #[test]
    fn the_index_is_rebuilt_from_the_disk() {
        let test = TestStore::new();
        let image = test.image("a", &["layer"]);
        test.store.tag("app:1", &image, 7).unwrap();
        let kept = test.publish("kept", &[("file", "x")]);
        test.store.sync_snapshots().unwrap();
        let recent = test.publish("recent", &[]);
        let torn = test.publish("torn", &[]);
        let before = test.store.with_new_lease().snapshot(&kept).unwrap().unwrap();
        // Written before a crash of the machine and never synced.
        let path = test.store.layout().snapshot(&torn).join("record.json");
        let record = fs::read_to_string(&path).unwrap().replace(test.store.boot_id(), "other");
        fs::write(&path, record).unwrap();

        let TestStore { store, directory } = test;
        let root = store.root().to_path_buf();
        drop(store);
        fs::write(root.join("index.sqlite"), "this is not a database, whatever its name says").unwrap();
        let _ = fs::remove_file(root.join("index.sqlite-wal"));
        let store = Store::open(&root, OPTIONS).unwrap();
        assert!(matches!(store.snapshot(&kept), Err(StoreError::IndexDamaged { .. })));
        let report = store.fsck(FsckOptions { rebuild: true, ..FsckOptions::default() }).unwrap();
        assert_eq!(report.problems.len(), 1, "{report:?}");
        assert!(report.is_sound());
        assert_eq!(store.snapshot(&kept).unwrap(), Some(before));
        assert!(store.snapshot(&recent).unwrap().is_some());
        assert!(store.snapshot(&torn).unwrap().is_none());
        assert_eq!(store.resolve("app:1").unwrap().unwrap().descriptor, image);
        store.fsck(FsckOptions { rebuild: true, ..FsckOptions::default() }).unwrap();
        drop(directory);
    }

    #[test]
    fn a_rebuild_waits_for_nobody_and_disturbs_nobody() {
        let test = TestStore::new();
        let id = test.publish("a", &[]);
        let other = Store::open(test.store.root(), OPTIONS).unwrap();
        other.snapshot(&id).unwrap().unwrap();
        let rebuild = FsckOptions { rebuild: true, ..FsckOptions::default() };
        assert!(matches!(test.store.fsck(rebuild), Err(StoreError::Locked { .. })));
        drop(other);
        test.store.fsck(rebuild).unwrap();
        assert!(test.store.snapshot(&id).unwrap().is_some());
    }

    #[test]
    fn a_damaged_tag_is_found_and_taken_out() {
        let test = TestStore::new();
        let image = test.image("a", &[]);
        test.store.tag("app:1", &image, 7).unwrap();
        test.store.tag("app:2", &image, 7).unwrap();
        fs::write(test.store.layout().tag("app:1"), "{").unwrap();
        assert!(matches!(test.store.tags(), Err(StoreError::Damaged { .. })));
        assert!(!test.store.fsck(FsckOptions::default()).unwrap().is_sound());
        assert!(test.store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap().is_sound());
        assert_eq!(test.store.tags().unwrap().len(), 1);
    }
}
