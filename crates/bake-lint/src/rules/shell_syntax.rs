//! `shell-syntax`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "shell-syntax",
    aliases: &["SC1072", "SC1073"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "The shell will not be able to read a `RUN`.",
    why: "An open quote or an `if` without `fi` is a syntax error: the step fails after everything before it has been built.",
    bad: "FROM debian:12-slim\nRUN if true; then echo yes\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN if true; then echo yes; fi\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        // One mistake makes others: the first tells enough.
        if let Some(error) = run.script.errors.first() {
            report.report(error.span, format!("Shell syntax: {}", error.message));
        }
    }
}
