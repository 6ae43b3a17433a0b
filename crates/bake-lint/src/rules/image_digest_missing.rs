//! `image-digest-missing`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "image-digest-missing",
    aliases: &["dockerfile-source-not-pinned"],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "An image is used by a tag without a digest.",
    why: "A tag can be moved to another image; a digest names the bytes that were tested. Off by default: digests need \
          something that renews them, such as `bake pin --update`.",
    bad: "FROM debian:12.5-slim\nUSER 10001\n",
    good: "FROM debian:12.5-slim@sha256:4b0a0dd4a4e5d5f1b2c3d4e5f60718293a4b5c6d7e8f90123456789abcdef012\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for image in &context.images {
        if image.name.tag.is_some() && image.name.digest.is_none() {
            let finding = report.report(image.span, format!("Image `{}` has no digest", image.name.repository));
            finding.help("`bake pin` appends the digest");
        }
    }
}
