//! `shell-option-as-command`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "shell-option-as-command",
    aliases: &["SC2215"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A command begins with an option.",
    why: "Mostly the `\\` at the end of the line before is missing, or an operator is too much: the shell looks for a program named \
          `--with-x` and does not find it.",
    bad: "FROM debian:12-slim\nRUN ./configure && \\\n  --prefix=/usr && make\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN ./configure \\\n  --prefix=/usr && make\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in &run.script.commands {
            let Some(first) = command.words.first().filter(|word| !word.expands && !word.is_quoted()) else { continue };
            let mut letters = first.text.trim_start_matches('-').chars();
            if first.text.starts_with('-') && letters.next().is_some_and(|letter| letter.is_ascii_alphanumeric()) {
                report
                    .report(first.span, format!("Option `{}` stands where a program has to", first.text))
                    .help("a `\\` may be missing at the end of the line before, or an operator may be too much");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check_bodies;

    #[test]
    fn only_first_words_count() {
        check_bodies(
            "shell-option-as-command",
            &["a && -b", "a; --with-x", "<<EOF\na\n  --b\nEOF", "bash -c 'a && -x'"],
            &[
                "a -b && c --d",
                "a \\\n  -b",
                "[ -f x ] && b",
                "$x -a",
                "- x",
                "cat <<EOF > /x\n-a\nEOF",
                "find . -exec a {} \\; -b",
            ],
        );
    }
}
