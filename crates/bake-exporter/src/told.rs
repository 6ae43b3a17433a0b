//! Telling how far the sending of blobs is.

use std::io::{self, Read};
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
