//! The document of an exported cache: which results there are, under which keys, and in which blobs their layers are.
//!
//! ```text
//! {
//!   "version": 1,
//!   "layers":  [ {"diffId", "tarSize", "tree", "created", "blob": {"mediaType", "digest", "size"}, "compression",
//!                "copied": {"attributes", "links"}} ],
//!   "records": [ {"keys": [..], "definition", "description", "components": [{"name", "value"}], "layer", "traces": [..]} ],
//!   "traces":  [ {"outer", "trace"} ],
//!   "heavy":   [ outer keys ],
//!   "mounts":  [ {"id", "mode", "uid", "gid", "blob": {..}} ]
//! }
//! ```
//!
//! Every step adds exactly one layer to whatever its parent is, and its keys are made from content alone. So the list is
//! flat, a record is of use by itself, and nothing in it depends on the machine or the store it comes from. `layer` is a
//! position in `layers`; `created` is in nanoseconds since 1970; `copied` is there for what COPY and ADD made. `compression`
//! names the exact form of the blob, so that it can stand for the blob that another machine would make. `traces` of a record
//! are positions in `traces`, where a trace stands under its outer key in the form of `bake_solver::Trace`, in base64: what
//! the step asked when it ran. A trace in a form of another version is passed over; only its step is not reused by it.
//! `heavy` are the outer keys of steps that ask nearly everything, so that no machine records what they ask only to see that.
//!
//! The bytes are canonical: keys of objects sorted, lists sorted, nothing about when or where the export was made. An
//! export of the same results is the same blob. Changing the meaning of a field needs another [`VERSION`]; readers
//! refuse versions they do not know and pass over fields they do not know.

use std::collections::{BTreeSet, HashMap, HashSet};

use bake_graph::Component;
use bake_oci::{
    CacheKey, DefinitionDigest, DiffId, Digest, SnapshotId, TreeDigest, canonical_json, media_type, parse_json,
};
use bake_solver::{CopiedLayer, Layer, LayerBlob};
use serde::{Deserialize, Serialize};

use crate::backend::DOCUMENT_BYTES_MAX;
use crate::traces::{TraceEntry, check_traces, joined};

/// The media type of the document, where a manifest refers to it.
pub const DOCUMENT_MEDIA_TYPE: &str = "application/vnd.bake.cache.config.v1+json";

/// The only version there is.
const VERSION: u32 = 1;

/// The most layers, records and cache mounts: ten builds of ten thousand steps.
const ENTRIES_MAX: usize = 100_000;

/// The most keys of a record, as in the local store.
const KEYS_MAX: usize = 64;

/// The most traces of a record: as many as an outer key has in the local store.
const TRACES_OF_RECORD_MAX: usize = 16;

/// The most components of a record's key: one per line of a step's description and input.
const COMPONENTS_MAX: usize = 10_000;

/// The longest description and identity of a cache mount, in bytes, as in the local store.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// The longest name of a compression.
const COMPRESSION_BYTES_MAX: usize = 64;

/// The largest blob and archive: 1 TiB, far above any layer and far below where sums could overflow.
const SIZE_MAX: u64 = 1 << 40;

/// What an exported cache holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    version: u32,
    /// The layers.
    #[serde(default)]
    pub layers: Vec<LayerEntry>,
    /// The results.
    #[serde(default)]
    pub records: Vec<RecordEntry>,
    /// What steps asked, by their outer keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<TraceEntry>,
    /// The outer keys of steps of which it gains nothing to record what they ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub heavy: Vec<CacheKey>,
    /// The content of cache mounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountEntry>,
}

/// A layer that a step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerEntry {
    /// The digest of its archive.
    pub diff_id: DiffId,
    /// The size of its archive in bytes.
    pub tar_size: u64,
    /// What it holds.
    pub tree: TreeDigest,
    /// When the step made it, in nanoseconds since 1970.
    pub created: i64,
    /// The archive as it is kept.
    pub blob: BlobEntry,
    /// What is known of a layer of copies; absent for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<CopiedLayer>,
    /// The exact form of the blob, `bake_oci::Compression::id`; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
}

/// A blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlobEntry {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl BlobEntry {
    /// The blob as the solver and the worker name it.
    pub fn layer_blob(&self) -> LayerBlob {
        LayerBlob { media_type: self.media_type.clone(), digest: self.digest.clone(), size: self.size }
    }

    /// The blob as the store names it.
    pub fn descriptor(&self) -> bake_store::BlobDescriptor {
        bake_store::BlobDescriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.clone(),
            size_bytes: self.size,
        }
    }
}

impl From<&bake_store::BlobDescriptor> for BlobEntry {
    fn from(blob: &bake_store::BlobDescriptor) -> Self {
        Self { media_type: blob.media_type.clone(), digest: blob.digest.clone(), size: blob.size_bytes }
    }
}

/// A result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordEntry {
    /// The keys it is found under.
    pub keys: Vec<CacheKey>,
    /// The definition of the step.
    pub definition: DefinitionDigest,
    /// The step as shown to people.
    pub description: String,
    /// The parts of its key, masked: whoever sees the cache need not see the build arguments of all stages.
    #[serde(default)]
    pub components: Vec<Component>,
    /// The position of its layer.
    pub layer: usize,
    /// The positions of what the step asked when it ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traces: Vec<usize>,
}

/// The content of a cache mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MountEntry {
    /// The identity of the mount, as the local store has it.
    pub id: String,
    /// Permission bits of its directory.
    pub mode: u32,
    /// Owner of its directory, as steps see it.
    pub uid: u32,
    /// Group of its directory, as steps see it.
    pub gid: u32,
    /// What is in it: a layer's archive.
    pub blob: BlobEntry,
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is no JSON of the right shape, or too long.
    #[error("its document cannot be read")]
    Json(#[from] bake_oci::JsonError),
    /// Another version of bake wrote it.
    #[error("its document has version {0}, and this bake reads version {VERSION}")]
    Version(u64),
    /// It says something that cannot be.
    #[error("its document is not valid: {0}")]
    Invalid(String),
}

/// Only the version, which is looked at before anything else.
#[derive(Deserialize)]
struct Probe {
    version: Option<u64>,
}

/// A step's result, as an export takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepResult {
    /// The layer, with its diff ID and the size of its archive where they are known.
    pub layer: Layer,
    /// The keys it is found under.
    pub keys: Vec<CacheKey>,
    /// The definition of the step.
    pub definition: DefinitionDigest,
    /// The step as shown to people.
    pub description: String,
    /// The parts of its key.
    pub components: Vec<Component>,
    /// What the step asked in the runs whose result this is, as far as it is known.
    pub traces: Vec<TraceEntry>,
}

impl Document {
    /// A document of results with their layers, and of cache mounts, in canonical order.
    pub fn new(results: &[(StepResult, LayerEntry)], mounts: Vec<MountEntry>) -> Self {
        let mut layers: Vec<LayerEntry> = results.iter().map(|(_, layer)| layer.clone()).collect();
        // Two steps can make the same archive at different times; the image says when, so they stay apart.
        layers.sort_by_key(LayerEntry::order);
        layers.dedup_by_key(|layer| layer.order());
        let positions: HashMap<_, usize> =
            layers.iter().enumerate().map(|(position, layer)| (layer.order(), position)).collect();
        let traces = joined(results.iter().flat_map(|(result, _)| &result.traces));
        let mut records: Vec<RecordEntry> = results
            .iter()
            .filter_map(|(result, layer)| {
                let mut keys = result.keys.clone();
                keys.sort_unstable();
                keys.dedup();
                keys.truncate(KEYS_MAX);
                Some(RecordEntry {
                    keys,
                    definition: result.definition,
                    description: cut(&result.description, TEXT_BYTES_MAX),
                    components: result.components.iter().take(COMPONENTS_MAX).map(Component::masked).collect(),
                    layer: *positions.get(&layer.order())?,
                    traces: positions_of(&result.traces, &traces),
                })
            })
            .collect();
        records.sort_by(|a, b| a.keys.cmp(&b.keys));
        records.dedup_by(|a, b| a.keys == b.keys);
        let mut mounts = mounts;
        mounts.sort_by(|a, b| a.id.cmp(&b.id));
        mounts.dedup_by(|a, b| a.id == b.id);
        Self { version: VERSION, layers, records, traces, heavy: Vec::new(), mounts }
    }

    /// The same with outer keys of steps that ask nearly everything.
    #[must_use]
    pub fn with_heavy(self, heavy: BTreeSet<CacheKey>) -> Self {
        Self { heavy: heavy.into_iter().collect(), ..self }
    }

    /// Puts another document's entries behind these.
    pub fn append(&mut self, other: Self) {
        let (offset, trace_offset) = (self.layers.len(), self.traces.len());
        self.version = VERSION;
        self.layers.extend(other.layers);
        self.mounts.extend(other.mounts);
        self.heavy.extend(other.heavy);
        self.traces.extend(other.traces);
        let moved = other.records.into_iter().map(|record| RecordEntry {
            layer: record.layer + offset,
            traces: record.traces.iter().map(|position| position + trace_offset).collect(),
            ..record
        });
        self.records.extend(moved);
    }

    /// Reads a document from outside.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let probe: Probe = parse_json(bytes, "cache document", DOCUMENT_BYTES_MAX)?;
        match probe.version {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => return Err(DocumentError::Version(version)),
            None => return Err(DocumentError::Invalid("it has no version".into())),
        }
        let document: Self = parse_json(bytes, "cache document", DOCUMENT_BYTES_MAX)?;
        document.check().map_err(DocumentError::Invalid)?;
        Ok(document)
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, DocumentError> {
        self.check().map_err(DocumentError::Invalid)?;
        Ok(canonical_json(self)?)
    }

    /// Every blob that it names, each once.
    pub fn blobs(&self) -> Vec<bake_store::BlobDescriptor> {
        let mut seen = HashSet::new();
        let layers = self.layers.iter().map(|layer| &layer.blob);
        let mounts = self.mounts.iter().map(|mount| &mount.blob);
        layers.chain(mounts).filter(|blob| seen.insert(blob.digest.clone())).map(BlobEntry::descriptor).collect()
    }

    fn check(&self) -> Result<(), String> {
        let counts = [
            ("layers", self.layers.len()),
            ("records", self.records.len()),
            ("heavy steps", self.heavy.len()),
            ("cache mounts", self.mounts.len()),
        ];
        for (what, count) in counts {
            if count > ENTRIES_MAX {
                return Err(format!("it lists {count} {what}, more than {ENTRIES_MAX}"));
            }
        }
        for (number, layer) in self.layers.iter().enumerate() {
            let at = |problem: &str| format!("layer {number}: {problem}");
            check_blob(&layer.blob).map_err(|problem| at(&problem))?;
            if layer.tar_size > SIZE_MAX {
                return Err(at("its archive is too large"));
            }
            if layer.compression.as_ref().is_some_and(|id| id.len() > COMPRESSION_BYTES_MAX) {
                return Err(at("the name of its compression is too long"));
            }
        }
        for (number, record) in self.records.iter().enumerate() {
            let at = |problem: &str| format!("record {number}: {problem}");
            if record.keys.is_empty() || record.keys.len() > KEYS_MAX {
                return Err(at("it has no key, or too many"));
            }
            if record.components.len() > COMPONENTS_MAX {
                return Err(at("its key has too many components"));
            }
            if record.description.len() > TEXT_BYTES_MAX {
                return Err(at("its description is too long"));
            }
            if record.layer >= self.layers.len() {
                return Err(at("its layer is not there"));
            }
            if record.traces.len() > TRACES_OF_RECORD_MAX {
                return Err(at("it has too many traces"));
            }
            if record.traces.iter().any(|position| *position >= self.traces.len()) {
                return Err(at("its trace is not there"));
            }
        }
        check_traces(&self.traces)?;
        for (number, mount) in self.mounts.iter().enumerate() {
            let at = |problem: &str| format!("cache mount {number}: {problem}");
            check_blob(&mount.blob).map_err(|problem| at(&problem))?;
            if mount.id.is_empty() || mount.id.len() > TEXT_BYTES_MAX {
                return Err(at("its identity is empty or too long"));
            }
            if mount.mode > 0o7777 {
                return Err(at("its mode is no set of permission bits"));
            }
        }
        Ok(())
    }
}

impl LayerEntry {
    fn order(&self) -> (DiffId, TreeDigest, i64) {
        (self.diff_id.clone(), self.tree, self.created)
    }

    /// The name that the layer has in a store once it is unpacked: that of a step's layer, the same on every machine.
    pub fn snapshot(&self) -> SnapshotId {
        let name = blake3::hash(format!("{} {} {}", self.diff_id, self.tree, self.created).as_bytes()).to_hex();
        SnapshotId::new(&format!("step-{}", &name[..32])).expect("hexadecimal digits are allowed in an ID")
    }

    /// The layer as the solver has it: its blob is somewhere else.
    pub fn layer(&self) -> Layer {
        Layer {
            snapshot: self.snapshot(),
            tree: self.tree,
            diff_id: Some(self.diff_id.clone()),
            tar_size_bytes: Some(self.tar_size),
            blob: Some(self.blob.layer_blob()),
            created_ns: Some(self.created),
            copied: self.copied,
        }
    }
}

/// Where the traces of a record are in the list of all; what is not in it was too much.
fn positions_of(traces: &[TraceEntry], all: &[TraceEntry]) -> Vec<usize> {
    let mut positions: Vec<usize> = traces.iter().filter_map(|trace| all.binary_search(trace).ok()).collect();
    positions.sort_unstable();
    positions.dedup();
    positions.truncate(TRACES_OF_RECORD_MAX);
    positions
}

fn check_blob(blob: &BlobEntry) -> Result<(), String> {
    if blob.size > SIZE_MAX {
        return Err("its blob is too large".into());
    }
    let known = [
        media_type::OCI_LAYER,
        media_type::OCI_LAYER_GZIP,
        media_type::OCI_LAYER_ZSTD,
        media_type::DOCKER_LAYER,
        media_type::DOCKER_LAYER_GZIP,
        media_type::DOCKER_LAYER_ZSTD,
    ];
    if known.contains(&blob.media_type.as_str()) { Ok(()) } else { Err("its blob is no layer's archive".into()) }
}

/// The beginning of a text, at most `limit` bytes.
fn cut(text: &str, limit: usize) -> String {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
