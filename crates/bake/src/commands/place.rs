//! Places that images come from and go to, in skopeo's notation.

use std::path::PathBuf;

use bake::error::CommandError;
use bake_oci::Reference;

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In a registry.
    Registry(Reference),
    /// In the local store: a name, or an image ID.
    Store(String),
    /// In a file or directory.
    Files(FilePlace),
}

/// An image in a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilePlace {
    pub(super) kind: FileKind,
    pub(super) path: PathBuf,
    /// What it is called there.
    pub(super) name: Option<String>,
}

/// What such a file or directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// An OCI layout in a directory.
    Layout,
    /// An OCI layout in an archive.
    OciArchive,
    /// An archive of `docker save`.
    DockerArchive,
}

/// skopeo's places that bake has no use for, and what to write instead.
const OTHERS: [(&str, &str); 5] = [
    ("docker-daemon:", "write a `docker-archive:` and load it with `docker load`"),
    ("containers-storage:", "`podman pull oci:DIR` takes an OCI layout"),
    ("dir:", "use `oci:DIR`, which other programs read too"),
    ("ostree:", "use `oci:DIR`"),
    ("sif:", "use `oci:DIR`"),
];

impl Place {
    pub(super) fn parse(text: &str) -> Result<Self, CommandError> {
        if let Some((prefix, instead)) = OTHERS.iter().find(|(prefix, _)| text.starts_with(prefix)) {
            return Err(CommandError::usage(format!("`{prefix}` is not supported")).hint(*instead));
        }
        let kinds = [
            ("oci:", FileKind::Layout),
            ("oci-archive:", FileKind::OciArchive),
            ("docker-archive:", FileKind::DockerArchive),
        ];
        for (prefix, kind) in kinds {
            if let Some(rest) = text.strip_prefix(prefix) {
                let (path, name) = match rest.split_once(':') {
                    Some((path, name)) => (path, Some(name.to_owned()).filter(|name| !name.is_empty())),
                    None => (rest, None),
                };
                if path.is_empty() {
                    return Err(CommandError::usage(format!("`{text}` names no file")));
                }
                return Ok(Self::Files(FilePlace { kind, path: path.into(), name }));
            }
        }
        if let Some(name) = text.strip_prefix("store:") {
            return Ok(Self::Store(name.to_owned()));
        }
        let name = text.strip_prefix("docker://").unwrap_or(text);
        let reference = Reference::parse(name).map_err(|error| CommandError::usage(error.to_string()))?;
        Ok(Self::Registry(reference.or_latest()))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let registry = |name: &str| Place::Registry(Reference::parse(name).unwrap());
        let files = |kind, path: &str, name: Option<&str>| {
            Place::Files(FilePlace { kind, path: path.into(), name: name.map(str::to_owned) })
        };
        for (text, place) in [
            ("alpine", registry("alpine:latest")),
            ("docker://localhost:5000/a/b:1", registry("localhost:5000/a/b:1")),
            ("docker://oci:1", registry("oci:1")),
            ("store:app", Place::Store("app".into())),
            ("oci:dir", files(FileKind::Layout, "dir", None)),
            ("oci:/a/dir:host/app:1", files(FileKind::Layout, "/a/dir", Some("host/app:1"))),
            ("oci-archive:a.tar:", files(FileKind::OciArchive, "a.tar", None)),
            ("docker-archive:a.tar:app:1", files(FileKind::DockerArchive, "a.tar", Some("app:1"))),
        ] {
            assert_eq!(Place::parse(text).unwrap(), place, "{text}");
        }
        for text in ["oci:", "oci::x", "docker-daemon:a", "dir:a", "A B", "docker://", "docker-archive:"] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }
}
