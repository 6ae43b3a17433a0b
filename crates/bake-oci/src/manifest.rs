//! Image manifests and indexes: `oci-spec`'s types, read with checks and written with the same bytes every time.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

pub use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use crate::digest::{Digest, DigestError};
use crate::json::{CONFIG_BYTES_MAX, JsonError, MANIFEST_BYTES_MAX, canonical_json, parse_json};
use crate::media_type;
use crate::platform::Platform;

/// The most layers of one image. Overlay mounts and Docker end far below (500 and 127).
pub const LAYERS_MAX: usize = 4096;

/// The most manifests of one index.
pub const MANIFESTS_MAX: usize = 4096;

/// The largest blob a descriptor may announce: 1 TiB, far above any layer and far below where sums could overflow.
pub const BLOB_BYTES_MAX: u64 = 1 << 40;

/// Why a manifest or index cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, not of the shape, or too long.
    #[error("Failed to read the manifest")]
    Json(#[from] JsonError),
    /// It can be read as a manifest and as an index, so two readers could see two different images (CVE-2021-41190).
    #[error("the document has the fields of a manifest and of an index; it is refused as ambiguous")]
    Ambiguous,
    /// Neither manifest nor index.
    #[error("the document is neither an image manifest nor an index")]
    Unrecognised,
    /// The obsolete format of Docker before 1.10.
    #[error("Docker image manifests of schema version 1 are not supported")]
    SchemaVersion1,
    /// Not schema version 2.
    #[error("the document's schema version is {0}, not 2")]
    SchemaVersion(u64),
    /// The document and who pointed to it disagree about what it is.
    #[error("the document is announced as `{announced}` but {actual}")]
    MediaType {
        /// What the descriptor or the `Content-Type` header says.
        announced: String,
        /// What the document is.
        actual: String,
    },
    /// A descriptor has a digest in a form or algorithm that is not accepted.
    #[error("the descriptor of {what} is not valid")]
    Digest {
        /// What it describes.
        what: String,
        /// What is wrong with its digest.
        #[source]
        source: DigestError,
    },
    /// A descriptor announces more bytes than its kind may have.
    #[error("the descriptor of {what} announces {size_bytes} bytes, more than the limit of {limit_bytes}")]
    Size {
        /// What it describes.
        what: String,
        /// What it announces.
        size_bytes: u64,
        /// What is accepted.
        limit_bytes: u64,
    },
    /// Too many layers or manifests.
    #[error("the document lists {count} {what}, more than the limit of {limit}")]
    TooMany {
        /// What it lists.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many it may list.
        limit: usize,
    },
    /// The index has nothing for the platform.
    #[error("no image for platform {wanted}; the index offers {offered}")]
    NoPlatform {
        /// The platform asked for.
        wanted: String,
        /// The platforms there are.
        offered: String,
    },
    /// The manifest's config is not an image config: an artifact, not an image.
    #[error("the manifest is not that of an image: its config has media type `{0}`")]
    NotAnImage(String),
}

/// A parsed manifest or index whose descriptors have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An image for one platform.
    Manifest(Box<ImageManifest>),
    /// A list of manifests.
    Index(Box<ImageIndex>),
}

/// The fields that tell manifests from indexes; a repeated one is an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

impl Document {
    /// Parses the bytes of a manifest or index; `announced` is the media type of the descriptor or of the
    /// `Content-Type` header that led here, if there is one. The digest must have been verified before.
    pub fn parse(bytes: &[u8], announced: Option<&str>) -> Result<Self, ManifestError> {
        let probe: Probe = parse_json(bytes, "manifest", MANIFEST_BYTES_MAX)?;
        if probe.fs_layers.is_some() || probe.schema_version == Some(1) {
            return Err(ManifestError::SchemaVersion1);
        }
        match probe.schema_version {
            Some(2) => {}
            Some(other) => return Err(ManifestError::SchemaVersion(other)),
            None => return Err(ManifestError::Unrecognised),
        }
        let like_manifest = probe.config.is_some() || probe.layers.is_some();
        let like_index = probe.manifests.is_some();
        let is_index = match (like_manifest, like_index) {
            (true, true) => return Err(ManifestError::Ambiguous),
            (true, false) => false,
            (false, true) => true,
            // `"manifests": null` is how Go writes an index without entries.
            (false, false) if probe.media_type.as_deref().is_some_and(media_type::is_index) => true,
            (false, false) => return Err(ManifestError::Unrecognised),
        };
        check_announced(announced, probe.media_type.as_deref(), is_index)?;
        let mut value: Value = parse_json(bytes, "manifest", MANIFEST_BYTES_MAX)?;
        for list in ["layers", "manifests"] {
            if value.get(list).is_some_and(Value::is_null)
                || (list == "manifests" && is_index && value.get(list).is_none())
            {
                value[list] = Value::Array(Vec::new());
            }
        }
        rename_platform_keys(&mut value, PlatformKeys::AsInOciSpecCrate);
        let syntax = |source| JsonError::Syntax { what: "manifest", source };
        let document = if is_index {
            Self::Index(Box::new(serde_json::from_value(value).map_err(syntax)?))
        } else {
            Self::Manifest(Box::new(serde_json::from_value(value).map_err(syntax)?))
        };
        document.check()?;
        Ok(document)
    }

    /// The bytes: compact JSON with sorted keys.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        match self {
            Self::Manifest(manifest) => manifest_bytes(manifest),
            Self::Index(index) => index_bytes(index),
        }
    }

    /// The media type the document gives itself, or the OCI one of its kind.
    pub fn media_type(&self) -> String {
        let (own, default) = match self {
            Self::Manifest(manifest) => (manifest.media_type(), media_type::OCI_MANIFEST),
            Self::Index(index) => (index.media_type(), media_type::OCI_INDEX),
        };
        own.as_ref().map_or_else(|| default.to_owned(), ToString::to_string)
    }

    fn check(&self) -> Result<(), ManifestError> {
        match self {
            Self::Manifest(manifest) => {
                let layers = manifest.layers();
                if layers.len() > LAYERS_MAX {
                    return Err(ManifestError::TooMany { what: "layers", count: layers.len(), limit: LAYERS_MAX });
                }
                check_descriptor(manifest.config(), || "the config".to_owned(), CONFIG_BYTES_MAX)?;
                for (number, layer) in layers.iter().enumerate() {
                    check_descriptor(layer, || format!("layer {number}"), BLOB_BYTES_MAX)?;
                }
            }
            Self::Index(index) => {
                let manifests = index.manifests();
                if manifests.len() > MANIFESTS_MAX {
                    let count = manifests.len();
                    return Err(ManifestError::TooMany { what: "manifests", count, limit: MANIFESTS_MAX });
                }
                for (number, manifest) in manifests.iter().enumerate() {
                    let media_type = manifest.media_type().as_ref();
                    let is_document = media_type::is_manifest(media_type) || media_type::is_index(media_type);
                    let limit = if is_document { MANIFEST_BYTES_MAX } else { BLOB_BYTES_MAX };
                    check_descriptor(manifest, || format!("manifest {number}"), limit)?;
                }
            }
        }
        Ok(())
    }
}

/// The manifest of something that is no image but lies in a registry like one: `config` says what it is.
pub fn artifact_manifest(config: Descriptor, layers: Vec<Descriptor>) -> ImageManifest {
    oci_spec::image::ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(media_type::OCI_MANIFEST)
        .artifact_type(config.media_type().clone())
        .config(config)
        .layers(layers)
        .build()
        .expect("every field that must be set is set")
}

/// The bytes of a manifest: compact JSON with sorted keys.
pub fn manifest_bytes(manifest: &ImageManifest) -> Result<Vec<u8>, ManifestError> {
    document_bytes(manifest)
}

/// The bytes of an index: compact JSON with sorted keys.
pub fn index_bytes(index: &ImageIndex) -> Result<Vec<u8>, ManifestError> {
    document_bytes(index)
}

fn document_bytes(document: &impl serde::Serialize) -> Result<Vec<u8>, ManifestError> {
    let mut value = serde_json::to_value(document).map_err(|source| JsonError::Write { source })?;
    rename_platform_keys(&mut value, PlatformKeys::AsInSpecification);
    Ok(canonical_json(&value)?)
}

/// A descriptor of a blob.
pub fn descriptor(media_type: &str, digest: &Digest, size_bytes: u64) -> Descriptor {
    Descriptor::new(media_type.into(), size_bytes, digest)
}

/// The digest a descriptor points to; an error for algorithms other than SHA-256 and SHA-512.
pub fn descriptor_digest(descriptor: &Descriptor) -> Result<Digest, DigestError> {
    Digest::parse(descriptor.digest().as_ref())
}

/// The platform of a descriptor in an index, normalised.
pub fn descriptor_platform(descriptor: &Descriptor) -> Option<Platform> {
    let platform = descriptor.platform().as_ref()?;
    let mut ours =
        Platform::new(&platform.os().to_string(), &platform.architecture().to_string(), platform.variant().as_deref());
    ours.os_version.clone_from(platform.os_version());
    ours.os_features = platform.os_features().clone().unwrap_or_default();
    Some(ours)
}

/// Marks a descriptor as that of an image for `platform`.
pub fn set_descriptor_platform(descriptor: &mut Descriptor, platform: &Platform) {
    let mut theirs = oci_spec::image::Platform::default();
    theirs.set_architecture(platform.architecture.as_str().into());
    theirs.set_os(platform.os.as_str().into());
    theirs.set_variant(platform.variant.clone());
    theirs.set_os_version(platform.os_version.clone());
    theirs.set_os_features(Some(platform.os_features.clone()).filter(|features| !features.is_empty()));
    descriptor.set_platform(Some(theirs));
}

/// The manifest of an index that serves `wanted` best; attestations and artifacts are passed over.
///
/// An index with a single image and no platform on it serves every request, as it does for docker.
pub fn select_manifest<'a>(index: &'a ImageIndex, wanted: &Platform) -> Result<&'a Descriptor, ManifestError> {
    let images: Vec<(&Descriptor, Option<Platform>)> = index
        .manifests()
        .iter()
        .filter(|descriptor| is_image_descriptor(descriptor))
        .map(|descriptor| (descriptor, descriptor_platform(descriptor)))
        .filter(|(_, platform)| !platform.as_ref().is_some_and(Platform::is_unknown))
        .collect();
    if let [(only, None)] = images.as_slice() {
        return Ok(only);
    }
    let best = images
        .iter()
        .filter_map(|(descriptor, platform)| Some((wanted.rank(platform.as_ref()?)?, *descriptor)))
        .min_by_key(|(rank, _)| *rank);
    best.map(|(_, descriptor)| descriptor).ok_or_else(|| {
        let mut offered: Vec<String> =
            images.iter().filter_map(|(_, platform)| platform.as_ref().map(ToString::to_string)).collect();
        offered.dedup();
        let offered = if offered.is_empty() { "no images".to_owned() } else { offered.join(", ") };
        ManifestError::NoPlatform { wanted: wanted.to_string(), offered }
    })
}

/// Refuses manifests of artifacts (signatures, charts, attestations), whose layers are not file systems.
pub fn ensure_image(manifest: &ImageManifest) -> Result<(), ManifestError> {
    let config = manifest.config().media_type().as_ref();
    if media_type::is_config(config) { Ok(()) } else { Err(ManifestError::NotAnImage(config.to_owned())) }
}

fn is_image_descriptor(descriptor: &Descriptor) -> bool {
    let media_type = descriptor.media_type().as_ref();
    let attestation = descriptor
        .annotations()
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key("vnd.docker.reference.type"));
    // A descriptor says it of an artifact that has a type; of an image there is nothing to say.
    let artifact = descriptor.artifact_type().as_ref().is_some_and(|kind| !media_type::is_config(kind.as_ref()));
    (media_type::is_manifest(media_type) || media_type::is_index(media_type)) && !attestation && !artifact
}

/// The document must be what its descriptor says, and what it says of itself.
fn check_announced(announced: Option<&str>, own: Option<&str>, is_index: bool) -> Result<(), ManifestError> {
    let kind = if is_index { "has the fields of an index" } else { "has the fields of a manifest" };
    if let Some(own) = own {
        let right = if is_index { media_type::is_index(own) } else { media_type::is_manifest(own) };
        if !right {
            return Err(ManifestError::MediaType { announced: own.to_owned(), actual: kind.to_owned() });
        }
    }
    // Parameters (`; charset=utf-8`) are legal in a header. Registries that do not know better send a generic type,
    // which announces nothing.
    let announced = announced.map(|text| text.split(';').next().unwrap_or_default().trim());
    let Some(announced) =
        announced.filter(|text| !matches!(*text, "" | "application/json" | "application/octet-stream"))
    else {
        return Ok(());
    };
    let right = if is_index { media_type::is_index(announced) } else { media_type::is_manifest(announced) };
    if !right {
        return Err(ManifestError::MediaType { announced: announced.to_owned(), actual: kind.to_owned() });
    }
    match own {
        Some(own) if own != announced => {
            Err(ManifestError::MediaType { announced: announced.to_owned(), actual: format!("calls itself `{own}`") })
        }
        _ => Ok(()),
    }
}

fn check_descriptor(descriptor: &Descriptor, what: impl Fn() -> String, limit_bytes: u64) -> Result<(), ManifestError> {
    descriptor_digest(descriptor).map_err(|source| ManifestError::Digest { what: what(), source })?;
    if descriptor.size() > limit_bytes {
        return Err(ManifestError::Size { what: what(), size_bytes: descriptor.size(), limit_bytes });
    }
    Ok(())
}

/// `oci-spec` 0.10 spells two platform fields with an underscore where the specification has a dot.
#[derive(Clone, Copy)]
enum PlatformKeys {
    AsInSpecification,
    AsInOciSpecCrate,
}

fn rename_platform_keys(document: &mut Value, to: PlatformKeys) {
    let Some(Value::Array(manifests)) = document.get_mut("manifests") else { return };
    for manifest in manifests {
        let Some(Value::Object(platform)) = manifest.get_mut("platform") else { continue };
        for (dotted, underscored) in [("os.version", "os_version"), ("os.features", "os_features")] {
            let (old, new) = match to {
                PlatformKeys::AsInSpecification => (underscored, dotted),
                PlatformKeys::AsInOciSpecCrate => (dotted, underscored),
            };
            if let Some(value) = platform.remove(old) {
                platform.insert(new.to_owned(), value);
            }
        }
    }
}

impl From<&Digest> for oci_spec::image::Digest {
    fn from(digest: &Digest) -> Self {
        digest.to_string().parse().expect("our digests are a subset of the specification's grammar")
    }
}

impl TryFrom<&oci_spec::image::Digest> for Digest {
    type Error = DigestError;
    fn try_from(digest: &oci_spec::image::Digest) -> Result<Self, DigestError> {
        Self::parse(digest.as_ref())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest_text() -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{DIGEST}","size":2}},"layers":[{{"mediaType":"{}","digest":"{DIGEST}","size":0}}]}}"#,
            media_type::OCI_MANIFEST,
            media_type::OCI_CONFIG,
            media_type::OCI_LAYER
        )
    }

    fn index_with(platforms: &[&str]) -> ImageIndex {
        let mut index = ImageIndex::default();
        let manifests = platforms
            .iter()
            .map(|platform| {
                let digest = Digest::of(platform.as_bytes());
                let mut entry = descriptor(media_type::OCI_MANIFEST, &digest, 10);
                if platform.contains('/') {
                    let (os, rest) = platform.split_once('/').unwrap();
                    let (architecture, variant) = rest
                        .split_once('/')
                        .map_or((rest, None), |(architecture, variant)| (architecture, Some(variant)));
                    set_descriptor_platform(&mut entry, &Platform::new(os, architecture, variant));
                }
                entry
            })
            .collect();
        index.set_manifests(manifests);
        index
    }

    #[test]
    fn manifests_are_read_and_written() {
        let document = Document::parse(manifest_text().as_bytes(), Some(media_type::OCI_MANIFEST)).unwrap();
        let Document::Manifest(manifest) = &document else { panic!("not a manifest") };
        assert_eq!(manifest.layers().len(), 1);
        ensure_image(manifest).unwrap();
        let bytes = document.to_bytes().unwrap();
        assert_eq!(Document::parse(&bytes, None).unwrap(), document);
    }

    #[test]
    fn lies_and_ambiguities_are_refused() {
        let text = manifest_text();
        let both = text.replacen("\"layers\"", "\"manifests\":[],\"layers\"", 1);
        assert!(matches!(Document::parse(both.as_bytes(), None), Err(ManifestError::Ambiguous)));
        assert!(matches!(
            Document::parse(text.as_bytes(), Some(media_type::OCI_INDEX)),
            Err(ManifestError::MediaType { .. })
        ));
        assert!(matches!(
            Document::parse(text.as_bytes(), Some(media_type::DOCKER_MANIFEST)),
            Err(ManifestError::MediaType { .. })
        ));
        let lie = text.replacen(media_type::OCI_MANIFEST, media_type::OCI_INDEX, 1);
        assert!(matches!(Document::parse(lie.as_bytes(), None), Err(ManifestError::MediaType { .. })));
        let twice = text.replacen("\"layers\"", "\"layers\":[],\"layers\"", 1);
        assert!(matches!(Document::parse(twice.as_bytes(), None), Err(ManifestError::Json(_))));
        let traversal = text.replace(DIGEST, "sha256:../../etc/passwd");
        assert!(Document::parse(traversal.as_bytes(), None).is_err());
        let other = text.replace(DIGEST, "md5:d41d8cd98f00b204e9800998ecf8427e");
        assert!(matches!(Document::parse(other.as_bytes(), None), Err(ManifestError::Digest { .. })));
        let huge = text.replace("\"size\":2", "\"size\":99999999");
        assert!(matches!(Document::parse(huge.as_bytes(), None), Err(ManifestError::Size { .. })));
        let negative = text.replace("\"size\":2", "\"size\":-2");
        assert!(Document::parse(negative.as_bytes(), None).is_err());
        let old = text.replace("\"schemaVersion\":2", "\"schemaVersion\":1");
        assert!(matches!(Document::parse(old.as_bytes(), None), Err(ManifestError::SchemaVersion1)));
        assert!(matches!(Document::parse(b"{}", None), Err(ManifestError::Unrecognised)));
        let layer = format!(r#"{{"mediaType":"x/y","digest":"{DIGEST}","size":0}},"#);
        let many = text.replacen("\"layers\":[", &format!("\"layers\":[{}", layer.repeat(LAYERS_MAX)), 1);
        assert!(matches!(Document::parse(many.as_bytes(), None), Err(ManifestError::TooMany { .. })));
    }

    #[test]
    fn generic_content_types_announce_nothing() {
        for announced in ["application/json", "application/json; charset=utf-8", ""] {
            Document::parse(manifest_text().as_bytes(), Some(announced)).unwrap();
        }
    }

    #[test]
    fn an_index_selects_the_best_platform() {
        let index = index_with(&["unknown/unknown", "linux/arm/v6", "linux/amd64", "linux/arm/v7", "linux/amd64/v3"]);
        let select = |wanted: &str| {
            let wanted = Platform::parse(wanted).unwrap();
            select_manifest(&index, &wanted).map(|found| descriptor_platform(found).unwrap().to_string())
        };
        assert_eq!(select("linux/amd64").unwrap(), "linux/amd64");
        assert_eq!(select("linux/amd64/v3").unwrap(), "linux/amd64/v3");
        assert_eq!(select("linux/amd64/v2").unwrap(), "linux/amd64");
        assert_eq!(select("linux/arm/v8").unwrap(), "linux/arm/v7");
        assert_eq!(select("linux/arm/v6").unwrap(), "linux/arm/v6");
        let error = select("linux/s390x").unwrap_err().to_string();
        assert!(error.contains("linux/s390x") && error.contains("linux/arm/v6, linux/amd64"), "{error}");
        assert!(!error.contains("unknown/"), "{error}");
        let single = index_with(&["any"]);
        assert!(select_manifest(&single, &Platform::host()).is_ok());
        assert!(select_manifest(&index_with(&[]), &Platform::host()).is_err());
    }

    #[test]
    fn platform_fields_keep_the_specified_names() {
        let mut index = index_with(&["windows/amd64"]);
        let mut platform = Platform::new("windows", "amd64", None);
        platform.os_version = Some("10.0.17763.1".to_owned());
        let mut manifests = index.manifests().clone();
        set_descriptor_platform(&mut manifests[0], &platform);
        index.set_manifests(manifests);
        let bytes = index_bytes(&index).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains(r#""os.version":"10.0.17763.1""#), "{text}");
        let Document::Index(read) = Document::parse(&bytes, None).unwrap() else { panic!("not an index") };
        assert_eq!(descriptor_platform(&read.manifests()[0]), Some(platform));
    }
}
