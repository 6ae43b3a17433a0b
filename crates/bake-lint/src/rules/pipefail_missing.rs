//! `pipefail-missing`

use super::prelude::*;
use crate::shell::{Connector, Dialect, Pipe, Script};

pub(super) const RULE: Rule = Rule {
    id: "pipefail-missing",
    aliases: &["DL4006"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "A pipe whose left side can fail, in a shell without `pipefail`.",
    why: "A pipe has the exit status of its last command: a download that breaks off goes unnoticed and the step succeeds with half a \
          file. `SHELL`, `set -o pipefail` and `bash -o pipefail -c` are followed, through stages too.",
    bad: "FROM alpine:3.20\nRUN wget -qO- https://example.com/key | tee /key\nUSER 10001\n",
    good: "FROM debian:12-slim\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\n\
           RUN wget -qO- https://example.com/key | tee /key\nUSER 10001\n",
    check,
};

/// How long a pipe is looked at for what becomes of its status.
const PIPE_MAX: usize = 32;

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let script = &run.script;
        let mut reported = None;
        for pipe in &script.pipes {
            if script.has_pipefail_before(pipe.session, pipe.position) || is_harmless(script, pipe) {
                continue;
            }
            // A chain of pipes has one finding.
            let chained = reported
                .is_some_and(|end| script.commands.get(end..pipe.position).is_some_and(|between| between.len() <= 1));
            reported = Some(pipe.position);
            if chained {
                continue;
            }
            let what =
                pipe.left.and_then(|left| script.commands.get(left)).map_or("the left side", SimpleCommand::program);
            let finding = report
                .report(pipe.span, format!("The exit status of `{what}` is lost in the pipe"))
                .help("put `SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]` before it, or `set -o pipefail` where the shell knows it");
            if let Some(edit) = set_pipefail(context, run, pipe) {
                finding.safe_fix("Switch `pipefail` on", vec![edit]);
            }
        }
    }
}

/// Switches `pipefail` on at the beginning of the shell that has the pipe. `None` where that shell may not know it.
fn set_pipefail(context: &LintContext<'_>, run: &RunFacts<'_>, pipe: &Pipe) -> Option<TextEdit> {
    let session = run.script.sessions.get(pipe.session).filter(|_| pipe.session == 0)?;
    let busybox =
        || run.stage.and_then(|stage| context.root_image(stage)).is_some_and(crate::image::ImageName::shell_is_busybox);
    if !session.is_verbatim() || !(session.dialect == Dialect::Bash || busybox()) {
        return None;
    }
    if session.heredoc {
        let [heredoc] = run.instruction.heredocs.as_slice() else { return None };
        let free = !heredoc.body.starts_with("#!");
        return free.then(|| TextEdit::insert(heredoc.span.start, format!("set -o pipefail{}", context.newline())));
    }
    let Command::Shell(text) = &run.run.command else { return None };
    Some(TextEdit::insert(text.span.start, "set -o pipefail && "))
}

/// Whether the left side cannot fail in a way that matters, or the outcome is thrown away on purpose.
fn is_harmless(script: &Script, pipe: &Pipe) -> bool {
    let left = pipe.left.and_then(|left| script.commands.get(left));
    let cannot_fail = left.is_some_and(|command| matches!(command.program(), "echo" | "printf" | "yes" | ":" | "true"));
    let next = script
        .commands
        .get(pipe.position..)
        .unwrap_or_default()
        .iter()
        .take(PIPE_MAX)
        .find(|c| c.connector != Connector::Pipe);
    let ignored = next.is_some_and(|c| c.connector == Connector::Or && matches!(c.program(), "true" | ":"));
    cannot_fail || ignored
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn shells_that_know_it_get_it() {
        assert_eq!(
            fixed("pipefail-missing", "FROM alpine:3\nRUN a | b | c\n"),
            "FROM alpine:3\nRUN set -o pipefail && a | b | c\n"
        );
        assert_eq!(
            fixed("pipefail-missing", "FROM x:1\nSHELL [\"bash\", \"-c\"]\nRUN <<E\na | b\nE\n"),
            "FROM x:1\nSHELL [\"bash\", \"-c\"]\nRUN <<E\nset -o pipefail\na | b\nE\n"
        );
        let dash = "FROM debian:12\nRUN a | b\n";
        assert_eq!(fixed("pipefail-missing", dash), dash);
    }

    #[test]
    fn every_way_to_set_it_is_known() {
        let text = "FROM alpine:3.20 AS a\nRUN set -eo pipefail && a | b\nRUN [\"bash\", \"-o\", \"pipefail\", \"-c\", \"a | b\"]\n\
                    RUN bash -euo pipefail <<E\na | b\nE\nRUN a | b | c\nSHELL [\"bash\", \"-eo\", \"pipefail\", \"-c\"]\nFROM a\nRUN a | b\n\
                    SHELL [\"sh\", \"-c\"]\nRUN a | b\nRUN echo x | b || true\nRUN <<E\nset -e\na | b\nE\nRUN [\"a\", \"|\", \"b\"]\n";
        assert_eq!(lines("pipefail-missing", text), [7, 12, 16]);
    }

    #[test]
    fn the_shell_of_a_known_base_counts() {
        let shell = ["bash", "-o", "pipefail", "-c"].map(str::to_owned).to_vec();
        let facts = crate::ImageFacts { shell, ..crate::ImageFacts::default() };
        let images = std::collections::BTreeMap::from([("x:1".to_owned(), facts)]);
        let options = crate::LintOptions { images, ..crate::LintOptions::default() };
        let found = crate::testing::findings_with("FROM x:1\nRUN a | b\n", &options);
        assert!(found.iter().all(|finding| finding.rule.id != "pipefail-missing"));
    }
}
