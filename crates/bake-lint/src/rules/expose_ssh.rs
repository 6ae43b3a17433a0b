//! `expose-ssh`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "expose-ssh",
    aliases: &["DS-0004", "AVD-DS-0004", "CKV_DOCKER_1"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`EXPOSE 22`: the image is meant to be entered by SSH.",
    why: "A second way in needs keys, updates and watching of its own. `docker exec` and `kubectl exec` need none of it.",
    bad: "FROM debian:12-slim\nEXPOSE 22\nUSER 10001\n",
    good: "FROM debian:12-slim\nEXPOSE 8080 2222\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let InstructionKind::Expose(words) = &located.instruction.kind else { continue };
        for word in words {
            let ports = word.value.split('/').next().unwrap_or_default();
            if ports.rsplit(':').next() == Some("22") && !word.value.to_ascii_lowercase().ends_with("/udp") {
                report
                    .report(word.span, format!("`{}` is the port of SSH", word.value))
                    .help("enter containers with `exec`");
            }
        }
    }
}
