//! `user-root`

use super::prelude::*;
use crate::change::last_instruction;

pub(super) const RULE: Rule = Rule {
    id: "user-root",
    aliases: &["DL3002", "DS-0002", "AVD-DS-0002", "CKV_DOCKER_3", "CKV_DOCKER_8", "CIS-DI-0001"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "Containers of the image run as root.",
    why: "A process that breaks out of the container, or writes to a mounted directory, is root there too. Only the stage that becomes \
          the image counts, with the user it inherits from its own stages.",
    bad: "FROM debian:12-slim\nCMD [\"/app\"]\n",
    good: "FROM debian:12-slim AS build\nRUN make\nFROM gcr.io/distroless/static-debian12:nonroot\nCMD [\"/app\"]\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let Some(target) = context.stages.iter().position(|stage| stage.is_target) else { return };
    let last = context.history(target, usize::MAX).rev().find_map(|located| match &located.instruction.kind {
        InstructionKind::User(word) => Some((located, word)),
        _ => None,
    });
    let finding = if let Some((located, word)) = last {
        let stage = located.stage.unwrap_or(target);
        if !context.expanded_word(stage, located.index, word).is_some_and(|user| is_root(&user)) {
            return;
        }
        report.report(word.span, "Containers of the image run as root")
    } else {
        // A base for other images that sets their user.
        let is_user = |kind: &InstructionKind| matches!(kind, InstructionKind::User(_));
        if context.stage_instructions(target).any(|located| located.onbuild && is_user(&located.instruction.kind)) {
            return;
        }
        let span = context.stages[target].from.image.span;
        match root_by_base(context, target) {
            Some(Severity::Warning) => report.report(span, "No USER is set: containers of the image run as root"),
            Some(severity) => {
                let message = "No USER is set: containers run as whatever the base image sets, mostly root";
                report.report(span, message).severity(severity)
            }
            None => return,
        }
    };
    finding.help("end the stage with `USER` and a number other than 0, such as `USER 65532:65532`");
    if let Some((title, edit)) = other_user(context, target, last.map(|(located, word)| (located.index, word.span))) {
        finding.unsafe_fix(title, vec![edit]);
    }
}

fn is_root(user: &str) -> bool {
    matches!(user.split(':').next().unwrap_or_default(), "root" | "0" | "")
}

/// How serious it is that a stage without `USER` begins from its base; `None` where the base has a user of its own.
fn root_by_base(context: &LintContext<'_>, stage: usize) -> Option<Severity> {
    match context.root_base(stage)? {
        Base::Scratch => Some(Severity::Warning),
        Base::Image(image) => match context.image_facts(image) {
            Some(facts) => is_root(&facts.user).then_some(Severity::Warning),
            None if image.is_nonroot() || image.is_windows() => None,
            None if image.is_plain_distribution() => Some(Severity::Warning),
            None => Some(Severity::Info),
        },
        Base::Stage(_) | Base::Unknown(_) => None,
    }
}

/// Runs the containers as somebody else: in place of the `USER` that says root when nothing after it is run in the build, else by a
/// new one before the first `CMD` or `ENTRYPOINT` after the last `RUN`, or at the end of the stage.
fn other_user(
    context: &LintContext<'_>,
    target: usize,
    explicit: Option<(usize, Span)>,
) -> Option<(&'static str, TextEdit)> {
    const USER: &str = "65532:65532";
    let own: Vec<_> = context.stage_instructions(target).filter(|located| !located.onbuild).collect();
    let after_last_run = own
        .iter()
        .rposition(|located| matches!(located.instruction.kind, InstructionKind::Run(_)))
        .map_or(0, |at| at + 1);
    if let Some((index, span)) = explicit
        && own[after_last_run..].iter().any(|located| located.index == index)
    {
        return Some(("Run as the user 65532", TextEdit::replace(span, USER)));
    }
    let line = format!("USER {USER}");
    let started = own[after_last_run..]
        .iter()
        .find(|located| matches!(located.instruction.kind, InstructionKind::Cmd(_) | InstructionKind::Entrypoint(_)));
    let edit = match started {
        Some(located) => context.insert_above(located.instruction, &line),
        None => {
            context.insert_below(last_instruction(context.dockerfile, context.stages[target].stage.index)?, &line)?
        }
    };
    Some(("Run as the user 65532", edit))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::testing::{findings_with, fixed, lines};
    use crate::{ImageFacts, LintOptions};

    #[test]
    fn the_user_is_changed_where_nothing_in_the_build_needs_root() {
        for (text, expected) in [
            ("FROM debian:12\nUSER root\nCMD [\"a\"]\n", "FROM debian:12\nUSER 65532:65532\nCMD [\"a\"]\n"),
            (
                "FROM debian:12\r\nUSER root\r\nRUN a\r\n# run\r\nCMD [\"a\"]\r\n",
                "FROM debian:12\r\nUSER root\r\nRUN a\r\nUSER 65532:65532\r\n# run\r\nCMD [\"a\"]\r\n",
            ),
            ("FROM debian:12\nCMD [\"a\"]\nRUN a", "FROM debian:12\nCMD [\"a\"]\nRUN a\nUSER 65532:65532"),
            ("FROM debian:12\nRUN <<E\na\nE\n", "FROM debian:12\nRUN <<E\na\nE\nUSER 65532:65532\n"),
        ] {
            assert_eq!(fixed("user-root", text), expected);
        }
    }

    #[test]
    fn a_known_base_says_who_runs() {
        let severities = |user: &str| {
            let facts = ImageFacts { user: user.to_owned(), ..ImageFacts::default() };
            let images = BTreeMap::from([("acme/app:1".to_owned(), facts)]);
            let found = findings_with("FROM acme/app:1\n", &LintOptions { images, ..LintOptions::default() });
            found
                .iter()
                .filter(|finding| finding.rule.id == "user-root")
                .map(|finding| finding.severity)
                .collect::<Vec<_>>()
        };
        assert_eq!(severities(""), [bake_dockerfile::Severity::Warning]);
        assert_eq!(severities("0:0"), [bake_dockerfile::Severity::Warning]);
        assert_eq!(severities("app"), []);
    }

    #[test]
    fn only_the_user_of_the_result_counts() {
        for (text, expected) in [
            ("FROM a:1 AS b\nUSER root\nFROM debian:12\nUSER 1\n", vec![]),
            ("FROM debian:12\nUSER 1\nRUN x\nUSER 0:0\n", vec![4]),
            ("FROM debian:12 AS b\nUSER 1\nFROM b\nRUN x\n", vec![]),
            ("FROM debian:12\nARG U=root\nUSER $U\n", vec![3]),
            ("FROM debian:12\nENV U=\"root\"\nUSER $U\n", vec![3]),
            ("FROM debian:12\nONBUILD USER 1\n", vec![]),
            ("FROM debian:12\nARG U\nUSER ${U}\n", vec![]),
            ("FROM scratch\n", vec![1]),
            ("FROM debian:12\nONBUILD USER root\nUSER app\n", vec![]),
        ] {
            assert_eq!(lines("user-root", text), expected, "{text}");
        }
    }
}
