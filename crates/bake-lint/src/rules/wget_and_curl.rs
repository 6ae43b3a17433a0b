//! `wget-and-curl`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "wget-and-curl",
    aliases: &["DL4001", "DS-0014", "AVD-DS-0014"],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "Both `wget` and `curl` are used in a stage.",
    why: "One of them is enough, and each that is installed is one more program to keep up to date.",
    bad: "FROM debian:12-slim\nRUN wget -nv https://example.com/a\nRUN curl -fsSLO https://example.com/b\nUSER 10001\n",
    good: "FROM debian:12-slim\nRUN curl -fsSLO https://example.com/a\nRUN curl -fsSLO https://example.com/b\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for stage in 0..context.stages.len() {
        let mut first: Option<(&str, Span)> = None;
        let commands = context.runs.iter().filter(|run| run.stage == Some(stage)).flat_map(|run| &run.script.commands);
        for command in commands.filter(|command| matches!(command.program(), "wget" | "curl")) {
            match first {
                None => first = Some((command.program(), command.span)),
                Some((program, span)) if program != command.program() => {
                    let finding = report.report(command.span, format!("The stage uses `{program}` as well"));
                    finding.label(span, format!("`{program}` is used here"));
                    break;
                }
                Some(_) => {}
            }
        }
    }
}
