//! Long stacks of layers: runs of layers are put together, so that few directories have to be mounted.
//!
//! Overlay takes at most 500 lower directories, and every mount and look-up costs more with each of them. So in a long
//! stack each full run of [`RUN`] layers is one directory, each full run of such directories is one again, and so on:
//! a stack of 1,000 layers is 20 directories, and every layer is put together with others once per level. The runs begin
//! after the layers of the base image, which may hold many more files than the steps.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bake_oci::SnapshotId;
use bake_solver::Layer;
use bake_store::SnapshotRecord;

use super::{ImageError, Images, chain_of};

/// Stacks up to this length are mounted as they are: with 24 layers a mount takes about half a millisecond.
const STACK_MAX: usize = 24;
/// How many directories become one.
const RUN: usize = 16;

impl Images {
    /// The directories to mount for a stack: those given, with runs of them put together.
    pub(super) fn shortened(
        &self,
        layers: &[Arc<Layer>],
        directories: Vec<PathBuf>,
    ) -> Result<Vec<PathBuf>, ImageError> {
        if directories.len() <= STACK_MAX {
            return Ok(directories);
        }
        let base = layers.iter().take_while(|layer| layer.created_ns.is_none()).count();
        let base = if base > STACK_MAX { 0 } else { base };
        let stack = Stack { directories: &directories, base, names: names(layers, base) };
        let mut shortened = directories[..base].to_vec();
        let mut rest = base;
        // The largest runs first: they are the lowest.
        let mut length = RUN;
        while (layers.len() - base) / length >= RUN {
            length *= RUN;
        }
        while length > 1 {
            while rest + length <= layers.len() {
                let merged = self.merged(&stack, &shortened, rest..rest + length)?;
                shortened.push(merged);
                rest += length;
            }
            length /= RUN;
        }
        shortened.extend_from_slice(&directories[rest..]);
        Ok(shortened)
    }

    /// One directory that does what the layers of `run` do to those below them, which `below` shows.
    fn merged(&self, stack: &Stack<'_>, below: &[PathBuf], run: Range<usize>) -> Result<PathBuf, ImageError> {
        let name = format!("merged-{}-{}", run.len(), &stack.names[(run.end - stack.base) / RUN].to_hex()[..32]);
        let invalid = |problem: String| ImageError::Invalid { reference: name.clone(), problem };
        let id = SnapshotId::new(&name).map_err(|error| invalid(error.to_string()))?;
        if let Some(path) = self.known_directory(&id) {
            return Ok(path);
        }
        let gate = self.gate(&id);
        let _one_at_a_time = gate.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(snapshot) = self.store.snapshot(&id)? {
            return Ok(self.know_directory(id, snapshot.path));
        }
        let part = run.len() / RUN;
        let mut parts = below.to_vec();
        for start in run.clone().step_by(part) {
            let path = match part {
                1 => stack.directories[start].clone(),
                _ => self.merged(stack, &parts, start..start + part)?,
            };
            parts.push(path);
        }
        let parts: Vec<&Path> = parts.iter().map(PathBuf::as_path).collect();
        let (below, parts) = parts.split_at(below.len());
        let active = self.store.begin_snapshot()?;
        let held =
            bake_snapshot::squash(below, parts, active.fs(), self.format).map_err(|error| invalid(chain_of(&error)))?;
        let record = SnapshotRecord {
            id: id.clone(),
            tree: held.tree,
            diff_id: None,
            tar_size_bytes: None,
            size_bytes: held.size_bytes,
            entries: held.entries,
            origin: format!("{} layers in one directory, so that they can be mounted quickly", run.len()),
        };
        let path = self.store.publish_snapshot(active, record)?.snapshot.path;
        Ok(self.know_directory(id, path))
    }
}

/// A stack that is too long.
struct Stack<'a> {
    directories: &'a [PathBuf],
    /// Where the runs begin.
    base: usize,
    /// What stands for the first layers, for each number of whole runs.
    names: Vec<blake3::Hash>,
}

fn names(layers: &[Arc<Layer>], base: usize) -> Vec<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut names = Vec::with_capacity(layers.len() / RUN + 1);
    for (index, layer) in layers.iter().enumerate() {
        if index >= base && (index - base).is_multiple_of(RUN) {
            names.push(hasher.finalize());
        }
        hasher.update(layer.snapshot.as_str().as_bytes());
        hasher.update(b"\n");
    }
    names.push(hasher.finalize());
    names
}
