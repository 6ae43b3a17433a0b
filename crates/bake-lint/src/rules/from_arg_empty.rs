//! `from-arg-empty`

use super::prelude::*;
use crate::context::PLATFORM_ARGS;

pub(super) const RULE: Rule = Rule {
    id: "from-arg-empty",
    aliases: &["InvalidDefaultArgInFrom"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`FROM` is no image name when its build arguments have their defaults.",
    why: "The build works only for those who know which `--build-arg` to give; everyone else meets an error about an invalid name.",
    bad: "ARG TAG\nFROM debian:${TAG}\nUSER 10001\n",
    good: "ARG TAG=12-slim\nFROM debian:${TAG}\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let predefined = |name: &str| PLATFORM_ARGS.contains(&name).then(|| context.global_value(name)).flatten();
    for (index, violation) in bake_checks::invalid_default_args(context.dockerfile, &predefined) {
        let Some(stage) = context.stages.get(index) else { continue };
        // What no argument has to do with is another mistake, and so is an argument that does not exist.
        if stage.from.image.value.contains('$') && stage.undeclared.is_empty() {
            report.violation(violation).help("give the ARG a default that builds");
        }
    }
}
