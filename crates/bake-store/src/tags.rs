//! Tags: names of images. Each is a small synced file, so that neither a damaged index nor a power loss loses an image.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use bake_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::error::AtPath;
use crate::image::Closure;
use crate::ingest::Temporary;
use crate::layout::{Layout, now_unix_s, sync_directory};
use crate::lease::Held;
use crate::lock::GcLock;
use crate::seal::checksum;
use crate::store::Store;

/// The longest reference: a name of 255 characters, a tag of 128, a digest of 135, and room to spare.
const REFERENCE_SIZE_MAX: usize = 1024;

/// A tag file holds one reference and one descriptor.
const TAG_FILE_SIZE_MAX: u64 = 16 << 10;

/// What names a blob: its media type, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobDescriptor {
    /// The media type of the content.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The full reference, as the caller wrote it.
    pub reference: String,
    /// The manifest or index it names.
    pub descriptor: BlobDescriptor,
    /// When the image was made, in seconds since 1970, as the caller said.
    pub created_unix_s: i64,
    /// When the tag was written, in seconds since 1970.
    pub tagged_unix_s: i64,
}

/// `tags/HEX`.
#[derive(Debug, Serialize, Deserialize)]
struct TagFile {
    #[serde(flatten)]
    tag: Tag,
    /// Of everything else; absent in files of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
}

/// An image with all its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Its manifest or index.
    pub descriptor: BlobDescriptor,
    /// The references that name it, sorted.
    pub references: Vec<String>,
    /// When it was made, in seconds since 1970: the newest of what its tags say.
    pub created_unix_s: i64,
    /// The size in bytes of its manifests, configs and layers, as its descriptors state it.
    pub size_bytes: u64,
    /// Digests it refers to that are not in the store as blobs: layers that exist as snapshots only, or were not
    /// pulled.
    pub absent_blobs: usize,
}

impl Store {
    /// Lets `reference` name the manifest or index of `descriptor`, which must be in the store.
    ///
    /// The tag is durable when this returns. Writing the tag that is there already costs nothing. Returns what the
    /// reference named before.
    pub fn tag(
        &self,
        reference: &str,
        descriptor: &BlobDescriptor,
        created_unix_s: i64,
    ) -> Result<Option<Tag>, StoreError> {
        check_reference(reference)?;
        if self.blob_size(&descriptor.digest)?.is_none() {
            return Err(StoreError::NotFound { what: format!("manifest {}", descriptor.digest) });
        }
        let path = self.layout().tag(reference);
        let previous = read_if_sound(&path)?;
        if let Some(tag) = &previous
            && tag.reference == reference
            && tag.descriptor == *descriptor
            && tag.created_unix_s == created_unix_s
        {
            return Ok(previous);
        }
        let tag = Tag {
            reference: reference.to_owned(),
            descriptor: descriptor.clone(),
            created_unix_s,
            tagged_unix_s: now_unix_s(),
        };
        self.write_tag(&path, &tag)?;
        Ok(previous)
    }

    /// Removes a tag; returns what it named, or `None` if there was none. The image stays until it is pruned.
    pub fn untag(&self, reference: &str) -> Result<Option<Tag>, StoreError> {
        check_reference(reference)?;
        let path = self.layout().tag(reference);
        let _no_removal = GcLock::shared(self.layout())?;
        let previous = read_if_sound(&path)?;
        match fs::remove_file(&path) {
            Ok(()) => sync_directory(&self.layout().directory("tags"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("remove", path, error)),
        }
        Ok(previous)
    }

    /// What `reference` names. Its manifest cannot be removed while this store value lives; see [`Store::hold_image`]
    /// for the rest of the image.
    pub fn resolve(&self, reference: &str) -> Result<Option<Tag>, StoreError> {
        check_reference(reference)?;
        let no_removal = GcLock::shared(self.layout())?;
        let tag = read_tag(&self.layout().tag(reference))?;
        if let Some(tag) = &tag {
            self.lease_ref().take(&no_removal, [Held::Blob(tag.descriptor.digest.clone())])?;
        }
        Ok(tag)
    }

    /// All tags, sorted by reference.
    pub fn tags(&self) -> Result<Vec<Tag>, StoreError> {
        read_tags(self.layout())
    }

    /// All tagged images, newest first.
    pub fn images(&self) -> Result<Vec<StoredImage>, StoreError> {
        let mut images: BTreeMap<Digest, StoredImage> = BTreeMap::new();
        for tag in self.tags()? {
            let image = images.entry(tag.descriptor.digest.clone()).or_insert_with(|| StoredImage {
                descriptor: tag.descriptor,
                references: Vec::new(),
                created_unix_s: tag.created_unix_s,
                size_bytes: 0,
                absent_blobs: 0,
            });
            image.created_unix_s = image.created_unix_s.max(tag.created_unix_s);
            image.references.push(tag.reference);
        }
        let mut images: Vec<_> = images.into_values().collect();
        for image in &mut images {
            let closure = Closure::of(self.layout(), &image.descriptor.digest)?;
            image.size_bytes = closure.stated_bytes + image.descriptor.size_bytes;
            image.absent_blobs = closure.absent.len();
        }
        images.sort_by(|a, b| {
            b.created_unix_s.cmp(&a.created_unix_s).then_with(|| a.descriptor.digest.cmp(&b.descriptor.digest))
        });
        Ok(images)
    }

    /// Takes a whole image into use: its manifests, configs and layers, as blobs and as snapshots, stay while this
    /// store value lives.
    pub fn hold_image(&self, manifest: &Digest) -> Result<(), StoreError> {
        let no_removal = GcLock::shared(self.layout())?;
        let closure = Closure::of(self.layout(), manifest)?;
        let blobs = closure.blobs.iter().cloned().map(Held::Blob);
        self.lease_ref().take(&no_removal, blobs)?;
        for diff_id in closure.needed_diff_ids.iter().chain(&closure.unpacked_diff_ids) {
            // Looking them up takes them into use.
            self.snapshots_by_diff_id(diff_id)?;
        }
        Ok(())
    }
}

fn check_reference(reference: &str) -> Result<(), StoreError> {
    let invalid = |reason| Err(StoreError::invalid_text(reference, "a tag", reason));
    if reference.is_empty() {
        return invalid("it is empty");
    }
    if reference.len() > REFERENCE_SIZE_MAX {
        return invalid("it is too long");
    }
    if reference.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return invalid("it has a blank or control character");
    }
    Ok(())
}

/// The tag in a file that is about to be replaced or removed, so that damage to it ends there.
fn read_if_sound(path: &Path) -> Result<Option<Tag>, StoreError> {
    match read_tag(path) {
        Err(StoreError::Damaged { .. }) => Ok(None),
        found => found,
    }
}

pub(crate) fn read_tags(layout: &Layout) -> Result<Vec<Tag>, StoreError> {
    let directory = layout.directory("tags");
    let mut tags = Vec::new();
    for entry in fs::read_dir(&directory).at("list", &directory)? {
        tags.extend(read_tag(&entry.at("list", &directory)?.path())?);
    }
    tags.sort_by(|a: &Tag, b| a.reference.cmp(&b.reference));
    Ok(tags)
}

pub(crate) fn read_tag(path: &Path) -> Result<Option<Tag>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    let mut bytes = Vec::new();
    file.take(TAG_FILE_SIZE_MAX).read_to_end(&mut bytes).at("read", path)?;
    decode(&bytes).map(Some).map_err(|source| StoreError::Damaged { path: path.to_path_buf(), source })
}

/// The bytes of a tag file: the same line twice, so that damage to one of them loses no name.
fn encode(tag: &Tag, path: &Path) -> Result<Vec<u8>, StoreError> {
    let file = TagFile { checksum: Some(tag.checksum()), tag: tag.clone() };
    let mut line = serde_json::to_vec(&file)
        .map_err(|error| StoreError::Damaged { path: path.to_path_buf(), source: Box::new(error) })?;
    line.push(b'\n');
    Ok([line.as_slice(), &line].concat())
}

/// The tag in the bytes of a tag file, from whichever of its halves is sound. Files of earlier versions have one line.
fn decode(bytes: &[u8]) -> Result<Tag, Box<dyn std::error::Error + Send + Sync>> {
    let parse = |bytes: &[u8]| match serde_json::from_slice(bytes) {
        Ok(TagFile { checksum: Some(checksum), tag }) if checksum != tag.checksum() => {
            Err("it does not fit its checksum".into())
        }
        Ok(TagFile { tag, .. }) => Ok(tag),
        Err(error) => Err(error.into()),
    };
    let (first, second) = bytes.split_at(bytes.len() / 2);
    parse(first).or_else(|_| parse(second)).or_else(|_| parse(bytes))
}

impl Store {
    /// Writes a tag file anew if it is sound in part only. Says whether it was sound as a whole.
    pub(crate) fn mend_tag(&self, path: &Path, tag: &Tag, repair: bool) -> Result<bool, StoreError> {
        let bytes = fs::read(path).at("read", path)?;
        let whole = bytes == encode(tag, path)?;
        let earlier = serde_json::from_slice::<Tag>(&bytes).is_ok();
        if !whole && !earlier && repair {
            self.write_tag(path, tag)?;
        }
        Ok(whole || earlier)
    }

    fn write_tag(&self, path: &Path, tag: &Tag) -> Result<(), StoreError> {
        let text = encode(tag, path)?;
        let mut temporary = Temporary::create(self.layout())?;
        temporary.file.write_all(&text).at("write", &temporary.path)?;
        temporary.file.sync_all().at("sync", &temporary.path)?;
        let no_removal = GcLock::shared(self.layout())?;
        temporary.publish(path)?;
        drop(no_removal);
        sync_directory(&self.layout().directory("tags"))
    }
}

impl Tag {
    fn checksum(&self) -> String {
        let Self { reference, descriptor: BlobDescriptor { media_type, digest, size_bytes }, .. } = self;
        let checksum = checksum(&[
            reference.as_bytes(),
            media_type.as_bytes(),
            digest.to_string().as_bytes(),
            &size_bytes.to_le_bytes(),
            &self.created_unix_s.to_le_bytes(),
            &self.tagged_unix_s.to_le_bytes(),
        ]);
        bake_oci::digest::to_hex(&checksum)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::testing::TestStore;

    #[test]
    fn tags_move_resolve_and_go() {
        let test = TestStore::new();
        let store = &test.store;
        let one = test.image("one", &["l1", "l2"]);
        let two = test.image("two", &["l1"]);
        assert_eq!(store.tag("docker.io/library/app:1", &one, 10).unwrap(), None);
        assert_eq!(store.tag("docker.io/library/app:1", &one, 10).unwrap().unwrap().descriptor, one);
        store.tag("docker.io/library/app:2", &one, 20).unwrap();
        assert_eq!(store.tag("docker.io/library/app:1", &two, 15).unwrap().unwrap().descriptor, one);
        assert_eq!(store.resolve("docker.io/library/app:1").unwrap().unwrap().descriptor, two);
        let images = store.images().unwrap();
        assert_eq!(images.len(), 2);
        assert_eq!(images[0].references, ["docker.io/library/app:2"]);
        assert_eq!(images[0].absent_blobs, 0);
        assert!(images[0].size_bytes > images[1].size_bytes);
        assert_eq!(store.untag("docker.io/library/app:1").unwrap().unwrap().descriptor, two);
        assert_eq!(store.untag("docker.io/library/app:1").unwrap(), None);
        assert_eq!(store.tags().unwrap().len(), 1);
        assert_eq!(test.leftovers(), Vec::<String>::new());
    }

    #[test]
    fn bad_references_and_absent_manifests_are_refused() {
        let test = TestStore::new();
        let absent = BlobDescriptor { media_type: "m".into(), digest: Digest::of(b"no"), size_bytes: 2 };
        assert!(matches!(test.store.tag("a:1", &absent, 0), Err(StoreError::NotFound { .. })));
        for bad in ["", "a b", "a\n", &"a".repeat(2000)] {
            assert!(matches!(test.store.resolve(bad), Err(StoreError::InvalidText { .. })), "{bad:?}");
        }
    }

    #[test]
    fn an_image_in_use_is_held_completely() {
        let test = TestStore::new();
        let image = test.image("one", &["l1", "l2"]);
        let other = test.store.with_new_lease();
        other.hold_image(&image.digest).unwrap();
        // Manifest, config, two layers.
        assert_eq!(other.lease().items(), 4);
    }
}
