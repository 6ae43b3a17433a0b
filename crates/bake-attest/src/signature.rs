//! Signatures of images in the form of `cosign` (its `specs/SIGNATURE_SPEC.md`).
//!
//! What is signed is a small JSON document that names the image by its digest. It is the blob of a layer in a manifest, and an
//! annotation of the layer holds the signature. The manifest has the tag `sha256-HEX.sig` beside the image.

use bake_oci::json::canonical_json;
use bake_oci::manifest::{Descriptor, ImageManifest, descriptor, descriptor_digest};
use bake_oci::media_type::{OCI_CONFIG, OCI_MANIFEST};
use bake_oci::{Digest, Reference};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::key::{KeyError, SigningKey, VerifyingKey};

/// The largest document that is signed, in bytes.
pub const PAYLOAD_BYTES_MAX: u64 = 1 << 20;
/// The most signatures of an image that are looked at.
pub const SIGNATURES_MAX: usize = 256;

/// The media type of what is signed.
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation with the signature, in base64.
const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// What a document says it is.
const SIGNATURE_TYPE: &str = "cosign container image signature";
/// The time that cosign gives everything.
const BEGINNING: &str = "0001-01-01T00:00:00Z";

/// What somebody signed, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSignature {
    /// The document: its exact bytes.
    pub payload: Vec<u8>,
    /// The signature of the document, in ASN.1 form.
    pub signature: Vec<u8>,
}

/// A signature as a manifest names it: the document is a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSignature {
    /// The digest of the document.
    pub payload: Digest,
    /// The size of the document in bytes, at most [`PAYLOAD_BYTES_MAX`].
    pub size_bytes: u64,
    /// The signature of the document, in ASN.1 form.
    pub signature: Vec<u8>,
}

/// Why a signature does not say that an image is what its owner made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureProblem {
    /// The key did not make it.
    #[error("it was made by another key")]
    OtherKey,
    /// The document is none.
    #[error("what was signed is not a signature of an image")]
    NoDocument,
    /// It is of another image.
    #[error("it is of another image, `{0}`")]
    OtherImage(String),
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: PayloadImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct PayloadImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

impl ImageSignature {
    /// Signs the image `digest` of the repository of `reference`.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn new(key: &SigningKey, reference: &Reference, digest: &Digest) -> Result<Self, KeyError> {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": reference.name() },
                "image": { "docker-manifest-digest": digest.to_string() },
                "type": SIGNATURE_TYPE,
            },
            "optional": null,
        });
        let payload = payload.to_string().into_bytes();
        let signature = key.sign(&payload)?;
        Ok(Self { payload, signature })
    }

    /// Whether it says, by `key`, that `digest` is an image of the key's owner. The repository that it names is not looked at:
    /// images are copied with their signatures.
    ///
    /// # Errors
    /// Why it does not. Nothing of a document that `key` did not sign is looked at.
    pub fn verify(&self, key: &VerifyingKey, digest: &Digest) -> Result<(), SignatureProblem> {
        if !key.verifies(&self.payload, &self.signature) {
            return Err(SignatureProblem::OtherKey);
        }
        let payload: Payload = serde_json::from_slice(&self.payload).map_err(|_| SignatureProblem::NoDocument)?;
        if payload.critical.kind != SIGNATURE_TYPE {
            return Err(SignatureProblem::NoDocument);
        }
        if payload.critical.image.digest != digest.to_string() {
            let other = payload.critical.image.digest.chars().filter(|character| !character.is_control());
            return Err(SignatureProblem::OtherImage(other.take(160).collect()));
        }
        Ok(())
    }

    fn layer(&self) -> Descriptor {
        let mut layer = descriptor(SIMPLE_SIGNING, &Digest::of(&self.payload), self.payload.len() as u64);
        layer.set_annotations(Some([(SIGNATURE_ANNOTATION.to_owned(), STANDARD.encode(&self.signature))].into()));
        layer
    }
}

/// The tag under which signatures of an image are.
pub fn signature_tag(digest: &Digest) -> String {
    format!("{}-{}.sig", digest.algorithm().name(), digest.hex())
}

/// The signatures that a manifest names, at most [`SIGNATURES_MAX`]. Layers that are none are left out.
pub fn listed_signatures(manifest: &ImageManifest) -> Vec<ListedSignature> {
    let listed = |layer: &Descriptor| {
        if layer.media_type().to_string() != SIMPLE_SIGNING || layer.size() > PAYLOAD_BYTES_MAX {
            return None;
        }
        let signature = layer.annotations().as_ref()?.get(SIGNATURE_ANNOTATION)?;
        Some(ListedSignature {
            payload: descriptor_digest(layer).ok()?,
            size_bytes: layer.size(),
            signature: STANDARD.decode(signature).ok()?,
        })
    };
    manifest.layers().iter().filter_map(listed).take(SIGNATURES_MAX).collect()
}

/// A manifest with a signature, and the blobs that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureManifest {
    /// The manifest.
    pub manifest: Vec<u8>,
    /// The config.
    pub config: Vec<u8>,
    /// What was signed, or a bundle of that and the signature.
    pub document: Vec<u8>,
}

impl SignatureManifest {
    /// For the tag of an image: with `signature` and all layers that the manifest there has already.
    pub fn for_tag(existing: Option<&ImageManifest>, signature: &ImageSignature) -> Self {
        let mut layers: Vec<Descriptor> = existing.map(|manifest| manifest.layers().clone()).unwrap_or_default();
        layers.push(signature.layer());
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.digest().to_string()).collect();
        let history: Vec<Value> = layers.iter().map(|_| json!({ "created": BEGINNING })).collect();
        let config = json!({
            "architecture": "",
            "config": {},
            "created": BEGINNING,
            "history": history,
            "os": "",
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &Digest::of(&config), config.len() as u64),
            "layers": layers,
        });
        let manifest = canonical_json(&manifest).expect("texts and numbers can always be written");
        Self { manifest, config, document: signature.payload.clone() }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_oci::manifest::Document;

    use super::*;
    use crate::key::PrivateKeyFile;

    fn parsed(manifest: &SignatureManifest) -> ImageManifest {
        match Document::parse(&manifest.manifest, Some(OCI_MANIFEST)).unwrap() {
            Document::Manifest(manifest) => *manifest,
            Document::Index(_) => panic!("it is an index"),
        }
    }

    #[test]
    fn signatures_are_of_one_image_by_one_key() {
        let (key, _) = SigningKey::generate(b"").unwrap();
        let (other, _) = SigningKey::generate(b"").unwrap();
        let reference = Reference::parse("registry.example.com/app:1").unwrap();
        let (digest, wrong) = (Digest::of(b"image"), Digest::of(b"other image"));
        let signature = ImageSignature::new(&key, &reference, &digest).unwrap();
        assert_eq!(
            String::from_utf8(signature.payload.clone()).unwrap(),
            format!(
                r#"{{"critical":{{"identity":{{"docker-reference":"registry.example.com/app"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
            )
        );
        assert_eq!(signature.verify(&key.verifying_key(), &digest), Ok(()));
        assert_eq!(signature.verify(&other.verifying_key(), &digest), Err(SignatureProblem::OtherKey));
        let expected = SignatureProblem::OtherImage(digest.to_string());
        assert_eq!(signature.verify(&key.verifying_key(), &wrong), Err(expected));
        let mut changed = signature.clone();
        changed.payload = String::from_utf8(changed.payload).unwrap().replace(digest.hex(), wrong.hex()).into_bytes();
        assert_eq!(changed.verify(&key.verifying_key(), &wrong), Err(SignatureProblem::OtherKey));
        // The key may have signed other things than images.
        let other_type = String::from_utf8(signature.payload).unwrap().replace("cosign container", "something of a");
        for payload in ["{}".to_owned(), "nothing".to_owned(), other_type] {
            let payload = payload.into_bytes();
            let signature = ImageSignature { signature: key.sign(&payload).unwrap(), payload };
            assert_eq!(signature.verify(&key.verifying_key(), &digest), Err(SignatureProblem::NoDocument));
        }
    }

    /// Made by skopeo 1.22: `generate-sigstore-key` with the password `pw`, and `copy --sign-by-sigstore-private-key`.
    #[test]
    fn skopeos_keys_and_signatures_are_understood() {
        let public = VerifyingKey::parse(include_str!("../testdata/skopeo.pub")).unwrap();
        let signature = ImageSignature {
            payload: include_bytes!("../testdata/skopeo.payload").to_vec(),
            signature: include_bytes!("../testdata/skopeo.sig").to_vec(),
        };
        let digest = "sha256:e9d77553f9de16eca1d9d2b8f66d70604db4c81122e43d7b5689614bb6c10e32";
        assert_eq!(signature.verify(&public, &Digest::parse(digest).unwrap()), Ok(()));
        let private = PrivateKeyFile::parse(include_str!("../testdata/skopeo.key")).unwrap();
        assert_eq!(private.unlock(b"pw").unwrap().verifying_key(), public);
    }

    #[test]
    fn manifests_keep_the_signatures_of_others() {
        let (key, _) = SigningKey::generate(b"").unwrap();
        let reference = Reference::parse("a.io/b").unwrap();
        let digest = Digest::of(b"image");
        let first = ImageSignature::new(&key, &reference, &digest).unwrap();
        let second = ImageSignature::new(&key, &reference, &digest).unwrap();
        let one = SignatureManifest::for_tag(None, &first);
        let two = SignatureManifest::for_tag(Some(&parsed(&one)), &second);
        let signatures: Vec<Vec<u8>> = listed_signatures(&parsed(&two)).into_iter().map(|s| s.signature).collect();
        assert_eq!(signatures, [first.signature.clone(), second.signature]);
        let config: Value = serde_json::from_slice(&two.config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
        assert_eq!(parsed(&two).config().digest().to_string(), Digest::of(&two.config).to_string());

        assert_eq!(signature_tag(&digest), format!("sha256-{}.sig", digest.hex()));
    }
}
