//! What the registry holds.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use bake_oci::Digest;
use hyper::body::Bytes;

use super::auth::Grant;
use super::{Config, Fault, RecordedRequest};

/// A stored manifest.
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
}

#[derive(Default)]
struct Repository {
    blobs: HashMap<String, Bytes>,
    /// By digest.
    manifests: HashMap<String, Manifest>,
    /// Tag to digest.
    tags: BTreeMap<String, String>,
}

/// The registry's memory.
pub(super) struct State {
    pub(super) config: Config,
    pub(super) addr: SocketAddr,
    pub(super) faults: Vec<Fault>,
    pub(super) requests: Vec<RecordedRequest>,
    pub(super) tokens: HashMap<String, Grant>,
    pub(super) uploads: HashMap<String, Vec<u8>>,
    pub(super) serial: u64,
    repositories: BTreeMap<String, Repository>,
}

impl State {
    pub(super) fn new(config: Config, addr: SocketAddr) -> Self {
        Self {
            config,
            addr,
            faults: Vec::new(),
            requests: Vec::new(),
            tokens: HashMap::new(),
            uploads: HashMap::new(),
            serial: 0,
            repositories: BTreeMap::new(),
        }
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn put_blob(&mut self, repository: &str, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.repository(repository).blobs.insert(digest.to_string(), Bytes::from(bytes));
        digest
    }

    /// Makes the blob of one repository part of another; whether the first one has it.
    pub(super) fn mount(&mut self, from: &str, to: &str, digest: &str) -> bool {
        let Some(bytes) = self.blob(from, digest) else { return false };
        self.repository(to).blobs.insert(digest.to_owned(), bytes);
        true
    }

    pub(super) fn blob(&self, repository: &str, digest: &str) -> Option<Bytes> {
        self.repositories.get(repository)?.blobs.get(digest).cloned()
    }

    pub(super) fn put_manifest(&mut self, repository: &str, name: &str, media_type: &str, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        let manifest = Manifest { media_type: media_type.to_owned(), bytes: Bytes::from(bytes) };
        let repository = self.repository(repository);
        repository.manifests.insert(digest.to_string(), manifest);
        if !name.contains(':') {
            repository.tags.insert(name.to_owned(), digest.to_string());
        }
        digest
    }

    pub(super) fn manifest(&self, repository: &str, name: &str) -> Option<&Manifest> {
        let repository = self.repositories.get(repository)?;
        let digest = repository.tags.get(name).map_or(name, String::as_str);
        repository.manifests.get(digest)
    }

    /// The tags after `last`, in order; `None` when there is no such repository.
    pub(super) fn tags_after(&self, repository: &str, last: Option<&str>) -> Option<Vec<String>> {
        let tags = &self.repositories.get(repository)?.tags;
        Some(tags.keys().filter(|tag| last.is_none_or(|last| tag.as_str() > last)).cloned().collect())
    }

    /// Descriptors of the manifests whose `subject` is `digest`.
    pub(super) fn referrers(&self, repository: &str, digest: &str) -> Vec<serde_json::Value> {
        let Some(repository) = self.repositories.get(repository) else { return Vec::new() };
        let mut found: Vec<_> = repository
            .manifests
            .iter()
            .filter_map(|(own, manifest)| {
                let value: serde_json::Value = serde_json::from_slice(&manifest.bytes).ok()?;
                if value.pointer("/subject/digest")?.as_str()? != digest {
                    return None;
                }
                let kind = value.get("artifactType").or_else(|| value.pointer("/config/mediaType"));
                Some(serde_json::json!({
                    "mediaType": manifest.media_type,
                    "digest": own,
                    "size": manifest.bytes.len(),
                    "artifactType": kind,
                    "annotations": value.get("annotations").cloned().unwrap_or_default(),
                }))
            })
            .collect();
        found.sort_by_key(ToString::to_string);
        found
    }

    fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }
}
