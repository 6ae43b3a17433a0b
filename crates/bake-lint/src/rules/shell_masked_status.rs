//! `shell-masked-status`

use super::prelude::*;
use crate::shell::{Connector, PartKind};

pub(super) const RULE: Rule = Rule {
    id: "shell-masked-status",
    aliases: &["SC2155"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`export X=$(...)` hides that the command failed.",
    why: "The exit status is that of `export`, which succeeds: the step goes on with an empty variable, under `set -e` too.",
    bad: "FROM debian:12-slim\nRUN export VERSION=$(cat /version) && make\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN VERSION=$(cat /version) && export VERSION && make\nUSER 10001\n",
    check,
};

/// Programs that hardly fail, so that nobody waits for their status.
const RELIABLE: [&str; 12] =
    ["nproc", "uname", "date", "pwd", "arch", "whoami", "id", "hostname", "dpkg", "dirname", "basename", "mktemp"];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for (index, command) in run.script.commands.iter().enumerate() {
            if !matches!(command.program(), "export" | "local" | "readonly" | "declare" | "typeset") {
                continue;
            }
            let holds_command = |kind: PartKind| matches!(kind, PartKind::Command | PartKind::Backquoted);
            let masked =
                command.arguments().iter().find(|word| word.expansions().any(|(part, _)| holds_command(part.kind)));
            let Some(word) = masked else { continue };
            let inner = run.script.commands.get(..index).unwrap_or_default().iter().rev();
            let inner: Vec<_> = inner.take_while(|inner| inner.span.start >= command.span.start).collect();
            // `$(a || echo b)` has an answer to the failure already.
            if inner
                .iter()
                .all(|inner| RELIABLE.contains(&inner.program()) || matches!(inner.program(), "echo" | "printf"))
                || inner.iter().any(|inner| inner.connector == Connector::Or)
            {
                continue;
            }
            let Some((name, _)) = word.text.split_once('=') else { continue };
            let finding = report
                .report(word.span, format!("`{}` hides that the command in `{name}` failed", command.program()))
                .help(format!("assign first: `{name}=$(...) && {} {name}`", command.program()));
            let plain = command.arguments().len() == 1 && command.words.len() == 2 && command.redirects.is_empty();
            let in_sequence = matches!(command.connector, Connector::Start | Connector::Then | Connector::And)
                && !matches!(command.followed_by, Some(Connector::Or | Connector::Pipe | Connector::Background));
            if plain
                && in_sequence
                && command.program() == "export"
                && !command.negated
                && word.span != run.instruction.span
            {
                let program = &command.words[0];
                let remove = TextEdit::delete(Span::new(program.span.start, word.span.start));
                finding.safe_fix(
                    "Assign first",
                    vec![remove, TextEdit::insert(word.span.end, format!(" && export {name}"))],
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_statuses_that_matter_count() {
        check_bodies(
            "shell-masked-status",
            &[
                "export A=$(cat /x) && b",
                "set -e; export A=\"$(curl x)\"; b",
                "f() { local a=`b`; }; f",
                "export A=$(a | b)",
            ],
            &[
                "A=$(cat /x) && export A",
                "export A=b",
                "export A=$(nproc) && b",
                "export A=$(cat /x || echo y)",
                "export A=$B",
                "echo \"export A=$(b)\"",
                "export A",
            ],
        );
    }

    #[test]
    fn the_assignment_comes_first() {
        assert_eq!(
            fixed_body("shell-masked-status", "a && export A=\"$(b)\" && c"),
            "a && A=\"$(b)\" && export A && c"
        );
        assert_eq!(fixed_body("shell-masked-status", "export A=$(b) || c"), "export A=$(b) || c");
    }
}
