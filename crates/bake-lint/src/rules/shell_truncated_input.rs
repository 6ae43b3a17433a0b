//! `shell-truncated-input`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "shell-truncated-input",
    aliases: &["SC2094"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A file is read and written by the same command or pipe.",
    why: "The shell empties the file before the program reads it: `sort x > x` leaves nothing. Write to another file and move it.",
    bad: "FROM debian:12-slim\nRUN sed 's/a/b/' /etc/app.conf > /etc/app.conf\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN sed -i 's/a/b/' /etc/app.conf\nUSER 10001\n",
    check,
};

/// How far a pipe is followed back.
const PIPE_MAX: usize = 16;

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let commands = &run.script.commands;
        for command in commands {
            let writes = command.redirects.iter().find(|redirect| {
                matches!(redirect.operator.as_str(), ">" | ">|") && redirect.descriptor.is_none_or(|number| number == 1)
            });
            let Some(redirect) = writes
                .filter(|redirect| !redirect.target.text.starts_with("/dev/") && !redirect.target.text.is_empty())
            else {
                continue;
            };
            let file = redirect.target.text.as_str();
            let pipe =
                std::iter::successors(Some(command), |command| command.piped_from.and_then(|from| commands.get(from)));
            if pipe.take(PIPE_MAX).any(|command| reads(command, file)) {
                report
                    .report(redirect.span, format!("`{file}` is emptied before it is read"))
                    .help("write to another file, then move it");
            }
        }
    }
}

/// Whether `command` reads `file`.
fn reads(command: &SimpleCommand, file: &str) -> bool {
    let reader = matches!(
        command.program(),
        "cat"
            | "sed"
            | "grep"
            | "sort"
            | "uniq"
            | "awk"
            | "gawk"
            | "mawk"
            | "jq"
            | "yq"
            | "head"
            | "tail"
            | "cut"
            | "tac"
            | "rev"
            | "fold"
            | "paste"
            | "iconv"
            | "base64"
    );
    // `sed -i` and `sort -o` write their files themselves.
    let by_operand = reader && !command.has_argument(&["-i", "-o"]) && command.operands().any(|word| word.text == file);
    by_operand || command.redirects.iter().any(|redirect| redirect.operator == "<" && redirect.target.text == file)
}

#[cfg(test)]
mod tests {
    use crate::testing::check_bodies;

    #[test]
    fn only_the_same_file_counts() {
        check_bodies(
            "shell-truncated-input",
            &["sort /x > /x", "cat x | sed a > x", "envsubst < /x > /x", "grep -v a \"$SET\" | sort > \"$SET\""],
            &[
                "sort /x > /y",
                "sort /x >> /x",
                "sed -i a /x",
                "echo x > x",
                "cat /x | tee /y > /dev/null",
                "a /x 2> /x",
                "cat x > y && cat y > x",
                "sort -o /x /x",
            ],
        );
    }
}
