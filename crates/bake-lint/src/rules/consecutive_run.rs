//! `consecutive-run`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "consecutive-run",
    aliases: &["DL3059"],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "Several `RUN` with the same flags stand one after another in the image's own stages.",
    why: "Each makes a layer. Off by default: separate steps are cached separately, which is often worth more.",
    bad: "FROM debian:12-slim\nRUN a\nRUN b\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN a && b\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for pair in context.runs.windows(2) {
        let [first, second] = pair else { continue };
        let in_result = second.stage.is_some_and(|stage| context.stages[stage].in_result);
        let adjacent = second.index == first.index + 1 && first.stage == second.stage && !first.onbuild && !second.onbuild;
        let flags = |run: &RunFacts<'_>| run.instruction.flags.iter().map(|flag| context.source(flag.span).to_owned()).collect::<Vec<_>>();
        if in_result && adjacent && second.instruction.comments.is_empty() && flags(first) == flags(second) {
            report
                .report(second.instruction.keyword.span, "RUN directly after a RUN with the same flags")
                .label(first.instruction.keyword.span, "this one")
                .help("join them with `&&` unless they are meant to be cached apart");
        }
    }
}
