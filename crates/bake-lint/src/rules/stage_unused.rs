//! `stage-unused`

use std::collections::BTreeSet;

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
        waiting.extend(&context.stages[index].chosen_by_platform);
        let words = context.stage_instructions(index).flat_map(|located| from_words(located.instruction));
        waiting.extend(words.filter_map(|word| match context.resolve_from(index, &word.value) {
            FromReference::Stage(stage) => Some(stage),
            _ => None,
        }));
    }
    let words: Vec<String> = context
        .instructions
        .iter()
        .flat_map(|located| from_words(located.instruction))
        .map(|word| word.value.to_lowercase())
        .collect();
    // Where a `--from` counts stages, their numbers would change.
    let counted = words.iter().any(|word| word.contains('$') || word.bytes().all(|byte| byte.is_ascii_digit()));
    let named: BTreeSet<&str> = words.iter().map(String::as_str).collect();
    let built_on: BTreeSet<usize> = context
        .stages
        .iter()
        .filter_map(|stage| match stage.base {
            Base::Stage(base) => Some(base),
            _ => None,
        })
        .collect();
    for (index, stage) in context.stages.iter().enumerate().filter(|(index, _)| !needed[*index]) {
        let name = stage.name.as_deref();
        let shown = name.unwrap_or("without a name");
        let finding = report.report(stage.from.image.span, format!("Stage `{shown}` is not needed by what is built"));
        let wanted = counted || built_on.contains(&index) || name.is_some_and(|name| named.contains(name));
        if let Some(edit) = without_stage(context, index).filter(|_| !wanted) {
            finding.unsafe_fix("Delete the stage", vec![edit]);
        }
    }
}

/// Deletes a stage with the comments above it.
fn without_stage(context: &LintContext<'_>, index: usize) -> Option<TextEdit> {
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
    use crate::testing::{fixed, lines};

    #[test]
    fn the_platform_may_choose() {
        let text = "FROM a:1 AS x\nFROM x AS build-amd64\nFROM a:1 AS build-arm64\nFROM a:1 AS tools\n\
                    FROM build-${TARGETARCH} AS build\nFROM a:1\nCOPY --from=build /a /a\n";
        assert_eq!(lines("stage-unused", text), [4]);
        assert_eq!(lines("image-tag-missing", text), [0; 0]);
    }

    #[test]
    fn only_stages_that_nobody_names_are_deleted() {
        let text = "FROM a:1 AS x\n# about y\nFROM x AS y\nRUN a\n\n# about the rest\nFROM a:1\nRUN b\n";
        assert_eq!(fixed("stage-unused", text), "FROM a:1 AS x\n# about the rest\nFROM a:1\nRUN b\n");
        let text = "FROM a:1 AS x\nFROM a:1 AS y\nFROM a:1\nCOPY --from=1 /a /b\n";
        assert_eq!(fixed("stage-unused", text), text);
    }
}
