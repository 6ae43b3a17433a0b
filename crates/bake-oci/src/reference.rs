//! Image references: what users type after `-t` and `FROM`, and what registries are asked for.
//!
//! The grammar and the normalisation are those of the `distribution/reference` package, so that a name means the same
//! image here as it does to `docker`.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The registry of names that do not name one.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// The namespace of one-word names on the default registry.
const OFFICIAL_NAMESPACE: &str = "library/";

/// The tag of names without tag and digest.
pub const DEFAULT_TAG: &str = "latest";

/// The longest repository, in bytes: the limit of the distribution specification's clients.
const REPOSITORY_BYTES_MAX: usize = 255;

/// The longest tag, in bytes (OCI distribution specification, "Pulling manifests").
const TAG_BYTES_MAX: usize = 128;

/// The longest reference that is looked at: registry (DNS: 253 and a port), repository, tag and a SHA-512 digest.
const REFERENCE_BYTES_MAX: usize = 1024;

/// Why a text is not a reference. The text itself is for the caller to show; only a bad part is repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing at all.
    #[error("invalid reference format: it is empty")]
    Empty,
    /// Longer than any valid reference.
    #[error("invalid reference format: it has {0} characters, more than {REFERENCE_BYTES_MAX}")]
    TooLong(usize),
    /// Capital letters in the repository.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// The name is 64 hexadecimal digits and would be taken for an image ID.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeImageId(String),
    /// The repository is too long.
    #[error("invalid reference format: repository name must not be more than {REPOSITORY_BYTES_MAX} characters")]
    RepositoryTooLong,
    /// The registry is not a host name or address with an optional port.
    #[error("invalid reference format: `{0}` is not a registry host")]
    Registry(String),
    /// The repository breaks the grammar.
    #[error(
        "invalid reference format: `{0}` is not a repository name: its parts are lower-case letters and digits, \
         separated by `.`, `_`, `__` or `-`"
    )]
    Repository(String),
    /// The tag breaks the grammar.
    #[error(
        "invalid reference format: `{0}` is not a tag: at most {TAG_BYTES_MAX} letters, digits, `_`, `.` and `-`, not \
         starting with `.` or `-`"
    )]
    Tag(String),
    /// The digest is not one.
    #[error("invalid reference format: {0}")]
    Digest(#[from] crate::digest::DigestError),
}

/// The name of an image: registry, repository, and a tag, a digest or both.
///
/// Always normalised and checked, so its parts are safe in URLs; `busybox` is held as `docker.io/library/busybox`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses and normalises what a user typed.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if text.len() > REFERENCE_BYTES_MAX {
            return Err(ReferenceError::TooLong(text.len()));
        }
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::LooksLikeImageId(text.to_owned()));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(Digest::parse(digest)?)),
            None => (text, None),
        };
        let (registry, rest) = split_registry(name);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') && !path.is_empty() {
            format!("{OFFICIAL_NAMESPACE}{path}")
        } else {
            path.to_owned()
        };
        check_registry(registry)?;
        check_repository(&repository)?;
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }

    /// The registry's host, with a port if one was given; `docker.io` when none was named.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in the registry, such as `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given; it decides over the tag.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The tag to look up: the given one or `latest`. For a reference with a digest the digest decides.
    pub fn tag_or_latest(&self) -> &str {
        self.tag().unwrap_or(DEFAULT_TAG)
    }

    /// What a registry is asked for: the digest, else the tag, else `latest`.
    pub fn manifest_name(&self) -> String {
        self.digest.as_ref().map_or_else(|| self.tag_or_latest().to_owned(), ToString::to_string)
    }

    /// The same repository with this tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        check_tag(tag)?;
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same name pinned to `digest`; a tag is kept, for people.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same name with the tag `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(&self) -> Self {
        let mut reference = self.clone();
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some(DEFAULT_TAG.to_owned());
        }
        reference
    }

    /// Registry and repository without tag and digest, such as `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The short form that docker shows: `busybox:1.36` for `docker.io/library/busybox:1.36`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_name();
        self.push_suffix(&mut text);
        text
    }

    /// The short form of the name without tag and digest.
    pub fn familiar_name(&self) -> String {
        if self.registry == DEFAULT_REGISTRY {
            self.repository
                .strip_prefix(OFFICIAL_NAMESPACE)
                .filter(|rest| !rest.contains('/'))
                .unwrap_or(&self.repository)
                .to_owned()
        } else {
            self.name()
        }
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.name();
        self.push_suffix(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

/// Splits off the registry: the part before the first `/` if it has a `.`, a `:`, a capital letter, or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            let registry = if first == "index.docker.io" { DEFAULT_REGISTRY } else { first };
            (registry, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn check_registry(registry: &str) -> Result<(), ReferenceError> {
    let wrong = || ReferenceError::Registry(registry.chars().take(128).collect());
    let (host, port) = if let Some(rest) = registry.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or_else(wrong)?;
        let fine = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        if !fine {
            return Err(wrong());
        }
        match after.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if after.is_empty() => (None, None),
            None => return Err(wrong()),
        }
    } else {
        match registry.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(registry), None),
        }
    };
    if let Some(host) = host {
        let labels_fine = host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
        if !labels_fine || host.len() > 253 {
            return Err(wrong());
        }
    }
    match port {
        Some(port) if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err() => Err(wrong()),
        _ => Ok(()),
    }
}

fn check_repository(repository: &str) -> Result<(), ReferenceError> {
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ReferenceError::Uppercase(repository.to_owned()));
    }
    if repository.len() > REPOSITORY_BYTES_MAX {
        return Err(ReferenceError::RepositoryTooLong);
    }
    if repository.split('/').all(is_path_component) {
        Ok(())
    } else {
        Err(ReferenceError::Repository(repository.to_owned()))
    }
}

/// `[a-z0-9]+ ((\. | _ | __ | -+) [a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut rest = component.as_bytes();
    loop {
        let word = rest.iter().take_while(|byte| is_word(byte)).count();
        if word == 0 {
            return false;
        }
        rest = &rest[word..];
        if rest.is_empty() {
            return true;
        }
        let separator = rest.iter().take_while(|byte| !is_word(byte)).count();
        let (separator, after) = rest.split_at(separator);
        let fine = matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-');
        if !fine {
            return false;
        }
        rest = after;
    }
}

fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let fine = (1..=TAG_BYTES_MAX).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if fine { Ok(()) } else { Err(ReferenceError::Tag(tag.chars().take(140).collect())) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_normalised_as_docker_does() {
        for (text, full, familiar) in [
            ("busybox", "docker.io/library/busybox", "busybox"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
            ("index.docker.io/busybox", "docker.io/library/busybox", "busybox"),
            ("user/app", "docker.io/user/app", "user/app"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("localhost/app", "localhost/app", "localhost/app"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("ghcr.io/org/team/app", "ghcr.io/org/team/app", "ghcr.io/org/team/app"),
            ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
            ("[fe80::1]/app", "[fe80::1]/app", "[fe80::1]/app"),
            ("Host/app", "Host/app", "Host/app"),
            ("a__b/c-d--e.f_g", "docker.io/a__b/c-d--e.f_g", "a__b/c-d--e.f_g"),
            ("app:_.-Tag", "docker.io/library/app:_.-Tag", "app:_.-Tag"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(Reference::parse(full).unwrap(), reference, "the full form parses to itself");
            assert_eq!(Reference::parse(familiar).unwrap(), reference, "the familiar form parses to itself");
        }
    }

    #[test]
    fn tag_and_digest_are_both_kept() {
        let reference = Reference::parse(&format!("app:1@{DIGEST}")).unwrap();
        assert_eq!(reference.tag(), Some("1"));
        assert_eq!(reference.manifest_name(), DIGEST);
        assert_eq!(reference.to_string(), format!("docker.io/library/app:1@{DIGEST}"));
        assert_eq!(reference.with_tag("2").unwrap().familiar(), "app:2");
        assert_eq!(Reference::parse("app").unwrap().or_latest().familiar(), "app:latest");
        assert_eq!(Reference::parse(&format!("app@{DIGEST}")).unwrap().or_latest().tag(), None);
    }

    #[test]
    fn bad_references_say_what_is_wrong() {
        for (text, part) in [
            ("", "it is empty"),
            ("Base", "repository name (library/Base) must be lowercase"),
            ("docker.io/Foo/bar", "repository name (Foo/bar) must be lowercase"),
            ("app:", "is not a tag"),
            ("app:.x", "is not a tag"),
            ("-app", "is not a repository name"),
            ("app-", "is not a repository name"),
            ("a..b", "is not a repository name"),
            ("a___b", "is not a repository name"),
            ("a//b", "is not a repository name"),
            ("a.b/", "is not a repository name"),
            ("../etc/passwd", "is not a registry host"),
            ("host:port/app", "is not a registry host"),
            ("host:99999/app", "is not a registry host"),
            ("-x.y/app", "is not a registry host"),
            ("app@sha256:abc", "wrong number of digits"),
            ("app:a:b", "is not a tag"),
            ("app one", "is not a repository name"),
            ("caf\u{e9}", "is not a repository name"),
        ] {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(error.starts_with("invalid reference format"), "{text}: {error}");
        }
        assert!(Reference::parse(&"a".repeat(64)).is_err());
        assert!(Reference::parse(&format!("x/{}", "a".repeat(300))).is_err());
        assert!(Reference::parse(&"a".repeat(5000)).is_err());
    }
}
