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

/// The effort with which traces are compressed: most of a trace is digests, which do not get smaller.
const TRACE_COMPRESSION: i32 = 1;

/// The largest trace that is read back: 10,000 questions with paths of 4 KiB, the most that are kept.
const TRACE_BYTES_MAX: usize = 48 << 20;

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

    /// Keeps a trace, as one that led to a result with these keys. One that is too large is left out: its step runs again.
    pub fn add_trace(&self, outer: &CacheKey, trace: &Trace, keys: &[CacheKey]) -> Result<(), StoreError> {
        let Ok(document) = zstd::bulk::compress(&trace.to_bytes(), TRACE_COMPRESSION) else { return Ok(()) };
        let stored = bake_store::StoredTrace {
            outer: *outer,
            questions: trace.questions(),
            document,
            made_unix_s: now_unix_s(),
        };
        match self.store.add_trace(&stored, keys) {
            Err(error @ StoreError::TooLarge { .. }) => {
                tracing::debug!(%error, %outer, "a trace is not kept");
                Ok(())
            }
            done => done,
        }
    }

    /// What the step of an outer key asked and was answered, by the digest of the list of questions; `None` if it is not kept
    /// any more.
    pub fn trace(&self, outer: &CacheKey, questions: &[u8; 32]) -> Result<Option<Trace>, StoreError> {
        Ok(self.store.trace(outer, questions)?.as_ref().and_then(unpacked_trace))
    }

    /// The traces that led to a result with any of these keys, each with its outer key.
    pub fn traces_of(&self, keys: &[CacheKey]) -> Result<Vec<(CacheKey, Trace)>, StoreError> {
        let stored = self.store.traces_of(keys)?;
        Ok(stored.iter().filter_map(|stored| Some((stored.outer, unpacked_trace(stored)?))).collect())
    }
}

/// A trace as it was kept; `None` if another version wrote it in another form, or took something else for its questions.
fn unpacked_trace(stored: &bake_store::StoredTrace) -> Option<Trace> {
    let bytes = zstd::bulk::decompress(&stored.document, TRACE_BYTES_MAX).ok()?;
    Trace::from_bytes(&bytes).filter(|trace| trace.questions() == stored.questions)
}

fn now_unix_s() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs());
    i64::try_from(now).unwrap_or(i64::MAX)
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
        let now = now_unix_s();
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

    fn traces(&self, outer: &CacheKey) -> Result<Vec<StoredTrace>, CacheError> {
        let stored = self.store.traces(outer).map_err(failed("looking up what a step asked"))?;
        let trace = |stored: bake_store::StoredTrace| {
            Some(StoredTrace { trace: unpacked_trace(&stored)?, made_unix_s: stored.made_unix_s })
        };
        Ok(stored.into_iter().filter_map(trace).collect())
    }

    fn record_trace(&self, outer: &CacheKey, trace: &Trace) -> Result<(), CacheError> {
        self.add_trace(outer, trace, &[trace.key(outer)]).map_err(failed("recording what a step asked"))
    }

    fn forget_trace(&self, outer: &CacheKey, questions: &[u8; 32]) -> Result<(), CacheError> {
        self.store.forget_trace(outer, questions).map_err(failed("forgetting what a step asked"))
    }

    fn note_heavy(&self, outer: &CacheKey) -> Result<(), CacheError> {
        self.store.note_heavy(outer).map_err(failed("recording that a step asks for nearly everything"))
    }

    fn is_heavy(&self, outer: &CacheKey) -> Result<bool, CacheError> {
        self.store.is_heavy(outer).map_err(failed("looking up whether a step asks for nearly everything"))
    }

    fn lock(&self, key: &CacheKey, keep_waiting: &dyn Fn() -> bool) -> Result<Option<Box<dyn Send>>, CacheError> {
        let lock = self.store.lock_key_while(key, |_| keep_waiting()).map_err(failed("waiting for another build"))?;
        Ok(lock.map(|lock| Box::new(lock) as Box<dyn Send>))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use bake_solver::{Answer, Asked, Question};
    use bake_store::{OpenOptions, Ownership};

    use super::*;

    fn trace(paths: impl Iterator<Item = Vec<u8>>) -> Trace {
        let question = |path| Question { slot: 0, path, asked: Asked::Node };
        Trace::new(paths.map(|path| (question(path), Answer::Absent)).collect())
    }

    #[test]
    fn traces_are_kept_unless_they_are_too_large() {
        let directory = tempfile::tempdir().unwrap();
        let options = OpenOptions { ownership: Ownership::Native, create: true };
        let store = Store::open(&directory.path().join("store"), options).unwrap();
        let cache = StoreCache::new(store.clone());
        let outer = CacheKey::of(b"outer");
        let small = trace([b"a".to_vec(), b"b/c".to_vec()].into_iter());
        cache.record_trace(&outer, &small).unwrap();
        // Paths that nothing makes smaller.
        let noise = |number: u32| {
            let blocks = (0..60_u32).map(|block| blake3::hash(&[number.to_le_bytes(), block.to_le_bytes()].concat()));
            blocks.map(|block| block.to_hex().to_string()).collect::<Vec<_>>().join("/").into_bytes()
        };
        cache.record_trace(&outer, &trace((0..3000).map(noise))).unwrap();
        let found = cache.traces(&outer).unwrap();
        assert_eq!(cache.trace(&outer, &small.questions()).unwrap(), Some(small.clone()));
        assert_eq!(cache.trace(&outer, &[9; 32]).unwrap(), None);
        assert_eq!(found.iter().map(|stored| &stored.trace).collect::<Vec<_>>(), [&small]);
        assert!(found[0].made_unix_s > 1_600_000_000);
        assert_eq!(cache.traces_of(&[small.key(&outer)]).unwrap(), [(outer, small.clone())]);
        // What another version wrote is none, and is in nobody's way.
        let other = |document: Vec<u8>, questions| {
            let stored = bake_store::StoredTrace { outer, questions, document, made_unix_s: 1 };
            store.add_trace(&stored, &[]).unwrap();
        };
        other(b"not compressed".to_vec(), [1; 32]);
        other(zstd::bulk::compress(b"another form", 1).unwrap(), [2; 32]);
        other(zstd::bulk::compress(&small.to_bytes(), 1).unwrap(), [3; 32]);
        assert_eq!(cache.traces(&outer).unwrap(), found);
        cache.forget_trace(&outer, &small.questions()).unwrap();
        assert_eq!(cache.traces(&outer).unwrap(), []);
        assert!(!cache.is_heavy(&outer).unwrap());
        cache.note_heavy(&outer).unwrap();
        assert!(cache.is_heavy(&outer).unwrap());
    }
}
