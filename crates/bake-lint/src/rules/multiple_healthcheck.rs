//! `multiple-healthcheck`

use super::multiple_cmd::report_superseded;
use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "multiple-healthcheck",
    aliases: &["MultipleInstructionsDisallowed", "DL3012", "DS-0023", "AVD-DS-0023"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A stage has several `HEALTHCHECK`.",
    why: "Only the last one counts; the earlier ones mislead the reader.",
    bad: "FROM debian:12-slim\nHEALTHCHECK CMD [\"one\"]\nHEALTHCHECK NONE\nUSER 10001\n",
    good: "FROM debian:12-slim\nHEALTHCHECK NONE\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    report_superseded(context, report, "HEALTHCHECK");
}
