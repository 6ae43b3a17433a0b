//! Pushing to a registry: blobs first, in parallel, the manifest last.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use bake_oci::manifest::descriptor_digest;
use bake_oci::{Digest, Reference};
use bake_registry::{BlobSource, Pushed, RegistryClient};
use bake_store::Store;

use crate::error::ExportError;
use crate::image::{Exporter, Stored};

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
}

impl std::fmt::Debug for Pusher<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pusher").field("mount_from", &self.mount_from).finish_non_exhaustive()
    }
}

impl<'a> Pusher<'a> {
    /// Pushes with `client`, on `runtime`, blobs that are in the store.
    pub fn new(runtime: &'a tokio::runtime::Runtime, client: &'a Arc<RegistryClient>) -> Self {
        Self { runtime, client, mount_from: HashMap::new(), bring: None }
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
        blobs.sort();
        blobs.dedup();
        push_blobs(&self.store, blobs, reference, pusher, progress)?;
        for image in &stored.images {
            let media_type =
                image.manifest.media_type().as_ref().map_or(bake_oci::media_type::OCI_MANIFEST, AsRef::as_ref);
            let by_digest;
            let target = if stored.single().is_some() {
                reference
            } else {
                by_digest = reference.with_digest(image.digest.clone());
                &by_digest
            };
            let bytes = image.manifest_bytes.clone();
            pusher.runtime.block_on(pusher.client.push_manifest(target, media_type, bytes))?;
        }
        if stored.single().is_none() {
            let digest = &stored.descriptor.digest;
            let bytes = self
                .store
                .read_small_blob(digest, DOCUMENT_BYTES_MAX)?
                .ok_or_else(|| ExportError::MissingBlob(digest.clone()))?;
            pusher.runtime.block_on(pusher.client.push_manifest(reference, &stored.descriptor.media_type, bytes))?;
        }
        Ok(stored.descriptor.digest.clone())
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
            reopen: reopen(store.clone(), digest.clone(), pusher.bring.clone()),
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
fn reopen(store: Store, digest: Digest, bring: Option<Arc<BringBlob>>) -> Reopen {
    Box::new(move || {
        let open = || store.open_blob(&digest).map_err(std::io::Error::other);
        let mut opened = open()?;
        if let (None, Some(bring)) = (&opened, &bring) {
            bring(&digest)?;
            opened = open()?;
        }
        match opened {
            Some((file, _)) => Ok(Box::new(file) as Box<dyn Read + Send>),
            None => Err(std::io::Error::other(format!("blob {digest} is not in the store"))),
        }
    })
}
