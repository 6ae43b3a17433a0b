//! `from-arg-empty`

use super::prelude::*;

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
    for stage in &context.stages {
        if let Base::Unknown(text) = &stage.base
            && stage.from.image.value.contains('$')
            && stage.undeclared.is_empty()
        {
            let word = &stage.from.image;
            let message = format!("`{}` is `{text}` with default arguments, which is no image name", word.value);
            report.report(word.span, message).help("give the ARG a default that builds");
        }
    }
}
