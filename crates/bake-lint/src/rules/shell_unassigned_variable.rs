//! `shell-unassigned-variable`

use std::collections::HashSet;

use super::prelude::*;
use crate::shell::is_name;
use crate::variables::{Variables, is_shell_variable};

pub(super) const RULE: Rule = Rule {
    id: "shell-unassigned-variable",
    aliases: &["SC2154"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "A `RUN` uses a variable that nothing assigns.",
    why: "It is empty: a build argument that is declared before the first `FROM` only, a typing error, or text for a file that the shell \
          expanded (`$uri` in a heredoc for nginx). Reported only where the base image is known to set no variables of its own.",
    bad: "ARG VERSION=1.2\nFROM debian:12-slim\nRUN echo \"$VERSION\" > /version\nUSER 10001\n",
    good: "ARG VERSION=1.2\nFROM debian:12-slim\nARG VERSION\nRUN echo \"$VERSION ${FLAVOUR:-plain}\" > /version\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in context.runs.iter().filter(|run| !run.onbuild) {
        let Some(stage) = run.stage else { continue };
        let plain_base = match context.root_base(stage) {
            Some(Base::Image(image)) => image.is_plain_distribution(),
            Some(Base::Scratch) => true,
            _ => false,
        };
        let mut variables = None;
        let mut given = None;
        let mut reported: HashSet<&str> = HashSet::new();
        for parameter in &run.script.parameters {
            let name = parameter.name.as_str();
            let is_global = context.global_args.contains_key(name);
            let by_us =
                run.script.sessions.get(parameter.session).is_some_and(|session| !session.is_expanded_outside());
            let has_answer = matches!(parameter.operator, Some('-' | '+' | '=' | '?' | '!'));
            if !is_name(name)
                || has_answer
                || !by_us
                || !(plain_base || is_global)
                || is_shell_variable(name)
                || reported.contains(name)
            {
                continue;
            }
            let variables = variables.get_or_insert_with(|| Variables::of(context, run));
            let by_mount = run.run.mounts.iter().filter_map(|mount| mount.env.as_ref()).any(|env| env.value == name);
            if variables.is_declared(name) || variables.is_assigned(name) || variables.has_unseen_commands || by_mount {
                continue;
            }
            if given.get_or_insert_with(|| given_to_commands(run)).contains(name) {
                continue;
            }
            reported.insert(name);
            let finding = report.report(parameter.span, format!("Nothing assigns `{name}`"));
            if is_global {
                finding
                    .help(format!("a global ARG is not visible in a stage: declare `ARG {name}` there again"))
                    .unsafe_fix(
                        format!("Declare `ARG {name}` in the stage"),
                        vec![context.insert_above(run.instruction, &format!("ARG {name}"))],
                    );
            } else {
                finding.help(format!(
                    "declare it with ARG or ENV, write `${{{name}:-}}`, or quote the `$` if it is meant as it stands"
                ));
            }
        }
    }
}

/// The variables that commands are given, and may hand to a shell that uses them: `NAME=x sh -c 'echo $NAME'`, `env NAME=x ...`.
fn given_to_commands<'r>(run: &'r RunFacts<'_>) -> HashSet<&'r str> {
    let commands = || run.script.commands.iter();
    let assigned = commands().flat_map(|command| &command.assignments).map(|assignment| assignment.name.as_str());
    let words = commands().flat_map(|command| &command.words);
    assigned.chain(words.filter_map(|word| word.text.split_once('=').map(|(name, _)| name))).collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed, lines};

    #[test]
    fn every_way_to_assign_is_known() {
        check_bodies(
            "shell-unassigned-variable",
            &["echo $TYPO", "rm \"${TYPO}\"", "cat <<EOF > /x\n$uri\nEOF", "echo $((TYPO + 1))", "sh -c 'echo $TYPO'"],
            &[
                "echo $GIVEN $WITH_DEFAULT $SET $TARGETARCH $http_proxy",
                "echo $HOME $PATH $PWD $1 $@ $? $RANDOM",
                "x=1; echo $x",
                "export x=1; echo $x",
                "for x in a; do echo $x; done",
                "read -r x y < /z; echo $x $y",
                "while IFS= read -r x; do echo $x; done < /z",
                "echo ${TYPO:-a} ${TYPO-a} ${TYPO:?} ${TYPO+x}",
                ". /etc/os-release; echo $ID",
                "eval \"$(a)\"; echo $x",
                ": ${x:=1}; echo $x",
                "printf -v x a; echo $x",
                "cat <<'EOF' > /x\n$uri\nEOF",
                "echo '$uri' \\$uri",
                "x=1 sh -c 'echo $x'",
                "sh -c 'x=1; echo $x'",
                "bash -c \"x=1; echo \\$x\"",
                "f() { local x; read x; echo $x; }; f",
                "(( i = 1 )); echo $i",
                "getopts ab opt; echo $opt",
                "awk '{ print $NF }' /x",
            ],
        );
        assert_eq!(lines("shell-unassigned-variable", "FROM node:22\nRUN echo $NODE_VERSION\n"), [0_usize; 0]);
        let secret = "FROM debian:12\nRUN --mount=type=secret,id=x,env=TOKEN echo $TOKEN\n";
        assert_eq!(lines("shell-unassigned-variable", secret), [0_usize; 0]);
    }

    #[test]
    fn global_arguments_are_declared_again() {
        let text = "ARG V=1\nFROM node:22\nRUN echo $V\n";
        assert_eq!(fixed("shell-unassigned-variable", text), "ARG V=1\nFROM node:22\nARG V\nRUN echo $V\n");
    }
}
