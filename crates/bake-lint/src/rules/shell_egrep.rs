//! `shell-egrep`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "shell-egrep",
    aliases: &["SC2196", "SC2197"],
    severity: Severity::Style,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`egrep` or `fgrep`, which are going away.",
    why: "GNU grep warns at each use of them since version 3.8, and distributions begin to leave them out. `grep -E` and `grep -F` are \
          the same.",
    bad: "FROM debian:12-slim\nRUN egrep 'a|b' /etc/hosts\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN grep -E 'a|b' /etc/hosts\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let replacement = match command.program() {
                "egrep" => "grep -E",
                "fgrep" => "grep -F",
                _ => continue,
            };
            let Some(word) = command.words.get(command.program_index) else { continue };
            let finding = report.report(word.span, format!("`{}` is going away: use `{replacement}`", word.text));
            if word.span != run.instruction.span && context.source(word.span) == command.program() {
                finding.safe_fix(format!("Use `{replacement}`"), vec![TextEdit::replace(word.span, replacement)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_programs_count() {
        check_bodies(
            "shell-egrep",
            &["a | egrep b", "sudo fgrep a b", "sh -c 'egrep a b'", "find . -exec egrep a {} +"],
            &["grep -E a", "apt-get install egrep", "echo egrep"],
        );
        assert_eq!(fixed_body("shell-egrep", "a | egrep -v b | xargs fgrep c"), "a | grep -E -v b | xargs grep -F c");
    }
}
