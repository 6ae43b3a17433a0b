//! `consecutive-run`

use super::prelude::*;
use crate::packages::removed_paths;

pub(super) const RULE: Rule = Rule {
    id: "consecutive-run",
    aliases: &["DL3059"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "Several `RUN` of a single command each, with the same flags, stand one after another in the image's own stages.",
    why: "Each makes a layer. What chains several commands, or has a comment above it, is taken to be grouped on purpose. Separate \
          steps are cached separately, so joining them is a trade and never done by itself.",
    bad: "FROM debian:12-slim\nRUN a\nRUN b\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN a && b\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for pair in context.runs.windows(2) {
        let [first, second] = pair else { continue };
        let in_result = second.stage.is_some_and(|stage| context.stages[stage].in_result);
        let single = first.script.commands.len() <= 1 && second.script.commands.len() <= 1;
        let only_cd =
            |run: &RunFacts<'_>| matches!(run.script.commands.as_slice(), [command] if command.program() == "cd");
        // Rules of their own say more about lists fetched in a layer of their own, about cleaning in a later one, and about `cd` alone,
        // which is to become WORKDIR.
        let others = only_cd(first)
            || only_cd(second)
            || package_commands(&first.script).iter().any(|package| package.action == Action::Update)
            || package_commands(&second.script).iter().any(|package| package.action == Action::Clean)
            || second.script.commands.iter().any(|command| !removed_paths(command).is_empty());
        if in_result
            && single
            && !others
            && context.are_adjacent(first, second)
            && context.flag_texts(first) == context.flag_texts(second)
        {
            let finding =
                report.report(second.instruction.keyword.span, "RUN directly after a RUN with the same flags");
            finding
                .label(first.instruction.keyword.span, "this one")
                .help("join them with `&&` unless they are meant to be cached apart");
            if let Some(edits) = context.join_runs(first, second) {
                finding.unsafe_fix("Join with the RUN above", edits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn what_is_grouped_on_purpose_is_left() {
        let text = "FROM a:1 AS b\nRUN a\nRUN b\nFROM a:1\nRUN a\nRUN b\n# why\nRUN c\nRUN d && e\nRUN f\nRUN --network=none g\nCOPY x /y\nRUN h\n";
        assert_eq!(lines("consecutive-run", text), [6]);
        assert!(lines("consecutive-run", "FROM a:1\nRUN a\nRUN cd /x\nRUN b\n").is_empty());
        assert_eq!(fixed("consecutive-run", "FROM a:1\nRUN a\nRUN b\n"), "FROM a:1\nRUN a \\\n && b\n");
    }
}
