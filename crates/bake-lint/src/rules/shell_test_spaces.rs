//! `shell-test-spaces`

use super::prelude::*;
use crate::shell::{PartKind, Quoting};

pub(super) const RULE: Rule = Rule {
    id: "shell-test-spaces",
    aliases: &["SC1035", "SC1020", "SC1069", "SC2077"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "A blank is missing around `[`, `]` or the operator of a test.",
    why: "`[` is a program and its operators are arguments: `[\"$x\" = 1 ]` looks for a program named `[1`, and `[ \"$x\"=1 ]` is always \
          true because it is one text that is not empty.",
    bad: "FROM debian:12-slim\nARG X\nRUN if [ \"$X\"=1 ]; then touch /x; fi\nUSER 10001\n",
    good: "FROM debian:12-slim\nARG X\nRUN if [ \"$X\" = 1 ]; then touch /x; fi\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let Some(first) = command.words.get(command.program_index) else { continue };
            let insert = |at: usize, text: &str| vec![TextEdit::insert(at, text)];
            let editable = first.span != run.instruction.span;
            let bare =
                first.parts.first().is_none_or(|part| part.kind == PartKind::Literal && part.quoting == Quoting::None);
            if bare
                && first.text.len() > 1
                && first.text.starts_with('[')
                && first.text != "[["
                && command.arguments().iter().any(|word| word.text == "]" || word.text == "]]")
            {
                let width = if first.text.starts_with("[[") { 2 } else { 1 };
                let finding =
                    report.report(first.span, format!("A blank is missing after the `[` of `{}`", first.text));
                if editable {
                    finding.unsafe_fix("Add the blank", insert(first.span.start + width, " "));
                }
            } else if bare && matches!(first.text.as_str(), "if[" | "while[" | "until[" | "elif[" | "if[[" | "while[[")
            {
                report.report(first.span, format!("A blank is missing before the `[` of `{}`", first.text));
            } else if first.text == "[" {
                check_inside(context, command, editable, report);
            }
        }
    }
}

/// The operands of `[`.
fn check_inside(context: &LintContext<'_>, command: &SimpleCommand, editable: bool, report: &mut Reporter<'_>) {
    let arguments = command.arguments();
    let Some(last) = arguments.last() else { return };
    if last.text != "]" {
        let finding = report.report(last.span, "The `]` of this test is missing, or the blank before it");
        let ends = context.source(last.span).ends_with(']');
        let joined = ends
            && last.text.ends_with(']')
            && last.parts.last().is_none_or(|part| part.quoting == Quoting::None && part.kind == PartKind::Literal);
        if editable && joined {
            finding.unsafe_fix("Add the blank", vec![TextEdit::insert(last.span.end - 1, " ")]);
        }
        return;
    }
    let [operand, _] = arguments else { return };
    let operator = operand.parts.iter().find(|part| {
        part.kind == PartKind::Literal && part.quoting == Quoting::None && matches!(operand.text_of(part), text if text.starts_with('=') || text.starts_with("!=") || text.ends_with('='))
    });
    if let Some(part) = operator.filter(|_| operand.expands || operand.is_quoted()) {
        let finding = report.report(operand.span, "This test is always true: blanks are missing around the operator");
        let text = operand.text_of(part);
        let width = text.chars().take_while(|c| matches!(c, '=' | '!')).count();
        if editable && width > 0 && part.span.end - part.span.start == text.len() {
            finding.unsafe_fix(
                "Add the blanks",
                vec![TextEdit::insert(part.span.start, " "), TextEdit::insert(part.span.start + width, " ")],
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn tests_need_blanks() {
        check_bodies(
            "shell-test-spaces",
            &[
                "if [\"$GIVEN\" = 1 ]; then a; fi",
                "[ -f /x] && a",
                "[ \"$GIVEN\"=1 ]",
                "if[ -f /x ]; then a; fi",
                "[ -f /x && -f /y ]",
                "[[-f /x ]]",
            ],
            &[
                "[ \"$GIVEN\" = 1 ]",
                "[ -f /x ] && a",
                "[[ -f /x ]]",
                "[ -n \"a=b\" ]",
                "a[0]=1",
                "ls [a-z]*",
                "[ \"$GIVEN\" ]",
                "test \"$A\" = b",
                "[ x=1 ]",
            ],
        );
    }

    #[test]
    fn blanks_are_added() {
        assert_eq!(fixed_body("shell-test-spaces", "[\"$X\" = 1 ]"), "[ \"$X\" = 1 ]");
        assert_eq!(fixed_body("shell-test-spaces", "[ \"$X\"=1 ]"), "[ \"$X\" = 1 ]");
        assert_eq!(fixed_body("shell-test-spaces", "[ -f /x] && a"), "[ -f /x ] && a");
    }
}
