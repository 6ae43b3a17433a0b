//! `expose-range`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "expose-range",
    aliases: &["DL3011", "DS-0008", "AVD-DS-0008"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`EXPOSE` names a port that does not exist.",
    why: "Ports go from 0 to 65535, and a range from the smaller to the larger number.",
    bad: "FROM debian:12-slim\nEXPOSE 80000\nUSER 10001\n",
    good: "FROM debian:12-slim\nEXPOSE 8000-8010/tcp\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let InstructionKind::Expose(words) = &located.instruction.kind else { continue };
        for word in words {
            let ports = word.value.split('/').next().unwrap_or_default();
            let ports = ports.rsplit(':').next().unwrap_or_default();
            let numbers: Vec<Option<u64>> = ports.split('-').map(|port| port.parse().ok()).collect();
            let too_large = numbers.iter().flatten().any(|port| *port > u64::from(u16::MAX));
            let reversed = matches!(numbers.as_slice(), [Some(from), Some(to)] if from > to);
            if too_large || reversed {
                report.report(word.span, format!("`{}` is no valid port", word.value));
            }
        }
    }
}
