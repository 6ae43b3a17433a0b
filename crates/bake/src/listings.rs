//! What the layers of an image hold, from their directories in the store or from their archives.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use bake::error::{CommandError, ErrorKind};
use bake_analyze::{Entry, EntryKind, Listing, Overwrite, decode, encode, read_archive};
use bake_oci::{Digest, ExpansionLimits, LayerReader, decompress};
use bake_snapshot::{LayerEntryKind, LayerFormat, MergedView, SnapshotError, UNPACK_ENTRIES_MAX, list_layer};
use bake_store::{Store, listing_beside, write_listing_beside};

use crate::wiring::store_failed;

/// The listing of a published layer directory. It is walked once, and the listing kept beside it.
pub(crate) fn of_directory(layer: &Path, format: LayerFormat) -> Result<Listing, SnapshotError> {
    match listing_beside(layer) {
        Ok(kept) => {
            if let Some(listing) = kept.and_then(|bytes| decode(&bytes)) {
                return Ok(listing);
            }
        }
        Err(error) => tracing::debug!(%error, "the listing of a layer cannot be read"),
    }
    let listing = walk(layer, format)?;
    if let Err(error) = write_listing_beside(layer, &encode(&listing)) {
        tracing::debug!(%error, "the listing of a layer is not kept");
    }
    Ok(listing)
}

/// The listing of a layer directory. No file of it is read.
fn walk(layer: &Path, format: LayerFormat) -> Result<Listing, SnapshotError> {
    let mut listing = Listing::new();
    list_layer(layer, format, UNPACK_ENTRIES_MAX, &mut |entry| {
        let kind = match entry.kind {
            LayerEntryKind::File(size_bytes) => EntryKind::File { size_bytes, content: None },
            LayerEntryKind::HardLink(target) => EntryKind::HardLink { target: target.to_vec() },
            LayerEntryKind::Directory { opaque } => EntryKind::Directory { opaque },
            LayerEntryKind::Other => EntryKind::Other,
            LayerEntryKind::Whiteout => EntryKind::Whiteout,
        };
        let (mode, uid, gid, mtime) = (entry.mode, entry.uid, entry.gid, entry.mtime);
        listing.push(Entry { path: entry.path.to_vec(), kind, mode, uid, gid, mtime });
    })?;
    Ok(listing)
}

/// The listing of a layer whose blob is in the store. All of the blob is read, and must have its digest.
pub(crate) fn of_blob(store: &Store, digest: &Digest) -> Result<Listing, CommandError> {
    let failed = |error: &dyn std::error::Error| {
        CommandError::build(bake::error::chain_text(error)).context(format!("cannot list the layer {digest}"))
    };
    let blob = store.read_blob(digest).map_err(|error| store_failed(&error))?;
    let mut blob = blob.ok_or_else(|| CommandError::input(format!("the layer {digest} is not in the store")))?;
    let listing = {
        let content = decompress(&mut blob, ExpansionLimits::default()).map_err(|error| failed(&error))?;
        let mut reader = LayerReader::new(content);
        let listing = read_archive(&mut reader).map_err(|error| failed(&error))?;
        reader.finish().map_err(|error| failed(&error))?;
        listing
    };
    // Whatever follows the archive counts for the digest.
    io::copy(&mut blob, &mut io::sink()).map_err(|error| failed(&error))?;
    Ok(listing)
}

/// Tells whether two files hold the same, by reading those whose content is not known from a listing.
pub(crate) struct Contents {
    /// The directories of the layers, base first, as far as they have one.
    pub(crate) directories: Vec<Option<PathBuf>>,
    pub(crate) format: LayerFormat,
}

impl Contents {
    /// Whether both files of an overwrite hold the same; `None` where one of them cannot be read.
    pub(crate) fn same(&self, overwrite: &Overwrite<'_>) -> Option<bool> {
        let of =
            |layer: usize, known: Option<[u8; 32]>| known.or_else(|| self.hash(layer, overwrite.path).ok().flatten());
        let lower = of(overwrite.lower, overwrite.lower_content)?;
        Some(lower == of(overwrite.upper, overwrite.upper_content)?)
    }

    fn hash(&self, layer: usize, path: &[u8]) -> Result<Option<[u8; 32]>, CommandError> {
        let Some(directory) = self.directories.get(layer).and_then(Option::as_ref) else { return Ok(None) };
        let failed = |error: &dyn std::error::Error| CommandError::build(error.to_string());
        let root = File::open(directory).map_err(|error| failed(&error))?;
        let view = MergedView::of_directory(OwnedFd::from(root), self.format.ownership);
        let file = view.open_file(path).map_err(|error| CommandError::from_error(ErrorKind::Build, &error))?;
        let Some(mut file) = file else { return Ok(None) };
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = file.read(&mut buffer).map_err(|error| failed(&error))?;
            if count == 0 {
                return Ok(Some(*hasher.finalize().as_bytes()));
            }
            hasher.update(&buffer[..count]);
        }
    }
}
