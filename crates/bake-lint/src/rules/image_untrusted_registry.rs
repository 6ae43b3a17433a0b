//! `image-untrusted-registry`

use super::prelude::*;
use crate::wildcard::matches;

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
