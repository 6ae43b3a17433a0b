//! Roots of failed steps, kept so that somebody can look into them and go on from there.
//!
//! `failed/ID` is the directory of an active snapshot that was given up: `fs` is what the step wrote. `layers` names the
//! snapshots below it, which stay while it is there. `kept.json` is written last, after everything was synced: a
//! directory without it is a leftover, so what is listed survived whatever happened to the machine.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bake_oci::SnapshotId;
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::error::AtPath;
use crate::layout::{Layout, make_directory, sync_directory, write_file};
use crate::lease::is_locked;
use crate::lock::{GcLock, open_lock_file, try_lock};
use crate::snapshots::ActiveSnapshot;
use crate::store::Store;

/// The directory of the store that they are in. Stores of earlier versions get it with the first of them.
pub(crate) const DIRECTORY: &str = "failed";
/// The file whose presence says that the rest is complete.
const NOTE: &str = "kept.json";
/// The largest note: a thousand layers and a document of [`DOCUMENT_BYTES_MAX`].
const NOTE_BYTES_MAX: u64 = 8 << 20;
/// The largest document: the environment and arguments of a step are below the kernel's limit on them.
const DOCUMENT_BYTES_MAX: usize = 6 << 20;
/// How many characters of its random name identify a root for people.
const ID_LENGTH: usize = 12;

/// The root of a failed step, without its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRoot {
    /// Its name.
    pub id: String,
    /// When the step failed, in milliseconds since 1970.
    pub failed_unix_ms: i64,
    /// What it was, for people.
    pub description: String,
    /// The snapshots below it and those that its mounts show.
    pub layers: Vec<SnapshotId>,
    /// Whatever else the keeper wants to know, in his own form.
    pub document: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    failed_unix_ms: i64,
    description: String,
    layers: Vec<SnapshotId>,
    document: String,
}

impl Store {
    /// Keeps what a failed step wrote, and the `layers` it needs, until somebody prunes it. Nothing may have it mounted.
    ///
    /// At most `count` roots stay, the newest. Everything is on the disk when this returns. One that was opened by
    /// [`Store::open_kept_root`] keeps its name.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a document of more than 6 MiB; whatever the file system says.
    pub fn keep_root(
        &self,
        mut active: ActiveSnapshot,
        layers: &[SnapshotId],
        description: &str,
        document: &str,
        count: usize,
    ) -> Result<String, StoreError> {
        if document.len() > DOCUMENT_BYTES_MAX {
            let limit_bytes = u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX);
            return Err(StoreError::TooLarge { what: "the description of a failed step".into(), limit_bytes });
        }
        let directory = self.layout().directory(DIRECTORY);
        make_directory(&directory)?;
        let failed_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let note = Note {
            failed_unix_ms: i64::try_from(failed_unix_ms).unwrap_or(i64::MAX),
            description: description.to_owned(),
            layers: layers.to_vec(),
            document: document.to_owned(),
        };
        let text = serde_json::to_vec(&note)
            .map_err(|error| StoreError::Damaged { path: directory.clone(), source: Box::new(error) })?;
        let path = if active.is_kept() {
            active.directory().to_owned()
        } else {
            let name = self.layout().random(DIRECTORY, "")?;
            let name = name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let path = directory.join(name.get(..ID_LENGTH).unwrap_or(&name));
            let no_removal = GcLock::shared(self.layout())?;
            fs::rename(active.directory(), &path).at("keep", &path)?;
            active.moved_to(path.clone());
            drop(no_removal);
            path
        };
        self.sync_root()?;
        self.sync_snapshots()?;
        let temporary = path.join("kept.new");
        write_file(&temporary, &text)?;
        fs::rename(&temporary, path.join(NOTE)).at("publish", &path)?;
        sync_directory(&path)?;
        sync_directory(&directory)?;
        drop(active);
        for root in self.kept_roots()?.iter().skip(count) {
            self.discard_kept_root(&root.id)?;
        }
        Ok(path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
    }

    /// The roots that are kept, the newest first.
    ///
    /// # Errors
    /// The directory cannot be read. One that is damaged is left out.
    pub fn kept_roots(&self) -> Result<Vec<KeptRoot>, StoreError> {
        let mut roots = Vec::new();
        for path in directories(self.layout())? {
            roots.extend(read(&path)?);
        }
        roots.sort_by(|a, b| (b.failed_unix_ms, &b.id).cmp(&(a.failed_unix_ms, &a.id)));
        Ok(roots)
    }

    /// Opens a kept root for this process alone; `None` if it is gone or another process has it open. Dropping the value
    /// leaves the root where it is; publishing it consumes it.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open_kept_root(&self, id: &str) -> Result<Option<ActiveSnapshot>, StoreError> {
        let path = self.layout().directory(DIRECTORY).join(id);
        if !self.kept_roots()?.iter().any(|root| root.id == id) {
            return Ok(None);
        }
        let no_removal = GcLock::shared(self.layout())?;
        let lock_path = path.join("lock");
        let lock = open_lock_file(&lock_path)?;
        if !try_lock(&lock, &lock_path, true)? || !path.join(NOTE).exists() {
            return Ok(None);
        }
        // Overlay refuses work directories of mounts whose content need not have reached the disk.
        for entry in fs::read_dir(&path).at("list", &path)? {
            let entry = entry.at("list", &path)?.path();
            if !["fs", "lock", NOTE].iter().any(|name| entry.ends_with(name)) {
                self.layout().move_to_trash(&entry)?;
            }
        }
        drop(no_removal);
        make_directory(&path.join("work"))?;
        Ok(Some(ActiveSnapshot::of_kept(self, path, lock)))
    }

    /// Makes what was changed in kept roots durable.
    ///
    /// # Errors
    /// The file system cannot be synced.
    pub fn sync_root(&self) -> Result<(), StoreError> {
        let root = self.root();
        let directory = fs::File::open(root).at("open", root)?;
        rustix::fs::syncfs(&directory).at("sync", root)
    }

    /// Removes a kept root, unless it is in use.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn discard_kept_root(&self, id: &str) -> Result<bool, StoreError> {
        let _alone = GcLock::exclusive(self.layout())?;
        let path = self.layout().directory(DIRECTORY).join(id);
        if is_locked(&path.join("lock"))? {
            return Ok(false);
        }
        self.layout().move_to_trash(&path)
    }
}

/// Takes the mark of a kept root away: from here on it is a layer being made like any other.
pub(crate) fn unmark(path: &Path) -> Result<(), StoreError> {
    let note = path.join(NOTE);
    fs::remove_file(&note).at("remove", &note)
}

/// Moves those without a note, and without a process that is about to write one, into the trash.
pub(crate) fn collect_unfinished(layout: &Layout, _alone: &GcLock) -> Result<(), StoreError> {
    for path in directories(layout)? {
        if !path.join(NOTE).exists() && !is_locked(&path.join("lock"))? {
            layout.move_to_trash(&path)?;
        }
    }
    Ok(())
}

/// The directories of all of them, complete or not.
pub(crate) fn directories(layout: &Layout) -> Result<Vec<PathBuf>, StoreError> {
    let directory = layout.directory(DIRECTORY);
    match fs::read_dir(&directory) {
        Ok(entries) => entries.map(|entry| Ok(entry.at("list", &directory)?.path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(StoreError::io("list", directory, error)),
    }
}

/// What a directory says of itself; `None` if it is gone, unfinished or damaged.
pub(crate) fn read(path: &Path) -> Result<Option<KeptRoot>, StoreError> {
    let note = path.join(NOTE);
    let mut bytes = Vec::new();
    match fs::File::open(&note) {
        Ok(file) => file.take(NOTE_BYTES_MAX).read_to_end(&mut bytes).at("read", &note)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", note, error)),
    };
    let Some(id) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    Ok(serde_json::from_slice(&bytes).ok().map(|note| {
        let Note { failed_unix_ms, description, layers, document } = note;
        KeptRoot { id: id.to_owned(), failed_unix_ms, description, layers, document }
    }))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::prune::PruneOptions;
    use crate::testing::{OPTIONS, TestStore};
    use crate::usage::ItemKind;

    fn keep(test: &TestStore, content: &str, layers: &[SnapshotId], count: usize) -> String {
        let active = test.store.begin_snapshot().unwrap();
        fs::write(active.fs().join("file"), content).unwrap();
        test.store.keep_root(active, layers, "RUN false", content, count).unwrap()
    }

    #[test]
    fn the_newest_stay_and_are_found_by_other_processes() {
        let test = TestStore::new();
        let ids: Vec<String> = ["a", "b", "c"].iter().map(|content| keep(&test, content, &[], 2)).collect();
        let other = Store::open(test.store.root(), OPTIONS).unwrap();
        let kept = other.kept_roots().unwrap();
        assert_eq!(kept.len(), 2);
        assert_eq!(kept.iter().map(|root| root.document.as_str()).collect::<Vec<_>>(), ["c", "b"]);
        assert!(other.open_kept_root(&ids[0]).unwrap().is_none());
        let opened = other.open_kept_root(&ids[2]).unwrap().unwrap();
        assert_eq!(fs::read_to_string(opened.fs().join("file")).unwrap(), "c");
        assert!(test.store.open_kept_root(&ids[2]).unwrap().is_none(), "one process at a time");
        drop(opened);
        assert!(test.store.open_kept_root(&ids[2]).unwrap().is_some());
    }

    #[test]
    fn what_is_below_stays_until_the_root_is_pruned() {
        let test = TestStore::new();
        let below = test.publish("below", &[("file", "x")]);
        let id = keep(&test, "a", std::slice::from_ref(&below), 3);
        let store = Store::open(test.store.root(), OPTIONS).unwrap();
        drop(test.store);
        let usage = store.usage().unwrap();
        assert!(usage.items.iter().any(|item| item.kind == ItemKind::FailedStep && item.id == id));
        let opened = store.open_kept_root(&id).unwrap().unwrap();
        store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
        assert!(store.snapshot(&below).unwrap().is_some() && store.kept_roots().unwrap().len() == 1);
        drop((opened, store));
        let store = Store::open(&test.directory.path().join("store"), OPTIONS).unwrap();
        let report = store.prune(&PruneOptions { all: true, ..PruneOptions::default() }).unwrap();
        assert_eq!(report.removed.len(), 2, "{report:?}");
        assert!(store.snapshot(&below).unwrap().is_none() && store.kept_roots().unwrap().is_empty());
    }

    #[test]
    fn a_kept_root_becomes_a_layer_and_is_gone_then() {
        let test = TestStore::new();
        let id = keep(&test, "a", &[], 3);
        let opened = test.store.open_kept_root(&id).unwrap().unwrap();
        let published = test.store.publish_snapshot(opened, TestStore::record("layer")).unwrap();
        assert_eq!(fs::read_to_string(published.snapshot.path.join("file")).unwrap(), "a");
        let names = fs::read_dir(published.snapshot.path.parent().unwrap()).unwrap().count();
        assert_eq!((names, test.store.kept_roots().unwrap().len()), (2, 0));
    }

    #[test]
    fn leftovers_of_a_killed_process_are_collected() {
        let test = TestStore::new();
        let id = keep(&test, "a", &[], 3);
        let path = test.store.layout().directory(DIRECTORY).join(&id);
        unmark(&path).unwrap();
        test.store.empty_trash().unwrap();
        assert!(!path.exists());
    }
}
