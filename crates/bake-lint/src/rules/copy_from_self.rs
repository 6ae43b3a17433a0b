//! `copy-from-self`

use super::prelude::*;
use crate::context::FromReference;

pub(super) const RULE: Rule = Rule {
    id: "copy-from-self",
    aliases: &["DL3023", "DS-0006", "AVD-DS-0006"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`--from` names the stage it stands in.",
    why: "A stage cannot be finished before itself: the build stops with a circular dependency.",
    bad: "FROM debian:12-slim AS build\nCOPY --from=build /app /app\nUSER 10001\n",
    good: "FROM debian:12-slim AS build\nFROM debian:12-slim\nCOPY --from=build /app /app\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let Some(stage) = located.stage.filter(|_| !located.onbuild) else { continue };
        for word in from_words(located.instruction) {
            if context.resolve_from(stage, &word.value) == FromReference::Own {
                report.report(word.span, format!("`--from={}` is the stage it stands in", word.value));
            }
        }
    }
}
