//! Archives: what is written is read back into another store, old formats are read, hostile ones refused.

use std::io::{Read, Write};

use bake_oci::layout::{LAYOUT_BYTES, blob_path, layout_index};
use bake_oci::{
    ArchiveError, BlobStore, Compression, Depth, Digest, Entry, EntryKind, ExpansionLimits, MemoryBlobStore,
    read_archive, read_layout_of, validate_image, write_docker_archive, write_oci_layout,
};

use super::support::{add_image, add_layer, file, index, layer_archive, named, plain_sample, sample};

fn load(archive: &[u8]) -> (Result<Vec<bake_oci::LoadedImage>, ArchiveError>, MemoryBlobStore) {
    let store = MemoryBlobStore::new();
    (read_archive(archive, &store, ExpansionLimits::default()), store)
}

#[test]
fn layouts_and_docker_archives_round_trip() {
    let store = MemoryBlobStore::new();
    let image = sample(&store, "linux/amd64");
    let other = sample(&store, "linux/arm64");
    let images = [
        named(image.descriptor(None), &["app:1", "registry.example:5000/team/app"]),
        named(other.descriptor(None), &[]),
    ];
    for write in [write_oci_layout::<Vec<u8>>, write_docker_archive::<Vec<u8>>] {
        let archive = write(&images, &store, Vec::new()).unwrap();
        assert_eq!(archive, write(&images, &store, Vec::new()).unwrap(), "equal images give equal archives");
        let (loaded, into) = load(&archive);
        let loaded = loaded.unwrap();
        assert_eq!(loaded.len(), 2);
        let names: Vec<String> = loaded[0].names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["docker.io/library/app:1", "registry.example:5000/team/app:latest"]);
        assert!(loaded[1].names.is_empty());
        assert_eq!(loaded[0].descriptor.digest().to_string(), image.digest.to_string());
        for image in &loaded {
            validate_image(&image.descriptor, &into, Depth::Full).unwrap();
        }
        assert_eq!(into.list().unwrap(), store.list().unwrap());
    }
}

#[test]
fn an_index_is_kept_with_what_is_there() {
    let store = MemoryBlobStore::new();
    let descriptor = index(&store, &["linux/amd64", "linux/arm64"]);
    let images = [named(descriptor.clone(), &["app"])];
    let (loaded, into) = load(&write_docker_archive(&images, &store, Vec::new()).unwrap());
    assert_eq!(loaded.unwrap()[0].descriptor.digest(), descriptor.digest());
    validate_image(&descriptor, &into, Depth::Full).unwrap();
    // A platform that was never pulled is left out; with none left it is an error.
    let pulled = sample(&store, "linux/amd64");
    store.remove(&sample(&MemoryBlobStore::new(), "linux/arm64").digest);
    let (loaded, into) = load(&write_docker_archive(&images, &store, Vec::new()).unwrap());
    assert_eq!(loaded.unwrap().len(), 1);
    assert!(into.stat(&pulled.digest).unwrap().is_some());
    store.remove(&pulled.digest);
    assert!(matches!(write_oci_layout(&images, &store, Vec::new()), Err(ArchiveError::MissingBlob(_))));
}

#[test]
fn missing_blobs_are_told_before_and_after() {
    let store = MemoryBlobStore::new();
    let image = sample(&store, "linux/amd64");
    let images = [named(image.descriptor(None), &["app"])];
    let archive = write_oci_layout(&images, &store, Vec::new()).unwrap();
    let layer: Digest = image.layers[0].descriptor.digest().to_string().parse().unwrap();
    store.remove(&layer);
    let error = write_oci_layout(&images, &store, Vec::new()).unwrap_err();
    assert!(error.to_string().contains(&layer.to_string()), "{error}");
    // The same archive without that blob.
    let path = blob_path(&layer);
    let mut thinner = bake_oci::LayerWriter::new(Vec::new());
    let mut reader = bake_oci::LayerReader::new(archive.as_slice());
    while let Some(mut entry) = reader.next_entry().unwrap() {
        let header = entry.entry.clone();
        if header.path != path.as_bytes() {
            let is_file = matches!(header.kind, EntryKind::File { .. });
            thinner.append(&header, if is_file { Some(&mut entry) } else { None }).unwrap();
        }
    }
    let error = load(&thinner.finish().unwrap()).0.unwrap_err();
    assert!(error.to_string().contains(&layer.to_string()), "{error}");
}

#[test]
fn compressed_archives_are_read() {
    let store = MemoryBlobStore::new();
    let image = plain_sample(&store);
    let archive = write_docker_archive(&[named(image.descriptor(None), &["app"])], &store, Vec::new()).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&archive).unwrap();
    assert_eq!(load(&encoder.finish().unwrap()).0.unwrap().len(), 1);
}

/// The archive `docker save` wrote before version 25: configs and layers by image IDs, repeated layers as links.
#[test]
fn old_docker_archives_are_read() {
    let store = MemoryBlobStore::new();
    let layer = layer_archive(&[file("a", b"a")]);
    let layers = (0..2).map(|_| add_layer(&store, &layer, Compression::Uncompressed)).collect();
    let image = add_image(&store, "linux/amd64", layers);
    let config = String::from_utf8(image.config_bytes.clone()).unwrap().replace("COPY 1", "COPY  1");
    let link = |target: &str| EntryKind::Symlink { target: target.as_bytes().to_vec() };
    let manifest =
        r#"[{"Config":"abc.json","RepoTags":["app:1","other:2"],"Layers":["one/layer.tar","two/layer.tar"]}]"#;
    let archive = layer_archive(&[
        file("abc.json", config.as_bytes()),
        file("one/layer.tar", &layer),
        (Entry::new("two/layer.tar", link("../one/layer.tar"), 0o777), b""),
        file("one/VERSION", b"1.0"),
        file("manifest.json", manifest.as_bytes()),
        file("repositories", b"{}"),
    ]);
    let (loaded, into) = load(&archive);
    let loaded = loaded.unwrap();
    assert_eq!(loaded[0].names.len(), 2);
    validate_image(&loaded[0].descriptor, &into, Depth::Full).unwrap();
    let digest: Digest = loaded[0].descriptor.digest().to_string().parse().unwrap();
    let bytes = bake_oci::blob::read_blob(&into, &digest, 1 << 20).unwrap();
    let document = bake_oci::Document::parse(&bytes, None).unwrap();
    let bake_oci::Document::Manifest(manifest) = document else { panic!("not a manifest") };
    let config_digest = Digest::of(config.as_bytes()).to_string();
    assert_eq!(manifest.config().digest().to_string(), config_digest, "the image ID stays");
}

#[test]
fn hostile_archives_are_refused() {
    let store = MemoryBlobStore::new();
    let image = plain_sample(&store);
    let config = image.config_bytes.as_slice();
    let digest = Digest::of(b"x");
    let link = |target: &str| EntryKind::Symlink { target: target.as_bytes().to_vec() };
    let docker = |manifest: &str, more: &[(Entry, &[u8])]| {
        let mut entries = vec![file("c.json", config), file("manifest.json", manifest.as_bytes())];
        entries.extend(more.to_vec());
        layer_archive(&entries)
    };
    let two_layers = r#"[{"Config":"c.json","Layers":["l.tar","m.tar"]}]"#;
    let layout =
        |index: &str, marker: &[u8]| layer_archive(&[file("index.json", index.as_bytes()), file("oci-layout", marker)]);
    let blob = |content: &str| {
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":{}}}"#,
            bake_oci::media_type::OCI_MANIFEST,
            Digest::of(content.as_bytes()),
            content.len()
        )
    };
    for (what, archive) in [
        ("nothing", layer_archive(&[])),
        ("a layer", layer_archive(&[file("etc/passwd", b"root")])),
        ("a layout without images", layout(r#"{"schemaVersion":2,"manifests":[]}"#, LAYOUT_BYTES)),
        ("another layout version", layout(r#"{"schemaVersion":2,"manifests":[]}"#, br#"{"imageLayoutVersion":"2"}"#)),
        (
            "a missing manifest",
            layout(&format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, blob("gone")), LAYOUT_BYTES),
        ),
        ("a manifest as index.json", layout(&String::from_utf8_lossy(&image.manifest_bytes), LAYOUT_BYTES)),
        ("a blob of other content", layer_archive(&[file(&blob_path(&digest), b"y")])),
        ("a blob that is a link", layer_archive(&[(Entry::new(blob_path(&digest), link("/etc/passwd"), 0o777), b"")])),
        ("a blob that is no digest", layer_archive(&[file("blobs/sha256/x", b"x")])),
        ("an image without layers", docker(r#"[{"Config":"c.json","Layers":[]}]"#, &[])),
        ("layers of other content", docker(two_layers, &[file("l.tar", b"x"), file("m.tar", b"y")])),
        ("a missing layer", docker(two_layers, &[file("l.tar", b"x")])),
        ("a name outside", docker(r#"[{"Config":"../c.json"}]"#, &[])),
        ("a link outside", docker(r#"[{"Config":"d"}]"#, &[(Entry::new("d", link("../../c.json"), 0o777), b"")])),
        ("links in a circle", docker(r#"[{"Config":"d"}]"#, &[(Entry::new("d", link("d"), 0o777), b"")])),
        ("no images", docker("[]", &[])),
        ("not JSON", docker("[", &[])),
    ] {
        assert!(load(&archive).0.is_err(), "{what}");
    }
    let (result, into) = load(&layer_archive(&[file(&blob_path(&digest), b"y")]));
    assert!(result.is_err() && into.list().unwrap().is_empty(), "a wrong blob is not kept");
}

#[test]
fn layouts_are_read_without_an_archive() {
    let from = MemoryBlobStore::new();
    let both = index(&from, &["linux/amd64", "linux/arm64"]);
    let other = plain_sample(&from).descriptor(None);
    let listed = layout_index(&[named(both.clone(), &["app:1"]), named(other.clone(), &["other:2"])]).unwrap();
    let open = |digest: &Digest| from.get(digest).map_err(std::io::Error::other);
    let read = |wanted: &dyn Fn(&bake_oci::Descriptor) -> bool, into: &MemoryBlobStore| {
        read_layout_of(LAYOUT_BYTES.to_vec(), &listed, &open, wanted, into)
    };
    let into = MemoryBlobStore::new();
    let images = read(&|_| true, &into).unwrap();
    assert_eq!(images.iter().map(|image| image.names[0].familiar()).collect::<Vec<_>>(), ["app:1", "other:2"]);
    assert_eq!(into.list().unwrap(), from.list().unwrap());
    // Only what is wanted is read.
    let into = MemoryBlobStore::new();
    assert_eq!(read(&|descriptor| descriptor.digest() == other.digest(), &into).unwrap().len(), 1);
    assert!(into.stat(&both.digest().to_string().parse().unwrap()).unwrap().is_none());
    assert!(matches!(read(&|_| false, &into), Err(ArchiveError::Empty)));
    // Other bytes than announced.
    let lying =
        |digest: &Digest| Ok(from.get(digest).unwrap().map(|_| Box::new(&b"other"[..]) as Box<dyn Read + Send>));
    let into = MemoryBlobStore::new();
    let error = read_layout_of(LAYOUT_BYTES.to_vec(), &listed, &lying, &|_| true, &into).unwrap_err();
    assert!(matches!(error, ArchiveError::Blob(_)), "{error}");
    assert_eq!(into.list().unwrap(), []);
    // A platform that is missing is left out, a layer is not.
    let arm = sample(&MemoryBlobStore::new(), "linux/arm64");
    from.remove(&arm.digest);
    assert_eq!(read(&|_| true, &MemoryBlobStore::new()).unwrap().len(), 2);
    from.remove(&sample(&MemoryBlobStore::new(), "linux/amd64").config_digest);
    assert!(matches!(read(&|_| true, &MemoryBlobStore::new()), Err(ArchiveError::MissingBlob(_))));
}
