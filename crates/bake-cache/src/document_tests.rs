#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use bake_solver::{Answer, Asked, Question, Trace};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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
        copied: None,
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
        traces: Vec::new(),
    };
    (result, entry)
}

fn trace(paths: &[&str]) -> Trace {
    let question = |path: &&str| Question { slot: 0, path: path.as_bytes().to_vec(), asked: Asked::Node };
    Trace::new(paths.iter().map(|path| (question(path), Answer::Absent)).collect())
}

fn traced(name: &str, traces: &[(&str, Trace)]) -> (StepResult, LayerEntry) {
    let (result, entry) = result(name, 1);
    let traces = traces.iter().map(|(outer, trace)| TraceEntry::new(CacheKey::of(outer.as_bytes()), trace)).collect();
    (StepResult { traces, ..result }, entry)
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
fn traces_go_with_their_results() {
    let (one, other) = (trace(&["package.json", "missing"]), trace(&["src"]));
    let results = [
        traced("b", &[("outer b", other.clone()), ("outer b", one.clone())]),
        traced("a", &[("outer a", one.clone()), ("outer a", one.clone()), ("outer b", other.clone())]),
    ];
    let document = Document::new(&results, Vec::new());
    let mut turned = results.clone();
    turned.reverse();
    turned[0].0.traces.reverse();
    assert_eq!(document.to_bytes().unwrap(), Document::new(&turned, Vec::new()).to_bytes().unwrap());
    let mut joined = document.clone();
    joined.append(Document::new(&[traced("c", &[("outer c", one.clone())])], Vec::new()));
    let read = Document::parse(&joined.to_bytes().unwrap()).unwrap();
    assert_eq!(read.traces.len(), 4);
    let of = |description: &str| {
        let record = read.records.iter().find(|record| record.description == description).unwrap();
        let traces = record.traces.iter().map(|position| &read.traces[*position]);
        let mut traces: Vec<_> = traces.map(|entry| (entry.outer, entry.trace().unwrap())).collect();
        traces.sort_by_key(|(outer, trace)| (*outer, trace.len()));
        traces
    };
    let key = |name: &str| CacheKey::of(name.as_bytes());
    let mut expected = vec![(key("outer a"), one.clone()), (key("outer b"), other.clone())];
    expected.sort_by_key(|(outer, trace)| (*outer, trace.len()));
    assert_eq!(of("RUN a"), expected);
    assert_eq!(of("RUN b"), [(key("outer b"), other), (key("outer b"), one.clone())]);
    assert_eq!(of("RUN c"), [(key("outer c"), one)]);
}

#[test]
fn documents_of_before_and_after_are_read() {
    let whole = |value: &serde_json::Value| Document::parse(&serde_json::to_vec(value).unwrap());
    let document = Document::new(&[traced("a", &[("outer", trace(&["x"]))])], Vec::new());
    let mut value = serde_json::to_value(&document).unwrap();
    // A later version writes traces in another form: as if there were none.
    value["traces"][0]["trace"] = "Ag==".into();
    let read = whole(&value).unwrap();
    assert_eq!((read.records[0].traces.as_slice(), read.traces[0].trace()), (&[0][..], None));
    // An earlier one knows of none.
    value.as_object_mut().unwrap().remove("traces");
    assert!(whole(&value).is_err());
    value["records"][0].as_object_mut().unwrap().remove("traces");
    assert_eq!(whole(&value).unwrap().records[0].traces, Vec::<usize>::new());
    // Without traces a document has the bytes that it always had.
    let bytes = Document::new(&[result("a", 1)], Vec::new()).to_bytes().unwrap();
    assert!(!String::from_utf8(bytes).unwrap().contains("traces"));
}

#[test]
fn hostile_traces_lead_nowhere() {
    let changed = |change: fn(&mut serde_json::Value)| {
        let document = Document::new(&[traced("a", &[("outer", trace(&["x"]))])], Vec::new());
        let mut value = serde_json::to_value(&document).unwrap();
        change(&mut value);
        Document::parse(&serde_json::to_vec(&value).unwrap())
    };
    assert!(changed(|_| {}).is_ok());
    let refused: [fn(&mut serde_json::Value); 7] = [
        |value| value["heavy"] = serde_json::json!(["xyz"]),
        |value| value["traces"][0]["outer"] = "xyz".into(),
        |value| value["traces"][0]["trace"] = serde_json::json!([1, 2]),
        |value| value["traces"][0]["trace"] = "A".repeat((2 << 20) + 4).into(),
        |value| value["records"][0]["traces"] = serde_json::json!([1]),
        |value| value["records"][0]["traces"] = serde_json::json!([-1]),
        |value| value["records"][0]["traces"] = vec![0; 17].into(),
    ];
    for (number, change) in refused.into_iter().enumerate() {
        assert!(changed(change).is_err(), "change {number}");
    }
    let entry = TraceEntry::new(CacheKey::of(b"outer"), &trace(&["x"]));
    let many = Document { traces: vec![entry.clone(); 100_001], ..Document::new(&[], Vec::new()) };
    assert!(many.to_bytes().is_err());
    let many = Document { heavy: vec![entry.outer; 100_001], ..Document::new(&[], Vec::new()) };
    assert!(many.to_bytes().is_err());
    // What is no base64, is cut short, or leaves its slot, is no trace; the rest of the document is of use.
    let outside = STANDARD.encode([&[1, 1, 0, 0, 2][..], b"..", &[0]].concat());
    for text in ["", "=", "%%%%", "AQ==", "AQH/", &outside] {
        let document = Document::new(&[traced("a", &[("outer", trace(&["x"]))])], Vec::new());
        let mut value = serde_json::to_value(&document).unwrap();
        value["traces"][0]["trace"] = text.into();
        let read = Document::parse(&serde_json::to_vec(&value).unwrap()).unwrap();
        assert_eq!(read.traces[0].trace(), None, "{text}");
    }
    // The same one many times is one.
    let twice = changed(|value| value["traces"] = vec![value["traces"][0].clone(); 1000].into()).unwrap();
    assert_eq!(twice.traces.len(), 1000);
}

#[test]
fn of_too_many_traces_the_long_ones_are_left_out() {
    let long = |number: usize| {
        let paths: Vec<String> = (0..500).map(|path| format!("{path:05}/{number:02400}")).collect();
        trace(&paths.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut traces: Vec<(&str, Trace)> = (0..16).map(|number| ("outer", long(number))).collect();
    traces.push(("outer", trace(&["short"])));
    let one = TraceEntry::new(CacheKey::of(b"outer"), &long(0));
    let size = serde_json::to_vec(&one).unwrap().len();
    assert!((1 << 20..2 << 20).contains(&size), "{size}");
    let results: Vec<_> =
        traces.chunks(6).enumerate().map(|(number, traces)| traced(&number.to_string(), traces)).collect();
    let document = Document::new(&results, Vec::new());
    let texts: usize = document.traces.iter().map(|entry| serde_json::to_vec(entry).unwrap().len()).sum();
    assert!(texts < 17 << 20, "{texts}");
    assert!(document.traces.len() < traces.len());
    assert!(document.traces.contains(&TraceEntry::new(CacheKey::of(b"outer"), &trace(&["short"]))));
    assert!(document.to_bytes().is_ok());
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
