//! `shell-prefix-assignment`

use super::prelude::*;
use crate::shell::{PartKind, parameter_name};
use crate::variables::{Variables, is_shell_variable};

pub(super) const RULE: Rule = Rule {
    id: "shell-prefix-assignment",
    aliases: &["SC2097", "SC2098"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`X=1 command $X`: the shell expands `$X` before it assigns it.",
    why: "The assignment is only for the environment of the command; its words were expanded already, with the old value or none.",
    bad: "FROM debian:12-slim\nRUN VERSION=1.2 curl -fsSLO \"https://example.com/app-$VERSION.tgz\"\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN VERSION=1.2 && curl -fsSLO \"https://example.com/app-$VERSION.tgz\"\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let mut variables = None;
        for command in
            run.script.commands.iter().filter(|command| !command.words.is_empty() && !command.assignments.is_empty())
        {
            let expansions = command.words.iter().flat_map(crate::shell::ShellWord::expansions);
            for (part, text) in expansions.filter(|(part, _)| part.kind == PartKind::Parameter) {
                let Some((name, "" | "#" | ":" | "%")) = parameter_name(text) else { continue };
                if is_shell_variable(name) || !command.assignments.iter().any(|assignment| assignment.name == name) {
                    continue;
                }
                let variables = variables.get_or_insert_with(|| Variables::of(context, run));
                if !variables.is_declared(name) && !variables.is_assigned(name) && !variables.has_unseen_commands {
                    report
                        .report(part.span, format!("`{text}` is expanded before `{name}` is assigned"))
                        .help(format!("write `{name}=... && {} ...`", command.program()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check_bodies;

    #[test]
    fn only_the_same_command_counts() {
        check_bodies(
            "shell-prefix-assignment",
            &["X=1 echo $X", "X=1 a \"b${X}c\""],
            &[
                "X=1; echo $X",
                "X=1 sh -c 'echo $X'",
                "X=1; X=2 echo $X",
                "SET=1 echo $SET",
                "X=1 Y=$X a",
                "PATH=/x a $PATH",
                "X=1 a '$X'",
            ],
        );
    }
}
