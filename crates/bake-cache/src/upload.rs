//! Blobs of the store on their way to a service: checked before they are sent, in parts where they are large.
//!
//! A blob is read twice: once to compare its digest and to hash its parts, and once to send it. A damaged blob must not
//! become the cache of others, and a part's digest has to stand before the part in a signed request.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bake_oci::digest::Algorithm;
use bake_oci::{Digest, Digester};
use bake_registry::RegistryFailure;
use bake_registry::http::Payload;
use bake_store::{BlobDescriptor, Store};

use crate::service::Outcome;

/// How much is read at once when a blob is hashed.
const READ_BYTES: usize = 256 << 10;

/// Blobs up to this size are sent in one piece, larger ones in parts of this size. A part that breaks is sent again, so
/// it must not be large; every part costs a request.
pub(crate) const PART_BYTES: u64 = 64 << 20;

/// The most parts of one blob: what S3 accepts (Azure: 50,000). Larger blobs have larger parts.
const PARTS_MAX: u64 = 10_000;

/// Some bytes of a blob.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) size_bytes: u64,
    /// The SHA-256 digest of these bytes.
    pub(crate) digest: Digest,
    /// How many of them were read to be sent.
    sent: Arc<AtomicU64>,
}

/// A blob that was checked, in parts of which there is at least one.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    store: Store,
    digest: Digest,
    pub(crate) parts: Vec<Part>,
}

impl Upload {
    /// Reads the blob once. Fails if it is not in the store, or if its bytes are not those of its digest.
    pub(crate) async fn check(store: &Store, blob: &BlobDescriptor) -> Outcome<Self> {
        let (store, blob) = (store.clone(), blob.clone());
        let checked = tokio::task::spawn_blocking(move || check(&store, &blob));
        checked.await.unwrap_or_else(|_| Err(RegistryFailure::request("the check of a blob was ended")))
    }

    /// How many bytes were read to be sent, of all parts.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.sent.load(Ordering::Relaxed)).sum()
    }

    /// The bytes of one part, for one attempt to send them.
    pub(crate) fn payload(&self, part: &Part) -> Payload {
        part.sent.store(0, Ordering::Relaxed);
        if part.size_bytes == 0 {
            return Payload::Bytes(Vec::new().into());
        }
        let (store, digest, part) = (self.store.clone(), self.digest.clone(), part.clone());
        let (size_bytes, offset) = (part.size_bytes, part.offset);
        let reopen = Arc::new(move || {
            let (mut file, _) = store.open_blob(&digest).map_err(io::Error::other)?.ok_or(io::ErrorKind::NotFound)?;
            file.seek(SeekFrom::Start(offset))?;
            let counted: Box<dyn Read + Send> = Box::new(Counted { inner: file, count: Arc::clone(&part.sent) });
            Ok(counted)
        });
        Payload::Reader { size_bytes, reopen }
    }
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

/// The size of all parts but the last one.
fn part_bytes(size_bytes: u64) -> u64 {
    PART_BYTES.max(size_bytes.div_ceil(PARTS_MAX))
}

fn check(store: &Store, blob: &BlobDescriptor) -> Outcome<Upload> {
    let what = || format!("blob `{}`", blob.digest);
    let unreadable = |source| Box::new(RegistryFailure::Source { what: what(), source });
    let opened = store.open_blob(&blob.digest).map_err(|error| unreadable(io::Error::other(error)))?;
    let (file, actual) = opened.ok_or_else(|| unreadable(io::Error::other("it is not in the store")))?;
    if actual != blob.size_bytes {
        return Err(Box::new(RegistryFailure::SizeMismatch { what: what(), expected: blob.size_bytes, actual }));
    }
    let mut parts = Vec::new();
    let mut whole = Digester::for_algorithm(blob.digest.algorithm());
    // A single part has the digest of the blob; nothing is hashed twice then.
    let single = actual <= part_bytes(actual) && blob.digest.algorithm() == Algorithm::Sha256;
    let mut offset = 0;
    let mut buffer = vec![0; READ_BYTES];
    let mut file = file.take(actual);
    loop {
        let size_bytes = part_bytes(actual).min(actual - offset);
        let mut digester = Digester::new();
        let mut left = size_bytes;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(READ_BYTES).min(READ_BYTES);
            file.read_exact(&mut buffer[..want]).map_err(unreadable)?;
            whole.update(&buffer[..want]);
            if !single {
                digester.update(&buffer[..want]);
            }
            left -= want as u64;
        }
        let digest = if single { blob.digest.clone() } else { digester.finish() };
        parts.push(Part { offset, size_bytes, digest, sent: Arc::default() });
        offset += size_bytes;
        if offset == actual {
            break;
        }
    }
    let found = whole.finish();
    if found != blob.digest {
        let (what, expected) = (what(), blob.digest.clone());
        return Err(Box::new(RegistryFailure::DigestMismatch { what, expected, actual: found }));
    }
    Ok(Upload { store: store.clone(), digest: blob.digest.clone(), parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_too_many_parts() {
        assert_eq!(part_bytes(0), PART_BYTES);
        assert_eq!(part_bytes(10 << 30), PART_BYTES);
        let largest = bake_store::BLOB_SIZE_MAX;
        assert!(largest.div_ceil(part_bytes(largest)) <= PARTS_MAX);
        // What S3 accepts as one part.
        assert!(part_bytes(largest) <= 5 << 30);
    }
}
