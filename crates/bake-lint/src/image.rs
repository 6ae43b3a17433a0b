//! Image names as far as rules need them: repository, tag, digest.

use std::fmt;

/// An image name split at its tag and digest. Not validated: the text may name nothing that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageName {
    /// Registry and repository as written.
    pub(crate) repository: String,
    /// The part after `:`, also when empty.
    pub(crate) tag: Option<String>,
    /// The part after `@`.
    pub(crate) digest: Option<String>,
}

impl ImageName {
    /// Splits `text`.
    pub(crate) fn parse(text: &str) -> Self {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.to_owned())),
            None => (text, None),
        };
        let (repository, tag) = match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag.to_owned())),
            _ => (name, None),
        };
        Self { repository: repository.to_owned(), tag, digest }
    }

    /// The repository without the default registry and the `library/` of official images: `docker.io/library/debian` is `debian`.
    pub(crate) fn familiar(&self) -> &str {
        let name = self.repository.as_str();
        let name = name.strip_prefix("docker.io/").or_else(|| name.strip_prefix("index.docker.io/")).unwrap_or(name);
        name.strip_prefix("library/").unwrap_or(name)
    }

    /// The repository with its registry written out, for comparing with lists of registries.
    pub(crate) fn qualified(&self) -> String {
        let first = self.repository.split('/').next().unwrap_or_default();
        let has_registry = self.repository.contains('/') && (first.contains(['.', ':']) || first == "localhost");
        if has_registry { self.repository.clone() } else { format!("docker.io/{}", self.repository) }
    }

    /// Whether the parts can be an image name at all: what a missing build argument leaves (`debian:`, `:1`, nothing) cannot.
    pub(crate) fn is_plausible(&self) -> bool {
        !self.repository.is_empty()
            && !self.repository.ends_with('/')
            && !self.repository.starts_with('/')
            && self.tag.as_ref().is_none_or(|tag| !tag.is_empty())
            && self.digest.as_ref().is_none_or(|digest| digest.contains(':'))
    }

    /// Whether the image is known to be for Windows, where the shell is not a POSIX one.
    pub(crate) fn is_windows(&self) -> bool {
        let repository = self.repository.to_ascii_lowercase();
        ["windows", "nanoserver", "servercore"].iter().any(|word| repository.contains(word))
            || self.tag.as_ref().is_some_and(|tag| tag.contains("nanoserver") || tag.contains("windowsservercore"))
    }

    /// Whether the image is a distribution's base image, which sets no environment besides `PATH`.
    pub(crate) fn is_plain_distribution(&self) -> bool {
        matches!(
            self.familiar(),
            "debian"
                | "ubuntu"
                | "alpine"
                | "busybox"
                | "fedora"
                | "centos"
                | "rockylinux"
                | "almalinux"
                | "archlinux"
                | "amazonlinux"
                | "oraclelinux"
                | "opensuse/leap"
                | "opensuse/tumbleweed"
        )
    }

    /// Whether `sh` in the image is known to be dash: Debian, Ubuntu, official images whose tag says that they are built on those, and
    /// those that are built on Debian unless their tag says otherwise.
    pub(crate) fn shell_is_dash(&self) -> bool {
        const ON_DEBIAN: [&str; 15] = [
            "buildpack-deps",
            "elixir",
            "erlang",
            "gcc",
            "golang",
            "httpd",
            "nginx",
            "node",
            "perl",
            "php",
            "postgres",
            "python",
            "redis",
            "ruby",
            "rust",
        ];
        const ELSEWHERE: [&str; 4] = ["alpine", "windows", "nanoserver", "ubi"];
        const RELEASES: [&str; 7] = ["bookworm", "bullseye", "trixie", "buster", "noble", "jammy", "focal"];
        let tag = self.tag.as_deref().unwrap_or_default();
        let official = !self.familiar().contains('/');
        matches!(self.familiar(), "debian" | "ubuntu")
            || (official && RELEASES.iter().any(|release| tag.contains(release)))
            || (ON_DEBIAN.contains(&self.familiar()) && !ELSEWHERE.iter().any(|other| tag.contains(other)))
    }

    /// Whether `sh` in the image is known to be that of busybox.
    pub(crate) fn shell_is_busybox(&self) -> bool {
        matches!(self.familiar(), "alpine" | "busybox") || self.tag.as_ref().is_some_and(|tag| tag.contains("alpine"))
    }

    /// Whether the image is known to run as a user other than root.
    pub(crate) fn is_nonroot(&self) -> bool {
        let name = self.repository.as_str();
        self.tag.as_ref().is_some_and(|tag| tag.contains("nonroot"))
            || name.contains("unprivileged")
            || name.contains("nonroot")
            || name.starts_with("cgr.dev/chainguard")
            || self.familiar().starts_with("bitnami/")
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::ImageName;

    #[test]
    fn parts_are_split() {
        for (text, repository, tag, digest) in [
            ("debian", "debian", None, None),
            ("debian:12", "debian", Some("12"), None),
            ("localhost:5000/a", "localhost:5000/a", None, None),
            ("localhost:5000/a:b", "localhost:5000/a", Some("b"), None),
            ("a:b@sha256:c", "a", Some("b"), Some("sha256:c")),
            ("debian:", "debian", Some(""), None),
        ] {
            let name = ImageName::parse(text);
            assert_eq!(
                (name.repository.as_str(), name.tag.as_deref(), name.digest.as_deref()),
                (repository, tag, digest),
                "{text}"
            );
        }
    }

    #[test]
    fn leftovers_of_missing_arguments_are_not_plausible() {
        for text in ["", "debian:", ":1", "/x", "x/", "a@"] {
            assert!(!ImageName::parse(text).is_plausible(), "{text}");
        }
        assert!(ImageName::parse("a/b:c").is_plausible());
    }

    #[test]
    fn the_shell_is_told_by_what_the_image_is_built_on() {
        for text in ["debian", "ubuntu:24.04", "python:3.13-slim", "node", "docker.io/library/ruby:3", "maven:3-jammy"]
        {
            assert!(ImageName::parse(text).shell_is_dash(), "{text}");
        }
        for text in
            ["python:3-alpine", "me/python:3", "golang:1-nanoserver", "fedora:42", "mariadb:11-ubi", "me/x:bookworm"]
        {
            assert!(!ImageName::parse(text).shell_is_dash(), "{text}");
        }
    }

    #[test]
    fn registries_are_written_out() {
        assert_eq!(ImageName::parse("debian").qualified(), "docker.io/debian");
        assert_eq!(ImageName::parse("acme/app").qualified(), "docker.io/acme/app");
        assert_eq!(ImageName::parse("ghcr.io/acme/app:1").qualified(), "ghcr.io/acme/app");
        assert_eq!(ImageName::parse("docker.io/library/debian:1").familiar(), "debian");
    }
}
