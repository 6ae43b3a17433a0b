//! Zip archives, as far as it takes to find single files in them (PKWARE's APPNOTE 6.3, without encryption and Zip64).

use flate2::read::DeflateDecoder;

use crate::scan::{Input, Problem, Scan};

const END: &[u8] = b"PK\x05\x06";
const END_BYTES: u64 = 22;
/// How far the end record may be from the end: its comment is at most this long.
const COMMENT_BYTES_MAX: u64 = 0xffff;
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const DIRECTORY_ENTRY_BYTES: usize = 46;
const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const LOCAL_HEADER_BYTES: u64 = 30;
/// The longest directory: some 100 bytes for each file.
const DIRECTORY_BYTES_MAX: u64 = 64 << 20;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// A file in an archive.
pub(crate) struct ZipEntry {
    pub(crate) name: Vec<u8>,
    method: u16,
    packed_bytes: u64,
    offset: u64,
}

/// The files in an archive that are wanted, in the order of its directory.
pub(crate) fn entries(input: &Input, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<ZipEntry>, Problem> {
    let none = || Problem::damaged("it is no zip archive");
    let tail_bytes = input.size_bytes().min(COMMENT_BYTES_MAX + END_BYTES);
    let tail_start = input.size_bytes() - tail_bytes;
    let tail = input.read(tail_start, tail_bytes)?;
    let end = tail.windows(END.len()).rposition(|bytes| bytes == END).ok_or_else(none)?;
    let record = tail.get(end..end + 22).ok_or_else(none)?;
    let (size, offset) = (u64::from(word(record, 12)), u64::from(word(record, 16)));
    if size > DIRECTORY_BYTES_MAX {
        return Err(Problem::damaged("its directory is too long"));
    }
    // Programs that unpack themselves stand before the archive, whose offsets do not count them.
    let directory_start = (tail_start + end as u64).checked_sub(size).ok_or_else(none)?;
    let before = directory_start.checked_sub(offset).ok_or_else(none)?;
    let directory = input.read(directory_start, size)?;
    let mut rest = directory.as_slice();
    let mut found = Vec::new();
    while let Some(header) = rest.get(..DIRECTORY_ENTRY_BYTES).filter(|header| header.starts_with(DIRECTORY_ENTRY)) {
        let [name, extra, comment] = [28, 30, 32].map(|at| usize::from(half(header, at)));
        let end = DIRECTORY_ENTRY_BYTES + name + extra + comment;
        let Some(name) = rest.get(DIRECTORY_ENTRY_BYTES..DIRECTORY_ENTRY_BYTES + name) else { break };
        if wanted(name) {
            found.push(ZipEntry {
                name: name.to_vec(),
                method: half(header, 10),
                packed_bytes: u64::from(word(header, 20)),
                offset: before + u64::from(word(header, 42)),
            });
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    Ok(found)
}

/// The bytes of a file, which are as long as a text may be.
pub(crate) fn read(scan: &Scan<'_>, input: &Input, entry: &ZipEntry) -> Result<Vec<u8>, Problem> {
    let header = input.read(entry.offset, LOCAL_HEADER_BYTES)?;
    if !header.starts_with(LOCAL_HEADER) {
        return Err(Problem::damaged("a file in it is not where its directory says"));
    }
    scan.check_length(entry.packed_bytes)?;
    let start = entry.offset + LOCAL_HEADER_BYTES + u64::from(half(&header, 26)) + u64::from(half(&header, 28));
    let packed = input.read(start, entry.packed_bytes)?;
    match entry.method {
        STORED => scan.unpacked(input, packed.as_slice()),
        DEFLATED => scan.unpacked(input, DeflateDecoder::new(packed.as_slice())),
        method => Err(Problem::damaged(format!("a file in it is packed by the method {method}, which is not known"))),
    }
}

fn half(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Archives for tests.
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
pub(crate) mod tests {
    use std::io::Write as _;

    /// An archive of these files, every other one packed.
    pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
        for (index, (name, content)) in files.iter().enumerate() {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(content).unwrap();
            let packed = if index % 2 == 0 { encoder.finish().unwrap() } else { content.to_vec() };
            let mut shared = vec![20, 0, 0, 0, if index % 2 == 0 { 8 } else { 0 }, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            shared.extend([number(packed.len()), number(content.len()), number(name.len())].concat());
            let offset = number(bytes.len());
            bytes.extend([super::LOCAL_HEADER, &shared, name.as_bytes(), &packed].concat());
            directory.extend([super::DIRECTORY_ENTRY, &[20, 0], &shared, &[0; 10], &offset, name.as_bytes()].concat());
        }
        let start = number(bytes.len());
        let size = number(directory.len());
        bytes.extend([&directory, super::END, &[0; 8], &size, &start, &[0; 2]].concat());
        bytes
    }
}
