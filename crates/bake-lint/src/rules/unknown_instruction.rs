//! `unknown-instruction`

use super::parse_error::report_code;
use super::prelude::*;
use bake_dockerfile::diagnostic::code;

pub(super) const RULE: Rule = Rule {
    id: "unknown-instruction",
    aliases: &["DL1000"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "A line begins with a word that is no instruction.",
    why: "The build stops before its first step.",
    bad: "FROM debian:12-slim\nRNU echo hello\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN echo hello\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    report_code(context, code::UNKNOWN_INSTRUCTION, report);
}
