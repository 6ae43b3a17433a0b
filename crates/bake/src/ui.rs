//! What people see on standard error.

pub mod checks;
pub mod colour;
mod lines;
mod location;
pub mod measure;
mod numbers;
pub mod outline;
mod plain;
pub mod progress;
mod rawjson;
pub mod report;
pub mod sanitize;
pub mod snippet;
mod step;
mod tail;
pub mod terminal;
mod tty;
pub mod why;
