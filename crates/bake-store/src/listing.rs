//! What is in a layer directory, written down beside it by whoever walked it, so that nobody has to walk it again.
//!
//! ```text
//! "bakels1\n"  BLAKE3 of the rest [32]  the list, in a form that is its writer's business
//! ```
//!
//! A layer does not change once it is published, so the list cannot become wrong; it goes when the layer goes. It is only a help: an
//! absent or damaged list counts as none.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::StoreError;
use crate::error::AtPath;

const MAGIC: &[u8; 8] = b"bakels1\n";
const HEADER_SIZE: usize = 8 + 32;

/// A list is at most this long: a layer of a few million files.
const SIZE_MAX: u64 = 256 << 20;

/// The name of the list, beside the layer directory.
const FILE_NAME: &str = "listing";

/// The list beside the layer directory `layer`, if there is a sound one.
pub fn listing_beside(layer: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let path = layer.with_file_name(FILE_NAME);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes).at("read", &path)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Ok(None);
    }
    let checksum = bytes.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk::<32>()).copied();
    let sound = checksum.is_some_and(|checksum| blake3::hash(&bytes[HEADER_SIZE..]) == checksum);
    Ok(sound.then(|| bytes.split_off(HEADER_SIZE)))
}

/// Writes a list beside the published layer directory `layer`. One that would be too long is not written.
///
/// Several processes may do so at the same time: each list is there completely or not at all.
pub fn write_listing_beside(layer: &Path, listing: &[u8]) -> Result<(), StoreError> {
    if (listing.len() + HEADER_SIZE) as u64 > SIZE_MAX {
        return Ok(());
    }
    let path = layer.with_file_name(FILE_NAME);
    let partial = layer.with_file_name(format!("{FILE_NAME}.{}", std::process::id()));
    let checksum = blake3::hash(listing);
    let bytes = [&MAGIC[..], checksum.as_bytes(), listing].concat();
    let written = fs::write(&partial, bytes).at("write", &partial);
    let published = written.and_then(|()| fs::rename(&partial, &path).at("rename", &partial));
    if published.is_err() {
        // It may not be there at all: the layer may have been pruned meanwhile.
        let _ = fs::remove_file(&partial);
    }
    published
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_list_is_found_beside_its_layer() {
        let directory = tempfile::tempdir().unwrap();
        let layer = directory.path().join("fs");
        assert_eq!(listing_beside(&layer).unwrap(), None);
        write_listing_beside(&layer, b"first").unwrap();
        write_listing_beside(&layer, b"second").unwrap();
        assert_eq!(listing_beside(&layer).unwrap().as_deref(), Some(&b"second"[..]));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left");
        assert!(write_listing_beside(&directory.path().join("gone/fs"), b"list").is_err());
    }

    #[test]
    fn a_damaged_list_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let layer = directory.path().join("fs");
        for place in [2, 20, 41] {
            write_listing_beside(&layer, b"list").unwrap();
            let file = File::options().write(true).open(layer.with_file_name(FILE_NAME)).unwrap();
            file.write_at(b"?", place).unwrap();
            assert_eq!(listing_beside(&layer).unwrap(), None, "{place}");
            file.set_len(10).unwrap();
            assert_eq!(listing_beside(&layer).unwrap(), None);
        }
    }
}
