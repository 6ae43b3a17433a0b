//! Loading images into a running containerd, by `ctr`, the program that comes with it: it takes an OCI layout as an archive.
//!
//! `ctr` itself looks at `CONTAINERD_ADDRESS` and `CONTAINERD_NAMESPACE`.

use std::io::{self, BufWriter, Write};
use std::process::{ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use bake_oci::{Reference, Timestamp};

use crate::archive::ArchiveKind;
use crate::cancellable::Cancellable;
use crate::error::ExportError;
use crate::image::{Exporter, Stored};

/// What is sent at once.
const PIECE_BYTES: usize = 256 << 10;

/// Why a containerd did not load an image.
#[derive(Debug, thiserror::Error)]
pub enum ContainerdError {
    /// `ctr` is not there.
    #[error("cannot start `ctr`")]
    Start(#[source] io::Error),
    /// It ended badly.
    #[error("containerd did not load the image: {0}")]
    Refused(String),
}

impl Exporter {
    /// Loads images of [`Exporter::for_archive`] into containerd under `names`, and returns what `ctr` said of each. Ends
    /// early when `cancelled` is set.
    pub fn to_containerd(
        &self,
        stored: &Stored,
        names: &[Reference],
        created: Option<Timestamp>,
        cancelled: &AtomicBool,
    ) -> Result<Vec<String>, ExportError> {
        let mut command = Command::new("ctr");
        command.args(["images", "import", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(ContainerdError::Start)?;
        let input = child.stdin.take();
        // It reads what `ctr` says, which would wait otherwise while we wait for it.
        let waiting = std::thread::spawn(move || child.wait_with_output());
        let sent = match input {
            Some(input) => self.send_to(input, stored, names, created, cancelled),
            None => Ok(()),
        };
        let ended = waiting.join().map_err(|_| io::Error::other("the thread that waits for `ctr` panicked"));
        if cancelled.load(Ordering::Relaxed) {
            return sent.map(|()| Vec::new());
        }
        let Output { status, stdout, stderr } = ended.flatten().map_err(ContainerdError::Start)?;
        if !status.success() {
            let said = String::from_utf8_lossy(&stderr).trim().to_owned();
            return Err(ContainerdError::Refused(if said.is_empty() { status.to_string() } else { said }).into());
        }
        sent?;
        Ok(String::from_utf8_lossy(&stdout).lines().map(str::to_owned).collect())
    }

    fn send_to(
        &self,
        input: ChildStdin,
        stored: &Stored,
        names: &[Reference],
        created: Option<Timestamp>,
        cancelled: &AtomicBool,
    ) -> Result<(), ExportError> {
        let mut pieces = BufWriter::with_capacity(PIECE_BYTES, Cancellable::new(input, cancelled));
        self.to_archive(stored, names, created, ArchiveKind::Oci, &mut pieces)?;
        pieces.flush().map_err(ExportError::Write)
    }
}
