//! `copy-from-unknown-stage`

use super::prelude::*;
use crate::context::FromReference;

pub(super) const RULE: Rule = Rule {
    id: "copy-from-unknown-stage",
    aliases: &["DL3022"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`--from` names a later stage, a stage number that does not exist, or almost the name of a stage.",
    why: "A name that is no stage is taken for an image and asked from a registry, so a typing error shows up as a failed or, worse, \
          successful download.",
    bad: "FROM debian:12-slim AS build\nFROM debian:12-slim\nCOPY --from=bulid /app /app\nUSER 10001\n",
    good: "FROM debian:12-slim AS build\nFROM debian:12-slim\nCOPY --from=BUILD /app /app\nCOPY --from=nginx:1.27 /a /b\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let Some(stage) = located.stage.filter(|_| !located.onbuild) else { continue };
        for word in from_words(located.instruction) {
            match context.resolve_from(stage, &word.value) {
                FromReference::Later(later) => {
                    let message = format!("Stage `{}` is defined after this one", word.value);
                    let from = context.stages[later].from.image.span;
                    report.report(word.span, message).label(from, "defined here").help("move that stage up");
                }
                FromReference::OutOfRange => {
                    let count = context.stages.len();
                    report.report(
                        word.span,
                        format!("There is no stage number {}, stages are numbered 0 to {}", word.value, count - 1),
                    );
                }
                FromReference::Image => {
                    let Some(near) = context.near_stage(stage, &word.value) else { continue };
                    report
                        .report(word.span, format!("There is no stage `{}` (did you mean {near}?)", word.value))
                        .help("as it stands the name is taken for an image")
                        .unsafe_fix(format!("Use `{near}`"), vec![TextEdit::replace(word.span, near)]);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn numbers_and_order_count() {
        let text = "FROM a:1 AS one\nCOPY --from=two /a /b\nCOPY --from=5 /a /b\nCOPY --from=nginx /a /b\nFROM a:1 AS two\n\
                    COPY --from=0 /a /b\nRUN --mount=from=oen,target=/x true\n";
        assert_eq!(lines("copy-from-unknown-stage", text), [2, 3, 7]);
    }
}
