//! The solver's view: results of the local store first, then those of imports, and a list of what a build used.

use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bake_graph::Component;
use bake_oci::{CacheKey, SnapshotId, TreeDigest};
use bake_solver::{CacheError, CacheStore, Layer, NewRecord, Notes, PastRecord, PathList, StoredTrace, Trace, Wanted};
use bake_store::{Store, StoreError};
use bake_worker::StoreCache;

use crate::document::StepResult;
use crate::import::{Imports, TRACES_MAX};
use crate::traces::TraceEntry;

/// Results of a local cache and, where that has none, of imports.
pub struct ImportingCache<'a, C> {
    local: C,
    imports: Arc<Imports>,
    /// Called before the first lookup in an import that may have to wait.
    before_waiting: &'a (dyn Fn() + Sync),
}

impl<C: std::fmt::Debug> std::fmt::Debug for ImportingCache<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportingCache").field("local", &self.local).field("imports", &self.imports).finish()
    }
}

impl<'a, C: CacheStore> ImportingCache<'a, C> {
    /// Looks into `local`, then into `imports`, before which `before_waiting` is called each time.
    pub fn new(local: C, imports: Arc<Imports>, before_waiting: &'a (dyn Fn() + Sync)) -> Self {
        Self { local, imports, before_waiting }
    }
}

impl<C: CacheStore> CacheStore for ImportingCache<'_, C> {
    fn lookup(&self, key: &CacheKey) -> Result<Option<Layer>, CacheError> {
        if let Some(layer) = self.local.lookup(key)? {
            return Ok(Some(layer));
        }
        if self.imports.is_empty() {
            return Ok(None);
        }
        (self.before_waiting)();
        Ok(self.imports.lookup(key))
    }

    fn record(&self, record: NewRecord<'_>) -> Result<(), CacheError> {
        if self.imports.is_elsewhere(record.layer) {
            self.imports.later(result_of(&record));
            return Ok(());
        }
        self.local.record(record)
    }

    fn nearest(&self, wanted: &Wanted) -> Result<Vec<PastRecord>, CacheError> {
        self.local.nearest(wanted)
    }

    fn selection(&self, digest: &TreeDigest) -> Result<Option<PathList>, CacheError> {
        self.local.selection(digest)
    }

    fn traces(&self, outer: &CacheKey) -> Result<Vec<StoredTrace>, CacheError> {
        let mut traces = self.local.traces(outer)?;
        if traces.len() < TRACES_MAX && !self.imports.is_empty() {
            (self.before_waiting)();
            let known: HashSet<[u8; 32]> = traces.iter().map(|stored| stored.trace.questions()).collect();
            let imported = self.imports.traces(outer).into_iter();
            let imported = imported.filter(|trace| !known.contains(&trace.questions()));
            // Documents do not tell when anything was made.
            traces.extend(imported.map(|trace| StoredTrace { trace, made_unix_s: 0 }));
            traces.truncate(TRACES_MAX);
        }
        Ok(traces)
    }

    fn record_trace(&self, outer: &CacheKey, trace: &Trace) -> Result<(), CacheError> {
        self.local.record_trace(outer, trace)
    }

    fn forget_trace(&self, outer: &CacheKey, questions: &[u8; 32]) -> Result<(), CacheError> {
        self.local.forget_trace(outer, questions)
    }

    fn note_heavy(&self, outer: &CacheKey) -> Result<(), CacheError> {
        self.imports.note_heavy(outer);
        self.local.note_heavy(outer)
    }

    fn is_heavy(&self, outer: &CacheKey) -> Result<bool, CacheError> {
        let is_heavy = self.local.is_heavy(outer)? || {
            if !self.imports.is_empty() {
                (self.before_waiting)();
            }
            self.imports.is_heavy(outer)
        };
        if is_heavy {
            self.imports.note_heavy(outer);
        }
        Ok(is_heavy)
    }

    fn lock(&self, key: &CacheKey, waiting: &dyn Fn() -> bool) -> Result<Option<Box<dyn Send>>, CacheError> {
        self.local.lock(key, waiting)
    }
}

/// Writes down which results a build used, for an export.
#[derive(Debug)]
pub struct UsedResults<C> {
    cache: C,
    used: Mutex<HashMap<SnapshotId, Vec<Used>>>,
}

#[derive(Debug, Clone)]
enum Used {
    /// A result from before, found under this key.
    Found(CacheKey, Layer),
    /// A result that was recorded in this build.
    Recorded(Box<StepResult>),
}

impl<C: CacheStore> UsedResults<C> {
    /// Over `cache`.
    pub fn new(cache: C) -> Self {
        Self { cache, used: Mutex::default() }
    }

    /// The results, each once, with everything that is known of it.
    pub fn results(&self, store: &Store, imports: &Imports) -> Result<Vec<StepResult>, StoreError> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut results: BTreeMap<_, StepResult> = BTreeMap::new();
        for used in used.into_values().flatten() {
            let result = match used {
                Used::Recorded(result) => Some(*result),
                Used::Found(key, layer) => match found(store, &key, &layer)? {
                    Some(result) => Some(result),
                    None => imports.result(&key).map(|result| StepResult { layer, ..result }),
                },
            };
            let Some(mut result) = result else { continue };
            add_local_traces(store, &mut result)?;
            // One result is found under one key and then recorded under another.
            match results.entry((result.layer.snapshot.clone(), result.definition)) {
                Entry::Occupied(mut known) => {
                    known.get_mut().keys.append(&mut result.keys);
                    known.get_mut().traces.append(&mut result.traces);
                }
                Entry::Vacant(place) => {
                    place.insert(result);
                }
            }
        }
        for result in results.values_mut() {
            result.keys.sort_unstable();
            result.keys.dedup();
            result.traces.sort_unstable();
            result.traces.dedup();
        }
        Ok(results.into_values().collect())
    }

    fn note(&self, snapshot: &SnapshotId, used: Used) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).entry(snapshot.clone()).or_default().push(used);
    }
}

/// What the local store says of a result that was found under `key`; `None` if it is another one by now.
fn found(store: &Store, key: &CacheKey, layer: &Layer) -> Result<Option<StepResult>, StoreError> {
    let Some(record) = store.cache_lookup(key)? else { return Ok(None) };
    let known: Option<Layer> = serde_json::from_slice(&record.result).ok();
    if known.is_none_or(|known| known.snapshot != layer.snapshot) {
        return Ok(None);
    }
    Ok(Some(StepResult {
        layer: layer.clone(),
        keys: record.keys,
        definition: record.definition,
        description: record.description,
        // Another version may have written them in another form; they only explain.
        components: serde_json::from_slice(&record.components).unwrap_or_default(),
        traces: Vec::new(),
    }))
}

/// Adds what the local store knows of what a step asked. Of the same questions, its answers are the newer ones.
fn add_local_traces(store: &Store, result: &mut StepResult) -> Result<(), StoreError> {
    let local = StoreCache::new(store.clone()).traces_of(&result.keys)?;
    let asked = |outer: CacheKey, trace: &Trace| (outer, trace.questions());
    let known: HashSet<_> = local.iter().map(|(outer, trace)| asked(*outer, trace)).collect();
    result.traces.retain(|entry| entry.trace().is_some_and(|trace| !known.contains(&asked(entry.outer, &trace))));
    result.traces.extend(local.iter().map(|(outer, trace)| TraceEntry::new(*outer, trace)));
    Ok(())
}

impl<C: CacheStore> CacheStore for UsedResults<C> {
    fn lookup(&self, key: &CacheKey) -> Result<Option<Layer>, CacheError> {
        let found = self.cache.lookup(key)?;
        if let Some(layer) = &found {
            self.note(&layer.snapshot, Used::Found(*key, layer.clone()));
        }
        Ok(found)
    }

    fn record(&self, record: NewRecord<'_>) -> Result<(), CacheError> {
        let result = result_of(&record);
        self.cache.record(record)?;
        self.note(&result.layer.snapshot.clone(), Used::Recorded(Box::new(result)));
        Ok(())
    }

    fn nearest(&self, wanted: &Wanted) -> Result<Vec<PastRecord>, CacheError> {
        self.cache.nearest(wanted)
    }

    fn selection(&self, digest: &TreeDigest) -> Result<Option<PathList>, CacheError> {
        self.cache.selection(digest)
    }

    fn traces(&self, outer: &CacheKey) -> Result<Vec<StoredTrace>, CacheError> {
        self.cache.traces(outer)
    }

    fn record_trace(&self, outer: &CacheKey, trace: &Trace) -> Result<(), CacheError> {
        self.cache.record_trace(outer, trace)
    }

    fn forget_trace(&self, outer: &CacheKey, questions: &[u8; 32]) -> Result<(), CacheError> {
        self.cache.forget_trace(outer, questions)
    }

    fn note_heavy(&self, outer: &CacheKey) -> Result<(), CacheError> {
        self.cache.note_heavy(outer)
    }

    fn is_heavy(&self, outer: &CacheKey) -> Result<bool, CacheError> {
        self.cache.is_heavy(outer)
    }

    fn lock(&self, key: &CacheKey, waiting: &dyn Fn() -> bool) -> Result<Option<Box<dyn Send>>, CacheError> {
        self.cache.lock(key, waiting)
    }
}

/// A record as the solver hands it over.
pub(crate) fn record_of(result: &StepResult) -> NewRecord<'_> {
    NewRecord {
        keys: &result.keys,
        definition: result.definition,
        description: result.description.clone(),
        components: &result.components,
        // Documents hold no names of files; a later miss is explained by the components alone.
        notes: Notes::default(),
        layer: &result.layer,
    }
}

fn result_of(record: &NewRecord<'_>) -> StepResult {
    let components: &[Component] = record.components;
    StepResult {
        layer: record.layer.clone(),
        keys: record.keys.to_vec(),
        definition: record.definition,
        description: record.description.clone(),
        components: components.to_vec(),
        traces: Vec::new(),
    }
}
