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
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
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
