//! `arg-description`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "arg-description",
    aliases: &["InvalidDefinitionDescription"],
    severity: Severity::Style,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "The comment above an `ARG` or a named `FROM` does not describe it as `# NAME ...`.",
    why: "Lists of build arguments and targets show comments that begin with the name. Off by default: most comments are not meant for \
          such lists.",
    bad: "# the release of Debian\nARG RELEASE=12\nFROM debian:${RELEASE}-slim\nUSER 10001\n",
    good: "# RELEASE the release of Debian\nARG RELEASE=12\n# something else\n\nFROM debian:${RELEASE}-slim AS base\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for instruction in &context.dockerfile.instructions {
        if let Some(violation) = bake_checks::definition_description(context.dockerfile, instruction) {
            report.violation(violation).help("put a blank line between them when the comment is no description");
        }
    }
}
