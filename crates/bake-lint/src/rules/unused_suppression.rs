//! `unused-suppression`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "unused-suppression",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A `# bake: ignore=` comment hides nothing, or names a rule that does not exist.",
    why: "It would hide a finding that comes back later. Comments for other linters have a rule of their own, \
          `unused-foreign-suppression`.",
    bad: "FROM debian:12-slim\n# bake: ignore=sudo\nRUN true\nUSER 10001\n",
    good: "FROM debian:12-slim\n# bake: ignore=sudo reason=\"needed by the installer\"\nRUN sudo true\nUSER 10001\n",
    check,
};

/// Nothing to do here: whether a comment hid something is known only after all rules have run (see `suppression`).
fn check(_: &LintContext<'_>, _: &mut Reporter<'_>) {}
