//! draft
#![forbid(unsafe_code)]
mod document;
mod language;
mod message;
mod position;
mod protocol;
mod symbols;
mod variables;
