//! From the files of an image to a list of its packages, as SPDX or CycloneDX.
//!
//! Purpose: say what is in an image without running anything of it: packages of the distribution (dpkg, apk, rpm) and of
//! languages, with their licences, by what package managers, lock files and linkers leave.
//!
//! Entry points: [`scan`] makes an [`Inventory`] of [`Files`] ([`DirectoryFiles`] for a directory or a mount);
//! [`Inventory::to_spdx`] and [`Inventory::to_cyclonedx`] write it down.
//!
//! Invariants: everything is read through [`Files`], so nothing outside of the tree is seen. Whatever the bytes, nothing
//! panics, and no more is read than [`Limits`] allow. Equal trees and subjects give equal documents: sorted, without clock
//! and chance.
//!
//! Must not: write, open sockets, start programs, look at the clock or the environment, print.
#![forbid(unsafe_code)]

mod checksum;
mod directory;
mod documents;
mod elf;
mod files;
mod inventory;
mod licence;
mod purl;
mod scan;
mod sources;
#[cfg(test)]
mod testing;
mod zip;

pub use directory::DirectoryFiles;
pub use documents::Subject;
pub use files::{Entry, EntryKind, Files, FilesError, RandomAccess, Visit};
pub use inventory::{
    Checksum, ChecksumAlgorithm, Distribution, Ecosystem, Inventory, Package, SourcePackage, Standing, Warning,
};
pub use scan::{Limits, SbomError, scan};
