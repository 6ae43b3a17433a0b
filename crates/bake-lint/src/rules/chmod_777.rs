//! `chmod-777`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "chmod-777",
    aliases: &["CIS-DI-0008"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "Files are made writable for everyone.",
    why: "Any process in the container can then change what the others run.",
    bad: "FROM debian:12-slim\nRUN chmod -R 777 /srv\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN chmod 1777 /scratch-space && chmod -R g+rwX /srv\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in run.script.commands.iter().filter(|command| command.program() == "chmod") {
            let Some(mode) = command.operands().next() else { continue };
            // With the sticky bit (1777) nobody removes the files of others: that is how `/tmp` is.
            let open = matches!(
                mode.text.as_str(),
                "777" | "0777" | "666" | "0666" | "a+rwx" | "ugo+rwx" | "a=rwx" | "o+w" | "a+w"
            );
            // What `mktemp` made is gone at the end.
            let temporary = |word: &crate::shell::ShellWord| {
                let name = word.text.trim_start_matches(['$', '{']).trim_end_matches('}');
                let mut assigned = run.script.commands.iter().flat_map(|command| &command.assignments);
                word.expands
                    && assigned.any(|assignment| assignment.name == name && assignment.value.contains("mktemp"))
            };
            if open && !command.operands().skip(1).all(temporary) {
                report
                    .report(mode.span, format!("Mode `{}` lets everyone write", mode.text))
                    .help("give the files to the user that needs them");
            }
        }
    }
    for located in &context.instructions {
        if let InstructionKind::Copy(copy) | InstructionKind::Add(copy) = &located.instruction.kind
            && let Some(mode) =
                copy.chmod.as_ref().filter(|mode| matches!(mode.value.as_str(), "777" | "0777" | "666" | "0666"))
        {
            report.report(mode.span, format!("Mode `{}` lets everyone write", mode.value));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn temporary_directories_do_not_count() {
        let text = "FROM a:1\nRUN d=\"$(mktemp -d)\" && chmod 777 \"$d\"\nRUN d=/srv && chmod 777 \"$d\"\nRUN chmod 777 \"$(mktemp)\" /x\n";
        assert_eq!(lines("chmod-777", text), [3, 4]);
    }
}
