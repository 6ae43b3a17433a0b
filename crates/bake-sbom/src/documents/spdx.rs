//! SPDX 2.3 as JSON (<https://spdx.github.io/spdx-spec/v2.3/>), as far as lists of packages need it.
#![expect(clippy::struct_field_names, reason = "the names are the format's")]

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{NAMESPACE, Subject, properties, time};
use crate::inventory::{ChecksumAlgorithm, Distribution, Inventory, Package};
use crate::licence::{self, NamedLicence};

const NO_ASSERTION: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const SUBJECT: &str = "SPDXRef-Subject";
const SYSTEM: &str = "SPDXRef-OperatingSystem";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    document_describes: [&'static str; 1],
    packages: Vec<PackageEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<ExtractedLicence>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreationInfo {
    license_list_version: String,
    creators: [String; 2],
    created: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PackageEntry {
    name: String,
    #[serde(rename = "SPDXID")]
    id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version_info: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    supplier: Option<String>,
    download_location: String,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<ChecksumEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    homepage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    license_concluded: &'static str,
    license_declared: String,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalReference>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Annotation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_package_purpose: Option<&'static str>,
}

impl PackageEntry {
    /// An entry of which nothing but the name is known.
    fn new(name: &str, id: String) -> Self {
        Self {
            name: name.to_owned(),
            id,
            version_info: String::new(),
            supplier: None,
            download_location: NO_ASSERTION.to_owned(),
            files_analyzed: false,
            checksums: Vec::new(),
            homepage: None,
            source_info: None,
            license_concluded: NO_ASSERTION,
            license_declared: NO_ASSERTION.to_owned(),
            copyright_text: NO_ASSERTION,
            summary: None,
            external_refs: Vec::new(),
            annotations: Vec::new(),
            primary_package_purpose: None,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChecksumEntry {
    algorithm: &'static str,
    checksum_value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalReference {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Annotation {
    annotation_date: String,
    annotation_type: &'static str,
    annotator: String,
    comment: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExtractedLicence {
    license_id: String,
    extracted_text: String,
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: String,
    relationship_type: &'static str,
    related_spdx_element: String,
}

pub(super) fn document(inventory: &Inventory, subject: &Subject) -> Document {
    let mut packages = vec![subject_entry(subject)];
    let mut relationships = vec![relation(DOCUMENT, "DESCRIBES", SUBJECT)];
    if let Some(distribution) = &inventory.distribution {
        packages.push(distribution_entry(distribution));
        relationships.push(relation(SUBJECT, "CONTAINS", SYSTEM));
    }
    let mut named = BTreeSet::new();
    for package in inventory.packages() {
        let entry = package_entry(package, subject, &mut named);
        relationships.push(relation(SUBJECT, "CONTAINS", &entry.id));
        packages.push(entry);
    }
    let ids: BTreeMap<&str, String> =
        inventory.packages().map(|package| (package.purl.as_str(), identifier(package))).collect();
    for package in inventory.packages() {
        let needed = package.needs.iter().filter_map(|purl| ids.get(purl.as_str()));
        relationships.extend(needed.map(|needed| relation(&identifier(package), "DEPENDS_ON", needed)));
    }
    let name = subject.version.as_ref().map_or_else(|| subject.name.clone(), |tag| format!("{}:{tag}", subject.name));
    Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name,
        document_namespace: format!("{NAMESPACE}/spdx/{}", inventory.uuid(subject)),
        creation_info: CreationInfo {
            license_list_version: list_version(),
            creators: ["Organization: bake".to_owned(), tool(subject)],
            created: time(subject),
        },
        comment: incomplete(inventory),
        document_describes: [SUBJECT],
        packages,
        has_extracted_licensing_infos: named.into_iter().map(extracted).collect(),
        relationships,
    }
}

/// `3.29` of `3.29.0`: two numbers is all there is room for.
fn list_version() -> String {
    spdx::license_version().split('.').take(2).collect::<Vec<_>>().join(".")
}

fn tool(subject: &Subject) -> String {
    format!("Tool: bake-{}", subject.tool_version)
}

/// What the document says when files could not be read.
fn incomplete(inventory: &Inventory) -> Option<String> {
    let files: Vec<String> =
        inventory.warnings.iter().map(|warning| format!("/{}: {}", warning.path, warning.message)).collect();
    (!files.is_empty())
        .then(|| format!("The list is incomplete, for these files could not be read.\n{}", files.join("\n")))
}

fn subject_entry(subject: &Subject) -> PackageEntry {
    let mut entry = PackageEntry::new(&subject.name, SUBJECT.to_owned());
    entry.version_info = subject.version.clone().or_else(|| subject.digest.clone()).unwrap_or_default();
    entry.checksums.extend(
        subject
            .digest
            .as_deref()
            .and_then(|digest| digest.strip_prefix("sha256:"))
            .map(|hex| ChecksumEntry { algorithm: "SHA256", checksum_value: hex.to_owned() }),
    );
    entry.external_refs.extend(subject.purl.as_deref().map(purl_reference));
    entry.primary_package_purpose = Some(if subject.digest.is_some() { "CONTAINER" } else { "FILE" });
    entry
}

fn distribution_entry(distribution: &Distribution) -> PackageEntry {
    let mut entry = PackageEntry::new(&distribution.id, SYSTEM.to_owned());
    entry.version_info.clone_from(&distribution.version);
    entry.homepage = distribution.homepage.clone().filter(|homepage| is_address(homepage));
    entry.summary = Some(distribution.title.clone());
    entry.primary_package_purpose = Some("OPERATING-SYSTEM");
    entry
}

fn package_entry(package: &Package, subject: &Subject, named: &mut BTreeSet<NamedLicence>) -> PackageEntry {
    let mut entry = PackageEntry::new(&package.name, identifier(package));
    entry.version_info.clone_from(&package.version);
    entry.supplier = package.supplier.as_deref().and_then(supplier);
    if let Some(download) = package.download.as_ref().filter(|download| is_address(download)) {
        entry.download_location.clone_from(download);
    }
    entry.checksums = package
        .checksums
        .iter()
        .map(|checksum| ChecksumEntry {
            algorithm: match checksum.algorithm {
                ChecksumAlgorithm::Md5 => "MD5",
                ChecksumAlgorithm::Sha1 => "SHA1",
                ChecksumAlgorithm::Sha256 => "SHA256",
                ChecksumAlgorithm::Sha384 => "SHA384",
                ChecksumAlgorithm::Sha512 => "SHA512",
            },
            checksum_value: checksum.hex.clone(),
        })
        .collect();
    entry.homepage = package.homepage.clone().filter(|homepage| is_address(homepage));
    entry.source_info =
        package.source.as_ref().map(|source| format!("built package from: {} {}", source.name, source.version));
    if let Some(licence) = licence::all(&package.licences) {
        entry.license_declared = licence.text;
        named.extend(licence.named);
    }
    entry.summary.clone_from(&package.summary);
    entry.external_refs.push(purl_reference(&package.purl));
    let properties: Vec<String> = properties(package).iter().map(|(name, value)| format!("{name}: {value}")).collect();
    entry.annotations = vec![Annotation {
        annotation_date: time(subject),
        annotation_type: "OTHER",
        annotator: tool(subject),
        comment: properties.join("\n"),
    }];
    entry.primary_package_purpose = Some("LIBRARY").filter(|_| !package.ecosystem.is_system());
    entry
}

/// An identifier for a package: readable, and unique by the digest of its package URL.
fn identifier(package: &Package) -> String {
    let allowed = |character: char| if character.is_ascii_alphanumeric() || character == '.' { character } else { '-' };
    let name: String = package.name.chars().take(64).map(allowed).collect();
    let digest = blake3::hash(package.purl.as_bytes()).to_hex();
    format!("SPDXRef-Package-{}-{name}-{}", package.ecosystem.name(), &digest[..16])
}

/// `Organization: NAME (ADDRESS)`. The format cannot have line breaks there, and parentheses only around the address. `None`
/// where nothing is left of a name.
fn supplier(declared: &str) -> Option<String> {
    let flat = |text: &str| -> String {
        let plain = |character: char| if character.is_control() || "()".contains(character) { ' ' } else { character };
        text.chars().map(plain).collect::<String>().trim().to_owned()
    };
    let parts = declared.split_once('<').and_then(|(name, rest)| Some((flat(name), flat(rest.split_once('>')?.0))));
    match parts {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
            Some(format!("Organization: {name} ({address})"))
        }
        _ => Some(flat(declared)).filter(|name| !name.is_empty()).map(|name| format!("Organization: {name}")),
    }
}

/// Whether a text can stand where SPDX wants an address.
fn is_address(text: &str) -> bool {
    let rest = ["http://", "https://", "ftp://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>\"{}|\\^`".contains(&byte);
    rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphanumeric()) && rest.bytes().all(plain))
}

fn purl_reference(purl: &str) -> ExternalReference {
    ExternalReference {
        reference_category: "PACKAGE-MANAGER",
        reference_type: "purl",
        reference_locator: purl.to_owned(),
    }
}

fn extracted(named: NamedLicence) -> ExtractedLicence {
    ExtractedLicence { license_id: named.reference, extracted_text: named.name.clone(), name: named.name }
}

fn relation(element: &str, kind: &'static str, related: &str) -> Relationship {
    Relationship {
        spdx_element_id: element.to_owned(),
        relationship_type: kind,
        related_spdx_element: related.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppliers_have_a_name() {
        for (declared, expected) in [
            ("Debian Developers <d@x>", Some("Organization: Debian Developers (d@x)")),
            ("A (B) Ltd <d@x>", Some("Organization: A  B  Ltd (d@x)")),
            ("<d@x>", Some("Organization: <d@x>")),
            ("Name", Some("Organization: Name")),
            ("(\u{1b}) ", None),
            ("() <>", Some("Organization: <>")),
        ] {
            assert_eq!(supplier(declared).as_deref(), expected, "{declared}");
        }
    }
}
