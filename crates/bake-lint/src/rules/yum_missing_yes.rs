//! `yum-missing-yes`

use super::apt_missing_yes::report_missing;
use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "yum-missing-yes",
    aliases: &["DL3030", "DL3034", "DL3038", "DS-0021"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`yum`, `dnf`, `tdnf` or `zypper` would ask before it installs, and there is nobody to answer.",
    why: "The question gets no answer and the build fails.",
    bad: "FROM rockylinux:9\nRUN dnf install make && dnf clean all\n",
    good: "FROM rockylinux:9\nRUN dnf install -y make && dnf clean all\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for package in package_commands(&run.script) {
            // microdnf never asks.
            let asks = package.manager.is_rpm() && package.manager != Manager::Microdnf;
            let changes = matches!(package.action, Action::Install | Action::Upgrade | Action::Remove);
            if asks && changes && !package.answers_itself() {
                report_missing(run, &package, report);
            }
        }
    }
}
