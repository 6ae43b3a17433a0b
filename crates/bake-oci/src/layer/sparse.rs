//! Sparse files: GNU's old `S` headers and the PAX forms 0.0, 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files").
//!
//! A map says where the pieces of data lie in the file; the archive holds the pieces without the holes. A few bytes of
//! map can announce exabytes (CVE-2025-58183), so the map's size, its order and the file's size are checked before any
//! of it is used.

use std::io::{self, Read};

use tar::GnuExtSparseHeader;

use crate::layer::header::{BLOCK_BYTES, number};
use crate::layer::pax::decimal;
use crate::layer::read::LayerReadError;

/// The most pieces of one file. GNU tar writes one per run of data; files with more come from attackers.
pub(crate) const FRAGMENTS_MAX: usize = 65_536;

/// One piece of data in a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
}

/// Where the data of a sparse file lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SparseMap {
    pub(crate) fragments: Vec<Fragment>,
    /// The size of the file with its holes.
    pub(crate) real_size: u64,
}

/// What PAX records say about a sparse file.
#[derive(Debug, Default)]
pub(crate) struct SparseRecords {
    major: Option<Vec<u8>>,
    minor: Option<Vec<u8>>,
    real_size: Option<Vec<u8>>,
    count: Option<Vec<u8>>,
    map: Option<Vec<u8>>,
    /// Offsets and lengths of format 0.0, in turn; the only records whose order and repetition count.
    numbers: Vec<u64>,
    broken: bool,
    /// The file's name; the header's is a stand-in.
    pub(crate) name: Option<Vec<u8>>,
}

impl SparseRecords {
    /// Takes a `GNU.sparse.` record.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) {
        let owned = Some(value.to_vec());
        match key {
            b"major" => self.major = owned,
            b"minor" => self.minor = owned,
            b"name" => self.name = owned,
            b"size" | b"realsize" => self.real_size = owned,
            b"numblocks" => self.count = owned,
            b"map" => self.map = owned,
            b"offset" | b"numbytes" => {
                let expected: &[u8] = if self.numbers.len().is_multiple_of(2) { b"offset" } else { b"numbytes" };
                match decimal(value) {
                    Some(value) if key == expected && self.numbers.len() < 2 * FRAGMENTS_MAX => {
                        self.numbers.push(value);
                    }
                    _ => self.broken = true,
                }
            }
            _ => self.broken = true,
        }
    }

    fn is_absent(&self) -> bool {
        self.major.is_none()
            && self.minor.is_none()
            && self.real_size.is_none()
            && self.count.is_none()
            && self.map.is_none()
            && self.numbers.is_empty()
            && !self.broken
    }

    /// The map, if the records announce a sparse file; for format 1.0 it is read from the start of the content, and
    /// `data_bytes` is reduced by what that took.
    pub(crate) fn into_map(self, content: impl Read, data_bytes: &mut u64) -> Result<Option<SparseMap>, SparseError> {
        if self.is_absent() {
            return Ok(None);
        }
        if self.broken || !self.numbers.len().is_multiple_of(2) {
            return Err(SparseError::Records);
        }
        let real_size = self.real_size.as_deref().and_then(decimal).ok_or(SparseError::Records)?;
        let version = (self.major.as_deref(), self.minor.as_deref());
        let fragments = match version {
            (Some(b"1"), Some(b"0")) => read_map_1_0(content, data_bytes)?,
            (None, None) | (Some(b"0"), Some(b"0" | b"1")) => {
                let numbers = match &self.map {
                    Some(_) if !self.numbers.is_empty() => return Err(SparseError::Records),
                    Some(map) if map.is_empty() => Vec::new(),
                    Some(map) => map
                        .split(|byte| *byte == b',')
                        .take(2 * FRAGMENTS_MAX + 1)
                        .map(decimal)
                        .collect::<Option<Vec<u64>>>()
                        .ok_or(SparseError::Records)?,
                    None => self.numbers,
                };
                let count =
                    self.count.as_deref().map(|count| decimal(count).ok_or(SparseError::Records)).transpose()?;
                let pairs = pairs(&numbers)?;
                if count.is_some_and(|count| count != pairs.len() as u64) {
                    return Err(SparseError::Records);
                }
                pairs
            }
            _ => return Err(SparseError::Version),
        };
        let map = SparseMap { fragments, real_size };
        map.check(*data_bytes)?;
        Ok(Some(map))
    }
}

/// Why a sparse map is refused.
#[derive(Debug, thiserror::Error)]
pub enum SparseError {
    /// The records are incomplete, contradict each other or have bad numbers.
    #[error("its sparse records are not valid")]
    Records,
    /// Not 0.0, 0.1 or 1.0.
    #[error("its sparse format has an unknown version")]
    Version,
    /// The map in front of the content is not decimal lines.
    #[error("its sparse map is not valid")]
    Map,
    /// More pieces than 65,536.
    #[error("its sparse map has more than {FRAGMENTS_MAX} pieces")]
    TooManyFragments,
    /// Pieces overlap, are not in order, or lie beyond the end.
    #[error("its sparse map has pieces that overlap, are out of order or lie beyond the end of the file")]
    Order,
    /// The map covers more or fewer bytes than the archive holds.
    #[error("its sparse map and the content in the archive have different sizes")]
    DataSize,
    /// The archive cannot be read.
    #[error("its sparse map cannot be read")]
    Read(#[source] io::Error),
}

impl SparseMap {
    fn check(&self, data_bytes: u64) -> Result<(), SparseError> {
        if self.fragments.len() > FRAGMENTS_MAX {
            return Err(SparseError::TooManyFragments);
        }
        let (mut end, mut total) = (0_u64, 0_u64);
        for fragment in &self.fragments {
            if fragment.offset < end {
                return Err(SparseError::Order);
            }
            end = fragment.offset.checked_add(fragment.length).ok_or(SparseError::Order)?;
            total += fragment.length;
        }
        if end > self.real_size {
            return Err(SparseError::Order);
        }
        if total != data_bytes {
            return Err(SparseError::DataSize);
        }
        Ok(())
    }
}

fn pairs(numbers: &[u64]) -> Result<Vec<Fragment>, SparseError> {
    if !numbers.len().is_multiple_of(2) {
        return Err(SparseError::Records);
    }
    if numbers.len() > 2 * FRAGMENTS_MAX {
        return Err(SparseError::TooManyFragments);
    }
    Ok(numbers.chunks_exact(2).map(|pair| Fragment { offset: pair[0], length: pair[1] }).collect())
}

/// Format 1.0: the content begins with the number of pieces, then offset and length of each, one decimal number a
/// line, padded to a block.
fn read_map_1_0(mut content: impl Read, data_bytes: &mut u64) -> Result<Vec<Fragment>, SparseError> {
    let mut block = [0_u8; BLOCK_BYTES];
    let mut at = BLOCK_BYTES;
    let mut next_byte = |data_bytes: &mut u64| -> Result<u8, SparseError> {
        if at == BLOCK_BYTES {
            *data_bytes = data_bytes.checked_sub(BLOCK_BYTES as u64).ok_or(SparseError::Map)?;
            content.read_exact(&mut block).map_err(SparseError::Read)?;
            at = 0;
        }
        at += 1;
        Ok(block[at - 1])
    };
    let mut next_number = |data_bytes: &mut u64| -> Result<u64, SparseError> {
        let mut digits = Vec::new();
        loop {
            match next_byte(data_bytes)? {
                b'\n' => return decimal(&digits).ok_or(SparseError::Map),
                digit if digits.len() < 20 => digits.push(digit),
                _ => return Err(SparseError::Map),
            }
        }
    };
    let count = next_number(data_bytes)?;
    if count > FRAGMENTS_MAX as u64 {
        return Err(SparseError::TooManyFragments);
    }
    let mut fragments = Vec::new();
    for _ in 0..count {
        let offset = next_number(data_bytes)?;
        let length = next_number(data_bytes)?;
        fragments.push(Fragment { offset, length });
    }
    Ok(fragments)
}

/// GNU's old format: four pieces in the header, more in blocks of 21 behind it. `read_block` gives those blocks.
pub(crate) fn read_old_map(
    header: &tar::Header,
    data_bytes: u64,
    mut read_block: impl FnMut(&mut [u8; BLOCK_BYTES]) -> Result<(), LayerReadError>,
) -> Result<Result<SparseMap, SparseError>, LayerReadError> {
    let Some(gnu) = header.as_gnu() else { return Ok(Err(SparseError::Version)) };
    let mut fragments = Vec::new();
    let mut ended = false;
    let mut take = |offset: &[u8], length: &[u8]| -> Result<(), SparseError> {
        if offset.first() == Some(&0) {
            ended = true;
            return Ok(());
        }
        let value = |field| number(field).and_then(|value| u64::try_from(value).ok()).ok_or(SparseError::Records);
        let fragment = Fragment { offset: value(offset)?, length: value(length)? };
        if ended {
            return Err(SparseError::Records);
        }
        fragments.push(fragment);
        if fragments.len() > FRAGMENTS_MAX { Err(SparseError::TooManyFragments) } else { Ok(()) }
    };
    for piece in &gnu.sparse {
        if let Err(error) = take(&piece.offset, &piece.numbytes) {
            return Ok(Err(error));
        }
    }
    let mut extended = gnu.isextended[0] == 1;
    let mut extensions = 0;
    while extended {
        // Empty blocks add no pieces, so the limit on pieces alone would not end them.
        extensions += 1;
        if extensions > FRAGMENTS_MAX / 21 + 1 {
            return Ok(Err(SparseError::TooManyFragments));
        }
        let mut extension = GnuExtSparseHeader::new();
        let mut block = [0_u8; BLOCK_BYTES];
        read_block(&mut block)?;
        extension.as_mut_bytes().copy_from_slice(&block);
        for piece in &extension.sparse {
            if let Err(error) = take(&piece.offset, &piece.numbytes) {
                return Ok(Err(error));
            }
        }
        extended = extension.isextended[0] == 1;
    }
    let Some(real_size) = number(&gnu.realsize).and_then(|value| u64::try_from(value).ok()) else {
        return Ok(Err(SparseError::Records));
    };
    let map = SparseMap { fragments, real_size };
    Ok(map.check(data_bytes).map(|()| map))
}
