//! `stage-name-reserved`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "stage-name-reserved",
    aliases: &["ReservedStageName", "DL3063"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A stage is called `scratch` or `context`.",
    why: "Both words mean something else: the empty image and the build context. A stage of that name hides it from what follows.",
    bad: "FROM debian:12-slim AS scratch\nUSER 10001\n",
    good: "FROM debian:12-slim AS base\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for (_, violation) in bake_checks::stage_names(context.dockerfile) {
        if violation.check.name == "ReservedStageName" {
            report.violation(violation);
        }
    }
}
