//! Traces in documents: what steps asked when they ran.
//!
//! They name files of build contexts, existing or not, and hold digests of what was in them, so that another machine can
//! tell what has changed. Whoever may read a cache may see that.

use bake_oci::CacheKey;
use bake_solver::Trace;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The most traces of a document.
const TRACES_MAX: usize = 100_000;

/// The longest text of one trace: that of 10,000 questions, the most that are kept, takes some 700 KiB.
const TRACE_BYTES_MAX: usize = 2 << 20;

/// The texts of all traces together: above it, the longest are left out.
const ALL_BYTES_MAX: usize = 16 << 20;

/// What a step asked when it ran, as a document holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TraceEntry {
    /// All that counts for the step but the answers.
    pub outer: CacheKey,
    /// The form of the trace, in base64.
    trace: String,
}

impl TraceEntry {
    /// A trace under its outer key.
    pub fn new(outer: CacheKey, trace: &Trace) -> Self {
        Self { outer, trace: STANDARD.encode(trace.to_bytes()) }
    }

    /// The trace; `None` if it cannot be read, as that of another version of bake.
    pub fn trace(&self) -> Option<Trace> {
        Trace::from_bytes(&STANDARD.decode(&self.trace).ok()?)
    }
}

/// Traces for a document, sorted, each once. What is too long, or too much together, is left out.
pub(crate) fn joined<'a>(traces: impl Iterator<Item = &'a TraceEntry>) -> Vec<TraceEntry> {
    let mut all: Vec<&TraceEntry> = traces.filter(|entry| entry.trace.len() <= TRACE_BYTES_MAX).collect();
    // Of what is too much the long ones go: a step that asks little is the one that is reused.
    all.sort_unstable_by_key(|entry| (entry.trace.len(), *entry));
    all.dedup();
    let mut room = ALL_BYTES_MAX;
    let fitting = all.into_iter().take(TRACES_MAX).take_while(|entry| match room.checked_sub(entry.trace.len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    });
    let mut traces: Vec<TraceEntry> = fitting.cloned().collect();
    traces.sort_unstable();
    traces
}

/// Says what is wrong with the traces of a document.
pub(crate) fn check_traces(traces: &[TraceEntry]) -> Result<(), String> {
    if traces.len() > TRACES_MAX {
        return Err(format!("it lists {} traces, more than {TRACES_MAX}", traces.len()));
    }
    match traces.iter().position(|entry| entry.trace.len() > TRACE_BYTES_MAX) {
        Some(number) => Err(format!("trace {number}: it is too long")),
        None => Ok(()),
    }
}
