//! `empty-continuation`

use super::parse_error::report_code;
use super::prelude::*;
use bake_dockerfile::diagnostic::code;

pub(super) const RULE: Rule = Rule {
    id: "empty-continuation",
    aliases: &["NoEmptyContinuation"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A blank line inside a continued instruction.",
    why: "It is skipped for the sake of old files, and it looks as if the instruction ended there.",
    bad: "FROM debian:12-slim\nRUN echo a \\\n\n    b\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN echo a \\\n    b\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    report_code(context, code::EMPTY_CONTINUATION, report);
}
