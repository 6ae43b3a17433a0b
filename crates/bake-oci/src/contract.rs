//! What every [`BlobStore`] must do, as a function for the tests of the crates that implement one.

use std::io::{self, Read};

use crate::blob::BlobStore;
use crate::digest::{Algorithm, Digest, Digester};

/// Checks an empty store against the contract of [`BlobStore`].
///
/// # Panics
///
/// When the store breaks the contract, saying how: this is for tests.
pub fn check_blob_store(store: &dyn BlobStore) {
    let expect_empty = store.list().expect("an empty store lists");
    assert!(expect_empty.is_empty(), "the store to check must be empty, it has {expect_empty:?}");
    absent_blobs(store);
    stored_blobs(store);
    refused_blobs(store);
    large_blob(store);
}

fn absent_blobs(store: &dyn BlobStore) {
    let absent = Digest::of(b"absent");
    assert!(store.get(&absent).expect("get of an absent blob succeeds").is_none(), "an absent blob has no content");
    assert_eq!(store.stat(&absent).expect("stat of an absent blob succeeds"), None, "an absent blob has no size");
}

fn stored_blobs(store: &dyn BlobStore) {
    for content in [b"".as_slice(), b"content"] {
        let digest = Digest::of(content);
        for expected in [None, Some(&digest), None] {
            let stored = store.put(expected, &mut &*content).expect("put succeeds, also of what is there already");
            assert_eq!(stored, (digest.clone(), content.len() as u64), "put gives digest and size");
        }
        assert_eq!(store.stat(&digest).expect("stat succeeds"), Some(content.len() as u64), "stat gives the size");
        assert_eq!(read(store, &digest), content, "get gives the content");
        assert_eq!(read(store, &digest), content, "get gives the content again");
    }
    let mut digester = Digester::for_algorithm(Algorithm::Sha512);
    digester.update(b"content");
    let sha512 = digester.finish();
    let stored = store.put(Some(&sha512), &mut b"content".as_slice()).expect("put of a SHA-512 blob succeeds");
    assert_eq!(stored.0, sha512, "a blob is kept under the digest that was expected");
    assert_eq!(read(store, &sha512), b"content", "a SHA-512 blob is read back");
    let mut listed = vec![Digest::of(b""), Digest::of(b"content"), sha512];
    listed.sort();
    assert_eq!(store.list().expect("list succeeds"), listed, "list gives every blob once, sorted");
}

fn refused_blobs(store: &dyn BlobStore) {
    let before = store.list().expect("list succeeds");
    let expected = Digest::of(b"expected");
    assert!(store.put(Some(&expected), &mut b"other".as_slice()).is_err(), "content of another digest is refused");
    assert!(store.put(Some(&expected), &mut b"expected, and more".as_slice()).is_err(), "longer content is refused");
    let mut broken = b"expec".chain(Broken);
    assert!(store.put(Some(&expected), &mut broken).is_err(), "a reader's error is passed on");
    assert!(store.put(None, &mut b"expec".chain(Broken)).is_err(), "a reader's error is passed on without a digest");
    assert_eq!(store.list().expect("list succeeds"), before, "what was refused is not kept");
    assert_eq!(store.stat(&expected).expect("stat succeeds"), None, "what was refused is not kept");
    store.put(Some(&expected), &mut b"expected".as_slice()).expect("the right content is taken after a refusal");
}

fn large_blob(store: &dyn BlobStore) {
    // Larger than any sensible buffer, and read in small, odd steps.
    let content: Vec<u8> = (0..3_000_001_u32).map(|n| n.to_le_bytes()[1]).collect();
    let digest = Digest::of(&content);
    let mut slow = Slow(&content);
    let stored = store.put(Some(&digest), &mut slow).expect("put of a large blob succeeds");
    assert_eq!(stored.1, content.len() as u64, "put gives the size of a large blob");
    assert!(read(store, &digest) == content, "get gives the content of a large blob");
}

fn read(store: &dyn BlobStore, digest: &Digest) -> Vec<u8> {
    let mut reader = store.get(digest).expect("get succeeds").expect("the blob is there");
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("the blob can be read");
    bytes
}

/// Gives at most 7,777 bytes at a time, as pipes do.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(7_777);
        self.0.read(&mut buffer[..count])
    }
}

/// Fails at once.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("broken on purpose"))
    }
}
