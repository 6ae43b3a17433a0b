//! Received blobs go into the store as they arrive.

use std::io;

use bake_oci::Digest;
use bake_registry::{BlobSink, SinkError};
use bake_store::{BlobDescriptor, Ingest, Resume, Store, StoreError};

/// Writes one blob into the store; what arrived of it stays there if it is interrupted.
pub(crate) struct StoreSink {
    store: Store,
    digest: Digest,
    size_bytes: u64,
    /// `None` when the bytes turned out to be wrong, which ends an ingest.
    ingest: Option<Ingest>,
}

impl StoreSink {
    /// Begins or resumes; waits while another process writes the same blob. `None` if the blob is there already.
    pub(crate) fn open(store: &Store, blob: &BlobDescriptor) -> Result<Option<Self>, StoreError> {
        let (store, digest, size_bytes) = (store.clone(), blob.digest.clone(), blob.size_bytes);
        let Resume::Ingest(ingest) = store.resume_ingest(&digest)? else { return Ok(None) };
        Ok(Some(Self { store, digest, size_bytes, ingest: Some(ingest.with_limit(size_bytes)) }))
    }
}

fn ended() -> io::Error {
    io::Error::other("the blob is complete already")
}

impl BlobSink for StoreSink {
    type Output = ();

    fn held_bytes(&self) -> u64 {
        self.ingest.as_ref().map_or(0, Ingest::offset)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.ingest.as_mut().ok_or_else(ended)?.append(bytes).map_err(io::Error::other)
    }

    fn restart(&mut self) -> io::Result<()> {
        match &mut self.ingest {
            Some(ingest) => ingest.restart().map_err(io::Error::other),
            None => match self.store.resume_ingest(&self.digest).map_err(io::Error::other)? {
                Resume::Ingest(ingest) => {
                    self.ingest = Some(ingest.with_limit(self.size_bytes));
                    Ok(())
                }
                Resume::Present(_) | Resume::Busy => Err(ended()),
            },
        }
    }

    fn finish(&mut self, expected: &Digest) -> Result<(), SinkError> {
        match self.ingest.take().ok_or_else(ended)?.finish(Some(expected)) {
            Ok(_) => Ok(()),
            Err(StoreError::DigestMismatch { actual, .. }) => Err(SinkError::DigestMismatch { actual }),
            Err(error) => Err(SinkError::Io(io::Error::other(error))),
        }
    }
}
