//! Trees served through FUSE: what is recorded, what a step sees, how it ends, and what it costs.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]
#![expect(clippy::print_stdout, reason = "skipped tests say so, and measurements are printed")]

mod record;
mod serve;
mod support;
mod timing;
