//! `stage-cycle`

use super::prelude::*;
use crate::context::FromReference;
use bake_dockerfile::instruction::Word;

pub(super) const RULE: Rule = Rule {
    id: "stage-cycle",
    aliases: &["circular-stage-deps"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "Stages need each other in a circle.",
    why: "None of them can be finished first: the build stops with a circular dependency.",
    bad: "FROM debian:12-slim AS one\nCOPY --from=two /a /a\nFROM debian:12-slim AS two\nCOPY --from=one /b /b\nUSER 10001\n",
    good: "FROM debian:12-slim AS one\nFROM debian:12-slim AS two\nCOPY --from=one /b /b\nUSER 10001\n",
    check,
};

/// A need of another stage, with the word that says so.
struct Need<'a> {
    stage: usize,
    word: &'a Word,
}

/// How far the walk has got with a stage.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    // Stages can need later ones only through `--from`; without such a word there is no circle.
    let needs: Vec<Vec<Need<'_>>> = (0..context.stages.len()).map(|stage| needs_of(context, stage)).collect();
    if !needs.iter().enumerate().any(|(stage, needs)| needs.iter().any(|need| need.stage > stage)) {
        return;
    }
    let mut states = vec![State::New; needs.len()];
    for start in 0..needs.len() {
        // The stages that are open, each with the number of needs already followed.
        let mut path: Vec<(usize, usize)> = Vec::new();
        if states[start] == State::New {
            states[start] = State::Open;
            path.push((start, 0));
        }
        while let Some((stage, followed)) = path.last_mut() {
            let Some(need) = needs[*stage].get(*followed) else {
                states[*stage] = State::Done;
                path.pop();
                continue;
            };
            *followed += 1;
            match states[need.stage] {
                State::New => {
                    states[need.stage] = State::Open;
                    path.push((need.stage, 0));
                }
                State::Open => {
                    let first = path.iter().position(|(stage, _)| *stage == need.stage).unwrap_or(0);
                    let circle: Vec<String> = path[first..]
                        .iter()
                        .map(|(stage, _)| *stage)
                        .chain([need.stage])
                        .map(|stage| name_of(context, stage))
                        .collect();
                    let message =
                        format!("Stage `{}` needs itself: {}", name_of(context, need.stage), circle.join(" -> "));
                    report
                        .report(need.word.span, message)
                        .label(context.stages[need.stage].from.image.span, "this stage");
                }
                State::Done => {}
            }
        }
    }
}

fn needs_of<'a>(context: &LintContext<'a>, stage: usize) -> Vec<Need<'a>> {
    let facts = &context.stages[stage];
    let base = match facts.base {
        Base::Stage(base) => Some(Need { stage: base, word: &facts.from.image }),
        _ => None,
    };
    let words = context
        .stage_instructions(stage)
        .filter(|located| !located.onbuild)
        .flat_map(|located| from_words(located.instruction));
    base.into_iter()
        .chain(words.filter_map(|word| match context.resolve_from(stage, &word.value) {
            // A stage that needs itself directly has a rule of its own.
            FromReference::Stage(stage) | FromReference::Later(stage) => Some(Need { stage, word }),
            _ => None,
        }))
        .collect()
}

fn name_of(context: &LintContext<'_>, stage: usize) -> String {
    context.stages[stage].name.clone().unwrap_or_else(|| stage.to_string())
}

#[cfg(test)]
mod tests {
    use crate::testing::{findings, lines};

    #[test]
    fn long_circles_are_named() {
        let text = "FROM a:1 AS x\nRUN --mount=from=z,target=/z true\nFROM x AS y\nFROM a:1 AS z\nCOPY --from=y /a /b\nFROM a:1\nCOPY --from=x /a /b\n";
        assert_eq!(lines("stage-cycle", text), [3]);
        let found = findings(text);
        let finding =
            found.iter().find(|finding| finding.rule.id == "stage-cycle").map(|finding| finding.message.as_str());
        assert_eq!(finding, Some("Stage `x` needs itself: x -> z -> y -> x"));
        assert_eq!(lines("stage-cycle", "FROM a:1 AS x\nCOPY --from=y /a /b\nFROM a:1 AS y\n"), [0; 0]);
    }
}
