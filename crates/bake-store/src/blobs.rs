//! Reading blobs: always through their digest, verified on the way.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use bake_oci::blob::{BlobError, BlobStore, VerifyingReader};
use bake_oci::digest::Algorithm;
use bake_oci::{Digest, Digester};

use crate::StoreError;
use crate::error::AtPath;
use crate::ingest::READ_SIZE;
use crate::layout::{ALGORITHMS, now_unix_s};
use crate::lease::Held;
use crate::lock::GcLock;
use crate::store::{Store, USE_GRANULARITY_S};

impl Store {
    /// Opens the file of a blob for streaming; `None` if it is not there. The second value is its size in bytes.
    ///
    /// The bytes are not verified here: whoever consumes them compares the digest, or uses [`Store::read_blob`].
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<(File, u64)>, StoreError> {
        let held = Held::Blob(digest.clone());
        let no_removal = if self.lease_ref().holds(&held) { None } else { Some(GcLock::shared(self.layout())?) };
        let path = self.layout().blob(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("open", path, error)),
        };
        if let Some(no_removal) = no_removal {
            self.lease_ref().take(&no_removal, [held])?;
        }
        let metadata = file.metadata().at("inspect", &path)?;
        if metadata.mtime() + USE_GRANULARITY_S < now_unix_s()
            && let Err(error) = file.set_modified(std::time::SystemTime::now())
        {
            // The modification time of a blob is its time of last use; without it the blob only looks older to a prune.
            tracing::debug!(path = %path.display(), %error, "could not note the use of a blob");
        }
        Ok(Some((file, metadata.len())))
    }

    /// A reader of a blob that fails at the end if the bytes are not what the digest says; `None` if it is not there.
    pub fn read_blob(&self, digest: &Digest) -> Result<Option<VerifyingReader<File>>, StoreError> {
        Ok(self
            .open_blob(digest)?
            .map(|(file, size_bytes)| VerifyingReader::new(file, digest.clone(), Some(size_bytes))))
    }

    /// The whole verified content of a small blob such as a manifest.
    pub fn read_small_blob(&self, digest: &Digest, limit_bytes: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let Some((file, size_bytes)) = self.open_blob(digest)? else { return Ok(None) };
        let what = || format!("blob {digest}");
        if size_bytes > limit_bytes {
            return Err(StoreError::TooLarge { what: what(), limit_bytes });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0));
        file.take(limit_bytes).read_to_end(&mut bytes).at("read", self.layout().blob(digest))?;
        let mut digester = Digester::for_algorithm(digest.algorithm());
        digester.update(&bytes);
        let actual = digester.finish();
        if actual != *digest {
            return Err(StoreError::DigestMismatch { expected: digest.clone(), actual });
        }
        Ok(Some(bytes))
    }

    /// The size in bytes of a blob; `None` if it is not there.
    ///
    /// A blob that is there stays for as long as this value lives.
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.open_blob(digest)?.map(|(_, size_bytes)| size_bytes))
    }

    /// Stores everything that `content` yields; returns its digest and its size in bytes.
    ///
    /// If `expected` is given and already there, `content` is not read.
    pub fn put_blob(&self, expected: Option<&Digest>, content: &mut dyn Read) -> Result<(Digest, u64), StoreError> {
        if let Some(digest) = expected
            && let Some(size_bytes) = self.blob_size(digest)?
        {
            return Ok((digest.clone(), size_bytes));
        }
        let mut ingest = self.ingest_as(expected.map_or(Algorithm::Sha256, Digest::algorithm))?;
        let mut buffer = vec![0; READ_SIZE];
        loop {
            match content.read(&mut buffer) {
                Ok(0) => return ingest.finish(expected),
                Ok(count) => ingest.append(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let digest = expected.map_or_else(|| "(new)".to_owned(), Digest::to_string);
                    return Err(StoreError::Source { digest, source });
                }
            }
        }
    }

    /// Stores bytes that are already in memory; writes nothing if they are there. A damaged blob of that name is replaced.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<(Digest, u64), StoreError> {
        let digest = Digest::of(bytes);
        if self.is_damaged(&digest, bytes)? {
            let mut ingest = self.ingest()?;
            ingest.append(bytes)?;
            return ingest.finish(Some(&digest));
        }
        self.put_blob(Some(&digest), &mut &*bytes)
    }

    /// Whether there is a blob of this name that does not hold these bytes.
    fn is_damaged(&self, digest: &Digest, bytes: &[u8]) -> Result<bool, StoreError> {
        let Some((file, size_bytes)) = self.open_blob(digest)? else { return Ok(false) };
        if usize::try_from(size_bytes).ok() != Some(bytes.len()) {
            return Ok(true);
        }
        let mut found = Vec::with_capacity(bytes.len());
        file.take(size_bytes).read_to_end(&mut found).at("read", self.layout().blob(digest))?;
        Ok(found != bytes)
    }

    /// The digests of all complete blobs, sorted.
    pub fn list_blobs(&self) -> Result<Vec<Digest>, StoreError> {
        let mut digests = Vec::new();
        for algorithm in ALGORITHMS {
            let directory = self.layout().blobs(algorithm);
            for entry in fs::read_dir(&directory).at("list", &directory)? {
                let name = entry.at("list", &directory)?.file_name();
                // Names that are no digest are reported by `fsck`.
                if let Some(Ok(digest)) = name.to_str().map(|hex| Digest::parse(&format!("{}:{hex}", algorithm.name())))
                {
                    digests.push(digest);
                }
            }
        }
        digests.sort();
        Ok(digests)
    }
}

impl BlobStore for Store {
    fn get(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, BlobError> {
        let reader = self.read_blob(digest).map_err(|error| BlobError::store("read", digest, error))?;
        Ok(reader.map(|reader| Box::new(reader) as Box<dyn Read + Send>))
    }

    fn stat(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        self.blob_size(digest).map_err(|error| BlobError::store("inspect", digest, error))
    }

    fn put(&self, expected: Option<&Digest>, content: &mut dyn Read) -> Result<(Digest, u64), BlobError> {
        self.put_blob(expected, content).map_err(|error| match error {
            StoreError::DigestMismatch { expected, actual } => BlobError::DigestMismatch { expected, actual },
            error => match expected {
                Some(digest) => BlobError::store("write", digest, error),
                None => BlobError::store("write", &"of unknown digest", error),
            },
        })
    }

    fn list(&self) -> Result<Vec<Digest>, BlobError> {
        self.list_blobs().map_err(|error| BlobError::store("list", &"of any digest", error))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use std::io::Write;

    use super::*;
    use crate::Resume;
    use crate::testing::TestStore;

    #[test]
    fn the_store_keeps_the_contract_of_blob_stores() {
        bake_oci::contract::check_blob_store(&TestStore::new().store);
    }

    #[test]
    fn a_blob_reads_back_and_is_written_once() {
        let test = TestStore::new();
        let store = &test.store;
        let (digest, size_bytes) = store.put_blob(None, &mut &b"hello"[..]).unwrap();
        assert_eq!((digest.clone(), size_bytes), (Digest::of(b"hello"), 5));
        assert_eq!(store.put_bytes(b"hello").unwrap(), (digest.clone(), 5));
        let mut content = String::new();
        store.read_blob(&digest).unwrap().unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "hello");
        assert_eq!(store.list_blobs().unwrap(), [digest]);
        assert_eq!(test.leftovers(), Vec::<String>::new());
    }

    #[test]
    fn wrong_or_too_long_or_failing_content_leaves_nothing() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let test = TestStore::new();
        let store = &test.store;
        let other = Digest::of(b"other");
        assert!(matches!(
            store.put_blob(Some(&other), &mut &b"hello"[..]),
            Err(StoreError::DigestMismatch { expected, .. }) if expected == other
        ));
        assert!(matches!(store.put_blob(None, &mut Failing), Err(StoreError::Source { .. })));
        let mut ingest = store.ingest().unwrap().with_limit(4);
        assert_eq!(ingest.write(b"hello").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        drop(ingest);
        assert!(store.list_blobs().unwrap().is_empty());
        assert_eq!(test.leftovers(), Vec::<String>::new());
    }

    #[test]
    fn a_flipped_bit_is_found_while_reading() {
        let test = TestStore::new();
        let (digest, _) = test.store.put_bytes(b"hello").unwrap();
        let path = test.store.layout().blob(&digest);
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"hellp").unwrap();
        let error = test.store.read_blob(&digest).unwrap().unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(matches!(test.store.read_small_blob(&digest, 100), Err(StoreError::DigestMismatch { .. })));
        assert!(matches!(test.store.read_small_blob(&digest, 3), Err(StoreError::TooLarge { .. })));
    }

    #[test]
    fn an_interrupted_pull_continues_where_it_stopped() {
        let test = TestStore::new();
        let digest = Digest::of(b"hello world");
        let Resume::Ingest(mut first) = test.store.resume_ingest(&digest).unwrap() else { panic!("not new") };
        first.write_all(b"hello ").unwrap();
        assert!(matches!(test.store.try_resume_ingest(&digest).unwrap(), Resume::Busy));
        drop(first);
        let Resume::Ingest(mut second) = test.store.resume_ingest(&digest).unwrap() else { panic!("not partial") };
        assert_eq!(second.offset(), 6);
        second.write_all(b"world").unwrap();
        assert_eq!(second.finish(None).unwrap(), (digest.clone(), 11));
        assert!(matches!(test.store.resume_ingest(&digest).unwrap(), Resume::Present(11)));
        assert_eq!(test.leftovers(), Vec::<String>::new());
    }

    #[test]
    fn a_resumed_pull_with_wrong_bytes_starts_over() {
        let test = TestStore::new();
        let digest = Digest::of(b"hello world");
        let Resume::Ingest(mut first) = test.store.resume_ingest(&digest).unwrap() else { panic!("not new") };
        first.write_all(b"HELLO world").unwrap();
        assert!(matches!(first.finish(None), Err(StoreError::DigestMismatch { .. })));
        let Resume::Ingest(mut second) = test.store.resume_ingest(&digest).unwrap() else { panic!("not gone") };
        assert_eq!(second.offset(), 0);
        second.write_all(b"junk").unwrap();
        second.restart().unwrap();
        second.write_all(b"hello world").unwrap();
        second.finish(Some(&digest)).unwrap();
    }
}
