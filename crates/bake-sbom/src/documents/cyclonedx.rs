//! CycloneDX 1.5 as JSON (<https://cyclonedx.org/docs/1.5/json/>), as far as lists of packages need it.

use serde::Serialize;

use super::{Subject, properties, time};
use crate::inventory::{ChecksumAlgorithm, Distribution, Inventory, Package, Standing};
use crate::licence;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
    dependencies: Vec<Dependency>,
    compositions: [Composition; 1],
}

#[derive(Serialize)]
struct Metadata {
    timestamp: String,
    tools: Tools,
    component: Component,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Tools {
    components: [Tool; 1],
}

#[derive(Serialize)]
struct Tool {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    #[serde(rename = "bom-ref")]
    reference: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<Organisation>,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Licence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<ExternalReference>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

impl Component {
    /// A component of which nothing but the name is known.
    fn new(kind: &'static str, name: &str, reference: String) -> Self {
        Self {
            reference,
            kind,
            supplier: None,
            name: name.to_owned(),
            version: String::new(),
            description: None,
            scope: None,
            hashes: Vec::new(),
            licenses: Vec::new(),
            purl: None,
            external_references: Vec::new(),
            properties: Vec::new(),
        }
    }
}

#[derive(Serialize)]
struct Organisation {
    name: String,
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

/// Either one expression, or any number of names: the format does not let them be mixed.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Licence {
    Expression(String),
    License { name: String },
}

#[derive(Serialize)]
struct ExternalReference {
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency {
    #[serde(rename = "ref")]
    reference: String,
    depends_on: Vec<String>,
}

#[derive(Serialize)]
struct Composition {
    aggregate: &'static str,
    assemblies: Vec<String>,
}

pub(super) fn document(inventory: &Inventory, subject: &Subject) -> Document {
    let top = subject_component(subject);
    let mut components: Vec<Component> = inventory.distribution.iter().map(distribution_component).collect();
    components.extend(inventory.packages().map(package_component));
    let mut dependencies = vec![Dependency {
        reference: top.reference.clone(),
        depends_on: components.iter().map(|component| component.reference.clone()).collect(),
    }];
    let needing = inventory.packages().filter(|package| !package.needs.is_empty());
    dependencies.extend(needing.map(|package| Dependency {
        reference: package.purl.clone(),
        depends_on: package.needs.iter().cloned().collect(),
    }));
    let complete = inventory.warnings.is_empty();
    let unreadable = inventory
        .warnings
        .iter()
        .map(|warning| Property { name: "bake:unreadable", value: format!("/{}: {}", warning.path, warning.message) });
    Document {
        schema: "http://cyclonedx.org/schema/bom-1.5.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.5",
        serial_number: format!("urn:uuid:{}", inventory.uuid(subject)),
        version: 1,
        compositions: [Composition {
            // Files that belong to no package are never listed, so more than this cannot be said.
            aggregate: if complete { "unknown" } else { "incomplete" },
            assemblies: vec![top.reference.clone()],
        }],
        metadata: Metadata {
            timestamp: time(subject),
            tools: Tools {
                components: [Tool { kind: "application", name: "bake", version: subject.tool_version.clone() }],
            },
            component: top,
            properties: unreadable.collect(),
        },
        components,
        dependencies,
    }
}

fn subject_component(subject: &Subject) -> Component {
    let reference = subject.purl.clone().or_else(|| subject.digest.clone()).unwrap_or_else(|| "subject".to_owned());
    let kind = if subject.digest.is_some() { "container" } else { "file" };
    let mut component = Component::new(kind, &subject.name, reference);
    component.version = subject.version.clone().or_else(|| subject.digest.clone()).unwrap_or_default();
    component.purl.clone_from(&subject.purl);
    component.hashes.extend(
        subject
            .digest
            .as_deref()
            .and_then(|digest| digest.strip_prefix("sha256:"))
            .map(|hex| Hash { alg: "SHA-256", content: hex.to_owned() }),
    );
    component
}

fn distribution_component(distribution: &Distribution) -> Component {
    let reference = format!("os:{}", distribution.qualifier());
    let mut component = Component::new("operating-system", &distribution.id, reference);
    component.version.clone_from(&distribution.version);
    component.description = Some(distribution.title.clone());
    component.external_references.extend(distribution.homepage.as_deref().and_then(website));
    component
}

fn package_component(package: &Package) -> Component {
    let mut component = Component::new("library", &package.name, package.purl.clone());
    component.version.clone_from(&package.version);
    component.supplier = package.supplier.clone().map(|name| Organisation { name });
    component.description.clone_from(&package.summary);
    component.scope = Some("optional").filter(|_| package.standing == Standing::Development);
    component.hashes = package
        .checksums
        .iter()
        .map(|checksum| Hash {
            alg: match checksum.algorithm {
                ChecksumAlgorithm::Md5 => "MD5",
                ChecksumAlgorithm::Sha1 => "SHA-1",
                ChecksumAlgorithm::Sha256 => "SHA-256",
                ChecksumAlgorithm::Sha384 => "SHA-384",
                ChecksumAlgorithm::Sha512 => "SHA-512",
            },
            content: checksum.hex.clone(),
        })
        .collect();
    component.licenses = licences(package);
    component.purl = Some(package.purl.clone());
    component.external_references.extend(package.homepage.as_deref().and_then(website));
    if let Some(url) = package.download.clone().filter(|download| is_address(download)) {
        component.external_references.push(ExternalReference { kind: "distribution", url });
    }
    component.properties = properties(package).into_iter().map(|(name, value)| Property { name, value }).collect();
    if let Some(source) = &package.source {
        let version = Some(&source.version).filter(|version| !version.is_empty());
        let parts = [("bake:sourceName", Some(&source.name)), ("bake:sourceVersion", version)];
        component
            .properties
            .extend(parts.into_iter().filter_map(|(name, value)| Some(Property { name, value: value?.clone() })));
    }
    component
}

fn licences(package: &Package) -> Vec<Licence> {
    match licence::all(&package.licences) {
        None => Vec::new(),
        Some(read) if read.named.is_empty() => vec![Licence::Expression(read.text)],
        // The format has no place for what references stand for.
        Some(_) => package.licences.iter().map(|declared| Licence::License { name: name(declared) }).collect(),
    }
}

/// A licence by its SPDX identifiers, or by the words of the package.
fn name(declared: &str) -> String {
    let read = licence::expression(declared).filter(|read| read.named.is_empty());
    read.map_or_else(|| declared.to_owned(), |read| read.text)
}

fn website(homepage: &str) -> Option<ExternalReference> {
    is_address(homepage).then(|| ExternalReference { kind: "website", url: homepage.to_owned() })
}

/// Whether a text is an address by the format's schema (an IRI reference), and one that leads somewhere.
fn is_address(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>\"{}|\\^`".contains(&byte);
    (text.starts_with("https://") || text.starts_with("http://")) && text.bytes().all(plain)
}
