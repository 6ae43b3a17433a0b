//! The manifest around a document, and what else can be found where a cache is looked for.
//!
//! ```text
//! image manifest, artifactType = config.mediaType = application/vnd.bake.cache.config.v1+json
//!   config  -> the document
//!   layers  -> every blob that the document names, so that registries keep them
//! ```

use bake_oci::manifest::{artifact_manifest, descriptor, descriptor_digest, manifest_bytes};
use bake_oci::{Digest, Document as OciDocument, ImageConfig, ImageManifest, ManifestError, media_type};
use bake_store::BlobDescriptor;

use crate::document::{DOCUMENT_MEDIA_TYPE, Document, DocumentError};
use crate::inline;

/// The most images of an index that are looked into for an inline cache.
const IMAGES_MAX: usize = 64;

/// The media type of BuildKit's own cache document, as config of a manifest or beside the layers of an index.
const BUILDKIT_DOCUMENT: &str = "application/vnd.buildkit.cacheconfig.v0";

/// Where BuildKit keeps an inline cache in an image's config.
const BUILDKIT_INLINE: &str = "moby.buildkit.cache.v0";

/// Anything that lies underneath.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why what was found is no cache that bake can use.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// BuildKit wrote it.
    #[error("it was written by BuildKit; bake cannot use BuildKit's cache, nor the reverse")]
    BuildKit,
    /// An ordinary image.
    #[error("it is an image without a build cache in it; build it with `--cache-to type=inline`, or name a cache")]
    NoInlineCache,
    /// Something else.
    #[error("it is no build cache but has a config of type `{0}`")]
    Unknown(String),
    /// The manifest cannot be believed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The document cannot be believed.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The image's config cannot be believed.
    #[error(transparent)]
    Config(#[from] bake_oci::config::ConfigError),
    /// A manifest, config or document could not be read.
    #[error("cannot read {what}")]
    Read {
        /// What.
        what: String,
        /// What lies underneath.
        #[source]
        source: Cause,
    },
}

/// Reads a blob of a stated size in bytes.
pub(crate) type ReadBlob<'a> = dyn Fn(&Digest, u64) -> Result<Vec<u8>, Cause> + 'a;

/// Reads what a manifest names.
pub(crate) struct Reader<'a> {
    /// A manifest, by digest.
    pub(crate) manifest: &'a dyn Fn(&Digest) -> Result<Vec<u8>, Cause>,
    /// A config or document of a stated size.
    pub(crate) blob: &'a ReadBlob<'a>,
}

/// The bytes of the manifest for a document over `blobs`.
pub(crate) fn manifest_of(document: &[u8], blobs: &[BlobDescriptor]) -> Result<Vec<u8>, FormatError> {
    let config = descriptor(DOCUMENT_MEDIA_TYPE, &Digest::of(document), document.len() as u64);
    let layers = blobs.iter().map(|blob| descriptor(&blob.media_type, &blob.digest, blob.size_bytes)).collect();
    let manifest = artifact_manifest(config, layers);
    let bytes = manifest_bytes(&manifest)?;
    // What nobody would read back must not be written.
    OciDocument::parse(&bytes, None)?;
    Ok(bytes)
}

/// The document that a manifest or index leads to, as bytes.
pub(crate) fn document_in(bytes: &[u8], read: &Reader<'_>) -> Result<Vec<u8>, FormatError> {
    match OciDocument::parse(bytes, None)? {
        OciDocument::Manifest(manifest) => match manifest.config().media_type().as_ref() {
            DOCUMENT_MEDIA_TYPE => config_bytes(&manifest, read),
            BUILDKIT_DOCUMENT => Err(FormatError::BuildKit),
            kind if media_type::is_config(kind) => Ok(inline_document(&manifest, read)?.to_bytes()?),
            other => Err(FormatError::Unknown(other.chars().take(100).collect())),
        },
        OciDocument::Index(index) => {
            if index.manifests().iter().any(|entry| entry.media_type().as_ref() == BUILDKIT_DOCUMENT) {
                return Err(FormatError::BuildKit);
            }
            let mut joined: Option<Document> = None;
            let mut failure = None;
            for entry in index.manifests().iter().take(IMAGES_MAX) {
                if !media_type::is_manifest(entry.media_type().as_ref()) {
                    continue;
                }
                match inline_of_entry(entry, read) {
                    Ok(document) => match &mut joined {
                        Some(joined) => joined.append(document),
                        None => joined = Some(document),
                    },
                    // Attestations lie among the images, and one platform may have been built elsewhere.
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            match joined {
                Some(joined) => Ok(joined.to_bytes()?),
                None => Err(failure.unwrap_or(FormatError::NoInlineCache)),
            }
        }
    }
}

fn inline_of_entry(entry: &bake_oci::Descriptor, read: &Reader<'_>) -> Result<Document, FormatError> {
    let digest = descriptor_digest(entry).map_err(|source| unreadable("a descriptor", source))?;
    let bytes = (read.manifest)(&digest).map_err(|source| unreadable(format!("manifest {digest}"), source))?;
    match OciDocument::parse(&bytes, None)? {
        OciDocument::Manifest(manifest) if media_type::is_config(manifest.config().media_type().as_ref()) => {
            inline_document(&manifest, read)
        }
        _ => Err(FormatError::NoInlineCache),
    }
}

fn inline_document(manifest: &ImageManifest, read: &Reader<'_>) -> Result<Document, FormatError> {
    let config = ImageConfig::parse(&config_bytes(manifest, read)?)?;
    match inline::document_of(&config, manifest)? {
        Some(document) => Ok(document),
        None if config.extra.contains_key(BUILDKIT_INLINE) => Err(FormatError::BuildKit),
        None => Err(FormatError::NoInlineCache),
    }
}

fn config_bytes(manifest: &ImageManifest, read: &Reader<'_>) -> Result<Vec<u8>, FormatError> {
    let config = manifest.config();
    let digest = descriptor_digest(config).map_err(|source| unreadable("the config's descriptor", source))?;
    (read.blob)(&digest, config.size()).map_err(|source| unreadable(format!("blob {digest}"), source))
}

fn unreadable(what: impl Into<String>, source: impl Into<Cause>) -> FormatError {
    FormatError::Read { what: what.into(), source: source.into() }
}
