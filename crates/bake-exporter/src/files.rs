//! The files of an image: its layers put together, as an archive.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use bake_oci::LayerWriter;
use bake_snapshot::{Snapshotter, WriteOptions, append_layer};

use crate::attestation::BesideFile;
use crate::error::ExportError;
use crate::image::Exporter;

impl Exporter {
    /// Writes the files of a stack of layer directories (base first) as one archive.
    pub fn to_tar(
        &self,
        snapshotter: &dyn Snapshotter,
        layers: &[PathBuf],
        out: impl Write,
    ) -> Result<(), ExportError> {
        self.to_tar_with(snapshotter, layers, &[], out)
    }

    /// The same, with more files at the end.
    pub fn to_tar_with(
        &self,
        snapshotter: &dyn Snapshotter,
        layers: &[PathBuf],
        beside: &[BesideFile],
        out: impl Write,
    ) -> Result<(), ExportError> {
        let mut writer = LayerWriter::new(out);
        let paths: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
        if paths.is_empty() {
            return finish(writer, beside);
        }
        let view = snapshotter.view(&paths).map_err(ExportError::Files)?;
        // The mount is attached nowhere; this is the name under which the kernel shows it to this process.
        let root = PathBuf::from(format!("/proc/self/fd/{}", view.as_raw_fd()));
        append_layer(&root, self.format, WriteOptions::default(), &mut writer).map_err(ExportError::Files)?;
        finish(writer, beside)
    }
}

fn finish(mut writer: LayerWriter<impl Write>, beside: &[BesideFile]) -> Result<(), ExportError> {
    let failed = |error| ExportError::Write(std::io::Error::other(error));
    for file in beside {
        writer.append(&file.entry(), Some(&mut file.bytes.as_slice())).map_err(failed)?;
    }
    writer.finish().map_err(failed)?.flush().map_err(ExportError::Write)
}
