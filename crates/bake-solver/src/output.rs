//! What a step leaves behind.

use std::sync::Arc;

use bake_oci::{DiffId, Digest, SnapshotId, TreeDigest};
use serde::{Deserialize, Serialize};

/// The result of a vertex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A root file system: a stack of layers, base first. Those of a long chain of steps share theirs.
    Layers(Vec<Arc<Layer>>),
    /// A directory that the caller of the build named; its content is not known until someone asks for paths in it.
    Directory {
        /// The name of the build context.
        name: String,
    },
}

impl Output {
    /// The layers, base first; none for a directory.
    pub fn layers(&self) -> &[Arc<Layer>] {
        match self {
            Self::Layers(layers) => layers,
            Self::Directory { .. } => &[],
        }
    }

    /// The identity of everything in it, where that is known without looking.
    pub fn state(&self) -> Option<StateDigest> {
        match self {
            Self::Layers(layers) => Some(StateDigest::of(layers)),
            Self::Directory { .. } => None,
        }
    }
}

/// One layer of a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Its directory in the local store, present or to be unpacked there.
    pub snapshot: SnapshotId,
    /// What it holds.
    pub tree: TreeDigest,
    /// The digest of its archive, where that is known already (layers of images, and of an imported cache).
    pub diff_id: Option<DiffId>,
    /// The size of its archive in bytes, where that is known without looking (layers of an imported cache).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tar_size_bytes: Option<u64>,
    /// The compressed blob it comes from (layers of images, and of an imported cache).
    pub blob: Option<LayerBlob>,
    /// When a step made it, in nanoseconds since 1970; `None` for layers of images, whose config says when.
    pub created_ns: Option<i64>,
    /// What is known of a layer that holds nothing but copies (COPY, ADD), so that what a step asks of it can be asked of
    /// another one in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<CopiedLayer>,
}

/// What is known of a layer of copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedLayer {
    /// Whether files in it have extended attributes.
    pub attributes: bool,
    /// Whether files in it have several names.
    pub links: bool,
}

impl Layer {
    /// Whether a step made it, on this machine or on another.
    pub fn is_of_step(&self) -> bool {
        self.created_ns.is_some()
    }
}

/// The blob of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerBlob {
    /// Media type of the descriptor.
    pub media_type: String,
    /// Digest of the bytes as transferred.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// The identity of a root file system: the tree digests of its layers.
///
/// Layers, not the merged tree: what a base image holds is known from its config without a single blob, and a step that
/// ran again and made the same layer leaves the identity as it was (early cutoff).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateDigest(pub TreeDigest);

impl StateDigest {
    /// The identity of a stack of layers.
    pub fn of(layers: &[Arc<Layer>]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"bake state 1\0");
        for layer in layers {
            hasher.update(&layer.tree.0);
        }
        Self(TreeDigest(*hasher.finalize().as_bytes()))
    }
}
