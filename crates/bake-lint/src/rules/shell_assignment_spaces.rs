//! `shell-assignment-spaces`

use super::prelude::*;
use crate::shell::{PartKind, Quoting, is_name, parameter_name};

pub(super) const RULE: Rule = Rule {
    id: "shell-assignment-spaces",
    aliases: &["SC1068", "SC2283", "SC1066"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "An assignment with blanks around its `=`, or with a `$` before its name.",
    why: "`X = 1` starts a program named `X`, and `$X=1` one that is named after the value of X.",
    bad: "FROM debian:12-slim\nRUN VERSION = 1.2 && make \"VERSION=$VERSION\"\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN VERSION=1.2 && make \"VERSION=$VERSION\"\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let Some(first) = command.words.first() else { continue };
            let bare = |word: &crate::shell::ShellWord| {
                word.parts.first().is_none_or(|part| part.kind == PartKind::Literal && part.quoting == Quoting::None)
            };
            let equals = command
                .words
                .get(1)
                .filter(|word| word.text.starts_with('=') && !word.text.starts_with("==") && bare(word));
            if let Some(equals) = equals.filter(|_| first.parts.is_empty() && is_name(&first.text)) {
                let span = Span::new(first.span.start, equals.span.end);
                let finding = report
                    .report(span, format!("`{} =` is a command, not an assignment", first.text))
                    .help("write it without blanks");
                let value_start = match command.words.get(2) {
                    Some(value) if equals.text == "=" => value.span.start,
                    _ => equals.span.start + 1,
                };
                if span != run.instruction.span && equals.span != run.instruction.span {
                    let edit = TextEdit::replace(Span::new(first.span.end, value_start), "=");
                    finding.unsafe_fix("Remove the blanks", vec![edit]);
                }
            } else if let [variable, rest, ..] = first.parts.as_slice()
                && variable.kind == PartKind::Parameter
                && variable.quoting == Quoting::None
                && rest.kind == PartKind::Literal
                && first.text_of(rest).starts_with('=')
                && let Some((name, "")) = parameter_name(first.text_of(variable))
            {
                let finding = report.report(variable.span, format!("`${name}=` is a command, not an assignment"));
                if context.source(variable.span) == first.text_of(variable) {
                    finding.unsafe_fix("Remove the `$`", vec![TextEdit::replace(variable.span, name)]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn operands_named_like_operators_are_none() {
        check_bodies(
            "shell-assignment-spaces",
            &["X = 1", "X =1", "a && X = \"b c\"", "$X=1", "${X}=1 && b"],
            &[
                "X=1",
                "test a = b",
                "expr 1 = 2",
                "[ a = b ]",
                "[[ a == b ]]",
                "a --b = c",
                "$X a=1",
                "\"$X=1\"",
                "a == b",
            ],
        );
        assert_eq!(fixed_body("shell-assignment-spaces", "X = 1 && $Y=2"), "X=1 && Y=2");
    }
}
