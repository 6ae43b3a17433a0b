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
    let mut seen = std::collections::BTreeMap::new();
    for stage in &context.stages {
        let (Some(name), Some(written)) = (&stage.name, &stage.from.name) else { continue };
        if let Some(first) = seen.insert(name, written.span) {
            let message = format!("Duplicate stage name `{name}`, stage names should be unique");
            report.report(written.span, message).label(first, "used here before");
        }
    }
}
