//! `bake imagetools inspect`.

use bake::cli::ImagetoolsInspectArguments;
use bake::error::CommandError;
use bake::template::Absent;
use bake::ui::sanitize::sanitize_line;
use bake_exporter::CopiedDocument;
use bake_oci::manifest::{Descriptor, ImageIndex, descriptor_digest, descriptor_platform};
use bake_oci::{Digest, Document, Platform, Reference};
use serde_json::{Map, Value, json};

use super::attestations::{BILL_OF_MATERIALS, PROVENANCE, statements};
use crate::commands::{bring, listing, transfer};
use crate::wiring::Host;

/// Fields that only some images have: templates may ask for them anywhere.
const OPTIONAL: &[&str] =
    &["Annotations", "Manifests", "OsVersion", "Platform", "Provenance", "SBOM", "SLSA", "SPDX", "Variant"];
/// The largest image config.
const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// The most platforms whose configs are fetched.
const PLATFORMS_MAX: usize = 200;

pub(super) fn run(arguments: &ImagetoolsInspectArguments, host: &Host) -> Result<(), CommandError> {
    let reference = Reference::parse(&arguments.image).map_err(|error| CommandError::usage(error.to_string()))?;
    let reference = reference.or_latest();
    let document = bring::resolve(&reference, None, host)?;
    if arguments.raw {
        return crate::print_bytes(&document.bytes);
    }
    let parsed = Document::parse(&document.bytes, Some(&document.media_type))
        .map_err(|error| CommandError::build(format!("`{}` is not valid: {error}", reference.familiar())))?;
    let Some(template) = &arguments.format else {
        return crate::print(&text(&reference, &document, &parsed));
    };
    let mut described = json!({ "Name": reference.to_string(), "Manifest": manifest(&document)? });
    // Configs cost a request for each platform.
    if template.may_use("Image") {
        described["Image"] = image(&reference, &parsed, host)?;
    }
    if let Document::Index(index) = &parsed {
        for (field, kind) in [("Provenance", PROVENANCE), ("SBOM", BILL_OF_MATERIALS)] {
            if template.may_use(field) {
                described[field] = statements(&reference, index, kind, host)?;
            }
        }
    }
    let absent = Absent { optional: OPTIONAL, printed: &[] };
    let text = listing::evaluate(template, &described, &absent)?;
    crate::print(&format!("{text}\n"))
}

/// The document with what its descriptor says.
fn manifest(document: &CopiedDocument) -> Result<Value, CommandError> {
    let mut value: Value = serde_json::from_slice(&document.bytes)
        .map_err(|error| CommandError::build(format!("the manifest is not valid: {error}")))?;
    value["mediaType"] = json!(document.media_type);
    value["digest"] = json!(document.digest.to_string());
    value["size"] = json!(document.bytes.len());
    Ok(value)
}

/// The config, or where there are several those of all platforms by platform.
fn image(reference: &Reference, document: &Document, host: &Host) -> Result<Value, CommandError> {
    match document {
        Document::Manifest(manifest) => config(reference, manifest.config(), host),
        Document::Index(index) => {
            let mut platforms = Map::new();
            for (platform, child) in images(index).into_iter().take(PLATFORMS_MAX) {
                let digest = digest_of(child)?;
                let bytes =
                    host.network.manifest(reference, &digest).map_err(|error| transfer::network_failed(&error))?;
                let invalid =
                    |error: bake_oci::ManifestError| CommandError::build(format!("{digest} is not valid: {error}"));
                if let Document::Manifest(manifest) = Document::parse(&bytes, None).map_err(invalid)? {
                    platforms.insert(platform.to_string(), config(reference, manifest.config(), host)?);
                }
            }
            // Of a single image, beside attestations, as of one without an index.
            if platforms.len() == 1 {
                return Ok(platforms.into_iter().next().map_or(Value::Null, |(_, config)| config));
            }
            Ok(Value::Object(platforms))
        }
    }
}

fn config(reference: &Reference, descriptor: &Descriptor, host: &Host) -> Result<Value, CommandError> {
    let digest = digest_of(descriptor)?;
    let bytes = host
        .network
        .small_blob(reference, &digest, descriptor.size(), CONFIG_BYTES_MAX)
        .map_err(|error| transfer::network_failed(&error))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| CommandError::build(format!("the config {digest} is no JSON: {error}")))
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, CommandError> {
    descriptor_digest(descriptor).map_err(|error| CommandError::build(error.to_string()))
}

/// The images of an index, without attestations.
pub(super) fn images(index: &ImageIndex) -> Vec<(Platform, &Descriptor)> {
    let with_platform = index.manifests().iter().filter_map(|child| Some((descriptor_platform(child)?, child)));
    with_platform.filter(|(platform, _)| !platform.is_unknown()).collect()
}

/// As of `docker buildx imagetools inspect`.
fn text(reference: &Reference, document: &CopiedDocument, parsed: &Document) -> String {
    let mut text = String::new();
    let mut line = |indent: &str, name: &str, value: &str| {
        let name = format!("{name}:");
        let told = if name == ":" { String::new() } else { format!("{indent}{name:<10} {}", sanitize_line(value)) };
        text.push_str(told.trim_end());
        text.push('\n');
    };
    line("", "Name", &reference.to_string());
    line("", "MediaType", &document.media_type);
    line("", "Digest", &document.digest.to_string());
    let Document::Index(index) = parsed else { return text };
    let named = if reference.digest().is_some() { reference.name() } else { reference.to_string() };
    line("", "", "");
    line("", "Manifests", "");
    for child in index.manifests() {
        line("  ", "Name", &format!("{named}@{}", child.digest()));
        line("  ", "MediaType", child.media_type().as_ref());
        if let Some(platform) = descriptor_platform(child) {
            line("  ", "Platform", &platform.to_string());
        }
        if let Some(annotations) = child.annotations().as_ref().filter(|annotations| !annotations.is_empty()) {
            line("  ", "Annotations", "");
            let mut sorted: Vec<_> = annotations.iter().collect();
            sorted.sort();
            for (key, value) in sorted {
                line("    ", key, value);
            }
        }
        line("", "", "");
    }
    text
}
