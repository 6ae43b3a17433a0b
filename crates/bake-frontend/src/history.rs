//! What is known of an image before any step has run: its config, and its history with gaps for layers.

use bake_graph::VertexId;
use bake_oci::{ImageConfig, Platform};

/// An image to be assembled when its root file system is there.
#[derive(Debug, Clone)]
pub struct ImagePlan {
    /// Its platform.
    pub platform: Platform,
    /// The vertex whose result is its root file system.
    pub root: VertexId,
    /// The config without the new layers and the new history.
    pub config: ImageConfig,
    /// The history that the build adds, in order.
    pub history: Vec<PlannedHistory>,
    /// What a list of its packages covers besides.
    pub scans: PackageScans,
}

/// What is searched for packages besides an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PackageScans {
    /// Stages that the image needs, by name, each with the vertex whose result is its root file system.
    pub stages: Vec<(String, VertexId)>,
    /// Whether the main build context is.
    pub context: bool,
}

/// One history entry that the build adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedHistory {
    /// `created_by`.
    pub created_by: String,
    /// Whether a layer belongs to it; otherwise it is marked as empty.
    pub layer: bool,
}
