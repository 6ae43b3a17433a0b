//! `shell-form-cmd`

use super::prelude::*;

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
        let (InstructionKind::Cmd(Command::Shell(word)) | InstructionKind::Entrypoint(Command::Shell(word))) = &located.instruction.kind
        else {
            continue;
        };
        let Some(stage) = located.stage else { continue };
        let shell_set = context.history(stage, located.index).any(|earlier| matches!(earlier.instruction.kind, InstructionKind::Shell(_)));
        let Some(violation) = bake_checks::shell_form(located.instruction, shell_set) else { continue };
        // What is meant as JSON and is not has a rule of its own.
        if word.value.trim_start().starts_with('[') || word.value.trim().is_empty() {
            continue;
        }
        let finding = report.violation(violation).help("use the JSON form, or begin with `exec`");
        let words: Vec<&str> = word.value.split_whitespace().collect();
        let plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || "_./:=@,+-".contains(c));
        let builtin = ["cd", ".", "source", "exec", "export", "set", "exit", "if", "for", "while", "case", "eval", "trap", "wait"];
        let program = words.first().copied().unwrap_or_default();
        let is_windows = context.root_image(stage).is_some_and(crate::image::ImageName::is_windows);
        if words.iter().all(plain) && !program.contains('=') && !builtin.contains(&program) && !is_windows && context.source(word.span) == word.value {
            let list = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            finding.safe_fix("Use the JSON form", vec![TextEdit::replace(word.span, format!("[{list}]"))]);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn a_shell_makes_it_deliberate() {
        let text = "FROM a:1 AS s\nSHELL [\"bash\", \"-c\"]\nCMD a $B\nFROM s\nENTRYPOINT a\nFROM a:1\nENTRYPOINT a\nONBUILD CMD b\n";
        assert_eq!(lines("shell-form-cmd", text), [7, 8]);
    }

    #[test]
    fn only_plain_words_are_rewritten() {
        assert_eq!(fixed("shell-form-cmd", "FROM a:1\nCMD npm start\n"), "FROM a:1\nCMD [\"npm\", \"start\"]\n");
        let text = "FROM a:1\nCMD a && b $C\n";
        assert_eq!(fixed("shell-form-cmd", text), text);
    }
}
