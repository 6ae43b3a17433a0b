//! Checking everything in the store, healing it from what is sound, and rebuilding its index from what is on the disk.
//!
//! 1. The index ([`SQLite`'s own check](crate::index)); one that is damaged is made anew from the snapshots' records.
//! 2. Small things ([`small`]): the format file, cache mounts, file hashes, records of results, traces.
//! 3. Blobs ([`blobs`]): every byte against its digest. What is damaged is taken out.
//! 4. Snapshots ([`snapshots`]): row against record, files against tree digest. What is damaged is taken out.
//! 5. Images ([`images`]): what a tag needs and is not there any more is healed from another source, or told.
//!
//! What is taken out and nothing needs is as good as repaired: it is pulled, unpacked or built again when it is needed.

mod blobs;
mod images;
mod small;
mod snapshots;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use bake_oci::{DiffId, Digest, TreeDigest};

use crate::StoreError;
use crate::build_logs::build_logs;
use crate::lease::other_live_leases;
use crate::lock::GcLock;
use crate::snapshots::{Snapshot, row_from_directory};
use crate::store::Store;
use crate::tags::BlobDescriptor;

/// Compares the files of a snapshot with what is known of them: the tree digest that was noted for checks
/// ([`crate::ActiveSnapshot::set_content`]), else what the record says. The text says what is wrong.
pub type SnapshotCheck<'a> = &'a dyn Fn(&Snapshot, Option<TreeDigest>) -> Result<(), String>;

/// Brings a blob into the store again, from wherever it can. The text says why it could not.
pub type BlobHealer<'a> = &'a dyn Fn(&LostBlob) -> Result<(), String>;

/// Whether a layer is known to be at a registry.
pub type LayerElsewhere<'a> = &'a dyn Fn(&DiffId) -> bool;

/// A blob that an image needs and that is not in the store any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostBlob {
    /// Its digest.
    pub digest: Digest,
    /// What the manifest says of it; `None` for the manifest or index that a tag names.
    pub described: Option<Described>,
    /// The forms in which the store knows the same layer, with the compression that made each; they need not be there.
    pub forms: Vec<(String, BlobDescriptor)>,
    /// The tags whose images need it.
    pub references: Vec<String>,
}

/// What a manifest or index says of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Described {
    /// Its media type.
    pub media_type: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The diff ID, if it is a layer.
    pub diff_id: Option<DiffId>,
}

/// What a check does.
#[derive(Clone, Copy, Default)]
pub struct FsckOptions<'a> {
    /// Replace the index by one made from the snapshots on the disk. Cache records, traces and remembered values are lost;
    /// tags, blobs and snapshots are not.
    pub rebuild: bool,
    /// Take what is damaged out of the store, so that it is pulled or built again instead of failing again.
    pub repair: bool,
    /// How to check the content of snapshots; without it only their presence is checked.
    pub check_snapshot: Option<SnapshotCheck<'a>>,
    /// How to bring back blobs; without it they are missing afterwards.
    pub heal_blob: Option<BlobHealer<'a>>,
    /// Which layers were left at a registry on purpose, by diff ID; without it those that steps made belong here.
    pub is_elsewhere: Option<LayerElsewhere<'a>>,
}

impl fmt::Debug for FsckOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsckOptions")
            .field("rebuild", &self.rebuild)
            .field("repair", &self.repair)
            .field("check_snapshot", &self.check_snapshot.is_some())
            .field("heal_blob", &self.heal_blob.is_some())
            .field("is_elsewhere", &self.is_elsewhere.is_some())
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
    /// Checks every blob against its digest, snapshots against the index and (if told how) against their content, tags
    /// against blobs, and everything small.
    ///
    /// The index can be replaced only while no other process uses the store: `rebuild` refuses then.
    pub fn fsck(&self, options: FsckOptions<'_>) -> Result<FsckReport, StoreError> {
        let mut report = FsckReport::default();
        self.layout().create_directories()?;
        if options.rebuild {
            self.rebuild_index(&mut report)?;
        } else if !self.check_index(options.repair, &mut report)? {
            // Nothing else can be told without it.
            return Ok(report);
        }
        self.check_small(options.repair, &mut report)?;
        let damaged: BTreeSet<Digest> = self.check_blobs(options.repair, &mut report)?;
        self.check_snapshots(&options, &mut report)?;
        self.check_records(options.repair, &mut report)?;
        self.check_images(&options, &damaged, &mut report)?;
        if options.repair {
            // What killed processes left is no damage, but this is the time to clean it.
            self.collect_leftovers()?;
        }
        Ok(report)
    }

    /// The index as `SQLite` sees it; one that is damaged is made anew. Says whether there is one to work with.
    fn check_index(&self, repair: bool, report: &mut FsckReport) -> Result<bool, StoreError> {
        let (problems, readable) = match self.index().integrity_problems() {
            Ok(problems) => (problems, true),
            Err(error @ StoreError::IndexDamaged { .. }) => (vec![error.to_string()], false),
            Err(error) => return Err(error),
        };
        if problems.is_empty() {
            return Ok(true);
        }
        let mut rebuilt = false;
        if repair {
            match self.rebuild_index(report) {
                Ok(()) => rebuilt = true,
                Err(error @ StoreError::Locked { .. }) => report.problem(error.to_string(), false),
                Err(error) => return Err(error),
            }
        }
        for text in problems {
            report.problem(format!("the index: {text}"), rebuilt);
        }
        Ok(readable || rebuilt)
    }

    fn rebuild_index(&self, report: &mut FsckReport) -> Result<(), StoreError> {
        let alone = GcLock::exclusive(self.layout())?;
        let others = other_live_leases(self.layout(), &alone, self.lease_ref())?;
        if others > 0 {
            let what = format!("the store `{}`", self.root().display());
            let holder = format!("{others} other process{}", if others == 1 { "" } else { "es" });
            return Err(StoreError::Locked { what, holder });
        }
        // The journal goes with the index. What it knows of goes first: whoever is killed in between leaves builds without output,
        // and no output that a later build of the same number would seem to have written.
        for log in build_logs(self.layout())? {
            self.layout().move_to_trash(&log.path)?;
        }
        self.index().replace(|path| self.layout().move_to_trash(path).map(|_| ()))?;
        let boot_id = self.boot_id();
        let (mut rows, mut unusable) = (Vec::new(), Vec::new());
        for directory in self.snapshot_directories()? {
            match row_from_directory(&directory)? {
                Some(row) if row.is_trusted(boot_id) && Some(row.record.id.as_str()) == name_of(&directory) => {
                    rows.push(row);
                }
                _ => {
                    self.layout().move_to_trash(&directory)?;
                    unusable.extend(name_of(&directory).map(str::to_owned));
                    report.problem(
                        format!(
                            "`{}` was not completely written before a crash, or its record is damaged",
                            directory.display()
                        ),
                        true,
                    );
                }
            }
        }
        self.index().write("rebuild the tables", |connection| {
            for id in &unusable {
                connection.execute("DELETE FROM snapshot WHERE id = ?1", [id])?;
            }
            rows.iter().try_for_each(|row| row.insert(connection))
        })
    }
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::fs;
    use std::os::unix::fs::FileExt;

    use bake_oci::SnapshotId;

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
        assert_eq!(report.problems.iter().map(|problem| problem.repaired).collect::<Vec<_>>(), [true, false]);
        assert!(report.problems[1].text.starts_with("`app:1` cannot be used completely any more"), "{report:?}");
        assert_eq!(store.blob_size(&layer).unwrap(), None);
        // Pulled again, it is sound.
        store.put_bytes(b"layer").unwrap();
        assert_eq!(texts(&store.fsck(FsckOptions::default()).unwrap()), Vec::<&str>::new());
    }

    #[test]
    fn snapshots_and_index_are_compared_both_ways() {
        let test = TestStore::new();
        let store = &test.store;
        let [gone, orphan, unlisted, wrong, torn] =
            ["gone", "orphan", "unlisted", "wrong", "torn"].map(|name| test.publish(name, &[]));
        fs::remove_dir_all(store.layout().snapshot(&gone)).unwrap();
        fs::remove_file(store.layout().snapshot(&orphan).join("record.json")).unwrap();
        test.sql(&format!("DELETE FROM snapshot WHERE id IN ('{unlisted}', '{orphan}')"));
        test.sql(&format!("UPDATE snapshot SET boot_id = 'other' WHERE id = '{torn}'"));
        test.sql("INSERT INTO record VALUES (1, zeroblob(32), x'', x'', 'RUN x', 0, 0, '', x'', x'')");
        test.sql("INSERT INTO record_snapshot VALUES (1, 0, 'never')");
        let check = |snapshot: &Snapshot, _: Option<TreeDigest>| {
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
                format!("`{}` is not in the index", store.layout().snapshot(&orphan).display()),
                format!("`{}` is not in the index", store.layout().snapshot(&unlisted).display()),
                "the cache record of `RUN x` needs snapshot never, which is gone".to_owned(),
            ]
        );
        let report = store.fsck(FsckOptions { repair: true, ..options }).unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(texts(&store.fsck(options).unwrap()), Vec::<&str>::new());
        // What has a sound record is entered again.
        assert!(store.snapshot(&unlisted).unwrap().is_some());
        assert_eq!(fs::read_dir(store.layout().directory("snapshots")).unwrap().count(), 1);
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
        let directory = test.store.layout().snapshot(&torn);
        let file = crate::snapshots::read_record(&directory).unwrap().unwrap();
        let file = crate::snapshots::RecordFile { boot_id: "other".into(), ..file };
        crate::snapshots::write_record(test.store.layout(), &directory, &file).unwrap();

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
    fn a_record_that_lacks_the_diff_id_yet_is_no_damage() {
        let test = TestStore::new();
        let store = test.store.with_new_lease();
        let mut record = TestStore::record("a");
        let diff_id = record.diff_id.take().unwrap();
        record.tar_size_bytes = None;
        let id = record.id.clone();
        store.publish_snapshot(store.begin_snapshot().unwrap(), record).unwrap();
        // A process that is killed has changed the row and not the file.
        let path = store.layout().snapshot(&id).join("record.json");
        let before = fs::read(&path).unwrap();
        store.set_diff_id(&id, &diff_id, 1024).unwrap();
        let after = fs::read(&path).unwrap();
        fs::write(&path, before).unwrap();
        let report = store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap();
        assert_eq!(texts(&report), Vec::<&str>::new());
        assert_eq!(fs::read(&path).unwrap(), after);
    }

    #[test]
    fn the_output_of_builds_goes_with_the_journal() {
        let test = TestStore::new();
        let number = test.store.add_to_journal(b"a build").unwrap();
        test.store.keep_build_log(number, b"its output").unwrap();
        test.store.fsck(FsckOptions { rebuild: true, ..FsckOptions::default() }).unwrap();
        assert_eq!(texts(&test.store.fsck(FsckOptions::default()).unwrap()), Vec::<&str>::new());
        assert_eq!(test.store.build_log(number).unwrap(), None);
        // Where the index is lost in another way, numbers begin anew.
        test.store.keep_build_log(number, b"of another build").unwrap();
        assert_eq!(test.store.add_to_journal(b"a silent build").unwrap(), number);
        assert_eq!(test.store.build_log(number).unwrap(), None);
    }

    #[test]
    fn a_rebuild_that_is_cut_short_loses_no_layers() {
        let test = TestStore::new();
        let id = test.publish("a", &[]);
        // As far as it got: the old index is out of the way.
        for suffix in ["-wal", "-shm", ""] {
            let _ = fs::remove_file(test.store.root().join(format!("index.sqlite{suffix}")));
        }
        let store = Store::open(test.store.root(), OPTIONS).unwrap();
        assert!(store.snapshot(&id).unwrap().is_some());
        assert_eq!(texts(&store.fsck(FsckOptions::default()).unwrap()), Vec::<&str>::new());
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
        // The name is lost, which is told once.
        assert!(!test.store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap().is_sound());
        assert!(test.store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap().is_sound());
        assert_eq!(test.store.tags().unwrap().len(), 1);
        // Damage anywhere leaves one of its two lines.
        let path = test.store.layout().tag("app:2");
        let sound = fs::read(&path).unwrap();
        for position in [0, 20, sound.len() / 2 - 1, sound.len() / 2, sound.len() - 1] {
            let mut damaged = sound.clone();
            damaged[position] ^= 4;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(test.store.resolve("app:2").unwrap().unwrap().descriptor, image);
            let report = test.store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap();
            assert!(report.is_sound() && report.problems.len() == 1, "{position}: {report:?}");
            assert_eq!(fs::read(&path).unwrap(), sound);
        }
        // What both lines have is another tag, if nothing told.
        let wrong = String::from_utf8(sound).unwrap().replace("\"created_unix_s\":7", "\"created_unix_s\":6");
        fs::write(&path, wrong).unwrap();
        assert!(matches!(test.store.resolve("app:2"), Err(StoreError::Damaged { .. })));
    }

    #[test]
    fn rows_and_records_heal_each_other() {
        let test = TestStore::new();
        let store = &test.store;
        let ids = ["row", "record", "both", "other"].map(|name| test.publish(name, &[("file", "x")]));
        let before = ids.clone().map(|id| store.with_new_lease().snapshot(&id).unwrap().unwrap());
        let flip = |id: &SnapshotId| {
            let path = store.layout().snapshot(id).join("record.json");
            let wrong = fs::read_to_string(&path).unwrap().replace("\"entries\":1", "\"entries\":3");
            fs::write(&path, wrong).unwrap();
        };
        test.sql("UPDATE snapshot SET diff_id = replace(diff_id, 'sha256:', 'sha256;') WHERE id = 'row'");
        test.sql("UPDATE snapshot SET tar_size = tar_size + 1 WHERE id = 'both'");
        test.sql("UPDATE snapshot SET id = char(7) || id WHERE id = 'other'");
        flip(&ids[1]);
        flip(&ids[2]);
        // A row that does not fit its seal counts as absent.
        for id in [&ids[0], &ids[2], &ids[3]] {
            assert_eq!(store.snapshot(id).unwrap(), None, "{id}");
        }
        assert_eq!(store.fsck(FsckOptions::default()).unwrap().problems.len(), 5);
        let report = store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(texts(&store.fsck(FsckOptions::default()).unwrap()), Vec::<&str>::new());
        for position in [0, 1, 3] {
            assert_eq!(store.snapshot(&ids[position]).unwrap().as_ref(), Some(&before[position]));
        }
        assert_eq!(store.snapshot(&ids[2]).unwrap(), None);
    }

    #[test]
    fn what_images_need_is_healed_or_told() {
        let test = TestStore::new();
        let store = &test.store;
        let image = test.image("a", &["blob", "snapshot", "both lost"]);
        store.with_new_lease().tag("app:1", &image, 0).unwrap();
        test.publish("snapshot", &[]);
        for layer in ["snapshot", "both lost"] {
            fs::remove_file(store.layout().blob(&Digest::of(layer.as_bytes()))).unwrap();
        }
        for digest in [&image.digest, &Digest::of(b"blob")] {
            let path = store.layout().blob(digest);
            fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"#", 0).unwrap();
        }
        let manifest = {
            let mut bytes = fs::read(store.layout().blob(&image.digest)).unwrap();
            bytes[0] = b'{';
            bytes
        };
        let asked = std::cell::RefCell::new(Vec::new());
        let heal = |lost: &LostBlob| {
            asked.borrow_mut().push(lost.clone());
            let content = if lost.digest == image.digest { manifest.as_slice() } else { b"blob" };
            store.put_blob(Some(&lost.digest), &mut &*content).map(|_| ()).map_err(|error| error.to_string())
        };
        let report =
            store.fsck(FsckOptions { repair: true, heal_blob: Some(&heal), ..FsckOptions::default() }).unwrap();
        let left: Vec<_> = report.problems.iter().filter(|problem| !problem.repaired).collect();
        assert_eq!(left.len(), 1, "{report:?}");
        assert!(left[0].text.starts_with("`app:1` cannot be used completely any more"), "{left:?}");
        let asked = asked.into_inner();
        assert_eq!((asked[0].digest.clone(), asked[0].described.clone()), (image.digest.clone(), None));
        assert_eq!(asked.len(), 3);
        assert!(asked.iter().all(|lost| lost.references == ["app:1"]));
        assert!(store.blob_size(&Digest::of(b"blob")).unwrap().is_some());
        // Without a healer the image is told as a whole.
        fs::remove_file(store.layout().blob(&image.digest)).unwrap();
        let report = store.fsck(FsckOptions::default()).unwrap();
        assert!(texts(&report)[0].contains("its manifest"), "{report:?}");
    }

    #[test]
    fn small_things_are_checked() {
        let test = TestStore::new();
        let store = &test.store;
        drop(store.try_cache_mount("npm", crate::CacheSharing::Shared, |_| Ok(())).unwrap());
        let mount = fs::read_dir(store.layout().directory("cache-mounts")).unwrap().next().unwrap().unwrap().path();
        fs::write(mount.join("id"), "nqm").unwrap();
        fs::create_dir(store.layout().directory("cache-mounts").join("half.0")).unwrap();
        fs::write(store.layout().file_hashes(b"/context"), "no table").unwrap();
        fs::write(store.root().join("format"), "bake-store 1\nownership native\njunk").unwrap();
        test.sql("INSERT INTO record_key VALUES (x'00', 77)");
        assert_eq!(store.fsck(FsckOptions::default()).unwrap().problems.len(), 5);
        assert!(store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap().is_sound());
        assert_eq!(texts(&store.fsck(FsckOptions::default()).unwrap()), Vec::<&str>::new());
        assert!(mount.join("data").is_dir());
    }

    #[test]
    fn a_damaged_index_is_made_anew() {
        let test = TestStore::new();
        let id = test.publish("a", &[]);
        let TestStore { store, directory } = test;
        let root = store.root().to_path_buf();
        drop(store);
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(root.join(format!("index.sqlite{suffix}")));
        }
        fs::write(root.join("index.sqlite"), "no database").unwrap();
        let store = Store::open(&root, OPTIONS).unwrap();
        assert!(!store.fsck(FsckOptions::default()).unwrap().is_sound());
        let report = store.fsck(FsckOptions { repair: true, ..FsckOptions::default() }).unwrap();
        assert!(report.is_sound() && report.problems.len() == 1, "{report:?}");
        assert!(store.snapshot(&id).unwrap().is_some());
        drop(directory);
    }
}
