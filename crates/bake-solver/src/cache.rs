//! The seam to whatever remembers results.

use bake_graph::Component;
use bake_oci::{CacheKey, DefinitionDigest, TreeDigest};

use crate::explain::{Notes, PastRecord, Wanted};
use crate::output::Layer;
use crate::paths::PathList;
use crate::trace::Trace;

/// Remembers the layers that steps made. Implementations are called from several threads at once.
pub trait CacheStore: Sync {
    /// The layer recorded under `key`, if everything it needs is still there.
    fn lookup(&self, key: &CacheKey) -> Result<Option<Layer>, CacheError>;

    /// Remembers a result under all of its keys.
    fn record(&self, record: NewRecord<'_>) -> Result<(), CacheError>;

    /// A few records, usable or not, that a step without one is compared with: the nearest ones, in any order.
    fn nearest(&self, wanted: &Wanted) -> Result<Vec<PastRecord>, CacheError>;

    /// The paths of a selection that a record was made with, if they are still known.
    fn selection(&self, digest: &TreeDigest) -> Result<Option<PathList>, CacheError>;

    /// The traces kept under an outer key, newest first, at most 16.
    fn traces(&self, outer: &CacheKey) -> Result<Vec<StoredTrace>, CacheError>;

    /// Keeps a trace under an outer key, in place of one that asked the same.
    fn record_trace(&self, outer: &CacheKey, trace: &Trace) -> Result<(), CacheError>;

    /// Forgets the trace under an outer key that asked `questions`.
    fn forget_trace(&self, outer: &CacheKey, questions: &[u8; 32]) -> Result<(), CacheError>;

    /// Remembers that recording what a step with this outer key asks gains nothing.
    fn note_heavy(&self, outer: &CacheKey) -> Result<(), CacheError>;

    /// Whether [`Self::note_heavy`] was called for an outer key.
    fn is_heavy(&self, outer: &CacheKey) -> Result<bool, CacheError>;

    /// Waits until no other build works on `key`, then holds it until the guard is dropped.
    ///
    /// While someone else holds it, `keep_waiting` is called again and again, at least every 100 ms; when it says no, the
    /// answer is `None`.
    fn lock(&self, key: &CacheKey, keep_waiting: &dyn Fn() -> bool) -> Result<Option<Box<dyn Send>>, CacheError>;
}

/// A trace of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTrace {
    /// What was asked, and what was answered the last time.
    pub trace: Trace,
    /// When that was, in seconds since 1970.
    pub made_unix_s: i64,
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
    /// What explains a later miss.
    pub notes: Notes<'a>,
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
