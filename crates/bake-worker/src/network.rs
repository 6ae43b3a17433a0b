//! The connection to registries: a client and the runtime it needs, both started when something is first fetched.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bake_oci::{Digest, Reference};
use bake_registry::{
    BlobDescriptor, BlobSink, Credentials, LoggedIn, Options, RegistryClient, RegistryError, Resolved, SinkError,
};
use bake_store::{Ingest, Resume, Store};
use tokio::runtime::Runtime;

use crate::arrival::Arrival;

/// Threads of the runtime: they only move bytes, all other work has threads of its own.
const RUNTIME_THREADS: usize = 2;

/// What went wrong while talking to a registry.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The runtime could not be started.
    #[error("cannot start the threads for network transfers")]
    Runtime(#[source] std::io::Error),
    /// The credentials cannot be used; going on without them would send anonymous requests where somebody logged in.
    #[error("the docker config `{path}` cannot be used")]
    Credentials {
        /// Which file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: bake_registry::CredentialsError,
    },
    /// What says how to connect cannot be read.
    #[error("{problem}")]
    Settings {
        /// What is wrong with it.
        problem: String,
    },
    /// The registry, or the way to it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store could not take what came.
    #[error(transparent)]
    Store(#[from] bake_store::StoreError),
}

/// Registries, as all parts of a build share them.
pub struct Network {
    options: Box<dyn Fn() -> Result<Options, NetworkError> + Send + Sync>,
    started: OnceLock<(Runtime, Arc<RegistryClient>)>,
    starting: std::sync::Mutex<()>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("started", &self.started.get().is_some()).finish_non_exhaustive()
    }
}

impl Network {
    /// A connection that reads its options (credentials among them) when it is first used.
    pub fn new(options: impl Fn() -> Result<Options, NetworkError> + Send + Sync + 'static) -> Self {
        Self { options: Box::new(options), started: OnceLock::new(), starting: std::sync::Mutex::new(()) }
    }

    /// The runtime and the client.
    pub fn start(&self) -> Result<(&Runtime, &Arc<RegistryClient>), NetworkError> {
        if self.started.get().is_none() {
            let _only_one = self.starting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if self.started.get().is_none() {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(RUNTIME_THREADS)
                    .enable_all()
                    .build()
                    .map_err(NetworkError::Runtime)?;
                let client = RegistryClient::new((self.options)()?)?;
                // The lock is held and the value was not there.
                let _ = self.started.set((runtime, Arc::new(client)));
            }
        }
        let (runtime, client) = self.started.get().expect("it was set a moment ago, and is never taken away");
        Ok((runtime, client))
    }

    /// What a reference means at its registry.
    pub fn resolve(&self, reference: &Reference) -> Result<Resolved, NetworkError> {
        let (runtime, client) = self.start()?;
        Ok(runtime.block_on(client.resolve(reference))?)
    }

    /// The bytes of a manifest, verified.
    pub fn manifest(&self, reference: &Reference, digest: &Digest) -> Result<Vec<u8>, NetworkError> {
        let (runtime, client) = self.start()?;
        Ok(runtime.block_on(client.fetch_manifest(reference, digest))?.1)
    }

    /// A small blob, verified.
    pub fn small_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        size: u64,
        limit: u64,
    ) -> Result<Vec<u8>, NetworkError> {
        let (runtime, client) = self.start()?;
        let blob = BlobDescriptor { digest: digest.clone(), size_bytes: size };
        Ok(runtime.block_on(client.fetch_small_blob(reference, &blob, limit))?)
    }

    /// Fetches a blob into the store, going on where an earlier attempt broke off.
    pub fn fetch(
        &self,
        store: &Store,
        reference: &Reference,
        digest: &Digest,
        size: u64,
        progress: &(dyn Fn(u64) + Send + Sync),
        cancelled: &Arc<AtomicBool>,
    ) -> Result<(), NetworkError> {
        let wanted = Wanted { reference, digest, size };
        self.fetch_following(store, &wanted, &Arrival::default(), progress, cancelled)
    }

    /// The same for those who follow the `arrival` of the blob. The caller says how it ends.
    pub(crate) fn fetch_following(
        &self,
        store: &Store,
        &Wanted { reference, digest, size }: &Wanted<'_>,
        arrival: &Arrival,
        progress: &(dyn Fn(u64) + Send + Sync),
        cancelled: &Arc<AtomicBool>,
    ) -> Result<(), NetworkError> {
        let ingest = match store.resume_ingest(digest)? {
            Resume::Present(_) | Resume::Busy => return Ok(()),
            Resume::Ingest(ingest) => ingest.with_limit(size),
        };
        let (runtime, client) = self.start()?;
        arrival.begins(ingest.reopen()?, ingest.offset());
        let sink = StoreSink {
            store: store.clone(),
            digest: digest.clone(),
            size,
            ingest: Some(ingest),
            arrival: arrival.clone(),
            cancelled: Arc::clone(cancelled),
        };
        let blob = BlobDescriptor { digest: digest.clone(), size_bytes: size };
        runtime.block_on(client.fetch_blob(reference, &blob, sink, progress))?;
        Ok(())
    }
}

/// Proves to a registry who we are, with the credentials of `options`; see [`RegistryClient::log_in`].
pub fn log_in(options: Options, registry: &str) -> Result<LoggedIn, NetworkError> {
    Ok(single_thread()?.block_on(RegistryClient::log_in(options, registry))?)
}

/// The user who is logged in to a registry by the docker config `path`, as far as that is known without asking the registry.
pub fn known_user(credentials: &Credentials, path: &Path, registry: &str) -> Result<Option<String>, NetworkError> {
    let found = single_thread()?.block_on(credentials.user(registry));
    found.map_err(|source| NetworkError::Credentials { path: path.display().to_string(), source })
}

fn single_thread() -> Result<Runtime, NetworkError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(NetworkError::Runtime)
}

/// A blob of a repository.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) reference: &'a Reference,
    pub(crate) digest: &'a Digest,
    /// Its size in bytes.
    pub(crate) size: u64,
}

/// Writes a blob into the store as it arrives.
struct StoreSink {
    store: Store,
    digest: Digest,
    size: u64,
    ingest: Option<Ingest>,
    /// Tells those who read along.
    arrival: Arrival,
    cancelled: Arc<AtomicBool>,
}

fn to_io(error: bake_store::StoreError) -> std::io::Error {
    std::io::Error::other(error)
}

fn ended() -> std::io::Error {
    std::io::Error::other("the blob is complete already")
}

impl BlobSink for StoreSink {
    type Output = ();

    fn held_bytes(&self) -> u64 {
        self.ingest.as_ref().map_or(0, Ingest::offset)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("the build was cancelled"));
        }
        let ingest = self.ingest.as_mut().ok_or_else(ended)?;
        ingest.append(bytes).map_err(to_io)?;
        self.arrival.has(ingest.offset());
        Ok(())
    }

    fn restart(&mut self) -> std::io::Result<()> {
        self.arrival.starts_over();
        match &mut self.ingest {
            Some(ingest) => ingest.restart().map_err(to_io),
            // The bytes turned out wrong, which ended the ingest.
            None => match self.store.resume_ingest(&self.digest).map_err(to_io)? {
                Resume::Ingest(ingest) => {
                    self.ingest = Some(ingest.with_limit(self.size));
                    Ok(())
                }
                Resume::Present(_) | Resume::Busy => Err(ended()),
            },
        }
    }

    fn finish(&mut self, expected: &Digest) -> Result<(), SinkError> {
        let ingest = self.ingest.take().ok_or_else(ended)?;
        match ingest.finish(Some(expected)) {
            Ok(_) => Ok(()),
            Err(bake_store::StoreError::DigestMismatch { actual, .. }) => Err(SinkError::DigestMismatch { actual }),
            Err(error) => Err(SinkError::Io(to_io(error))),
        }
    }
}
