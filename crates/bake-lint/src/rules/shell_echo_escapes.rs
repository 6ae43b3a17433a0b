//! `shell-echo-escapes`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "shell-echo-escapes",
    aliases: &["SC2028"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`echo` is given `\\n` or `\\t`, which not every shell turns into a line end or a tab.",
    why: "dash does, bash and the shell of Alpine do not: they write a backslash and a letter. `printf` is the same everywhere. Images of \
          Debian and Ubuntu without `SHELL` are not reported, for their shell is dash.",
    bad: "FROM alpine:3.20\nRUN echo \"a=1\\nb=2\" > /etc/app.conf\nUSER 10001\n",
    good: "FROM alpine:3.20\nRUN printf 'a=1\\nb=2\\n' > /etc/app.conf\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let dash =
            run.stage.and_then(|stage| context.root_image(stage)).is_some_and(crate::image::ImageName::shell_is_dash);
        for command in run.script.commands.iter().filter(|command| command.program() == "echo") {
            let by_dash = dash
                && run.script.sessions.get(command.session).is_some_and(|s| s.dialect == crate::shell::Dialect::Posix);
            let option = command.arguments().first().filter(|word| word.text.starts_with('-'));
            let interprets = option.is_some_and(|option| {
                option.text.trim_start_matches('-').chars().all(|c| matches!(c, 'n' | 'e' | 'E'))
            });
            if by_dash || interprets || command.span == run.instruction.span {
                continue;
            }
            // What goes on into another program (`echo 's/\n//' | ...`) may be read there.
            let to_file = command.followed_by != Some(crate::shell::Connector::Pipe);
            let escaped = command.arguments().iter().find(|word| {
                let backslashes =
                    |letter: &str| word.text.match_indices(letter).any(|(at, _)| !word.text[..at].ends_with('\\'));
                word.is_quoted() && (backslashes("\\n") || backslashes("\\t"))
            });
            if let Some(word) = escaped.filter(|_| to_file) {
                report
                    .report(word.span, "`echo` writes the backslash and the letter in some shells")
                    .help("use `printf`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn shells_differ() {
        let text = "FROM alpine:3.20\nRUN echo 'a\\nb' > /x\nRUN echo -e 'a\\nb' > /x\nRUN printf 'a\\nb'\nRUN echo 'a\\\\nb'\nRUN echo 'a\\nb' | c\n\
                    RUN echo C:\\new\nRUN echo \"$x\\t$y\"\nFROM debian:12\nRUN echo 'a\\nb' > /x\nRUN bash -c \"echo 'a\\nb'\"\n";
        assert_eq!(lines("shell-echo-escapes", text), [2, 8, 11]);
    }
}
