//! A cache in a repository of a registry, or in the config of an image there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bake_exporter::{Pusher, push_blobs};
use bake_oci::{Digest, Reference, media_type};
use bake_store::{BlobDescriptor, Store};
use bake_worker::{ImportedLayers as _, Network, NetworkError};

use crate::backend::{Backend, BackendError, DOCUMENT_BYTES_MAX, Progress};
use crate::import::Imports;
use crate::manifest::{Cause, Reader, document_in, manifest_of};

/// A cache in a registry.
#[derive(Debug)]
pub struct RegistryBackend {
    network: Arc<Network>,
    reference: Reference,
    cancelled: Arc<AtomicBool>,
    mount_from: Option<String>,
    imports: Option<Arc<Imports>>,
}

impl RegistryBackend {
    /// The cache that `reference` names. Setting `cancelled` ends transfers soon.
    pub fn new(network: Arc<Network>, reference: Reference, cancelled: Arc<AtomicBool>) -> Self {
        Self { network, reference, cancelled, mount_from: None, imports: None }
    }

    /// The same, taking blobs over from a repository of the same registry that may have them, such as that of the image.
    #[must_use]
    pub fn with_mount_from(self, repository: Option<String>) -> Self {
        Self { mount_from: repository, ..self }
    }

    /// The same, taking blobs that are not in the store from these imports: by reference where they are in the same
    /// registry, else by their bytes.
    #[must_use]
    pub fn with_imports(self, imports: Arc<Imports>) -> Self {
        Self { imports: Some(imports), ..self }
    }

    /// The repository of this registry that may have a blob.
    fn repository_with(&self, blob: &Digest) -> Option<String> {
        let imported = self.imports.as_ref().and_then(|imports| imports.reference(blob));
        let imported = imported.and_then(|reference| Reference::parse(&reference).ok());
        let imported = imported.filter(|reference| reference.registry() == self.reference.registry());
        imported.map(|reference| reference.repository().to_owned()).or_else(|| self.mount_from.clone())
    }

    fn failed(&self, action: &'static str) -> impl Fn(Cause) -> BackendError + '_ {
        move |source| BackendError { action, name: self.name(), source }
    }

    fn read(&self) -> Result<Option<Vec<u8>>, Cause> {
        let resolved = match self.network.resolve(&self.reference) {
            Ok(resolved) => resolved,
            Err(NetworkError::Registry(error)) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let reader = Reader {
            manifest: &|digest| Ok(self.network.manifest(&self.reference, digest)?),
            blob: &|digest, size| Ok(self.network.small_blob(&self.reference, digest, size, DOCUMENT_BYTES_MAX)?),
        };
        Ok(Some(document_in(&resolved.bytes, &reader)?))
    }

    fn export(
        &self,
        document: &[u8],
        blobs: &[BlobDescriptor],
        store: &Store,
        progress: &Progress<'_>,
    ) -> Result<(), Cause> {
        let manifest = manifest_of(document, blobs)?;
        store.put_bytes(document)?;
        let (runtime, client) = self.network.start()?;
        let mut all: Vec<(Digest, u64)> = blobs.iter().map(|blob| (blob.digest.clone(), blob.size_bytes)).collect();
        all.push((Digest::of(document), document.len() as u64));
        let with = |blob: &BlobDescriptor| Some((blob.digest.clone(), self.repository_with(&blob.digest)?));
        let mut pusher = Pusher::new(runtime, client).with_mount_from(blobs.iter().filter_map(with).collect());
        if let Some(imports) = &self.imports {
            let imports = Arc::clone(imports);
            pusher = pusher.with_bring(Arc::new(move |blob| imports.bring(blob).map_err(io::Error::other)));
        }
        let quiet: Arc<bake_exporter::PushProgress> = Arc::new(|_, _, _| {});
        push_blobs(store, all, &self.reference, &pusher, &quiet)?;
        // Registries acknowledge whole blobs only, and from other threads than this one.
        for blob in blobs {
            progress(blob, blob.size_bytes);
        }
        runtime.block_on(client.push_manifest(&self.reference, media_type::OCI_MANIFEST, manifest))?;
        Ok(())
    }

    fn absent(&self, blobs: &[BlobDescriptor]) -> Result<Vec<BlobDescriptor>, Cause> {
        let (runtime, client) = self.network.start()?;
        let mut missing = Vec::new();
        for blob in blobs {
            if !runtime.block_on(client.has_blob(&self.reference, &blob.digest, blob.size_bytes))? {
                missing.push(blob.clone());
            }
        }
        Ok(missing)
    }
}

impl Backend for RegistryBackend {
    fn name(&self) -> String {
        format!("`{}`", self.reference.familiar())
    }

    fn read_document(&self) -> Result<Option<Vec<u8>>, BackendError> {
        self.read().map_err(self.failed("read the cache at"))
    }

    fn fetch_blob(&self, blob: &BlobDescriptor, store: &Store, progress: &Progress<'_>) -> Result<(), BackendError> {
        let report = |bytes| progress(blob, bytes);
        self.network
            .fetch(store, &self.reference, &blob.digest, blob.size_bytes, &report, &self.cancelled)
            .map_err(|error| self.failed("fetch a layer from the cache at")(error.into()))
    }

    fn missing(&self, blobs: &[BlobDescriptor]) -> Result<Vec<BlobDescriptor>, BackendError> {
        if self.imports.is_some() {
            // Writing finds out, and brings them.
            return Ok(Vec::new());
        }
        self.absent(blobs).map_err(self.failed("look into the cache at"))
    }

    fn write(
        &self,
        document: &[u8],
        blobs: &[BlobDescriptor],
        store: &Store,
        progress: &Progress<'_>,
    ) -> Result<(), BackendError> {
        self.export(document, blobs, store, progress).map_err(self.failed("write the cache to"))
    }
}
