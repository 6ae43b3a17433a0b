//! `shell-cd-back`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "shell-cd-back",
    aliases: &["SC2103"],
    severity: Severity::Style,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "`cd ..` to come back from an earlier `cd`.",
    why: "It comes back to the right place only when the first `cd` went there, and one level down. `(cd x && ...)` comes back by itself.",
    bad: "FROM debian:12-slim\nRUN cd lib && make && cd .. && make\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN (cd lib && make) && make\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        // Whether a `cd` was met, by session.
        let mut went = vec![false; run.script.sessions.len()];
        for command in run.script.commands.iter().filter(|command| command.program() == "cd") {
            let [target] = command.arguments() else { continue };
            let back = target.text == "-"
                || target.text.split('/').all(|step| step == ".." || step.is_empty()) && target.text.starts_with("..");
            let Some(went) = went.get_mut(command.session) else { continue };
            if back && *went {
                report
                    .report(command.span, format!("`cd {}` comes back from an earlier `cd`", target.text))
                    .help("use a subshell: `(cd x && ...)`");
            }
            *went |= !back;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check_bodies;

    #[test]
    fn only_the_way_back_counts() {
        check_bodies(
            "shell-cd-back",
            &["cd x && a && cd ..", "cd x; a; cd -", "cd a/b && c && cd ../.. && d"],
            &["cd ..", "(cd x && a); b", "cd x && cd ../y", "cd /x && cd /y"],
        );
    }
}
