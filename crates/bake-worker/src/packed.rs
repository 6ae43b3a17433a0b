//! Streams that bzip2 or xz packed: archives of images come so too, layers never do.

use std::io::{self, BufReader, Cursor, Read};

use bzip2::bufread::MultiBzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

/// The most memory that unpacking xz may take, in bytes: the highest level needs 65 MiB.
const XZ_MEMORY_BYTES_MAX: u64 = 128 << 20;
/// How much is read at once, in bytes.
const BUFFER_BYTES: usize = 128 << 10;

/// What a stream holds that may be packed by bzip2 or xz; any other one passes as it is.
///
/// How much comes out is for the reader to limit.
///
/// # Errors
/// The stream cannot be read; reading the result fails where it is not what its first bytes promised, and where xz would take
/// more than 128 MiB of memory.
pub fn unpack_bzip2_or_xz<'a>(mut reader: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut start = Vec::new();
    reader.by_ref().take(6).read_to_end(&mut start)?;
    let is = |magic: &[u8]| start.starts_with(magic);
    let (bzip2, xz) = (is(b"BZh"), is(b"\xfd7zXZ\0"));
    let whole = Cursor::new(start).chain(reader);
    if bzip2 {
        return Ok(Box::new(MultiBzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, whole))));
    }
    if xz {
        let stream = Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, CONCATENATED)?;
        return Ok(Box::new(XzDecoder::new_stream(BufReader::with_capacity(BUFFER_BYTES, whole), stream)));
    }
    Ok(Box::new(whole))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        unpack_bzip2_or_xz(bytes)?.read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn streams_are_told_by_their_first_bytes() {
        let content = b"content ".repeat(1000);
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&content).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
        xz.write_all(&content).unwrap();
        for packed in [bzip2.finish().unwrap(), xz.finish().unwrap()] {
            assert_eq!(unpacked(&packed).unwrap(), content);
            // Several streams behind each other, and one that breaks off.
            assert_eq!(unpacked(&packed.repeat(2)).unwrap(), content.repeat(2));
            assert!(unpacked(&packed[..packed.len() - 5]).is_err());
        }
        // The same with a dictionary of 3 GiB: a byte in the header of the first block, which ends with its checksum.
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
        xz.write_all(&content).unwrap();
        let mut greedy = xz.finish().unwrap();
        let end = 12 + (usize::from(greedy[12]) + 1) * 4;
        let dictionary = (12..end).find(|at| greedy[*at..].starts_with(&[0x21, 1])).unwrap() + 2;
        greedy[dictionary] = 39;
        let mut checksum = flate2::Crc::new();
        checksum.update(&greedy[12..end - 4]);
        greedy[end - 4..end].copy_from_slice(&checksum.sum().to_le_bytes());
        assert!(unpacked(&greedy).unwrap_err().to_string().contains("memory"));
        for plain in [&b""[..], b"BZ", b"plain text"] {
            assert_eq!(unpacked(plain).unwrap(), plain);
        }
    }
}
