//! `shell-and-or`

use super::prelude::*;
use crate::shell::Connector;

pub(super) const RULE: Rule = Rule {
    id: "shell-and-or",
    aliases: &["SC2015"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`[ test ] && A || B` is used for if-then-else, and B also runs when A fails.",
    why: "A build that fails goes on with the other branch. Not reported where B only ends the step or says so, and where A hardly fails.",
    bad: "FROM debian:12-slim\nARG DEBUG\nRUN [ -n \"$DEBUG\" ] && make debug || make release\nUSER 10001\n",
    good: "FROM debian:12-slim\nARG DEBUG\nRUN if [ -n \"$DEBUG\" ]; then make debug; else make release; fi\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let commands = &run.script.commands;
        let before = |command: &SimpleCommand| command.previous.and_then(|index| commands.get(index));
        for otherwise in commands.iter().filter(|command| command.connector == Connector::Or) {
            let Some(then) = before(otherwise).filter(|then| then.connector == Connector::And) else { continue };
            let Some(condition) = before(then) else { continue };
            let is_test = matches!(condition.program(), "[" | "test" | "[[")
                && !matches!(condition.connector, Connector::And | Connector::Or);
            let hardly_fails = matches!(
                then.program(),
                "echo"
                    | "printf"
                    | "export"
                    | ":"
                    | "true"
                    | "exit"
                    | "return"
                    | "break"
                    | "continue"
                    | "set"
                    | ""
                    | "["
                    | "test"
                    | "[["
            );
            let ends = matches!(
                otherwise.program(),
                "exit"
                    | "return"
                    | "true"
                    | ":"
                    | "false"
                    | "break"
                    | "continue"
                    | "echo"
                    | "printf"
                    | ""
                    | "["
                    | "test"
                    | "[["
            );
            if is_test && !hardly_fails && !ends && !otherwise.in_condition {
                report
                    .report(
                        otherwise.span,
                        format!("`{}` also runs when `{}` fails", otherwise.program(), then.program()),
                    )
                    .help("write `if ...; then ...; else ...; fi`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check_bodies;

    #[test]
    fn only_two_branches_that_can_fail_count() {
        check_bodies(
            "shell-and-or",
            &["[ -f x ] && a || b", "c; test -n \"$X\" && a b || c d"],
            &[
                "a && b || c",
                "[ -f x ] && a || true",
                "[ -f x ] && a || exit 1",
                "[ -f x ] && echo a || b",
                "[ -f x ] || b",
                "[ -f x ] && a",
                "[ -f x ] && a || echo failed",
                "[ -f x ] && { a; } || b",
                "if [ -f x ] && a || b; then c; fi",
                "[ -f x ] && [ -f y ] || a",
            ],
        );
    }
}
