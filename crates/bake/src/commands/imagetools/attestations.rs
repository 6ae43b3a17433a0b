//! What an image in a registry says of itself: provenance and bills of materials, as BuildKit stores them.
//!
//! An index has, beside an image, a manifest whose descriptor names the image by `vnd.docker.reference.digest`. Its layers
//! are in-toto statements, told apart by the annotation `in-toto.io/predicate-type`.

use bake::error::CommandError;
use bake_oci::manifest::{Descriptor, ImageIndex, descriptor_digest};
use bake_oci::{Document, Platform, Reference};
use serde_json::{Map, Value, json};

use crate::commands::transfer;
use crate::wiring::Host;

/// In an index, which image an attestation is about.
pub(super) const ABOUT_ANNOTATION: &str = "vnd.docker.reference.digest";
/// The largest statement: bills of materials of large images have ten megabytes.
const STATEMENT_BYTES_MAX: u64 = 64 << 20;
/// The most attestations of one image that are read.
const STATEMENTS_MAX: usize = 100;

/// A kind of statement, by the beginning of its predicate's type, and what buildx calls it.
#[derive(Debug, Clone, Copy)]
pub(super) struct StatementKind {
    prefix: &'static str,
    name: &'static str,
    /// Where there are several: the first has `name`, the others are listed here.
    others: Option<&'static str>,
}

/// How an image was built.
pub(super) const PROVENANCE: StatementKind =
    StatementKind { prefix: "https://slsa.dev/provenance/", name: "SLSA", others: None };
/// What is in an image.
pub(super) const BILL_OF_MATERIALS: StatementKind =
    StatementKind { prefix: "https://spdx.dev/Document", name: "SPDX", others: Some("AdditionalSPDXs") };

/// The statements of `kind` about the images of an index: of an index with a single image those, else by platform. Empty
/// where there are none.
pub(super) fn statements(
    reference: &Reference,
    index: &ImageIndex,
    kind: StatementKind,
    host: &Host,
) -> Result<Value, CommandError> {
    let images: Vec<(Platform, &Descriptor)> = super::inspect::images(index);
    let mut by_platform = Map::new();
    for (platform, image) in &images {
        let mut predicates = Vec::new();
        for attestation in index.manifests().iter().filter(|entry| about(entry) == Some(image.digest().as_ref())) {
            read(reference, attestation, kind, host, &mut predicates)?;
        }
        let mut predicates = predicates.into_iter();
        let Some(first) = predicates.next() else { continue };
        let mut told = json!({ kind.name: first });
        if let (Some(name), true) = (kind.others, predicates.len() > 0) {
            told[name] = predicates.collect();
        }
        by_platform.insert(platform.to_string(), told);
    }
    Ok(match images.as_slice() {
        [(platform, _)] => by_platform.remove(&platform.to_string()).unwrap_or_else(|| json!({})),
        _ => Value::Object(by_platform),
    })
}

/// The digest of the image that an entry of an index is about.
pub(super) fn about(entry: &Descriptor) -> Option<&str> {
    entry.annotations().as_ref()?.get(ABOUT_ANNOTATION).map(String::as_str)
}

/// Reads the statements of `kind` of an attestation manifest.
fn read(
    reference: &Reference,
    attestation: &Descriptor,
    kind: StatementKind,
    host: &Host,
    predicates: &mut Vec<Value>,
) -> Result<(), CommandError> {
    let digest = descriptor_digest(attestation).map_err(|error| CommandError::build(error.to_string()))?;
    let invalid = |problem: String| CommandError::build(format!("the attestation {digest} is not valid: {problem}"));
    let bytes = host.network.manifest(reference, &digest).map_err(|error| transfer::network_failed(&error))?;
    let parsed = Document::parse(&bytes, Some(attestation.media_type().as_ref()));
    let Document::Manifest(manifest) = parsed.map_err(|error| invalid(error.to_string()))? else {
        return Err(invalid("it is an index".into()));
    };
    for layer in manifest.layers() {
        let predicate = bake_attest::predicate_of(layer);
        if !predicate.is_some_and(|predicate| predicate.starts_with(kind.prefix)) || predicates.len() >= STATEMENTS_MAX
        {
            continue;
        }
        let blob = descriptor_digest(layer).map_err(|error| invalid(error.to_string()))?;
        let bytes = host
            .network
            .small_blob(reference, &blob, layer.size(), STATEMENT_BYTES_MAX)
            .map_err(|error| transfer::network_failed(&error))?;
        let mut statement: Value = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        predicates.push(statement["predicate"].take());
    }
    Ok(())
}
