//! `shell-in-scratch`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "shell-in-scratch",
    aliases: &[],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A shell-form `RUN` in a stage from `scratch` before anything was copied into it.",
    why: "The empty image has no shell, so the step cannot run.",
    bad: "FROM scratch\nRUN echo hello\n",
    good: "FROM scratch\nADD rootfs.tar /\nRUN echo hello\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let Some(stage) = run.stage.filter(|_| !run.onbuild && matches!(run.run.command, Command::Shell(_))) else {
            continue;
        };
        let filled = context
            .history(stage, run.index)
            .any(|located| matches!(located.instruction.kind, InstructionKind::Copy(_) | InstructionKind::Add(_)));
        let mounted = run.run.mounts.iter().any(|mount| mount.from.is_some());
        if context.root_base(stage) == Some(&Base::Scratch) && !filled && !mounted {
            report
                .report(run.instruction.keyword.span, "There is no shell in `scratch` to run this")
                .help("copy something that holds one first");
        }
    }
}
