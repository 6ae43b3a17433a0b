//! `shell-unused-assignment`

use std::collections::HashSet;

use super::prelude::*;
use crate::shell::Connector;
use crate::variables::{Variables, is_shell_variable};

pub(super) const RULE: Rule = Rule {
    id: "shell-unused-assignment",
    aliases: &["SC2034"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "A `RUN` assigns a variable that nothing in it reads.",
    why: "`DEBIAN_FRONTEND=noninteractive && apt-get ...` does not reach `apt-get`: without `export`, and without being in front of the \
          command itself, an assignment stays in the shell, and it is forgotten at the end of the step.",
    bad: "FROM debian:12-slim\nRUN CGO_ENABLED=0 && go build ./...\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN CGO_ENABLED=0 go build ./...\nRUN export GOOS=linux && go build ./...\nUSER 10001\n",
    check,
};

/// How many unread variables of one `RUN` are looked at: each needs a walk over all its words.
const CANDIDATES_MAX: usize = 100;

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let script = &run.script;
        let mut variables = None;
        let mut candidates = CANDIDATES_MAX;
        let read: HashSet<&str> =
            script.parameters.iter().filter(|used| used.operator != Some('=')).map(|used| used.name.as_str()).collect();
        for command in script.commands.iter().filter(|command| command.words.is_empty()) {
            for assignment in &command.assignments {
                let name = assignment.name.as_str();
                if read.contains(name) || candidates == 0 {
                    continue;
                }
                candidates -= 1;
                // `x=$(command) || ...` keeps the output away and looks at the status.
                if assignment.word.expands && (command.in_condition || command.followed_by == Some(Connector::Or)) {
                    continue;
                }
                let variables = variables.get_or_insert_with(|| Variables::of(context, run));
                // A variable of the environment stays exported when it is assigned.
                if is_shell_variable(name)
                    || variables.has_unseen_commands
                    || variables.is_declared(name)
                    || is_mentioned(run, name)
                {
                    continue;
                }
                let finding = report.report(assignment.word.span, format!("Nothing reads `{name}`")).help(format!(
                    "write `export {name}=...`, or put it before the command without an operator between"
                ));
                let followed = matches!(command.followed_by, Some(Connector::And | Connector::Then));
                let alone = command.assignments.len() == 1
                    && matches!(command.connector, Connector::Start | Connector::Then | Connector::And);
                if followed && alone && assignment.word.span != run.instruction.span {
                    finding.unsafe_fix("Export it", vec![TextEdit::insert(assignment.word.span.start, "export ")]);
                }
            }
        }
    }
}

/// Whether `name` is exported, or named in a text that may be run later.
fn is_mentioned(run: &RunFacts<'_>, name: &str) -> bool {
    let commands = &run.script.commands;
    let all_exported =
        || commands.iter().any(|command| command.program() == "set" && command.has_argument(&["-a", "allexport"]));
    let in_heredoc = || run.instruction.heredocs.iter().any(|heredoc| heredoc.body.contains(&format!("${name}")));
    commands.iter().flat_map(|command| &command.words).any(|word| word.text.contains(name))
        || all_exported()
        || in_heredoc()
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn everything_that_may_read_it_counts() {
        check_bodies(
            "shell-unused-assignment",
            &["X=1 && a", "X=1; a", "X=$(b)", "set -e; DEBIAN_FRONTEND=noninteractive; apt-get update"],
            &[
                "X=1 a",
                "X=1 && echo $X",
                "X=1; export X; a",
                "export X=1 && a",
                "SET=1 && a",
                "GIVEN=1 && a",
                "PATH=/x && a",
                "IFS=, && a",
                "X=1; sh -c \"echo $X\"",
                "X=1; echo $((X + 1))",
                "X=1; cat <<E > /x\n$X\nE",
                "X=1; . /x",
                "set -a; X=1; a",
                "X=1; trap 'rm $X' EXIT",
                "X=1; Y=${X%a}; b \"$Y\"",
                "X=a; eval \"echo \\$X\"",
                "X=$(a 2>&1) || true",
                "if X=$(a); then b; fi",
                "f() { X=1; }; f; echo \"$X\"",
            ],
        );
        assert_eq!(fixed_body("shell-unused-assignment", "X=1 && a"), "export X=1 && a");
    }
}
