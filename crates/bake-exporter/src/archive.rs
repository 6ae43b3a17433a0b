//! OCI layouts and docker archives.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use bake_oci::archive::write_docker_archive;
use bake_oci::layout::{ArchiveImage, blob_path, image_blobs, layout_index, write_oci_layout};
use bake_oci::manifest::{descriptor, set_descriptor_platform};
use bake_oci::{BlobStore, Reference, Timestamp};

use crate::archived_layers::ArchivedLayers;
use crate::error::{ExportError, io};
use crate::image::{Exporter, Stored};

/// Which archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// An OCI layout.
    Oci,
    /// For `docker load`.
    Docker,
}

impl Exporter {
    /// Writes images, of [`Exporter::for_archive`] or with all blobs in the store, as one archive. `names` are what the image is called in it.
    pub fn to_archive(
        &self,
        stored: &Stored,
        names: &[Reference],
        created: Option<Timestamp>,
        kind: ArchiveKind,
        out: impl Write,
    ) -> Result<(), ExportError> {
        let images = [archive_image(stored, names, created)];
        let blobs = ArchivedLayers { exporter: self, layers: &stored.archived };
        let mut writer = match kind {
            ArchiveKind::Oci => write_oci_layout(&with_attached(images, stored), &blobs, out)?,
            ArchiveKind::Docker => write_docker_archive(&images, &blobs, out)?,
        };
        writer.flush().map_err(ExportError::Write)
    }

    /// Writes images whose blobs are in the store as an OCI layout in a directory, beside blobs that are there already.
    pub fn to_layout(
        &self,
        stored: &Stored,
        names: &[Reference],
        created: Option<Timestamp>,
        directory: &Path,
    ) -> Result<(), ExportError> {
        let images = with_attached([archive_image(stored, names, created)], stored);
        let mut blobs = BTreeMap::new();
        for image in &images {
            blobs.extend(image_blobs(&image.descriptor, &self.store)?);
        }
        for (digest, size) in blobs {
            let target = directory.join(blob_path(&digest));
            if fs::metadata(&target).is_ok_and(|there| there.len() == size) {
                continue;
            }
            let parent = target.parent().unwrap_or(directory);
            fs::create_dir_all(parent).map_err(io("make the directory", parent))?;
            let content = self.store.get(&digest)?.ok_or_else(|| ExportError::MissingBlob(digest.clone()))?;
            place(&target, content)?;
        }
        let index = layout_index(&images)?;
        place(&directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice())?;
        place(&directory.join("index.json"), index.as_slice())
    }
}

/// The images, and what names them as its subject: without names, as layouts have artifacts.
pub(crate) fn with_attached(images: impl IntoIterator<Item = ArchiveImage>, stored: &Stored) -> Vec<ArchiveImage> {
    let referrers = stored.attached.iter().filter(|attached| attached.is_referrer());
    let attached = referrers.map(|attached| ArchiveImage {
        descriptor: attached.descriptor.clone(),
        names: Vec::new(),
        created: None,
    });
    images.into_iter().chain(attached).collect()
}

fn archive_image(stored: &Stored, names: &[Reference], created: Option<Timestamp>) -> ArchiveImage {
    let blob = &stored.descriptor;
    let mut descriptor = descriptor(&blob.media_type, &blob.digest, blob.size_bytes);
    if let Some(only) = stored.single() {
        set_descriptor_platform(&mut descriptor, &only.platform());
    }
    if !stored.annotations.is_empty() {
        descriptor.set_annotations(Some(stored.annotations.clone().into_iter().collect()));
    }
    ArchiveImage { descriptor, names: names.to_vec(), created }
}

/// Writes a file under another name first: nobody must take half of it for the whole.
pub(crate) fn place(target: &Path, mut content: impl std::io::Read) -> Result<(), ExportError> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let partial: PathBuf = target.with_file_name(format!(".{name}.part"));
    let mut output = File::create(&partial).map_err(io("create", &partial))?;
    std::io::copy(&mut content, &mut output).map_err(io("write", &partial))?;
    fs::rename(&partial, target).map_err(io("rename to", target))
}
