//! Directories for `RUN --mount=type=cache`, shared between builds.
//!
//! A cache mount ID has one or more slots, `cache-mounts/HEX.N`: slot 0 is what `shared` and `locked` users see; a
//! `private` user takes the first slot that nobody uses. A slot is in use while its `lock` file is locked.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bake_oci::Digest;

use crate::StoreError;
use crate::error::AtPath;
use crate::layout::{Layout, make_directory};
use crate::lock::{GcLock, lock, open_lock_file, try_lock};
use crate::store::Store;
use crate::trash::Bin;

/// Private slots of one ID: more steps than this do not run at once on one machine.
const SLOTS_MAX: u32 = 1024;

/// A cache mount ID is a path or a short name.
const ID_SIZE_MAX: usize = 4096;

/// How often a waiter for a locked cache mount looks again.
const WAIT: Duration = Duration::from_millis(20);

/// How several steps use one cache mount at a time (Dockerfile reference, `RUN --mount=type=cache,sharing=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheSharing {
    /// All at once, in one directory.
    #[default]
    Shared,
    /// Each in a directory of its own.
    Private,
    /// One after the other, in one directory.
    Locked,
}

/// A cache mount in use; it cannot be removed, nor entered against its sharing mode, until this is dropped.
#[derive(Debug)]
pub struct CacheMount {
    path: PathBuf,
    _lock: File,
}

impl CacheMount {
    /// The directory to mount.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A cache mount on disk, for listings and removal.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) directory: PathBuf,
    pub(crate) id: String,
    pub(crate) created_unix_s: i64,
    pub(crate) used_unix_s: i64,
    pub(crate) in_use: bool,
}

impl Store {
    /// Takes the cache mount `id` into use if its sharing mode allows it now; `None` if others stand in the way.
    ///
    /// `prepare` is called with the empty directory when it is new (or was never prepared to the end), to set its mode,
    /// owner and first content; nobody else sees the directory before it returns.
    pub fn try_cache_mount(
        &self,
        id: &str,
        sharing: CacheSharing,
        prepare: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<Option<CacheMount>, StoreError> {
        if id.len() > ID_SIZE_MAX {
            return Err(StoreError::invalid_text(id, "a cache mount ID", "it is too long"));
        }
        let name = Digest::of(id.as_bytes());
        let slots = if sharing == CacheSharing::Private { SLOTS_MAX } else { 1 };
        for number in 0..slots {
            let directory = self.layout().directory("cache-mounts").join(format!("{}.{number}", name.hex()));
            if let Some(mount) = self.enter(&directory, id, sharing, &prepare)? {
                return Ok(Some(mount));
            }
        }
        Ok(None)
    }

    /// As [`Store::try_cache_mount`], but waits for the others for as long as `keep_waiting` says so.
    pub fn cache_mount_while(
        &self,
        id: &str,
        sharing: CacheSharing,
        prepare: impl Fn(&Path) -> io::Result<()>,
        mut keep_waiting: impl FnMut() -> bool,
    ) -> Result<Option<CacheMount>, StoreError> {
        loop {
            if let Some(mount) = self.try_cache_mount(id, sharing, &prepare)? {
                return Ok(Some(mount));
            }
            if !keep_waiting() {
                return Ok(None);
            }
            std::thread::sleep(WAIT);
        }
    }

    /// Takes the cache mount `id` into use as it is, for reading; `None` if there is none. Others may change it meanwhile,
    /// unless its user has locked it: then this waits for as long as `keep_waiting` says so.
    pub fn existing_cache_mount(
        &self,
        id: &str,
        keep_waiting: impl FnMut() -> bool,
    ) -> Result<Option<CacheMount>, StoreError> {
        let name = Digest::of(id.as_bytes());
        let directory = self.layout().directory("cache-mounts").join(format!("{}.0", name.hex()));
        if !directory.join("ready").exists() {
            return Ok(None);
        }
        let absent = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
        match self.cache_mount_while(id, CacheSharing::Shared, absent, keep_waiting) {
            // It was removed a moment ago.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result,
        }
    }

    fn enter(
        &self,
        directory: &Path,
        id: &str,
        sharing: CacheSharing,
        prepare: &impl Fn(&Path) -> io::Result<()>,
    ) -> Result<Option<CacheMount>, StoreError> {
        // Removal takes the lock of a slot under the exclusive form of this lock, so a slot cannot vanish in between.
        let no_removal = GcLock::shared(self.layout())?;
        make_directory(directory)?;
        let lock_path = directory.join("lock");
        let file = open_lock_file(&lock_path)?;
        let ready = directory.join("ready");
        let path = directory.join("data");
        let exclusive = sharing != CacheSharing::Shared || !ready.exists();
        if !try_lock(&file, &lock_path, exclusive)? {
            return Ok(None);
        }
        drop(no_removal);
        if !ready.exists() {
            self.layout().move_to_trash(&path)?;
            fs::write(directory.join("id"), id).at("write", directory.join("id"))?;
            make_directory(&path)?;
            prepare(&path).at("prepare the cache mount", &path)?;
            File::create(&ready).at("create", &ready)?;
        }
        if exclusive && sharing == CacheSharing::Shared {
            // flock(2): changing the mode is not atomic, but all a stranger could do in between is enter or leave.
            lock(&file, &lock_path, false)?;
            if !ready.exists() {
                return Ok(None);
            }
        }
        if let Err(error) = file.set_modified(SystemTime::now()) {
            tracing::debug!(path = %lock_path.display(), %error, "could not note the use of a cache mount");
        }
        Ok(Some(CacheMount { path, _lock: file }))
    }
}

/// All cache mounts.
pub(crate) fn slots(layout: &Layout) -> Result<Vec<Slot>, StoreError> {
    let parent = layout.directory("cache-mounts");
    let mut slots = Vec::new();
    for entry in fs::read_dir(&parent).at("list", &parent)? {
        let directory = entry.at("list", &parent)?.path();
        let lock_path = directory.join("lock");
        let Ok(file) = File::open(&lock_path) else { continue };
        let in_use = !try_lock(&file, &lock_path, true)?;
        let metadata = file.metadata().at("inspect", &lock_path)?;
        drop(file);
        let mut id = Vec::new();
        if let Ok(file) = File::open(directory.join("id")) {
            file.take(8192).read_to_end(&mut id).at("read", directory.join("id"))?;
        }
        slots.push(Slot {
            // The marker is written once, when the directory is new.
            created_unix_s: fs::metadata(directory.join("ready")).map_or(0, |metadata| metadata.mtime()),
            directory,
            id: String::from_utf8_lossy(&id).into_owned(),
            used_unix_s: metadata.mtime(),
            in_use,
        });
    }
    Ok(slots)
}

/// Moves a slot to the bin unless somebody uses it; says whether it did.
pub(crate) fn remove_slot(layout: &Layout, directory: &Path, bin: &Bin, _alone: &GcLock) -> Result<bool, StoreError> {
    let lock_path = directory.join("lock");
    let Ok(file) = File::open(&lock_path) else { return Ok(false) };
    Ok(try_lock(&file, &lock_path, true)? && bin.take(layout, directory)?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::TestStore;

    fn enter(store: &Store, sharing: CacheSharing) -> Option<CacheMount> {
        store.try_cache_mount("go", sharing, |_| Ok(())).unwrap()
    }

    #[test]
    fn sharing_modes_exclude_each_other_as_they_should() {
        let test = TestStore::new();
        let store = &test.store;
        let first = enter(store, CacheSharing::Shared).unwrap();
        let second = enter(store, CacheSharing::Shared).unwrap();
        assert_eq!(first.path(), second.path());
        assert!(enter(store, CacheSharing::Locked).is_none());
        let private = enter(store, CacheSharing::Private).unwrap();
        let another = enter(store, CacheSharing::Private).unwrap();
        assert_ne!(private.path(), first.path());
        assert_ne!(private.path(), another.path());
        drop((first, second));
        let locked = enter(store, CacheSharing::Locked).unwrap();
        assert!(enter(store, CacheSharing::Locked).is_none());
        assert!(enter(store, CacheSharing::Shared).is_none());
        drop(locked);
        let mut looks = 0;
        let _again = enter(store, CacheSharing::Locked).unwrap();
        let given_up = store.cache_mount_while(
            "go",
            CacheSharing::Locked,
            |_| Ok(()),
            || {
                looks += 1;
                looks < 3
            },
        );
        assert!(given_up.unwrap().is_none());
        assert_eq!(slots(store.layout()).unwrap().len(), 3);
    }

    #[test]
    fn content_stays_and_a_half_prepared_directory_does_not() {
        let test = TestStore::new();
        let failed = test.store.try_cache_mount("go", CacheSharing::Shared, |path| {
            fs::write(path.join("half"), "x")?;
            Err(io::Error::other("no"))
        });
        assert!(failed.is_err());
        let mount = enter(&test.store, CacheSharing::Shared).unwrap();
        assert!(!mount.path().join("half").exists());
        fs::write(mount.path().join("kept"), "x").unwrap();
        drop(mount);
        let mount = test
            .store
            .try_cache_mount("go", CacheSharing::Shared, |_| Err(io::Error::other("not new")))
            .unwrap()
            .unwrap();
        assert!(mount.path().join("kept").exists());
        let alone = GcLock::exclusive(test.store.layout()).unwrap();
        let slot = slots(test.store.layout()).unwrap().remove(0);
        assert!(slot.in_use);
        assert_eq!(slot.id, "go");
        let bin = Bin::create(test.store.layout()).unwrap();
        assert!(!remove_slot(test.store.layout(), &slot.directory, &bin, &alone).unwrap());
        drop(mount);
        assert!(remove_slot(test.store.layout(), &slot.directory, &bin, &alone).unwrap());
        drop(alone);
        assert!(slots(test.store.layout()).unwrap().is_empty());
    }
}
