//! `legacy-key-value`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "legacy-key-value",
    aliases: &["LegacyKeyValueFormat"],
    severity: Severity::Style,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`ENV key value` or `LABEL key value` without `=`.",
    why: "Everything after the key is the value, so a second pair on the line silently becomes part of the first.",
    bad: "FROM debian:12-slim\nENV LANG C.UTF-8\nUSER 10001\n",
    good: "FROM debian:12-slim\nENV LANG=C.UTF-8\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let (InstructionKind::Env(pairs) | InstructionKind::Label(pairs)) = &located.instruction.kind else { continue };
        let Some(violation) = bake_checks::legacy_key_value(located.instruction, pairs) else { continue };
        let [(key, value)] = pairs.pairs.as_slice() else { continue };
        let finding = report.violation(violation);
        let gap = Span::new(key.span.end, value.span.start);
        let as_written = context.source(value.span) == value.value
            && context.source(gap).trim().is_empty()
            && !context.source(gap).contains('\n');
        let one_word = !value.value.contains([' ', '\t']);
        if as_written && one_word && !value.value.is_empty() {
            finding.safe_fix("Use `=`", vec![TextEdit::replace(gap, "=")]);
        } else if as_written && !value.value.contains(['"', '\'', '\\', '`']) {
            finding.safe_fix("Use `=`", vec![TextEdit::replace(gap, "=\""), TextEdit::insert(value.span.end, "\"")]);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::fixed;

    #[test]
    fn blanks_are_quoted() {
        let text = "FROM a:1\nENV A b  $C\nLABEL x y\nENV D \"e f\"\n";
        let expected = "FROM a:1\nENV A=\"b  $C\"\nLABEL x=y\nENV D \"e f\"\n";
        assert_eq!(fixed("legacy-key-value", text), expected);
    }
}
