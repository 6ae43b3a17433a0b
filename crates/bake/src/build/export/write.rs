//! Files that outputs are written to.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bake::error::CommandError;
use bake_exporter::{Cancellable, ExportError};

use super::failed;

/// Writes to a file (complete, or not at all, even when it is cancelled) or to standard output.
pub(super) fn write_to(
    path: Option<&Path>,
    cancelled: &AtomicBool,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), CommandError> {
    let Some(path) = path else {
        let mut out = BufWriter::with_capacity(256 * 1024, std::io::stdout().lock());
        write(&mut out).map_err(|error| failed(&error))?;
        return out.flush().map_err(|error| CommandError::build(format!("cannot write to standard output: {error}")));
    };
    let cannot = |action: &str, error: std::io::Error| {
        CommandError::build(format!("cannot {action} `{}`: {error}", path.display()))
    };
    // Devices and pipes are written to as they are.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let mut out = BufWriter::new(File::options().write(true).open(path).map_err(|error| cannot("open", error))?);
        write(&mut out).map_err(|error| failed(&error))?;
        return out.flush().map_err(|error| cannot("write", error));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
    let result = (|| {
        let file = File::create(&partial).map_err(|error| cannot("create", error))?;
        let mut out = BufWriter::with_capacity(256 * 1024, Cancellable::new(file, cancelled));
        write(&mut out).map_err(|error| failed(&error))?;
        out.flush().map_err(|error| cannot("write", error))?;
        std::fs::rename(&partial, path).map_err(|error| cannot("write", error))
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    result
}
