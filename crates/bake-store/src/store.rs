//! The store value: a checked directory, its index, and the lease of whoever uses it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bake_oci::SnapshotId;
use rusqlite::params;

use crate::StoreError;
use crate::index::Index;
use crate::layout::{Layout, OpenOptions, Ownership, now_unix_s};
use crate::lease::Lease;

/// Times of use are kept to the hour: a build that only hits the cache then writes nothing.
pub(crate) const USE_GRANULARITY_S: i64 = 3600;

/// A store directory, open for use by this process.
///
/// Clones share everything, the lease included. What a store value hands out (blobs, snapshots, cache records) cannot
/// be removed by any process until the last clone of that value is dropped; [`Store::with_new_lease`] starts over for
/// the next build of a long-lived process.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
    lease: Lease,
}

#[derive(Debug)]
struct Shared {
    layout: Arc<Layout>,
    index: Index,
    boot_id: OnceLock<String>,
    uses: Mutex<Uses>,
}

/// What was used since the last [`Store::flush_uses`] and should count as recent.
#[derive(Debug, Default)]
struct Uses {
    snapshots: BTreeSet<SnapshotId>,
    records: BTreeSet<i64>,
    traces: BTreeSet<i64>,
}

impl Store {
    /// Opens the store at `root`, creating it if the options say so.
    ///
    /// Checks the owner, the mode, the format version and the ownership form, and nothing else: the index is opened
    /// when it is first needed.
    pub fn open(root: &Path, options: OpenOptions) -> Result<Self, StoreError> {
        let layout = Arc::new(Layout::open(root, options)?);
        let index = Index::new(&layout);
        let shared = Shared { layout: Arc::clone(&layout), index, boot_id: OnceLock::new(), uses: Mutex::default() };
        Ok(Self { shared: Arc::new(shared), lease: Lease::new(layout) })
    }

    /// The store's directory, absolute.
    pub fn root(&self) -> &Path {
        self.shared.layout.root()
    }

    /// How layer directories carry file owners.
    pub fn ownership(&self) -> Ownership {
        self.shared.layout.ownership()
    }

    /// The lease of this value and its clones; keep a clone of it to hold their results for longer.
    pub fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// The same store with a lease of its own, which holds nothing yet.
    #[must_use]
    pub fn with_new_lease(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), lease: Lease::new(Arc::clone(&self.shared.layout)) }
    }

    /// Writes the times of use that were collected in memory. Also done when the last clone is dropped.
    pub fn flush_uses(&self) -> Result<(), StoreError> {
        self.shared.flush_uses()
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    #[cfg(test)]
    pub(crate) fn layout_arc(&self) -> Arc<Layout> {
        Arc::clone(&self.shared.layout)
    }

    pub(crate) fn index(&self) -> &Index {
        &self.shared.index
    }

    pub(crate) fn lease_ref(&self) -> &Lease {
        &self.lease
    }

    /// Notes that a snapshot was used, unless its time of use is recent enough.
    pub(crate) fn note_snapshot_use(&self, id: &SnapshotId, used_unix_s: i64) {
        if used_unix_s + USE_GRANULARITY_S < now_unix_s() {
            self.shared.uses().snapshots.insert(id.clone());
        }
    }

    /// Notes that a cache record was used, unless its time of use is recent enough.
    pub(crate) fn note_record_use(&self, row: i64, used_unix_s: i64) {
        if used_unix_s + USE_GRANULARITY_S < now_unix_s() {
            self.shared.uses().records.insert(row);
        }
    }

    /// Notes that a trace was used, unless its time of use is recent enough.
    pub(crate) fn note_trace_use(&self, row: i64, used_unix_s: i64) {
        if used_unix_s.saturating_add(USE_GRANULARITY_S) < now_unix_s() {
            self.shared.uses().traces.insert(row);
        }
    }

    /// The identity of this boot of the machine: data written but not synced is trusted only within one boot.
    pub(crate) fn boot_id(&self) -> &str {
        self.shared.boot_id.get_or_init(|| {
            match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
                Ok(text) if text.trim().len() == 36 => text.trim().to_owned(),
                // Without /proc nothing unsynced of another process can be trusted.
                _ => format!("unknown-{}-{}", std::process::id(), now_unix_s()),
            }
        })
    }
}

impl Shared {
    fn uses(&self) -> std::sync::MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush_uses(&self) -> Result<(), StoreError> {
        let uses = std::mem::take(&mut *self.uses());
        if uses.snapshots.is_empty() && uses.records.is_empty() && uses.traces.is_empty() {
            return Ok(());
        }
        let now = now_unix_s();
        self.index.write("note what was used", |connection| {
            let mut snapshot = connection.prepare_cached("UPDATE snapshot SET used = ?1 WHERE id = ?2")?;
            for id in &uses.snapshots {
                snapshot.execute(params![now, id.as_str()])?;
            }
            let mut record = connection.prepare_cached("UPDATE record SET used = ?1 WHERE id = ?2")?;
            for row in &uses.records {
                record.execute(params![now, row])?;
            }
            let mut trace = connection.prepare_cached("UPDATE trace SET used = ?1 WHERE number = ?2")?;
            for row in &uses.traces {
                trace.execute(params![now, row])?;
            }
            Ok(())
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.index.is_open() {
            return;
        }
        if let Err(error) = self.flush_uses() {
            tracing::debug!(%error, "could not note what was used");
        }
        self.index.tidy();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::{OPTIONS, TestStore};

    #[test]
    fn a_store_can_be_shared_by_threads() {
        fn check<T: Send + Sync + Clone + 'static>(_: &T) {}
        let test = TestStore::new();
        check(&test.store);
        check(&test.store.lease());
    }

    #[test]
    fn opening_does_not_touch_the_index_and_leaving_ends_the_lease() {
        let test = TestStore::new();
        let index = test.store.layout().index();
        assert!(!index.exists());
        let id = test.publish("a", &[]);
        let store = Store::open(test.store.root(), OPTIONS).unwrap();
        let leases = store.layout().directory("leases");
        store.snapshot(&id).unwrap().unwrap();
        let lease = store.lease();
        drop(store);
        assert_eq!(std::fs::read_dir(&leases).unwrap().count(), 1);
        drop(lease);
        assert_eq!(std::fs::read_dir(&leases).unwrap().count(), 0);
    }

    #[test]
    fn a_long_log_is_shortened_by_the_process_that_wrote_it() {
        let test = TestStore::new();
        let root = test.store.root().to_path_buf();
        for number in 0..40 {
            test.store.remember("test", &number.to_string(), &vec![7; 20_000]).unwrap();
        }
        let log = root.join("index.sqlite-wal");
        assert!(std::fs::metadata(&log).unwrap().len() > 256 << 10);
        let TestStore { store, directory } = test;
        drop(store);
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
        drop(directory);
    }
}
