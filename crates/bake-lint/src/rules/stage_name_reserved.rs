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
    for stage in &context.stages {
        if let (Some(name @ ("scratch" | "context")), Some(written)) = (stage.name.as_deref(), &stage.from.name) {
            report.report(written.span, format!("Stage name `{name}` is reserved"));
        }
    }
}
