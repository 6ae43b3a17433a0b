//! `suppression-forbidden`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "suppression-forbidden",
    aliases: &["DL1001"],
    severity: Severity::Warning,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "A comment hides findings, and the project does not allow that.",
    why: "Where rules are agreed on for many repositories, exceptions belong into the configuration, which is reviewed. No comment hides \
          what this rule finds; `--disable-ignore-pragma` makes comments hide nothing at all.",
    bad: "FROM debian:12-slim\n# bake: ignore=sudo reason=\"needed by the installer\"\nRUN sudo true\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN true\nUSER 10001\n",
    check,
};

/// Nothing to do here: comments are read after all rules have run (see `suppression`).
fn check(_: &LintContext<'_>, _: &mut Reporter<'_>) {}
