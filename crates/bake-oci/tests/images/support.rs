//! Small images in a store in memory.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroUsize;

use bake_oci::layout::ArchiveImage;
use bake_oci::{
    BlobStore, BlobWriter, Compression, Descriptor, Entry, EntryKind, History, Image, ImageConfig, ImageLayer,
    LayerWriter, MemoryBlobStore, Platform, Reference, Timestamp, assemble_index,
};

/// A layer archive with these files.
pub(crate) fn layer_archive(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new());
    for (entry, content) in entries {
        let mut reader = *content;
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        writer.append(entry, if is_file { Some(&mut reader) } else { None }).unwrap();
    }
    writer.finish().unwrap()
}

pub(crate) fn file<'a>(path: &str, content: &'a [u8]) -> (Entry, &'a [u8]) {
    (Entry::new(path, EntryKind::File { size: content.len() as u64 }, 0o644), content)
}

/// Puts a layer into the store.
pub(crate) fn add_layer(store: &MemoryBlobStore, archive: &[u8], compression: Compression) -> ImageLayer {
    let mut writer = BlobWriter::new(Vec::new(), compression, NonZeroUsize::MIN);
    writer.write_all(archive).unwrap();
    let (layer, bytes) = writer.finish().unwrap();
    store.put(Some(&layer.digest), &mut bytes.as_slice()).unwrap();
    ImageLayer::from(&layer)
}

/// Puts an image of these layers into the store.
pub(crate) fn add_image(store: &MemoryBlobStore, platform: &str, layers: Vec<ImageLayer>) -> Image {
    let mut config = ImageConfig::for_platform(&Platform::parse(platform).unwrap());
    config.created = Some("2024-01-02T03:04:05Z".to_owned());
    config.config.cmd = vec!["/bin/sh".to_owned()];
    let step = |number: usize| History { created_by: format!("COPY {number} /"), ..History::default() };
    config.history = (0..layers.len()).map(step).collect();
    let image = Image::assemble(config, layers, BTreeMap::new()).unwrap();
    store.insert(&image.config_bytes);
    store.insert(&image.manifest_bytes);
    image
}

/// An image with three layers, one in each compression.
pub(crate) fn sample(store: &MemoryBlobStore, platform: &str) -> Image {
    let layers = [Compression::GZIP, Compression::Uncompressed, Compression::ZSTD]
        .into_iter()
        .enumerate()
        .map(|(number, compression)| {
            let content = format!("layer {number} for {platform}");
            let archive = layer_archive(&[
                (Entry::new("etc", EntryKind::Directory, 0o755), b""),
                file(&format!("etc/{number}"), content.as_bytes()),
            ]);
            add_layer(store, &archive, compression)
        })
        .collect();
    add_image(store, platform, layers)
}

/// An image every program can load: gzip layers only.
pub(crate) fn plain_sample(store: &MemoryBlobStore) -> Image {
    let archives = [
        layer_archive(&[(Entry::new("bin", EntryKind::Directory, 0o755), b""), file("bin/a", b"a"), file("gone", b"")]),
        layer_archive(&[file(".wh.gone", b""), file("b", &[b'b'; 5000])]),
    ];
    let layers = archives.iter().map(|archive| add_layer(store, archive, Compression::GZIP)).collect();
    add_image(store, &Platform::host().to_string(), layers)
}

/// An index over images for these platforms.
pub(crate) fn index(store: &MemoryBlobStore, platforms: &[&str]) -> Descriptor {
    let entries = platforms
        .iter()
        .map(|platform| sample(store, platform).descriptor(Some(&Platform::parse(platform).unwrap())))
        .collect();
    let index = assemble_index(bake_oci::media_type::Family::Oci, entries, BTreeMap::new()).unwrap();
    store.insert(&index.bytes);
    index.descriptor()
}

pub(crate) fn named(descriptor: Descriptor, names: &[&str]) -> ArchiveImage {
    let names = names.iter().map(|name| Reference::parse(name).unwrap()).collect();
    ArchiveImage { descriptor, names, created: Some(Timestamp::from_seconds(1_704_164_645)) }
}
