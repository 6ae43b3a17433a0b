//! `shell-loop-over-files`

use super::prelude::*;
use crate::shell::PartKind;
use crate::variables::is_split;

pub(super) const RULE: Rule = Rule {
    id: "shell-loop-over-files",
    aliases: &["SC2044", "SC2045"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`for f in $(ls ...)` or `$(find ...)`.",
    why: "Names with blanks become several names, and a failing `ls` or `find` goes unnoticed: the loop just does nothing. A pattern \
          (`for f in *.conf`) or `find ... -exec` does the same with any name.",
    bad: "FROM debian:12-slim\nRUN for f in $(ls /etc/*.conf); do gzip \"$f\"; done\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN for f in /etc/*.conf; do gzip \"$f\"; done && find /srv -name '*.txt' -exec gzip {} +\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for word in run.script.loops.iter().flat_map(|head| &head.words) {
            let [part] = word.parts.as_slice() else { continue };
            if !matches!(part.kind, PartKind::Command | PartKind::Backquoted) || !is_split(part.quoting) {
                continue;
            }
            let inner = word.text.trim_start_matches(['$', '(', '`']).trim_end_matches([')', '`']).trim();
            let Some((program @ ("ls" | "find"), operands)) = inner.split_once(char::is_whitespace) else { continue };
            // What goes through a pipe is no longer just a list of names.
            if inner.contains(['|', ';', '&']) {
                continue;
            }
            let finding = report
                .report(part.span, format!("The names that `{program}` prints are split at blanks"))
                .help(if program == "ls" { "use a pattern" } else { "use `find ... -exec`" });
            let patterns = operands.split_whitespace().all(|operand| {
                operand.contains(['*', '?'])
                    && operand.chars().all(|c| c.is_ascii_alphanumeric() || "/.-_*?".contains(c))
                    && !operand.starts_with('-')
            });
            if program == "ls" && patterns && context.source(part.span) == word.text {
                finding.unsafe_fix("Use the pattern", vec![TextEdit::replace(part.span, operands.trim())]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{check_bodies, fixed_body};

    #[test]
    fn only_plain_lists_of_names_count() {
        check_bodies(
            "shell-loop-over-files",
            &["for f in $(ls /x); do a; done", "for f in `find . -name x`; do a; done"],
            &[
                "for f in *.x; do a; done",
                "for f in $(cat /list); do a; done",
                "for f in $(ls | head -1); do a; done",
                "for f in \"$(ls /x)\"; do a; done",
                "x=$(ls /x)",
            ],
        );
        assert_eq!(
            fixed_body("shell-loop-over-files", "for f in $(ls /x/*.y); do a; done"),
            "for f in /x/*.y; do a; done"
        );
    }
}
