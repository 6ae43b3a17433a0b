//! `package-sort`

use super::prelude::*;
use crate::shell::ShellWord;

pub(super) const RULE: Rule = Rule {
    id: "package-sort",
    aliases: &["sort-packages"],
    severity: Severity::Style,
    default: false,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A list of packages with one name a line is not sorted.",
    why: "In a sorted list nothing is named twice, and changes do not collide. Off by default: a matter of taste.",
    bad: "FROM alpine:3.20\nRUN apk add --no-cache \\\n    zip \\\n    curl\nUSER 10001\n",
    good: "FROM alpine:3.20\nRUN apk add --no-cache \\\n    curl \\\n    zip\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for package in package_commands(&run.script).iter().filter(|package| package.action == Action::Install) {
            let names: Vec<&ShellWord> =
                package.operands.iter().copied().filter(|word| word.span != run.instruction.span).collect();
            let each_on_a_line = names.windows(2).all(|pair| {
                pair[0].span.end <= pair[1].span.start
                    && context.source(Span::new(pair[0].span.end, pair[1].span.start)).contains('\n')
            });
            if names.len() < 2 || !each_on_a_line {
                continue;
            }
            let mut sorted: Vec<&str> = names.iter().map(|word| context.source(word.span)).collect();
            sorted.sort_unstable();
            let Some(at) = names.iter().zip(&sorted).position(|(word, right)| context.source(word.span) != *right)
            else {
                continue;
            };
            let finding = report
                .report(names[at].span, format!("`{}` comes before `{}` in a sorted list", sorted[at], names[at].text));
            let (first, last) = (names[0].span, names[names.len() - 1].span);
            // A comment belongs to a name; it would stay behind.
            if !context.source(Span::new(first.start, last.end)).contains('#') {
                let edits = names.iter().zip(&sorted).filter(|(word, right)| context.source(word.span) != **right);
                finding.safe_fix(
                    "Sort the list",
                    edits.map(|(word, right)| TextEdit::replace(word.span, *right)).collect(),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn lists_are_sorted_in_place() {
        let text = "FROM debian:12\r\nRUN apt-get install -y \\\r\n\tc=1 \\\r\n\ta \\\r\n\t\"b\" && x\r\n";
        assert_eq!(
            fixed("package-sort", text),
            "FROM debian:12\r\nRUN apt-get install -y \\\r\n\t\"b\" \\\r\n\ta \\\r\n\tc=1 && x\r\n"
        );
        assert_eq!(lines("package-sort", "FROM a:1\nRUN apk add b a\nRUN apk add \\\n a \\\n b\n"), [0; 0]);
        let commented = "FROM a:1\nRUN apk add \\\n b \\\n # why\n a\n";
        assert_eq!(lines("package-sort", commented), [3]);
        assert_eq!(fixed("package-sort", commented), commented);
    }
}
