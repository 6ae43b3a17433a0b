//! Writes images to the local store, a registry, an OCI layout, a docker archive, a directory or an archive of files.
//!
//! Entry point: [`Exporter`], whose methods each take the same immutable [`ExportImage`]s.
//!
//! Invariant: a layer that was never an archive is streamed from its snapshot, and the stream must hash to the diff ID
//! the image was assembled with, or nothing is published. Every assembled image is validated before it is announced.
//!
//! Must not: run steps, or decide where an image goes.
#![forbid(unsafe_code)]

mod annotations;
mod archive;
mod archived_layers;
mod attestation;
mod cancellable;
mod compare;
mod compression;
mod containerd;
mod docker;
mod error;
mod estargz;
mod files;
mod image;
mod layout_directory;
mod local;
mod push;
mod relay;
mod remove;
mod spec;
mod timestamps;
mod told;

pub use annotations::{AnnotationLevel, Annotations};
pub use archive::ArchiveKind;
pub use attestation::{Attached, AttestationForm, AttestationOptions, BesideFile, attached_to};
pub use cancellable::Cancellable;
pub use compare::{Aspect, FileDifference};
pub use compression::ExportCompression;
pub use containerd::ContainerdError;
pub use docker::{DockerEndpoint, DockerError};
pub use error::ExportError;
pub use files::FileTree;
pub use image::{ExportImage, ExportLayer, Exporter, LayerContent, Stored};
pub use push::{BringBlob, PushProgress, Pusher, push_blobs};
pub use relay::{CopiedDocument, ImageTree, Relay};
pub use spec::{
    ExportSpec, ExportTarget, FileOptions, ImageOptions, LocalMode, PlacingOptions, SpecError, TimeOptions, spec_fields,
};
pub use told::SendProgress;
