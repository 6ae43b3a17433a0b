//! `instruction-as-command`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "instruction-as-command",
    aliases: &[],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "The name of an instruction is used as a command inside of a `RUN`.",
    why: "Mostly a `\\` or `&&` at the end of the line before is too much, so that the next instruction became part of this one: the shell \
          looks for a program named `COPY`.",
    bad: "FROM debian:12-slim\nRUN make && \\\n    RUN make install\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN make && \\\n    make install\nUSER 10001\n",
    check,
};

/// The instructions; commands in capital letters are hardly ever anything else.
const INSTRUCTIONS: [&str; 17] = [
    "FROM",
    "RUN",
    "CMD",
    "LABEL",
    "EXPOSE",
    "ENV",
    "ADD",
    "COPY",
    "ENTRYPOINT",
    "VOLUME",
    "USER",
    "WORKDIR",
    "ARG",
    "ONBUILD",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "SHELL",
];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let Some(first) =
                command.words.first().filter(|word| !word.is_quoted() && INSTRUCTIONS.contains(&word.text.as_str()))
            else {
                continue;
            };
            let Some(next) = command.words.get(1) else { continue };
            let finding = report
                .report(first.span, format!("`{}` is an instruction, not a command", first.text))
                .help("a `\\` or an operator at the end of the line before may be too much");
            if first.text == "RUN" && first.span != run.instruction.span {
                finding
                    .unsafe_fix("Remove `RUN`", vec![TextEdit::delete(Span::new(first.span.start, next.span.start))]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_commands_count() {
        check_bodies(
            "instruction-as-command",
            &["a && RUN b", "a \\\n && COPY x y", "RUN a", "<<EOF\na\nENV B=c\nEOF"],
            &["a RUN b", "ENV=1 a", "echo RUN x && a", "cat <<EOF > /Dockerfile\nRUN a\nEOF", "'RUN' a", "run a"],
        );
        assert_eq!(fixed_body("instruction-as-command", "a && RUN b"), "a && b");
    }
}
