//! Writes an image of one layer as an OCI layout.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use bake_oci::layout::{ArchiveImage, INDEX_FILE, LAYOUT_BYTES, LAYOUT_FILE, blob_path, layout_index};
use bake_oci::{
    BlobWriter, Compression, ContainerConfig, History, Image, ImageConfig, ImageLayer, LayerWriter, Platform, Reference,
};

use crate::workspace::failed;

/// Where the layer's archive goes: compressed, into a file that has no digest for a name yet.
pub(super) type Archive = LayerWriter<BlobWriter<BufWriter<File>>>;

/// A layout being written.
pub(super) struct LayoutWriter {
    directory: PathBuf,
    archive: Archive,
}

impl LayoutWriter {
    /// Starts a layout in an empty directory.
    pub(super) fn new(directory: &Path) -> Result<Self, String> {
        let blobs = directory.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).map_err(failed("make", &blobs))?;
        let path = layer_path(directory);
        let file = File::create(&path).map_err(failed("make", &path))?;
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let blob = BlobWriter::new(BufWriter::new(file), Compression::GZIP, threads);
        Ok(Self { directory: directory.to_owned(), archive: LayerWriter::new(blob) })
    }

    /// The layer's archive, to append to.
    pub(super) fn archive(&mut self) -> &mut Archive {
        &mut self.archive
    }

    /// Ends the layer and writes everything else: an image called `reference` for this machine's platform.
    pub(super) fn finish(self, reference: &str, config: ContainerConfig, made_by: &str) -> Result<(), String> {
        let Self { directory, archive } = self;
        let path = layer_path(&directory);
        let blob = archive.finish().map_err(failed("write", &path))?;
        let (layer, _) = blob.finish().map_err(failed("write", &path))?;
        let place = directory.join(blob_path(&layer.digest));
        std::fs::rename(&path, &place).map_err(failed("write", &place))?;

        let mut image_config = ImageConfig::for_platform(&Platform::host());
        image_config.config = config;
        image_config.history = vec![History { created_by: made_by.to_owned(), ..History::default() }];
        let image = Image::assemble(image_config, vec![ImageLayer::from(&layer)], BTreeMap::new())
            .map_err(|error| format!("Failed to put {reference} together: {error}"))?;
        let name = Reference::parse(reference).map_err(|error| format!("Failed to read {reference}: {error}"))?;
        let listed = ArchiveImage { descriptor: image.descriptor(None), names: vec![name], created: None };
        let index = layout_index(&[listed]).map_err(|error| format!("Failed to list {reference}: {error}"))?;

        write(&directory.join(blob_path(&image.config_digest)), &image.config_bytes)?;
        write(&directory.join(blob_path(&image.digest)), &image.manifest_bytes)?;
        write(&directory.join(LAYOUT_FILE), LAYOUT_BYTES)?;
        write(&directory.join(INDEX_FILE), &index)
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    File::create(path).and_then(|mut file| file.write_all(bytes)).map_err(failed("write", path))
}

fn layer_path(directory: &Path) -> PathBuf {
    directory.join("layer")
}
