//! Where attestations lie: options of outputs, and the list of files that one is about.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bake_oci::{Digest, Digester, EntryKind, LayerReader};
use bake_snapshot::Snapshotter;

use crate::error::ExportError;
use crate::image::Exporter;

/// Where attestations lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AttestationForm {
    /// Beside the image, as manifests that name it as their subject (OCI image spec 1.1). The image keeps its digest.
    #[default]
    Referrer,
    /// In an index around the image, as `BuildKit` has them: a manifest of platform `unknown/unknown`.
    Index,
    /// As in an index, and the manifest also names the image as its subject (`oci-artifact=true`).
    IndexArtifact,
    /// Nowhere.
    None,
}

impl AttestationForm {
    /// Whether it is a form of an index.
    pub fn is_index(self) -> bool {
        matches!(self, Self::Index | Self::IndexArtifact)
    }
}

impl AttestationForm {
    /// The value of `attestation-form=`.
    pub(crate) fn parse(value: &str) -> Result<Self, String> {
        match value {
            "referrer" => Ok(Self::Referrer),
            "index" => Ok(Self::Index),
            "none" => Ok(Self::None),
            other => Err(format!("attestation-form is referrer, index or none, not `{other}`")),
        }
    }
}

impl Exporter {
    /// The digests of all regular files of a stack of layer directories (base first), by path.
    pub fn file_digests(
        &self,
        snapshotter: &dyn Snapshotter,
        layers: &[PathBuf],
    ) -> Result<BTreeMap<String, Digest>, ExportError> {
        let (reader, writer) = std::io::pipe().map_err(ExportError::Write)?;
        std::thread::scope(|scope| {
            let archive = scope.spawn(move || self.to_tar(snapshotter, layers, std::io::BufWriter::new(writer)));
            let digests = digests(std::io::BufReader::with_capacity(256 * 1024, reader));
            let written = archive.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            digests.and_then(|digests| written.map(|()| digests))
        })
    }
}

fn digests(stream: impl std::io::Read) -> Result<BTreeMap<String, Digest>, ExportError> {
    let failed = |error: bake_oci::LayerReadError| ExportError::Write(std::io::Error::other(error));
    let mut reader = LayerReader::new(stream);
    let mut digests: BTreeMap<String, Digest> = BTreeMap::new();
    while let Some(mut next) = reader.next_entry().map_err(failed)? {
        let path = next.entry.display_path();
        match next.entry.kind.clone() {
            EntryKind::File { .. } => {
                let mut digester = Hashing(Digester::new());
                std::io::copy(&mut next, &mut digester).map_err(ExportError::Write)?;
                digests.insert(path, digester.0.finish());
            }
            EntryKind::HardLink { target } => {
                if let Some(digest) = digests.get(&*String::from_utf8_lossy(&target)).cloned() {
                    digests.insert(path, digest);
                }
            }
            _ => {}
        }
    }
    Ok(digests)
}

/// Hashes what is written.
struct Hashing(Digester);

impl std::io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
