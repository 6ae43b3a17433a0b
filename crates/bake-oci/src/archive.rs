//! Image archives: the docker archive that `docker save` writes today, and reading of every archive `docker load` and
//! `podman load` know.
//!
//! A docker archive is an OCI layout (see [`crate::layout`]) with a `manifest.json` that names the same blobs:
//!
//! ```text
//! [{"Config":"blobs/sha256/<hex>","Layers":["blobs/sha256/<hex>", ...],"RepoTags":["busybox:latest"]}]
//! ```
//!
//! Archives of Docker before version 25 and of podman have no layout; their `manifest.json` names files such as
//! `<id>.json` and `<id>/layer.tar`, and repeated layers are symbolic links.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::blob::{BlobError, BlobStore, read_blob};
use crate::config::{ConfigError, ImageConfig};
use crate::digest::{DiffId, Digest, DigestError};
use crate::image::{Image, ImageError, ImageLayer};
use crate::json::{CONFIG_BYTES_MAX, JsonError, MANIFEST_BYTES_MAX, canonical_json, parse_json};
use crate::layer::decompress::{DecompressError, ExpansionLimits, decompress, detect};
use crate::layer::entry::{EntryKind, NameError, clean_name, display_path};
use crate::layer::read::{LayerReadError, LayerReader, ReadLimits};
use crate::layer::write::LayerWriteError;
use crate::layout::{
    ArchiveImage, BLOBS_DIRECTORY, INDEX_DEPTH_MAX, INDEX_FILE, LAYOUT_FILE, NAME_ANNOTATION, REF_NAME_ANNOTATION,
    blob_path, image_blobs, read_document, write_layout,
};
use crate::manifest::{
    Descriptor, Document, LAYERS_MAX, ManifestError, descriptor, descriptor_digest, ensure_image, index_bytes,
    select_manifest,
};
use crate::media_type;
use crate::platform::Platform;
use crate::reference::{Reference, ReferenceError};

/// The file of a docker archive that lists its images.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The most files of an archive: a few for each layer of [`LAYERS_MAX`] layers and many images.
const FILES_MAX: u64 = 100_000;

/// The most links from name to name that are followed.
const LINKS_MAX: u32 = 8;

/// Why an archive could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// A blob of an image is not there.
    #[error("blob {0} of the image is missing")]
    MissingBlob(Digest),
    /// A blob does not have the size its descriptor announces.
    #[error("blob {digest} has {actual} bytes, its descriptor announces {announced}")]
    BlobSize {
        /// The blob.
        digest: Digest,
        /// By its descriptor.
        announced: u64,
        /// In the store.
        actual: u64,
    },
    /// Indexes in indexes in indexes.
    #[error("index {0} is nested too deep")]
    TooDeep(Digest),
    /// A descriptor's digest.
    #[error("Failed to read a descriptor of the archive")]
    Digest(#[from] DigestError),
    /// The store failed.
    #[error("Failed to move the archive's blobs")]
    Blob(#[from] BlobError),
    /// A manifest or index.
    #[error("Failed to read a manifest of the archive")]
    Manifest(#[from] ManifestError),
    /// A config.
    #[error("Failed to read an image config of the archive")]
    Config(#[from] ConfigError),
    /// An image of an old docker archive cannot be put together.
    #[error("Failed to make an image of the archive")]
    Image(#[from] ImageError),
    /// The tar archive cannot be written.
    #[error("Failed to write the archive")]
    Write(#[from] LayerWriteError),
    /// The tar archive cannot be read.
    #[error("Failed to read the archive")]
    Read(#[from] LayerReadError),
    /// The archive's compression.
    #[error("Failed to decompress the archive")]
    Decompress(#[from] DecompressError),
    /// A file of the archive is not JSON of its shape.
    #[error("Failed to read `{file}` in the archive")]
    Json {
        /// The file.
        file: String,
        /// The reason.
        #[source]
        source: JsonError,
    },
    /// A file of the archive cannot be read.
    #[error("Failed to read `{file}` in the archive")]
    File {
        /// The file.
        file: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A blob's name is no digest, or it is no file.
    #[error("`{0}` in the archive is not a blob: its name must be a digest and it must be a file")]
    NotABlob(String),
    /// A name in `manifest.json` leads out of the archive.
    #[error("the name `{name}` in the archive is refused")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
    /// A name in `manifest.json` is not in the archive.
    #[error("`{0}` is named in the archive's manifest.json but is not in the archive")]
    MissingFile(String),
    /// A name of an image.
    #[error("the archive has an image named `{name}`")]
    Reference {
        /// The name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: ReferenceError,
    },
    /// The layout has another version.
    #[error("the archive has layout version `{0}`, not 1.0.0")]
    LayoutVersion(String),
    /// Neither a layout nor a docker archive.
    #[error(
        "the archive has neither an `index.json` with an `oci-layout` nor a `manifest.json`: it is not an image archive"
    )]
    NotAnImageArchive,
    /// The archive lists no image.
    #[error("the archive has no image")]
    Empty,
    /// The number of layers is not that of the config's diff IDs.
    #[error("an image of the archive has {layers} layers but its config has {diff_ids} diff IDs")]
    LayerCount {
        /// In `manifest.json`.
        layers: usize,
        /// In the config.
        diff_ids: usize,
    },
    /// A layer does not decompress to what the config says.
    #[error("the layer `{file}` decompresses to {actual}, the image config says {expected}")]
    DiffId {
        /// The layer's file.
        file: String,
        /// By the config.
        expected: DiffId,
        /// In fact.
        actual: DiffId,
    },
}

/// An image found in an archive; its blobs are in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Its manifest, or an index over several.
    pub descriptor: Descriptor,
    /// Its full names.
    pub names: Vec<Reference>,
    /// The layout's name for it when that is not a full name: usually a tag.
    pub ref_name: Option<String>,
    /// What the layout has beside it that is about it: artifacts that name one of its manifests as their subject, with that
    /// manifest. Their blobs are in the store too.
    pub referrers: Vec<(Digest, Descriptor)>,
}

/// One image in `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The content of `oci-layout`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutMarker {
    image_layout_version: String,
}

/// Writes a docker archive of these images; their blobs come from `store`. Gives the writer back.
///
/// `docker load`, `podman load` and skopeo read it as a docker archive, containerd and skopeo also as an OCI layout.
/// For an image with several platforms `manifest.json`, which knows only one, has the host's or the first there is.
pub fn write_docker_archive<W: Write>(
    images: &[ArchiveImage],
    store: &dyn BlobStore,
    writer: W,
) -> Result<W, ArchiveError> {
    let mut entries = Vec::new();
    for image in images {
        let Some(manifest) = one_manifest(&image.descriptor, store, INDEX_DEPTH_MAX)? else { continue };
        let (_, Document::Manifest(manifest)) = read_document(&manifest, store)? else { continue };
        let path = |descriptor: &Descriptor| Ok::<_, ArchiveError>(blob_path(&descriptor_digest(descriptor)?));
        let tags = image.names.iter().map(Reference::or_latest).filter(|name| name.tag().is_some());
        let tags: Vec<String> = tags.map(|name| format!("{}:{}", name.familiar_name(), name.tag_or_latest())).collect();
        entries.push(DockerImage {
            config: path(manifest.config())?,
            repo_tags: Some(tags).filter(|tags| !tags.is_empty()),
            layers: Some(manifest.layers().iter().map(path).collect::<Result<_, _>>()?),
        });
    }
    let json = |source| ArchiveError::Json { file: MANIFEST_FILE.to_owned(), source };
    let bytes = canonical_json(&entries).map_err(json)?;
    write_layout(images, store, writer, Some(bytes))
}

/// The one image that stands for an index: the host's, else the first that is there.
fn one_manifest(
    descriptor: &Descriptor,
    store: &dyn BlobStore,
    depth: u32,
) -> Result<Option<Descriptor>, ArchiveError> {
    let (digest, document) = read_document(descriptor, store)?;
    let Document::Index(index) = document else { return Ok(Some(descriptor.clone())) };
    let depth = depth.checked_sub(1).ok_or(ArchiveError::TooDeep(digest))?;
    let is_there = |child: &Descriptor| Ok::<_, ArchiveError>(store.stat(&descriptor_digest(child)?)?.is_some());
    if let Ok(host) = select_manifest(&index, &Platform::host())
        && is_there(host)?
    {
        return one_manifest(host, store, depth);
    }
    for child in index.manifests() {
        if !is_there(child)? {
            continue;
        }
        if let Some(found) = one_manifest(child, store, depth)?
            && let (_, Document::Manifest(manifest)) = read_document(&found, store)?
            && ensure_image(&manifest).is_ok()
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Reads an image archive, compressed or not, and puts its blobs into `store`.
///
/// Every blob is checked against its digest, every image for completeness: all its blobs are there with the announced
/// sizes, and layers without digests of their own (old docker archives) decompress to the config's diff IDs. What the
/// archive has besides its images stays in the store without a reference.
pub fn read_archive(
    reader: impl Read + Send,
    store: &dyn BlobStore,
    limits: ExpansionLimits,
) -> Result<Vec<LoadedImage>, ArchiveError> {
    let reader = decompress(reader, limits)?;
    let mut tar = LayerReader::with_limits(
        reader,
        ReadLimits { entries: FILES_MAX, content_bytes: limits.bytes, ..ReadLimits::DEFAULT },
    );
    let mut contents = Contents::default();
    while let Some(mut entry) = tar.next_entry()? {
        let path = entry.entry.path.clone();
        let name = display_path(&path);
        let is_blob = path.starts_with(b"blobs/") && path.split(|byte| *byte == b'/').count() >= 3;
        match entry.entry.kind.clone() {
            EntryKind::File { size } => {
                let file = [INDEX_FILE, LAYOUT_FILE, MANIFEST_FILE].into_iter().find(|file| file.as_bytes() == path);
                if is_blob {
                    let digest = blob_digest(&path).ok_or(ArchiveError::NotABlob(name))?;
                    store.put(Some(&digest), &mut entry)?;
                    contents.files.insert(path, Content::Blob(digest, size));
                } else if let Some(file) = file {
                    let json = |source| ArchiveError::Json { file: file.to_owned(), source };
                    if size > MANIFEST_BYTES_MAX {
                        let what = "archive's file";
                        return Err(json(JsonError::TooLarge {
                            what,
                            size_bytes: size,
                            limit_bytes: MANIFEST_BYTES_MAX,
                        }));
                    }
                    let mut bytes = Vec::new();
                    let failed = |source| ArchiveError::File { file: file.to_owned(), source };
                    entry.read_to_end(&mut bytes).map_err(failed)?;
                    contents.documents.insert(file, bytes);
                } else {
                    let (digest, size) = store.put(None, &mut entry)?;
                    contents.files.insert(path, Content::Blob(digest, size));
                }
            }
            // A link in place of a blob could stand for any file (of the host, where a layout is a directory).
            EntryKind::Symlink { .. } | EntryKind::HardLink { .. } if is_blob => {
                return Err(ArchiveError::NotABlob(name));
            }
            EntryKind::Symlink { target } => {
                contents.files.insert(path, Content::Link(target));
            }
            EntryKind::HardLink { target } => {
                contents.files.insert(path, Content::Link([b"/".as_slice(), &target].concat()));
            }
            _ => {}
        }
    }
    tar.finish()?;
    let images = if contents.documents.contains_key(INDEX_FILE) && contents.documents.contains_key(LAYOUT_FILE) {
        read_layout(&contents, store)?
    } else if let Some(bytes) = contents.documents.get(MANIFEST_FILE) {
        read_docker(bytes, &contents, store, limits)?
    } else {
        return Err(ArchiveError::NotAnImageArchive);
    };
    if images.is_empty() {
        return Err(ArchiveError::Empty);
    }
    Ok(images)
}

/// Opens a blob of a layout; `None` where it is missing.
pub type OpenBlob<'a> = dyn Fn(&Digest) -> io::Result<Option<Box<dyn Read + Send>>> + 'a;

/// Reads images of an OCI layout that is no archive, such as a directory, and puts their blobs into `store`.
///
/// `marker` and `index` are what `oci-layout` and `index.json` hold; blobs come from `open` and
/// are checked against their digests. Of the images only those are read for which `wanted` says so, given the descriptor in
/// the index; images of an index that are missing are left out, as long as one is there.
///
/// # Errors
/// As [`read_archive`]; [`ArchiveError::Empty`] when no image is wanted.
pub fn read_layout_of(
    marker: Vec<u8>,
    index: &[u8],
    open: &OpenBlob<'_>,
    wanted: &dyn Fn(&Descriptor) -> bool,
    store: &dyn BlobStore,
) -> Result<Vec<LoadedImage>, ArchiveError> {
    let Document::Index(mut listed) = Document::parse(index, None)? else {
        return Err(ManifestError::Unrecognised.into());
    };
    let chosen: Vec<Descriptor> = listed.manifests().iter().filter(|descriptor| wanted(descriptor)).cloned().collect();
    let mut seen = BTreeSet::new();
    for descriptor in &chosen {
        bring(descriptor, open, store, &mut seen, INDEX_DEPTH_MAX)?;
    }
    listed.set_manifests(chosen);
    let mut contents = Contents::default();
    contents.documents.insert(LAYOUT_FILE, marker);
    contents.documents.insert(INDEX_FILE, index_bytes(&listed)?);
    let images = read_layout(&contents, store)?;
    if images.is_empty() { Err(ArchiveError::Empty) } else { Ok(images) }
}

/// Brings a blob into the store with everything that it names, as far as it is a manifest or index.
fn bring(
    descriptor: &Descriptor,
    open: &OpenBlob<'_>,
    store: &dyn BlobStore,
    seen: &mut BTreeSet<Digest>,
    depth: u32,
) -> Result<(), ArchiveError> {
    let digest = descriptor_digest(descriptor)?;
    if !seen.insert(digest.clone()) {
        return Ok(());
    }
    if store.stat(&digest)?.is_none() {
        let failed = |source| ArchiveError::File { file: blob_path(&digest), source };
        // What is missing is found out by whoever needs it.
        let Some(content) = open(&digest).map_err(failed)? else { return Ok(()) };
        // A byte more than announced is read, so that the digest is wrong then.
        store.put(Some(&digest), &mut content.take(descriptor.size().saturating_add(1)))?;
    }
    let media_type = descriptor.media_type().as_ref();
    if !media_type::is_manifest(media_type) && !media_type::is_index(media_type) {
        return Ok(());
    }
    let depth = depth.checked_sub(1).ok_or(ArchiveError::TooDeep(digest))?;
    match read_document(descriptor, store)?.1 {
        Document::Manifest(manifest) => {
            let blobs = std::iter::once(manifest.config()).chain(manifest.layers());
            blobs.into_iter().try_for_each(|blob| bring(blob, open, store, seen, depth))
        }
        Document::Index(index) => index.manifests().iter().try_for_each(|child| bring(child, open, store, seen, depth)),
    }
}

/// What an archive holds.
#[derive(Default)]
struct Contents {
    /// The files that say what the others are.
    documents: HashMap<&'static str, Vec<u8>>,
    files: BTreeMap<Vec<u8>, Content>,
}

enum Content {
    Blob(Digest, u64),
    /// A link's target: relative to the link's directory, or to the root with a `/`.
    Link(Vec<u8>),
}

impl Contents {
    /// The blob of a file that `manifest.json` names, through links.
    fn find(&self, name: &str) -> Result<(&Digest, u64), ArchiveError> {
        let refused = |source| ArchiveError::Name { name: display_path(name.as_bytes()), source };
        let mut path = clean_name(name.as_bytes()).map_err(refused)?;
        for _ in 0..LINKS_MAX {
            match self.files.get(&path) {
                Some(Content::Blob(digest, size)) => return Ok((digest, *size)),
                Some(Content::Link(target)) => {
                    path = resolve(&path, target).ok_or_else(|| refused(NameError::ParentComponent))?;
                }
                None => break,
            }
        }
        Err(ArchiveError::MissingFile(display_path(name.as_bytes())))
    }
}

/// Where a link in the archive leads, or `None` if that is outside of it.
fn resolve(link: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut components: Vec<&[u8]> =
        if target.starts_with(b"/") { Vec::new() } else { link.split(|byte| *byte == b'/').collect() };
    components.pop();
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                components.pop()?;
            }
            name => components.push(name),
        }
    }
    Some(components.join(&b'/'))
}

/// The digest that the path of a blob spells.
fn blob_digest(path: &[u8]) -> Option<Digest> {
    let path = std::str::from_utf8(path).ok()?;
    let (algorithm, hex) = path.strip_prefix(BLOBS_DIRECTORY)?.strip_prefix('/')?.split_once('/')?;
    Digest::parse(&format!("{algorithm}:{hex}")).ok()
}

fn read_layout(contents: &Contents, store: &dyn BlobStore) -> Result<Vec<LoadedImage>, ArchiveError> {
    let document = |file: &'static str| contents.documents.get(file).map(Vec::as_slice).unwrap_or_default();
    let json = |source| ArchiveError::Json { file: LAYOUT_FILE.to_owned(), source };
    let marker: LayoutMarker = parse_json(document(LAYOUT_FILE), "layout marker", MANIFEST_BYTES_MAX).map_err(json)?;
    if marker.image_layout_version != "1.0.0" {
        return Err(ArchiveError::LayoutVersion(marker.image_layout_version.chars().take(64).collect()));
    }
    // The file in a layout has no descriptor, so nothing announces it.
    let Document::Index(index) = Document::parse(document(INDEX_FILE), None)? else {
        return Err(ManifestError::Unrecognised.into());
    };
    let mut images: Vec<LoadedImage> = Vec::new();
    let mut referrers: Vec<(Digest, Descriptor)> = Vec::new();
    for entry in index.manifests() {
        let media_type = entry.media_type().as_ref();
        if !media_type::is_manifest(media_type) && !media_type::is_index(media_type) {
            continue;
        }
        image_blobs(entry, store)?;
        if let Some(subject) = subject_of(entry, store)? {
            referrers.push((subject, without_names(entry)));
            continue;
        }
        let annotation = |key: &str| entry.annotations().as_ref().and_then(|annotations| annotations.get(key));
        let ref_name = annotation(REF_NAME_ANNOTATION);
        let is_full = |name: &&String| name.contains('/') || name.contains(':');
        let full = annotation(NAME_ANNOTATION).or_else(|| ref_name.filter(is_full));
        let name = full.map(|name| parse_name(name)).transpose()?;
        let ref_name = ref_name.filter(|name| !is_full(name)).cloned();
        match images.iter_mut().find(|image| image.descriptor.digest() == entry.digest()) {
            Some(image) => {
                image.names.extend(name);
                image.ref_name = image.ref_name.take().or(ref_name);
            }
            None => images.push(LoadedImage {
                descriptor: without_names(entry),
                names: name.into_iter().collect(),
                ref_name,
                referrers: Vec::new(),
            }),
        }
    }
    for image in &mut images {
        let mut manifests = BTreeSet::from([descriptor_digest(&image.descriptor)?]);
        if let (_, Document::Index(index)) = read_document(&image.descriptor, store)? {
            manifests.extend(index.manifests().iter().map(descriptor_digest).collect::<Result<Vec<_>, _>>()?);
        }
        image.referrers.extend(referrers.iter().filter(|(subject, _)| manifests.contains(subject)).cloned());
    }
    Ok(images)
}

/// What an artifact is about; `None` of an image.
fn subject_of(descriptor: &Descriptor, store: &dyn BlobStore) -> Result<Option<Digest>, ArchiveError> {
    let (_, Document::Manifest(manifest)) = read_document(descriptor, store)? else { return Ok(None) };
    match manifest.subject() {
        Some(subject) if ensure_image(&manifest).is_err() => Ok(Some(descriptor_digest(subject)?)),
        _ => Ok(None),
    }
}

/// The descriptor as it was before it got a place in this layout.
fn without_names(descriptor: &Descriptor) -> Descriptor {
    let mut descriptor = descriptor.clone();
    let mut annotations = descriptor.annotations().clone().unwrap_or_default();
    annotations.remove(NAME_ANNOTATION);
    annotations.remove(REF_NAME_ANNOTATION);
    descriptor.set_annotations(Some(annotations).filter(|annotations| !annotations.is_empty()));
    descriptor
}

fn parse_name(name: &str) -> Result<Reference, ArchiveError> {
    let shown = || display_path(name.as_bytes());
    Reference::parse(name).map_err(|source| ArchiveError::Reference { name: shown(), source })
}

fn read_docker(
    bytes: &[u8],
    contents: &Contents,
    store: &dyn BlobStore,
    limits: ExpansionLimits,
) -> Result<Vec<LoadedImage>, ArchiveError> {
    let json = |source| ArchiveError::Json { file: MANIFEST_FILE.to_owned(), source };
    let entries: Vec<DockerImage> = parse_json(bytes, "docker manifest", MANIFEST_BYTES_MAX).map_err(json)?;
    let mut images = Vec::new();
    let mut checked: BTreeMap<Digest, DiffId> = BTreeMap::new();
    for entry in entries {
        let (config_digest, _) = contents.find(&entry.config)?;
        let config_bytes = read_blob(store, config_digest, CONFIG_BYTES_MAX)?;
        let config = ImageConfig::parse(&config_bytes)?;
        let files = entry.layers.unwrap_or_default();
        let diff_ids = &config.rootfs.diff_ids;
        if files.len() != diff_ids.len() || files.len() > LAYERS_MAX {
            return Err(ArchiveError::LayerCount { layers: files.len(), diff_ids: diff_ids.len() });
        }
        let mut layers = Vec::new();
        for (file, expected) in files.iter().zip(diff_ids) {
            let (digest, size_bytes) = contents.find(file)?;
            let actual = match checked.get(digest) {
                Some(actual) => actual.clone(),
                None => diff_id_of(file, digest, store, limits)?,
            };
            if actual != *expected {
                let file = display_path(file.as_bytes());
                return Err(ArchiveError::DiffId { file, expected: expected.clone(), actual });
            }
            checked.insert(digest.clone(), actual.clone());
            let media_type = layer_media_type(file, digest, store)?;
            layers.push(ImageLayer { diff_id: actual, descriptor: descriptor(media_type, digest, size_bytes) });
        }
        let manifest = docker_manifest(config, &config_bytes, layers)?;
        let (digest, size_bytes) = store.put(None, &mut manifest.as_slice())?;
        let names = entry.repo_tags.unwrap_or_default();
        let names = names.iter().map(|name| parse_name(name)).collect::<Result<Vec<_>, _>>()?;
        images.push(LoadedImage {
            descriptor: descriptor(media_type::OCI_MANIFEST, &digest, size_bytes),
            names,
            ref_name: None,
            referrers: Vec::new(),
        });
    }
    Ok(images)
}

/// A manifest around a config whose bytes must stay as they are: they are the image's ID.
fn docker_manifest(
    mut config: ImageConfig,
    config_bytes: &[u8],
    layers: Vec<ImageLayer>,
) -> Result<Vec<u8>, ArchiveError> {
    // The history of foreign images need not agree with their layers.
    config.history.clear();
    let mut manifest = Image::assemble(config, layers, BTreeMap::new())?.manifest;
    let config_digest = Digest::of(config_bytes);
    manifest.set_config(descriptor(media_type::OCI_CONFIG, &config_digest, config_bytes.len() as u64));
    Ok(crate::manifest::manifest_bytes(&manifest)?)
}

fn diff_id_of(
    file: &str,
    digest: &Digest,
    store: &dyn BlobStore,
    limits: ExpansionLimits,
) -> Result<DiffId, ArchiveError> {
    let reader = store.get(digest)?.ok_or_else(|| ArchiveError::MissingBlob(digest.clone()))?;
    let mut reader = decompress(reader, limits)?;
    let mut digester = crate::digest::Digester::new();
    let failed = |source| ArchiveError::File { file: display_path(file.as_bytes()), source };
    io::copy(&mut reader, &mut digester).map_err(failed)?;
    Ok(DiffId(digester.finish()))
}

fn layer_media_type(file: &str, digest: &Digest, store: &dyn BlobStore) -> Result<&'static str, ArchiveError> {
    let mut start = Vec::new();
    let reader = store.get(digest)?.ok_or_else(|| ArchiveError::MissingBlob(digest.clone()))?;
    let failed = |source| ArchiveError::File { file: display_path(file.as_bytes()), source };
    reader.take(4).read_to_end(&mut start).map_err(failed)?;
    Ok(detect(&start).media_type())
}
