//! Cache keys, scheduling, deduplication of work in flight, and build events.
//!
//! Entry point: [`solve`], which carries out the part of a build graph that some targets need. [`plan`] only says what that
//! would take.
//!
//! Invariant: this crate makes no system call of its own. Everything that touches files, processes or the network goes
//! through [`Worker`], everything that outlives the process through [`CacheStore`].
//!
//! Must not: know Dockerfiles, directories or registries.
#![forbid(unsafe_code)]

mod cache;
mod event;
mod explain;
mod key;
mod output;
mod paths;
mod plan;
mod reuse;
mod slot;
mod solve;
mod step;
mod trace;
mod trace_document;
mod worker;

pub use cache::{CacheError, CacheStore, NewRecord, StoredTrace};
pub use event::{Awaited, BuildEvent, EventSink, MemoryOf, Outcome, StepInfo, StepUsage, Stream, TraceNote};
pub use explain::{
    Cause, Change, Difference, Eviction, Explanation, FileChange, How, InputNote, NearestRecord, Notes, PastRecord,
    ReadChange, ReadHow, Wanted,
};
pub use key::{KeyParts, step_key};
pub use output::{CopiedLayer, Layer, LayerBlob, Output, StateDigest};
pub use paths::PathList;
pub use plan::{Forecast, PlannedStep, plan};
pub use reuse::{TraceRun, VerifyShare, past_questions};
pub use slot::{SlotNote, Untraced};
pub use solve::{Parallelism, SolveError, SolveOptions, Solved, solve};
pub use trace::{
    Answer, Asked, NodeAnswer, QUESTIONS_LIGHT, QUESTIONS_MAX, Question, SLOTS_MAX, Scope, Slot, Trace, Traced, scope,
};
pub use worker::{ContentDigest, Ran, StepError, StepErrorKind, Task, Worker};
