//! The seams to a build cache that was exported somewhere else: layers and cache mounts that are not in the store yet.
//!
//! A result of an imported cache is a layer whose blob lies elsewhere. Nothing of it is fetched before a step, or an
//! exporter, needs its files; then [`crate::Images`] brings it, and from there on it is a layer like one made here.

use bake_oci::Digest;
use bake_solver::{Layer, LayerBlob};
use bake_store::Store;

/// Any failure of an import.
pub type ImportError = Box<dyn std::error::Error + Send + Sync>;

/// Is told how many bytes of a blob have arrived.
pub type ImportProgress<'a> = dyn Fn(u64) + Send + Sync + 'a;

/// Layers of an imported cache. Implementations are called from several threads at once.
pub trait ImportedLayers: std::fmt::Debug + Send + Sync {
    /// The place that has a blob, as shown to people; `None` if no import knows it.
    fn place(&self, blob: &Digest) -> Option<String>;

    /// The reference under which a registry has a blob, so that it can be found without this import; `None` if it is in
    /// no registry.
    fn reference(&self, blob: &Digest) -> Option<String>;

    /// Brings a blob into the store, which verifies it.
    fn fetch(&self, blob: &LayerBlob, store: &Store, progress: &ImportProgress<'_>) -> Result<(), ImportError>;

    /// A layer is in the store under its own name now, and is what the import said.
    fn arrived(&self, layer: &Layer);

    /// A layer cannot be had, or is not what the import said: whoever counts on it has to do without.
    fn lost(&self, layer: &Layer, problem: &str);
}

/// Cache mounts of an imported cache.
pub trait ImportedMounts: std::fmt::Debug + Send + Sync {
    /// What a cache mount held where it was exported, by its identity in the store; waits for the import.
    fn content(&self, id: &str) -> Option<MountContent>;

    /// Brings its blob into the store, which verifies it.
    fn fetch(&self, blob: &LayerBlob, store: &Store, progress: &ImportProgress<'_>) -> Result<(), ImportError>;
}

/// The content of a cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountContent {
    /// Permission bits of its directory.
    pub mode: u32,
    /// Owner of its directory, as steps see it.
    pub uid: u32,
    /// Group of its directory, as steps see it.
    pub gid: u32,
    /// What is in it, as a layer's archive.
    pub blob: LayerBlob,
}
