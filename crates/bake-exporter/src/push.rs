//! Pushing to a registry: blobs first, in parallel, the manifest last.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use bake_oci::blob::VerifyingReader;
use bake_oci::manifest::descriptor_digest;
use bake_oci::{Digest, Reference};
use bake_registry::{BlobSource, Pushed, RegistryClient};
use bake_store::Store;

use crate::attestation::{Attached, AttestationForm};
use crate::error::ExportError;
use crate::image::{Exporter, Stored};
use crate::told::{SendProgress, ToldReader};

/// Blobs that are sent at the same time.
const BLOBS_AT_ONCE: usize = 4;
/// The largest document that is read into memory to be sent.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

/// Is told of every blob that is dealt with: what, and how many bytes.
pub type PushProgress = dyn Fn(&Digest, u64, &Pushed) + Send + Sync;

/// Brings a blob into the store that is somewhere else until a registry turns out to need it.
pub type BringBlob = dyn Fn(&Digest) -> std::io::Result<()> + Send + Sync;

/// A client and the runtime it works on.
#[derive(Clone)]
pub struct Pusher<'a> {
    runtime: &'a tokio::runtime::Runtime,
    client: &'a Arc<RegistryClient>,
    mount_from: HashMap<Digest, String>,
    bring: Option<Arc<BringBlob>>,
    sending: Option<Arc<SendProgress>>,
    by_digest: bool,
}

impl std::fmt::Debug for Pusher<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pusher").field("mount_from", &self.mount_from).finish_non_exhaustive()
    }
}

impl<'a> Pusher<'a> {
    /// Pushes with `client`, on `runtime`, blobs that are in the store.
    pub fn new(runtime: &'a tokio::runtime::Runtime, client: &'a Arc<RegistryClient>) -> Self {
        Self { runtime, client, mount_from: HashMap::new(), bring: None, sending: None, by_digest: false }
    }

    /// The same, asking the registry to take blobs over from other repositories of its own, such as `library/alpine`.
    #[must_use]
    pub fn with_mount_from(self, repositories: HashMap<Digest, String>) -> Self {
        Self { mount_from: repositories, ..self }
    }

    /// The same, with blobs that are brought into the store only if the registry does not have them.
    #[must_use]
    pub fn with_bring(self, bring: Arc<BringBlob>) -> Self {
        Self { bring: Some(bring), ..self }
    }

    /// The same, telling how far blobs are that have to be sent.
    #[must_use]
    pub fn with_sending(self, sending: Arc<SendProgress>) -> Self {
        Self { sending: Some(sending), ..self }
    }

    /// The same, but if `by_digest` without giving images the tags of their names.
    #[must_use]
    pub fn by_digest(self, by_digest: bool) -> Self {
        Self { by_digest, ..self }
    }
}

impl Exporter {
    /// Pushes images whose blobs are in the store to `reference`, and returns the digest it then has there.
    pub fn push(
        &self,
        stored: &Stored,
        reference: &Reference,
        pusher: &Pusher<'_>,
        progress: &Arc<PushProgress>,
    ) -> Result<Digest, ExportError> {
        let mut blobs: Vec<(Digest, u64)> = Vec::new();
        for image in &stored.images {
            blobs.push((image.config_digest.clone(), image.config_bytes.len() as u64));
            for layer in image.manifest.layers() {
                let digest = descriptor_digest(layer).map_err(|error| ExportError::Invalid(error.to_string()))?;
                blobs.push((digest, layer.size()));
            }
        }
        blobs.extend(stored.attached.iter().flat_map(|attached| attached.blobs.iter().cloned()));
        blobs.sort();
        blobs.dedup();
        push_blobs(&self.store, blobs, reference, pusher, progress)?;
        let single = stored.single().is_some();
        for image in &stored.images {
            let media_type =
                image.manifest.media_type().as_ref().map_or(bake_oci::media_type::OCI_MANIFEST, AsRef::as_ref);
            let tagged = single && !pusher.by_digest;
            let target = if tagged { reference.clone() } else { reference.with_digest(image.digest.clone()) };
            let bytes = image.manifest_bytes.clone();
            pusher.runtime.block_on(pusher.client.push_manifest(&target, media_type, bytes))?;
        }
        self.push_manifests(&stored.attached, reference, pusher)?;
        if !single {
            let digest = &stored.descriptor.digest;
            let bytes = self.document(digest)?;
            let target = if pusher.by_digest { reference.with_digest(digest.clone()) } else { reference.clone() };
            pusher.runtime.block_on(pusher.client.push_manifest(&target, &stored.descriptor.media_type, bytes))?;
        }
        Ok(stored.descriptor.digest.clone())
    }

    /// Pushes what is said of images that are in the repository of `reference` already.
    pub fn push_attached(
        &self,
        attached: &[Attached],
        reference: &Reference,
        pusher: &Pusher<'_>,
        progress: &Arc<PushProgress>,
    ) -> Result<(), ExportError> {
        let mut blobs: Vec<(Digest, u64)> =
            attached.iter().flat_map(|attached| attached.blobs.iter().cloned()).collect();
        blobs.sort();
        blobs.dedup();
        push_blobs(&self.store, blobs, reference, pusher, progress)?;
        self.push_manifests(attached, reference, pusher)
    }

    /// Pushes the manifests of what is said of the images. The index that names them comes later: a registry may refuse one
    /// that names what it does not have.
    fn push_manifests(
        &self,
        attached: &[Attached],
        reference: &Reference,
        pusher: &Pusher<'_>,
    ) -> Result<(), ExportError> {
        for attached in attached {
            let media_type = attached.descriptor.media_type().to_string();
            let bytes = self.document(&attached.digest)?;
            if attached.form == AttestationForm::Index {
                let target = reference.with_digest(attached.digest.clone());
                pusher.runtime.block_on(pusher.client.push_manifest(&target, &media_type, bytes))?;
            } else {
                pusher.runtime.block_on(pusher.client.push_referrer(reference, &media_type, bytes))?;
            }
        }
        Ok(())
    }

    /// A manifest or index of the store.
    fn document(&self, digest: &Digest) -> Result<Vec<u8>, ExportError> {
        let bytes = self.store.read_small_blob(digest, DOCUMENT_BYTES_MAX)?;
        bytes.ok_or_else(|| ExportError::MissingBlob(digest.clone()))
    }
}

/// Pushes blobs of `store`, given by digest and size in bytes, to the repository of `reference`, several at once.
pub fn push_blobs(
    store: &Store,
    blobs: Vec<(Digest, u64)>,
    reference: &Reference,
    pusher: &Pusher<'_>,
    progress: &Arc<PushProgress>,
) -> Result<(), ExportError> {
    pusher.runtime.block_on(push_side_by_side(store, blobs, reference, pusher, progress))
}

async fn push_side_by_side(
    store: &Store,
    blobs: Vec<(Digest, u64)>,
    reference: &Reference,
    pusher: &Pusher<'_>,
    progress: &Arc<PushProgress>,
) -> Result<(), ExportError> {
    let slots = Arc::new(tokio::sync::Semaphore::new(BLOBS_AT_ONCE));
    let mut tasks = tokio::task::JoinSet::new();
    for (digest, size_bytes) in blobs {
        let source = BlobSource {
            digest: digest.clone(),
            size_bytes,
            reopen: reopen(store.clone(), digest.clone(), size_bytes, pusher.bring.clone(), pusher.sending.clone()),
            mount_from: pusher.mount_from.get(&digest).cloned(),
        };
        let (client, reference, progress, slots) =
            (Arc::clone(pusher.client), reference.clone(), Arc::clone(progress), Arc::clone(&slots));
        tasks.spawn(async move {
            let _slot = slots.acquire_owned().await.map_err(|error| ExportError::Push(error.to_string()))?;
            let outcome = client.push_blob(&reference, source).await?;
            progress(&digest, size_bytes, &outcome);
            Ok::<(), ExportError>(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(error) => return Err(ExportError::Push(error.to_string())),
        }
    }
    Ok(())
}

type Reopen = Box<dyn Fn() -> std::io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// Opens a blob; called on a thread that may block, and only when the registry wants its bytes.
fn reopen(
    store: Store,
    digest: Digest,
    size_bytes: u64,
    bring: Option<Arc<BringBlob>>,
    sending: Option<Arc<SendProgress>>,
) -> Reopen {
    Box::new(move || {
        let open = || store.read_blob(&digest).map_err(std::io::Error::other);
        let mut opened = open()?;
        if let (None, Some(bring)) = (&opened, &bring) {
            bring(&digest)?;
            opened = open()?;
        }
        match opened {
            Some(reader) => {
                let checked = Checked { reader, size_bytes };
                Ok(match &sending {
                    Some(sending) => Box::new(ToldReader::new(checked, &digest, size_bytes, sending)),
                    None => Box::new(checked) as Box<dyn Read + Send>,
                })
            }
            None => Err(std::io::Error::other(format!("blob {digest} is not in the store"))),
        }
    })
}

/// Gives the last bytes of a blob only when all of them are right: a registry that takes whatever comes must not get what
/// was damaged on the disk.
struct Checked<R> {
    reader: VerifyingReader<R>,
    size_bytes: u64,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if count > 0 && self.reader.read_bytes() >= self.size_bytes {
            // Reading the end is what makes it compare.
            self.reader.read(&mut [0])?;
        }
        Ok(count)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_of_a_damaged_blob_are_not_given() {
        let read = |content: &'static [u8]| {
            let reader = VerifyingReader::new(content, Digest::of(b"content"), Some(7));
            let mut checked = Checked { reader, size_bytes: 7 };
            // As an upload reads: exactly as many bytes as were announced.
            let mut bytes = [0; 7];
            checked.read_exact(&mut bytes).map(|()| bytes)
        };
        assert_eq!(&read(b"content").unwrap(), b"content");
        let error = read(b"cOntent").unwrap_err().to_string();
        assert!(error.contains("has digest"), "{error}");
        assert!(read(b"conten").is_err());
    }
}
