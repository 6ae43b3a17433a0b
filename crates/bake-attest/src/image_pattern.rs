//! Patterns of image names.

use bake_oci::Reference;

/// The longest pattern, in bytes: longer than any name of an image.
const PATTERN_BYTES_MAX: usize = 512;

/// A pattern such as `docker.io/library/debian:12*`: registry, repository and, if it is asked for, tag. `*` stands for anything but a
/// slash, `**` for anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImagePattern {
    name: Vec<Part>,
    /// `None`: any tag, or none.
    tag: Option<Vec<Part>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Byte(u8),
    /// `*`
    Star,
    /// `**`
    DoubleStar,
}

impl ImagePattern {
    /// Parses a pattern. It must say which registry is meant: a pattern that means less than it seems to is a hole in a policy.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!("a pattern has at most {PATTERN_BYTES_MAX} bytes"));
        }
        if text.contains('@') {
            return Err(format!("`{text}`: patterns are about names, not about digests"));
        }
        let colon = text.rfind(':').filter(|colon| !text[*colon..].contains('/'));
        let (name, tag) = match colon {
            Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
            None => (text, None),
        };
        let registry = name.split('/').next().unwrap_or_default();
        let qualified = registry.contains(['.', ':', '*']) || registry == "localhost";
        if name != "**" && !(qualified && name.contains('/')) {
            let namespace = if text.contains('/') { "" } else { "library/" };
            return Err(format!("`{text}` names no registry; write it out, for example `docker.io/{namespace}{text}`"));
        }
        // A repository of Docker's registry always has a namespace.
        let rest = name.strip_prefix("docker.io/").unwrap_or_default();
        if name.starts_with("docker.io/") && !rest.contains(['/', '*']) {
            return Err(format!("`{text}`: write it out, `docker.io/library/{rest}`"));
        }
        Ok(Self { name: parts(name), tag: tag.map(parts) })
    }

    /// Whether it is about `image`. A tag that a pattern asks for must be written, or be `latest` for want of tag and digest.
    pub(crate) fn matches(&self, image: &Reference) -> bool {
        let image = image.or_latest();
        let tag_fits = match (&self.tag, image.tag()) {
            (None, _) => true,
            (Some(pattern), Some(tag)) => matches(pattern, tag),
            (Some(_), None) => false,
        };
        tag_fits && matches(&self.name, &image.name())
    }
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match (byte, parts.last()) {
            (b'*', Some(Part::Star)) => {
                parts.pop();
                parts.push(Part::DoubleStar);
            }
            (b'*', Some(Part::DoubleStar)) => {}
            (b'*', _) => parts.push(Part::Star),
            _ => parts.push(Part::Byte(byte)),
        }
    }
    parts
}

/// Whether `pattern` matches all of `text`, in time of their product.
fn matches(pattern: &[Part], text: &str) -> bool {
    // `reached[i]`: the parts read so far can match the first `i` bytes.
    let bytes = text.as_bytes();
    let mut reached = vec![false; bytes.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; bytes.len() + 1];
        match part {
            Part::Byte(byte) => {
                for (index, other) in bytes.iter().enumerate() {
                    next[index + 1] = reached[index] && other == byte;
                }
            }
            Part::Star | Part::DoubleStar => {
                next[0] = reached[0];
                for (index, other) in bytes.iter().enumerate() {
                    let goes_on = next[index] && (*part == Part::DoubleStar || *other != b'/');
                    next[index + 1] = reached[index + 1] || goes_on;
                }
            }
        }
        reached = next;
    }
    reached[bytes.len()]
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn about(pattern: &str, name: &str) -> bool {
        ImagePattern::parse(pattern).unwrap().matches(&Reference::parse(name).unwrap())
    }

    #[test]
    fn stars_end_at_slashes() {
        for (pattern, name, expected) in [
            ("**", "debian", true),
            ("**", "a.io/b/c:1", true),
            ("docker.io/library/*", "debian:12", true),
            ("docker.io/library/*", "acme/debian", false),
            ("docker.io/*", "debian", false),
            ("docker.io/**", "debian", true),
            ("*.acme.com/**", "r.acme.com/a/b", true),
            ("*.acme.com/**", "evil.com/r.acme.com/a", false),
            ("*.acme.com/**", "r.acme.com.evil.com/a", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/a", true),
            ("ghcr.io/acme/*", "ghcr.io/acme-evil/a", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/a/b", false),
            ("ghcr.io/acme/**/base", "ghcr.io/acme/a/b/base", true),
            ("localhost:5000/a", "localhost:5000/a:1", true),
            ("localhost:5000/a:1", "localhost:5000/a:1", true),
            ("localhost:5000/a:1", "localhost:5000/a:12", false),
            ("docker.io/library/debian:12*", "debian:12-slim", true),
            ("docker.io/library/debian:latest", "debian", true),
            ("docker.io/library/debian:latest", "debian:12", false),
        ] {
            assert_eq!(about(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_says_which_registry_it_means() {
        for pattern in ["debian", "debian:12", "acme/app", "docker.io/debian", "*", "", "a.io", "a.io/b@sha256:1"] {
            ImagePattern::parse(pattern).unwrap_err();
        }
        assert!(ImagePattern::parse("acme/app").unwrap_err().contains("`docker.io/acme/app`"));
        assert!(ImagePattern::parse("docker.io/debian").unwrap_err().contains("`docker.io/library/debian`"));
        assert!(ImagePattern::parse(&"a".repeat(1000)).is_err());
    }

    #[test]
    fn long_patterns_take_no_long_time() {
        let pattern = format!("a.io/{}c", "a*".repeat(200));
        assert!(!about(&pattern, &format!("a.io/{}b", "a".repeat(200))));
    }
}
