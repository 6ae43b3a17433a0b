#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use super::*;

fn entry(name: &str, created: i64) -> LayerEntry {
    LayerEntry {
        diff_id: DiffId(Digest::of(name.as_bytes())),
        tar_size: 1024,
        tree: TreeDigest::of(name.as_bytes()),
        created,
        blob: BlobEntry {
            media_type: media_type::OCI_LAYER_GZIP.to_owned(),
            digest: Digest::of(format!("{name} compressed").as_bytes()),
            size: 100,
        },
        compression: Some("gzip-4".to_owned()),
    }
}

fn result(name: &str, created: i64) -> (StepResult, LayerEntry) {
    let entry = entry(name, created);
    let result = StepResult {
        layer: entry.layer(),
        keys: vec![CacheKey::of(format!("{name} quick").as_bytes()), CacheKey::of(name.as_bytes())],
        definition: DefinitionDigest::of(name.as_bytes()),
        description: format!("RUN {name}"),
        components: vec![Component::new("op", "run")],
    };
    (result, entry)
}

fn mount(id: &str) -> MountEntry {
    MountEntry { id: id.to_owned(), mode: 0o755, uid: 0, gid: 0, blob: entry(id, 0).blob }
}

#[test]
fn it_is_read_as_it_was_written_whatever_the_order() {
    let one = Document::new(&[result("a", 1), result("b", 2)], vec![mount("x"), mount("\0y")]);
    let other = Document::new(&[result("b", 2), result("a", 1), result("a", 1)], vec![mount("\0y"), mount("x")]);
    let bytes = one.to_bytes().unwrap();
    assert_eq!(bytes, other.to_bytes().unwrap());
    let read = Document::parse(&bytes).unwrap();
    assert_eq!(read, one);
    assert_eq!((read.layers.len(), read.records.len(), read.mounts.len()), (2, 2, 2));
    assert_eq!(read.blobs().len(), 4);
    for record in &read.records {
        let name = record.description.strip_prefix("RUN ").unwrap();
        assert_eq!(read.layers[record.layer].tree, TreeDigest::of(name.as_bytes()));
    }
}

#[test]
fn equal_archives_of_different_times_stay_apart() {
    let mut later = result("a", 2);
    later.0.keys = vec![CacheKey::of(b"another")];
    let document = Document::new(&[result("a", 1), later], Vec::new());
    assert_eq!(document.layers.len(), 2);
    assert_ne!(document.layers[0].snapshot(), document.layers[1].snapshot());
    assert_eq!(document.blobs().len(), 1);
}

#[test]
fn an_imported_layer_is_named_as_a_steps_layer() {
    let layer = entry("a", 5).layer();
    assert!(layer.snapshot.as_str().starts_with("step-"));
    assert_eq!(layer.created_ns, Some(5));
}

#[test]
fn documents_of_several_images_are_joined() {
    let mut joined = Document::new(&[result("a", 1)], Vec::new());
    joined.append(Document::new(&[result("b", 2)], Vec::new()));
    let read = Document::parse(&joined.to_bytes().unwrap()).unwrap();
    assert_eq!(read.layers[read.records[1].layer].tree, TreeDigest::of(b"b"));
}

/// Changes one value of a good document.
fn changed(change: impl FnOnce(&mut serde_json::Value)) -> Result<Document, DocumentError> {
    let document = Document::new(&[result("a", 1)], vec![mount("x")]);
    let mut value = serde_json::to_value(&document).unwrap();
    change(&mut value);
    Document::parse(&serde_json::to_vec(&value).unwrap())
}

#[test]
fn hostile_documents_are_refused() {
    assert!(changed(|_| {}).is_ok());
    assert!(changed(|value| value["unheard of"] = 1.into()).is_ok());
    assert!(matches!(changed(|value| value["version"] = 2.into()), Err(DocumentError::Version(2))));
    let wrong: [fn(&mut serde_json::Value); 14] = [
        |value| value["version"] = serde_json::Value::Null,
        |value| value["version"] = (-1).into(),
        |value| value["layers"][0]["diffId"] = "sha256:../../etc".into(),
        |value| value["layers"][0]["tree"] = "xyz".into(),
        |value| value["layers"][0]["blob"]["digest"] = "md5:d41d8cd98f00b204e9800998ecf8427e".into(),
        |value| value["layers"][0]["blob"]["size"] = u64::MAX.into(),
        |value| value["layers"][0]["blob"]["mediaType"] = "text/html".into(),
        |value| value["layers"][0]["tarSize"] = u64::MAX.into(),
        |value| value["layers"][0]["compression"] = "x".repeat(65).into(),
        |value| value["records"][0]["layer"] = 1.into(),
        |value| value["records"][0]["keys"] = serde_json::json!([]),
        |value| value["records"][0]["description"] = "x".repeat(TEXT_BYTES_MAX + 1).into(),
        |value| value["mounts"][0]["id"] = "".into(),
        |value| value["mounts"][0]["mode"] = 0o10_000.into(),
    ];
    for (number, change) in wrong.into_iter().enumerate() {
        assert!(changed(change).is_err(), "change {number}");
    }
    for bytes in [b"".as_slice(), b"{", b"[]", b"null", b"{\"version\":1,\"layers\":{}}", &vec![b'['; 100_000]] {
        assert!(Document::parse(bytes).is_err());
    }
}

#[test]
fn build_arguments_are_not_told() {
    let mut secretive = result("a", 1);
    secretive.0.components.push(Component::new("env TOKEN", "confidential"));
    let bytes = Document::new(&[secretive], Vec::new()).to_bytes().unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("env TOKEN") && !text.contains("confidential"), "{text}");
}

#[test]
fn an_empty_document_is_one() {
    let document = Document::new(&[], Vec::new());
    assert_eq!(Document::parse(&document.to_bytes().unwrap()).unwrap(), document);
}
