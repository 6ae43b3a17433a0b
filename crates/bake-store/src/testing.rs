//! A store in a temporary directory, with shorthands to fill it.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::fs;

use bake_oci::{DiffId, Digest, SnapshotId, TreeDigest};
use serde_json::json;

use crate::{BlobDescriptor, OpenOptions, Ownership, SnapshotRecord, Store};

pub(crate) const OPTIONS: OpenOptions = OpenOptions { ownership: Ownership::Native, create: true };

pub(crate) struct TestStore {
    pub(crate) store: Store,
    pub(crate) directory: tempfile::TempDir,
}

impl TestStore {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store"), OPTIONS).unwrap();
        Self { store, directory }
    }

    /// A record of a snapshot with this name; its tree and diff ID are those of the name.
    pub(crate) fn record(name: &str) -> SnapshotRecord {
        SnapshotRecord {
            id: SnapshotId::new(name).unwrap(),
            tree: TreeDigest::of(name.as_bytes()),
            diff_id: Some(DiffId(Digest::of(name.as_bytes()))),
            tar_size_bytes: Some(1024),
            size_bytes: 100,
            entries: 1,
            origin: format!("RUN {name}"),
        }
    }

    /// Publishes a snapshot with these files, in a lease of its own so that nothing holds it.
    pub(crate) fn publish(&self, name: &str, files: &[(&str, &str)]) -> SnapshotId {
        let store = self.store.with_new_lease();
        let active = store.begin_snapshot().unwrap();
        for (path, content) in files {
            fs::write(active.fs().join(path), content).unwrap();
        }
        store.publish_snapshot(active, Self::record(name)).unwrap().snapshot.record.id
    }

    /// Stores an image whose layers are blobs of these contents (and have these contents as diff IDs).
    pub(crate) fn image(&self, author: &str, layers: &[&str]) -> BlobDescriptor {
        let store = self.store.with_new_lease();
        let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer.as_bytes())).collect();
        let config = json!({"author": author, "rootfs": {"type": "layers", "diff_ids": diff_ids}}).to_string();
        let (config, config_size) = store.put_bytes(config.as_bytes()).unwrap();
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| {
                let (digest, size) = store.put_bytes(layer.as_bytes()).unwrap();
                json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size})
            })
            .collect();
        let manifest = json!({"config": {"digest": config, "size": config_size}, "layers": layers}).to_string();
        let (digest, size_bytes) = store.put_bytes(manifest.as_bytes()).unwrap();
        BlobDescriptor { media_type: "application/vnd.oci.image.manifest.v1+json".into(), digest, size_bytes }
    }

    /// Changes the index behind the store's back.
    pub(crate) fn sql(&self, statements: &str) {
        self.store.index().write("test", |connection| connection.execute_batch(statements)).unwrap();
    }

    /// What is left in the directories that should be empty when nothing runs.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut names = Vec::new();
        for directory in ["ingest", "active", "trash"] {
            for entry in fs::read_dir(self.store.layout().directory(directory)).unwrap() {
                names.push(format!("{directory}/{}", entry.unwrap().file_name().to_string_lossy()));
            }
        }
        names
    }
}
