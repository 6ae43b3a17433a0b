//! Validation finds every kind of damage, and nothing in sound images.

use std::collections::BTreeMap;

use bake_oci::layer::entry::EntryKind;
use bake_oci::{
    Compression, Depth, Descriptor, Digest, Entry, Image, ImageConfig, ImageLayer, MemoryBlobStore, Platform,
    validate_image,
};

use super::support::{add_image, add_layer, file, index, layer_archive, sample};

fn problems(descriptor: &Descriptor, store: &MemoryBlobStore, depth: Depth) -> String {
    match validate_image(descriptor, store, depth) {
        Ok(()) => String::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn sound_images_have_no_problems() {
    let store = MemoryBlobStore::new();
    let image = sample(&store, "linux/amd64");
    assert_eq!(problems(&image.descriptor(None), &store, Depth::Full), "");
    let index = index(&store, &["linux/amd64", "linux/arm/v6", "linux/arm64"]);
    assert_eq!(problems(&index, &store, Depth::Full), "");
    let empty = add_image(&store, "linux/amd64", Vec::new());
    assert_eq!(problems(&empty.descriptor(None), &store, Depth::Full), "");
}

#[test]
fn damage_is_found() {
    let damaged = |damage: fn(&MemoryBlobStore, &Image, &[Digest]), depth| {
        let store = MemoryBlobStore::new();
        let image = sample(&store, "linux/amd64");
        let layers: Vec<Digest> =
            image.layers.iter().map(|layer| layer.descriptor.digest().to_string().parse().unwrap()).collect();
        damage(&store, &image, &layers);
        problems(&image.descriptor(None), &store, depth)
    };
    let text = damaged(|store, _, layers| store.remove(&layers[1]), Depth::Quick);
    assert!(text.contains("layer 1 (") && text.contains("it is missing"), "{text}");
    let text = damaged(|store, image, _| store.remove(&image.config_digest), Depth::Quick);
    assert!(text.contains("config sha256:"), "{text}");
    let text = damaged(|store, image, _| store.remove(&image.digest), Depth::Quick);
    assert!(text.contains("manifest sha256:"), "{text}");
    let text = damaged(|store, _, layers| store.insert_unverified(layers[0].clone(), b"short"), Depth::Quick);
    assert!(text.contains("it has 5 bytes, its descriptor announces"), "{text}");
    let flip = |store: &MemoryBlobStore, image: &Image, layers: &[Digest]| {
        for (layer, digest) in image.layers.iter().zip(layers) {
            let size = usize::try_from(layer.descriptor.size()).unwrap();
            store.insert_unverified(digest.clone(), &vec![0; size]);
        }
    };
    assert_eq!(damaged(flip, Depth::Quick), "", "the content of layers is not read");
    let text = damaged(flip, Depth::Full);
    assert_eq!(text.lines().filter(|line| line.starts_with("layer ")).count(), 5, "{text}");
    let text = damaged(
        |store, image, _| {
            let mut bytes = image.config_bytes.clone();
            let place = bytes.len() / 2;
            bytes[place] ^= 1;
            store.insert_unverified(image.config_digest.clone(), &bytes);
        },
        Depth::Quick,
    );
    assert!(text.contains("has digest"), "{text}");
}

#[test]
fn contradictions_are_found() {
    let store = MemoryBlobStore::new();
    let one = add_layer(&store, &layer_archive(&[file("a", b"a")]), Compression::GZIP);
    let two = add_layer(&store, &layer_archive(&[file("b", b"b")]), Compression::ZSTD);
    // The diff IDs of the layers in the wrong order.
    let swapped = vec![
        ImageLayer { diff_id: two.diff_id.clone(), descriptor: one.descriptor.clone() },
        ImageLayer { diff_id: one.diff_id.clone(), descriptor: two.descriptor.clone() },
    ];
    let image = add_image(&store, "linux/amd64", swapped);
    assert_eq!(problems(&image.descriptor(None), &store, Depth::Quick), "");
    let text = problems(&image.descriptor(None), &store, Depth::Full);
    assert_eq!(text.matches("the config's diff ID is").count(), 2, "{text}");
    // A config with fewer diff IDs than the manifest has layers.
    let mut image = add_image(&store, "linux/amd64", vec![one.clone()]);
    image.manifest.set_layers(vec![one.descriptor.clone(), two.descriptor.clone()]);
    let bytes = bake_oci::manifest::manifest_bytes(&image.manifest).unwrap();
    let digest = store.insert(&bytes);
    let descriptor = bake_oci::manifest::descriptor(bake_oci::media_type::OCI_MANIFEST, &digest, bytes.len() as u64);
    let text = problems(&descriptor, &store, Depth::Full);
    assert!(text.contains("it has 1 diff IDs, the manifest has 2 layers"), "{text}");
    assert!(text.contains("its history has 1 entries"), "{text}");
    // A layer announced in another compression.
    let mut wrong = one.clone();
    wrong.descriptor.set_media_type(bake_oci::media_type::OCI_LAYER_ZSTD.into());
    let image = add_image(&store, "linux/amd64", vec![wrong]);
    let text = problems(&image.descriptor(None), &store, Depth::Full);
    assert!(text.contains("is compressed as `application/vnd.oci.image.layer.v1.tar+gzip`"), "{text}");
    // An index that lies about the platform.
    let image = add_image(&store, "linux/amd64", vec![one]);
    let entry = image.descriptor(Some(&Platform::parse("linux/arm64").unwrap()));
    let index = bake_oci::assemble_index(bake_oci::media_type::Family::Oci, vec![entry], BTreeMap::new()).unwrap();
    store.insert(&index.bytes);
    let text = problems(&index.descriptor(), &store, Depth::Quick);
    assert!(text.contains("it is for linux/amd64, the index says linux/arm64"), "{text}");
    // No platform at all.
    let image = Image::assemble(ImageConfig::default(), Vec::new(), BTreeMap::new()).unwrap();
    store.insert(&image.config_bytes);
    store.insert(&image.manifest_bytes);
    assert!(problems(&image.descriptor(None), &store, Depth::Quick).contains("for which platform"));
}

#[test]
fn what_engines_would_stumble_over_is_found() {
    let with_xattr = {
        let mut entry = Entry::new("d", EntryKind::Directory, 0o755);
        entry.xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
        entry
    };
    let hard_link = |path: &str, target: &str| {
        (Entry::new(path, EntryKind::HardLink { target: target.as_bytes().to_vec() }, 0o644), b"".as_slice())
    };
    for (archive, part) in [
        (layer_archive(&[(with_xattr, b"")]), "overlayfs's own"),
        (
            layer_archive(&[(Entry::new("c", EntryKind::CharacterDevice { major: 0, minor: 0 }, 0), b"")]),
            "would be taken for a whiteout",
        ),
        (layer_archive(&[(Entry::new(".wh.x", EntryKind::Directory, 0o755), b"")]), "must be an empty file"),
        (layer_archive(&[file(".wh.x", b"content")]), "must be an empty file"),
        (layer_archive(&[hard_link("l", "f"), file("f", b"")]), "comes before it"),
        (layer_archive(&[hard_link("l", "l")]), "to itself"),
        (b"not a tar archive".to_vec(), "cut off"),
    ] {
        let store = MemoryBlobStore::new();
        let layer = add_layer(&store, &archive, Compression::GZIP);
        let image = add_image(&store, "linux/amd64", vec![layer]);
        let text = problems(&image.descriptor(None), &store, Depth::Full);
        assert!(text.contains(part), "{part}: {text}");
    }
    // A link to a file of a lower layer is fine, and so is a whiteout.
    let store = MemoryBlobStore::new();
    let archive = layer_archive(&[hard_link("l", "lower"), file(".wh.x", b""), file("d/.wh..wh..opq", b"")]);
    let layer = add_layer(&store, &archive, Compression::GZIP);
    let image = add_image(&store, "linux/amd64", vec![layer]);
    assert_eq!(problems(&image.descriptor(None), &store, Depth::Full), "");
}
