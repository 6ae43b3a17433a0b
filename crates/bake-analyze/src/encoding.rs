//! A listing as bytes, so that it can be kept.
//!
//! ```text
//! "1"                                          the version
//! per entry:
//!   shared number, length number, bytes        the path: how much of the one before, and what follows
//!   kind byte, mode number, uid number, gid number, seconds i64, nanoseconds u32 (little-endian)
//!   file:  size number, 0 or 1 and 32 bytes of BLAKE3
//!   link:  length number, target
//! ```
//!
//! Numbers have seven bits to a byte, the lowest first; the highest bit says that there is more.

use bake_oci::Timestamp;

use crate::listing::{Entry, EntryKind, Listing};

/// The longest path that Linux takes at once. Longer ones are written, but not read: whoever has them lists the layer again.
const PATH_BYTES_MAX: usize = 4096;

const VERSION: u8 = b'1';

const FILE: u8 = 0;
const HARD_LINK: u8 = 1;
const DIRECTORY: u8 = 2;
const OPAQUE_DIRECTORY: u8 = 3;
const OTHER: u8 = 4;
const WHITEOUT: u8 = 5;

/// The listing as bytes.
pub fn encode(listing: &[Entry]) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    let mut before: &[u8] = b"";
    for entry in listing {
        let shared = before.iter().zip(&entry.path).take_while(|(a, b)| a == b).count();
        put_number(&mut bytes, shared as u64);
        put_bytes(&mut bytes, &entry.path[shared..]);
        before = &entry.path;
        bytes.push(match entry.kind {
            EntryKind::File { .. } => FILE,
            EntryKind::HardLink { .. } => HARD_LINK,
            EntryKind::Directory { opaque: false } => DIRECTORY,
            EntryKind::Directory { opaque: true } => OPAQUE_DIRECTORY,
            EntryKind::Other => OTHER,
            EntryKind::Whiteout => WHITEOUT,
        });
        for number in [entry.mode, entry.uid, entry.gid] {
            put_number(&mut bytes, number.into());
        }
        bytes.extend_from_slice(&entry.mtime.seconds.to_le_bytes());
        bytes.extend_from_slice(&entry.mtime.nanoseconds.to_le_bytes());
        match &entry.kind {
            EntryKind::File { size_bytes, content } => {
                put_number(&mut bytes, *size_bytes);
                bytes.push(u8::from(content.is_some()));
                bytes.extend(content.iter().flatten());
            }
            EntryKind::HardLink { target } => put_bytes(&mut bytes, target),
            _ => {}
        }
    }
    bytes
}

/// The listing that [`encode`] made these bytes of; `None` for other bytes.
pub fn decode(bytes: &[u8]) -> Option<Listing> {
    let mut rest = bytes.strip_prefix(&[VERSION])?;
    let mut listing: Listing = Vec::new();
    while !rest.is_empty() {
        let rest = &mut rest;
        let shared = usize::try_from(take_number(rest)?).ok()?;
        let before = listing.last().map_or(&b""[..], |entry| &entry.path);
        let (shared, own) = (before.get(..shared)?, take_bytes(rest)?);
        // A short list must not become long paths.
        if shared.len() + own.len() > PATH_BYTES_MAX {
            return None;
        }
        let path = [shared, own].concat();
        let [kind] = take(rest)?;
        let mut number = || u32::try_from(take_number(rest)?).ok();
        let (mode, uid, gid) = (number()?, number()?, number()?);
        let seconds = i64::from_le_bytes(take(rest)?);
        let mtime = Timestamp { seconds, nanoseconds: u32::from_le_bytes(take(rest)?) };
        let kind = match kind {
            FILE => {
                let size_bytes = take_number(rest)?;
                let content = match take(rest)? {
                    [0] => None,
                    [1] => Some(take::<32>(rest)?),
                    _ => return None,
                };
                EntryKind::File { size_bytes, content }
            }
            HARD_LINK => EntryKind::HardLink { target: take_bytes(rest)?.to_vec() },
            DIRECTORY => EntryKind::Directory { opaque: false },
            OPAQUE_DIRECTORY => EntryKind::Directory { opaque: true },
            OTHER => EntryKind::Other,
            WHITEOUT => EntryKind::Whiteout,
            _ => return None,
        };
        listing.push(Entry { path, kind, mode, uid, gid, mtime });
    }
    Some(listing)
}

fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    put_number(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

fn take<const COUNT: usize>(rest: &mut &[u8]) -> Option<[u8; COUNT]> {
    let (taken, after) = rest.split_first_chunk::<COUNT>()?;
    *rest = after;
    Some(*taken)
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = take(rest)?;
        let bits = u64::from(byte & 0x7f);
        number |= bits.checked_shl(shift).filter(|shifted| shifted >> shift == bits)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_number(rest)?).ok()?;
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_entry() -> impl Strategy<Value = Entry> {
        let kind = prop_oneof![
            (any::<u64>(), any::<Option<[u8; 32]>>())
                .prop_map(|(size_bytes, content)| EntryKind::File { size_bytes, content }),
            proptest::collection::vec(any::<u8>(), 0..200).prop_map(|target| EntryKind::HardLink { target }),
            any::<bool>().prop_map(|opaque| EntryKind::Directory { opaque }),
            Just(EntryKind::Other),
            Just(EntryKind::Whiteout),
        ];
        (proptest::collection::vec(97..100_u8, 0..200), kind, any::<[u32; 4]>(), any::<i64>()).prop_map(
            |(path, kind, [mode, uid, gid, nanoseconds], seconds)| Entry {
                path,
                kind,
                mode,
                uid,
                gid,
                mtime: Timestamp { seconds, nanoseconds },
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(listing in proptest::collection::vec(any_entry(), 0..20)) {
            let bytes = encode(&listing);
            let read = decode(&bytes);
            prop_assert_eq!(read.as_ref(), Some(&listing));
            // A list that is cut off is none, unless it ends between two entries.
            if let Some(shorter) = decode(&bytes[..bytes.len() - 1]) {
                prop_assert!(shorter.len() < listing.len());
            }
        }

        #[test]
        fn other_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
            let _ = decode(&[&[VERSION], bytes.as_slice()].concat());
        }
    }
}
