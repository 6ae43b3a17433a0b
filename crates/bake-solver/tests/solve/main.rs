//! The scheduler over a fake worker and a fake cache: what runs, in which order, and what is found again.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

mod caching;
mod explaining;
mod graphs;
mod keys;
mod planning;
mod scheduling;
mod tracing;
