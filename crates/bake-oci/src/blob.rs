//! Where blobs live: the trait stores implement, a store in memory, and a reader that believes no one.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};

use crate::digest::{Digest, Digester};

/// Why a blob could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The content is not what its digest says.
    #[error("the content of blob {expected} has digest {actual}")]
    DigestMismatch {
        /// The digest it should have.
        expected: Digest,
        /// The digest it has.
        actual: Digest,
    },
    /// The store failed.
    #[error("Failed to {operation} blob {digest}")]
    Store {
        /// What was attempted: `read`, `write`, ...
        operation: &'static str,
        /// On which blob; a description when its digest is not known yet.
        digest: String,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The blob is not there.
    #[error("blob {0} is not in the store")]
    Missing(Digest),
    /// The blob is longer than what it is to be read as may be.
    #[error("blob {digest} has {size_bytes} bytes, more than the limit of {limit_bytes}")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
}

impl BlobError {
    /// A failure of `operation` on the blob `digest`.
    pub fn store(
        operation: &'static str,
        digest: &impl ToString,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Store { operation, digest: digest.to_string(), source: source.into() }
    }
}

/// A set of blobs, named by their digests.
///
/// What `get` gives is verified: a reader that is read to its end without an error has given the blob's content. What
/// `put` takes is there completely or not at all. Implementations must pass [`crate::contract::check_blob_store`].
pub trait BlobStore: Send + Sync {
    /// The content of a blob, or `None` if it is not there.
    fn get(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, BlobError>;

    /// The size of a blob in bytes, or `None` if it is not there.
    fn stat(&self, digest: &Digest) -> Result<Option<u64>, BlobError>;

    /// Stores content and gives its digest and size. With `expected`, content of another digest is an error and is
    /// not kept; the result then has the expected digest, in its algorithm.
    fn put(&self, expected: Option<&Digest>, content: &mut dyn Read) -> Result<(Digest, u64), BlobError>;

    /// The digests of all blobs, sorted.
    fn list(&self) -> Result<Vec<Digest>, BlobError>;
}

/// Reads a small blob as a whole, verified; [`BlobError::Missing`] if it is not there, [`BlobError::TooLarge`] beyond
/// `limit_bytes`.
pub fn read_blob(store: &dyn BlobStore, digest: &Digest, limit_bytes: u64) -> Result<Vec<u8>, BlobError> {
    let size_bytes = store.stat(digest)?.ok_or_else(|| BlobError::Missing(digest.clone()))?;
    if size_bytes > limit_bytes {
        return Err(BlobError::TooLarge { digest: digest.clone(), size_bytes, limit_bytes });
    }
    let reader = store.get(digest)?.ok_or_else(|| BlobError::Missing(digest.clone()))?;
    let mut bytes = Vec::new();
    let failed = |source: io::Error| BlobError::store("read", digest, source);
    VerifyingReader::new(reader, digest.clone(), None)
        .take(limit_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(BlobError::TooLarge { digest: digest.clone(), size_bytes: bytes.len() as u64, limit_bytes });
    }
    Ok(bytes)
}

/// A reader that checks the digest, and the size if one is given, of what passes through it.
///
/// At the end of the content a wrong digest or a missing byte is an error of kind [`io::ErrorKind::InvalidData`]; a byte
/// too many is one at once, so an endless body is not read on.
#[derive(Debug)]
pub struct VerifyingReader<R> {
    inner: R,
    digest: Digest,
    digester: Option<Digester>,
    size_bytes: Option<u64>,
    read_bytes: u64,
}

impl<R: Read> VerifyingReader<R> {
    /// Checks that `inner` gives the content of `digest`, with exactly `size_bytes` if that is known.
    pub fn new(inner: R, digest: Digest, size_bytes: Option<u64>) -> Self {
        let digester = Some(Digester::for_algorithm(digest.algorithm()));
        Self { inner, digest, digester, size_bytes, read_bytes: 0 }
    }

    /// Whether the end was reached and everything was right.
    pub fn is_verified(&self) -> bool {
        self.digester.is_none()
    }

    /// The bytes given so far.
    pub fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The reader below.
    pub fn into_inner(self) -> R {
        self.inner
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
        if count > 0 {
            self.read_bytes += count as u64;
            if let Some(size) = self.size_bytes.filter(|size| self.read_bytes > *size) {
                return Err(invalid(format!("blob {} has more than the announced {size} bytes", self.digest)));
            }
            match &mut self.digester {
                Some(digester) => digester.update(&buffer[..count]),
                None => return Err(invalid(format!("blob {} goes on after its end", self.digest))),
            }
            return Ok(count);
        }
        if let Some(digester) = self.digester.take() {
            let actual = digester.finish();
            let short = self.size_bytes.filter(|size| self.read_bytes < *size);
            if short.is_some() || actual != self.digest {
                // Stays wrong however often the end is read.
                self.digester = Some(Digester::for_algorithm(self.digest.algorithm()));
                return Err(invalid(match short {
                    Some(size) => {
                        format!("blob {} ends after {} of {size} bytes", self.digest, self.read_bytes)
                    }
                    None => format!("the content of blob {} has digest {actual}", self.digest),
                }));
            }
        }
        Ok(0)
    }
}

/// Blobs in memory, for tests and for images that are passed on at once.
#[derive(Debug, Default, Clone)]
pub struct MemoryBlobStore {
    blobs: Arc<Mutex<BTreeMap<Digest, Arc<[u8]>>>>,
}

impl MemoryBlobStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores bytes and gives their SHA-256 digest.
    pub fn insert(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.insert_unverified(digest.clone(), bytes);
        digest
    }

    /// Stores bytes under a digest that need not be theirs: for tests of damaged stores.
    pub fn insert_unverified(&self, digest: Digest, bytes: &[u8]) {
        self.lock().insert(digest, bytes.into());
    }

    /// Forgets a blob.
    pub fn remove(&self, digest: &Digest) {
        self.lock().remove(digest);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Arc<[u8]>>> {
        // The map is never left half changed, so a panic elsewhere does not make it wrong.
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobStore for MemoryBlobStore {
    fn get(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, BlobError> {
        let Some(bytes) = self.lock().get(digest).cloned() else { return Ok(None) };
        Ok(Some(Box::new(VerifyingReader::new(Cursor::new(bytes), digest.clone(), None))))
    }

    fn stat(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        Ok(self.lock().get(digest).map(|bytes| bytes.len() as u64))
    }

    fn put(&self, expected: Option<&Digest>, content: &mut dyn Read) -> Result<(Digest, u64), BlobError> {
        let mut bytes = Vec::new();
        let name = expected.map_or_else(|| "of unknown digest".to_owned(), ToString::to_string);
        content.read_to_end(&mut bytes).map_err(|source| BlobError::store("write", &name, source))?;
        let mut digester = expected.map_or_else(Digester::new, |digest| Digester::for_algorithm(digest.algorithm()));
        digester.update(&bytes);
        let actual = digester.finish();
        if let Some(expected) = expected.filter(|expected| **expected != actual) {
            return Err(BlobError::DigestMismatch { expected: expected.clone(), actual });
        }
        let size_bytes = bytes.len() as u64;
        self.insert_unverified(actual.clone(), &bytes);
        Ok((actual, size_bytes))
    }

    fn list(&self) -> Result<Vec<Digest>, BlobError> {
        Ok(self.lock().keys().cloned().collect())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn memory_store_keeps_the_contract() {
        crate::contract::check_blob_store(&MemoryBlobStore::new());
    }

    #[test]
    fn damage_is_found_at_the_end() {
        let store = MemoryBlobStore::new();
        let digest = Digest::of(b"right");
        store.insert_unverified(digest.clone(), b"wrong");
        let mut reader = store.get(&digest).unwrap().unwrap();
        let mut bytes = Vec::new();
        assert_eq!(reader.read_to_end(&mut bytes).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(reader.read_to_end(&mut bytes).is_err(), "it stays an error");
        assert!(read_blob(&store, &digest, 100).is_err());
    }

    #[test]
    fn sizes_are_checked() {
        let read = |size| {
            let mut reader = VerifyingReader::new(b"right".as_slice(), Digest::of(b"right"), Some(size));
            let result = reader.read_to_end(&mut Vec::new());
            (result.is_ok(), reader.is_verified())
        };
        assert_eq!(read(5), (true, true));
        assert_eq!(read(4), (false, false));
        assert_eq!(read(6), (false, false));
    }
}
