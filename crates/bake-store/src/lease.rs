//! Leases: what a running process uses and nobody may remove.
//!
//! A lease is a file in `leases/`, locked by its process, with one line per blob or snapshot in use. It needs no sync:
//! a lease matters only while its process lives. A killed process's lease is known by its free lock.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File, OpenOptions as FileOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bake_oci::{Digest, SnapshotId};

use crate::StoreError;
use crate::error::AtPath;
use crate::layout::Layout;
use crate::lock::{GcLock, lock, try_lock};

/// A lease file is at most this long: about 600,000 items, more than any store holds.
const LEASE_SIZE_MAX: u64 = 64 << 20;

/// One thing in use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    /// A blob.
    Blob(Digest),
    /// A committed snapshot.
    Snapshot(SnapshotId),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Snapshot(id) => write!(f, "snapshot {id}"),
        }
    }
}

impl Held {
    fn parse(line: &str) -> Option<Self> {
        let (kind, name) = line.split_once(' ')?;
        match kind {
            "blob" => Digest::parse(name).ok().map(Self::Blob),
            "snapshot" => SnapshotId::new(name).ok().map(Self::Snapshot),
            _ => None,
        }
    }
}

/// Keeps what was looked up, published or written through one [`crate::Store`] value from being removed.
///
/// Clones are one lease; it ends when the last of them (and the last clone of its store) is dropped. The file is made
/// when the first thing is taken into use.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

struct Inner {
    layout: Arc<Layout>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<(File, PathBuf)>,
    held: HashSet<Held>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("held", &self.state().held.len()).finish()
    }
}

impl Lease {
    pub(crate) fn new(layout: Arc<Layout>) -> Self {
        Self(Arc::new(Inner { layout, state: Mutex::default() }))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many blobs and snapshots it holds.
    pub fn items(&self) -> usize {
        self.state().held.len()
    }

    pub(crate) fn holds(&self, item: &Held) -> bool {
        self.state().held.contains(item)
    }

    /// Takes items into use. The caller holds the lock against removal and checks, under it, that they exist.
    pub(crate) fn take(&self, _no_removal: &GcLock, items: impl IntoIterator<Item = Held>) -> Result<(), StoreError> {
        use fmt::Write as _;
        let mut state = self.state();
        let mut lines = String::new();
        let mut new = Vec::new();
        for item in items {
            if !state.held.contains(&item) {
                // The line break comes first as well: a line cut short by a full disk must not spoil the next one.
                write!(lines, "\n{item}\n").expect("writing to a String cannot fail");
                new.push(item);
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        if state.file.is_none() {
            let path = self.0.layout.random("leases", "")?;
            let file = FileOptions::new().append(true).create_new(true).mode(0o600).open(&path).at("create", &path)?;
            lock(&file, &path, true)?;
            state.file = Some((file, path));
        }
        if let Some((file, path)) = &mut state.file {
            file.write_all(lines.as_bytes()).at("write", &*path)?;
        }
        state.held.extend(new);
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((_file, path)) = state.file.take()
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::debug!(path = %path.display(), %error, "could not remove a lease");
        }
    }
}

/// Everything that running processes hold; leases of dead processes are removed on the way.
pub(crate) fn held_by_anyone(layout: &Layout, _alone: &GcLock) -> Result<HashSet<Held>, StoreError> {
    let mut held = HashSet::new();
    for_each_live(layout, |_, text| held.extend(text.lines().filter_map(Held::parse)))?;
    Ok(held)
}

/// How many live leases there are beside `own`; leases of dead processes are removed on the way.
pub(crate) fn other_live_leases(layout: &Layout, _alone: &GcLock, own: &Lease) -> Result<usize, StoreError> {
    let own = own.state().file.as_ref().map(|(_, path)| path.clone());
    let mut count = 0;
    for_each_live(layout, |path, _| count += usize::from(own.as_ref() != Some(path)))?;
    Ok(count)
}

fn for_each_live(layout: &Layout, mut visit: impl FnMut(&PathBuf, &str)) -> Result<(), StoreError> {
    let directory = layout.directory("leases");
    for entry in fs::read_dir(&directory).at("list", &directory)? {
        let path = entry.at("list", &directory)?.path();
        let file = match File::open(&path) {
            Ok(file) => file,
            // Its process ended normally in between.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(StoreError::io("open", path, error)),
        };
        if try_lock(&file, &path, true)? {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", path, error));
                }
                _ => continue,
            }
        }
        let mut bytes = Vec::new();
        file.take(LEASE_SIZE_MAX).read_to_end(&mut bytes).at("read", &path)?;
        visit(&path, &String::from_utf8_lossy(&bytes));
    }
    Ok(())
}

/// Whether a live process holds the lock file at `lock_path`.
pub(crate) fn is_locked(lock_path: &Path) -> Result<bool, StoreError> {
    match File::open(lock_path) {
        Ok(file) => Ok(!try_lock(&file, lock_path, true)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("open", lock_path, error)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::TestStore;

    #[test]
    fn lines_of_a_lease_round_trip_and_broken_ones_are_skipped() {
        let blob = Held::Blob(Digest::of(b"x"));
        let snapshot = Held::Snapshot(SnapshotId::new("layer-1").unwrap());
        assert_eq!(Held::parse(&blob.to_string()), Some(blob));
        assert_eq!(Held::parse(&snapshot.to_string()), Some(snapshot));
        assert_eq!(Held::parse("blob sha256:12"), None);
        assert_eq!(Held::parse("snapshot ../.."), None);
        assert_eq!(Held::parse(""), None);
    }

    #[test]
    fn a_lease_counts_while_it_lives_and_is_removed_once_its_process_is_gone() {
        let test = TestStore::new();
        let layout = test.store.layout();
        let lease = Lease::new(test.store.layout_arc());
        let item = Held::Blob(Digest::of(b"x"));
        lease.take(&GcLock::shared(layout).unwrap(), [item.clone(), item.clone()]).unwrap();
        assert_eq!(lease.items(), 1);
        // A dead process leaves its file, but no lock.
        let dead = layout.directory("leases").join("dead");
        fs::write(&dead, format!("\n{}\n", Held::Blob(Digest::of(b"y")))).unwrap();
        let alone = GcLock::exclusive(layout).unwrap();
        assert_eq!(held_by_anyone(layout, &alone).unwrap(), HashSet::from([item]));
        assert!(!dead.exists());
        assert_eq!(other_live_leases(layout, &alone, &lease).unwrap(), 0);
        drop(lease);
        assert!(held_by_anyone(layout, &alone).unwrap().is_empty());
        assert_eq!(fs::read_dir(layout.directory("leases")).unwrap().count(), 0);
    }
}
