//! `pip-cache`

use super::prelude::*;
use crate::packages::removes;

pub(super) const RULE: Rule = Rule {
    id: "pip-cache",
    aliases: &["DL3042"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`pip install` leaves its download cache in the layer.",
    why: "The wheels are kept for a next install that never happens. `--no-cache-dir`, `PIP_NO_CACHE_DIR` or a cache mount avoid it.",
    bad: "FROM python:3.12-slim\nRUN pip install flask\nUSER 10001\n",
    good: "FROM python:3.12-slim\nRUN pip install --no-cache-dir flask\nUSER 10001\n",
    check,
};

/// Where pip keeps its cache when it runs as root.
const CACHE: &str = "/root/.cache/pip";

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        if run.is_mounted(CACHE) || run.has_mount_named("pip") || run.has_mount_named(".cache") {
            continue;
        }
        let commands = &run.script.commands;
        for package in package_commands(&run.script) {
            if package.manager != Manager::Pip
                || package.action != Action::Install
                || package.has_option(&["--no-cache-dir"])
            {
                continue;
            }
            let assigned = |command: &SimpleCommand| command.assignments.iter().any(|a| a.name == "PIP_NO_CACHE_DIR");
            let exported = |command: &SimpleCommand| {
                command.program() == "export"
                    && command.arguments().iter().any(|word| word.text.starts_with("PIP_NO_CACHE_DIR="))
            };
            let by_command = assigned(package.command)
                || package.command.words.iter().any(|word| word.text.starts_with("PIP_NO_CACHE_DIR="))
                || commands.iter().take(package.index).any(exported);
            // Any value switches the cache off, `0` and `off` included: pip keeps that for compatibility.
            let by_environment = run
                .stage
                .is_some_and(|stage| context.environment_value(stage, run.index, "PIP_NO_CACHE_DIR").is_some());
            let cleaned = commands.iter().skip(package.index + 1).any(|command| removes(command, CACHE))
                || package_commands(&run.script).iter().any(|later| {
                    later.index > package.index && later.manager == Manager::Pip && later.action == Action::Clean
                });
            if by_command || by_environment || cleaned {
                continue;
            }
            let finding = report.report(package.command.span, "`pip install` without `--no-cache-dir`");
            if package.verb.span != run.instruction.span {
                finding
                    .safe_fix("Add `--no-cache-dir`", vec![TextEdit::insert(package.verb.span.end, " --no-cache-dir")]);
            }
        }
    }
}
