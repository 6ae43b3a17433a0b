//! `shell-bashism`

use super::prelude::*;
use crate::shell::Dialect;

pub(super) const RULE: Rule = Rule {
    id: "shell-bashism",
    aliases: &["SC3010", "SC3030", "SC3001", "SC3011", "SC3046"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A construct of bash is used where `sh` runs, on images whose `sh` is dash.",
    why: "On Debian and Ubuntu `sh` is dash, which does not know arrays, `[[`, `<<<`, `source` or process substitution: the step fails \
          or, for `[[`, silently takes the other branch.",
    bad: "FROM debian:12-slim\nRUN if [[ -f /x ]]; then rm /x; fi\nUSER 10001\n",
    good: "FROM debian:12-slim\nSHELL [\"/bin/bash\", \"-c\"]\nRUN if [[ -f /x ]]; then rm /x; fi\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let dash = run.stage.and_then(|stage| context.root_image(stage)).is_some_and(crate::image::ImageName::shell_is_dash);
        for session in run.script.sessions.iter().filter(|session| dash && session.dialect == Dialect::Posix) {
            for (span, what) in &session.bashisms {
                report
                    .report(*span, format!("{what} is bash, but `sh` of this image is dash"))
                    .help("put `SHELL [\"/bin/bash\", \"-c\"]` before it, or write it in POSIX shell");
            }
        }
    }
}
