//! `dist-upgrade`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "dist-upgrade",
    aliases: &["DL3005", "DS-0024", "apk-upgrade", "DL3017", "DL3031", "DL3035", "DL3039", "DKL-DI-0003"],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "All packages of the base image are upgraded.",
    why: "A newer base image gives the same with smaller layers and a name to refer to. Off by default: it is also how holes are closed \
          between releases of a base image.",
    bad: "FROM alpine:3.20\nRUN apk upgrade --no-cache\n",
    good: "FROM alpine:3.20\nRUN apk add --no-cache curl\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for package in package_commands(&run.script) {
            // Naming packages upgrades just those.
            if package.action == Action::Upgrade && package.operands.is_empty() {
                let text = format!("`{} {}` upgrades the base image", package.manager.name(), package.verb.text);
                report.report(package.command.span, text);
            }
        }
    }
}
