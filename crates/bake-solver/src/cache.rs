//! The seam to whatever remembers results.

use bake_graph::Component;
use bake_oci::{CacheKey, DefinitionDigest};

use crate::output::Layer;

/// Remembers the layers that steps made. Implementations are called from several threads at once.
pub trait CacheStore: Sync {
    /// The layer recorded under `key`, if everything it needs is still there.
    fn lookup(&self, key: &CacheKey) -> Result<Option<Layer>, CacheError>;

    /// Remembers a result under all of its keys.
    fn record(&self, record: NewRecord<'_>) -> Result<(), CacheError>;

    /// Waits until no other build works on `key`, then holds it until the guard is dropped.
    ///
    /// While someone else holds it, `keep_waiting` is called again and again, at least every 100 ms; when it says no, the
    /// answer is `None`.
    fn lock(&self, key: &CacheKey, keep_waiting: &dyn Fn() -> bool) -> Result<Option<Box<dyn Send>>, CacheError>;
}

/// A result to be remembered.
#[derive(Debug)]
pub struct NewRecord<'a> {
    /// The keys it is found under.
    pub keys: &'a [CacheKey],
    /// The definition it came from, to find the nearest record when a key misses.
    pub definition: DefinitionDigest,
    /// The step as shown to people.
    pub description: String,
    /// The parts of the key.
    pub components: &'a [Component],
    /// The layer.
    pub layer: &'a Layer,
}

/// The store of results failed.
#[derive(Debug, thiserror::Error)]
#[error("the build cache failed: {message}")]
pub struct CacheError {
    /// What was attempted.
    pub message: String,
    /// What lies underneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
