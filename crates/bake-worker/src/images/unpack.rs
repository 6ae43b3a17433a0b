//! Layers brought into the store and unpacked, in one pass over their bytes, several at the same time.
//!
//! ```text
//! network -> blob file, SHA-256 ==(follows in the file)==> decoder thread: inflate, SHA-256 -> files, BLAKE3
//! ```
//!
//! A layer is unpacked while it comes, into a directory of its own that nobody sees before the digests of blob and
//! content are right. Layers are begun from the base up, and do not wait for each other unless one needs what lies below
//! it ([`bake_snapshot::Pending`]).

use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bake_graph::VertexId;
use bake_oci::{DiffId, Digester, ExpansionLimits, LayerReader, SnapshotId, decompress};
use bake_snapshot::{SnapshotError, UnpackLimits, Unpacked, digest_layer};
use bake_solver::{EventSink, Layer, LayerBlob};
use bake_store::{ActiveSnapshot, SnapshotRecord};

use super::{ImageError, Images, chain, chain_of};
use crate::arrival::{Arrival, Source};

/// Blobs that are fetched at the same time: an imported cache may have a thousand layers.
const BLOBS_AT_ONCE: usize = 8;

/// Layers that are unpacked at the same time, at most one for each processor: beyond a few they wait for the same file
/// system.
const UNPACKED_AT_ONCE: usize = 4;

/// How much content passes from the decoder to the unpacker at once.
const PIECE_BYTES: usize = 256 << 10;

/// Pieces between the two: one being filled, one being used, one for when they are not equally fast.
const PIECES: usize = 3;

/// What is to be unpacked, and how far that is.
struct Work<'a> {
    images: &'a Images,
    layers: &'a [Arc<Layer>],
    step: VertexId,
    events: &'a dyn EventSink,
    /// The blobs of the layers.
    arrivals: Vec<Arrival>,
    progress: Mutex<Progress>,
    changed: Condvar,
    /// Set after a failure: what is under way ends soon.
    stopped: AtomicBool,
}

struct Progress {
    directories: Vec<Option<PathBuf>>,
    /// The layers of which nothing has been fetched, and those nobody unpacks yet, base first.
    to_fetch: Vec<usize>,
    to_unpack: Vec<usize>,
    failure: Option<ImageError>,
}

/// An unpacked layer that is not published yet.
struct Applied {
    active: ActiveSnapshot,
    unpacked: Unpacked,
    tar_size_bytes: u64,
}

impl Images {
    /// Fetches and unpacks the layers that have no directory; gives the directories of all.
    pub(super) fn unpack_missing(
        &self,
        layers: &[Arc<Layer>],
        directories: Vec<Option<PathBuf>>,
        step: VertexId,
        events: &dyn EventSink,
    ) -> Result<Vec<PathBuf>, ImageError> {
        let missing: Vec<usize> = (0..layers.len()).rev().filter(|index| directories[*index].is_none()).collect();
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let work = Work {
            images: self,
            layers,
            step,
            events,
            arrivals: layers.iter().map(|_| Arrival::default()).collect(),
            progress: Mutex::new(Progress {
                directories,
                to_fetch: missing.clone(),
                to_unpack: missing.clone(),
                failure: None,
            }),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
        };
        std::thread::scope(|scope| {
            for _ in 0..BLOBS_AT_ONCE.min(missing.len()) {
                scope.spawn(|| work.fetch());
            }
            for _ in 0..UNPACKED_AT_ONCE.min(processors).min(missing.len()) {
                scope.spawn(|| work.unpack());
            }
        });
        let progress = work.progress.into_inner().unwrap_or_else(PoisonError::into_inner);
        match progress.failure {
            Some(failure) => Err(failure),
            None => Ok(progress.directories.into_iter().flatten().collect()),
        }
    }

    /// Unpacks one layer and publishes it. `below` waits for the directories of the layers below, and gives `None` when
    /// they will not come.
    fn unpack(
        &self,
        layers: &[Arc<Layer>],
        index: usize,
        arrival: &Arrival,
        stopped: &AtomicBool,
        below: impl FnOnce() -> Option<Vec<PathBuf>>,
    ) -> Result<PathBuf, ImageError> {
        let layer = &layers[index];
        let (Some(blob), Some(diff_id)) = (&layer.blob, &layer.diff_id) else {
            return Err(ImageError::Invalid {
                reference: layer.snapshot.to_string(),
                problem: "the directory of a layer that a step made is gone; run `bake fsck`".into(),
            });
        };
        let failed = |problem: String| self.unpack_failed(blob, problem, false);
        let gate = self.gate(&layer.snapshot);
        let one_at_a_time = gate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = self.directory_of(layers, index, layer)? {
            return Ok(path);
        }
        let Applied { mut active, unpacked, tar_size_bytes } = self.apply(blob, diff_id, arrival, stopped)?;
        let mut id = layer.snapshot.clone();
        let is_complete = unpacked.pending.is_empty();
        if !is_complete {
            if layer.is_of_step() {
                return Err(failed("it needs what lies below it, which no step's layer does".into()));
            }
            // Others may hold the gates of the layers below while they wait for this one.
            drop(one_at_a_time);
            let below = below().ok_or_else(|| self.missing_blob(blob))?;
            let below: Vec<&Path> = below.iter().map(PathBuf::as_path).collect();
            bake_snapshot::complete(&unpacked.pending, active.fs(), &below, self.format)
                .map_err(|error| self.not_unpacked(blob, &error))?;
            if let Some(chain) = chain(&layers[..=index]) {
                id = SnapshotId::for_chain(&chain);
            }
        }
        let held = digest_layer(active.fs(), self.format, &unpacked.contents)
            .map_err(|error| self.not_unpacked(blob, &error))?;
        if layer.is_of_step() && held.tree != layer.tree {
            let (found, told) = (held.tree, layer.tree);
            return Err(failed(format!("its files have the tree digest {found}, but the cache says {told}")));
        }
        // The tree of the record stands for the archive, which need not be unpacked for it; checks of the store compare files.
        active.set_content(held.tree);
        let record = SnapshotRecord {
            id,
            tree: layer.tree,
            diff_id: Some(diff_id.clone()),
            tar_size_bytes: Some(tar_size_bytes),
            size_bytes: unpacked.size_bytes,
            entries: unpacked.entries,
            origin: self.place_of(&blob.digest),
        };
        let path = self.store.publish_snapshot(active, record)?.snapshot.path;
        if let (true, Some(imported)) = (layer.is_of_step(), &self.imported) {
            imported.arrived(layer);
        }
        Ok(path)
    }

    /// Applies the archive of a layer to a new directory, while it comes or from the store. At the end the blob is in the
    /// store, and both digests are right.
    fn apply(
        &self,
        blob: &LayerBlob,
        diff_id: &DiffId,
        arrival: &Arrival,
        stopped: &AtomicBool,
    ) -> Result<Applied, ImageError> {
        loop {
            let (result, restarts) = match arrival.source().ok_or_else(|| self.missing_blob(blob))? {
                Source::Following(follower) => {
                    let restarts = follower.restarts();
                    (self.apply_archive(blob, diff_id, follower, stopped), Some(restarts))
                }
                Source::Store => {
                    let file = self.store.open_blob(&blob.digest)?.ok_or_else(|| self.missing_blob(blob))?.0;
                    (self.apply_archive(blob, diff_id, file, stopped), None)
                }
            };
            // Whatever is wrong with bytes that are not the blob's says nothing about the layer.
            if !arrival.is_complete() {
                return Err(self.missing_blob(blob));
            }
            if restarts.is_some_and(|restarts| arrival.has_restarted_since(restarts)) {
                continue;
            }
            return result;
        }
    }

    fn apply_archive(
        &self,
        blob: &LayerBlob,
        diff_id: &DiffId,
        compressed: impl Read + Send,
        stopped: &AtomicBool,
    ) -> Result<Applied, ImageError> {
        let failed = |problem: String| self.unpack_failed(blob, problem, false);
        let active = self.store.begin_snapshot()?;
        let (unpacked, content) = std::thread::scope(|scope| {
            let (reader, pieces) = read_ahead();
            let decoder = scope.spawn(move || {
                let stream = decompress(compressed, ExpansionLimits::default()).map_err(|error| chain_of(&error))?;
                Ok(pieces.fill(stream, [&self.cancelled, stopped]))
            });
            let mut archive = LayerReader::new(reader);
            let unpacked = bake_snapshot::unpack(&mut archive, active.fs(), self.format, UnpackLimits::default());
            // What follows the end of the archive belongs to its digest. After a failure, the decoder ends as soon as
            // nobody reads any more.
            let finished = match unpacked {
                Ok(unpacked) => archive.finish().map(|_| unpacked).map_err(|error| failed(chain_of(&error))),
                Err(error) => {
                    drop(archive);
                    Err(self.not_unpacked(blob, &error))
                }
            };
            let content = decoder.join().map_err(|_| "the decoder panicked".to_owned()).and_then(|content| content);
            (finished, content)
        });
        let (actual, tar_size_bytes) = content.map_err(failed)?;
        let unpacked = unpacked?;
        let actual = DiffId(actual);
        if actual != *diff_id {
            return Err(failed(format!("its content has the diff ID {actual}, but the config says {diff_id}")));
        }
        Ok(Applied { active, unpacked, tar_size_bytes })
    }

    fn unpack_failed(&self, blob: &LayerBlob, problem: String, disk_full: bool) -> ImageError {
        let digest = blob.digest.clone();
        ImageError::Unpack { reference: self.place_of(&digest), digest, problem, disk_full }
    }

    fn not_unpacked(&self, blob: &LayerBlob, error: &SnapshotError) -> ImageError {
        use rustix::io::Errno;
        let disk_full = matches!(error.errno(), Some(Errno::NOSPC | Errno::DQUOT));
        self.unpack_failed(blob, chain_of(error), disk_full)
    }

    fn missing_blob(&self, blob: &LayerBlob) -> ImageError {
        ImageError::MissingBlob { digest: blob.digest.clone(), reference: self.place_of(&blob.digest) }
    }
}

impl Work<'_> {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next layer of a list; `None` at its end, and after a failure.
    fn next(&self, list: impl FnOnce(&mut Progress) -> &mut Vec<usize>) -> Option<usize> {
        let mut progress = self.lock();
        if progress.failure.is_some() { None } else { list(&mut progress).pop() }
    }

    /// Ends everything, for the first of several reasons.
    fn fail(&self, failure: ImageError) {
        self.lock().failure.get_or_insert(failure);
        self.stopped.store(true, Ordering::SeqCst);
        for arrival in &self.arrivals {
            arrival.is_not_begun();
        }
        self.changed.notify_all();
    }

    /// Fetches blobs until there is none left.
    fn fetch(&self) {
        while let Some(index) = self.next(|progress| &mut progress.to_fetch) {
            let (layer, arrival) = (&self.layers[index], &self.arrivals[index]);
            let Some(blob) = &layer.blob else {
                arrival.fails();
                continue;
            };
            let fetched = self.images.fetch_following(blob, arrival, self.step, self.events);
            match self.images.or_lost(layer, fetched) {
                Ok(()) => arrival.completes(),
                Err(failure) => {
                    self.fail(failure);
                    arrival.fails();
                }
            }
        }
    }

    /// Unpacks layers until there is none left.
    fn unpack(&self) {
        while let Some(index) = self.next(|progress| &mut progress.to_unpack) {
            let (layer, arrival) = (&self.layers[index], &self.arrivals[index]);
            let unpacked =
                self.images.unpack(self.layers, index, arrival, &self.stopped, || self.directories_below(index));
            // The first failure is the one that is told: what comes of it is no layer's fault.
            let unpacked =
                if self.stopped.load(Ordering::SeqCst) { unpacked } else { self.images.or_lost(layer, unpacked) };
            match unpacked {
                Ok(path) => {
                    self.lock().directories[index] = Some(path);
                    self.changed.notify_all();
                }
                Err(failure) => self.fail(failure),
            }
        }
    }

    /// Waits for the directories of the layers below one, base first; `None` after a failure.
    fn directories_below(&self, index: usize) -> Option<Vec<PathBuf>> {
        let mut progress = self.lock();
        loop {
            if progress.failure.is_some() {
                return None;
            }
            if progress.directories[..index].iter().all(Option::is_some) {
                return Some(progress.directories[..index].iter().flatten().cloned().collect());
            }
            progress = self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A reader of what another thread fills in ahead.
fn read_ahead() -> (ReadAhead, Pieces) {
    let (full, filled) = sync_channel(PIECES);
    let (spent, empty) = channel();
    for _ in 0..PIECES {
        // The receiver is here.
        let _ = spent.send(Vec::new());
    }
    (ReadAhead { filled, spent, piece: Vec::new(), at: 0, ended: false }, Pieces { full, empty })
}

/// The side that reads.
struct ReadAhead {
    filled: Receiver<io::Result<Vec<u8>>>,
    spent: Sender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    ended: bool,
}

/// The side that fills.
struct Pieces {
    full: SyncSender<io::Result<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
}

impl Pieces {
    /// Passes everything that `stream` gives on, until the other side is gone or one of `ended` is set. Gives the digest
    /// and the number of the bytes.
    fn fill(self, mut stream: impl Read, ended: [&AtomicBool; 2]) -> (bake_oci::Digest, u64) {
        let mut digester = Digester::new();
        let mut bytes = 0;
        while let Ok(mut piece) = self.empty.recv() {
            piece.resize(PIECE_BYTES, 0);
            let mut filled = 0;
            let failure = loop {
                if ended.iter().any(|ended| ended.load(Ordering::Relaxed)) {
                    break Some(io::Error::other("the build was cancelled"));
                }
                match stream.read(piece.get_mut(filled..).unwrap_or_default()) {
                    Ok(0) => break None,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Some(error),
                }
            };
            piece.truncate(filled);
            digester.update(&piece);
            bytes += filled as u64;
            let is_end = filled < PIECE_BYTES;
            if self.full.send(Ok(piece)).is_err() {
                break;
            }
            if let Some(error) = failure {
                let _ = self.full.send(Err(error));
                break;
            }
            if is_end {
                break;
            }
        }
        (digester.finish(), bytes)
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            if self.ended {
                return Ok(0);
            }
            // Nobody fills any more when the decoder has come to its end.
            let _ = self.spent.send(std::mem::take(&mut self.piece));
            self.at = 0;
            match self.filled.recv() {
                Ok(piece) => self.piece = piece?,
                Err(_) => self.ended = true,
            }
        }
        let rest = self.piece.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}
