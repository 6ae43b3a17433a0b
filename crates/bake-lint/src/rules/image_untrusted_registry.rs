//! `image-untrusted-registry`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "image-untrusted-registry",
    aliases: &["DL3026"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "An image comes from a registry that is not on the list of trusted ones.",
    why: "A base image runs code in every build and every container. Reports nothing until a list is configured; build arguments are \
          resolved before the comparison, so a default cannot slip past it.",
    bad: "FROM evil.example/debian:12\nUSER 10001\n",
    good: "FROM docker.io/library/debian:12\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let trusted = &context.options.trusted_registries;
    if trusted.is_empty() {
        return;
    }
    for image in &context.images {
        let name = image.name.qualified();
        let registry = name.split('/').next().unwrap_or_default();
        if !trusted.iter().any(|pattern| matches(pattern, &name) || matches(pattern, registry)) {
            let finding = report.report(image.span, format!("Registry of `{name}` is not trusted"));
            finding.help(format!("trusted are: {}", trusted.join(", ")));
        }
    }
}

/// Whether `pattern`, in which `*` stands for any text, matches all of `text`.
fn matches(pattern: &str, text: &str) -> bool {
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
        assert!(matches("ghcr.io", "ghcr.io") && matches("*.acme.com", "r.acme.com") && matches("ghcr.io/acme/*", "ghcr.io/acme/x"));
        assert!(!matches("ghcr.io", "ghcr.io.evil") && !matches("*.acme.com", "acme.com.evil"));
    }
}
