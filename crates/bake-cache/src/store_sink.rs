//! Received blobs go into the store as they arrive.

use std::io;

use bake_oci::Digest;
use bake_registry::{BlobSink, RegistryFailure, SinkError};
use bake_store::{BlobDescriptor, Ingest, Resume, Store, StoreError};

use crate::service::LOOK;

/// Writes one blob into the store; what arrived of it stays there if it is interrupted.
pub(crate) struct StoreSink {
    store: Store,
    digest: Digest,
    size_bytes: u64,
    /// `None` when the bytes turned out to be wrong, which ends an ingest.
    ingest: Option<Ingest>,
}

impl StoreSink {
    /// Begins or resumes; waits while another process writes the same blob, as long as `keep_waiting` says so. `None` if
    /// the blob is there already.
    pub(crate) fn open(
        store: &Store,
        blob: &BlobDescriptor,
        keep_waiting: impl Fn() -> bool,
    ) -> Result<Option<Self>, Box<RegistryFailure>> {
        let (store, digest, size_bytes) = (store.clone(), blob.digest.clone(), blob.size_bytes);
        loop {
            match store.try_resume_ingest(&digest) {
                Ok(Resume::Present(_)) => return Ok(None),
                Ok(Resume::Ingest(ingest)) => {
                    let ingest = Some(ingest.with_limit(size_bytes));
                    return Ok(Some(Self { store, digest, size_bytes, ingest }));
                }
                Ok(Resume::Busy) if keep_waiting() => std::thread::sleep(LOOK),
                Ok(Resume::Busy) => return Err(RegistryFailure::request("the build was cancelled")),
                Err(error) => {
                    let (what, source) = (format!("blob `{digest}`"), io::Error::other(error));
                    return Err(Box::new(RegistryFailure::Sink { what, source }));
                }
            }
        }
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
