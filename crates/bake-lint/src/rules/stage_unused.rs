//! `stage-unused`

use super::prelude::*;
use crate::change::{last_instruction, line_end, line_start};
use crate::context::FromReference;

pub(super) const RULE: Rule = Rule {
    id: "stage-unused",
    aliases: &["no-unreachable-stages"],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::Unsafe,
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
    for (index, stage) in context.stages.iter().enumerate().filter(|(index, _)| !needed[*index]) {
        let name = stage.name.as_deref().unwrap_or("without a name");
        let finding = report.report(stage.from.image.span, format!("Stage `{name}` is not needed by what is built"));
        if let Some(edit) = without_stage(context, index) {
            finding.unsafe_fix("Delete the stage", vec![edit]);
        }
    }
}

/// Deletes a stage that no other one names. `None` also where a `--from` counts stages, since their numbers would change.
fn without_stage(context: &LintContext<'_>, index: usize) -> Option<TextEdit> {
    let built_on = context.stages.iter().any(|stage| stage.base == Base::Stage(index));
    let words = || context.instructions.iter().flat_map(|located| from_words(located.instruction));
    let named =
        || words().any(|word| context.stages[index].name.as_deref() == Some(word.value.to_lowercase().as_str()));
    let counted =
        || words().any(|word| word.value.contains('$') || word.value.bytes().all(|byte| byte.is_ascii_digit()));
    if built_on || named() || counted() {
        return None;
    }
    let text = context.dockerfile.source.text();
    let start = |stage: usize| {
        let from = context.stages.get(stage)?.instruction(context)?;
        let first = from.comments.first().map_or(from.span.start, |comment| comment.start.min(from.span.start));
        Some(line_start(text, first))
    };
    let last = last_instruction(context.dockerfile, context.stages[index].stage.index)?;
    let end = start(index + 1).unwrap_or_else(|| line_end(text, last.span.end));
    Some(TextEdit::delete(Span::new(start(index)?, end)))
}

#[cfg(test)]
mod tests {
    use crate::testing::fixed;

    #[test]
    fn only_stages_that_nobody_names_are_deleted() {
        let text = "FROM a:1 AS x\n# about y\nFROM x AS y\nRUN a\n\n# about the rest\nFROM a:1\nRUN b\n";
        assert_eq!(fixed("stage-unused", text), "FROM a:1 AS x\n# about the rest\nFROM a:1\nRUN b\n");
        let text = "FROM a:1 AS x\nFROM a:1 AS y\nFROM a:1\nCOPY --from=1 /a /b\n";
        assert_eq!(fixed("stage-unused", text), text);
    }
}
