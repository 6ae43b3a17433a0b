//! Images from one registry to another, byte for byte, without a stop on the disk.
//!
//! The manifests and indexes are read first: they say which blobs there are. Then every blob is put into the target
//! repository: one that is there already stays, one that the target registry has in the source's repository is taken over,
//! one that the local store happens to have is sent from there, and only what is left is fetched, while it is sent.
//! The documents follow, those that others name before the ones that name them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bake_oci::manifest::{Descriptor, Document, ImageManifest, descriptor_digest};
use bake_oci::{Algorithm, Digest, Digester, Reference};
use bake_registry::{BlobDescriptor, BlobSink, BlobSource, RegistryClient, SinkError};
use bake_store::Store;
use tokio::runtime::{Handle, Runtime};

use crate::error::ExportError;
use crate::push::PushProgress;
use crate::told::{SendProgress, ToldReader};

/// Blobs that are on their way at the same time: more only share the same line. A large one counts twice, since it is
/// fetched and sent at once, with buffers for both.
const BLOBS_AT_ONCE: usize = 4;
/// From this size in bytes on a blob is large: below, its buffers are never full.
const LARGE_BYTES: u64 = 8 << 20;
/// Parts of a blob that were fetched and not yet sent, besides the last one: none, since the client, which hands over up to
/// one mebibyte at a time, fetches ahead by itself.
const PARTS_WAITING: usize = 0;
/// How deep indexes may lie in indexes.
const INDEX_DEPTH_MAX: u32 = 4;
/// The most manifests and indexes of one image: the largest known index has about a hundred, with attestations.
const DOCUMENTS_MAX: usize = 2_000;

/// A manifest or index, with its exact bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedDocument {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Everything that belongs to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageTree {
    /// Manifests and indexes; what an index names comes before it, so the image itself comes last.
    pub documents: Vec<CopiedDocument>,
    /// Configs and layers by digest, with their sizes in bytes.
    pub blobs: BTreeMap<Digest, u64>,
}

impl ImageTree {
    /// Reads the documents of the image that `root` is; `fetch` gives the bytes, checked, of what an index names.
    ///
    /// # Errors
    /// Whatever `fetch` says; indexes nested more than 4 deep, more than 2,000 documents, what is neither manifest nor index.
    pub fn read(
        root: CopiedDocument,
        fetch: &dyn Fn(&Digest) -> Result<Vec<u8>, ExportError>,
    ) -> Result<Self, ExportError> {
        let mut tree = Self { documents: Vec::new(), blobs: BTreeMap::new() };
        tree.add(root, fetch, INDEX_DEPTH_MAX)?;
        Ok(tree)
    }

    fn add(
        &mut self,
        document: CopiedDocument,
        fetch: &dyn Fn(&Digest) -> Result<Vec<u8>, ExportError>,
        depth: u32,
    ) -> Result<(), ExportError> {
        let invalid = |problem: String| ExportError::Source { digest: document.digest.clone(), problem };
        if self.documents.len() >= DOCUMENTS_MAX {
            return Err(invalid(format!("it has more than {DOCUMENTS_MAX} manifests")));
        }
        let parsed = Document::parse(&document.bytes, Some(&document.media_type));
        match parsed.map_err(|error| invalid(error.to_string()))? {
            Document::Manifest(manifest) => {
                for blob in blobs_of(&manifest) {
                    let digest = descriptor_digest(blob).map_err(|error| invalid(error.to_string()))?;
                    self.blobs.insert(digest, blob.size());
                }
            }
            Document::Index(index) => {
                let depth = depth.checked_sub(1).ok_or_else(|| invalid("its indexes are nested too deep".into()))?;
                for child in index.manifests() {
                    let digest = descriptor_digest(child).map_err(|error| invalid(error.to_string()))?;
                    if self.documents.iter().any(|known| known.digest == digest) {
                        continue;
                    }
                    let bytes = fetch(&digest)?;
                    self.add(
                        CopiedDocument { digest, media_type: child.media_type().to_string(), bytes },
                        fetch,
                        depth,
                    )?;
                }
            }
        }
        self.documents.push(document);
        Ok(())
    }
}

/// Config and layers of a manifest, without those that are not distributed by registries but found at addresses of their
/// own (OCI image spec, "Non-distributable layers").
fn blobs_of(manifest: &ImageManifest) -> impl Iterator<Item = &Descriptor> {
    let elsewhere = |layer: &&Descriptor| layer.urls().as_ref().is_some_and(|urls| !urls.is_empty());
    std::iter::once(manifest.config()).chain(manifest.layers().iter().filter(move |layer| !elsewhere(layer)))
}

/// A client with what it works on.
#[derive(Debug, Clone)]
pub struct Relay<'a> {
    /// The runtime for transfers.
    pub runtime: &'a Runtime,
    /// The client for both registries.
    pub client: &'a Arc<RegistryClient>,
    /// Blobs that are here need not be fetched.
    pub store: &'a Store,
}

impl Relay<'_> {
    /// The documents of `root`, a manifest or index in the repository of `reference`.
    ///
    /// # Errors
    /// As [`ImageTree::read`]; what the registry says.
    pub fn tree(&self, reference: &Reference, root: CopiedDocument) -> Result<ImageTree, ExportError> {
        ImageTree::read(root, &|digest| Ok(self.runtime.block_on(self.client.fetch_manifest(reference, digest))?.1))
    }

    /// Puts the blobs of `tree`, and its documents under their digests, into the repository of `to`. What is not in the
    /// store comes from the repository of `from`. `sending` is told while a blob is sent, `progress` when it is dealt with.
    ///
    /// # Errors
    /// What the registries say, with the blob that it was about.
    pub fn send(
        &self,
        tree: &ImageTree,
        from: &Reference,
        to: &Reference,
        sending: &Arc<SendProgress>,
        progress: &Arc<PushProgress>,
    ) -> Result<(), ExportError> {
        self.runtime.block_on(self.send_blobs(&tree.blobs, from, to, sending, progress))?;
        for document in &tree.documents {
            self.put(to, document, &document.digest.to_string())?;
        }
        Ok(())
    }

    /// Puts one document into the repository of `to`, as `name`: a tag, or its digest.
    ///
    /// # Errors
    /// What the registry says.
    pub fn put(&self, to: &Reference, document: &CopiedDocument, name: &str) -> Result<(), ExportError> {
        let target = match Digest::parse(name) {
            Ok(digest) => to.with_digest(digest),
            Err(_) => to.with_tag(name).map_err(|error| ExportError::Push(error.to_string()))?,
        };
        let work = self.client.push_manifest(&target, &document.media_type, document.bytes.clone());
        self.runtime.block_on(work)?;
        Ok(())
    }

    async fn send_blobs(
        &self,
        blobs: &BTreeMap<Digest, u64>,
        from: &Reference,
        to: &Reference,
        sending: &Arc<SendProgress>,
        progress: &Arc<PushProgress>,
    ) -> Result<(), ExportError> {
        let slots = Arc::new(tokio::sync::Semaphore::new(BLOBS_AT_ONCE));
        let mount_from = (from.registry() == to.registry()).then(|| from.repository().to_owned());
        let mut tasks = tokio::task::JoinSet::new();
        for (digest, size_bytes) in blobs {
            let blob = BlobDescriptor { digest: digest.clone(), size_bytes: *size_bytes };
            let origin = Origin {
                runtime: Handle::current(),
                client: Arc::clone(self.client),
                store: self.store.clone(),
                from: from.clone(),
                blob: blob.clone(),
                sending: Arc::clone(sending),
            };
            let source = BlobSource {
                digest: digest.clone(),
                size_bytes: *size_bytes,
                reopen: Box::new(move || origin.open()),
                mount_from: mount_from.clone(),
            };
            let (client, to, progress, slots) =
                (Arc::clone(self.client), to.clone(), Arc::clone(progress), Arc::clone(&slots));
            let count = if *size_bytes < LARGE_BYTES { 1 } else { 2 };
            tasks.spawn(async move {
                let _slot =
                    slots.acquire_many_owned(count).await.map_err(|error| ExportError::Push(error.to_string()))?;
                let outcome = client.push_blob(&to, source).await?;
                progress(&blob.digest, blob.size_bytes, &outcome);
                Ok::<(), ExportError>(())
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.map_err(|error| ExportError::Push(error.to_string()))??;
        }
        Ok(())
    }
}

/// Where a blob comes from.
struct Origin {
    runtime: Handle,
    client: Arc<RegistryClient>,
    store: Store,
    from: Reference,
    blob: BlobDescriptor,
    sending: Arc<SendProgress>,
}

impl Origin {
    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        let told = ToldReader::new(self.open_untold()?, &self.blob.digest, self.blob.size_bytes, &self.sending);
        Ok(Box::new(told))
    }

    fn open_untold(&self) -> io::Result<Box<dyn Read + Send>> {
        if let Some(reader) = self.store.read_blob(&self.blob.digest).map_err(io::Error::other)? {
            return Ok(Box::new(reader));
        }
        let (parts, received) = sync_channel(PARTS_WAITING);
        let (ended, end) = sync_channel(1);
        let algorithm = self.blob.digest.algorithm();
        let sink =
            RelaySink { parts, algorithm, hasher: Digester::for_algorithm(algorithm), last: Vec::new(), sent: false };
        let (client, from, blob) = (Arc::clone(&self.client), self.from.clone(), self.blob.clone());
        self.runtime.spawn(async move {
            let result = client.fetch_blob(&from, &blob, sink, &|_| {}).await;
            // The buffer has room for it; a reader that is gone does not want to know.
            let _ = ended.try_send(result.map_err(io::Error::other));
        });
        Ok(Box::new(RelayReader { received, end, part: Vec::new(), position: 0 }))
    }
}

/// Hands over what arrives. The last part is held back until the digest of all of them is right: a registry that takes
/// whatever comes must not get a damaged blob.
struct RelaySink {
    parts: SyncSender<Vec<u8>>,
    algorithm: Algorithm,
    hasher: Digester,
    last: Vec<u8>,
    /// Whether a part is gone already.
    sent: bool,
}

impl RelaySink {
    fn hand_over(&mut self, next: Vec<u8>) -> io::Result<()> {
        let last = std::mem::replace(&mut self.last, next);
        if last.is_empty() {
            return Ok(());
        }
        self.sent = true;
        self.parts.send(last).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the blob any more"))
    }
}

impl BlobSink for RelaySink {
    type Output = ();

    fn held_bytes(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.hand_over(bytes.to_vec())
    }

    fn restart(&mut self) -> io::Result<()> {
        if self.sent {
            return Err(io::Error::other("the source cannot go on where it broke off, and a part was sent already"));
        }
        self.last.clear();
        self.hasher = Digester::for_algorithm(self.algorithm);
        Ok(())
    }

    fn finish(&mut self, expected: &Digest) -> Result<(), SinkError> {
        let hasher = std::mem::replace(&mut self.hasher, Digester::for_algorithm(self.algorithm));
        let actual = hasher.finish();
        if actual != *expected {
            return Err(SinkError::DigestMismatch { actual });
        }
        Ok(self.hand_over(Vec::new())?)
    }
}

/// The other end.
struct RelayReader {
    received: Receiver<Vec<u8>>,
    end: Receiver<io::Result<()>>,
    part: Vec<u8>,
    position: usize,
}

impl Read for RelayReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.part.len() {
            match self.received.recv() {
                Ok(part) => (self.part, self.position) = (part, 0),
                // The sink is gone: because all was handed over, or because it failed.
                Err(_) => {
                    return match self.end.recv() {
                        Ok(Err(error)) => Err(error),
                        Ok(Ok(())) | Err(_) => Ok(0),
                    };
                }
            }
        }
        let rest = self.part.get(self.position..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn sink() -> (RelaySink, Receiver<Vec<u8>>) {
        let (parts, received) = sync_channel(8);
        let hasher = Digester::new();
        (RelaySink { parts, algorithm: Algorithm::Sha256, hasher, last: Vec::new(), sent: false }, received)
    }

    #[test]
    fn the_last_part_comes_only_when_all_are_right() {
        let (mut right, received) = sink();
        right.write(b"one").unwrap();
        right.write(b"two").unwrap();
        assert_eq!(received.try_iter().collect::<Vec<_>>(), [b"one".to_vec()]);
        right.finish(&Digest::of(b"onetwo")).unwrap();
        assert_eq!(received.try_iter().collect::<Vec<_>>(), [b"two".to_vec()]);

        let (mut wrong, received) = sink();
        wrong.write(b"onetwo").unwrap();
        assert!(matches!(wrong.finish(&Digest::of(b"other")), Err(SinkError::DigestMismatch { .. })));
        assert!(received.try_recv().is_err());
        let (mut begun, received) = sink();
        begun.write(b"wrong").unwrap();
        begun.restart().unwrap();
        begun.write(b"one").unwrap();
        begun.write(b"two").unwrap();
        assert!(begun.restart().is_err(), "what is gone cannot be called back");
        begun.finish(&Digest::of(b"onetwo")).unwrap();
        assert_eq!(received.try_iter().collect::<Vec<_>>().concat(), b"onetwo");
    }

    #[test]
    fn a_failure_is_told_at_the_end() {
        let (parts, received) = sync_channel(8);
        let (ended, end) = sync_channel(1);
        parts.send(b"part".to_vec()).unwrap();
        drop(parts);
        ended.send(Err(io::Error::other("cut"))).unwrap();
        let mut reader = RelayReader { received, end, part: Vec::new(), position: 0 };
        let mut bytes = Vec::new();
        assert_eq!(reader.read_to_end(&mut bytes).unwrap_err().to_string(), "cut");
        assert_eq!(bytes, b"part");
    }

    #[test]
    fn trees_have_limits() {
        let index = |child: &Digest| {
            format!(
                "{{\"schemaVersion\":2,\"mediaType\":\"{0}\",\"manifests\":[{{\"mediaType\":\"{0}\",\"digest\":\"{child}\",\"size\":2}}]}}",
                bake_oci::media_type::OCI_INDEX
            )
        };
        let bytes = index(&Digest::of(b"x")).into_bytes();
        let root = CopiedDocument {
            digest: Digest::of(&bytes),
            media_type: bake_oci::media_type::OCI_INDEX.to_owned(),
            bytes: bytes.clone(),
        };
        let count = std::cell::Cell::new(0);
        let endless = |_: &Digest| {
            count.set(count.get() + 1);
            Ok(index(&Digest::of(format!("{}", count.get()).as_bytes())).into_bytes())
        };
        let error = ImageTree::read(root, &endless).unwrap_err();
        assert!(error.to_string().contains("nested too deep"), "{error}");
        assert_eq!(count.get(), INDEX_DEPTH_MAX);
    }
}
