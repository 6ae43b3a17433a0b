//! What steps asked travels with their results: through a directory, and through a registry.

use std::sync::Arc;

use bake_cache::{
    Backend, BlobEntry, Document, ImportSource, ImportingCache, Imports, LayerEntry, LocalBackend, RegistryBackend,
    StepResult, TraceEntry, UsedResults,
};
use bake_graph::Component;
use bake_oci::{CacheKey, DefinitionDigest, DiffId, Digest, Reference, SnapshotId, TreeDigest, media_type};
use bake_solver::{
    Answer, Asked, CacheStore, CopiedLayer, Layer, NewRecord, NodeAnswer, Notes, Question, StoredTrace, Trace,
};
use bake_store::{BlobDescriptor, SnapshotRecord};
use bake_testkit::registry::{Config, FakeRegistry};
use bake_worker::{ImportedLayers, Network, StoreCache};

use crate::Test;
use crate::support::{Place, quick};

pub(crate) const TESTS: &[Test] = &[
    ("traces_travel_through_a_directory", &[], through_a_directory),
    ("traces_travel_through_a_registry", &[], through_a_registry),
    ("traces_of_a_hostile_document_lead_nowhere", &[], hostile),
];

/// What a step asked: of a file, of one that is not there, and of a directory's names.
fn trace(content: u8) -> Trace {
    let question = |path: &str, asked| Question { slot: 0, path: path.into(), asked };
    let file = NodeAnswer {
        kind: b'f',
        mode: 0o644,
        uid: 0,
        gid: 0,
        size: 7,
        links: 1,
        attributes: [0; 32],
        content: [content; 32],
    };
    Trace::new(vec![
        (question("package.json", Asked::Node), Answer::Node(file)),
        (question("npm-shrinkwrap.json", Asked::Node), Answer::Absent),
        (question("", Asked::Names), Answer::Names([9; 32])),
    ])
}

fn outer() -> CacheKey {
    CacheKey::of(b"RUN npm ci")
}

fn whole_key() -> CacheKey {
    CacheKey::of(b"RUN npm ci over all files")
}

fn publish(place: &Place, snapshot: &SnapshotId, tree: TreeDigest) {
    let active = place.store.begin_snapshot().unwrap();
    let record = SnapshotRecord {
        id: snapshot.clone(),
        tree,
        diff_id: None,
        tar_size_bytes: None,
        size_bytes: 1,
        entries: 0,
        origin: "RUN npm ci".to_owned(),
    };
    place.store.publish_snapshot(active, record).unwrap();
}

/// What a build leaves that ran a step over copied files, and the blob of its layer.
fn ran(place: &Place) -> (UsedResults<StoreCache>, LayerEntry, BlobDescriptor) {
    let blob = BlobDescriptor { media_type: media_type::OCI_LAYER_GZIP.to_owned(), ..place.blob(5, 1000) };
    let entry = LayerEntry {
        diff_id: DiffId(Digest::of(b"layer")),
        tar_size: 2048,
        tree: TreeDigest::of(b"layer"),
        created: 17,
        blob: BlobEntry::from(&blob),
        copied: Some(CopiedLayer { attributes: true, links: false }),
        compression: None,
    };
    let layer = Layer { diff_id: None, tar_size_bytes: None, blob: None, ..entry.layer() };
    publish(place, &layer.snapshot, layer.tree);
    let cache = UsedResults::new(StoreCache::new(place.store.clone()));
    record(&cache, &layer, &[whole_key(), trace(1).key(&outer())]);
    cache.record_trace(&outer(), &trace(1)).unwrap();
    (cache, entry, blob)
}

fn record(cache: &dyn CacheStore, layer: &Layer, keys: &[CacheKey]) {
    let record = NewRecord {
        keys,
        definition: DefinitionDigest::of(b"npm ci"),
        description: "RUN npm ci".to_owned(),
        components: &[Component::new("op", "run")],
        notes: Notes::default(),
        layer,
    };
    cache.record(record).unwrap();
}

fn imports(place: &Place, backend: Arc<dyn Backend>) -> Arc<Imports> {
    let source = ImportSource { backend, registry: None };
    let imports = Imports::begin(place.store.clone(), vec![source], &place.cancelled);
    imports.wait();
    imports
}

fn no_imports(place: &Place) -> Arc<Imports> {
    Imports::begin(place.store.clone(), Vec::new(), &place.cancelled)
}

fn traces_of(results: &[StepResult]) -> Vec<(CacheKey, Trace)> {
    assert_eq!(results.len(), 1, "{results:?}");
    results[0].traces.iter().map(|entry| (entry.outer, entry.trace().unwrap())).collect()
}

fn through_a_directory() {
    travel(|place| {
        let _ = place;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let backend = move || -> Arc<dyn Backend> {
            let _kept = &directory;
            Arc::new(LocalBackend::new(path.clone(), "latest".to_owned(), None, false))
        };
        Box::new(backend)
    });
}

fn through_a_registry() {
    travel(|place| {
        let registry = FakeRegistry::start(Config::default()).unwrap();
        let cancelled = Arc::clone(&place.cancelled);
        let backend = move || -> Arc<dyn Backend> {
            let network = Arc::new(Network::new(|| Ok(quick())));
            let reference = Reference::parse(&format!("{}/app:cache", registry.host())).unwrap();
            Arc::new(RegistryBackend::new(network, reference, Arc::clone(&cancelled)))
        };
        Box::new(backend)
    });
}

type Backends = Box<dyn Fn() -> Arc<dyn Backend>>;

/// One machine exports, another one imports, uses and exports again.
fn travel(backends: impl Fn(&Place) -> Backends) {
    let here = Place::new();
    let backends = backends(&here);
    let (cache, entry, blob) = ran(&here);
    let results = cache.results(&here.store, &no_imports(&here)).unwrap();
    assert_eq!(traces_of(&results), [(outer(), trace(1))]);
    let heavy = [CacheKey::of(b"RUN grep -r")];
    let document = Document::new(&[(results[0].clone(), entry)], Vec::new()).with_heavy(heavy.into());
    let exported = document.to_bytes().unwrap();
    here.write(&*backends(), &exported, &[blob]).unwrap();

    // A build that finds the result by all of its files has no outer key, and exports the trace all the same.
    let again = UsedResults::new(StoreCache::new(here.store.clone()));
    assert!(again.lookup(&whole_key()).unwrap().is_some());
    assert_eq!(traces_of(&again.results(&here.store, &no_imports(&here)).unwrap()), [(outer(), trace(1))]);
    // So does one after a run in between with other answers to the same questions.
    again.record_trace(&outer(), &trace(2)).unwrap();
    assert_eq!(traces_of(&again.results(&here.store, &no_imports(&here)).unwrap()), [(outer(), trace(2))]);

    let there = Place::new();
    let imports = imports(&there, backends());
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let waiting = || {
        asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    };
    let local = StoreCache::new(there.store.clone());
    let cache = UsedResults::new(ImportingCache::new(local.clone(), Arc::clone(&imports), &waiting));
    assert_eq!(cache.traces(&CacheKey::of(b"another step")).unwrap(), []);
    assert_eq!(cache.traces(&outer()).unwrap(), [StoredTrace { trace: trace(1), made_unix_s: 0 }]);
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert!(cache.is_heavy(&heavy[0]).unwrap() && !local.is_heavy(&heavy[0]).unwrap());
    assert!(!cache.is_heavy(&outer()).unwrap());
    cache.note_heavy(&whole_key()).unwrap();
    assert!(local.is_heavy(&whole_key()).unwrap());
    assert_eq!(imports.heavy(), [heavy[0], whole_key()].into());
    let layer = cache.lookup(&trace(1).key(&outer())).unwrap().unwrap();
    assert_eq!(layer.copied, Some(CopiedLayer { attributes: true, links: false }));
    // As the solver does when it has found a result by what its step asked.
    let new_key = CacheKey::of(b"RUN npm ci over other files");
    record(&cache, &layer, &[new_key, trace(1).key(&outer())]);
    assert_eq!(traces_of(&cache.results(&there.store, &imports).unwrap()), [(outer(), trace(1))]);
    assert_eq!(local.traces(&outer()).unwrap(), []);
    publish(&there, &layer.snapshot, layer.tree);
    imports.arrived(&layer);
    assert_eq!(local.traces(&outer()).unwrap().len(), 1);
    assert_eq!(local.lookup(&trace(1).key(&outer())).unwrap().unwrap().copied, layer.copied);
    // Nothing is asked twice where both have it, and what was asked here goes before.
    local.record_trace(&outer(), &trace(3)).unwrap();
    let known = cache.traces(&outer()).unwrap();
    assert_eq!(known.iter().map(|stored| stored.trace.clone()).collect::<Vec<_>>(), [trace(3)]);
    // The same machine without the import.
    let again = UsedResults::new(local);
    assert!(again.lookup(&new_key).unwrap().is_some());
    assert_eq!(traces_of(&again.results(&there.store, &no_imports(&there)).unwrap()), [(outer(), trace(3))]);
}

fn hostile() {
    let here = Place::new();
    let (cache, entry, blob) = ran(&here);
    let mut result = cache.results(&here.store, &no_imports(&here)).unwrap().remove(0);
    // More lists of questions under one outer key than anybody evaluates.
    let many = |number: u32| {
        let question = Question { slot: 0, path: number.to_string().into_bytes(), asked: Asked::Node };
        Trace::new(vec![(question, Answer::Absent)])
    };
    let mut results = Vec::new();
    for part in 0..10 {
        result.traces = (0..16).map(|number| TraceEntry::new(outer(), &many(part * 16 + number))).collect();
        result.keys = vec![CacheKey::of(&part.to_le_bytes())];
        results.push((result.clone(), entry.clone()));
    }
    let document = Document::new(&results, Vec::new()).to_bytes().unwrap();
    let mut value: serde_json::Value = serde_json::from_slice(&document).unwrap();
    let traces = value["traces"].as_array_mut().unwrap();
    assert_eq!(traces.len(), 160);
    // One of them twice, one cut short, one of no form at all.
    traces[1] = traces[0].clone();
    traces[2]["trace"] = "AAAA".into();
    traces[3]["trace"] = "not base64".into();
    let directory = tempfile::tempdir().unwrap();
    let backend: Arc<dyn Backend> =
        Arc::new(LocalBackend::new(directory.path().to_owned(), "latest".to_owned(), None, false));
    here.write(&*backend, &serde_json::to_vec(&value).unwrap(), &[blob]).unwrap();

    let there = Place::new();
    let imports = imports(&there, backend);
    let local = StoreCache::new(there.store.clone());
    local.record_trace(&outer(), &trace(1)).unwrap();
    let cache = ImportingCache::new(local.clone(), Arc::clone(&imports), &|| {});
    let traces = cache.traces(&outer()).unwrap();
    // Of the document 16 are looked at, of which three are none.
    assert_eq!((traces.len(), &traces[0].trace), (14, &trace(1)));
    let mut questions: Vec<_> = traces.iter().map(|stored| stored.trace.questions()).collect();
    questions.sort_unstable();
    questions.dedup();
    assert_eq!(questions.len(), 14);
    assert!(cache.lookup(&many(0).key(&outer())).unwrap().is_none());
    // Nothing of it is kept here before a result of it is used.
    assert_eq!(local.traces(&outer()).unwrap().len(), 1);
}
