//! Long stacks of layers: the lower part of a stack is put together in one directory.
//!
//! Overlay takes at most 500 lower directories, and mounting costs more with each of them. So when a stack gets long, its
//! lowest layers are merged, in steps: the next merge begins with the one before, so every layer is copied a few times at
//! most, and a stack of any length mounts in the same time.

use std::path::{Path, PathBuf};

use bake_oci::SnapshotId;
use bake_solver::Layer;
use bake_store::SnapshotRecord;

use super::{ImageError, Images, chain_of};

/// Stacks up to this length are mounted as they are: with 200 layers a mount takes about a millisecond.
const STACK_MAX: usize = 200;
/// How many further layers are merged at a time.
const STEP: usize = 100;

impl Images {
    /// The directories to mount for a stack: those given, or a merged one and the rest.
    pub(super) fn shortened(&self, layers: &[Layer], directories: Vec<PathBuf>) -> Result<Vec<PathBuf>, ImageError> {
        if directories.len() <= STACK_MAX {
            return Ok(directories);
        }
        let merged = directories.len() / STEP * STEP - STEP;
        let mut shortened = vec![self.merged(&layers[..merged], &directories[..merged])?];
        shortened.extend_from_slice(&directories[merged..]);
        Ok(shortened)
    }

    /// One directory with everything that a stack of layers holds.
    fn merged(&self, layers: &[Layer], directories: &[PathBuf]) -> Result<PathBuf, ImageError> {
        let mut hasher = blake3::Hasher::new();
        for layer in layers {
            hasher.update(layer.snapshot.as_str().as_bytes());
            hasher.update(b"\n");
        }
        let name = format!("merged-{}", &hasher.finalize().to_hex()[..32]);
        let invalid = |problem: String| ImageError::Invalid { reference: name.clone(), problem };
        let id = SnapshotId::new(&name).map_err(|error| invalid(error.to_string()))?;
        let gate = self.gate(&id);
        let _one_at_a_time = gate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(snapshot) = self.store.snapshot(&id)? {
            return Ok(snapshot.path);
        }
        let lowers = if layers.len() > STEP {
            let before = layers.len() - STEP;
            let mut lowers = vec![self.merged(&layers[..before], &directories[..before])?];
            lowers.extend_from_slice(&directories[before..]);
            lowers
        } else {
            directories.to_vec()
        };
        let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
        let active = self.store.begin_snapshot()?;
        bake_snapshot::flatten(&lowers, active.fs(), self.format).map_err(|error| invalid(chain_of(&error)))?;
        let held = bake_snapshot::digest_layer(active.fs(), self.format).map_err(|error| invalid(chain_of(&error)))?;
        let record = SnapshotRecord {
            tree: held.tree,
            id,
            diff_id: None,
            tar_size_bytes: None,
            size_bytes: held.size_bytes,
            entries: held.entries,
            origin: format!("{} layers in one directory, so that they can be mounted", layers.len()),
        };
        Ok(self.store.publish_snapshot(active, record)?.snapshot.path)
    }
}
