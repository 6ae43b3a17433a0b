//! The record of a build: what its steps did, when, and what they used.
//!
//! Purpose: collect the events of a build into a [`BuildRecord`], and show one: as a page for people, as a trace for programs.
//!
//! Entry points: [`Recorder`] takes events while a build goes on; [`html::page`] makes a page of a record, [`trace::otlp`] and
//! [`trace::chrome`] make traces; [`timeline::Timeline`] knows the critical path.
//!
//! Invariants: the same record gives the same bytes. Nothing of a record gets into a page unescaped, whatever steps wrote or are
//! called. Memory is bounded whatever steps write: [`log::STEP_BYTES_MAX`] for each that runs, [`recorder::PACKED_BYTES_MAX`] for
//! all that have ended.
//!
//! Must not: open files or sockets, read clocks, print.
#![forbid(unsafe_code)]

pub mod html;
pub mod log;
mod record;
pub mod recorder;
pub mod terminal;
pub mod timeline;
pub mod trace;
mod words;

pub use record::{
    BuildRecord, BuildResult, FindingRecord, ImageRecord, LayerRecord, LogRecord, MachineRecord, RequestRecord,
    StepKind, StepOutcome, StepRecord, TraceRecord, UsageRecord,
};
pub use recorder::{Planned, Recorded, Recorder};
pub use words::{refuted, reused};
