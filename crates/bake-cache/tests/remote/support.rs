//! Stores, blobs and connections for tests.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bake_cache::{Backend, BackendError, Connection};
use bake_oci::Digest;
use bake_registry::{Options, Retries, Timeouts};
use bake_store::{BlobDescriptor, OpenOptions, Ownership, Store};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A store, and the runtime that backends need.
pub(crate) struct Place {
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
    pub(crate) directory: TempDir,
    pub(crate) cancelled: Arc<AtomicBool>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = OpenOptions { ownership: Ownership::Native, create: true };
        let store = Store::open(&directory.path().join("store"), options).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { store, runtime, directory, cancelled: Arc::default() }
    }

    /// What backends are made with.
    pub(crate) fn connection<'a>(&self, options: &'a Options) -> Connection<'a> {
        Connection { options, runtime: self.runtime.handle().clone(), cancelled: Arc::clone(&self.cancelled) }
    }

    /// Puts a blob of random bytes into the store; the same `seed` gives the same bytes.
    pub(crate) fn blob(&self, seed: u64, size_bytes: u64) -> BlobDescriptor {
        let mut content = Noise(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1).take(size_bytes);
        let (digest, size_bytes) = self.store.put_blob(None, &mut content).unwrap();
        BlobDescriptor { media_type: "application/octet-stream".to_owned(), digest, size_bytes }
    }

    /// Whether the store has the blob, whole.
    pub(crate) fn has(&self, blob: &BlobDescriptor) -> bool {
        let Some(mut reader) = self.store.read_blob(&blob.digest).unwrap() else { return false };
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap() == blob.size_bytes
    }

    pub(crate) fn fetch(&self, backend: &dyn Backend, blob: &BlobDescriptor) -> Result<(), BackendError> {
        backend.fetch_blob(blob, &self.store, &|_, _| {})
    }

    pub(crate) fn write(
        &self,
        backend: &dyn Backend,
        document: &[u8],
        blobs: &[BlobDescriptor],
    ) -> Result<(), BackendError> {
        backend.write(document, blobs, &self.store, &|_, _| {})
    }
}

/// Bytes that do not repeat (xorshift).
struct Noise(u64);

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for chunk in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
        Ok(buffer.len())
    }
}

/// Limits for servers in this process: short waits, few attempts.
pub(crate) fn quick() -> Options {
    let second = Duration::from_secs(1);
    Options {
        timeouts: Timeouts { connect: second, idle: second, commit: second * 30, small: second * 5, total: None },
        retries: Retries {
            retries_max: 3,
            wait: Duration::from_millis(1),
            wait_max: Duration::from_millis(5),
            retry_after_max: second * 5,
        },
        ..Options::default()
    }
}

/// An error with everything below it.
pub(crate) fn text(error: &BackendError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// A blob that is nowhere.
pub(crate) fn unknown_blob() -> BlobDescriptor {
    BlobDescriptor { media_type: "x".to_owned(), digest: Digest::of(b"never stored"), size_bytes: 12 }
}
