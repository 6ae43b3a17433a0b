//! Layers that are directories of the store as the blobs that their uncompressed archives are.

use std::collections::HashMap;
use std::io::{self, Cursor, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bake_oci::{BlobError, BlobStore, Digest};

use crate::image::{ExportLayer, Exporter};

/// How much of an archive is handed over at a time, in bytes.
const PIECE_BYTES: usize = 256 << 10;
/// How many pieces wait for the reader.
const PIECES_WAITING: usize = 4;

/// The blobs of a store, and layers that have none: their archives are made while they are read, and never are on the disk.
pub(crate) struct ArchivedLayers<'a> {
    pub(crate) exporter: &'a Exporter,
    /// Layers from snapshots by their diff IDs.
    pub(crate) layers: &'a HashMap<Digest, ExportLayer>,
}

impl BlobStore for ArchivedLayers<'_> {
    fn get(&self, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, BlobError> {
        match self.layers.get(digest) {
            Some(layer) => Ok(Some(Box::new(ArchiveReader::start(self.exporter.clone(), layer.clone())))),
            None => self.exporter.store.get(digest),
        }
    }

    fn stat(&self, digest: &Digest) -> Result<Option<u64>, BlobError> {
        match self.layers.get(digest) {
            Some(layer) => Ok(Some(layer.tar_size_bytes)),
            None => self.exporter.store.stat(digest),
        }
    }

    fn put(&self, expected: Option<&Digest>, content: &mut dyn Read) -> Result<(Digest, u64), BlobError> {
        self.exporter.store.put(expected, content)
    }

    fn list(&self) -> Result<Vec<Digest>, BlobError> {
        let mut all = self.exporter.store.list()?;
        all.extend(self.layers.keys().cloned());
        all.sort();
        all.dedup();
        Ok(all)
    }
}

/// An archive that a thread makes while it is read. It ends well only after its digest was found right.
struct ArchiveReader {
    /// An empty piece is the end.
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Cursor<Vec<u8>>,
    ended: bool,
}

impl ArchiveReader {
    fn start(exporter: Exporter, layer: ExportLayer) -> Self {
        let (sender, pieces) = sync_channel(PIECES_WAITING);
        // It ends by itself when the reader is gone.
        std::thread::spawn(move || {
            let mut writer = PieceWriter { sender, piece: Vec::with_capacity(PIECE_BYTES) };
            let result = exporter.write_checked_archive(&layer, &mut writer);
            // Nobody may want to know any more.
            let _ = writer.sender.send(result.map(|()| Vec::new()).map_err(io::Error::other));
        });
        Self { pieces, piece: Cursor::default(), ended: false }
    }
}

impl Read for ArchiveReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(buffer)?;
            if count > 0 || self.ended || buffer.is_empty() {
                return Ok(count);
            }
            let broken = |_| io::Error::new(io::ErrorKind::UnexpectedEof, "the archive of a layer broke off");
            let piece = self.pieces.recv().map_err(broken)??;
            self.ended = piece.is_empty();
            self.piece = Cursor::new(piece);
        }
    }
}

/// Hands over what is written.
struct PieceWriter {
    sender: SyncSender<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.sender.send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
