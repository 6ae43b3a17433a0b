//! Taking the cache mounts of a step, with their locks.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bake_graph::{CacheMount, CacheSharing, ExecOp, MountKind};
use bake_solver::{Awaited, BuildEvent, StepError, Task};

use crate::mounts::cache_mount_id;
use crate::worker::{LinuxWorker, store_failed};

/// The cache mounts of one step, by their identity in the store. They are in use until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct CacheMounts {
    taken: BTreeMap<String, bake_store::CacheMount>,
}

impl CacheMounts {
    /// The mount with this identity.
    pub(crate) fn of(&self, id: &str) -> Result<&bake_store::CacheMount, StepError> {
        self.taken.get(id).ok_or_else(|| StepError::input("a cache mount of the step was not taken"))
    }
}

impl LinuxWorker {
    /// Takes all cache mounts of a step, and waits where others have locked one.
    ///
    /// They are taken in the order of their identities, whatever order the step names them in: two steps, of this process
    /// or another, that each held what the other waits for would wait for ever. A mount that a step has several
    /// times is taken once, in the strictest of the ways, so that the step does not wait for itself.
    pub(crate) fn take_cache_mounts(&self, op: &ExecOp, task: &Task<'_>) -> Result<CacheMounts, StepError> {
        let mut wanted: BTreeMap<String, (&CacheMount, bake_store::CacheSharing)> = BTreeMap::new();
        for mount in &op.mounts {
            let MountKind::Cache(cache) = &mount.kind else { continue };
            let sharing = sharing_of(cache);
            let entry = wanted.entry(cache_mount_id(cache, &task.inputs)).or_insert((cache, sharing));
            if strictness(sharing) > strictness(entry.1) {
                entry.1 = sharing;
            }
        }
        let mut mounts = CacheMounts::default();
        for (id, (cache, sharing)) in wanted {
            let mut waiting = None;
            let fill = |directory: &std::path::Path| self.fill_cache_mount(directory, &id, cache, task);
            let tell = |awaited| task.events.send(BuildEvent::Waiting { step: task.id, awaited });
            let keep_waiting = || {
                waiting.get_or_insert_with(|| {
                    tell(Some(Awaited::CacheMount { id: cache.id.clone() }));
                    self.activities.wait(task.id)
                });
                !self.cancelled.load(Ordering::SeqCst)
            };
            let taken = self.options.store.cache_mount_while(&id, sharing, fill, keep_waiting);
            let taken = taken.map_err(|error| store_failed(&error))?.ok_or_else(StepError::cancelled)?;
            if waiting.is_some() {
                tell(None);
            }
            mounts.taken.insert(id, taken);
        }
        Ok(mounts)
    }
}

fn sharing_of(cache: &CacheMount) -> bake_store::CacheSharing {
    match cache.sharing {
        CacheSharing::Shared => bake_store::CacheSharing::Shared,
        CacheSharing::Private => bake_store::CacheSharing::Private,
        CacheSharing::Locked => bake_store::CacheSharing::Locked,
    }
}

/// How many others a way of sharing keeps out: `locked` everybody, `private` those who would share the directory.
fn strictness(sharing: bake_store::CacheSharing) -> u8 {
    match sharing {
        bake_store::CacheSharing::Shared => 0,
        bake_store::CacheSharing::Private => 1,
        bake_store::CacheSharing::Locked => 2,
    }
}
