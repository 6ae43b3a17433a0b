//! Cache keys, scheduling, deduplication of work in flight, and build events.
//!
//! Entry point: [`solve`], which carries out the part of a build graph that some targets need.
//!
//! Invariant: this crate makes no system call of its own. Everything that touches files, processes or the network goes
//! through [`Worker`], everything that outlives the process through [`CacheStore`].
//!
//! Must not: know Dockerfiles, directories or registries.
#![forbid(unsafe_code)]

mod cache;
mod event;
mod key;
mod output;
mod solve;
mod step;
mod worker;

pub use cache::{CacheError, CacheStore, NewRecord};
pub use event::{BuildEvent, EventSink, Outcome, StepInfo, Stream};
pub use key::{KeyParts, step_key};
pub use output::{Layer, LayerBlob, Output, StateDigest};
pub use solve::{Parallelism, SolveError, SolveOptions, Solved, solve};
pub use worker::{ContentDigest, StepError, StepErrorKind, Task, Worker};
