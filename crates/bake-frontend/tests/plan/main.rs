//! Plans of small Dockerfiles over made-up images: variables, stages, history and config, sentence by sentence of what
//! other builders do.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

mod checks;
mod config;
mod planning;
mod shared;
mod stages;
mod variables;
