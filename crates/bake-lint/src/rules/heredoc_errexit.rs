//! `heredoc-errexit`

use super::prelude::*;
use crate::shell::{Connector, Script};

pub(super) const RULE: Rule = Rule {
    id: "heredoc-errexit",
    aliases: &[],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A heredoc runs several commands without `set -e`.",
    why: "Only the last command decides whether the step succeeds: when an earlier one fails, the build goes on with what is left.",
    bad: "FROM debian:12-slim\nRUN <<EOF\nmake\nmake install\nEOF\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN <<EOF\nset -e\nmake\nmake install\nEOF\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for (index, session) in run.script.sessions.iter().enumerate() {
            if !session.heredoc || session.errexit || !ignores_failures(&run.script, index) {
                continue;
            }
            let finding = report
                .report(session.span, "A failing command of this heredoc does not fail the step")
                .help("make `set -e` its first line");
            let heredoc = run.instruction.heredocs.iter().find(|heredoc| heredoc.word.span == session.span);
            if let Some(heredoc) = heredoc
                && !heredoc.body.starts_with("#!")
            {
                finding.safe_fix(
                    "Add `set -e`",
                    vec![TextEdit::insert(heredoc.span.start, format!("set -e{}", context.newline()))],
                );
            }
        }
    }
}

/// Whether some command is followed by another one that runs whatever became of it.
fn ignores_failures(script: &Script, session: usize) -> bool {
    let mut can_fail = false;
    for (index, command) in script.commands.iter().enumerate().filter(|(_, command)| command.session == session) {
        let sequential = matches!(command.connector, Connector::Then);
        if can_fail && sequential && command.depth == 0 && !script.has_errexit_before(session, index) {
            return true;
        }
        can_fail |= !matches!(command.program(), "set" | "echo" | "printf" | "export" | "" | ":" | "true");
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn one_command_and_options_are_fine() {
        let text = "FROM a:1\nRUN <<E\na && b\nE\nRUN <<E bash\na\nb\nE\nRUN bash -e <<E\na\nb\nE\nRUN <<E\n#!/bin/sh -eu\na\nb\nE\n\
                    RUN <<E\n#!/usr/bin/env python3\na\nb\nE\nRUN cat <<E > /x\na\nb\nE\n";
        assert_eq!(lines("heredoc-errexit", text), [5]);
    }

    #[test]
    fn the_option_becomes_the_first_line() {
        assert_eq!(fixed("heredoc-errexit", "FROM a:1\nRUN <<E\na\nb\nE\n"), "FROM a:1\nRUN <<E\nset -e\na\nb\nE\n");
    }
}
