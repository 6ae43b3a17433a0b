//! `from-as-casing`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "from-as-casing",
    aliases: &["FromAsCasing"],
    severity: Severity::Style,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`FROM` and `AS` are written in different letter cases.",
    why: "One case throughout lets the eye find the keywords.",
    bad: "FROM debian:12-slim as base\nUSER 10001\n",
    good: "FROM debian:12-slim AS base\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for stage in &context.stages {
        let from = &context.dockerfile.instructions[stage.stage.from].keyword.value;
        let Some(word) = &stage.from.as_keyword else { continue };
        let right = if *from == from.to_lowercase() { "as" } else { "AS" };
        if word.value != right {
            report
                .report(word.span, format!("`{}` and `{from}` keywords' casing do not match", word.value))
                .safe_fix(format!("Use `{right}`"), vec![TextEdit::replace(word.span, right)]);
        }
    }
}
