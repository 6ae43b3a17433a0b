//! Layers in the form that runtimes fetch file by file.

use std::io::{BufReader, BufWriter};
use std::time::Duration;

use bake_oci::layer::estargz::{Estargz, form, write_estargz};
use bake_oci::manifest::descriptor;
use bake_oci::{Compression, ImageLayer};

use crate::error::ExportError;
use crate::image::{ExportLayer, Exporter, IngestWriter};

/// Where it is remembered which layer became which blob.
const SPACE: &str = "estargz";

const BUFFER_BYTES: usize = 256 << 10;

impl Exporter {
    /// A layer as an eStargz blob in the store, made if it is not there. Its diff ID is another one than that of `layer`.
    pub(crate) fn estargz_layer(&self, layer: &ExportLayer, level: u32) -> Result<ImageLayer, ExportError> {
        let name = format!("{} {}", form(level), layer.diff_id);
        let made = if let Some(made) = self.remembered_estargz(&name)? {
            made
        } else {
            let made = self.make_estargz(layer, level)?;
            let value = serde_json::to_vec(&made).map_err(|error| ExportError::Write(error.into()))?;
            self.store.remember(SPACE, &name, &value)?;
            made
        };
        let media_type = Compression::GZIP.media_type();
        let mut descriptor = descriptor(media_type, &made.digest, made.size_bytes);
        descriptor.set_annotations(Some(made.annotations().into_iter().collect()));
        Ok(ImageLayer { diff_id: made.diff_id, descriptor })
    }

    fn remembered_estargz(&self, name: &str) -> Result<Option<Estargz>, ExportError> {
        let Some(known) = self.store.recall(SPACE, name, Duration::MAX)? else { return Ok(None) };
        let Ok(made) = serde_json::from_slice::<Estargz>(&known.value) else { return Ok(None) };
        // From here on the blob stays in the store while this process needs it.
        let there = self.store.blob_size(&made.digest)? == Some(made.size_bytes);
        Ok(there.then_some(made))
    }

    fn make_estargz(&self, layer: &ExportLayer, level: u32) -> Result<Estargz, ExportError> {
        let ingest = IngestWriter(self.store.ingest()?);
        let (reader, writer) = std::io::pipe().map_err(ExportError::Write)?;
        let (made, ingest) = std::thread::scope(|scope| {
            let buffered = BufWriter::with_capacity(BUFFER_BYTES, writer);
            let archive = scope.spawn(move || self.write_checked_archive(layer, buffered));
            let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
            let made = write_estargz(&mut reader, level, self.threads, ingest).and_then(|made| {
                // What comes behind the end of the archive belongs to its digest.
                std::io::copy(&mut reader, &mut std::io::sink())?;
                Ok(made)
            });
            // Who waits for room in the pipe has to be told that nobody reads any more.
            drop(reader);
            let written = archive.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (made, written) {
                (Ok(made), Ok(())) => Ok(made),
                // A reader that gave up makes the writer fail too; what the reader says is then the cause. What is wrong with
                // the layer makes the reader fail.
                (Err(error), Ok(()) | Err(ExportError::Write(_) | ExportError::Layer { .. })) => {
                    Err(ExportError::Estargz(Box::new(error)))
                }
                (_, Err(error)) => Err(error),
            }
        })?;
        ingest.0.finish(Some(&made.digest))?;
        Ok(made)
    }
}
