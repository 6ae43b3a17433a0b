//! Media types of the OCI image specification and of Docker's image format, and what they say about a blob.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, uncompressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The empty config of an artifact.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// An in-toto statement: the layers of attestation manifests.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Docker image manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker layer, uncompressed.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer, zstd.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
/// Docker layer that registries did not distribute, gzip.
pub const DOCKER_FOREIGN_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// What registries are asked for, in the order of preference, as an `Accept` header wants it.
pub const MANIFEST_ACCEPT: [&str; 4] = [OCI_INDEX, DOCKER_MANIFEST_LIST, OCI_MANIFEST, DOCKER_MANIFEST];

/// The two families an image can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// The OCI image specification's names.
    #[default]
    Oci,
    /// Docker's names, for registries that know no others.
    Docker,
}

impl Family {
    /// The manifest's media type.
    pub fn manifest(self) -> &'static str {
        match self {
            Self::Oci => OCI_MANIFEST,
            Self::Docker => DOCKER_MANIFEST,
        }
    }

    /// The index's media type.
    pub fn index(self) -> &'static str {
        match self {
            Self::Oci => OCI_INDEX,
            Self::Docker => DOCKER_MANIFEST_LIST,
        }
    }

    /// The image config's media type.
    pub fn config(self) -> &'static str {
        match self {
            Self::Oci => OCI_CONFIG,
            Self::Docker => DOCKER_CONFIG,
        }
    }
}

/// Whether this is the media type of a manifest for one platform.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// Whether this is the media type of an index over several platforms.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_MANIFEST_LIST)
}

/// Whether this is the media type of an image config.
pub fn is_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

/// Whether this is the media type of a file system layer, in any compression.
pub fn is_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.")
}

/// Whether the layer may be missing from registries and is to be fetched from the descriptor's URLs.
pub fn is_nondistributable(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

/// The Docker name for an OCI media type and the other way round, by `family`; others stay as they are.
pub fn in_family(media_type: &str, family: Family) -> &str {
    const PAIRS: [(&str, &str); 6] = [
        (OCI_MANIFEST, DOCKER_MANIFEST),
        (OCI_INDEX, DOCKER_MANIFEST_LIST),
        (OCI_CONFIG, DOCKER_CONFIG),
        (OCI_LAYER, DOCKER_LAYER),
        (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP),
        (OCI_LAYER_ZSTD, DOCKER_LAYER_ZSTD),
    ];
    for (oci, docker) in PAIRS {
        match family {
            Family::Oci if media_type == docker => return oci,
            Family::Docker if media_type == oci => return docker,
            _ => {}
        }
    }
    media_type
}
