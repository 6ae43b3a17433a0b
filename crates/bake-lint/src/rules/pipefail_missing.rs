//! `pipefail-missing`

use super::prelude::*;
use crate::shell::{Connector, Pipe, Script};

pub(super) const RULE: Rule = Rule {
    id: "pipefail-missing",
    aliases: &["DL4006"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "A pipe whose left side can fail, in a shell without `pipefail`.",
    why: "A pipe has the exit status of its last command: a download that breaks off goes unnoticed and the step succeeds with half a \
          file. `SHELL`, `set -o pipefail` and `bash -o pipefail -c` are followed, through stages too.",
    bad: "FROM debian:12-slim\nRUN wget -qO- https://example.com/key | tee /key\nUSER 10001\n",
    good: "FROM debian:12-slim\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\n\
           RUN wget -qO- https://example.com/key | tee /key\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let script = &run.script;
        let mut reported = None;
        for pipe in &script.pipes {
            if script.option_set_before(pipe.session, pipe.position, "pipefail") || is_harmless(script, pipe) {
                continue;
            }
            // A chain of pipes has one finding.
            let chained = reported.is_some_and(|end| script.commands.get(end..pipe.position).is_some_and(|between| between.len() <= 1));
            reported = Some(pipe.position);
            if chained {
                continue;
            }
            let what = pipe.left.and_then(|left| script.commands.get(left)).map_or("the left side", SimpleCommand::program);
            report
                .report(pipe.span, format!("The exit status of `{what}` is lost in the pipe"))
                .help("put `SHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]` before it, or `set -o pipefail` where the shell knows it");
        }
    }
}

/// Whether the left side cannot fail in a way that matters, or the outcome is thrown away on purpose.
fn is_harmless(script: &Script, pipe: &Pipe) -> bool {
    let left = pipe.left.and_then(|left| script.commands.get(left));
    let cannot_fail = left.is_some_and(|command| matches!(command.program(), "echo" | "printf" | "yes" | ":" | "true"));
    let next = script.commands.get(pipe.position..).unwrap_or_default().iter().find(|c| c.connector != Connector::Pipe);
    let ignored = next.is_some_and(|c| c.connector == Connector::Or && matches!(c.program(), "true" | ":"));
    cannot_fail || ignored
}

#[cfg(test)]
mod tests {
    use crate::testing::lines;

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
