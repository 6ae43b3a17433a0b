//! `shell-remove-root`

use super::prelude::*;
use crate::shell::{PartKind, ShellWord, parameter_name};
use crate::variables::{Value, Variables};

pub(super) const RULE: Rule = Rule {
    id: "shell-remove-root",
    aliases: &["SC2115"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`rm -r \"$X/...\"` removes a directory of the system when X is empty.",
    why: "A build argument that was not given is empty: `rm -rf \"$DIR/lib\"` is then `rm -rf /lib`. `${DIR:?}` ends the step instead.",
    bad: "FROM debian:12-slim\nARG DIR\nRUN rm -rf \"$DIR/lib\"\nUSER 10001\n",
    good: "FROM debian:12-slim\nARG DIR\nENV HERE=/srv\nRUN rm -rf \"${DIR:?}/lib\" \"$HERE/lib\"\nUSER 10001\n",
    check,
};

/// Directories that every system needs; what is left of a path when a variable before it is empty.
const SYSTEM: [&str; 15] =
    ["bin", "boot", "dev", "etc", "home", "lib", "lib64", "opt", "proc", "root", "sbin", "sys", "usr", "var", "*"];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let mut variables = None;
        for command in run.script.commands.iter().filter(|command| command.program() == "rm") {
            let Some(session) =
                run.script.sessions.get(command.session).filter(|session| !session.is_expanded_outside())
            else {
                continue;
            };
            let recursive = |word: &ShellWord| {
                word.text == "--recursive"
                    || (word.text.starts_with('-') && !word.text.starts_with("--") && word.text.contains(['r', 'R']))
            };
            if !command.arguments().iter().any(recursive) {
                continue;
            }
            for word in command.operands().filter(|word| word.expands) {
                let leading = word.parts.iter().take_while(|part| part.kind == PartKind::Parameter).count();
                let rest = word.parts.get(leading..).unwrap_or_default();
                let literal = rest.iter().all(|part| part.kind == PartKind::Literal);
                let rest: String = rest.iter().map(|part| word.text_of(part)).collect();
                let [part] = word.parts.get(..leading).unwrap_or_default() else { continue };
                let Some((name, "")) = parameter_name(word.text_of(part)) else { continue };
                let variables = variables.get_or_insert_with(|| Variables::of(context, run));
                let removes = rest.strip_prefix('/').map(|path| path.trim_end_matches(['/', '*']));
                let dangerous = literal && removes.is_some_and(|path| path.is_empty() || SYSTEM.contains(&path));
                if !dangerous || variables.value(name) == Value::Word {
                    continue;
                }
                let finding = report
                    .report(word.span, format!("This removes `{rest}` when `{name}` is empty"))
                    .help(format!("write `${{{name}:?}}`, which ends the step instead"));
                if context.source(part.span) == word.text_of(part)
                    && (session.is_verbatim() || word.span != run.instruction.span)
                {
                    finding.unsafe_fix(
                        "Fail when it is empty",
                        vec![TextEdit::replace(part.span, format!("${{{name}:?}}"))],
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_dangerous_paths_count() {
        check_bodies(
            "shell-remove-root",
            &[
                "rm -rf \"$GIVEN/\"",
                "rm -rf $GIVEN/*",
                "rm -fr \"${GIVEN}\"/lib",
                "x=$(a); rm -r \"$x/usr/\"",
                "sh -c 'rm -rf \"$X/\"'",
            ],
            &[
                "rm -rf \"${GIVEN:?}/\"",
                "rm -rf \"$GIVEN/build\"",
                "rm -rf \"$SET/lib\"",
                "rm -f \"$GIVEN/lib\"",
                "rm -rf \"$GIVEN\"",
                "rm -rf \"$HOME/lib\" /x/$GIVEN/lib",
                "rm -rf \"$GIVEN/share/lib\"",
            ],
        );
        assert_eq!(fixed_body("shell-remove-root", "rm -rf \"$GIVEN/lib\""), "rm -rf \"${GIVEN:?}/lib\"");
    }
}
