//! `shell-test-and-or`

use super::prelude::*;
use crate::shell::{Connector, ShellWord};

pub(super) const RULE: Rule = Rule {
    id: "shell-test-and-or",
    aliases: &["SC2166"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`-a` or `-o` between two tests in one `[ ... ]`.",
    why: "With more than four operands POSIX does not say what is meant, and a value that looks like an operator changes the test. \
          `[ a ] && [ b ]` is clear to every shell.",
    bad: "FROM debian:12-slim\nARG A\nRUN if [ -n \"$A\" -a -f /x ]; then rm /x; fi\nUSER 10001\n",
    good: "FROM debian:12-slim\nARG A\nRUN if [ -n \"$A\" ] && [ -f /x ]; then rm /x; fi\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in run.script.commands.iter().filter(|command| matches!(command.program(), "[" | "test")) {
            let arguments = command.arguments();
            let joins = |index: usize, word: &ShellWord| {
                let left =
                    index.checked_sub(1).and_then(|left| arguments.get(left)).map_or("!", |word| word.text.as_str());
                word.parts.is_empty()
                    && matches!(word.text.as_str(), "-a" | "-o")
                    && !matches!(left, "!" | "(" | "=" | "!=" | "==")
                    && index + 1 < arguments.len()
            };
            let operators: Vec<&ShellWord> = arguments
                .iter()
                .enumerate()
                .filter(|(index, word)| joins(*index, word))
                .map(|(_, word)| word)
                .collect();
            let Some(first) = operators.first() else { continue };
            let finding = report
                .report(first.span, format!("`{}` in a test is not clear to every shell", first.text))
                .help("write two tests with `&&` or `||` between");
            // `!` and parentheses bind otherwise outside of the test; so does what stands around it.
            let simple = command.program() == "["
                && operators.iter().all(|word| word.text == "-a")
                && !arguments.iter().any(|word| matches!(word.text.as_str(), "!" | "(" | ")"));
            let apart = matches!(command.connector, Connector::Start | Connector::Then)
                && !command.negated
                && !matches!(command.followed_by, Some(Connector::Pipe | Connector::Background));
            if simple
                && apart
                && command.program_index == 0
                && command.redirects.is_empty()
                && first.span != run.instruction.span
            {
                finding.safe_fix(
                    "Make two tests of it",
                    operators.iter().map(|word| TextEdit::replace(word.span, "] && [")).collect(),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_operators_between_tests_count() {
        check_bodies(
            "shell-test-and-or",
            &["[ a = b -a c = d ]", "test -n x -o -n y", "if [ -f a -o -f b ]; then c; fi"],
            &[
                "[ -a /x ]",
                "[ ! -a /x ]",
                "[ a ] && [ b ]",
                "[[ a && b ]]",
                "[ \"$x\" = -a ]",
                "a -a b -o c",
                "find . -name a -o -name b",
            ],
        );
        assert_eq!(
            fixed_body("shell-test-and-or", "if [ -f a -a -f b -a c = d ]; then e; fi"),
            "if [ -f a ] && [ -f b ] && [ c = d ]; then e; fi"
        );
        assert_eq!(fixed_body("shell-test-and-or", "[ -f a -o -f b ] && c"), "[ -f a -o -f b ] && c");
    }
}
