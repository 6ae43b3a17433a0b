//! `shell-glob-option`

use super::prelude::*;
use crate::shell::{PartKind, Quoting};

pub(super) const RULE: Rule = Rule {
    id: "shell-glob-option",
    aliases: &["SC2035"],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "A pattern that begins with `*` can match a file whose name looks like an option.",
    why: "`rm *` with a file named `-rf` removes directories as well. `./*` or `--` before it keeps names apart from options.",
    bad: "FROM debian:12-slim\nRUN rm *\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN rm ./* && chmod +x -- *\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let takes_files = matches!(
                command.program(),
                "rm" | "cp"
                    | "mv"
                    | "chmod"
                    | "chown"
                    | "cat"
                    | "ls"
                    | "tar"
                    | "grep"
                    | "ln"
                    | "touch"
                    | "gzip"
                    | "zip"
            );
            if !takes_files || command.span == run.instruction.span {
                continue;
            }
            let before_end_of_options = command.arguments().iter().take_while(|word| word.text != "--");
            let found = before_end_of_options.into_iter().find(|word| {
                let bare = word
                    .parts
                    .first()
                    .is_none_or(|part| part.kind == PartKind::Literal && part.quoting == Quoting::None);
                bare && word.text.starts_with(['*', '?'])
            });
            if let Some(word) = found {
                report
                    .report(word.span, format!("`{}` may match names that look like options", word.text))
                    .unsafe_fix("Put `./` before it", vec![TextEdit::insert(word.span.start, "./")]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_patterns_at_the_beginning_count() {
        check_bodies(
            "shell-glob-option",
            &["rm *", "chmod +x *.sh", "cp ?x /y"],
            &["rm ./*", "rm -- *", "rm /x/*", "rm '*'", "echo *", "find . -name *.x", "rm x*"],
        );
        assert_eq!(fixed_body("shell-glob-option", "rm *.x"), "rm ./*.x");
    }
}
