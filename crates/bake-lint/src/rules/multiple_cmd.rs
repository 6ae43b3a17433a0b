//! `multiple-cmd`

use super::prelude::*;
use bake_checks::{counted_once, superseded};

pub(super) const RULE: Rule = Rule {
    id: "multiple-cmd",
    aliases: &["MultipleInstructionsDisallowed", "DL4003", "DS-0016", "AVD-DS-0016"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A stage has several `CMD`.",
    why: "Only the last one counts; the earlier ones mislead the reader.",
    bad: "FROM debian:12-slim\nCMD [\"one\"]\nCMD [\"two\"]\nUSER 10001\n",
    good: "FROM debian:12-slim\nCMD [\"two\"]\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    report_superseded(context, report, "CMD");
}

/// Reports all instructions of a kind but the last one of each stage; shared by the rules for `CMD`, `ENTRYPOINT` and `HEALTHCHECK`.
pub(super) fn report_superseded(context: &LintContext<'_>, report: &mut Reporter<'_>, kind: &str) {
    for stage in 0..context.stages.len() {
        let mut later: Option<&Instruction> = None;
        for located in context
            .stage_instructions(stage)
            .rev()
            .filter(|l| !l.onbuild && counted_once(&l.instruction.kind) == Some(kind))
        {
            let instruction = located.instruction;
            let Some(last) = later else {
                later = Some(instruction);
                continue;
            };
            let finding = report.violation(superseded(&instruction.keyword.value, instruction.keyword.span));
            finding.label(last.keyword.span, "this one counts");
            if let Some(edit) = context.delete_instruction(instruction) {
                finding.safe_fix("Delete it", vec![edit]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::fixed;

    #[test]
    fn all_but_the_last_are_deleted() {
        let text = "FROM a:1\r\n  CMD [\"a\", \\\r\n    \"b\"]\r\n# note\r\nCMD b\r\nCMD c";
        assert_eq!(fixed("multiple-cmd", text), "FROM a:1\r\n# note\r\nCMD c");
        let text = "FROM a:1\n# bake: ignore=shell-form-cmd\nCMD b\nCMD c\n";
        assert_eq!(fixed("multiple-cmd", text), text, "the comment must not come to stand above another instruction");
    }
}
