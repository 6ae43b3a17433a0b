//! The header of an rpm package (<https://rpm.org/docs/4.20.x/manual/format_header.html>): an index of entries, then their data.
//!
//! ```text
//! u32 entries, u32 data bytes, entries x (u32 tag, u32 type, u32 offset, u32 count), data; all big-endian
//! ```

use crate::scan::Problem;

pub(super) const NAME: u32 = 1000;
pub(super) const VERSION: u32 = 1001;
pub(super) const RELEASE: u32 = 1002;
pub(super) const EPOCH: u32 = 1003;
pub(super) const SUMMARY: u32 = 1004;
pub(super) const VENDOR: u32 = 1011;
pub(super) const LICENCE: u32 = 1014;
pub(super) const ADDRESS: u32 = 1020;
pub(super) const ARCHITECTURE: u32 = 1022;
pub(super) const SOURCE_PACKAGE: u32 = 1044;
pub(super) const PROVIDED_NAMES: u32 = 1047;
pub(super) const NEEDED_NAMES: u32 = 1049;
const DIRECTORY_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIRECTORY_NAMES: u32 = 1118;

/// Types of entries.
const INT32: u32 = 4;
const STRING: u32 = 6;
const STRING_ARRAY: u32 = 8;
const TRANSLATED_STRING: u32 = 9;

/// A header whose index is known to be all there.
pub(super) struct Header<'a> {
    index: &'a [u8],
    data: &'a [u8],
}

struct IndexEntry {
    kind: u32,
    offset: usize,
    count: usize,
}

impl<'a> Header<'a> {
    pub(super) fn parse(blob: &'a [u8]) -> Result<Self, Problem> {
        let damaged = || Problem::damaged("the header of a package in it ends too early");
        let number = |at| number_at(blob, at).map(|number| number as usize).ok_or_else(damaged);
        let (entries, data_bytes) = (number(0)?, number(4)?);
        let rest = blob.get(8..).ok_or_else(damaged)?;
        let index_bytes = entries.checked_mul(16).ok_or_else(damaged)?;
        let (index, rest) = rest.split_at_checked(index_bytes).ok_or_else(damaged)?;
        Ok(Self { index, data: rest.get(..data_bytes).ok_or_else(damaged)? })
    }

    /// The first text of an entry. `None` where there is none or an empty one.
    pub(super) fn text(&self, tag: u32) -> Option<String> {
        self.texts(tag).next().filter(|text| !text.is_empty())
    }

    /// The first number of an entry.
    pub(super) fn number(&self, tag: u32) -> Option<u32> {
        let entry = self.entry(tag).filter(|entry| entry.kind == INT32 && entry.count > 0)?;
        number_at(self.data, entry.offset)
    }

    /// The path of the first file, without a leading slash.
    pub(super) fn first_file(&self) -> Option<String> {
        let directory = self.number(DIRECTORY_INDEXES)? as usize;
        let directory = self.texts(DIRECTORY_NAMES).nth(directory)?;
        let name = self.text(BASE_NAMES)?;
        Some(format!("{directory}{name}").trim_start_matches('/').to_owned())
    }

    /// The texts of an entry.
    pub(super) fn texts(&self, tag: u32) -> impl Iterator<Item = String> {
        let entry = self.entry(tag).filter(|entry| matches!(entry.kind, STRING | STRING_ARRAY | TRANSLATED_STRING));
        let data = entry.as_ref().and_then(|entry| self.data.get(entry.offset..)).unwrap_or_default();
        let count = entry.map_or(0, |entry| entry.count);
        data.split(|byte| *byte == 0).take(count).map(|text| String::from_utf8_lossy(text).into_owned())
    }

    fn entry(&self, tag: u32) -> Option<IndexEntry> {
        let entry = self.index.chunks_exact(16).find(|entry| number_at(entry, 0) == Some(tag))?;
        Some(IndexEntry {
            kind: number_at(entry, 4)?,
            offset: number_at(entry, 8)? as usize,
            count: number_at(entry, 12)? as usize,
        })
    }
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Headers for tests.
#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A header with these texts, epoch 1 and the file `/usr/bin/bash`.
    pub(in super::super) fn sample(texts: &[(u32, &str)]) -> Vec<u8> {
        let mut entries: Vec<(u32, u32, u32, Vec<u8>)> =
            texts.iter().map(|(tag, text)| (*tag, STRING, 1, [text.as_bytes(), b"\0"].concat())).collect();
        entries.push((EPOCH, INT32, 1, vec![0, 0, 0, 1]));
        entries.push((DIRECTORY_INDEXES, INT32, 2, vec![0, 0, 0, 1, 0, 0, 0, 0]));
        entries.push((BASE_NAMES, STRING_ARRAY, 2, b"bash\0passwd\0".to_vec()));
        entries.push((DIRECTORY_NAMES, STRING_ARRAY, 2, b"/etc/\0/usr/bin/\0".to_vec()));
        let (mut index, mut data) = (Vec::new(), Vec::new());
        let push = |number: usize, into: &mut Vec<u8>| {
            into.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
        };
        for (tag, kind, count, content) in entries {
            for number in [tag as usize, kind as usize, data.len(), count as usize] {
                push(number, &mut index);
            }
            data.extend_from_slice(&content);
        }
        let mut blob = Vec::new();
        push(index.len() / 16, &mut blob);
        push(data.len(), &mut blob);
        [blob, index, data].concat()
    }

    #[test]
    fn entries_are_found() {
        let blob = sample(&[(NAME, "bash"), (SUMMARY, "")]);
        let header = Header::parse(&blob).unwrap_or_else(|problem| panic!("{problem:?}"));
        assert_eq!(header.text(NAME).as_deref(), Some("bash"));
        assert_eq!((header.text(SUMMARY), header.text(VENDOR), header.number(NAME)), (None, None, None));
        assert_eq!(header.number(EPOCH), Some(1));
        assert_eq!(header.first_file().as_deref(), Some("usr/bin/bash"));
        for length in 0..blob.len() {
            assert!(Header::parse(&blob[..length]).is_err(), "{length}");
        }
        assert!(Header::parse(&[0xff; 64]).is_err());
    }
}
