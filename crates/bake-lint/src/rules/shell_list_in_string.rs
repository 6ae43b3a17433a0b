//! `shell-list-in-string`

use super::prelude::*;
use crate::shell::{PartKind, Quoting, parameter_name};

pub(super) const RULE: Rule = Rule {
    id: "shell-list-in-string",
    aliases: &["SC2145"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`\"text $@\"` is several words, of which only the first holds the text.",
    why: "`\"$@\"` is one word for each argument, inside of a longer string too: what looks like one message is a list. `$*` joins them.",
    bad: "FROM debian:12-slim\nRUN say() { logger \"build: $@\"; } && say a b\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN say() { logger \"build: $*\"; } && say a b\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let by_us = run.script.sessions.get(command.session).is_some_and(|session| !session.is_expanded_outside());
            // `echo` and `printf` print several words like one.
            if !by_us || matches!(command.program(), "echo" | "[[") {
                continue;
            }
            for word in command.words.iter().filter(|word| word.expands && word.parts.len() > 1) {
                let in_string = word
                    .expansions()
                    .filter(|(part, _)| part.kind == PartKind::Parameter && part.quoting == Quoting::Double);
                for (part, text) in in_string {
                    let Some((name, rest @ ("" | "[@]"))) = parameter_name(text) else { continue };
                    if name != "@" && rest.is_empty() {
                        continue;
                    }
                    let finding = report
                        .report(part.span, format!("`{text}` in a string makes several words of it"))
                        .help("use `*` to join them");
                    if context.source(part.span) == text {
                        finding.unsafe_fix("Join them", vec![TextEdit::replace(part.span, text.replacen('@', "*", 1))]);
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
    fn a_list_alone_is_right() {
        check_bodies(
            "shell-list-in-string",
            &["f() { a \"x $@\"; }; f", "bash -c 'x=(a); b \"c${x[@]}\"'"],
            &["f() { a \"$@\"; }; f", "a \"x $*\"", "echo \"x $@\"", "a x\"$*\"", "a 'x $@'", "x=\"a $@\""],
        );
        assert_eq!(fixed_body("shell-list-in-string", "f() { a \"x $@\"; }; f"), "f() { a \"x $*\"; }; f");
    }
}
