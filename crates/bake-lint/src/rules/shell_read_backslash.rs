//! `shell-read-backslash`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "shell-read-backslash",
    aliases: &["SC2162"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`read` without `-r` swallows backslashes.",
    why: "`a\\b` becomes `ab`, and a line that ends with a backslash is joined to the next one.",
    bad: "FROM debian:12-slim\nRUN while read line; do echo \"$line\"; done < /etc/hosts\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN while read -r line; do echo \"$line\"; done < /etc/hosts\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in
            run.script.commands.iter().filter(|command| command.program() == "read" && command.program_index == 0)
        {
            let raw = command.arguments().iter().any(|word| word.text.starts_with('-') && word.text.contains('r'));
            let Some(word) = command.words.first().filter(|word| !raw && word.span != run.instruction.span) else {
                continue;
            };
            report
                .report(word.span, "`read` without `-r` swallows backslashes")
                .unsafe_fix("Add `-r`", vec![TextEdit::insert(word.span.end, " -r")]);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn every_spelling_of_the_option_is_known() {
        check_bodies(
            "shell-read-backslash",
            &["read x < y", "while IFS= read x; do a; done"],
            &["read -r x", "read -er x", "while read -d '' -r x; do a; done", "echo read x"],
        );
        assert_eq!(fixed_body("shell-read-backslash", "IFS=: read x y"), "IFS=: read -r x y");
    }
}
