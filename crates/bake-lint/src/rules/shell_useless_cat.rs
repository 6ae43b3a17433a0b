//! `shell-useless-cat`

use super::prelude::*;
use crate::shell::Connector;

pub(super) const RULE: Rule = Rule {
    id: "shell-useless-cat",
    aliases: &["SC2002"],
    severity: Severity::Style,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "`cat FILE | program` where `program < FILE` would do.",
    why: "It is one process less, and there is no pipe in which a failure can be lost.",
    bad: "FROM debian:12-slim\nRUN cat /etc/hosts | sort\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN sort < /etc/hosts\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in run.script.commands.iter().filter(|command| command.program() == "cat") {
            let [file] = command.arguments() else { continue };
            let plain = !file.text.starts_with('-') && command.redirects.is_empty() && command.program_index == 0;
            // A pattern can be several files.
            let one_file = !file.bare_text().contains(['*', '?', '[']);
            if plain && one_file && command.piped_from.is_none() && command.followed_by == Some(Connector::Pipe) {
                report.report(command.span, format!("`cat` is not needed to read `{}`", file.text)).help("use `<`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check_bodies;

    #[test]
    fn only_one_file_into_a_pipe_counts() {
        check_bodies(
            "shell-useless-cat",
            &["cat a | b", "x=$(cat /a | b)"],
            &["cat a b | c", "cat *.x | b", "cat a", "cat < a | b", "cat - | b", "a | cat | b"],
        );
    }
}
