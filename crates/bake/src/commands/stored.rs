//! Images of the store as the commands see them: found by name, image ID or digest, with manifest and config.

use std::collections::{BTreeMap, BTreeSet};

use bake::error::CommandError;
use bake_oci::manifest::{
    Descriptor, Document, ImageIndex, ImageManifest, descriptor_digest, descriptor_platform, ensure_image,
};
use bake_oci::{Digest, Image, ImageConfig, ImageLayer, Platform, Reference, Timestamp};
use bake_store::{BlobDescriptor, Store};

use super::age;
use crate::wiring::store_failed;

/// The largest manifest and index (OCI distribution: registries must take 4 MiB).
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// The largest image config.
const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// Blobs larger than this are not looked into when an untagged image is searched: manifests are a few kilobytes.
const SEARCHED_BYTES_MAX: u64 = 256 << 10;
/// The fewest hexadecimal digits that are taken for an image ID; fewer are more likely a name.
const ID_DIGITS_MIN: usize = 4;

/// An image with its names. Of an index, the platforms that are in the store.
#[derive(Debug)]
pub(super) struct StoredImage {
    /// What names it, sorted.
    pub(super) references: Vec<Reference>,
    /// What the names mean: a manifest or an index.
    pub(super) target: BlobDescriptor,
    /// The index, if that is what they mean.
    pub(super) index: Option<ImageIndex>,
    /// The images in it; never empty.
    pub(super) platforms: Vec<PlatformImage>,
    /// Which of them is meant: the one that was asked for by ID, else this machine's, else the first.
    chosen: usize,
}

/// An image for one platform, with the exact bytes of its documents.
#[derive(Debug)]
pub(super) struct PlatformImage {
    pub(super) descriptor: BlobDescriptor,
    pub(super) manifest: ImageManifest,
    pub(super) manifest_bytes: Vec<u8>,
    pub(super) config: ImageConfig,
    pub(super) config_bytes: Vec<u8>,
    /// The image ID.
    pub(super) config_digest: Digest,
    /// The layers, base first.
    pub(super) layers: Vec<ImageLayer>,
}

impl StoredImage {
    /// The image that is meant.
    pub(super) fn image(&self) -> &PlatformImage {
        &self.platforms[self.chosen]
    }

    /// The same image, with the one for `platform` as the one that is meant.
    pub(super) fn for_platform(mut self, platform: Option<&Platform>) -> Result<Self, CommandError> {
        let Some(wanted) = platform else { return Ok(self) };
        let found = self.platforms.iter().position(|image| wanted.matches(&image.config.platform()));
        self.chosen = found.ok_or_else(|| {
            CommandError::input(format!("the image `{}` is not in the store for {wanted}", self.name()))
        })?;
        Ok(self)
    }

    /// The image for one platform alone, without the index around it.
    pub(super) fn only(self, platform: &Platform) -> Result<Self, CommandError> {
        let mut image = self.for_platform(Some(platform))?;
        let chosen = image.platforms.swap_remove(image.chosen);
        Ok(Self { target: chosen.descriptor.clone(), platforms: vec![chosen], chosen: 0, ..image })
    }

    /// How messages call it.
    pub(super) fn name(&self) -> String {
        self.references.first().map_or_else(|| self.target.digest.to_string(), Reference::familiar)
    }

    /// Takes the whole image into use, so that another process cannot prune it meanwhile.
    pub(super) fn hold(&self, store: &Store) -> Result<(), CommandError> {
        store.hold_image(&self.target.digest).map_err(|error| store_failed(&error))
    }
}

impl PlatformImage {
    pub(super) fn created(&self) -> Option<Timestamp> {
        age::parse(self.config.created.as_deref())
    }

    /// The bytes of manifest, config and layers, as the descriptors state them.
    pub(super) fn size_bytes(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(|layer| layer.descriptor.size()).sum();
        layers + self.config_bytes.len() as u64 + self.manifest_bytes.len() as u64
    }

    /// The image as it is, for exporters: its digests are taken from the same bytes.
    pub(super) fn verbatim(&self) -> Image {
        Image {
            config: self.config.clone(),
            config_bytes: self.config_bytes.clone(),
            config_digest: self.config_digest.clone(),
            layers: self.layers.clone(),
            manifest: self.manifest.clone(),
            manifest_bytes: self.manifest_bytes.clone(),
            digest: self.descriptor.digest.clone(),
        }
    }
}

/// All images with names. One whose documents are gone or damaged is told of by `damaged` and left out.
pub(super) fn all(store: &Store, mut damaged: impl FnMut(CommandError)) -> Result<Vec<StoredImage>, CommandError> {
    let mut images = Vec::new();
    for (_, (target, references)) in by_target(store)? {
        match load(store, target, references) {
            Ok(image) => images.push(image),
            Err(error) => damaged(error),
        }
    }
    Ok(images)
}

/// The images that no name leads to and no index holds: built without a name, or whose names went to newer ones.
pub(super) fn nameless(store: &Store) -> Result<Vec<StoredImage>, CommandError> {
    let mut known: BTreeSet<Digest> = by_target(store)?.into_keys().collect();
    let documents = documents(store)?;
    let tagged: Vec<Digest> = known.iter().cloned().collect();
    let children = |digest: &Digest| match documents.get(digest) {
        Some(Document::Index(index)) => {
            index.manifests().iter().filter_map(|child| descriptor_digest(child).ok()).collect()
        }
        _ => Vec::new(),
    };
    known.extend(tagged.iter().chain(documents.keys()).flat_map(children));
    let roots = documents.into_iter().filter(|(digest, _)| !known.contains(digest));
    let targets = roots.filter_map(|(digest, document)| {
        let size_bytes = store.blob_size(&digest).ok().flatten()?;
        Some(BlobDescriptor { media_type: document.media_type(), digest, size_bytes })
    });
    // What is no image (a cache, an attestation), or lacks its config, is none.
    Ok(targets.filter_map(|target| load(store, target, Vec::new()).ok()).collect())
}

/// Finds an image by name, image ID (or the first digits of one) or digest.
pub(super) fn find(store: &Store, name: &str) -> Result<StoredImage, CommandError> {
    let mut known = by_target(store)?;
    if let Ok(reference) = Reference::parse(name)
        && let Some(digest) = named(&reference, &known)
    {
        let (target, references) = known.remove(&digest).expect("it was found there a moment ago");
        return load(store, target, references);
    }
    // `repository@sha256:...` and `sha256:...`.
    let (repository, digest) = match name.split_once('@') {
        Some((repository, digest)) => (Reference::parse(repository).ok().map(|name| name.name()), digest),
        None => (None, name),
    };
    let hex = match Digest::parse(digest) {
        Ok(digest) => digest.hex().to_owned(),
        Err(_) => name.strip_prefix("sha256:").unwrap_or(name).to_owned(),
    };
    let is_id = hex.len() >= ID_DIGITS_MIN && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_id && let Some(image) = by_id(store, &hex, repository.as_deref())? {
        return Ok(image);
    }
    Err(not_found(name, known.into_values().flat_map(|(_, references)| references)))
}

/// An error that helps: names that are nearly the same, or the tags that the repository does have.
fn not_found(name: &str, references: impl IntoIterator<Item = Reference>) -> CommandError {
    let error = CommandError::input(format!("no such image: {name}"));
    let references: Vec<Reference> = references.into_iter().collect();
    let familiar: Vec<String> = references.iter().map(Reference::familiar).collect();
    if let Ok(wanted) = Reference::parse(name) {
        let tags: Vec<&str> =
            references.iter().filter(|known| known.name() == wanted.name()).filter_map(Reference::tag).collect();
        if !tags.is_empty() {
            return error.hint(format!("`{}` is there with these tags: {}", wanted.familiar_name(), tags.join(", ")));
        }
    }
    let bare = familiar.iter().map(|name| name.strip_suffix(":latest").unwrap_or(name));
    match bake_dockerfile::suggest(name, familiar.iter().map(String::as_str).chain(bare), true) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if Reference::parse(name)
            .is_ok_and(|wanted| wanted.registry() != bake_oci::reference::DEFAULT_REGISTRY) =>
        {
            error.hint("`bake build --push` keeps no image here, unless `--load` is given too")
        }
        None => error,
    }
}

type ByTarget = BTreeMap<Digest, (BlobDescriptor, Vec<Reference>)>;

/// What is tagged, with all its names.
fn by_target(store: &Store) -> Result<ByTarget, CommandError> {
    let mut targets = ByTarget::new();
    for tag in store.tags().map_err(|error| store_failed(&error))? {
        let (_, references) =
            targets.entry(tag.descriptor.digest.clone()).or_insert_with(|| (tag.descriptor, Vec::new()));
        references.extend(Reference::parse(&tag.reference));
    }
    Ok(targets)
}

/// What a name means among those that are known.
fn named(reference: &Reference, known: &ByTarget) -> Option<Digest> {
    let wanted = reference.or_latest();
    let exact = known.iter().find(|(_, (_, references))| references.contains(&wanted));
    let pinned = || {
        let digest = reference.digest()?;
        let (_, references) = known.get(digest)?;
        references.iter().any(|known| known.name() == reference.name()).then(|| digest.clone())
    };
    exact.map(|(digest, _)| digest.clone()).or_else(pinned)
}

/// Finds an image by the first digits of its image ID or of the digest of its manifest or index; tagged ones first.
fn by_id(store: &Store, hex: &str, repository: Option<&str>) -> Result<Option<StoredImage>, CommandError> {
    let mut found: Vec<StoredImage> = Vec::new();
    let in_repository = |references: &[Reference]| {
        repository.is_none_or(|wanted| references.iter().any(|reference| reference.name() == wanted))
    };
    for mut image in all(store, |error| tracing::debug!(%error, "not searched"))? {
        let matches = |image: &PlatformImage| {
            image.config_digest.hex().starts_with(hex) || image.descriptor.digest.hex().starts_with(hex)
        };
        let position = image.platforms.iter().position(matches);
        if in_repository(&image.references) && (position.is_some() || image.target.digest.hex().starts_with(hex)) {
            image.chosen = position.unwrap_or(image.chosen);
            found.push(image);
        }
    }
    if found.is_empty() && repository.is_none() {
        found = untagged(store, hex)?;
    }
    let mut ids: Vec<String> = found.iter().map(|image| image.image().config_digest.to_string()).collect();
    ids.sort();
    ids.dedup();
    if ids.len() > 1 {
        return Err(CommandError::input(format!("`{hex}` is the beginning of several image IDs"))
            .hint(format!("write more digits; it may be {}", ids.join(" or "))));
    }
    Ok(found.into_iter().next())
}

/// Searches the manifests and indexes that no name leads to: images that were built without a name, or untagged.
fn untagged(store: &Store, hex: &str) -> Result<Vec<StoredImage>, CommandError> {
    let mut found = Vec::new();
    for (digest, document) in documents(store)? {
        let is_config = |manifest: &ImageManifest| {
            descriptor_digest(manifest.config()).is_ok_and(|config| config.hex().starts_with(hex))
        };
        let matches =
            digest.hex().starts_with(hex) || matches!(&document, Document::Manifest(manifest) if is_config(manifest));
        if matches && let Some(size_bytes) = store.blob_size(&digest).map_err(|error| store_failed(&error))? {
            let target = BlobDescriptor { media_type: document.media_type(), digest, size_bytes };
            found.extend(load(store, target, Vec::new()));
        }
    }
    Ok(found)
}

/// All manifests and indexes in the store.
fn documents(store: &Store) -> Result<BTreeMap<Digest, Document>, CommandError> {
    // Looking must not keep others from pruning.
    let searched = store.with_new_lease();
    let mut found = BTreeMap::new();
    for digest in searched.list_blobs().map_err(|error| store_failed(&error))? {
        let size = searched.blob_size(&digest).map_err(|error| store_failed(&error))?;
        if size.is_none_or(|size| size > SEARCHED_BYTES_MAX) {
            continue;
        }
        let Ok(Some(bytes)) = searched.read_small_blob(&digest, SEARCHED_BYTES_MAX) else { continue };
        // Layers are no JSON, which the first byte tells.
        if bytes.first() == Some(&b'{')
            && let Ok(document) = Document::parse(&bytes, None)
        {
            found.insert(digest, document);
        }
    }
    Ok(found)
}

/// Reads the documents of an image.
pub(super) fn load(
    store: &Store,
    target: BlobDescriptor,
    mut references: Vec<Reference>,
) -> Result<StoredImage, CommandError> {
    references.sort();
    let name = references.first().map_or_else(|| target.digest.to_string(), Reference::familiar);
    let invalid = |problem: String| {
        CommandError::build(format!("the image `{name}` is not valid: {problem}"))
            .hint("`bake fsck` finds and removes what is damaged")
    };
    let bytes = document(store, &target.digest)?.ok_or_else(|| invalid("its manifest is not in the store".into()))?;
    let mut platforms = Vec::new();
    let mut whole = None;
    match Document::parse(&bytes, Some(&target.media_type)).map_err(|error| invalid(error.to_string()))? {
        Document::Manifest(manifest) => {
            let config = platform_image(store, target.clone(), *manifest, bytes).map_err(invalid)?;
            platforms.push(config.ok_or_else(|| invalid("its config is not in the store".into()))?);
        }
        Document::Index(index) => {
            for child in index.manifests() {
                platforms.extend(child_of_index(store, child).map_err(invalid)?);
            }
            whole = Some(*index);
        }
    }
    if platforms.is_empty() {
        return Err(invalid("no platform of its index is in the store".into()));
    }
    let host = Platform::host();
    let rank = |image: &PlatformImage| host.rank(&image.config.platform());
    let best = (0..platforms.len()).filter_map(|index| Some((rank(&platforms[index])?, index))).min();
    let chosen = best.map_or(0, |(_, index)| index);
    Ok(StoredImage { references, target, index: whole, platforms, chosen })
}

/// One image of an index; none if it was not pulled, or is no image but an attestation.
fn child_of_index(store: &Store, child: &Descriptor) -> Result<Option<PlatformImage>, String> {
    if descriptor_platform(child).is_some_and(|platform| platform.is_unknown()) {
        return Ok(None);
    }
    let digest = descriptor_digest(child).map_err(|error| error.to_string())?;
    let Some(bytes) = document(store, &digest).map_err(|error| error.to_string())? else { return Ok(None) };
    let media_type = child.media_type().to_string();
    let document = Document::parse(&bytes, Some(&media_type)).map_err(|error| error.to_string())?;
    let Document::Manifest(manifest) = document else { return Ok(None) };
    let descriptor = BlobDescriptor { media_type, digest, size_bytes: child.size() };
    platform_image(store, descriptor, *manifest, bytes)
}

/// The manifest with its config; none if the config is not there.
fn platform_image(
    store: &Store,
    descriptor: BlobDescriptor,
    manifest: ImageManifest,
    manifest_bytes: Vec<u8>,
) -> Result<Option<PlatformImage>, String> {
    ensure_image(&manifest).map_err(|error| error.to_string())?;
    let config_digest = descriptor_digest(manifest.config()).map_err(|error| error.to_string())?;
    let read = store.read_small_blob(&config_digest, CONFIG_BYTES_MAX);
    let Some(config_bytes) = read.map_err(|error| bake::error::chain_text(&error))? else { return Ok(None) };
    let config = ImageConfig::parse(&config_bytes).map_err(|error| bake::error::chain_text(&error))?;
    let (ids, layers) = (config.rootfs.diff_ids.len(), manifest.layers().len());
    if ids != layers {
        return Err(format!("its config has {ids} diff IDs, but its manifest {layers} layers"));
    }
    let diff_ids = config.rootfs.diff_ids.iter().cloned();
    let layers = diff_ids.zip(manifest.layers().iter().cloned());
    let layers = layers.map(|(diff_id, descriptor)| ImageLayer { diff_id, descriptor }).collect();
    Ok(Some(PlatformImage { descriptor, manifest, manifest_bytes, config, config_bytes, config_digest, layers }))
}

fn document(store: &Store, digest: &Digest) -> Result<Option<Vec<u8>>, CommandError> {
    store.read_small_blob(digest, DOCUMENT_BYTES_MAX).map_err(|error| store_failed(&error))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_oci::ImageConfig;
    use bake_store::OpenOptions;

    use super::*;

    struct TestStore {
        _directory: tempfile::TempDir,
        store: Store,
    }

    fn store() -> TestStore {
        let directory = tempfile::tempdir().unwrap();
        let options = OpenOptions { ownership: bake_store::Ownership::Recorded, create: true };
        let store = Store::open(&directory.path().join("store"), options).unwrap();
        TestStore { _directory: directory, store }
    }

    fn image(store: &Store, author: &str, tags: &[&str]) -> Image {
        let mut config = ImageConfig::for_platform(&Platform::host());
        config.author = author.to_owned();
        let image = Image::assemble(config, Vec::new(), BTreeMap::new()).unwrap();
        store.put_bytes(&image.config_bytes).unwrap();
        store.put_bytes(&image.manifest_bytes).unwrap();
        let descriptor = image.descriptor(None);
        let target = BlobDescriptor {
            media_type: descriptor.media_type().to_string(),
            digest: image.digest.clone(),
            size_bytes: descriptor.size(),
        };
        for tag in tags {
            let reference = Reference::parse(tag).unwrap().or_latest();
            store.tag(&reference.to_string(), &target, 0).unwrap();
        }
        image
    }

    #[test]
    fn images_are_found_by_name_id_and_digest() {
        let test = store();
        let app = image(&test.store, "a", &["app:1", "registry.example.com/app:1"]);
        image(&test.store, "b", &["base"]);
        let nameless = image(&test.store, "c", &[]);
        let id = app.config_digest.to_string();
        let by_digest = format!("app@{}", app.digest);
        for name in ["app:1", "docker.io/library/app:1", &id, &id[7..], &id[7..19], &id[..19], &by_digest] {
            let found = find(&test.store, name).unwrap();
            assert_eq!(found.image().config_digest, app.config_digest, "{name}");
            assert_eq!(found.references.len(), 2);
        }
        for name in [nameless.digest.to_string(), nameless.config_digest.short().to_owned()] {
            let found = find(&test.store, &name).unwrap();
            assert_eq!((found.target.digest, found.references), (nameless.digest.clone(), Vec::new()), "{name}");
        }
        assert!(find(&test.store, &format!("other@{}", app.digest)).is_err());
        assert_eq!(all(&test.store, |error| panic!("{error}")).unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_there_gets_a_hint() {
        let test = store();
        image(&test.store, "a", &["myapp:1.0", "myapp:1.1", "base"]);
        let shown = |name: &str| find(&test.store, name).unwrap_err().render(bake::ui::colour::Colour::Plain);
        assert!(shown("myapp").contains("no such image: myapp\nhint: `myapp` is there with these tags: 1.0, 1.1"));
        assert!(shown("bsae").contains("did you mean `base`?"), "{}", shown("bsae"));
        assert!(!shown("something-else").contains("hint"));
        assert!(shown("registry.example.com/other:1").contains("unless `--load` is given"));
        assert!(shown("Not A Name").contains("no such image"));
    }
}
