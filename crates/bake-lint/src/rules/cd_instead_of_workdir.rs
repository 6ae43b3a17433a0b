//! `cd-instead-of-workdir`

use super::prelude::*;
use crate::shell::Connector;

pub(super) const RULE: Rule = Rule {
    id: "cd-instead-of-workdir",
    aliases: &["DL3003", "DS-0013", "AVD-DS-0013"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`cd` as the last or only command of a `RUN`.",
    why: "The directory is forgotten with the end of the step: the next instruction is back where it was. `cd x && make` is fine.",
    bad: "FROM debian:12-slim\nRUN cd /srv\nUSER 10001\n",
    good: "FROM debian:12-slim\nWORKDIR /srv\nRUN cd sub && make\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let Some(last) = run.script.commands.iter().rev().find(|command| command.session == 0) else { continue };
        let effective =
            last.program() == "cd" && last.depth == 0 && !matches!(last.connector, Connector::Or | Connector::Pipe);
        if !effective {
            continue;
        }
        let finding =
            report.report(last.span, "`cd` has no effect on what follows").help("set the directory with WORKDIR");
        let alone =
            run.script.commands.len() == 1 && run.instruction.flags.is_empty() && run.instruction.heredocs.is_empty();
        if let [target] = last.arguments()
            && alone
            && !target.expands
            && target.text.starts_with('/')
            && !target.text.contains(' ')
            && matches!(run.run.command, Command::Shell(_))
        {
            let text = format!("WORKDIR {}", target.text);
            // What follows then runs there, which it did not before.
            finding.unsafe_fix("Use WORKDIR", vec![TextEdit::replace(run.instruction.span, text)]);
        }
    }
}
