//! OCI digests, references, platforms, image configs, manifests and deterministic layer archives.
//!
//! Purpose: the vocabulary every other crate uses to name content, and the two codecs of an image: its JSON documents
//! and its layer archives.
//!
//! Entry points: [`Reference::parse`] and [`Platform::parse`] for what users type, [`LayerWriter`] and [`LayerReader`]
//! for layer archives, [`BlobWriter`] for compressing and digesting one, [`Image::assemble`] for the documents,
//! [`validate::validate_image`] for checking the result, [`BlobStore`] for where blobs live.
//!
//! Invariant: equal inputs give equal bytes, on every machine and with any number of threads; what comes from outside
//! is limited and checked before it is believed.
//!
//! Must not: open paths or sockets (it takes `Read` and `Write`), print, look at the environment, or know how the
//! store lays out its directory.
#![forbid(unsafe_code)]

pub mod archive;
pub mod blob;
pub mod config;
pub mod contract;
pub mod digest;
pub mod image;
pub mod json;
pub mod layer;
pub mod layout;
pub mod manifest;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod time;
pub mod validate;

pub use archive::{ArchiveError, LoadedImage, OpenBlob, read_archive, read_layout_of, write_docker_archive};
pub use blob::{BlobError, BlobStore, MemoryBlobStore, VerifyingReader};
pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use digest::{
    Algorithm, CacheKey, ChainId, DefinitionDigest, DiffId, Digest, DigestError, Digester, SnapshotId, TreeDigest,
};
pub use image::{AssembledIndex, Image, ImageError, ImageLayer, assemble_index};
pub use json::{JsonError, canonical_json, parse_json};
pub use layer::compress::{BlobWriter, CompressedLayer, Compression};
pub use layer::decompress::{DecompressError, ExpansionLimits, decompress};
pub use layer::entry::{Entry, EntryKind};
pub use layer::read::{LayerReadError, LayerReader, ReadLimits};
pub use layer::whiteout::Whiteout;
pub use layer::write::{LayerWriteError, LayerWriter};
pub use layout::{ArchiveImage, write_oci_layout};
pub use manifest::{Descriptor, Document, ImageIndex, ImageManifest, ManifestError};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use time::Timestamp;
pub use validate::{Depth, Problem, validate_image};
