//! `stage-name-duplicate`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "stage-name-duplicate",
    aliases: &["DuplicateStageName", "DL3024", "DS-0012", "AVD-DS-0012", "CKV_DOCKER_11"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "Two stages have the same name; letter case does not make a difference.",
    why: "`FROM name` then means the latest stage before it and `COPY --from=name` the last one of the file: hardly what was meant.",
    bad: "FROM debian:12-slim AS dev\nFROM debian:12-slim AS DEV\nUSER 10001\n",
    good: "FROM debian:12-slim AS dev\nFROM debian:12-slim AS prod\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let duplicates = bake_checks::stage_names(context.dockerfile);
    for (index, violation) in duplicates.into_iter().filter(|(_, found)| found.check.name == "DuplicateStageName") {
        let finding = report.violation(violation);
        let name = context.stages.get(index).and_then(|stage| stage.name.as_ref());
        let before = context.stages.iter().take(index).rfind(|before| before.name.as_ref() == name);
        if let Some(before) = before.and_then(|before| before.from.name.as_ref()) {
            finding.label(before.span, "used here before");
        }
    }
}
