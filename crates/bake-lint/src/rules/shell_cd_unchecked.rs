//! `shell-cd-unchecked`

use super::prelude::*;
use crate::shell::Connector;

pub(super) const RULE: Rule = Rule {
    id: "shell-cd-unchecked",
    aliases: &["SC2164"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`cd` whose failure is not noticed.",
    why: "When the directory does not exist, what follows `cd x;` runs in the directory before: `rm -rf *` then removes something else. \
          Under `set -e`, and before `&&` or `||`, a failure ends the step.",
    bad: "FROM debian:12-slim\nRUN cd /build; rm -rf *\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN cd /build && rm -rf *\nRUN set -e; cd /build; rm -rf *\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let script = &run.script;
        for (index, command) in script.commands.iter().enumerate() {
            let changes = matches!(command.program(), "cd" | "pushd") && command.followed_by == Some(Connector::Then);
            // `cd`, `cd /`, `cd ..` and `cd -` do not fail.
            let certain = command
                .arguments()
                .iter()
                .all(|word| word.text.starts_with("..") || matches!(word.text.as_str(), "/" | "-" | "~" | "$HOME"));
            // After `a && cd x;` the failure is lost as well, and a fix would have to know what was meant.
            let alone = matches!(command.connector, Connector::Start | Connector::Then);
            if !changes
                || certain
                || command.in_condition
                || command.negated
                || script.has_errexit_before(command.session, index)
            {
                continue;
            }
            let finding = report
                .report(command.span, format!("What follows runs even when `{}` fails", command.program()))
                .help("write `cd ... || exit 1`, join it to what follows with `&&`, or begin with `set -e`");
            if alone && command.span != run.instruction.span {
                finding.safe_fix("Stop when it fails", vec![TextEdit::insert(command.span.end, " || exit 1")]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_unnoticed_failures_count() {
        check_bodies(
            "shell-cd-unchecked",
            &[
                "cd /x; make",
                "(cd /x; make)",
                "if a; then cd /x; b; fi",
                "bash <<EOF\ncd /x\nmake\nEOF",
                "a && cd \"$x\"; b",
                "set +e; cd x; a",
            ],
            &[
                "cd /x && make",
                "cd /x || exit; make",
                "set -e; cd /x; make",
                "cd /x",
                "a; cd ..; b",
                "cd /; a",
                "bash -ec 'cd /x; make'",
                "if cd /x; then a; fi",
                "echo 'cd /x; make'",
                "(cd /x)",
            ],
        );
    }

    #[test]
    fn the_step_ends() {
        assert_eq!(fixed_body("shell-cd-unchecked", "cd /x; make"), "cd /x || exit 1; make");
    }
}
