//! OCI layouts in directories that may hold images already.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use bake_oci::layout::{
    ArchiveImage, INDEX_FILE, LAYOUT_BYTES, LAYOUT_FILE, NAME_ANNOTATION, REF_NAME_ANNOTATION, blob_path, image_blobs,
    layout_index,
};
use bake_oci::manifest::{Descriptor, index_bytes};
use bake_oci::{BlobStore as _, Document};

use crate::archive::place;
use crate::error::{ExportError, io};
use crate::image::Exporter;

/// The largest index of a layout that is added to.
const INDEX_BYTES_MAX: u64 = 4 << 20;

impl Exporter {
    /// Adds images whose blobs are in the store to the OCI layout in `directory`, which is made if it is not there. Images
    /// that were in it stay, unless one of the new ones has the same name; blobs that are there are not written again.
    ///
    /// # Errors
    /// A directory that holds something else than a layout; what the file system says.
    pub fn add_to_layout(&self, images: &[ArchiveImage], directory: &Path) -> Result<(), ExportError> {
        let mut manifests = listed(directory)?;
        for image in images {
            for (digest, size) in image_blobs(&image.descriptor, &self.store)? {
                let target = directory.join(blob_path(&digest));
                if fs::metadata(&target).is_ok_and(|there| there.is_file() && there.len() == size) {
                    continue;
                }
                let parent = target.parent().unwrap_or(directory);
                fs::create_dir_all(parent).map_err(io("make the directory", parent))?;
                let content = self.store.get(&digest)?.ok_or_else(|| ExportError::MissingBlob(digest.clone()))?;
                place(&target, content)?;
            }
        }
        let invalid = |error: bake_oci::ManifestError| ExportError::Invalid(error.to_string());
        let Document::Index(mut index) = Document::parse(&layout_index(images)?, None).map_err(invalid)? else {
            return Err(ExportError::Invalid("the layout's index is none".into()));
        };
        manifests.retain(|old| !index.manifests().iter().any(|new| replaces(new, old)));
        manifests.extend(index.manifests().iter().cloned());
        index.set_manifests(manifests);
        place(&directory.join(LAYOUT_FILE), LAYOUT_BYTES)?;
        place(&directory.join(INDEX_FILE), index_bytes(&index).map_err(invalid)?.as_slice())
    }
}

/// Whether there is no place for `old` beside `new`: both have the same name, or `old` is the same image without one.
fn replaces(new: &Descriptor, old: &Descriptor) -> bool {
    let name = |descriptor: &Descriptor, key| descriptor.annotations().as_ref().and_then(|all| all.get(key)).cloned();
    let names = |descriptor| [NAME_ANNOTATION, REF_NAME_ANNOTATION].map(|key| name(descriptor, key));
    let (new_names, old_names) = (names(new), names(old));
    if old_names == [None, None] {
        return new.digest() == old.digest();
    }
    match (&new_names[0], &old_names[0]) {
        (None, None) => new_names[1] == old_names[1],
        (new, old) => new == old,
    }
}

/// The images that a layout has; none where there is no directory, or an empty one.
fn listed(directory: &Path) -> Result<Vec<Descriptor>, ExportError> {
    let is_empty = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(io("list", directory)(error)),
    };
    if is_empty {
        return Ok(Vec::new());
    }
    let path = directory.join(INDEX_FILE);
    let not_a_layout =
        |problem: &str| ExportError::NotALayout { path: directory.to_owned(), problem: problem.to_owned() };
    let file = match File::open(&path) {
        Ok(file) if directory.join(LAYOUT_FILE).is_file() => file,
        Ok(_) => return Err(not_a_layout("it has files, but no `oci-layout`")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(not_a_layout("it has files, but no `index.json`"));
        }
        Err(error) => return Err(io("open", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(INDEX_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io("read", &path))?;
    if bytes.len() as u64 > INDEX_BYTES_MAX {
        return Err(not_a_layout("its `index.json` is larger than 4 MiB"));
    }
    match Document::parse(&bytes, None) {
        Ok(Document::Index(index)) => Ok(index.manifests().clone()),
        Ok(Document::Manifest(_)) => Err(not_a_layout("its `index.json` is no index")),
        Err(error) => Err(not_a_layout(&format!("its `index.json` cannot be read: {error}"))),
    }
}
