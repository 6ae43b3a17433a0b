//! `shell-form-cmd`

use super::prelude::*;
use crate::change::{end_of, is_of_main_list};
use crate::run_script::text_script;
use crate::shell::ShellWord;
use bake_dockerfile::instruction::Word;

pub(super) const RULE: Rule = Rule {
    id: "shell-form-cmd",
    aliases: &["DL3025", "JSONArgsRecommended"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`CMD` or `ENTRYPOINT` in shell form.",
    why: "The first process is then a shell, which does not pass signals on: stopping the container waits and kills. After `SHELL` the \
          form is taken to be meant.",
    bad: "FROM debian:12-slim\nCMD npm start\nUSER 10001\n",
    good: "FROM debian:12-slim\nCMD [\"npm\", \"start\"]\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let (InstructionKind::Cmd(Command::Shell(word)) | InstructionKind::Entrypoint(Command::Shell(word))) =
            &located.instruction.kind
        else {
            continue;
        };
        let Some(stage) = located.stage else { continue };
        let is_shell = |kind: &InstructionKind| matches!(kind, InstructionKind::Shell(_));
        let shell_set = context.history(stage, located.index).any(|earlier| is_shell(&earlier.instruction.kind))
            // Triggers run one after another.
            || (located.onbuild
                && context.stage_instructions(stage).any(|earlier| {
                    earlier.onbuild && earlier.index < located.index && is_shell(&earlier.instruction.kind)
                }))
            || context.root_image(stage).and_then(|image| context.image_facts(image)).is_some_and(|facts| !facts.shell.is_empty());
        // After `exec` the program is the first process; what is meant as JSON and is not has a rule of its own.
        let execs = word.value.trim_start().strip_prefix("exec").is_some_and(|rest| rest.starts_with([' ', '\t']));
        let Some(violation) = bake_checks::shell_form(located.instruction, shell_set) else { continue };
        if execs || word.value.trim_start().starts_with('[') || word.value.trim().is_empty() {
            continue;
        }
        let finding = report.violation(violation).help("use the JSON form, or begin with `exec`");
        let is_windows = context.root_image(stage).is_some_and(crate::image::ImageName::is_windows);
        if is_windows || context.source(word.span) != word.value {
            continue;
        }
        let Some(command) = only_command(word) else { continue };
        if let Some(list) = json_form(&command) {
            finding.safe_fix("Use the JSON form", vec![TextEdit::replace(word.span, list)]);
        } else {
            finding.unsafe_fix("Let `exec` replace the shell", vec![TextEdit::insert(command.span.start, "exec ")]);
        }
    }
}

/// The command, when there is just one and it is a program that `exec` can run.
fn only_command(word: &Word) -> Option<SimpleCommand> {
    const BUILTINS: [&str; 16] = [
        ".", "cd", "eval", "exec", "exit", "export", "read", "set", "source", "test", "trap", "umask", "unset", "wait",
        "[", "[[",
    ];
    let script = text_script(&word.value, word.span.start);
    let only_one =
        script.commands.iter().filter(|command| command.session == 0).count() == 1 && script.pipes.is_empty();
    let command = script.commands.into_iter().next().filter(|_| only_one && script.errors.is_empty())?;
    // Text after the command would be `&`, a comment, or the end of a group.
    let ends = end_of(&command) == Some(word.span.start + word.value.trim_end().len());
    let suitable = is_of_main_list(&command)
        && ends
        && command.assignments.is_empty()
        && command.program_index == 0
        && command
            .words
            .first()
            .is_some_and(|program| !BUILTINS.contains(&program.text.as_str()) && !program.text.starts_with('$'));
    suitable.then_some(command)
}

/// The command as a JSON list, when the shell does nothing but split it into words.
fn json_form(command: &SimpleCommand) -> Option<String> {
    let literal = |word: &ShellWord| {
        !word.expands && !word.text.contains(['*', '?', '[', ']', '{', '}', '~', '\\', '$', '`', '\n'])
    };
    if !command.redirects.is_empty() || !command.words.iter().all(literal) {
        return None;
    }
    let words: Vec<String> = command.words.iter().filter_map(|word| serde_json::to_string(&word.text).ok()).collect();
    Some(format!("[{}]", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn a_shell_makes_it_deliberate() {
        let text = "FROM a:1 AS s\nSHELL [\"bash\", \"-c\"]\nCMD a $B\nFROM s\nENTRYPOINT a\nFROM a:1\nENTRYPOINT a\nONBUILD CMD b\n\
                    ONBUILD SHELL [\"bash\", \"-c\"]\nONBUILD CMD c\n";
        assert_eq!(lines("shell-form-cmd", text), [7, 8]);
    }

    #[test]
    fn only_plain_words_are_rewritten() {
        assert_eq!(fixed("shell-form-cmd", "FROM a:1\nCMD npm start\n"), "FROM a:1\nCMD [\"npm\", \"start\"]\n");
        let text = "FROM a:1\nCMD a && b $C\n";
        assert_eq!(fixed("shell-form-cmd", text), text);
        for (command, expected) in [
            ("node 'my app.js' --name=\"a\"", "[\"node\", \"my app.js\", \"--name=a\"]"),
            ("node $FILE > /dev/null", "exec node $FILE > /dev/null"),
            ("node *.js", "exec node *.js"),
            ("cd /x", "cd /x"),
            ("A=1 node", "A=1 node"),
            ("node &", "node &"),
            ("node # c", "node # c"),
            ("a | b", "a | b"),
            ("(a)", "(a)"),
        ] {
            assert_eq!(
                fixed("shell-form-cmd", &format!("FROM a:1\nCMD {command}\n")),
                format!("FROM a:1\nCMD {expected}\n")
            );
        }
    }
}
