//! `stage-unused`

use super::prelude::*;
use crate::context::FromReference;

pub(super) const RULE: Rule = Rule {
    id: "stage-unused",
    aliases: &["no-unreachable-stages"],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "Nothing that is built needs a stage.",
    why: "It is not built, so it may be broken without anyone noticing. Off by default: such stages are often targets of their own.",
    bad: "FROM debian:12-slim AS tests\nRUN true\nFROM debian:12-slim\nUSER 10001\n",
    good: "FROM debian:12-slim AS base\nFROM base\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let mut needed = vec![false; context.stages.len()];
    let mut waiting: Vec<usize> = (0..context.stages.len()).filter(|index| context.stages[*index].is_target).collect();
    while let Some(index) = waiting.pop() {
        if std::mem::replace(&mut needed[index], true) {
            continue;
        }
        if let Base::Stage(base) = context.stages[index].base {
            waiting.push(base);
        }
        let words = context.stage_instructions(index).flat_map(|located| from_words(located.instruction));
        waiting.extend(words.filter_map(|word| match context.resolve_from(index, &word.value) {
            FromReference::Stage(stage) => Some(stage),
            _ => None,
        }));
    }
    for (stage, needed) in context.stages.iter().zip(needed) {
        if !needed {
            let name = stage.name.as_deref().unwrap_or("without a name");
            report.report(stage.from.image.span, format!("Stage `{name}` is not needed by what is built"));
        }
    }
}
