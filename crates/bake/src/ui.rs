//! What people see on standard error.

pub mod colour;
mod lines;
pub mod measure;
mod plain;
pub mod progress;
mod rawjson;
pub mod report;
pub mod sanitize;
pub mod snippet;
mod step;
mod tail;
mod tty;
