//! The build cache in the local store.

use bake_oci::{CacheKey, TreeDigest};
use bake_solver::{
    CacheError, CacheStore, ContentDigest, Eviction, Layer, NewRecord, PastRecord, PathList, StoredTrace, Trace, Wanted,
};
use bake_store::{CacheRecord, RecordNotes, Store, StoreError};

/// The effort with which lists of paths are compressed: a step must not wait for it.
const PATHS_COMPRESSION: i32 = 1;

/// The largest list of paths that is read back: more than a step selects.
const PATHS_BYTES_MAX: usize = 64 << 20;

use crate::images::chain_of;

/// Remembers layers in the local store.
#[derive(Debug, Clone)]
pub struct StoreCache {
    store: Store,
}

impl StoreCache {
    /// The cache in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

/// A selection with its paths as the store keeps them; without them where they cannot be compressed.
fn packed(selection: &ContentDigest) -> (TreeDigest, Vec<u8>) {
    (selection.digest, zstd::bulk::compress(selection.paths.as_bytes(), PATHS_COMPRESSION).unwrap_or_default())
}

/// A record as the solver compares it; `None` if another version wrote it in another form.
fn past_record(record: bake_store::PastRecord) -> Option<PastRecord> {
    Some(PastRecord {
        description: record.description,
        components: serde_json::from_slice(&record.components).ok()?,
        inputs: serde_json::from_slice(&record.inputs).unwrap_or_default(),
        made_unix_s: record.created_unix_s,
        evicted: record.evicted.map(|evicted| Eviction { at_unix_s: evicted.at_unix_s, by: evicted.by }),
    })
}

fn failed(message: &str) -> impl FnOnce(StoreError) -> CacheError {
    let message = message.to_owned();
    move |source| CacheError { message: format!("{message}: {}", chain_of(&source)), source: Some(Box::new(source)) }
}

impl CacheStore for StoreCache {
    fn lookup(&self, key: &CacheKey) -> Result<Option<Layer>, CacheError> {
        let Some(record) = self.store.cache_lookup(key).map_err(failed("looking up a result"))? else {
            return Ok(None);
        };
        match serde_json::from_slice(&record.result) {
            Ok(layer) => Ok(Some(layer)),
            Err(error) => {
                // Another version's record, or a damaged one: the step runs again and replaces it.
                tracing::debug!(%error, %key, "a cache record cannot be read");
                Ok(None)
            }
        }
    }

    fn record(&self, record: NewRecord<'_>) -> Result<(), CacheError> {
        let encode = |source: serde_json::Error| CacheError {
            message: "encoding a result".into(),
            source: Some(Box::new(source)),
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let notes = RecordNotes {
            step: record.notes.step,
            inputs: serde_json::to_vec(&record.notes.inputs).map_err(encode)?,
            selections: record.notes.selections.into_iter().map(packed).collect(),
        };
        let record = CacheRecord {
            keys: record.keys.to_vec(),
            definition: record.definition,
            result: serde_json::to_vec(record.layer).map_err(encode)?,
            snapshots: vec![record.layer.snapshot.clone()],
            components: serde_json::to_vec(record.components).map_err(encode)?,
            description: record.description.chars().take(1000).collect(),
            // A result that was found again under another key is as old as it was.
            created_unix_s: record.layer.created_ns.map_or(now, |made| made.div_euclid(1_000_000_000)),
            used_unix_s: now,
        };
        self.store.cache_record_with(&record, &notes).map_err(failed("recording a result"))
    }

    fn nearest(&self, wanted: &Wanted) -> Result<Vec<PastRecord>, CacheError> {
        let is_other = |step: &str| wanted.others.contains(step);
        let records = self.store.past_records(&wanted.definition, &wanted.step, &wanted.kind, &is_other);
        Ok(records.map_err(failed("looking for earlier results"))?.into_iter().filter_map(past_record).collect())
    }

    fn selection(&self, digest: &TreeDigest) -> Result<Option<PathList>, CacheError> {
        let packed = self.store.selection(digest).map_err(failed("reading the paths of a selection"))?;
        // What cannot be read explains nothing, and nothing else depends on it.
        Ok(packed
            .and_then(|packed| zstd::bulk::decompress(&packed, PATHS_BYTES_MAX).ok())
            .map(|paths| PathList::from_bytes(&paths)))
    }

    fn traces(&self, _: &CacheKey) -> Result<Vec<StoredTrace>, CacheError> {
        Ok(Vec::new())
    }

    fn record_trace(&self, _: &CacheKey, _: &Trace) -> Result<(), CacheError> {
        Ok(())
    }

    fn forget_trace(&self, _: &CacheKey, _: &[u8; 32]) -> Result<(), CacheError> {
        Ok(())
    }

    fn note_heavy(&self, _: &CacheKey) -> Result<(), CacheError> {
        Ok(())
    }

    fn is_heavy(&self, _: &CacheKey) -> Result<bool, CacheError> {
        Ok(false)
    }

    fn lock(&self, key: &CacheKey, keep_waiting: &dyn Fn() -> bool) -> Result<Option<Box<dyn Send>>, CacheError> {
        let lock = self.store.lock_key_while(key, |_| keep_waiting()).map_err(failed("waiting for another build"))?;
        Ok(lock.map(|lock| Box::new(lock) as Box<dyn Send>))
    }
}
