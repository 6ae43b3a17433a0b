//! The OCI image layout as a tar archive (OCI image spec, "OCI Image Layout Specification").
//!
//! ```text
//! blobs/                     directory
//! blobs/sha256/              directory
//! blobs/sha256/<hex> ...     every blob of every image, sorted by digest
//! index.json                 one descriptor for each name of each image
//! manifest.json              docker archives only, see `crate::archive`
//! oci-layout                 {"imageLayoutVersion":"1.0.0"}
//! ```
//!
//! All times are the epoch and all owners root, so equal images give equal archives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;

use oci_spec::image::ImageIndex;

use crate::archive::ArchiveError;
use crate::blob::{BlobStore, read_blob};
use crate::digest::Digest;
use crate::json::MANIFEST_BYTES_MAX;
use crate::layer::entry::{Entry, EntryKind};
use crate::layer::write::LayerWriter;
use crate::manifest::{Descriptor, Document, descriptor_digest, index_bytes};
use crate::media_type;
use crate::reference::Reference;
use crate::time::Timestamp;

/// The name of the file that marks a layout.
pub const LAYOUT_FILE: &str = "oci-layout";

/// What is in it.
pub const LAYOUT_BYTES: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The name of the file that lists the images.
pub const INDEX_FILE: &str = "index.json";

/// The directory of the blobs.
pub const BLOBS_DIRECTORY: &str = "blobs";

/// The annotation with the full name of an image; containerd and docker read it.
pub const NAME_ANNOTATION: &str = "io.containerd.image.name";

/// The annotation with the tag of an image (OCI image spec, "Pre-Defined Annotation Keys").
pub const REF_NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// The annotation with the time an image was made.
pub const CREATED_ANNOTATION: &str = "org.opencontainers.image.created";

/// How deep indexes may lie in indexes.
pub(crate) const INDEX_DEPTH_MAX: u32 = 4;

/// An image to be put into an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveImage {
    /// Its manifest, or an index over several.
    pub descriptor: Descriptor,
    /// Its names; an image without any is found by its digest alone.
    pub names: Vec<Reference>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// The path of a blob in a layout.
pub fn blob_path(digest: &Digest) -> String {
    format!("{BLOBS_DIRECTORY}/{}/{}", digest.algorithm().name(), digest.hex())
}

/// The bytes of `index.json` for these images: a descriptor for each name, or one for an image without names.
pub fn layout_index(images: &[ArchiveImage]) -> Result<Vec<u8>, ArchiveError> {
    let mut manifests = Vec::new();
    for image in images {
        let created = image.created.map(|created| (CREATED_ANNOTATION.to_owned(), created.to_rfc3339()));
        let names = image.names.iter().map(|name| {
            let name = name.or_latest();
            let tag = name.tag().map(|tag| (REF_NAME_ANNOTATION.to_owned(), tag.to_owned()));
            tag.into_iter().chain([(NAME_ANNOTATION.to_owned(), name.to_string())]).collect::<Vec<_>>()
        });
        let no_name = image.names.is_empty().then(Vec::new);
        for annotations in names.chain(no_name) {
            let mut descriptor = image.descriptor.clone();
            let mut all: HashMap<String, String> = descriptor.annotations().clone().unwrap_or_default();
            all.extend(annotations);
            all.extend(created.clone());
            descriptor.set_annotations(Some(all).filter(|all| !all.is_empty()));
            manifests.push(descriptor);
        }
    }
    let mut index = ImageIndex::default();
    index.set_schema_version(2);
    index.set_media_type(Some(media_type::OCI_INDEX.into()));
    index.set_manifests(manifests);
    Ok(index_bytes(&index)?)
}

/// Writes an OCI layout of these images as a tar archive; their blobs come from `store`. Gives the writer back.
///
/// Images of an index that are not in the store (other platforms that were never pulled) are left out, as long as one
/// of them is there.
pub fn write_oci_layout<W: Write>(
    images: &[ArchiveImage],
    store: &dyn BlobStore,
    writer: W,
) -> Result<W, ArchiveError> {
    write_layout(images, store, writer, None)
}

/// Writes a layout with an optional `manifest.json`.
pub(crate) fn write_layout<W: Write>(
    images: &[ArchiveImage],
    store: &dyn BlobStore,
    writer: W,
    docker_manifest: Option<Vec<u8>>,
) -> Result<W, ArchiveError> {
    let mut blobs = BTreeMap::new();
    for image in images {
        blobs.extend(image_blobs(&image.descriptor, store)?);
    }
    let mut tar = LayerWriter::new(writer);
    let directory = |path: &str| Entry::new(path, EntryKind::Directory, 0o755);
    tar.append(&directory(BLOBS_DIRECTORY), None)?;
    let algorithms: BTreeSet<&str> = blobs.keys().map(|digest| digest.algorithm().name()).collect();
    for algorithm in algorithms {
        tar.append(&directory(&format!("{BLOBS_DIRECTORY}/{algorithm}")), None)?;
    }
    for (digest, size_bytes) in &blobs {
        let mut reader = store.get(digest)?.ok_or_else(|| ArchiveError::MissingBlob(digest.clone()))?;
        let entry = Entry::new(blob_path(digest), EntryKind::File { size: *size_bytes }, 0o444);
        tar.append(&entry, Some(&mut reader))?;
    }
    let mut file = |path: &str, bytes: &[u8]| {
        let entry = Entry::new(path, EntryKind::File { size: bytes.len() as u64 }, 0o444);
        tar.append(&entry, Some(&mut &*bytes))
    };
    file(INDEX_FILE, &layout_index(images)?)?;
    if let Some(bytes) = docker_manifest {
        file(crate::archive::MANIFEST_FILE, &bytes)?;
    }
    file(LAYOUT_FILE, LAYOUT_BYTES)?;
    Ok(tar.finish()?)
}

/// Every blob of an image with its size: the manifest or index itself, configs and layers. Images of an index that
/// are not in `store` are left out, as long as one is there.
pub fn image_blobs(descriptor: &Descriptor, store: &dyn BlobStore) -> Result<BTreeMap<Digest, u64>, ArchiveError> {
    let mut blobs = BTreeMap::new();
    collect(descriptor, store, &mut blobs, INDEX_DEPTH_MAX)?;
    Ok(blobs)
}

fn collect(
    descriptor: &Descriptor,
    store: &dyn BlobStore,
    blobs: &mut BTreeMap<Digest, u64>,
    depth: u32,
) -> Result<(), ArchiveError> {
    let (digest, document) = read_document(descriptor, store)?;
    blobs.insert(digest.clone(), descriptor.size());
    match document {
        Document::Manifest(manifest) => {
            for blob in std::iter::once(manifest.config()).chain(manifest.layers()) {
                let digest = descriptor_digest(blob)?;
                let size_bytes = store.stat(&digest)?.ok_or_else(|| ArchiveError::MissingBlob(digest.clone()))?;
                if size_bytes != blob.size() {
                    return Err(ArchiveError::BlobSize { digest, announced: blob.size(), actual: size_bytes });
                }
                blobs.insert(digest, size_bytes);
            }
        }
        Document::Index(index) => {
            let depth = depth.checked_sub(1).ok_or_else(|| ArchiveError::TooDeep(digest.clone()))?;
            let mut missing = None;
            let mut found = index.manifests().is_empty();
            for child in index.manifests() {
                let child_digest = descriptor_digest(child)?;
                if store.stat(&child_digest)?.is_none() {
                    missing = Some(child_digest);
                    continue;
                }
                found = true;
                if !blobs.contains_key(&child_digest) {
                    collect(child, store, blobs, depth)?;
                }
            }
            if let Some(missing) = missing.filter(|_| !found) {
                return Err(ArchiveError::MissingBlob(missing));
            }
        }
    }
    Ok(())
}

/// Reads the manifest or index a descriptor points to.
pub(crate) fn read_document(
    descriptor: &Descriptor,
    store: &dyn BlobStore,
) -> Result<(Digest, Document), ArchiveError> {
    let digest = descriptor_digest(descriptor)?;
    if store.stat(&digest)?.is_none() {
        return Err(ArchiveError::MissingBlob(digest));
    }
    let bytes = read_blob(store, &digest, MANIFEST_BYTES_MAX)?;
    if bytes.len() as u64 != descriptor.size() {
        let actual = bytes.len() as u64;
        return Err(ArchiveError::BlobSize { digest, announced: descriptor.size(), actual });
    }
    let document = Document::parse(&bytes, Some(descriptor.media_type().as_ref()))?;
    Ok((digest, document))
}
