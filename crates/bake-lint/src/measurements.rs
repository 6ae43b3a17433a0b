//! What a build measured, for the rules that only bytes can answer.

pub use bake_analyze::PackageCache;
use bake_analyze::{Cause, Unread};

/// The bytes of the image that was built from a Dockerfile, by instruction. Instructions are given by their index in
/// [`bake_dockerfile::Dockerfile::instructions`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measurements {
    /// The bytes of all layers, those of the base image included.
    pub image_bytes: u64,
    /// What instructions hide of what others wrote.
    pub waste: Vec<MeasuredWaste>,
    /// The package caches that instructions left.
    pub caches: Vec<MeasuredCache>,
    /// The copied files that no later step reads.
    pub unread: Vec<MeasuredUnread>,
}

/// Bytes that are in the image's layers, but not in the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredWaste {
    /// The instruction whose layer holds them; `None` for the base image.
    pub written_by: Option<usize>,
    /// The instruction that hides them.
    pub hidden_by: usize,
    /// How.
    pub cause: Cause,
    /// The bytes.
    pub bytes: u64,
    /// How many files.
    pub files: u64,
    /// The path of the largest.
    pub largest: String,
}

/// A cache that a package manager left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredCache {
    /// The instruction whose layer holds it.
    pub instruction: usize,
    /// Whose it is.
    pub cache: &'static PackageCache,
    /// The directory.
    pub directory: String,
    /// The bytes.
    pub bytes: u64,
}

/// Files that an instruction copies into a stage which is no part of a result, and that no later step reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredUnread {
    /// The instruction.
    pub instruction: usize,
    /// How much of what it copies.
    pub unread: Unread,
}

impl MeasuredUnread {
    /// The fewest bytes that are worth a word. Nobody pulls them, so it takes more of them than of an image's.
    pub const NOTABLE_BYTES_MIN: u64 = 10_000_000;

    /// Whether it is worth a word: at least [`Self::NOTABLE_BYTES_MIN`], and a tenth of what is copied. The image is no measure for
    /// it, as none of this is in the image.
    pub fn is_notable(&self) -> bool {
        let Unread { bytes, of_bytes, .. } = self.unread;
        bytes >= Self::NOTABLE_BYTES_MIN && bytes >= of_bytes / 10
    }
}

impl Measurements {
    /// The fewest bytes that are worth a word: everybody pulls them faster than they read about them.
    pub const NOTABLE_BYTES_MIN: u64 = 1_000_000;

    /// Whether so many bytes are worth a word: at least [`Self::NOTABLE_BYTES_MIN`], and a hundredth of the image.
    pub fn is_notable(&self, bytes: u64) -> bool {
        bytes >= Self::NOTABLE_BYTES_MIN && bytes >= self.image_bytes / 100
    }
}
