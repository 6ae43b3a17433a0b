//! `multiple-entrypoint`

use super::multiple_cmd::report_superseded;
use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "multiple-entrypoint",
    aliases: &["MultipleInstructionsDisallowed", "DL4004", "DS-0007", "AVD-DS-0007"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A stage has several `ENTRYPOINT`.",
    why: "Only the last one counts; the earlier ones mislead the reader.",
    bad: "FROM debian:12-slim\nENTRYPOINT [\"one\"]\nENTRYPOINT [\"two\"]\nUSER 10001\n",
    good: "FROM debian:12-slim\nENTRYPOINT [\"two\"]\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    report_superseded(context, report, "ENTRYPOINT");
}
