//! `shell-backquotes`

use super::prelude::*;
use crate::shell::PartKind;

pub(super) const RULE: Rule = Rule {
    id: "shell-backquotes",
    aliases: &["SC2006"],
    severity: Severity::Style,
    default: false,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A command substitution in backquotes.",
    why: "`$(...)` means the same, can be nested, and is not taken for a quote.",
    bad: "FROM debian:12-slim\nRUN echo \"built on `date`\" > /built\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN echo \"built on $(date)\" > /built\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let words = command.words.iter().chain(command.assignments.iter().map(|assignment| &assignment.word));
            for word in words.filter(|word| word.expands) {
                for (part, text) in word.expansions().filter(|(part, _)| part.kind == PartKind::Backquoted) {
                    let finding = report.report(part.span, "Write `$(...)` for the backquotes");
                    // A backslash means something else inside of backquotes.
                    let verbatim = context.source(part.span) == text && text.len() > 2 && text.ends_with('`');
                    if verbatim && !text.contains('\\') {
                        let last = part.span.end - 1;
                        let edits = vec![
                            TextEdit::replace(Span::new(part.span.start, part.span.start + 1), "$("),
                            TextEdit::replace(Span::new(last, part.span.end), ")"),
                        ];
                        finding.safe_fix("Use `$(...)`", edits);
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
    fn quoted_ones_are_text() {
        check_bodies(
            "shell-backquotes",
            &["a `b`", "x=`a`", "a \"`b`\""],
            &["a $(b)", "a '`b`'", "a \\`b\\`", "cat <<'E' > /x\n`a`\nE"],
        );
        assert_eq!(fixed_body("shell-backquotes", "x=`a b`; c \"`d`\""), "x=$(a b); c \"$(d)\"");
        assert_eq!(fixed_body("shell-backquotes", "x=`a \\`b\\``"), "x=`a \\`b\\``");
    }
}
