//! `shell-redirect-order`

use super::prelude::*;
use crate::shell::Connector;

pub(super) const RULE: Rule = Rule {
    id: "shell-redirect-order",
    aliases: &["SC2069"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`2>&1 > FILE` sends errors to where the output went before.",
    why: "Redirects are performed from left to right: errors are joined to the output first, and only then the output goes to the file.",
    bad: "FROM debian:12-slim\nRUN make 2>&1 > /build/log\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN make > /build/log 2>&1\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            // In a pipe or a substitution it is how one reads the errors only.
            if command.followed_by == Some(Connector::Pipe) || command.depth > 0 {
                continue;
            }
            let joins = |redirect: &crate::shell::Redirect| {
                redirect.operator == ">&" && redirect.descriptor == Some(2) && redirect.target.text == "1"
            };
            let Some(joined) = command.redirects.iter().position(joins) else { continue };
            let to_file = |redirect: &&crate::shell::Redirect| {
                matches!(redirect.operator.as_str(), ">" | ">>") && matches!(redirect.descriptor, None | Some(1))
            };
            let Some(file) = command.redirects.iter().skip(joined + 1).find(to_file) else { continue };
            let join = &command.redirects[joined];
            let finding = report
                .report(join.span, format!("Errors do not go to `{}`: `2>&1` has to stand after it", file.target.text));
            if join.span != run.instruction.span {
                let edits = vec![
                    TextEdit::delete(Span::new(join.span.start, file.span.start)),
                    TextEdit::insert(file.span.end, " 2>&1"),
                ];
                let adjacent = context.source(Span::new(join.span.end, file.span.start)).trim().is_empty();
                if adjacent {
                    finding.unsafe_fix("Put it last", edits);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_the_wrong_order_counts() {
        check_bodies(
            "shell-redirect-order",
            &["a 2>&1 > /x", "a 2>&1 b >> /x"],
            &[
                "a > /x 2>&1",
                "a 2>&1",
                "a 2>&1 > /dev/null | b",
                "x=$(a 2>&1 > /dev/null)",
                "a >&2 > /x",
                "a 2>&1 2> /x",
            ],
        );
        assert_eq!(fixed_body("shell-redirect-order", "a 2>&1 > /x && b"), "a > /x 2>&1 && b");
    }
}
