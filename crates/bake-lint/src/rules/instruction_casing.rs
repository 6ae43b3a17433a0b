//! `instruction-casing`

use super::prelude::*;
use bake_checks::{casing_majority, instruction_casing};

pub(super) const RULE: Rule = Rule {
    id: "instruction-casing",
    aliases: &["ConsistentInstructionCasing"],
    severity: Severity::Style,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "An instruction is written in another letter case than most of the file.",
    why: "One case throughout lets the eye find the instructions.",
    bad: "FROM debian:12-slim\nRUN true\nrun false\nUSER 10001\n",
    good: "from debian:12-slim\nrun true\nuser 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let majority = casing_majority(context.dockerfile);
    for (index, violation) in instruction_casing(context.dockerfile) {
        let right = majority.applied(&context.dockerfile.instructions[index].keyword.value);
        let edit = TextEdit::replace(violation.span, right);
        report.violation(violation).safe_fix(format!("Use {}", majority.name()), vec![edit]);
    }
}
