//! Undoes the compression of a layer blob, within limits on what may come out.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;

use crate::layer::compress::Compression;

/// The buffer in front of a decoder.
const BUFFER_BYTES: usize = 128 << 10;

/// The largest window a Zstandard frame may ask for, as a power of two: 128 MiB, what `--long` uses at most by default.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What a compressed blob may turn into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpansionLimits {
    /// The most uncompressed bytes.
    pub bytes: u64,
    /// The most uncompressed bytes for each compressed byte, counted only beyond [`ExpansionLimits::FREE_BYTES`].
    pub ratio: u64,
}

impl ExpansionLimits {
    /// What may come out of any blob whatever the ratio: a file of zeros is not an attack.
    pub const FREE_BYTES: u64 = 1 << 30;

    /// The ratio by default: deflate cannot do more than 1,032 to one, Zstandard can.
    pub const RATIO: u64 = 2000;
}

impl Default for ExpansionLimits {
    /// 256 GiB, and [`ExpansionLimits::RATIO`] to one.
    fn default() -> Self {
        Self { bytes: 256 << 30, ratio: Self::RATIO }
    }
}

/// Why a blob cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// The blob cannot be read.
    #[error("Failed to read the start of the blob")]
    Read(#[source] io::Error),
    /// The decoder cannot be set up.
    #[error("Failed to set up the decoder")]
    Decoder(#[source] io::Error),
}

/// The compression of a blob by its first bytes (four are enough); what is neither gzip nor Zstandard is not compressed.
/// The level in the result is a default, as blobs do not tell theirs.
pub fn detect(start: &[u8]) -> Compression {
    match start {
        [0x1f, 0x8b, ..] => Compression::GZIP,
        // A frame, or one of the skippable frames some writers begin with.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::ZSTD,
        _ => Compression::Uncompressed,
    }
}

/// The uncompressed bytes of a blob: gzip (with any number of members), Zstandard (any number of frames) or neither.
///
/// Reading fails with [`io::ErrorKind::InvalidData`] as soon as more comes out than `limits` allow. The reader takes
/// the blob to its very end, so a digest taken below covers all of it.
pub fn decompress<'a>(
    mut reader: impl Read + Send + 'a,
    limits: ExpansionLimits,
) -> Result<Box<dyn Read + Send + 'a>, DecompressError> {
    let mut start = Vec::new();
    reader.by_ref().take(4).read_to_end(&mut start).map_err(DecompressError::Read)?;
    let compression = detect(&start);
    let compressed_bytes = Arc::new(AtomicU64::new(0));
    let whole = Cursor::new(start).chain(reader);
    let counted = Counted { inner: whole, count: Arc::clone(&compressed_bytes) };
    let buffered = BufReader::with_capacity(BUFFER_BYTES, counted);
    let capped = |inner| Capped { inner, limits, compressed_bytes, uncompressed_bytes: 0 };
    Ok(match compression {
        Compression::Uncompressed => Box::new(capped(Box::new(buffered) as Box<dyn Read + Send + 'a>)),
        Compression::Gzip { .. } => Box::new(capped(Box::new(MultiGzDecoder::new(buffered)))),
        Compression::Zstd { .. } => {
            let mut decoder = zstd::Decoder::with_buffer(buffered).map_err(DecompressError::Decoder)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(DecompressError::Decoder)?;
            Box::new(capped(Box::new(decoder)))
        }
    })
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

struct Capped<'a> {
    inner: Box<dyn Read + Send + 'a>,
    limits: ExpansionLimits,
    compressed_bytes: Arc<AtomicU64>,
    uncompressed_bytes: u64,
}

impl Read for Capped<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.uncompressed_bytes = self.uncompressed_bytes.saturating_add(count as u64);
        let bytes = self.uncompressed_bytes;
        if bytes > self.limits.bytes {
            let limit = self.limits.bytes;
            return Err(invalid(format!("the blob expands to more than the limit of {limit} bytes")));
        }
        let compressed = self.compressed_bytes.load(Ordering::Relaxed);
        if bytes > ExpansionLimits::FREE_BYTES && bytes > compressed.saturating_mul(self.limits.ratio) {
            let ratio = self.limits.ratio;
            return Err(invalid(format!("the blob expands to more than {ratio} times its size")));
        }
        Ok(count)
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
