//! What people see on standard error.

pub mod checks;
pub mod ci;
pub mod colour;
mod folding;
pub mod job_summary;
mod lines;
pub mod location;
pub mod measure;
mod numbers;
pub mod outline;
pub mod palette;
mod plain;
pub mod progress;
mod rawjson;
pub mod report;
mod rows;
pub mod sanitize;
mod screen;
pub mod snippet;
mod step;
pub mod tail;
pub mod terminal;
mod tty;
pub mod why;
mod width;
