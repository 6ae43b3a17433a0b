//! What inventories are written as.

mod cyclonedx;
mod spdx;

use bake_oci::{Digest, Platform, Reference, Timestamp};

use crate::inventory::{Inventory, Package};
use crate::purl::purl;

/// Where vocabulary and documents of bake are named. Nothing is fetched from there.
const NAMESPACE: &str = "https://github.com/bake-build/bake";

/// What an inventory is of, for its document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The name: that of an image without its tag, or what a stage or context is called.
    pub name: String,
    /// The tag of an image.
    pub version: Option<String>,
    /// The digest of an image's manifest, `sha256:...`.
    pub digest: Option<String>,
    /// The package URL of an image (`pkg:docker/...` or `pkg:oci/...`).
    pub purl: Option<String>,
    /// The time the document is made at, as it says. For equal documents the same each time: that of the image's making.
    pub created: Timestamp,
    /// The version of bake.
    pub tool_version: String,
}

impl Subject {
    /// An image by the digest of its manifest, and by its name where it has one.
    pub fn image(
        name: Option<&Reference>,
        digest: &Digest,
        platform: &Platform,
        created: Timestamp,
        tool_version: &str,
    ) -> Self {
        let tag = name.and_then(Reference::tag);
        let repository = name.map(Reference::name);
        let qualifiers =
            [("repository_url", repository.as_deref()), ("tag", tag), ("arch", Some(platform.architecture.as_str()))];
        let last = name.and_then(|name| name.repository().rsplit('/').next());
        Self {
            name: name.map_or_else(|| digest.to_string(), Reference::familiar_name),
            version: tag.map(str::to_owned),
            digest: Some(digest.to_string()),
            // Without a name there is nothing that the type could be asked for.
            purl: last.map(|last| purl("oci", "", &last.to_lowercase(), &digest.to_string(), &qualifiers)),
            created,
            tool_version: tool_version.to_owned(),
        }
    }

    /// Files that are no image: a stage, a build context.
    pub fn files(name: &str, created: Timestamp, tool_version: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: None,
            digest: None,
            purl: None,
            created,
            tool_version: tool_version.to_owned(),
        }
    }
}

impl Inventory {
    /// An SPDX 2.3 document as JSON, with a newline at its end. Equal arguments give equal bytes.
    pub fn to_spdx(&self, subject: &Subject) -> Vec<u8> {
        bytes(&spdx::document(self, subject))
    }

    /// A CycloneDX 1.5 document as JSON, with a newline at its end. Equal arguments give equal bytes.
    pub fn to_cyclonedx(&self, subject: &Subject) -> Vec<u8> {
        bytes(&cyclonedx::document(self, subject))
    }

    /// A UUID for a document: version 8 of RFC 9562, made from what is in it. So it is another one when any of it is, as both
    /// formats demand, and nothing of it is left to chance.
    fn uuid(&self, subject: &Subject) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        part(&format!("{subject:?}"));
        part(&format!("{:?} {:?}", self.distribution, self.warnings));
        self.packages().for_each(|package| part(&format!("{package:?}")));
        let mut id = [0_u8; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        id[6] = id[6] & 0x0f | 0x80;
        id[8] = id[8] & 0x3f | 0x80;
        let hex = format!("{:032x}", u128::from_be_bytes(id));
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

/// What documents say of how a package was found: property names and values.
fn properties(package: &Package) -> Vec<(&'static str, String)> {
    let mut properties = vec![("bake:standing", package.standing.name().to_owned())];
    properties.extend(package.layer.clone().map(|layer| ("bake:layer", layer)));
    properties.extend(package.found_in.iter().map(|path| ("bake:path", format!("/{path}"))));
    properties
}

/// The time as both formats want it: without fractions.
fn time(subject: &Subject) -> String {
    Timestamp::from_seconds(subject.created.seconds).to_rfc3339()
}

fn bytes(document: &impl serde::Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(document).expect("documents have text keys and are written to memory");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::testing::inventory;

    fn subject() -> Subject {
        let name = Reference::parse("registry.example.com:5000/team/App-x:1.0".to_lowercase().as_str()).unwrap();
        let digest = Digest::parse(&format!("sha256:{}", "ab".repeat(32))).unwrap();
        let created = Timestamp { seconds: 1_700_000_000, nanoseconds: 5 };
        Subject::image(Some(&name), &digest, &Platform::new("linux", "arm64", None), created, "0.1.0")
    }

    /// Packages of all shapes: names with odd characters, licences that are none, hostile addresses.
    fn sample() -> Inventory {
        let status = "Package: g++\nStatus: install ok installed\nVersion: 4:12\nArchitecture: amd64\nMaintainer: A <a@x>\n\
            Homepage: javascript:alert(1)\n\n\
            Package: tool\nStatus: install ok installed\nVersion: 1\u{7}\u{1b}[2J\nArchitecture: amd64\n\
            Maintainer: <b@x>\nHomepage: https://example.com/a b\nDescription: \"quoted\" \\ text\n\n\
            Package: lib_x\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nSource: src (2)\nDepends: g++\n\
            Homepage: https://example.com/x\n";
        let copyright = |licence: &str| format!("Format: copyright-format/1.0\n\nFiles: *\nLicense: {licence}\n");
        let mut inventory = inventory(&[
            ("etc/os-release", b"ID=debian\nVERSION_ID=12\nHOME_URL=nowhere\n"),
            ("var/lib/dpkg/status", status.as_bytes()),
            ("usr/share/doc/g++/copyright", copyright("GPL-3+ with GCC exception").as_bytes()),
            ("usr/share/doc/tool/copyright", copyright("Expat or Mine").as_bytes()),
            ("lib/apk/db/installed", b"P:damaged\n"),
        ]);
        inventory.attribute(|path| path.contains("status").then(|| "sha256:layer".to_owned()));
        inventory
    }

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn texts<'a>(list: &'a Value, key: &str) -> Vec<&'a str> {
        list.as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap()).collect()
    }

    #[test]
    fn spdx_refers_to_what_is_there() {
        let document = json(&sample().to_spdx(&subject()));
        let ids = texts(&document["packages"], "SPDXID");
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!((unique.len(), ids.len()), (5, 5));
        for id in &ids {
            let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
            assert!(id.starts_with("SPDXRef-") && plain, "{id}");
        }
        let relationships = document["relationships"].as_array().unwrap();
        assert_eq!(relationships[0]["relationshipType"], "DESCRIBES");
        let (needed, relationships) = relationships.split_last().unwrap();
        let ends = [&needed["spdxElementId"], &needed["relatedSpdxElement"]].map(|id| id.as_str().unwrap());
        assert_eq!(needed["relationshipType"], "DEPENDS_ON");
        assert!(
            ends[0].contains("lib-x") && ends[1].contains("g--") && ends.iter().all(|id| unique.contains(id)),
            "{ends:?}"
        );
        let contained = relationships[1..].iter().map(|relation| {
            assert_eq!(
                (&relation["spdxElementId"], &relation["relationshipType"]),
                (&"SPDXRef-Subject".into(), &"CONTAINS".into())
            );
            relation["relatedSpdxElement"].as_str().unwrap()
        });
        assert!(contained.eq(ids[1..].iter().copied()));
        // Every reference in a licence is explained.
        let explained = texts(&document["hasExtractedLicensingInfos"], "licenseId");
        let declared = texts(&document["packages"], "licenseDeclared").join(" ");
        let used: BTreeSet<&str> =
            declared.split(['(', ')', ' ']).filter(|word| word.starts_with("LicenseRef-")).collect();
        assert_eq!(used, explained.iter().copied().collect());
        assert_eq!(used.len(), 2, "{used:?}");
        assert!(declared.contains("MIT OR LicenseRef-Mine"), "{declared}");
        assert_eq!(document["creationInfo"]["created"], "2023-11-14T22:13:20Z");
        assert!(document["comment"].as_str().unwrap().contains("/lib/apk/db/installed"));
        let purl = document["packages"][0]["externalRefs"][0]["referenceLocator"].as_str().unwrap();
        let expected = format!(
            "pkg:oci/app-x@sha256:{}?arch=arm64&repository_url=registry.example.com:5000%2Fteam%2Fapp-x&tag=1.0",
            "ab".repeat(32)
        );
        assert_eq!(purl, expected);
        let homepages: Vec<&Value> =
            document["packages"].as_array().unwrap().iter().filter_map(|package| package.get("homepage")).collect();
        assert_eq!(homepages, ["https://example.com/x"], "only addresses are kept");
    }

    #[test]
    fn cyclonedx_refers_to_what_is_there() {
        let document = json(&sample().to_cyclonedx(&subject()));
        let references = texts(&document["components"], "bom-ref");
        let unique: BTreeSet<&str> = references.iter().copied().collect();
        assert_eq!((unique.len(), references.len()), (4, 4));
        let dependency = &document["dependencies"][0];
        assert_eq!(dependency["ref"], document["metadata"]["component"]["bom-ref"]);
        let depends: Vec<&str> =
            dependency["dependsOn"].as_array().unwrap().iter().map(|reference| reference.as_str().unwrap()).collect();
        assert_eq!(depends, references);
        let needed = &document["dependencies"][1];
        let ends = [&needed["ref"], &needed["dependsOn"][0]].map(|reference| reference.as_str().unwrap());
        assert!(ends[0].contains("lib_x") && ends.iter().all(|reference| unique.contains(reference)), "{ends:?}");
        assert_eq!(document["compositions"][0]["aggregate"], "incomplete");
        let licences = document["components"].as_array().unwrap().iter().filter_map(|component| {
            component.get("licenses").map(|licences| licences[0]["license"]["name"].as_str().unwrap_or_default())
        });
        assert_eq!(licences.collect::<Vec<_>>(), ["GPL-3+ with GCC exception", "Expat or Mine"]);
        let layer = &document["components"][1]["properties"][1];
        assert_eq!((&layer["name"], &layer["value"]), (&"bake:layer".into(), &"sha256:layer".into()));
    }

    #[test]
    fn equal_inventories_make_equal_documents_and_others_other_names() {
        let name = |document: &[u8]| json(document)["documentNamespace"].as_str().unwrap().to_owned();
        let first = sample().to_spdx(&subject());
        assert_eq!(first, sample().to_spdx(&subject()));
        assert_eq!(sample().to_cyclonedx(&subject()), sample().to_cyclonedx(&subject()));
        let other = Subject { created: Timestamp::EPOCH, ..subject() };
        assert_ne!(name(&first), name(&sample().to_spdx(&other)));
        assert_ne!(name(&first), name(&Inventory::default().to_spdx(&subject())));
        let serial = json(&sample().to_cyclonedx(&subject()))["serialNumber"].as_str().unwrap().to_owned();
        let uuid = serial.strip_prefix("urn:uuid:").unwrap();
        let shape: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!((shape, &uuid[14..15]), (vec![8, 4, 4, 4, 12], "8"));
    }

    #[test]
    fn several_trees_become_one_list() {
        let mut all = inventory(&[("lib/apk/db/installed", b"P:a\nV:1\n")]);
        all.merge(sample());
        assert_eq!(all.packages().len(), 4);
        assert_eq!(all.distribution.as_ref().map(|distribution| distribution.id.as_str()), Some("debian"));
        let files = Subject::files("context", Timestamp::EPOCH, "0.1.0");
        assert_eq!(json(&all.to_spdx(&files))["packages"][0]["primaryPackagePurpose"], "FILE");
    }
}
