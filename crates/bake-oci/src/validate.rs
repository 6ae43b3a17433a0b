//! Checks a finished image against everything it says about itself.
//!
//! It is the second half of a pair: what assembles an image and what checks it share no state but the store, so a
//! mistake in one is found by the other. It reports all problems, not the first.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};

use crate::blob::{BlobStore, VerifyingReader, read_blob};
use crate::config::ImageConfig;
use crate::digest::{DiffId, Digest, Digester};
use crate::json::{CONFIG_BYTES_MAX, MANIFEST_BYTES_MAX};
use crate::layer::decompress::{ExpansionLimits, decompress, detect};
use crate::layer::entry::{Entry, EntryKind, display_path};
use crate::layer::read::LayerReader;
use crate::layer::whiteout::{Whiteout, classify, is_overlay_whiteout_device, is_overlay_xattr};
use crate::layout::INDEX_DEPTH_MAX;
use crate::manifest::{Descriptor, Document, ImageManifest, descriptor_digest, descriptor_platform};
use crate::media_type;

/// The most problems that are collected: after so many the image needs no more.
const PROBLEMS_MAX: usize = 100;

/// How much of an image is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Manifests and configs with their digests; of layers only that they are there with the right size.
    Quick,
    /// Also every layer: its digest, its diff ID, and that it is an archive engines can unpack.
    Full,
}

/// Something wrong with an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which part of the image: `manifest sha256:...`, `layer 2 (sha256:...)`.
    pub part: String,
    /// What is wrong with it.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.text)
    }
}

/// Checks the image or index that `descriptor` points to. `Err` has at least one problem.
///
/// Everything an index lists must be there; for one that was pulled in part, check its manifests one by one.
pub fn validate_image(descriptor: &Descriptor, store: &dyn BlobStore, depth: Depth) -> Result<(), Vec<Problem>> {
    let mut check = Check { store, depth, problems: Vec::new(), seen: HashSet::new() };
    check.document(descriptor, INDEX_DEPTH_MAX);
    if check.problems.is_empty() { Ok(()) } else { Err(check.problems) }
}

struct Check<'a> {
    store: &'a dyn BlobStore,
    depth: Depth,
    problems: Vec<Problem>,
    /// Documents and layers that have been checked: images of an index share layers.
    seen: HashSet<Digest>,
}

/// An error with all its sources, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl Check<'_> {
    fn report(&mut self, part: impl Into<String>, text: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { part: part.into(), text: text.into() });
        }
    }

    /// Checks a manifest or index and what is below it.
    fn document(&mut self, descriptor: &Descriptor, depth: u32) {
        let part = format!("manifest {}", descriptor.digest());
        let Some((digest, bytes)) = self.read(&part, descriptor, MANIFEST_BYTES_MAX) else { return };
        if !self.seen.insert(digest) {
            return;
        }
        match Document::parse(&bytes, Some(descriptor.media_type().as_ref())) {
            Err(error) => self.report(part, chain(&error)),
            Ok(Document::Manifest(manifest)) => self.manifest(&part, descriptor, &manifest),
            Ok(Document::Index(index)) => {
                let Some(depth) = depth.checked_sub(1) else {
                    self.report(part, "it is nested too deep");
                    return;
                };
                for child in index.manifests() {
                    let media_type = child.media_type().as_ref();
                    if media_type::is_manifest(media_type) || media_type::is_index(media_type) {
                        self.document(child, depth);
                    } else {
                        self.presence(&format!("entry {}", child.digest()), child);
                    }
                }
            }
        }
    }

    fn manifest(&mut self, part: &str, descriptor: &Descriptor, manifest: &ImageManifest) {
        let config = manifest.config();
        if !media_type::is_config(config.media_type().as_ref()) {
            // An artifact or attestation: its blobs are its own affair, but they must be there.
            for blob in std::iter::once(config).chain(manifest.layers()) {
                self.presence(&format!("blob {}", blob.digest()), blob);
            }
            return;
        }
        let config_part = format!("config {}", config.digest());
        let parsed = self.read(&config_part, config, CONFIG_BYTES_MAX).and_then(|(_, bytes)| {
            ImageConfig::parse(&bytes).map_err(|error| self.report(config_part.as_str(), chain(&error))).ok()
        });
        if let Some(parsed) = &parsed {
            self.config(&config_part, descriptor, manifest, parsed);
        } else if self.problems.is_empty() {
            self.report(part, "its config cannot be read");
        }
        for (number, layer) in manifest.layers().iter().enumerate() {
            let part = format!("layer {number} ({})", layer.digest());
            let diff_id = parsed.as_ref().and_then(|config| config.rootfs.diff_ids.get(number));
            self.layer(&part, layer, diff_id);
        }
    }

    fn config(&mut self, part: &str, descriptor: &Descriptor, manifest: &ImageManifest, config: &ImageConfig) {
        let (layers, diff_ids) = (manifest.layers().len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            self.report(part, format!("it has {diff_ids} diff IDs, the manifest has {layers} layers"));
        }
        let history = config.history_layers();
        if !config.history.is_empty() && history != layers {
            self.report(
                part,
                format!("its history has {history} entries with a layer, the manifest has {layers} layers"),
            );
        }
        if config.os.is_empty() || config.architecture.is_empty() {
            self.report(part, "it does not say for which platform it is");
        }
        if let Some(platform) = descriptor_platform(descriptor) {
            let own = config.platform().normalised();
            if (&own.os, &own.architecture) != (&platform.os, &platform.architecture) {
                self.report(part, format!("it is for {own}, the index says {platform}"));
            }
        }
    }

    fn layer(&mut self, part: &str, layer: &Descriptor, diff_id: Option<&DiffId>) {
        let media_type = layer.media_type().as_ref();
        if !media_type::is_layer(media_type) {
            self.report(part, format!("`{media_type}` is not the media type of a layer"));
            return;
        }
        let Some(digest) = self.presence(part, layer) else { return };
        if self.depth == Depth::Quick || !self.seen.insert(digest.clone()) {
            return;
        }
        let reader = match self.store.get(&digest) {
            Ok(Some(reader)) => reader,
            Ok(None) => return self.report(part, "it is missing"),
            Err(error) => return self.report(part, chain(&error)),
        };
        if let Err(text) = self.layer_content(part, layer, digest, reader, diff_id) {
            self.report(part, text);
        }
    }

    /// Reads a layer from both ends: the blob's digest below, the archive's above the decompression.
    fn layer_content(
        &mut self,
        part: &str,
        layer: &Descriptor,
        digest: Digest,
        mut reader: Box<dyn Read + Send>,
        diff_id: Option<&DiffId>,
    ) -> Result<(), String> {
        let text = |error: &dyn std::error::Error| chain(error);
        let mut start = [0; 4];
        let mut length = 0;
        while length < start.len() {
            match reader.read(&mut start[length..]) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(chain(&error)),
            }
        }
        let found = detect(&start[..length]).media_type();
        let announced = media_type::in_family(layer.media_type().as_ref(), media_type::Family::Oci);
        let is_ours =
            [media_type::OCI_LAYER, media_type::OCI_LAYER_GZIP, media_type::OCI_LAYER_ZSTD].contains(&announced);
        if is_ours && announced != found {
            self.report(part, format!("it is announced as `{announced}` but is compressed as `{found}`"));
        }
        let whole = io::Cursor::new(start[..length].to_vec()).chain(reader);
        let verified = VerifyingReader::new(whole, digest, Some(layer.size()));
        let unpacked = decompress(verified, ExpansionLimits::default()).map_err(|error| text(&error))?;
        let mut archive = LayerReader::new(Digesting { inner: unpacked, digester: Digester::new() });
        let mut names = Names::default();
        while let Some(entry) = archive.next_entry().map_err(|error| text(&error))? {
            if let Some(problem) = names.check(&entry.entry) {
                self.report(part, format!("`{}`: {problem}", entry.entry.display_path()));
            }
        }
        let actual = DiffId(archive.finish().map_err(|error| text(&error))?.digester.finish());
        match diff_id {
            Some(expected) if *expected != actual => {
                Err(format!("it decompresses to {actual}, the config's diff ID is {expected}"))
            }
            _ => Ok(()),
        }
    }

    /// That a blob is there and has the announced size.
    fn presence(&mut self, part: &str, descriptor: &Descriptor) -> Option<Digest> {
        let digest = descriptor_digest(descriptor).map_err(|error| self.report(part, chain(&error))).ok()?;
        match self.store.stat(&digest) {
            Err(error) => self.report(part, chain(&error)),
            Ok(None) => self.report(part, "it is missing"),
            Ok(Some(size)) if size != descriptor.size() => {
                self.report(part, format!("it has {size} bytes, its descriptor announces {}", descriptor.size()));
            }
            Ok(Some(_)) => return Some(digest),
        }
        None
    }

    /// A small blob, with the right size and digest.
    fn read(&mut self, part: &str, descriptor: &Descriptor, limit_bytes: u64) -> Option<(Digest, Vec<u8>)> {
        let digest = self.presence(part, descriptor)?;
        match read_blob(self.store, &digest, limit_bytes) {
            Ok(bytes) => Some((digest, bytes)),
            Err(error) => {
                self.report(part, chain(&error));
                None
            }
        }
    }
}

/// What entries of a layer say together. Names are kept as 16 bytes of their BLAKE3 value, so that a layer with
/// millions of entries takes little memory.
#[derive(Default)]
struct Names {
    seen: HashSet<[u8; 16]>,
    wanted: HashSet<[u8; 16]>,
}

impl Names {
    fn check(&mut self, entry: &Entry) -> Option<String> {
        let key = |path: &[u8]| {
            let mut key = [0; 16];
            key.copy_from_slice(&blake3::hash(path).as_bytes()[..16]);
            key
        };
        let own = key(&entry.path);
        self.seen.insert(own);
        if is_overlay_whiteout_device(&entry.kind) {
            return Some("a 0/0 device would be taken for a whiteout".to_owned());
        }
        if let Some(name) = entry.xattrs.keys().find(|name| is_overlay_xattr(name)) {
            return Some(format!("the attribute `{}` is overlayfs's own", display_path(name)));
        }
        if matches!(classify(entry.file_name()), Whiteout::Opaque | Whiteout::Remove(_))
            && entry.kind != (EntryKind::File { size: 0 })
        {
            return Some("a whiteout must be an empty file".to_owned());
        }
        if let EntryKind::HardLink { target } = &entry.kind {
            if *target == entry.path {
                return Some("a hard link to itself".to_owned());
            }
            let target = key(target);
            if !self.seen.contains(&target) {
                self.wanted.insert(target);
            }
        }
        if matches!(entry.kind, EntryKind::File { .. }) && self.wanted.contains(&own) {
            return Some("a hard link to it comes before it".to_owned());
        }
        None
    }
}

struct Digesting<R> {
    inner: R,
    digester: Digester,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digester.update(&buffer[..count]);
        Ok(count)
    }
}
