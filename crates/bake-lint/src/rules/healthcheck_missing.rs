//! `healthcheck-missing`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "healthcheck-missing",
    aliases: &["DL3057", "DS-0026", "AVD-DS-0026", "CKV_DOCKER_2", "CIS-DI-0006"],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "The image has no `HEALTHCHECK`.",
    why: "Docker and Podman then cannot tell a hanging service from a working one. Off by default: Kubernetes has probes of its own.",
    bad: "FROM debian:12-slim\nEXPOSE 8080\nCMD [\"/app\"]\nUSER 10001\n",
    good: "FROM debian:12-slim\nEXPOSE 8080\nHEALTHCHECK CMD [\"/app\", \"-health\"]\nCMD [\"/app\"]\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let Some(target) = context.stages.iter().position(|stage| stage.is_target) else { return };
    let has = |wanted: fn(&InstructionKind) -> bool| {
        context.history(target, usize::MAX).any(|located| wanted(&located.instruction.kind))
    };
    let inherited = context
        .root_image(target)
        .and_then(|image| context.image_facts(image))
        .is_some_and(|facts| facts.has_healthcheck);
    if !inherited
        && has(|kind| matches!(kind, InstructionKind::Expose(_)))
        && !has(|kind| matches!(kind, InstructionKind::Healthcheck(_)))
    {
        report.report(context.stages[target].from.image.span, "The image serves a port and has no HEALTHCHECK");
    }
}
