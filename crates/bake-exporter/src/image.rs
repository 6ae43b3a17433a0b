//! From config and layers to an assembled image, in the local store or with blobs for elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use bake_oci::manifest::descriptor;
use bake_oci::validate::{Depth, validate_image};
use bake_oci::{
    BlobError, BlobStore, BlobWriter, Compression, DiffId, Digest, Digester, Image, ImageConfig, ImageLayer, Platform,
    SnapshotId, Timestamp, assemble_index, media_type,
};
use bake_snapshot::{LayerFormat, WriteOptions, write_layer};
use bake_store::{BlobDescriptor, Ingest, Store};

use crate::attestation::Attached;
use crate::compression::ExportCompression;
use crate::error::ExportError;
use crate::spec::ImageOptions;
use crate::told::{Compressing, SendProgress, ToldWriter};

/// An image to be exported: everything but the form of its blobs.
#[derive(Debug, Clone)]
pub struct ExportImage {
    /// Its platform.
    pub platform: Platform,
    /// The config, complete but for the diff IDs.
    pub config: ImageConfig,
    /// The layers, base first.
    pub layers: Vec<ExportLayer>,
}

/// A layer to be exported.
#[derive(Debug, Clone)]
pub struct ExportLayer {
    /// The digest of its uncompressed archive.
    pub diff_id: DiffId,
    /// The size of that archive, in bytes; only needed for layers from snapshots.
    pub tar_size_bytes: u64,
    /// Where its bytes are.
    pub content: LayerContent,
}

/// Where a layer's bytes are.
#[derive(Debug, Clone)]
pub enum LayerContent {
    /// In a directory of the store, from which the archive is streamed.
    Snapshot(SnapshotId),
    /// In a blob, as a base image has it.
    Blob(BlobDescriptor),
    /// In a blob that may not be in the store, from a step on another machine. Where the blob's form, by
    /// [`Compression::id`], is not the wanted one, the archive is streamed from the directory, which has to be there then.
    Elsewhere {
        /// The directory that the layer has in the store once it is there.
        snapshot: SnapshotId,
        /// The blob.
        blob: BlobDescriptor,
        /// Its exact form, if that is known.
        compression: Option<String>,
    },
    /// As in a directory of the store, but with no time later than this one.
    Rewritten {
        /// The directory.
        snapshot: SnapshotId,
        /// The latest time.
        newest: Timestamp,
    },
}

/// What the store now has.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The manifest, or the index of several.
    pub descriptor: BlobDescriptor,
    /// The annotations of that descriptor.
    pub annotations: BTreeMap<String, String>,
    /// The images, one for each platform.
    pub images: Vec<Image>,
    /// What is said of them, see [`Exporter::attest`].
    pub attached: Vec<Attached>,
    /// Layers by their diff IDs that are no blobs in the store; see [`Exporter::for_archive`].
    pub(crate) archived: HashMap<Digest, ExportLayer>,
}

impl Stored {
    /// Images that are in the store with all their blobs, under `descriptor`.
    pub fn new(descriptor: BlobDescriptor, images: Vec<Image>) -> Self {
        Self { descriptor, annotations: BTreeMap::new(), images, attached: Vec::new(), archived: HashMap::new() }
    }

    /// The image, where there is no index around it.
    pub fn single(&self) -> Option<&Image> {
        match self.images.as_slice() {
            [only] if only.digest == self.descriptor.digest => Some(only),
            _ => None,
        }
    }
}

/// Exports images that are in a store.
#[derive(Debug, Clone)]
pub struct Exporter {
    pub(crate) store: Store,
    pub(crate) format: LayerFormat,
    pub(crate) threads: NonZeroUsize,
    always_index: bool,
    absent: HashMap<Digest, u64>,
    compressing: Option<Compressing>,
}

impl Exporter {
    /// Exports from `store`, compressing on `threads` threads (which never changes the bytes).
    pub fn new(store: Store, format: LayerFormat, threads: NonZeroUsize) -> Self {
        Self { store, format, threads, always_index: false, absent: HashMap::new(), compressing: None }
    }

    /// The same, telling how far large layers are that have to be compressed: diff ID, bytes of the archive until now, in all.
    #[must_use]
    pub fn with_compressing(self, compressing: Arc<SendProgress>) -> Self {
        Self { compressing: Some(Compressing(compressing)), ..self }
    }

    /// The same, with blobs (digest and size in bytes) that need not be in the store: whoever sends them brings them, see
    /// [`crate::Pusher::with_bring`].
    #[must_use]
    pub fn with_absent(self, absent: HashMap<Digest, u64>) -> Self {
        Self { absent, ..self }
    }

    /// The same, but with an index even around a single image if `always_index`.
    #[must_use]
    pub fn with_index(self, always_index: bool) -> Self {
        Self { always_index, ..self }
    }

    /// Puts images into the local store, without names. Layers made by steps stay directories: the manifest names their
    /// uncompressed archives, which can be streamed at any time. Only those whose times are rewritten become blobs.
    pub fn to_store(&self, images: &[ExportImage], options: &ImageOptions) -> Result<Stored, ExportError> {
        let mut assembled = Vec::with_capacity(images.len());
        for image in images {
            let mut layers = Vec::with_capacity(image.layers.len());
            for layer in &image.layers {
                layers.push(self.layer_of_store(layer)?);
            }
            assembled.push(assemble(image, layers, options)?);
        }
        self.publish(assembled, options)
    }

    /// Names images that are in the local store.
    pub fn tag(&self, stored: &Stored, references: &[String], created_unix_s: i64) -> Result<(), ExportError> {
        // What a tag names must survive a power loss.
        self.store.sync_results()?;
        for reference in references {
            self.store.tag(reference, &stored.descriptor, created_unix_s)?;
        }
        Ok(())
    }

    /// Assembles images whose layers are blobs in the store, compressing what is not compressed yet.
    pub fn with_blobs(
        &self,
        images: &[ExportImage],
        compression: ExportCompression,
        options: &ImageOptions,
    ) -> Result<Stored, ExportError> {
        self.assembled(images, options, &self.absent, |layer| self.blob_layer(layer, compression))
    }

    /// The same for an archive. Layers of steps that are not compressed stay the directories that they are, and are streamed
    /// into the archive: on the disk they would be there twice.
    pub fn for_archive(
        &self,
        images: &[ExportImage],
        compression: ExportCompression,
        options: &ImageOptions,
    ) -> Result<Stored, ExportError> {
        let mut archived = HashMap::new();
        for layer in images.iter().flat_map(|image| &image.layers) {
            if compression.compression() == Compression::Uncompressed
                && matches!(layer.content, LayerContent::Snapshot(_))
                && self.store.blob_size(&layer.diff_id.0)?.is_none()
            {
                archived.insert(layer.diff_id.0.clone(), layer.clone());
            }
        }
        let mut absent = self.absent.clone();
        absent.extend(archived.iter().map(|(digest, layer)| (digest.clone(), layer.tar_size_bytes)));
        let stored = self.assembled(images, options, &absent, |layer| {
            if archived.contains_key(&layer.diff_id.0) {
                self.layer_of_store(layer)
            } else {
                self.blob_layer(layer, compression)
            }
        })?;
        Ok(Stored { archived, ..stored })
    }

    /// Puts documents of images into the store, whose blobs are there or `absent` for now.
    fn assembled(
        &self,
        images: &[ExportImage],
        options: &ImageOptions,
        absent: &HashMap<Digest, u64>,
        image_layer: impl Fn(&ExportLayer) -> Result<ImageLayer, ExportError>,
    ) -> Result<Stored, ExportError> {
        let mut assembled = Vec::with_capacity(images.len());
        for image in images {
            let layers = image.layers.iter().map(&image_layer).collect::<Result<_, _>>()?;
            assembled.push(assemble(image, layers, options)?);
        }
        let stored = self.publish(assembled, options)?;
        let blob = &stored.descriptor;
        let whole = descriptor(&blob.media_type, &blob.digest, blob.size_bytes);
        let announced = Announced { store: &self.store, absent };
        match validate_image(&whole, &announced, Depth::Quick) {
            Ok(()) => Ok(stored),
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Err(ExportError::Invalid(problems.join("; ")))
            }
        }
    }

    /// Writes configs, manifests and the index to the store. There is an index also where annotations ask for one.
    fn publish(&self, images: Vec<Image>, options: &ImageOptions) -> Result<Stored, ExportError> {
        for image in &images {
            self.store.put_bytes(&image.config_bytes)?;
            self.store.put_bytes(&image.manifest_bytes)?;
        }
        let annotations = &options.annotations;
        if let ([only], false) = (images.as_slice(), self.always_index || annotations.need_index()) {
            let descriptor = blob_descriptor(&only.descriptor(None), &only.digest);
            return Ok(Stored::new(descriptor, images));
        }
        let descriptor = |image: &Image| {
            let mut descriptor = image.descriptor(Some(&image.platform()));
            let its = annotations.manifest_descriptor(&image.platform());
            descriptor.set_annotations((!its.is_empty()).then(|| its.into_iter().collect()));
            descriptor
        };
        let index = assemble_index(options.family, images.iter().map(descriptor).collect(), annotations.index())?;
        self.store.put_bytes(&index.bytes)?;
        let descriptor = blob_descriptor(&index.descriptor(), &index.digest);
        Ok(Stored { annotations: annotations.index_descriptor(), ..Stored::new(descriptor, images) })
    }

    /// A layer by its uncompressed archive, or by the blob a base image has.
    fn layer_of_store(&self, layer: &ExportLayer) -> Result<ImageLayer, ExportError> {
        match &layer.content {
            LayerContent::Blob(blob) => Ok(image_layer(layer, blob)),
            LayerContent::Snapshot(_) | LayerContent::Elsewhere { .. } => Ok(ImageLayer {
                diff_id: layer.diff_id.clone(),
                descriptor: descriptor(Compression::Uncompressed.media_type(), &layer.diff_id.0, layer.tar_size_bytes),
            }),
            LayerContent::Rewritten { .. } => {
                let wanted = Some(Compression::Uncompressed);
                self.blob_layer(layer, ExportCompression { wanted, ..ExportCompression::default() })
            }
        }
    }

    fn blob_layer(&self, layer: &ExportLayer, compression: ExportCompression) -> Result<ImageLayer, ExportError> {
        if let Some(level) = compression.estargz_level()
            && (compression.force || !matches!(layer.content, LayerContent::Blob(_)))
        {
            return self.estargz_layer(layer, level);
        }
        self.layer_blob(layer, compression).map(|blob| image_layer(layer, &blob))
    }

    /// A layer as a blob in the store, compressing it if it is not there in that form. What was compressed once is
    /// remembered.
    pub fn layer_blob(
        &self,
        layer: &ExportLayer,
        compression: ExportCompression,
    ) -> Result<BlobDescriptor, ExportError> {
        let wanted = compression.compression();
        if let LayerContent::Blob(blob) = &layer.content
            && (!compression.force || is_in_form(&blob.media_type, wanted))
        {
            if !self.absent.contains_key(&blob.digest) && self.store.blob_size(&blob.digest)?.is_none() {
                return Err(ExportError::MissingBlob(blob.digest.clone()));
            }
            return Ok(blob.clone());
        }
        let id = wanted.id();
        if let LayerContent::Elsewhere { blob, compression: Some(form), .. } = &layer.content
            && *form == id
            && self.absent.contains_key(&blob.digest)
        {
            return Ok(blob.clone());
        }
        if let Some(blob) = self.store.blob_for(&layer.diff_id, &id)? {
            return Ok(blob);
        }
        let ingest = self.store.ingest()?;
        let writer = BlobWriter::new(IngestWriter(ingest), wanted, self.threads);
        let (result, writer) = self.stream(layer, writer)?;
        if result.diff_id != layer.diff_id {
            return Err(ExportError::LayerChanged { expected: layer.diff_id.clone(), actual: result.diff_id });
        }
        let (digest, size_bytes) = writer.0.finish(Some(&result.digest))?;
        let blob = BlobDescriptor { media_type: result.media_type.to_owned(), digest, size_bytes };
        self.store.remember_blob(&layer.diff_id, &id, &blob)?;
        Ok(blob)
    }

    /// Everything in a directory of layer form as a blob in the store. It need not be a layer: this is how the content of
    /// a cache mount leaves the store.
    pub fn directory_blob(
        &self,
        directory: &Path,
        compression: ExportCompression,
    ) -> Result<BlobDescriptor, ExportError> {
        let ingest = self.store.ingest()?;
        let mut writer = BlobWriter::new(IngestWriter(ingest), compression.compression(), self.threads);
        write_layer(directory, self.format, WriteOptions::default(), &mut writer).map_err(ExportError::Files)?;
        let (result, writer) = writer.finish().map_err(ExportError::Write)?;
        let (digest, size_bytes) = writer.0.finish(Some(&result.digest))?;
        Ok(BlobDescriptor { media_type: result.media_type.to_owned(), digest, size_bytes })
    }

    /// Makes the blob `wanted` of a layer again from another form of it, compressing as `compression` says. It is kept only
    /// if it comes out the same.
    pub fn remake_blob(
        &self,
        layer: &ExportLayer,
        compression: Compression,
        wanted: &Digest,
    ) -> Result<(), ExportError> {
        let writer = BlobWriter::new(IngestWriter(self.store.ingest()?), compression, self.threads);
        let (result, writer) = self.stream(layer, writer)?;
        if result.diff_id != layer.diff_id {
            return Err(ExportError::LayerChanged { expected: layer.diff_id.clone(), actual: result.diff_id });
        }
        writer.0.finish(Some(wanted))?;
        Ok(())
    }

    fn stream(
        &self,
        layer: &ExportLayer,
        mut writer: BlobWriter<IngestWriter>,
    ) -> Result<(bake_oci::CompressedLayer, IngestWriter), ExportError> {
        let mut told = ToldWriter::new(&mut writer, &layer.diff_id.0, layer.tar_size_bytes, self.compressing.as_ref());
        self.write_archive(layer, &mut told)?;
        writer.finish().map_err(ExportError::Write)
    }

    /// Writes the uncompressed archive of a layer, and fails at its end if it is not what it has to be.
    pub(crate) fn write_checked_archive(&self, layer: &ExportLayer, out: impl Write) -> Result<(), ExportError> {
        let mut digested = Digested { out, digester: Digester::new() };
        self.write_archive(layer, &mut digested)?;
        digested.out.flush().map_err(ExportError::Write)?;
        let actual = DiffId(digested.digester.finish());
        if actual != layer.diff_id {
            return Err(ExportError::LayerChanged { expected: layer.diff_id.clone(), actual });
        }
        Ok(())
    }

    /// Writes the uncompressed archive of a layer.
    pub(crate) fn write_archive(&self, layer: &ExportLayer, out: &mut impl Write) -> Result<(), ExportError> {
        match &layer.content {
            LayerContent::Snapshot(id) | LayerContent::Elsewhere { snapshot: id, .. } => {
                let snapshot = self.store.snapshot(id)?.ok_or_else(|| ExportError::MissingLayer(id.to_string()))?;
                write_layer(&snapshot.path, self.format, WriteOptions::default(), out)
                    .map_err(|source| ExportError::Layer { diff_id: layer.diff_id.clone(), source })?;
            }
            LayerContent::Rewritten { snapshot, newest } => {
                self.write_rewritten(snapshot, *newest, &layer.diff_id, out)?;
            }
            LayerContent::Blob(blob) => {
                let (file, _) =
                    self.store.open_blob(&blob.digest)?.ok_or_else(|| ExportError::MissingBlob(blob.digest.clone()))?;
                let limits = bake_oci::ExpansionLimits::default();
                let mut stream = bake_oci::decompress(file, limits)
                    .map_err(|error| ExportError::Write(std::io::Error::other(error)))?;
                std::io::copy(&mut stream, out).map_err(ExportError::Write)?;
            }
        }
        Ok(())
    }
}

/// A store that speaks of absent blobs as if they were there.
struct Announced<'a> {
    store: &'a Store,
    absent: &'a HashMap<Digest, u64>,
}

impl BlobStore for Announced<'_> {
    fn get(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, BlobError> {
        self.store.get(digest)
    }

    fn stat(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        match self.absent.get(digest) {
            Some(size_bytes) => Ok(Some(*size_bytes)),
            None => self.store.stat(digest),
        }
    }

    fn put(&self, expected: Option<&Digest>, content: &mut dyn Read) -> Result<(Digest, u64), BlobError> {
        self.store.put(expected, content)
    }

    fn list(&self) -> Result<Vec<Digest>, BlobError> {
        self.store.list()
    }
}

/// Digests what goes through it.
struct Digested<W> {
    out: W,
    digester: Digester,
}

impl<W: Write> Write for Digested<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.digester.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Writes to the store as a plain stream.
#[derive(Debug)]
pub(crate) struct IngestWriter(pub(crate) Ingest);

impl Write for IngestWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn blob_descriptor(descriptor: &bake_oci::Descriptor, digest: &Digest) -> BlobDescriptor {
    BlobDescriptor {
        media_type: descriptor.media_type().to_string(),
        digest: digest.clone(),
        size_bytes: descriptor.size(),
    }
}

fn image_layer(layer: &ExportLayer, blob: &BlobDescriptor) -> ImageLayer {
    ImageLayer {
        diff_id: layer.diff_id.clone(),
        descriptor: descriptor(distributable(&blob.media_type), &blob.digest, blob.size_bytes),
    }
}

/// What a layer is called whose blob is in our hands, whatever its image said about where it may be had.
fn distributable(media_type: &str) -> &str {
    match media_type.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.") {
        Some("tar") => media_type::OCI_LAYER,
        Some("tar+gzip") => media_type::OCI_LAYER_GZIP,
        Some("tar+zstd") => media_type::OCI_LAYER_ZSTD,
        _ if media_type == media_type::DOCKER_FOREIGN_LAYER_GZIP => media_type::DOCKER_LAYER_GZIP,
        _ => media_type,
    }
}

#[expect(clippy::case_sensitive_file_extension_comparisons, reason = "a media type has no file extension")]
fn is_in_form(media_type: &str, wanted: Compression) -> bool {
    match wanted {
        Compression::Uncompressed => media_type.ends_with(".tar"),
        Compression::Gzip { .. } => media_type.ends_with("gzip"),
        Compression::Zstd { .. } => media_type.ends_with("zstd"),
    }
}

/// The documents of an image, checked.
fn assemble(image: &ExportImage, layers: Vec<ImageLayer>, options: &ImageOptions) -> Result<Image, ExportError> {
    let annotations = options.annotations.manifest(&image.platform);
    let assembled = Image::assemble_in(options.family, image.config.clone(), layers, annotations)?;
    check(&assembled)?;
    Ok(assembled)
}

/// What can be checked of an image without reading its layers.
fn check(image: &Image) -> Result<(), ExportError> {
    let config = ImageConfig::parse(&image.config_bytes).map_err(|error| ExportError::Invalid(error.to_string()))?;
    let (ids, layers) = (config.rootfs.diff_ids.len(), image.manifest.layers().len());
    if ids != layers {
        return Err(ExportError::Invalid(format!("{ids} diff IDs, but {layers} layers")));
    }
    if Digest::of(&image.manifest_bytes) != image.digest || Digest::of(&image.config_bytes) != image.config_digest {
        return Err(ExportError::Invalid("a digest does not fit its bytes".into()));
    }
    Ok(())
}
