//! The files of an image: its layers put together, as an archive.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use bake_snapshot::{Snapshotter, WriteOptions, write_layer};

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
        let paths: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
        if paths.is_empty() {
            let writer = bake_oci::LayerWriter::new(out);
            return match writer.finish() {
                Ok(_) => Ok(()),
                Err(error) => Err(ExportError::Write(std::io::Error::other(error))),
            };
        }
        let view = snapshotter.view(&paths).map_err(ExportError::Files)?;
        // The mount is attached nowhere; this is the name under which the kernel shows it to this process.
        let root = PathBuf::from(format!("/proc/self/fd/{}", view.as_raw_fd()));
        write_layer(&root, self.format, WriteOptions::default(), out).map_err(ExportError::Files)?;
        Ok(())
    }
}
