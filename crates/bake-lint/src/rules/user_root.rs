//! `user-root`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "user-root",
    aliases: &["DL3002", "DS-0002", "AVD-DS-0002", "CKV_DOCKER_3", "CKV_DOCKER_8", "CIS-DI-0001"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "Containers of the image run as root.",
    why: "A process that breaks out of the container, or writes to a mounted directory, is root there too. Only the stage that becomes \
          the image counts, with the user it inherits from its own stages.",
    bad: "FROM debian:12-slim\nCMD [\"/app\"]\n",
    good: "FROM debian:12-slim AS build\nRUN make\nFROM gcr.io/distroless/static-debian12:nonroot\nCMD [\"/app\"]\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let Some(target) = context.stages.iter().position(|stage| stage.is_target) else { return };
    let help = "end the stage with `USER` and a number other than 0, such as `USER 65532:65532`";
    let last = context.history(target, usize::MAX).rev().find_map(|located| match &located.instruction.kind {
        InstructionKind::User(word) => Some((located, word)),
        _ => None,
    });
    if let Some((located, word)) = last {
        let stage = located.stage.unwrap_or(target);
        let lookup = |name: &str| context.environment_value(stage, located.index, name);
        let Ok(expansion) = context.expander().expand(&word.value, &lookup) else { return };
        let user = expansion.text.split(':').next().unwrap_or_default();
        if expansion.undefined.is_empty() && matches!(user, "root" | "0") {
            report.report(word.span, "Containers of the image run as root").help(help);
        }
        return;
    }
    let stage = &context.stages[target];
    match context.root_base(target) {
        Some(Base::Image(image)) if image.is_nonroot() || image.is_windows() => {}
        Some(Base::Image(image)) if !image.is_plain_distribution() => {
            report
                .report(stage.from.image.span, format!("No USER is set: containers run as whatever `{}` sets, mostly root", image.repository))
                .severity(Severity::Info)
                .help(help);
        }
        Some(Base::Image(_) | Base::Scratch) => {
            report.report(stage.from.image.span, "No USER is set: containers of the image run as root").help(help);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

    #[test]
    fn only_the_user_of_the_result_counts() {
        for (text, expected) in [
            ("FROM a:1 AS b\nUSER root\nFROM debian:12\nUSER 1\n", vec![]),
            ("FROM debian:12\nUSER 1\nRUN x\nUSER 0:0\n", vec![4]),
            ("FROM debian:12 AS b\nUSER 1\nFROM b\nRUN x\n", vec![]),
            ("FROM debian:12\nARG U=root\nUSER $U\n", vec![3]),
            ("FROM debian:12\nARG U\nUSER ${U}\n", vec![]),
            ("FROM scratch\n", vec![1]),
            ("FROM debian:12\nONBUILD USER root\nUSER app\n", vec![]),
        ] {
            assert_eq!(lines("user-root", text), expected, "{text}");
        }
    }
}
