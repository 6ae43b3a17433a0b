//! What each layer of an image adds, and which of its bytes later layers hide.
//!
//! Purpose: say where the bytes of an image come from and which of them nobody can see: deleted or replaced by a later layer, or
//! stored a second time because only their owner or mode changed.
//!
//! Entry point: [`analyze`] takes the [`Listing`] of every layer, base first, and returns an [`Analysis`]: figures for each layer,
//! every hidden file as [`Waste`], and the files that are left. [`package_cache`] knows the directories in which package managers
//! leave what no image needs, and [`Unread`] sums up which files of one layer nobody used.
//!
//! # Definitions
//!
//! - *Added* by a layer: the bytes of its regular files. A file with several names (hard links) counts once.
//! - *Visible*: the bytes of files that the image has once all layers are applied.
//! - *Wasted*: added, but not visible. So `added = visible + wasted` holds exactly for every image and every layer.
//! - *Efficiency*: visible bytes divided by added bytes; 1 for an image without bytes.
//!
//! Directories, links and archive headers have no bytes here.
//!
//! Invariants: the same listings give the same analysis; memory is bounded by [`NODES_MAX`] and [`WASTE_MAX`] whatever an image holds.
//!
//! Must not: open files, know stores, print.
#![forbid(unsafe_code)]

mod analysis;
mod byte_size;
mod encoding;
mod listing;
mod package_cache;
mod summary;
mod tree;
mod unread;

pub use analysis::{Analysis, AnalyzeError, Cause, LayerFigures, Overwrite, Waste, analyze};
pub use byte_size::ByteSize;
pub use encoding::{decode, encode};
pub use listing::{Entry, EntryKind, Listing, ListingError, read_archive};
pub use package_cache::{PackageCache, package_cache};
pub use summary::{CacheSum, LayerSum, Summary, WasteSum};
pub use tree::{NODES_MAX, VisibleFile};
pub use unread::Unread;

/// The most hidden files that are remembered one by one: about 500 MB of paths at the longest that Linux allows are refused, typical
/// ones take a tenth of that. More are an error, not a silent sum.
pub const WASTE_MAX: usize = 2_000_000;
