//! `maintainer`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "maintainer",
    aliases: &["MaintainerDeprecated", "DL4000", "DS-0022", "AVD-DS-0022", "CKV_DOCKER_6"],
    severity: Severity::Style,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`MAINTAINER` is deprecated.",
    why: "It can hold one name and cannot be inspected like other metadata. A label can.",
    bad: "FROM debian:12-slim\nMAINTAINER Jo Doe <jo@example.com>\nUSER 10001\n",
    good: "FROM debian:12-slim\nLABEL org.opencontainers.image.authors=\"Jo Doe <jo@example.com>\"\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let InstructionKind::Maintainer(name) = &located.instruction.kind else { continue };
        let Some(violation) = bake_checks::maintainer(located.instruction) else { continue };
        let finding = report.violation(violation).help("use `LABEL org.opencontainers.image.authors=...`");
        if !name.value.contains(['"', '\\', '$', '\'', '`', '\n']) {
            let label = format!("LABEL org.opencontainers.image.authors=\"{}\"", name.value);
            finding.safe_fix("Use a label", vec![TextEdit::replace(located.instruction.span, label)]);
        }
    }
}
