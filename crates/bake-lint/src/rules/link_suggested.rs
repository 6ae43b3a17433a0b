//! `link-suggested`

use super::prelude::*;
use crate::change::add_flag;

pub(super) const RULE: Rule = Rule {
    id: "link-suggested",
    aliases: &[],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`COPY --from` without `--link` in the image's own stages.",
    why: "With `--link` the layer does not depend on those below it, so it is reused when the base changes. Off by default: a \
          destination that is reached through a symbolic link of the base is then replaced by a directory.",
    bad: "FROM debian:12-slim AS build\nFROM debian:12-slim\nCOPY --from=build /app /app\nUSER 10001\n",
    good: "FROM debian:12-slim AS build\nFROM debian:12-slim\nCOPY --link --from=build /app /app\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in context.instructions.iter().filter(|located| !located.onbuild) {
        let InstructionKind::Copy(copy) = &located.instruction.kind else { continue };
        let in_result = located.stage.is_some_and(|stage| context.stages[stage].in_result);
        let decided = located.instruction.flags.iter().any(|flag| flag.name.value == "link");
        if let Some(from) = copy.from.as_ref().filter(|_| in_result && !decided) {
            report
                .report(located.instruction.keyword.span, format!("COPY --from={} without --link", from.value))
                .unsafe_fix("Add `--link`", vec![add_flag(located.instruction, "--link")]);
        }
    }
}
