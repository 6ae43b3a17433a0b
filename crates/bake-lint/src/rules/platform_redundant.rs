//! `platform-redundant`

use super::prelude::*;
use crate::context::StageFacts;
use bake_checks::{Violation, platform_flag};

pub(super) const RULE: Rule = Rule {
    id: "platform-redundant",
    aliases: &["RedundantTargetPlatform", "DL3065"],
    severity: Severity::Style,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`FROM --platform=$TARGETPLATFORM` says what is the case anyway.",
    why: "The target platform is the default of `FROM`.",
    bad: "FROM --platform=$TARGETPLATFORM debian:12-slim\nUSER 10001\n",
    good: "FROM debian:12-slim\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for stage in &context.stages {
        let Some(violation) = platform_violation(context, stage, "RedundantTargetPlatform") else { continue };
        let finding = report.violation(violation);
        if let Some(edit) = without_platform(context, stage) {
            finding.safe_fix("Remove the flag", vec![edit]);
        }
    }
}

/// Removes `--platform` from the `FROM` of a stage, with the blanks before it.
pub(super) fn without_platform(context: &LintContext<'_>, stage: &StageFacts<'_>) -> Option<TextEdit> {
    let flag = stage.instruction(context)?.flags.iter().find(|flag| flag.name.value == "platform")?;
    let before = &context.dockerfile.source.text()[..flag.span.start];
    Some(TextEdit::delete(Span::new(before.trim_end_matches([' ', '\t']).len(), flag.span.end)))
}

/// What the build check of this name finds in the `--platform` of a stage; shared by the two rules about it.
pub(super) fn platform_violation(context: &LintContext<'_>, stage: &StageFacts<'_>, check: &str) -> Option<Violation> {
    let flag = context.expanded_global(stage.from.platform.as_ref()?)?;
    let target = context.global_value("TARGETPLATFORM");
    platform_flag(stage.from, &flag, target.as_deref()).filter(|violation| violation.check.name == check)
}

#[cfg(test)]
mod tests {
    use crate::testing::fixed;

    #[test]
    fn the_flag_is_removed() {
        let text = "FROM --platform=$TARGETPLATFORM a:1\n";
        assert_eq!(fixed("platform-redundant", text), "FROM a:1\n");
    }
}
