//! `Packages.db`, the package part of rpm's own database (rpm's `lib/backend/ndb/rpmpkg.c`).
//!
//! ```text
//! header, 32 bytes: "RpmP", u32 version, u32 generation, u32 pages of slots, ...
//! slots, 16 bytes each, up to the end of these pages: "Slot", u32 package, u32 block, u32 blocks; package 0 is a free one
//! blobs at block x 16: "BlbS", u32 package, u32 generation, u32 length, then the header of the package
//! ```
//!
//! All numbers are little-endian.

use super::HEADER_BYTES_MAX;
use crate::scan::{Input, Problem};

const PAGE_BYTES: u64 = 4096;
const HEADER_BYTES: u64 = 32;
const BLOCK_BYTES: u64 = 16;
/// Slots for a million packages.
const SLOT_PAGES_MAX: u64 = 4096;

/// Hands out the headers of all packages, in the order of their slots.
pub(super) fn blobs(input: &Input, take: &mut dyn FnMut(Vec<u8>) -> Result<(), Problem>) -> Result<(), Problem> {
    let header = input.read(0, HEADER_BYTES)?;
    let pages = u64::from(number_at(&header, 12));
    if !header.starts_with(b"RpmP") || pages == 0 || pages > SLOT_PAGES_MAX {
        return Err(Problem::damaged("it is no package database of rpm"));
    }
    let slots = input.read(HEADER_BYTES, pages * PAGE_BYTES - HEADER_BYTES)?;
    for slot in slots.chunks_exact(16).filter(|slot| slot.starts_with(b"Slot") && number_at(slot, 4) != 0) {
        let start = u64::from(number_at(slot, 8)) * BLOCK_BYTES;
        let blob = input.read(start, 16)?;
        let length = u64::from(number_at(&blob, 12));
        if !blob.starts_with(b"BlbS") || number_at(&blob, 4) != number_at(slot, 4) || length > HEADER_BYTES_MAX {
            return Err(Problem::damaged("a package in it is not where its slot says"));
        }
        take(input.read(start + 16, length)?)?;
    }
    Ok(())
}

fn number_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Databases for tests.
#[cfg(test)]
pub(super) mod tests {
    use super::super::header;
    use crate::testing::{inventory, survives_damage};

    pub(in super::super) fn database(headers: &[Vec<u8>]) -> Vec<u8> {
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        let mut slots = Vec::new();
        let mut blobs = Vec::new();
        for (index, header) in headers.iter().enumerate() {
            let block = (4096 + blobs.len()) / 16;
            // A free slot stands between any two.
            slots.extend([*b"Slot", [0; 4], [0; 4], [0; 4]].concat());
            slots.extend([*b"Slot", number(index + 1), number(block), number(header.len() / 16 + 2)].concat());
            blobs.extend([*b"BlbS", number(index + 1), [0; 4], number(header.len())].concat());
            blobs.extend_from_slice(header);
            blobs.resize(blobs.len().next_multiple_of(16), 0);
        }
        let mut bytes = b"RpmP\0\0\0\0\x01\0\0\0\x01\0\0\0".to_vec();
        bytes.resize(32, 0);
        bytes.extend(slots);
        bytes.resize(4096, 0);
        bytes.extend(blobs);
        bytes
    }

    #[test]
    fn damage_is_told_of() {
        let path = "usr/lib/sysimage/rpm/Packages.db";
        let header = header::tests::sample(&[(header::NAME, "a"), (header::VERSION, "1"), (header::RELEASE, "1")]);
        let whole = database(&[header]);
        assert_eq!(inventory(&[(path, &whole)]).packages().len(), 1);
        assert_eq!(inventory(&[(path, &whole[..4096])]).warnings.len(), 1);
        assert_eq!(inventory(&[(path, b"RpmX")]).warnings.len(), 1);
        survives_damage(path, &whole);
    }
}
