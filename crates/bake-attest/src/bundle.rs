//! Signatures of images as bundles of sigstore, the form that `cosign` writes by default since version 3.
//!
//! ```text
//! manifest   artifactType of a bundle, subject: the image, one layer: the bundle
//! bundle     {"mediaType": ..., "verificationMaterial": {"publicKey": {"hint": ...}}, "dsseEnvelope": ...}
//! envelope   {"payloadType": "application/vnd.in-toto+json", "payload": BASE64, "signatures": [{"sig": BASE64}]}
//! payload    an in-toto statement whose subject is the image's digest, with the predicate type of a signature
//! ```
//!
//! What is signed is the payload with its type and both lengths before it (DSSE, `protocol.md`). Only public keys count here:
//! certificates, logs and time stamps in a bundle are not looked at.

use std::collections::BTreeMap;

use bake_oci::Digest;
use bake_oci::digest::from_hex;
use bake_oci::json::canonical_json;
use bake_oci::manifest::{Descriptor, ImageManifest, descriptor, descriptor_digest};
use bake_oci::media_type::OCI_MANIFEST;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use crate::key::{KeyError, SigningKey, VerifyingKey};
use crate::signature::{SignatureManifest, SignatureProblem};

/// The media type of bundles, and the artifact type of manifests that hold one.
pub const SIGSTORE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The largest bundle that is looked at, in bytes.
pub const BUNDLE_BYTES_MAX: u64 = 4 << 20;

/// What media types of bundles of all versions begin with.
const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";
/// What says in an annotation what a bundle is about.
const PREDICATE_ANNOTATION: &str = "dev.sigstore.bundle.predicateType";
const CONTENT_ANNOTATION: &str = "dev.sigstore.bundle.content";
const CONTENT: &str = "dsse-envelope";
const STATEMENT_PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The predicate type of a statement that is nothing but a signature.
const SIGN_PREDICATE: &str = "https://sigstore.dev/cosign/sign/v1";
/// The empty JSON object as a config (OCI image specification, "Guidance for an Empty Descriptor").
const EMPTY_CONFIG: &str = "application/vnd.oci.empty.v1+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BundleText {
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatementText {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<StatementSubject>,
    predicate_type: String,
}

#[derive(Deserialize)]
struct StatementSubject {
    digest: BTreeMap<String, String>,
}

/// Verifies that `bundle` says, by `key`, that `digest` is an image of the key's owner.
///
/// # Errors
/// Why it does not. Nothing of a statement that `key` did not sign is looked at, and a statement that says anything else of the image,
/// such as how it was made, is no signature of it.
pub fn verify_bundle(bundle: &[u8], key: &VerifyingKey, digest: &Digest) -> Result<(), SignatureProblem> {
    let unusable = || SignatureProblem::NoDocument;
    let bundle: BundleText = serde_json::from_slice(bundle).map_err(|_| unusable())?;
    let envelope = bundle.dsse_envelope.ok_or_else(unusable)?;
    let payload = STANDARD.decode(&envelope.payload).map_err(|_| unusable())?;
    let signed = signed_bytes(&envelope.payload_type, &payload);
    let by_key = |signature: &EnvelopeSignature| {
        STANDARD.decode(&signature.sig).is_ok_and(|signature| key.verifies(&signed, &signature))
    };
    if !envelope.signatures.iter().any(by_key) {
        return Err(SignatureProblem::OtherKey);
    }
    let statement: StatementText = serde_json::from_slice(&payload).map_err(|_| unusable())?;
    if envelope.payload_type != STATEMENT_PAYLOAD
        || statement.kind != STATEMENT
        || statement.predicate_type != SIGN_PREDICATE
    {
        return Err(unusable());
    }
    let algorithm = digest.algorithm().name();
    let named: Vec<&String> = statement.subject.iter().filter_map(|subject| subject.digest.get(algorithm)).collect();
    if named.iter().any(|hex| *hex == digest.hex()) {
        return Ok(());
    }
    let other = named.first().filter(|hex| from_hex(hex).is_some() && hex.len() <= 128);
    Err(other.map_or_else(unusable, |hex| SignatureProblem::OtherImage(format!("{algorithm}:{hex}"))))
}

/// Signs the image `subject`: a bundle, and the manifest that refers to the image with it.
///
/// # Errors
/// The system gives no random numbers.
pub fn sign_bundle(key: &SigningKey, subject: &Descriptor, digest: &Digest) -> Result<SignatureManifest, KeyError> {
    let statement = json!({
        "_type": STATEMENT,
        "subject": [{ "digest": { digest.algorithm().name(): digest.hex() } }],
        "predicateType": SIGN_PREDICATE,
        "predicate": {},
    });
    let payload = statement.to_string().into_bytes();
    let signature = key.sign(&signed_bytes(STATEMENT_PAYLOAD, &payload))?;
    let fingerprint = from_hex(key.verifying_key().fingerprint().hex()).unwrap_or_default();
    let bundle = json!({
        "mediaType": SIGSTORE_BUNDLE,
        "verificationMaterial": { "publicKey": { "hint": STANDARD.encode(fingerprint) } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(&payload),
            "payloadType": STATEMENT_PAYLOAD,
            "signatures": [{ "sig": STANDARD.encode(signature) }],
        },
    });
    let (bundle, config) = (bundle.to_string().into_bytes(), b"{}".to_vec());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": SIGSTORE_BUNDLE,
        "config": descriptor(EMPTY_CONFIG, &Digest::of(&config), config.len() as u64),
        "layers": [descriptor(SIGSTORE_BUNDLE, &Digest::of(&bundle), bundle.len() as u64)],
        "subject": subject,
        "annotations": { CONTENT_ANNOTATION: CONTENT, PREDICATE_ANNOTATION: SIGN_PREDICATE },
    });
    let manifest = canonical_json(&manifest).expect("texts and numbers can always be written");
    Ok(SignatureManifest { manifest, config, document: bundle })
}

/// Whether what a list of referrers says of a manifest allows that it holds a signature: it may also say nothing.
pub fn may_hold_signature(listed: &Descriptor) -> bool {
    let is_bundle = listed.artifact_type().as_ref().is_some_and(|kind| kind.to_string().starts_with(BUNDLE_PREFIX));
    let predicate = listed.annotations().as_ref().and_then(|annotations| annotations.get(PREDICATE_ANNOTATION));
    is_bundle && predicate.is_none_or(|predicate| predicate == SIGN_PREDICATE)
}

/// Digest and size in bytes of the bundle that a manifest holds; `None` if it holds none, or one that is too large.
pub fn bundle_of(manifest: &ImageManifest) -> Option<(Digest, u64)> {
    let is_bundle = |layer: &&Descriptor| {
        layer.media_type().to_string().starts_with(BUNDLE_PREFIX) && layer.size() <= BUNDLE_BYTES_MAX
    };
    let layer = manifest.layers().iter().find(is_bundle)?;
    Some((descriptor_digest(layer).ok()?, layer.size()))
}

/// What is signed of a payload (DSSE, "PAE").
fn signed_bytes(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_oci::manifest::Document;
    use serde_json::Value;

    use super::*;

    fn image() -> (Descriptor, Digest) {
        let digest = Digest::of(b"image");
        (descriptor(OCI_MANIFEST, &digest, 5), digest)
    }

    /// A bundle with another statement, signed well.
    fn bundle_of_statement(key: &SigningKey, payload_type: &str, payload: &str) -> Vec<u8> {
        let signature = key.sign(&signed_bytes(payload_type, payload.as_bytes())).unwrap();
        json!({
            "dsseEnvelope": {
                "payload": STANDARD.encode(payload),
                "payloadType": payload_type,
                "signatures": [{ "sig": "AAAA" }, { "sig": STANDARD.encode(signature) }],
            },
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn bundles_are_of_one_image_by_one_key() {
        let (key, _) = SigningKey::generate(b"").unwrap();
        let (other, _) = SigningKey::generate(b"").unwrap();
        let (subject, digest) = image();
        let signed = sign_bundle(&key, &subject, &digest).unwrap();
        let public = key.verifying_key();
        assert_eq!(verify_bundle(&signed.document, &public, &digest), Ok(()));
        assert_eq!(verify_bundle(&signed.document, &other.verifying_key(), &digest), Err(SignatureProblem::OtherKey));
        let wrong = Digest::of(b"other");
        let problem = SignatureProblem::OtherImage(digest.to_string());
        assert_eq!(verify_bundle(&signed.document, &public, &wrong), Err(problem));

        let Document::Manifest(manifest) = Document::parse(&signed.manifest, Some(OCI_MANIFEST)).unwrap() else {
            panic!("it is an index")
        };
        assert_eq!(bundle_of(&manifest).unwrap(), (Digest::of(&signed.document), signed.document.len() as u64));
        assert_eq!(manifest.subject().as_ref().unwrap(), &subject);
    }

    #[test]
    fn another_statement_is_no_signature() {
        let (key, _) = SigningKey::generate(b"").unwrap();
        let (_, digest) = image();
        let statement = |kind: &str, predicate: &str| {
            json!({ "_type": kind, "subject": [{ "digest": { "sha256": digest.hex() } }], "predicateType": predicate })
                .to_string()
        };
        let good = statement(STATEMENT, SIGN_PREDICATE);
        let verified = |bundle: &[u8]| verify_bundle(bundle, &key.verifying_key(), &digest);
        assert_eq!(verified(&bundle_of_statement(&key, STATEMENT_PAYLOAD, &good)), Ok(()));
        for (payload_type, payload) in [
            ("text/plain", good.as_str()),
            (STATEMENT_PAYLOAD, "nothing"),
            (STATEMENT_PAYLOAD, &statement(STATEMENT, "https://slsa.dev/provenance/v1")),
            (STATEMENT_PAYLOAD, &statement("https://in-toto.io/Statement/v0.1", SIGN_PREDICATE)),
            (STATEMENT_PAYLOAD, &good.replace("sha256", "sha512")),
        ] {
            let bundle = bundle_of_statement(&key, payload_type, payload);
            assert_eq!(verified(&bundle), Err(SignatureProblem::NoDocument), "{payload}");
        }
        // The type is signed too.
        let mut changed: Value = serde_json::from_slice(&bundle_of_statement(&key, "text/plain", &good)).unwrap();
        changed["dsseEnvelope"]["payloadType"] = STATEMENT_PAYLOAD.into();
        assert_eq!(verified(changed.to_string().as_bytes()), Err(SignatureProblem::OtherKey));
        assert_eq!(verified(b"{}"), Err(SignatureProblem::NoDocument));
        assert_eq!(verified(b""), Err(SignatureProblem::NoDocument));
    }

    /// Made by the packages `@sigstore/sign` 4 and `@sigstore/bundle` 4 of npm, with a key of openssl.
    #[test]
    fn bundles_of_sigstores_library_are_understood() {
        let public = VerifyingKey::parse(include_str!("../testdata/openssl.pub")).unwrap();
        let bundle = include_bytes!("../testdata/sigstore.bundle.json");
        let digest = Digest::of(b"image");
        assert_eq!(verify_bundle(bundle, &public, &digest), Ok(()));
        let (other, _) = SigningKey::generate(b"").unwrap();
        assert_eq!(verify_bundle(bundle, &other.verifying_key(), &digest), Err(SignatureProblem::OtherKey));
    }

    #[test]
    fn lists_may_say_what_a_bundle_is_about() {
        let (mut listed, _) = image();
        assert!(!may_hold_signature(&listed));
        listed.set_artifact_type(Some(SIGSTORE_BUNDLE.into()));
        assert!(may_hold_signature(&listed));
        listed.set_annotations(Some(
            [(PREDICATE_ANNOTATION.to_owned(), "https://slsa.dev/provenance/v1".to_owned())].into(),
        ));
        assert!(!may_hold_signature(&listed));
    }
}
