//! The build cache outside of this machine's store: exported to, and imported from, registries, directories and object
//! stores.
//!
//! Entry point: [`Backend`], the place where a cache is kept.
//!
//! Invariants: a blob is taken over only when its bytes have the digest that the document says; a document is written
//! after every blob that it names, so a cache that can be read is complete.
//!
//! Must not: schedule or carry out steps, know Dockerfiles, print, or read the environment (callers pass credentials).
#![forbid(unsafe_code)]

mod attributes;
mod backend;
mod gha;
mod s3;
mod service;
mod store_sink;
mod upload;
mod xml;

pub use backend::{Backend, BackendError, DOCUMENT_BYTES_MAX, Progress};
pub use gha::{GhaBackend, GhaOptions};
pub use s3::{S3Backend, S3Credentials, S3Options, S3RetryMode};
pub use service::Connection;
