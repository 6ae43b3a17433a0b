//! The build cache outside of this machine's store: exported to, and imported from, registries, directories and object
//! stores.
//!
//! Entry points: [`Imports`] and [`ImportingCache`] for what a build takes from other caches, [`Document`] and
//! [`Backend::write`] for what it leaves for others, [`ImportSpec`] and [`ExportSpec`] for what users write.
//!
//! Invariants: a blob is taken over only when its bytes have the digest that the document says, and a layer only when its
//! files are what the record's tree digest says; a document is written after every blob that it names, so a cache that
//! can be read is complete.
//!
//! Must not: schedule or carry out steps, know Dockerfiles, print, or read the environment (callers pass credentials).
#![forbid(unsafe_code)]

mod attributes;
mod backend;
mod document;
mod gha;
mod import;
mod inline;
mod layers;
mod local;
mod manifest;
mod registry;
mod s3;
mod service;
mod spec;
mod store_sink;
mod traces;
mod upload;
mod xml;

pub use backend::{Backend, BackendError, DOCUMENT_BYTES_MAX, Progress};
pub use document::{
    BlobEntry, DOCUMENT_MEDIA_TYPE, Document, DocumentError, LayerEntry, MountEntry, RecordEntry, StepResult,
};
pub use gha::{GhaBackend, GhaOptions};
pub use import::{ImportReport, ImportSource, Imports};
pub use inline::{INLINE_FIELD, ImageLayerState, put_inline, remove_inline};
pub use layers::{ImportingCache, UsedResults};
pub use local::LocalBackend;
pub use manifest::FormatError;
pub use registry::RegistryBackend;
pub use s3::{S3Backend, S3Credentials, S3Options, S3RetryMode};
pub use service::Connection;
pub use spec::{ExportSpec, ImportSpec, Mode, Place, SpecError};
pub use traces::TraceEntry;
