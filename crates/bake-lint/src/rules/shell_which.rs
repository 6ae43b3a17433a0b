//! `shell-which`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "shell-which",
    aliases: &["SC2230"],
    severity: Severity::Style,
    default: false,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`which`, a program that not every image has.",
    why: "Minimal images leave it out, and what it prints for a missing program differs. `command -v` is part of every shell.",
    bad: "FROM debian:12-slim\nRUN which make || exit 1\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN command -v make || exit 1\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in run.script.commands.iter().filter(|command| command.program() == "which") {
            let Some(word) = command.words.first().filter(|_| command.program_index == 0) else { continue };
            let finding = report.report(word.span, "`which` is not in every image: use `command -v`");
            let one_name = matches!(command.arguments(), [name] if !name.text.starts_with('-'));
            if one_name && word.span != run.instruction.span {
                finding.unsafe_fix("Use `command -v`", vec![TextEdit::replace(word.span, "command -v")]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_the_program_counts() {
        check_bodies(
            "shell-which",
            &["which a", "x=$(which a)", "if ! which a; then b; fi"],
            &["command -v a", "apt-get install which", "echo which"],
        );
        assert_eq!(fixed_body("shell-which", "which a > /dev/null && b"), "command -v a > /dev/null && b");
    }
}
