//! `ln-sh`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "ln-sh",
    aliases: &["DL4005"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`/bin/sh` is replaced by a link to another shell.",
    why: "Scripts of packages rely on the shell they were tested with, and an upgrade puts the old one back. `SHELL` says the same for the \
          instructions that follow.",
    bad: "FROM debian:12-slim\nRUN ln -sf /bin/bash /bin/sh\nUSER 10001\n",
    good: "FROM debian:12-slim\nSHELL [\"/bin/bash\", \"-c\"]\nRUN ln -s /bin/bash /usr/local/bin/shell\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in run.script.commands.iter().filter(|command| command.program() == "ln") {
            let operands: Vec<&str> = command.operands().map(|word| word.text.as_str()).collect();
            let [target, "/bin/sh" | "/usr/bin/sh"] = operands.as_slice() else { continue };
            let finding = report
                .report(command.span, "This replaces the shell of the system")
                .help("use SHELL for the instructions that follow");
            let alone = run.script.commands.len() == 1
                && run.instruction.flags.is_empty()
                && run.instruction.heredocs.is_empty();
            let simple = target.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-'));
            if alone && simple && !run.onbuild && matches!(run.run.command, Command::Shell(_)) {
                let path = if target.starts_with('/') { (*target).to_owned() } else { format!("/bin/{target}") };
                finding.unsafe_fix(
                    "Use SHELL",
                    vec![TextEdit::replace(run.instruction.span, format!("SHELL [\"{path}\", \"-c\"]"))],
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_the_shell_of_the_system_counts() {
        check_bodies(
            "ln-sh",
            &["ln -sf bash /bin/sh", "rm /bin/sh && ln -s /bin/bash /bin/sh"],
            &["ln -s /bin/bash /x", "ln -s /bin/sh /x", "echo ln -s a /bin/sh"],
        );
        assert_eq!(
            crate::testing::fixed("ln-sh", "FROM a:1\nRUN ln -sf bash /bin/sh\n"),
            "FROM a:1\nSHELL [\"/bin/bash\", \"-c\"]\n"
        );
        assert_eq!(fixed_body("ln-sh", "ln -s x /bin/sh && y"), "ln -s x /bin/sh && y");
    }
}
