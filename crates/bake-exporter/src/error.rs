//! What can go wrong while an image is written somewhere.

use std::path::PathBuf;

use bake_oci::{DiffId, Digest};

/// An image could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] bake_store::StoreError),
    /// The image could not be put together.
    #[error("cannot assemble the image")]
    Assemble(#[from] bake_oci::ImageError),
    /// The assembled image is not consistent: a mistake in bake, found before anyone could see the image.
    #[error("the assembled image is not valid: {0}")]
    Invalid(String),
    /// A layer could not be streamed from its snapshot.
    #[error("cannot read layer {diff_id} from its snapshot")]
    Layer {
        /// Which layer.
        diff_id: DiffId,
        /// What lies underneath.
        #[source]
        source: bake_snapshot::SnapshotError,
    },
    /// A snapshot is not what it was when the image was assembled.
    #[error("the layer with the diff ID {expected} now has {actual}; its directory in the store was changed")]
    LayerChanged {
        /// The diff ID in the image's config.
        expected: DiffId,
        /// The diff ID of the archive made from the snapshot.
        actual: DiffId,
    },
    /// A docker did not take the image.
    #[error(transparent)]
    Docker(#[from] crate::docker::DockerError),
    /// A layer could not be made an eStargz layer.
    #[error(transparent)]
    Estargz(Box<bake_oci::layer::estargz::EstargzError>),
    /// A layer is not in the store any more.
    #[error("layer {0} is not in the store")]
    MissingLayer(String),
    /// A blob is not in the store.
    #[error("blob {0} is not in the store")]
    MissingBlob(Digest),
    /// A file could not be written.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What lies underneath.
        #[source]
        source: std::io::Error,
    },
    /// The stream could not be written.
    #[error("cannot write the archive")]
    Write(#[source] std::io::Error),
    /// The files of the image could not be read.
    #[error("cannot read the files of the image")]
    Files(#[source] bake_snapshot::SnapshotError),
    /// A statement could not be made a manifest.
    #[error(transparent)]
    Attestation(#[from] bake_attest::ArtifactError),
    /// A file beside the files of the image has the name of one of them.
    #[error("the image has something called `{0}`, so no file of this name can be written beside its files")]
    NameTaken(String),
    /// Files of two platforms would have the same name.
    #[error("`{path}` is a file of {first} and of {second}; without platform-split they have the same name")]
    SamePath {
        /// The name.
        path: String,
        /// Whose file is there already.
        first: Box<bake_oci::Platform>,
        /// Whose file comes.
        second: Box<bake_oci::Platform>,
    },
    /// The registry refused, or could not be reached.
    #[error(transparent)]
    Registry(#[from] bake_registry::RegistryError),
    /// No containerd, or one that did not take the image.
    #[error(transparent)]
    Containerd(#[from] crate::containerd::ContainerdError),
    /// The runtime for network transfers could not be used.
    #[error("cannot push: {0}")]
    Push(String),
    /// An image that is to be copied is not one.
    #[error("the image {digest} cannot be copied: {problem}")]
    Source {
        /// Its manifest or index.
        digest: Digest,
        /// What is wrong with it.
        problem: String,
    },
    /// A directory that an image should be added to is no OCI layout.
    #[error("`{path}` is no OCI layout: {problem}")]
    NotALayout {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An archive or layout could not be written.
    #[error(transparent)]
    Archive(#[from] bake_oci::archive::ArchiveError),
    /// A blob could not be read back from the store.
    #[error(transparent)]
    Blob(#[from] bake_oci::BlobError),
}

pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> ExportError {
    let path = path.into();
    move |source| ExportError::Io { action, path, source }
}
