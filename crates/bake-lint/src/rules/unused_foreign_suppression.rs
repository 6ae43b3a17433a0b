//! `unused-foreign-suppression`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "unused-foreign-suppression",
    aliases: &[],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A comment for another linter hides nothing that bake would report.",
    why: "After a change from that linter to bake it is not needed any more. Off by default: as long as the other linter is in use, it may \
          report there what is right by our rules.",
    bad: "FROM debian:12-slim\n# hadolint ignore=DL3004\nRUN true\nUSER 10001\n",
    good: "FROM debian:12-slim\n# hadolint ignore=DL3004\nRUN sudo true\nUSER 10001\n",
    check,
};

/// Nothing to do here: whether a comment hid something is known only after all rules have run (see `suppression`).
fn check(_: &LintContext<'_>, _: &mut Reporter<'_>) {}
