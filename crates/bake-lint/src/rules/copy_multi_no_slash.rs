//! `copy-multi-no-slash`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "copy-multi-no-slash",
    aliases: &["DL3021", "DS-0011", "AVD-DS-0011"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`COPY` or `ADD` of several sources to a destination that does not end with `/`.",
    why: "Several files need a directory to go into, and only the slash says that the destination is one: the build stops.",
    bad: "FROM debian:12-slim\nCOPY one two /etc/app\nUSER 10001\n",
    good: "FROM debian:12-slim\nCOPY one two /etc/app/\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let (InstructionKind::Copy(copy) | InstructionKind::Add(copy)) = &located.instruction.kind else { continue };
        let word = &copy.destination;
        let path = word.value.trim_matches(['"', '\'']);
        // What a variable at the end holds may end with a slash.
        let last = path.rsplit('/').next().unwrap_or_default();
        let is_directory = matches!(last, "" | ".") || last.contains('$') || path.ends_with('\\');
        if copy.sources.len() < 2 || is_directory {
            continue;
        }
        let finding =
            report.report(word.span, format!("Several sources need a directory, and `{path}` does not end with `/`"));
        let written = context.source(word.span);
        let quotes = written.len() - written.trim_end_matches(['"', '\'']).len();
        if written[..written.len() - quotes].ends_with(last) {
            finding.safe_fix("Add `/`", vec![TextEdit::insert(word.span.end - quotes, "/")]);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn directories_are_told_by_their_slash() {
        let text = "FROM a:1\nCOPY a b c\nCOPY a b .\nCOPY a b c/.\nCOPY a* c\nCOPY a b $D\nCOPY a b $D/c\nADD a b \\\n  c\nCOPY <<E a c\nx\nE\nONBUILD COPY a b c\n";
        assert_eq!(lines("copy-multi-no-slash", text), [2, 7, 9, 10, 13]);
    }

    #[test]
    fn the_slash_goes_inside_the_quotes() {
        let text = "FROM a:1\nCOPY [\"a\", \"b\", \"c d\"]\nCOPY a b \"c\"\nADD --chown=1 a b c\r\n";
        let expected = "FROM a:1\nCOPY [\"a\", \"b\", \"c d/\"]\nCOPY a b \"c/\"\nADD --chown=1 a b c/\r\n";
        assert_eq!(fixed("copy-multi-no-slash", text), expected);
    }
}
