//! `shell-status-later`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "shell-status-later",
    aliases: &["SC2181"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`$?` is compared instead of testing the command itself.",
    why: "Under `set -e` the check is never reached, and any command put between the two changes what is checked. `if command; then` says \
          the same.",
    bad: "FROM debian:12-slim\nRUN make; if [ $? -ne 0 ]; then cat /build/log; exit 1; fi\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN if ! make; then cat /build/log; exit 1; fi\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for command in run.script.commands.iter().filter(|command| matches!(command.program(), "[" | "test" | "[[")) {
            let operands: Vec<&str> = command
                .arguments()
                .iter()
                .map(|word| word.text.as_str())
                .filter(|text| !matches!(*text, "]" | "]]"))
                .collect();
            let compared = matches!(operands.as_slice(), ["$?", "-eq" | "-ne" | "-gt" | "=" | "==" | "!=", "0"]);
            if let Some(word) = command.arguments().first().filter(|_| compared) {
                report
                    .report(word.span, "`$?` is compared with 0")
                    .help("put the command into the `if`, or join it with `&&` or `||`");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check_bodies;

    #[test]
    fn only_comparisons_with_zero_count() {
        check_bodies(
            "shell-status-later",
            &["a; if [ $? -ne 0 ]; then b; fi", "a; [ \"$?\" = 0 ] || c", "a; test $? -eq 0"],
            &["if a; then b; fi", "a; [ $? -eq 3 ]", "a; x=$?; b", "exit $?", "echo '[ $? -ne 0 ]'"],
        );
    }
}
