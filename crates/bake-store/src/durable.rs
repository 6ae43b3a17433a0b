//! Making snapshots durable.
//!
//! Two kinds of snapshots differ in what a power loss costs. What a step made is nowhere else, so it is on the disk before
//! an image that needs it is reported as done. An unpacked layer of an image is in the store as a blob, or at a registry:
//! it is unpacked again when it is lost, and nobody waits until hundreds of megabytes of a base image are on the disk.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bake_oci::SnapshotId;
use rusqlite::params;

use crate::StoreError;
use crate::error::AtPath;
use crate::layout::{now_unix_s, sync_directory};
use crate::store::Store;

/// Results of steps with no more entries than this, together, are synced one by one. Each costs a commit of the journal, a
/// millisecond or two; `syncfs` waits for everything that anybody has written.
const SYNCED_SINGLY_MAX: u64 = 32;

/// The same for their bytes.
const SYNCED_SINGLY_BYTES_MAX: u64 = 4 << 20;

/// The kernel has written files back by itself after this long (`vm.dirty_expire_centisecs` is 30 seconds), so that
/// `syncfs` has nothing to do for them.
const WRITTEN_BACK_AFTER_S: i64 = 120;

/// A snapshot that is trusted in this boot only.
struct Unsynced {
    id: String,
    is_of_image: bool,
    entries: u64,
    size_bytes: u64,
    created_unix_s: i64,
}

impl Store {
    /// Makes all snapshots of this boot durable with one `syncfs`; returns how many there were to sync.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the file system cannot be synced, and what the index says.
    pub fn sync_snapshots(&self) -> Result<usize, StoreError> {
        let unsynced = self.unsynced_snapshots()?;
        self.sync_together(&unsynced)
    }

    /// Makes the snapshots of this boot durable that could not be made again from a blob; returns how many snapshots have
    /// become so. Unpacked layers of images are among them when that costs nothing.
    ///
    /// Call it before an image that needs them is reported as done.
    ///
    /// # Errors
    /// As [`Store::sync_snapshots`].
    pub fn sync_results(&self) -> Result<usize, StoreError> {
        let unsynced = self.unsynced_snapshots()?;
        let results = || unsynced.iter().filter(|snapshot| !snapshot.is_of_image);
        let written_back = now_unix_s().saturating_sub(WRITTEN_BACK_AFTER_S);
        let is_cheap = unsynced.iter().all(|snapshot| snapshot.created_unix_s < written_back);
        // A directory of its own, and its record.
        let entries: u64 = results().map(|snapshot| snapshot.entries.saturating_add(2)).sum();
        let size_bytes: u64 = results().map(|snapshot| snapshot.size_bytes).sum();
        if is_cheap || entries > SYNCED_SINGLY_MAX || size_bytes > SYNCED_SINGLY_BYTES_MAX {
            return self.sync_together(&unsynced);
        }
        let results: Vec<&Unsynced> = results().collect();
        if results.is_empty() {
            return Ok(0);
        }
        let directory = self.root().join("snapshots");
        for snapshot in &results {
            match sync_tree(&directory.join(&snapshot.id)) {
                // Pruned since the list was made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // A file that cannot be opened, for example: the file system as a whole can be synced even so.
                Err(_) => return self.sync_together(&unsynced),
                Ok(()) => {}
            }
        }
        sync_directory(&directory)?;
        self.note_synced(results.iter().map(|snapshot| snapshot.id.as_str()))?;
        Ok(results.len())
    }

    fn unsynced_snapshots(&self) -> Result<Vec<Unsynced>, StoreError> {
        let boot_id = self.boot_id();
        self.index().read("list snapshots to sync", |connection| {
            let mut statement = connection
                .prepare_cached("SELECT id, entries, size, created FROM snapshot WHERE synced = 0 AND boot_id = ?1")?;
            let rows = statement.query_map([boot_id], |row| {
                let id: String = row.get(0)?;
                let of_image = [SnapshotId::LAYER_PREFIX, SnapshotId::CHAIN_PREFIX];
                Ok(Unsynced {
                    is_of_image: of_image.iter().any(|prefix| id.starts_with(prefix)),
                    id,
                    entries: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(u64::MAX),
                    size_bytes: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(u64::MAX),
                    created_unix_s: row.get(3)?,
                })
            })?;
            rows.collect::<Result<Vec<_>, _>>()
        })
    }

    fn sync_together(&self, snapshots: &[Unsynced]) -> Result<usize, StoreError> {
        if snapshots.is_empty() {
            return Ok(0);
        }
        let root = self.root();
        let directory = File::open(root).at("open", root)?;
        rustix::fs::syncfs(&directory).at("sync", root)?;
        self.note_synced(snapshots.iter().map(|snapshot| snapshot.id.as_str()))?;
        Ok(snapshots.len())
    }

    fn note_synced<'a>(&self, ids: impl Iterator<Item = &'a str> + Clone) -> Result<(), StoreError> {
        let (root, boot_id) = (self.root(), self.boot_id());
        for id in ids.clone() {
            let marker = root.join("snapshots").join(id).join("synced");
            match File::create(&marker) {
                // Pruned since the list was made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                created => drop(created.at("create", &marker)?),
            }
        }
        self.index().write("note synced snapshots", |connection| {
            let mut statement =
                connection.prepare_cached("UPDATE snapshot SET synced = 1 WHERE id = ?1 AND boot_id = ?2")?;
            for id in ids {
                statement.execute(params![id, boot_id])?;
            }
            Ok(())
        })
    }
}

/// Syncs every file and directory of a small tree. Links and the like are in their directory.
fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            sync_tree(&path)?;
        } else if kind.is_file() {
            let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
            File::options().read(true).custom_flags(no_follow).open(&path)?.sync_all()?;
        }
    }
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::TestStore;

    fn publish(test: &TestStore, id: &str, files: usize) -> SnapshotId {
        let active = test.store.begin_snapshot().unwrap();
        fs::create_dir(active.fs().join("d")).unwrap();
        for file in 0..files {
            fs::write(active.fs().join(format!("d/{file}")), "x").unwrap();
        }
        std::os::unix::fs::symlink("/nowhere", active.fs().join("link")).unwrap();
        let mut record = TestStore::record("a");
        record.id = SnapshotId::new(id).unwrap();
        record.entries = files as u64 + 2;
        test.store.publish_snapshot(active, record.clone()).unwrap();
        record.id
    }

    fn is_synced(test: &TestStore, id: &SnapshotId) -> bool {
        test.store.layout().snapshot(id).join("synced").exists()
    }

    #[test]
    fn results_are_synced_and_layers_of_images_can_wait() {
        let test = TestStore::new();
        let layer = publish(&test, "layer-base", 3);
        assert_eq!(test.store.sync_results().unwrap(), 0, "there is no result");
        let result = publish(&test, "step-small", 3);
        assert_eq!(test.store.sync_results().unwrap(), 1);
        assert!(is_synced(&test, &result) && !is_synced(&test, &layer));
        // After a power loss the result is there, and the layer is not.
        test.sql("UPDATE snapshot SET boot_id = 'another'");
        assert!(test.store.snapshot(&result).unwrap().is_some());
        assert!(test.store.snapshot(&layer).unwrap().is_none());
        assert_eq!(test.store.sync_snapshots().unwrap(), 0);
    }

    #[test]
    fn large_results_and_old_layers_are_synced_together() {
        let test = TestStore::new();
        let layer = publish(&test, "layer-base", 3);
        let result = publish(&test, "step-large", 40);
        assert_eq!(test.store.sync_results().unwrap(), 2);
        assert!(is_synced(&test, &result) && is_synced(&test, &layer));
        let layer = publish(&test, "chain-old", 3);
        test.sql("UPDATE snapshot SET created = created - 1000");
        assert_eq!(test.store.sync_results().unwrap(), 1);
        assert!(is_synced(&test, &layer));
    }
}
