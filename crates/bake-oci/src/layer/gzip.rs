//! Deflate in independent blocks, so that a layer is compressed on all cores and has the same bytes with any number of
//! them.
//!
//! As pigz does it: every block of [`BLOCK_BYTES`] is compressed by itself with the last 32 KiB of the block before as
//! its dictionary, and ends with an empty stored block (a sync flush) so that the results can be put one after the
//! other; together they are one gzip member. The cut depends on the position alone, never on threads or on how the
//! content arrives. A block that looks as if nothing could be saved (what is compressed or encrypted already) is stored.
//! Changing the size of blocks, the level, the deflate implementation or [`is_compressible`] changes blob digests (never
//! diff IDs), and has to change [`crate::Compression::id`].

use std::io;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// The uncompressed bytes of one block. Larger blocks lose less to the flush (5 bytes each) but leave cores idle on
/// small layers; at 1 MiB the ratio is that of one serial stream.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;

/// The window of deflate: what a dictionary can be used of.
const DICTIONARY_BYTES: usize = 32 << 10;

/// The header of the member: no name, no time, unknown operating system, as Go's `compress/gzip` writes it.
pub(crate) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// One compressed block.
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    pub(crate) crc: Crc,
}

/// Compresses blocks one after the other; keeps deflate's 256 KiB of state between them.
pub(crate) struct BlockCompressor(Compress);

impl BlockCompressor {
    /// `level` is deflate's, 0 to 9.
    pub(crate) fn new(level: u32) -> Self {
        Self(Compress::new(Compression::new(level.min(9)), false))
    }

    /// Compresses `block`, which follows `previous`; the last one ends the stream.
    pub(crate) fn compress(&mut self, previous: Option<&[u8]>, block: &[u8], last: bool) -> io::Result<Block> {
        let mut crc = Crc::new();
        crc.update(block);
        if !is_compressible(block) {
            return Ok(Block { bytes: stored(block, last), crc });
        }
        self.0.reset();
        if let Some(previous) = previous.filter(|previous| !previous.is_empty()) {
            let dictionary = &previous[previous.len().saturating_sub(DICTIONARY_BYTES)..];
            self.0.set_dictionary(dictionary).map_err(io::Error::other)?;
        }
        let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
        let mut bytes = Vec::with_capacity(block.len() / 2 + 1024);
        loop {
            let consumed = usize::try_from(self.0.total_in()).map_err(io::Error::other)?;
            let status = self.0.compress_vec(&block[consumed..], &mut bytes, flush).map_err(io::Error::other)?;
            let done = usize::try_from(self.0.total_in()).map_err(io::Error::other)? == block.len();
            match status {
                Status::StreamEnd => break,
                // A flush is complete when it did not run out of room.
                Status::Ok | Status::BufError if !last && done && bytes.len() < bytes.capacity() => break,
                Status::Ok | Status::BufError => bytes.reserve(block.len() / 4 + 4096),
            }
        }
        Ok(Block { bytes, crc })
    }
}

/// Whether it is worth the time to deflate a block, by how evenly its bytes are distributed in a sample of 64 KiB.
///
/// The sum of the squares of the counts is 2^24 where every byte is as frequent as any other. The limit is a collision
/// entropy of 7.9 bits for each byte: above it, deflate's codes save at most 1.3 %, and what is so even is compressed or
/// encrypted and repeats nothing either. Executables have 4 to 6 bits, text 3 to 5. There are only whole numbers in it, as
/// the last digit of a logarithm is not the same on every machine, and the bytes of a blob have to be.
fn is_compressible(block: &[u8]) -> bool {
    const WINDOW_BYTES: usize = 4 << 10;
    const WINDOWS: usize = 16;
    /// (64 KiB)² / 2^7.9
    const SQUARES_MIN: u64 = 17_981_000;
    // Of less than this the distribution says too little, and little is lost.
    if block.len() < WINDOW_BYTES * WINDOWS {
        return true;
    }
    let mut counts = [0_u64; 256];
    let step = (block.len() - WINDOW_BYTES) / (WINDOWS - 1);
    for window in 0..WINDOWS {
        for byte in &block[window * step..window * step + WINDOW_BYTES] {
            counts[usize::from(*byte)] += 1;
        }
    }
    counts.iter().map(|count| count * count).sum::<u64>() >= SQUARES_MIN
}

/// A block as deflate's stored blocks (RFC 1951, section 3.2.4), which begin and end at whole bytes.
fn stored(block: &[u8], last: bool) -> Vec<u8> {
    const STORED_BYTES_MAX: usize = u16::MAX as usize;
    let mut bytes = Vec::with_capacity(block.len() + (block.len() / STORED_BYTES_MAX + 1) * 5);
    let mut pieces = block.chunks(STORED_BYTES_MAX).peekable();
    while let Some(piece) = pieces.next() {
        let length = u16::try_from(piece.len()).expect("pieces are that long at most");
        bytes.push(u8::from(last && pieces.peek().is_none()));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&(!length).to_le_bytes());
        bytes.extend_from_slice(piece);
    }
    bytes
}

/// The trailer of the member: checksum and size, modulo 2^32.
pub(crate) fn trailer(crc: &Crc, uncompressed_bytes: u64) -> [u8; 8] {
    let size = u32::try_from(uncompressed_bytes & u64::from(u32::MAX)).unwrap_or_default();
    let mut trailer = [0; 8];
    trailer[..4].copy_from_slice(&crc.sum().to_le_bytes());
    trailer[4..].copy_from_slice(&size.to_le_bytes());
    trailer
}
