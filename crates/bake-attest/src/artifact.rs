//! Statements as manifests: the two forms in which they lie beside an image.
//!
//! ```text
//! referrer (the default)                         in an index, as BuildKit has it
//!
//! image manifest <-- subject -- manifest         index
//!                               artifactType       image manifest          linux/amd64
//!                               config {}          attestation manifest    unknown/unknown
//!                               layer: statement     vnd.docker.reference.digest: <image manifest>
//!                                                    config: os "unknown", a diff ID for each statement
//!                                                    layers: statements
//! ```
//!
//! A referrer holds one statement, so that a reader fetches only what it asked for (OCI image spec 1.1, "Guidelines for
//! Artifact Usage"; OCI distribution spec, "Listing Referrers").

use std::collections::{BTreeMap, HashMap};

use bake_oci::manifest::{artifact_manifest, descriptor, manifest_bytes};
use bake_oci::{Descriptor, Digest, ImageManifest, JsonError, ManifestError, Platform, canonical_json, media_type};
use serde_json::json;

use crate::statement::Statement;

/// The artifact type of an attestation manifest that also names its subject (`oci-artifact=true`).
pub const ATTESTATION_ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// The annotation with the kind of thing that a statement says.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// What ties an attestation manifest to its image in an index.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// The config of a manifest that has none (OCI image spec, "Guidance for an Empty Descriptor").
const EMPTY: &[u8] = b"{}";

/// A manifest with everything that it names.
#[derive(Debug, Clone, PartialEq)]
pub struct Artifact {
    /// Names the manifest: with its artifact type and annotations for a list of referrers, or its platform for an index.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: ImageManifest,
    /// Its bytes.
    pub manifest_bytes: Vec<u8>,
    /// Its digest.
    pub digest: Digest,
    /// The config and the layers.
    pub blobs: BTreeMap<Digest, Vec<u8>>,
}

/// Why a statement cannot be made a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// A statement cannot be written.
    #[error("Failed to write a statement about the image")]
    Statement(#[from] JsonError),
    /// The manifest cannot be written.
    #[error("Failed to write the manifest of an attestation")]
    Manifest(#[from] ManifestError),
}

/// A manifest that says `statement` of `subject`, the descriptor of an image's manifest.
pub fn referrer_manifest(statement: &Statement, subject: &Descriptor) -> Result<Artifact, ArtifactError> {
    let bytes = statement.to_bytes()?;
    let mut layer = descriptor(media_type::IN_TOTO, &Digest::of(&bytes), bytes.len() as u64);
    let annotations = HashMap::from([(PREDICATE_TYPE.to_owned(), statement.predicate_type.clone())]);
    layer.set_annotations(Some(annotations.clone()));
    let empty = descriptor(media_type::OCI_EMPTY, &Digest::of(EMPTY), EMPTY.len() as u64);
    let mut manifest = artifact_manifest(empty, vec![layer]);
    manifest.set_artifact_type(Some(media_type::IN_TOTO.into()));
    manifest.set_subject(Some(plain(subject)));
    // Lists of referrers repeat them, so that a reader finds what it wants without fetching all.
    manifest.set_annotations(Some(annotations));
    finish(manifest, [EMPTY.to_vec(), bytes])
}

/// The manifest that says `statements` of `subject` within an index; with `names_subject` also by itself.
pub fn attestation_manifest(
    statements: &[Statement],
    subject: &Descriptor,
    names_subject: bool,
) -> Result<Artifact, ArtifactError> {
    let (mut layers, mut blobs) = (Vec::new(), Vec::new());
    for statement in statements {
        let bytes = statement.to_bytes()?;
        let mut layer = descriptor(media_type::IN_TOTO, &Digest::of(&bytes), bytes.len() as u64);
        layer.set_annotations(Some(HashMap::from([(PREDICATE_TYPE.to_owned(), statement.predicate_type.clone())])));
        layers.push(layer);
        blobs.push(bytes);
    }
    let config = if names_subject {
        EMPTY.to_vec()
    } else {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.digest().as_ref()).collect();
        canonical_json(&json!({
            "architecture": "unknown", "os": "unknown", "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        }))?
    };
    let config_type = if names_subject { media_type::OCI_EMPTY } else { media_type::OCI_CONFIG };
    let mut manifest = artifact_manifest(descriptor(config_type, &Digest::of(&config), config.len() as u64), layers);
    manifest.set_artifact_type(names_subject.then(|| ATTESTATION_ARTIFACT.into()));
    manifest.set_subject(names_subject.then(|| plain(subject)));
    blobs.push(config);
    let mut artifact = finish(manifest, blobs)?;
    bake_oci::manifest::set_descriptor_platform(&mut artifact.descriptor, &Platform::new("unknown", "unknown", None));
    artifact.descriptor.set_annotations(Some(HashMap::from([
        (REFERENCE_TYPE.to_owned(), "attestation-manifest".to_owned()),
        (REFERENCE_DIGEST.to_owned(), subject.digest().to_string()),
    ])));
    Ok(artifact)
}

/// What kind of thing a manifest or a layer of one says, by the annotations of what names it.
pub fn predicate_of(named: &Descriptor) -> Option<&str> {
    named.annotations().as_ref().and_then(|annotations| annotations.get(PREDICATE_TYPE)).map(String::as_str)
}

fn finish(manifest: ImageManifest, blobs: impl IntoIterator<Item = Vec<u8>>) -> Result<Artifact, ArtifactError> {
    let bytes = manifest_bytes(&manifest)?;
    let digest = Digest::of(&bytes);
    let mut named = descriptor(media_type::OCI_MANIFEST, &digest, bytes.len() as u64);
    named.set_artifact_type(manifest.artifact_type().clone());
    named.set_annotations(manifest.annotations().clone());
    let blobs = blobs.into_iter().map(|bytes| (Digest::of(&bytes), bytes)).collect();
    Ok(Artifact { descriptor: named, manifest, manifest_bytes: bytes, digest, blobs })
}

/// A subject is named by type, digest and size alone.
fn plain(subject: &Descriptor) -> Descriptor {
    Descriptor::new(subject.media_type().clone(), subject.size(), subject.digest().clone())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_oci::Document;
    use bake_oci::manifest::descriptor_platform;

    use super::*;
    use crate::statement::{SPDX, Subject};

    fn image() -> Descriptor {
        descriptor(media_type::OCI_MANIFEST, &Digest::of(b"image"), 5)
    }

    fn statement() -> Statement {
        Statement::new(vec![Subject::new("a", &Digest::of(b"image"))], SPDX, json!({"x": 1}))
    }

    #[test]
    fn a_referrer_names_its_subject() {
        let artifact = referrer_manifest(&statement(), &image()).unwrap();
        let Document::Manifest(read) = Document::parse(&artifact.manifest_bytes, None).unwrap() else { panic!() };
        assert_eq!(read.subject().as_ref().unwrap().digest(), image().digest());
        assert_eq!(read.artifact_type().as_ref().unwrap().to_string(), media_type::IN_TOTO);
        assert_eq!(predicate_of(&artifact.descriptor), Some(SPDX));
        for blob in std::iter::once(read.config()).chain(read.layers()) {
            let digest = bake_oci::manifest::descriptor_digest(blob).unwrap();
            assert_eq!(artifact.blobs[&digest].len() as u64, blob.size());
        }
        assert_eq!(artifact, referrer_manifest(&statement(), &image()).unwrap());
        let text = String::from_utf8(artifact.manifest_bytes).unwrap();
        assert!(!text.contains("unknown"), "{text}");
    }

    #[test]
    fn an_attestation_manifest_is_buildkits() {
        let artifact = attestation_manifest(&[statement()], &image(), false).unwrap();
        assert_eq!(descriptor_platform(&artifact.descriptor).unwrap().to_string(), "unknown/unknown");
        let annotations = artifact.descriptor.annotations().clone().unwrap();
        assert_eq!(annotations["vnd.docker.reference.type"], "attestation-manifest");
        assert_eq!(annotations["vnd.docker.reference.digest"], Digest::of(b"image").to_string());
        assert!(artifact.manifest.subject().is_none());
        let layer = artifact.manifest.layers()[0].digest().to_string();
        let config = bake_oci::manifest::descriptor_digest(artifact.manifest.config()).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&artifact.blobs[&config]).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], layer);

        let artifact = attestation_manifest(&[statement()], &image(), true).unwrap();
        assert_eq!(artifact.manifest.subject().as_ref().unwrap().digest(), image().digest());
        assert_eq!(artifact.manifest.artifact_type().as_ref().unwrap().to_string(), ATTESTATION_ARTIFACT);
        assert_eq!(artifact.manifest.config().media_type().to_string(), media_type::OCI_EMPTY);
    }
}
