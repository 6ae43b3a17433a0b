//! Patterns in which `*` stands for any text.

/// Whether `pattern` matches all of `text`. Takes steps in proportion to the length of `text` times the number of `*`.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn wildcards_match() {
        assert!(
            matches("ghcr.io", "ghcr.io")
                && matches("*.acme.com", "r.acme.com")
                && matches("ghcr.io/acme/*", "ghcr.io/acme/x")
        );
        assert!(!matches("ghcr.io", "ghcr.io.evil") && !matches("*.acme.com", "acme.com.evil"));
        assert!(matches("a*b*c", "axbybc") && !matches("a*b*c", "acb") && matches("*", ""));
    }
}
