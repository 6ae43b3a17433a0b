//! `apt-cli`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "apt-cli",
    aliases: &["DL3027", "CKV_DOCKER_9"],
    severity: Severity::Style,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`apt` is used in a script.",
    why: "`apt` is made for people and says itself that its options and output may change; `apt-get` and `apt-cache` are stable.",
    bad: "FROM debian:12-slim\nRUN apt update && apt-get install -y --no-install-recommends make\n",
    good: "FROM debian:12-slim\nRUN apt-get update && apt-get install -y --no-install-recommends make\n",
    check,
};

/// The subcommands that `apt-get` has too.
const SHARED: [&str; 10] =
    ["update", "install", "upgrade", "full-upgrade", "remove", "purge", "autoremove", "clean", "source", "build-dep"];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for package in package_commands(&run.script).iter().filter(|package| package.manager == Manager::Apt) {
            let verb = package.verb.text.as_str();
            let finding = report
                .report(package.command.span, "`apt` is not meant for scripts")
                .help("use `apt-get`, or `apt-cache` for questions");
            let program = &package.command.words[package.command.program_index];
            if program.span != run.instruction.span
                && context.source(program.span).ends_with("apt")
                && SHARED.contains(&verb)
            {
                let mut edits = vec![TextEdit::insert(program.span.end, "-get")];
                if verb == "full-upgrade" {
                    edits.push(TextEdit::replace(package.verb.span, "dist-upgrade"));
                }
                finding.safe_fix("Use `apt-get`", edits);
            }
        }
    }
}
