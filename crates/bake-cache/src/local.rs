//! A cache in a directory: an OCI layout, so that other tools can copy it.
//!
//! ```text
//! DIR/oci-layout
//! DIR/index.json            one manifest for each tag
//! DIR/blobs/ALGORITHM/HEX   manifests, documents, layers
//! DIR/.lock                 held while an export writes
//! ```
//!
//! Everything is written under another name and renamed; the index comes last. A reader therefore sees the cache of
//! before or the new one. After that, blobs that no tag leads to are removed: they are of no use to anybody.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bake_oci::layout::{INDEX_FILE, LAYOUT_BYTES, LAYOUT_FILE, REF_NAME_ANNOTATION, blob_path};
use bake_oci::manifest::{descriptor, descriptor_digest, index_bytes};
use bake_oci::{Digest, Document as OciDocument, ImageIndex, media_type};
use bake_store::{BlobDescriptor, Store, StoreError};

use crate::backend::{Backend, BackendError, DOCUMENT_BYTES_MAX, Progress};
use crate::manifest::{Cause, Reader, document_in, manifest_of};

/// The largest index and manifest (OCI distribution: registries must take 4 MiB).
const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// The file that says that an export is being written.
const LOCK_FILE: &str = ".lock";

/// The end of the name of a file that is not complete.
const PARTIAL: &str = ".part";

/// How deep indexes may lie in indexes.
const DEPTH_MAX: usize = 4;

/// A cache in a directory.
#[derive(Debug)]
pub struct LocalBackend {
    directory: PathBuf,
    tag: String,
    digest: Option<Digest>,
    reset: bool,
}

impl LocalBackend {
    /// The cache called `tag` in `directory`, or the one whose manifest has `digest`. With `reset`, an export throws away
    /// everything else that is there.
    pub fn new(directory: PathBuf, tag: String, digest: Option<Digest>, reset: bool) -> Self {
        Self { directory, tag, digest, reset }
    }

    fn failed(&self, action: &'static str) -> impl Fn(Cause) -> BackendError + '_ {
        move |source| BackendError { action, name: self.name(), source }
    }

    fn index(&self) -> Result<Option<ImageIndex>, Cause> {
        let path = self.directory.join(INDEX_FILE);
        let bytes = match read_limited(&path, MANIFEST_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at(&path, &error)),
        };
        match OciDocument::parse(&bytes, None)? {
            OciDocument::Index(index) => Ok(Some(*index)),
            OciDocument::Manifest(_) => Err("its index.json is no index".into()),
        }
    }

    fn is_named(&self, entry: &bake_oci::Descriptor) -> bool {
        let annotations = entry.annotations().as_ref();
        annotations.and_then(|all| all.get(REF_NAME_ANNOTATION)).is_some_and(|name| *name == self.tag)
    }

    /// Reads a small blob, verified.
    fn small(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, Cause> {
        let path = self.directory.join(blob_path(digest));
        let bytes = read_limited(&path, limit).map_err(|error| at(&path, &error))?;
        let mut digester = bake_oci::Digester::for_algorithm(digest.algorithm());
        digester.update(&bytes);
        let actual = digester.finish();
        if actual == *digest { Ok(bytes) } else { Err(format!("`{}` has the digest {actual}", path.display()).into()) }
    }

    fn read(&self) -> Result<Option<Vec<u8>>, Cause> {
        let digest = if let Some(digest) = &self.digest {
            digest.clone()
        } else {
            let Some(index) = self.index()? else { return Ok(None) };
            match index.manifests().iter().find(|entry| self.is_named(entry)) {
                Some(entry) => descriptor_digest(entry)?,
                // A layout that another tool wrote may have a single cache without a name.
                None => match index.manifests().as_slice() {
                    [only] if only.annotations().is_none() && self.tag == "latest" => descriptor_digest(only)?,
                    _ => return Ok(None),
                },
            }
        };
        let reader = Reader {
            manifest: &|digest| self.small(digest, MANIFEST_BYTES_MAX),
            blob: &|digest, size| self.small(digest, size.min(DOCUMENT_BYTES_MAX)),
        };
        Ok(Some(document_in(&self.small(&digest, MANIFEST_BYTES_MAX)?, &reader)?))
    }

    fn has(&self, blob: &BlobDescriptor) -> bool {
        fs::metadata(self.directory.join(blob_path(&blob.digest)))
            .is_ok_and(|there| there.is_file() && there.len() == blob.size_bytes)
    }

    fn export(
        &self,
        document: &[u8],
        blobs: &[BlobDescriptor],
        store: &Store,
        progress: &Progress<'_>,
    ) -> Result<(), Cause> {
        let manifest = manifest_of(document, blobs)?;
        fs::create_dir_all(&self.directory).map_err(|error| at(&self.directory, &error))?;
        let lock_path = self.directory.join(LOCK_FILE);
        let lock = File::create(&lock_path).map_err(|error| at(&lock_path, &error))?;
        lock.lock().map_err(|error| at(&lock_path, &error))?;
        for blob in blobs {
            if !self.has(blob) {
                let content = store.read_blob(&blob.digest)?;
                let mut content = content.ok_or_else(|| format!("blob {} is not in the store", blob.digest))?;
                self.place(&blob_path(&blob.digest), &mut content)?;
                progress(blob, blob.size_bytes);
            }
        }
        self.place(&blob_path(&Digest::of(document)), &mut &*document)?;
        let digest = Digest::of(&manifest);
        self.place(&blob_path(&digest), &mut manifest.as_slice())?;

        // Another tool's index is not worth failing for, but it is not thrown away silently either.
        let mut entries =
            if self.reset { Vec::new() } else { self.index()?.map_or_else(Vec::new, |i| i.manifests().clone()) };
        entries.retain(|entry| !self.is_named(entry));
        let mut entry = descriptor(media_type::OCI_MANIFEST, &digest, manifest.len() as u64);
        entry.set_annotations(Some([(REF_NAME_ANNOTATION.to_owned(), self.tag.clone())].into()));
        entries.push(entry);
        let mut index = ImageIndex::default();
        index.set_schema_version(2);
        index.set_media_type(Some(media_type::OCI_INDEX.into()));
        index.set_manifests(entries);
        self.place(LAYOUT_FILE, &mut &*LAYOUT_BYTES)?;
        self.place(INDEX_FILE, &mut index_bytes(&index)?.as_slice())?;
        self.remove_unreachable(&index);
        drop(lock);
        Ok(())
    }

    /// Writes a file under another name first: nobody must take half of it for the whole.
    fn place(&self, name: &str, content: &mut dyn Read) -> Result<(), Cause> {
        let target = self.directory.join(name);
        let parent = target.parent().unwrap_or(&self.directory);
        fs::create_dir_all(parent).map_err(|error| at(parent, &error))?;
        let mut partial_name = target.file_name().unwrap_or_default().to_owned();
        partial_name.push(PARTIAL);
        let partial = target.with_file_name(partial_name);
        let written = (|| {
            let mut file = File::create(&partial)?;
            io::copy(content, &mut file)?;
            file.flush()?;
            file.sync_all()?;
            fs::rename(&partial, &target)
        })();
        if written.is_err() {
            // It is in the way of nobody, and the next export writes over it.
            let _ = fs::remove_file(&partial);
        }
        written.map_err(|error| at(&target, &error))
    }

    /// Removes blobs that nothing in the index leads to. If one cannot be understood, everything stays.
    fn remove_unreachable(&self, index: &ImageIndex) {
        let mut reachable = HashSet::new();
        for entry in index.manifests() {
            if let Err(error) = self.reach(entry, 0, &mut reachable) {
                tracing::debug!(%error, directory = %self.directory.display(), "unused blobs stay");
                return;
            }
        }
        let blobs = self.directory.join(bake_oci::layout::BLOBS_DIRECTORY);
        for algorithm in fs::read_dir(&blobs).into_iter().flatten().flatten() {
            let algorithm_name = algorithm.file_name();
            for file in fs::read_dir(algorithm.path()).into_iter().flatten().flatten() {
                let text = format!("{}:{}", algorithm_name.display(), file.file_name().display());
                let keep = match Digest::parse(&text) {
                    Ok(digest) => reachable.contains(&digest),
                    // A partial file of an export that was killed; nobody writes now, for we hold the lock.
                    Err(_) => !text.ends_with(PARTIAL),
                };
                if !keep && let Err(error) = fs::remove_file(file.path()) {
                    tracing::debug!(%error, path = %file.path().display(), "an unused blob cannot be removed");
                }
            }
        }
    }

    fn reach(&self, entry: &bake_oci::Descriptor, depth: usize, reachable: &mut HashSet<Digest>) -> Result<(), Cause> {
        let digest = descriptor_digest(entry)?;
        let kind = entry.media_type().as_ref();
        let is_document = media_type::is_manifest(kind) || media_type::is_index(kind);
        if !reachable.insert(digest.clone()) || !is_document {
            return Ok(());
        }
        if depth > DEPTH_MAX {
            return Err("its indexes are nested too deeply".into());
        }
        match OciDocument::parse(&self.small(&digest, MANIFEST_BYTES_MAX)?, None)? {
            OciDocument::Manifest(manifest) => {
                reachable.insert(descriptor_digest(manifest.config())?);
                for layer in manifest.layers() {
                    reachable.insert(descriptor_digest(layer)?);
                }
            }
            OciDocument::Index(index) => {
                for entry in index.manifests() {
                    self.reach(entry, depth + 1, reachable)?;
                }
            }
        }
        Ok(())
    }
}

impl Backend for LocalBackend {
    fn name(&self) -> String {
        match &self.digest {
            Some(digest) => format!("`{}` ({digest})", self.directory.display()),
            None if self.tag == "latest" => format!("`{}`", self.directory.display()),
            None => format!("`{}` (tag {})", self.directory.display(), self.tag),
        }
    }

    fn read_document(&self) -> Result<Option<Vec<u8>>, BackendError> {
        self.read().map_err(self.failed("read the cache in"))
    }

    fn fetch_blob(&self, blob: &BlobDescriptor, store: &Store, progress: &Progress<'_>) -> Result<(), BackendError> {
        let failed = self.failed("fetch a layer from the cache in");
        let path = self.directory.join(blob_path(&blob.digest));
        let file = File::open(&path).map_err(|error| failed(at(&path, &error)))?;
        // One byte more than stated is enough to notice that there is more.
        let mut limited = file.take(blob.size_bytes.saturating_add(1));
        store.put_blob(Some(&blob.digest), &mut limited).map_err(|error| {
            if matches!(error, StoreError::DigestMismatch { .. }) {
                // It is of use to nobody, and in its place the next export would not write the right one.
                let _ = fs::remove_file(&path);
            }
            failed(Box::new(error))
        })?;
        progress(blob, blob.size_bytes);
        Ok(())
    }

    fn missing(&self, blobs: &[BlobDescriptor]) -> Result<Vec<BlobDescriptor>, BackendError> {
        Ok(blobs.iter().filter(|blob| !self.has(blob)).cloned().collect())
    }

    fn write(
        &self,
        document: &[u8],
        blobs: &[BlobDescriptor],
        store: &Store,
        progress: &Progress<'_>,
    ) -> Result<(), BackendError> {
        self.export(document, blobs, store, progress).map_err(self.failed("write the cache to"))
    }
}

fn at(path: &Path, error: &io::Error) -> Cause {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display())).into()
}

fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}
