//! The seam to the places where a cache can be kept.

use std::fmt::Debug;

use bake_store::{BlobDescriptor, Store};

/// The largest document that is read: a million records' worth, and far less than any memory.
pub const DOCUMENT_BYTES_MAX: u64 = 256 << 20;

/// Is told how many bytes of a blob have arrived or were sent; called often, from the thread that called the backend.
pub type Progress<'a> = dyn Fn(&BlobDescriptor, u64) + Send + Sync + 'a;

/// A place where one cache is kept: a document that describes it, and the blobs that the document names.
///
/// Implementations are used from several threads at once, and may block. They retry what can be retried; an error is
/// final.
pub trait Backend: Debug + Send + Sync {
    /// The place as shown to people, such as `registry example.com/app:cache`; without credentials.
    fn name(&self) -> String;

    /// Reads the document; `None` if nothing was exported there yet. More than [`DOCUMENT_BYTES_MAX`] bytes are an error.
    fn read_document(&self) -> Result<Option<Vec<u8>>, BackendError>;

    /// Brings a blob into `store`, which verifies its digest and size. A blob that is there already costs nothing.
    fn fetch_blob(&self, blob: &BlobDescriptor, store: &Store, progress: &Progress<'_>) -> Result<(), BackendError>;

    /// Those of `blobs` that are not there yet. All of them, where asking would cost as much as writing.
    fn missing(&self, blobs: &[BlobDescriptor]) -> Result<Vec<BlobDescriptor>, BackendError> {
        Ok(blobs.to_vec())
    }

    /// Writes those of `blobs` (read from `store`) that are not there yet, several at once, and then the document.
    fn write(
        &self,
        document: &[u8],
        blobs: &[BlobDescriptor],
        store: &Store,
        progress: &Progress<'_>,
    ) -> Result<(), BackendError>;
}

/// A place for caches failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {name}")]
pub struct BackendError {
    /// What was attempted, such as `read the cache of`.
    pub action: &'static str,
    /// [`Backend::name`].
    pub name: String,
    /// What lies underneath.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}
