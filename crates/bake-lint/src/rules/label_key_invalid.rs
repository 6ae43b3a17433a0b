//! `label-key-invalid`

use super::prelude::*;
use crate::labels::labels;

pub(super) const RULE: Rule = Rule {
    id: "label-key-invalid",
    aliases: &["DL3048"],
    severity: Severity::Style,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "The key of a label is not one by Docker's guidelines, or lies in a namespace that belongs to Docker.",
    why: "Keys are lower-case words with `.` and `-` between them, so that filters on a command line need no quoting. `com.docker.*`, \
          `io.docker.*` and `org.dockerproject.*` are reserved.",
    bad: "FROM debian:12-slim\nLABEL Vendor_Name=acme\nUSER 10001\n",
    good: "FROM debian:12-slim\nLABEL com.acme.vendor-name=acme\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for label in labels(context) {
        let Some(name) = label.key.as_deref() else { continue };
        if ["com.docker.", "io.docker.", "org.dockerproject."].iter().any(|space| name.starts_with(space)) {
            report.report(label.key_span, format!("Label `{name}` is in a namespace that is reserved for Docker"));
        } else if !is_key(name) {
            let finding = report.report(label.key_span, format!("Label `{name}` is not a valid key"));
            finding.help("use lower-case letters and digits with single `.` or `-` between them");
        }
    }
}

fn is_key(name: &str) -> bool {
    let parts = || name.split(['.', '-']);
    let plain =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    name.starts_with(|c: char| c.is_ascii_lowercase()) && parts().all(plain)
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn keys_are_judged() {
        for (key, wanted) in [
            ("maintainer", false),
            ("org.opencontainers.image.base-name", false),
            ("a$X", false),
            ("A", true),
            ("1a", true),
            ("a..b", true),
            ("a-", true),
            ("com.docker.x", true),
            ("com.dockerfile.x", false),
        ] {
            let text = format!("FROM debian:12\nLABEL {key}=x\n");
            assert_eq!(!lines("label-key-invalid", &text).is_empty(), wanted, "{key}");
        }
    }
}
