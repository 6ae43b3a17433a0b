//! Layers without times that are later than that of the image (`rewrite-timestamp`).

use std::io::Write;

use bake_oci::{DiffId, Digester, SnapshotId, Timestamp};
use bake_snapshot::{WriteOptions, write_layer};

use crate::error::ExportError;
use crate::image::{ExportImage, ExportLayer, Exporter, LayerContent};

impl Exporter {
    /// The image with no time in its layers later than `newest`, from the layer with the index `first` on: those before are
    /// of its base. The layers of steps must be in the store.
    pub fn with_times_until(
        &self,
        image: &ExportImage,
        first: usize,
        newest: Timestamp,
    ) -> Result<ExportImage, ExportError> {
        let mut image = image.clone();
        for layer in image.layers.iter_mut().skip(first) {
            let snapshot = match &layer.content {
                LayerContent::Snapshot(id) | LayerContent::Elsewhere { snapshot: id, .. } => id.clone(),
                // A layer that no step of this build made is like one of a base.
                LayerContent::Blob(_) | LayerContent::Rewritten { .. } => continue,
            };
            let mut archive = Counted { digester: Digester::new(), size_bytes: 0 };
            self.write_rewritten(&snapshot, newest, &layer.diff_id, &mut archive)?;
            let diff_id = DiffId(archive.digester.finish());
            if diff_id != layer.diff_id {
                let content = LayerContent::Rewritten { snapshot, newest };
                *layer = ExportLayer { diff_id, tar_size_bytes: archive.size_bytes, content };
            }
        }
        Ok(image)
    }

    /// Writes the archive of a layer with no time later than `newest`. `diff_id` is for the error.
    pub(crate) fn write_rewritten(
        &self,
        snapshot: &SnapshotId,
        newest: Timestamp,
        diff_id: &DiffId,
        out: impl Write,
    ) -> Result<(), ExportError> {
        let found = self.store.snapshot(snapshot)?.ok_or_else(|| ExportError::MissingLayer(snapshot.to_string()))?;
        let options = WriteOptions { mtime_max: Some(newest), ..WriteOptions::default() };
        write_layer(&found.path, self.format, options, out)
            .map(drop)
            .map_err(|source| ExportError::Layer { diff_id: diff_id.clone(), source })
    }
}

/// Digests and counts what is written.
struct Counted {
    digester: Digester,
    size_bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.digester.update(bytes);
        self.size_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
