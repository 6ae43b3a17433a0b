//! `suppression-without-reason`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "suppression-without-reason",
    aliases: &[],
    severity: Severity::Warning,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "A comment hides findings and does not say why.",
    why: "Who reads it in a year cannot tell whether it is still needed. Switched on by `--require-reason` and `require-reason = true` \
          too. The parser directive `# check=skip=` has no place for a reason and is left alone.",
    bad: "FROM debian:12-slim\n# hadolint ignore=DL3004\nRUN sudo true\nUSER 10001\n",
    good: "FROM debian:12-slim\n# bake: ignore=sudo reason=\"needed by the installer\"\nRUN sudo true\nUSER 10001\n",
    check,
};

/// Nothing to do here: comments are read after all rules have run (see `suppression`).
fn check(_: &LintContext<'_>, _: &mut Reporter<'_>) {}
