//! `apk-no-cache`

use super::prelude::*;
use crate::packages::{PackageCommand, removes};
use crate::shell::Script;

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
            if package.manager != Manager::Apk
                || package.action != Action::Install
                || package.has_option(&["--no-cache", "--no-network"])
            {
                continue;
            }
            if run.script.commands.iter().skip(package.index + 1).any(|command| removes(command, CACHE)) {
                continue;
            }
            let finding = report.report(package.command.span, "`apk add` without `--no-cache`");
            if package.verb.span != run.instruction.span {
                let mut edits = vec![TextEdit::insert(package.verb.span.end, " --no-cache")];
                // With the option the index is fetched anyway, and the one that `apk update` fetched would stay.
                edits.extend(update_before(&package, &run.script).and_then(|index| context.delete_command(run, index)));
                finding.safe_fix("Add `--no-cache`", edits);
            }
        }
    }
}

/// The `apk update` right before an `apk add`, as an index into the commands.
fn update_before(add: &PackageCommand<'_>, script: &Script) -> Option<usize> {
    let index = add.index.checked_sub(1)?;
    let packages = package_commands(script);
    let before = packages.iter().find(|package| package.index == index && package.manager == Manager::Apk)?;
    (before.action == Action::Update && before.operands.is_empty()).then_some(index)
}

#[cfg(test)]
mod tests {
    use crate::testing::fixed;

    #[test]
    fn the_option_makes_an_update_needless() {
        for (command, expected) in [
            ("apk update && apk add curl", "apk add --no-cache curl"),
            ("x && apk update && \\\n    apk add curl", "x && \\\n    apk add --no-cache curl"),
            ("apk update; apk add curl", "apk update; apk add --no-cache curl"),
            ("apk add -U curl", "apk add --no-cache -U curl"),
        ] {
            assert_eq!(
                fixed("apk-no-cache", &format!("FROM a:1\nRUN {command}\n")),
                format!("FROM a:1\nRUN {expected}\n")
            );
        }
    }
}
