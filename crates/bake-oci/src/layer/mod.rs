//! Layer archives (OCI image spec, "Image Layer Filesystem Changeset"): entries, a deterministic writer, a strict
//! reader, whiteouts and compression.

pub mod compress;
pub mod decompress;
pub mod entry;
pub mod estargz;
pub(crate) mod gzip;
pub(crate) mod header;
pub(crate) mod pax;
pub mod read;
pub mod sparse;
pub mod whiteout;
pub mod write;

/// The longest name or link target in an archive, in bytes: Linux's `PATH_MAX`.
pub const PATH_BYTES_MAX: usize = 4096;

/// The longest part of a name between slashes, in bytes: Linux's `NAME_MAX`.
pub const COMPONENT_BYTES_MAX: usize = 255;

/// The longest PAX header, in bytes: Go's `archive/tar`, and so containerd and Docker, refuse longer ones.
pub const PAX_BYTES_MAX: usize = 1 << 20;

/// The most bytes of extended attributes, names and values, of one entry. Linux takes 64 KiB for a value.
pub const XATTR_BYTES_MAX: usize = 1 << 20;
