//! From an upper directory to a layer of the store, and diff IDs computed beside the build.
//!
//! A step is done when its upper directory is published under its tree digest. The diff ID, which costs several times
//! as much on CPUs without SHA instructions, is computed by streaming the layer's archive through SHA-256 on other
//! threads while the next steps run. No archive is written.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
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

/// Computes diff IDs on threads of its own. They have ended once this is dropped, whatever they were at.
#[derive(Debug)]
pub struct LayerDigests {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    format: LayerFormat,
    state: Mutex<State>,
    changed: Condvar,
    /// Set when nobody wants a diff ID any more.
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(SnapshotId, PathBuf)>,
    threads: usize,
    started: Vec<JoinHandle<()>>,
    known: HashMap<SnapshotId, Result<LayerIdentity, String>>,
    underway: Vec<SnapshotId>,
}

impl LayerDigests {
    /// Diff IDs of layers of `store`.
    pub fn new(store: Store, format: LayerFormat) -> Self {
        let shared =
            Shared { store, format, state: Mutex::default(), changed: Condvar::new(), stopped: AtomicBool::new(false) };
        Self { shared: Arc::new(shared) }
    }

    /// Begins to compute the diff ID of a layer.
    pub fn begin(&self, id: &SnapshotId, path: &Path) {
        let mut state = self.shared.lock();
        state.queue.push_back((id.clone(), path.to_owned()));
        if state.threads < THREADS_MAX {
            state.threads += 1;
            let shared = Arc::clone(&self.shared);
            state.started.push(std::thread::spawn(move || shared.work()));
        }
    }

    /// The diff ID of a layer, waiting for it, or computing it here and now if nobody has begun.
    pub fn wait(&self, layer: &Layer) -> Result<LayerIdentity, LayerDigestError> {
        if let (Some(diff_id), Some(tar_size_bytes)) = (&layer.diff_id, layer.tar_size_bytes) {
            return Ok(LayerIdentity { diff_id: diff_id.clone(), tar_size_bytes });
        }
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

impl Drop for LayerDigests {
    /// Not every diff ID is needed: that of a stage from which another one copies is not. A thread that outlived the build would
    /// hold the store open, so that the process could end without giving up its lease.
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let started = {
            let mut state = self.shared.lock();
            state.queue.clear();
            std::mem::take(&mut state.started)
        };
        for thread in started {
            if thread.join().is_err() {
                tracing::debug!("a thread that computed diff IDs panicked");
            }
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
        let mut sink = DigestSink { digester: Digester::new(), bytes: 0, stopped: &self.stopped };
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

struct DigestSink<'a> {
    digester: Digester,
    bytes: u64,
    stopped: &'a AtomicBool,
}

impl Write for DigestSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("nobody wants the diff ID any more"));
        }
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
        tar_size_bytes: None,
        blob: None,
        created_ns: Some(i64::try_from(now).unwrap_or(i64::MAX)),
        copied: None,
    };
    Ok((layer, published.snapshot.path))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use bake_store::{OpenOptions, Ownership};

    use super::*;

    #[test]
    fn threads_end_with_what_they_work_for_and_give_up_the_store() {
        let directory = tempfile::tempdir().unwrap();
        let options = OpenOptions { ownership: Ownership::Native, create: true };
        let store = Store::open(&directory.path().join("store"), options).unwrap();
        let layer = directory.path().join("layer");
        std::fs::create_dir(&layer).unwrap();
        std::fs::write(layer.join("large"), vec![1; 64 << 20]).unwrap();
        let digests = LayerDigests::new(store, LayerFormat::ROOT);
        for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            digests.begin(&SnapshotId::new(name).unwrap(), &layer);
        }
        let shared = Arc::downgrade(&digests.shared);
        drop(digests);
        assert!(shared.upgrade().is_none(), "a thread still holds the store");
    }
}
