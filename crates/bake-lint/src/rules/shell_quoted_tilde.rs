//! `shell-quoted-tilde`

use super::prelude::*;
use crate::shell::{PartKind, Quoting};

pub(super) const RULE: Rule = Rule {
    id: "shell-quoted-tilde",
    aliases: &["SC2088"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`~` in quotes is not the home directory.",
    why: "`mkdir \"~/.ssh\"` makes a directory named `~`. The shell expands it only where it is not quoted.",
    bad: "FROM debian:12-slim\nRUN mkdir -p \"~/.ssh\"\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN mkdir -p ~/.ssh \"$HOME/.cache\"\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let takes_paths = matches!(
                command.program(),
                "cd" | "cp"
                    | "mv"
                    | "rm"
                    | "mkdir"
                    | "rmdir"
                    | "ln"
                    | "chown"
                    | "chmod"
                    | "touch"
                    | "tar"
                    | "cat"
                    | "ls"
                    | "tee"
                    | "install"
                    | "test"
                    | "["
            );
            let operands = command.arguments().iter().filter(|_| takes_paths);
            let targets = command.redirects.iter().map(|redirect| &redirect.target);
            for word in operands.chain(targets) {
                let Some(part) = word.parts.first() else { continue };
                let quoted =
                    part.kind == PartKind::Literal && matches!(part.quoting, Quoting::Single | Quoting::Double);
                if !quoted || !word.text.starts_with("~/") || part.span == run.instruction.span {
                    continue;
                }
                let finding = report.report(word.span, "`~` in quotes is a file of that name").help("write `$HOME`");
                if part.quoting == Quoting::Double
                    && context.source(Span::new(part.span.start, part.span.start + 1)) == "~"
                {
                    let edit = TextEdit::replace(Span::new(part.span.start, part.span.start + 1), "$HOME");
                    finding.unsafe_fix("Use `$HOME`", vec![edit]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_paths_count() {
        check_bodies(
            "shell-quoted-tilde",
            &["mkdir '~/x'", "a > \"~/x\"", "rm \"~/$GIVEN\""],
            &["mkdir ~/x", "mkdir ~/\"x\"", "echo '~/x'", "sed 's~/x~y~' z", "rm x'~/y'"],
        );
        assert_eq!(fixed_body("shell-quoted-tilde", "mkdir \"~/x\""), "mkdir \"$HOME/x\"");
    }
}
