//! `insecure-step`

use super::prelude::*;
use bake_dockerfile::instruction::SecurityFlag;

pub(super) const RULE: Rule = Rule {
    id: "insecure-step",
    aliases: &["run-security-insecure"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`RUN --security=insecure` runs a step without protection.",
    why: "Whatever the step downloads and runs has the rights of the builder over the machine that builds.",
    bad: "FROM debian:12-slim\nRUN --security=insecure make\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN make\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        if let Some(security) = run.run.security.as_ref().filter(|security| security.value == SecurityFlag::Insecure) {
            report.report(security.span, "The step runs without protection of the machine that builds");
        }
    }
}
