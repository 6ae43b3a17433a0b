//! `from-as-casing`

use super::prelude::*;
use bake_checks::{Casing, from_as_casing};

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
        let Some(violation) = from_as_casing(from, stage.from) else { continue };
        let right = Casing::of(from).unwrap_or(Casing::Upper).applied("as");
        let edit = TextEdit::replace(violation.span, right.clone());
        report.violation(violation).safe_fix(format!("Use `{right}`"), vec![edit]);
    }
}
