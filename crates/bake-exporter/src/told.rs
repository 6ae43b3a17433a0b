//! Telling how far the compressing and sending of blobs is.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bake_oci::Digest;

/// Is told how much of a blob was handed to the target registry: which blob, bytes until now, bytes in all.
pub type SendProgress = dyn Fn(&Digest, u64, u64) + Send + Sync;

/// Tells how much of a blob was read.
pub(crate) struct ToldReader<R> {
    inner: R,
    sent_bytes: u64,
    digest: Digest,
    size_bytes: u64,
    sending: Arc<SendProgress>,
}

impl<R> ToldReader<R> {
    pub(crate) fn new(inner: R, digest: &Digest, size_bytes: u64, sending: &Arc<SendProgress>) -> Self {
        Self { inner, sent_bytes: 0, digest: digest.clone(), size_bytes, sending: Arc::clone(sending) }
    }
}

impl<R: Read> Read for ToldReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.sent_bytes += count as u64;
        if count > 0 {
            (self.sending)(&self.digest, self.sent_bytes, self.size_bytes);
        }
        Ok(count)
    }
}

/// Smaller layers are compressed before anybody looks.
const TOLD_BYTES_MIN: u64 = 32 << 20;

/// After how many bytes it is told how far a layer is.
const TOLD_EVERY_BYTES: u64 = 1 << 20;

/// Whom to tell how much of a layer was compressed: the layer, bytes of its archive until now, bytes in all.
#[derive(Clone)]
pub(crate) struct Compressing(pub(crate) Arc<SendProgress>);

impl std::fmt::Debug for Compressing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Compressing").finish()
    }
}

/// Tells how much of the archive of a layer was written.
pub(crate) struct ToldWriter<'a, W> {
    inner: &'a mut W,
    layer: &'a Digest,
    size_bytes: u64,
    written_bytes: u64,
    told_bytes: u64,
    compressing: Option<&'a Compressing>,
}

impl<'a, W> ToldWriter<'a, W> {
    pub(crate) fn new(
        inner: &'a mut W,
        layer: &'a Digest,
        size_bytes: u64,
        compressing: Option<&'a Compressing>,
    ) -> Self {
        let compressing = compressing.filter(|_| size_bytes >= TOLD_BYTES_MIN);
        Self { inner, layer, size_bytes, written_bytes: 0, told_bytes: 0, compressing }
    }
}

impl<W: Write> Write for ToldWriter<'_, W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.written_bytes += count as u64;
        let is_due = self.written_bytes - self.told_bytes >= TOLD_EVERY_BYTES || self.written_bytes >= self.size_bytes;
        if let Some(Compressing(tell)) = self.compressing.filter(|_| is_due) {
            self.told_bytes = self.written_bytes;
            tell(self.layer, self.written_bytes, self.size_bytes);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
