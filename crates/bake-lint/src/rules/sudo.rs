//! `sudo`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "sudo",
    aliases: &["DL3004", "DS-0010", "AVD-DS-0010", "CKV2_DOCKER_1", "DKL-DI-0001"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A command is run by `sudo`.",
    why: "Steps run as root until `USER` says otherwise, so `sudo` does nothing but change the environment; after `USER` it means that \
          the image's user can become root.",
    bad: "FROM debian:12-slim\nRUN sudo make install\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN make install\nRUN echo 'sudo make' > /motd\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let word = command.wrapper("sudo").or_else(|| {
                let first = command.words.get(command.program_index)?;
                (command.program() == "sudo").then_some(first)
            });
            let Some(word) = word else { continue };
            let finding = report
                .report(word.span, "`sudo` in a RUN")
                .help("set `USER root` before the step and the user again after it");
            let position = command.words.iter().position(|other| std::ptr::eq(other, word)).unwrap_or_default();
            let follower = command.words.get(position + 1);
            let is_root = context.is_root(run);
            if let Some(next) = follower
                && is_root
                && word.span != run.instruction.span
                && !next.text.starts_with('-')
            {
                finding.safe_fix("Remove `sudo`", vec![TextEdit::delete(Span::new(word.span.start, next.span.start))]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn only_commands_count() {
        let text = "FROM a:1\nRUN echo sudo && \\\n  sudo -u x true\nRUN [\"sudo\", \"true\"]\nRUN env A=1 sudo true\nONBUILD RUN sudo x\nRUN apt-get install sudo\n";
        assert_eq!(lines("sudo", text), [3, 4, 5, 6]);
    }

    #[test]
    fn root_needs_none() {
        assert_eq!(fixed("sudo", "FROM a:1\nRUN sudo make\n"), "FROM a:1\nRUN make\n");
        let text = "FROM a:1\nUSER x\nRUN sudo make\n";
        assert_eq!(fixed("sudo", text), text);
    }
}
