//! `apk-no-cache`

use super::prelude::*;
use crate::packages::removes;

pub(super) const RULE: Rule = Rule {
    id: "apk-no-cache",
    aliases: &["DL3019", "DS-0025", "AVD-DS-0025", "DKL-DI-0004"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`apk add` leaves its index in the layer.",
    why: "`--no-cache` fetches the index, uses it and keeps nothing. Removing `/var/cache/apk` in the same RUN or a cache mount do too.",
    bad: "FROM alpine:3.20\nRUN apk add curl\nUSER 10001\n",
    good: "FROM alpine:3.20\nRUN apk add --no-cache curl\nUSER 10001\n",
    check,
};

/// Where apk keeps its index.
const CACHE: &str = "/var/cache/apk";

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in context.runs.iter().filter(|run| !run.is_mounted(CACHE) && !run.is_mounted("/etc/apk/cache")) {
        for package in package_commands(&run.script) {
            if package.manager != Manager::Apk || package.action != Action::Install || package.has_option(&["--no-cache", "--no-network"]) {
                continue;
            }
            if run.script.commands.iter().skip(package.index + 1).any(|command| removes(command, CACHE)) {
                continue;
            }
            let finding = report.report(package.command.span, "`apk add` without `--no-cache`");
            if package.verb.span != run.instruction.span {
                finding.safe_fix("Add `--no-cache`", vec![TextEdit::insert(package.verb.span.end, " --no-cache")]);
            }
        }
    }
}
