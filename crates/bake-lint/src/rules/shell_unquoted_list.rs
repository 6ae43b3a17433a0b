//! `shell-unquoted-list`

use super::prelude::*;
use crate::shell::{PartKind, parameter_name};
use crate::variables::is_split;

pub(super) const RULE: Rule = Rule {
    id: "shell-unquoted-list",
    aliases: &["SC2068"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`$@` or `${list[@]}` without quotes.",
    why: "`\"$@\"` passes the arguments on as they are; without quotes each one is split at blanks once more.",
    bad: "FROM debian:12-slim\nRUN retry() { until $@; do sleep 1; done; } && retry curl -fsSLO \"https://example.com/a b\"\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN retry() { until \"$@\"; do sleep 1; done; } && retry curl -fsSLO \"https://example.com/a b\"\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let Some(session) =
                run.script.sessions.get(command.session).filter(|session| !session.is_expanded_outside())
            else {
                continue;
            };
            for word in command.words.iter().filter(|word| word.expands && command.program() != "[[") {
                for (part, text) in
                    word.expansions().filter(|(part, _)| part.kind == PartKind::Parameter && is_split(part.quoting))
                {
                    let is_list = matches!(parameter_name(text), Some(("@", "") | (_, "[@]")));
                    if !is_list {
                        continue;
                    }
                    let finding = report.report(part.span, format!("`{text}` without quotes splits its members again"));
                    if session.is_verbatim() && context.source(part.span) == text && word.parts.len() == 1 {
                        finding.unsafe_fix("Put it in quotes", TextEdit::in_quotes(part.span));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn quoted_ones_are_right() {
        check_bodies(
            "shell-unquoted-list",
            &["f() { a $@; }; f", "a ${@}", "bash -c 'x=(a); b ${x[@]}'", "f() { $@; }; f"],
            &[
                "f() { a \"$@\"; }; f",
                "a \"${x[@]}\"",
                "for x in $@; do b; done",
                "x=$@",
                "a '$@'",
                "a $* ${x[*]} ${#x[@]}",
            ],
        );
        assert_eq!(fixed_body("shell-unquoted-list", "f() { a $@; }; f"), "f() { a \"$@\"; }; f");
    }
}
