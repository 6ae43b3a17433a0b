//! Attestations beside images: as referrers or in an index, and as files beside the files of an image.

use std::collections::BTreeMap;

use bake_attest::{Artifact, Statement, attestation_manifest, image_purl, referrer_manifest};
use bake_oci::manifest::{Descriptor, Document, descriptor, descriptor_digest};
use bake_oci::media_type::Family;
use bake_oci::{Digest, Digester, Entry, EntryKind, Image, Reference, Timestamp, assemble_index};
use bake_snapshot::Snapshotter;
use bake_store::{BlobDescriptor, Store};

use crate::error::ExportError;
use crate::files::{FileTree, Owners};
use crate::image::{Exporter, Stored, blob_descriptor};
use crate::spec::truth;

/// The largest index that is read again to have attestations added.
const INDEX_BYTES_MAX: u64 = 4 << 20;

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

/// Where what is said of a result lies in an output.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttestationOptions {
    /// Where.
    pub form: AttestationForm,
    /// What the names of files begin with that are written beside files.
    pub prefix: String,
}

impl AttestationOptions {
    /// Reads an option of an output.
    pub(crate) fn field(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "attestation-form" => {
                self.form = match value {
                    "referrer" => AttestationForm::Referrer,
                    "index" => AttestationForm::Index,
                    "none" => AttestationForm::None,
                    other => return Err(format!("attestation-form is referrer, index or none, not `{other}`")),
                }
            }
            "attestation-inline" if truth(key, value)? && !self.form.is_index() => self.form = AttestationForm::Index,
            "oci-artifact" if truth(key, value)? => self.form = AttestationForm::IndexArtifact,
            "attestation-prefix" if value.contains('/') => {
                return Err("attestation-prefix is the beginning of a file name, without `/`".into());
            }
            "attestation-prefix" => value.clone_into(&mut self.prefix),
            _ => {}
        }
        Ok(())
    }
}

/// A manifest in the store that says something of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Attached {
    /// The manifest of the image that it is about.
    pub subject: Digest,
    /// Names the manifest, with what lists of referrers or the index show of it.
    pub descriptor: Descriptor,
    /// The manifest's digest.
    pub digest: Digest,
    /// What it names: digests and sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// How it is found from the image.
    pub form: AttestationForm,
}

impl Attached {
    /// Whether nothing but its own subject ties it to the image.
    pub fn is_referrer(&self) -> bool {
        self.form == AttestationForm::Referrer
    }

    /// What kind of artifact it is.
    pub fn kind(&self) -> String {
        self.descriptor.artifact_type().as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// The manifest as the store names it.
    pub fn blob(&self) -> BlobDescriptor {
        blob_descriptor(&self.descriptor, &self.digest)
    }
}

/// A file that is written beside the files of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BesideFile {
    /// Its name at the top.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its time.
    pub mtime: Timestamp,
}

impl BesideFile {
    pub(crate) fn entry(&self) -> Entry {
        let mut entry = Entry::new(self.name.as_str(), EntryKind::File { size: self.bytes.len() as u64 }, 0o644);
        entry.mtime = self.mtime;
        entry
    }
}

impl Exporter {
    /// Writes statements about the images of `stored` (those of each image, in the same order) to the store, in `form`, and
    /// adds them to what is stored. Of referrers nothing changes for the images; an index is made around them, or the one
    /// that is there is made longer.
    pub fn attest(
        &self,
        mut stored: Stored,
        said: &[Vec<Statement>],
        form: AttestationForm,
    ) -> Result<Stored, ExportError> {
        for (image, statements) in stored.images.iter().zip(said) {
            let subject = image.descriptor(None);
            let artifacts = match form {
                _ if statements.is_empty() => Vec::new(),
                AttestationForm::None => Vec::new(),
                AttestationForm::Referrer => {
                    let manifests = statements.iter().map(|statement| referrer_manifest(statement, &subject));
                    manifests.collect::<Result<Vec<_>, _>>()?
                }
                AttestationForm::Index => vec![attestation_manifest(statements, &subject, false)?],
                AttestationForm::IndexArtifact => vec![attestation_manifest(statements, &subject, true)?],
            };
            for artifact in artifacts {
                stored.attached.push(self.put_artifact(&artifact, image, form)?);
            }
        }
        if form.is_index() && !stored.attached.is_empty() {
            stored.descriptor = self.index_with(&stored)?;
        }
        Ok(stored)
    }

    fn put_artifact(&self, artifact: &Artifact, image: &Image, form: AttestationForm) -> Result<Attached, ExportError> {
        for bytes in artifact.blobs.values() {
            self.store.put_bytes(bytes)?;
        }
        self.store.put_bytes(&artifact.manifest_bytes)?;
        Ok(Attached {
            subject: image.digest.clone(),
            descriptor: artifact.descriptor.clone(),
            digest: artifact.digest.clone(),
            blobs: artifact.blobs.iter().map(|(digest, bytes)| (digest.clone(), bytes.len() as u64)).collect(),
            form,
        })
    }

    /// An index of the images and then what is attached to them, in the order in which `BuildKit` has them.
    fn index_with(&self, stored: &Stored) -> Result<BlobDescriptor, ExportError> {
        let attached = stored.attached.iter().filter(|attached| attached.form.is_index());
        let attached = attached.map(|attached| attached.descriptor.clone());
        if let Some(only) = stored.single() {
            let manifests = std::iter::once(only.descriptor(Some(&only.platform()))).chain(attached).collect();
            let index = assemble_index(Family::Oci, manifests, BTreeMap::new())?;
            self.store.put_bytes(&index.bytes)?;
            return Ok(blob_descriptor(&index.descriptor(), &index.digest));
        }
        let digest = &stored.descriptor.digest;
        let bytes = self.store.read_small_blob(digest, INDEX_BYTES_MAX)?;
        let bytes = bytes.ok_or_else(|| ExportError::MissingBlob(digest.clone()))?;
        let invalid = |error: bake_oci::ManifestError| ExportError::Invalid(error.to_string());
        let document = Document::parse(&bytes, Some(&stored.descriptor.media_type)).map_err(invalid)?;
        let Document::Index(mut index) = document else {
            return Err(ExportError::Invalid(format!("{digest} is not the index that it should be")));
        };
        index.set_manifests(index.manifests().iter().cloned().chain(attached).collect());
        let bytes = bake_oci::manifest::index_bytes(&index).map_err(invalid)?;
        self.store.put_bytes(&bytes)?;
        let digest = Digest::of(&bytes);
        let named = descriptor(&stored.descriptor.media_type, &digest, bytes.len() as u64);
        Ok(blob_descriptor(&named, &digest))
    }

    /// Takes what is attached to the images into the local store's keeping: it stays there as long as they do. What was
    /// said of them before of the same kind (the same predicate) goes.
    pub fn keep_attached(&self, stored: &Stored) -> Result<(), ExportError> {
        for image in &stored.images {
            let new: Vec<&Attached> = stored
                .attached
                .iter()
                .filter(|attached| attached.is_referrer() && attached.subject == image.digest)
                .collect();
            if new.is_empty() {
                continue;
            }
            let kind = |descriptor: &Descriptor| bake_attest::predicate_of(descriptor).map(str::to_owned);
            let kinds: Vec<Option<String>> = new.iter().map(|attached| kind(&attached.descriptor)).collect();
            let mut replaced = Vec::new();
            for known in attached_to(&self.store, &image.digest)? {
                let is_new = new.iter().any(|attached| attached.digest == known.digest);
                if !is_new && kinds.contains(&kind(&known.descriptor)) {
                    replaced.push(known.digest);
                }
            }
            let blobs: Vec<BlobDescriptor> = new.iter().map(|attached| attached.blob()).collect();
            self.store.attach(&image.digest, &blobs)?;
            self.store.detach(&image.digest, &replaced)?;
        }
        Ok(())
    }

    /// What the local store keeps beside the manifest `old`, for the same image in another form, `new`, that is to be called
    /// `names`. Statements are made anew about that one; and what cannot be, since it is signed or of a kind that is not
    /// known, is told by its artifact type.
    pub fn carry_over(
        &self,
        old: &Digest,
        new: &Image,
        names: &[Reference],
    ) -> Result<(Vec<Attached>, Vec<String>), ExportError> {
        let (mut carried, mut left) = (Vec::new(), Vec::new());
        let names: Vec<String> = names.iter().map(|name| image_purl(name, Some(&new.platform()))).collect();
        for attached in attached_to(&self.store, old)? {
            if *old == new.digest {
                carried.push(attached);
                continue;
            }
            match self.statement_of(&attached)?.and_then(|statement| statement.of_other_form(old, &new.digest, &names))
            {
                Some(statement) => {
                    let artifact = referrer_manifest(&statement, &new.descriptor(None))?;
                    carried.push(self.put_artifact(&artifact, new, AttestationForm::Referrer)?);
                }
                None => left.push(attached.kind()),
            }
        }
        Ok((carried, left))
    }

    /// The one statement that an attached manifest holds.
    fn statement_of(&self, attached: &Attached) -> Result<Option<Statement>, ExportError> {
        let [(_, _), (digest, size_bytes)] = attached.blobs.as_slice() else { return Ok(None) };
        if attached.kind() != bake_oci::media_type::IN_TOTO {
            return Ok(None);
        }
        let bytes = self.store.read_small_blob(digest, *size_bytes)?;
        Ok(bytes.and_then(|bytes| Statement::parse(&bytes).ok()))
    }

    /// The digests of all regular files of a stack of layer directories (base first), by path.
    ///
    /// # Errors
    /// [`ExportError::NameTaken`] if one of the `beside` files has the name of something that the image has.
    pub fn file_digests(
        &self,
        snapshotter: &dyn Snapshotter,
        tree: &FileTree,
        beside: &[String],
    ) -> Result<BTreeMap<Vec<u8>, Digest>, ExportError> {
        let mut digests: BTreeMap<Vec<u8>, Digest> = BTreeMap::new();
        let tree = FileTree { directory: None, beside: Vec::new(), ..tree.clone() };
        self.each_entry(snapshotter, &tree, None, &mut Owners::default(), |entry, content| {
            if beside.iter().any(|name| name.as_bytes() == entry.path) {
                return Err(ExportError::NameTaken(entry.display_path()));
            }
            match entry.kind {
                EntryKind::File { .. } => {
                    let mut digester = Hashing(Digester::new());
                    std::io::copy(content, &mut digester).map_err(ExportError::Write)?;
                    digests.insert(entry.path, digester.0.finish());
                }
                EntryKind::HardLink { target } => {
                    if let Some(digest) = digests.get(&target).cloned() {
                        digests.insert(entry.path, digest);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(digests)
    }
}

/// What a store keeps beside the manifest `subject`. What cannot be read, or is not whole, is left out: it
/// says nothing.
pub fn attached_to(store: &Store, subject: &Digest) -> Result<Vec<Attached>, ExportError> {
    let mut attached = Vec::new();
    for referrer in store.referrers(subject)? {
        let Some(bytes) = store.read_small_blob(&referrer.digest, INDEX_BYTES_MAX)? else { continue };
        let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, Some(&referrer.media_type)) else {
            continue;
        };
        let mut named = descriptor(&referrer.media_type, &referrer.digest, referrer.size_bytes);
        let config_type = || manifest.config().media_type().clone();
        named.set_artifact_type(manifest.artifact_type().clone().or_else(|| Some(config_type())));
        named.set_annotations(manifest.annotations().clone());
        let blobs = std::iter::once(manifest.config()).chain(manifest.layers());
        let blobs = blobs.map(|blob| Ok((descriptor_digest(blob)?, blob.size())));
        let Ok(blobs) = blobs.collect::<Result<Vec<_>, bake_oci::digest::DigestError>>() else { continue };
        let mut whole = true;
        for (digest, _) in &blobs {
            whole &= store.blob_size(digest)?.is_some();
        }
        if !whole {
            continue;
        }
        attached.push(Attached {
            subject: subject.clone(),
            descriptor: named,
            digest: referrer.digest,
            blobs,
            form: AttestationForm::Referrer,
        });
    }
    Ok(attached)
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
