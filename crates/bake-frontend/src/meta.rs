//! The seam to whatever knows images and named contexts.

use bake_dockerfile::IgnorePatterns;
use bake_graph::ImageOrigin;
use bake_oci::{Digest, ImageConfig, Platform, Reference};

use crate::history::ImagePlan;

/// Finds out what an image name means. Called from several threads at once.
pub trait MetaResolver: Sync {
    /// Pins `reference` for `platform` and fetches its config.
    fn resolve_image(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, MetaError>;

    /// What the caller of the build says `name` is, if anything. `name` is in its familiar form, without `:latest`.
    fn named_context(&self, name: &str, platform: &Platform) -> Result<Option<NamedContext>, MetaError>;

    /// What the main build context leaves out; `None` where nobody can tell, such as for a context from elsewhere.
    fn ignore_patterns(&self) -> Option<&IgnorePatterns> {
        None
    }
}

/// An image, pinned.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The canonical reference with the digest.
    pub reference: String,
    /// The digest of the platform's manifest.
    pub manifest: Digest,
    /// Where its blobs are.
    pub origin: ImageOrigin,
    /// Its config.
    pub config: ImageConfig,
}

/// What a named context is.
#[derive(Debug, Clone)]
pub enum NamedContext {
    /// A directory of the caller.
    Directory {
        /// The name by which a worker knows it.
        name: String,
    },
    /// An image.
    Image(Box<ResolvedImage>),
    /// A repository.
    Git(bake_graph::GitSource),
    /// A file or archive on an HTTP server.
    Http(bake_graph::HttpSource),
    /// What another plan of the same graph makes.
    Planned(Box<ImagePlan>),
}

/// An image or context could not be found out about.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct MetaError {
    /// What was attempted on what, and what came of it.
    pub message: String,
    /// What would cure it.
    pub hint: Option<String>,
    /// What lies underneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
