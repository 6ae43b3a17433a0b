//! From an upper directory to a layer of the store, and diff IDs computed beside the build.
//!
//! A step is done when its upper directory is published under its tree digest. The diff ID, which costs several times
//! as much on CPUs without SHA instructions, is computed by streaming the layer's archive through SHA-256 on other
//! threads while the next steps run. No archive is written.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bake_oci::{DiffId, Digester, SnapshotId};
use bake_snapshot::{LayerFormat, WriteOptions, write_layer};
use bake_solver::Layer;
use bake_store::{ActiveSnapshot, SnapshotRecord, Store, StoreError};

/// Threads that compute diff IDs beside the build.
const THREADS_MAX: usize = 2;

/// The two names of a layer's uncompressed archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerIdentity {
    /// Its digest.
    pub diff_id: DiffId,
    /// Its size in bytes.
    pub tar_size_bytes: u64,
}

/// Computes diff IDs on threads of its own.
#[derive(Debug, Clone)]
pub struct LayerDigests {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    format: LayerFormat,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(SnapshotId, PathBuf)>,
    threads: usize,
    known: HashMap<SnapshotId, Result<LayerIdentity, String>>,
    underway: Vec<SnapshotId>,
}

impl LayerDigests {
    /// Diff IDs of layers of `store`.
    pub fn new(store: Store, format: LayerFormat) -> Self {
        let shared = Shared { store, format, state: Mutex::default(), changed: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Begins to compute the diff ID of a layer.
    pub fn begin(&self, id: &SnapshotId, path: &Path) {
        let mut state = self.shared.lock();
        state.queue.push_back((id.clone(), path.to_owned()));
        if state.threads < THREADS_MAX {
            state.threads += 1;
            let shared = Arc::clone(&self.shared);
            std::thread::spawn(move || shared.work());
        }
    }

    /// The diff ID of a layer, waiting for it, or computing it here and now if nobody has begun.
    pub fn wait(&self, layer: &Layer) -> Result<LayerIdentity, LayerDigestError> {
        let failed = |problem: String| LayerDigestError { snapshot: layer.snapshot.clone(), problem };
        let mut state = self.shared.lock();
        loop {
            if let Some(known) = state.known.get(&layer.snapshot) {
                return known.clone().map_err(failed);
            }
            let begun = state.underway.contains(&layer.snapshot);
            let position = state.queue.iter().position(|(id, _)| *id == layer.snapshot);
            match (begun, position) {
                (true, _) => state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                (false, Some(position)) => {
                    let Some((id, path)) = state.queue.remove(position) else { continue };
                    drop(state);
                    return self.shared.compute(&id, &path).map_err(failed);
                }
                (false, None) => break,
            }
        }
        drop(state);
        let snapshot = self.shared.store.snapshot(&layer.snapshot).map_err(|error| failed(error.to_string()))?;
        let Some(snapshot) = snapshot else { return Err(failed("it is not in the store".into())) };
        match (snapshot.record.diff_id, snapshot.record.tar_size_bytes) {
            (Some(diff_id), Some(tar_size_bytes)) => Ok(LayerIdentity { diff_id, tar_size_bytes }),
            _ => self.shared.compute(&layer.snapshot, &snapshot.path).map_err(failed),
        }
    }
}

/// The diff ID of a layer could not be computed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot compute the diff ID of layer {snapshot}: {problem}")]
pub struct LayerDigestError {
    /// Which layer.
    pub snapshot: SnapshotId,
    /// What went wrong.
    pub problem: String,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let next = {
                let mut state = self.lock();
                let Some((id, path)) = state.queue.pop_front() else {
                    state.threads -= 1;
                    return;
                };
                state.underway.push(id.clone());
                (id, path)
            };
            let result = self.compute(&next.0, &next.1);
            let mut state = self.lock();
            state.underway.retain(|id| *id != next.0);
            state.known.insert(next.0, result);
            self.changed.notify_all();
        }
    }

    fn compute(&self, id: &SnapshotId, path: &Path) -> Result<LayerIdentity, String> {
        let mut sink = DigestSink { digester: Digester::new(), bytes: 0 };
        let contents = bake_store::contents_beside(path).map_err(|error| crate::images::chain_of(&error))?;
        let options = WriteOptions { contents: contents.as_ref(), ..WriteOptions::default() };
        write_layer(path, self.format, options, &mut sink).map_err(|error| crate::images::chain_of(&error))?;
        let identity = LayerIdentity { diff_id: DiffId(sink.digester.finish()), tar_size_bytes: sink.bytes };
        self.store
            .set_diff_id(id, &identity.diff_id, identity.tar_size_bytes)
            .map_err(|error: StoreError| crate::images::chain_of(&error))?;
        Ok(identity)
    }
}

struct DigestSink {
    digester: Digester,
    bytes: u64,
}

impl Write for DigestSink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.digester.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Publishes what a step made as a layer of the store.
pub(crate) fn publish(
    store: &Store,
    active: ActiveSnapshot,
    committed: &bake_snapshot::Committed,
    origin: &str,
) -> Result<(Layer, PathBuf), StoreError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
    // The directory's name is random, so this one is too.
    let name = blake3::hash(format!("{} {now}", active.fs().display()).as_bytes()).to_hex();
    let id = SnapshotId::new(&format!("step-{}", &name[..32])).expect("hexadecimal digits are allowed in an ID");
    let record = SnapshotRecord {
        id: id.clone(),
        tree: committed.tree,
        diff_id: None,
        tar_size_bytes: None,
        size_bytes: committed.size_bytes,
        entries: committed.entries,
        origin: origin.chars().take(1000).collect(),
    };
    let published = store.publish_snapshot(active, record)?;
    let layer = Layer {
        snapshot: id,
        tree: committed.tree,
        diff_id: None,
        blob: None,
        created_ns: Some(i64::try_from(now).unwrap_or(i64::MAX)),
    };
    Ok((layer, published.snapshot.path))
}
