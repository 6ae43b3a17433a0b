//! The build cache in the local store.

use bake_oci::CacheKey;
use bake_solver::{CacheError, CacheStore, Layer, NewRecord};
use bake_store::{CacheRecord, Store, StoreError};

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
        let record = CacheRecord {
            keys: record.keys.to_vec(),
            definition: record.definition,
            result: serde_json::to_vec(record.layer).map_err(encode)?,
            snapshots: vec![record.layer.snapshot.clone()],
            components: serde_json::to_vec(record.components).map_err(encode)?,
            description: record.description.chars().take(1000).collect(),
            created_unix_s: now,
            used_unix_s: now,
        };
        self.store.cache_record(&record).map_err(failed("recording a result"))
    }

    fn lock(&self, key: &CacheKey, keep_waiting: &dyn Fn() -> bool) -> Result<Option<Box<dyn Send>>, CacheError> {
        let lock = self.store.lock_key_while(key, |_| keep_waiting()).map_err(failed("waiting for another build"))?;
        Ok(lock.map(|lock| Box::new(lock) as Box<dyn Send>))
    }
}
