//! `instruction-casing`

use super::prelude::*;

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
    let keywords = || {
        context
            .instructions
            .iter()
            .filter(|located| !matches!(located.instruction.kind, InstructionKind::Invalid(_)))
            .map(|located| &located.instruction.keyword)
    };
    let lower = keywords().filter(|keyword| keyword.value == keyword.value.to_lowercase()).count();
    let upper = keywords().filter(|keyword| keyword.value == keyword.value.to_uppercase()).count();
    let (name, wanted): (_, fn(&str) -> String) =
        if lower > upper { ("lowercase", str::to_lowercase) } else { ("uppercase", str::to_uppercase) };
    for keyword in keywords() {
        let right = wanted(&keyword.value);
        if keyword.value != right {
            report
                .report(keyword.span, format!("Command `{}` should match the case of the command majority ({name})", keyword.value))
                .safe_fix(format!("Use {name}"), vec![TextEdit::replace(keyword.span, right)]);
        }
    }
}
