//! `yum-cache-left`

use super::prelude::*;
use crate::packages::removes;

pub(super) const RULE: Rule = Rule {
    id: "yum-cache-left",
    aliases: &["DL3032", "DL3036", "DL3040", "DS-0015", "DS-0019", "DS-0020", "DS-0027"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`yum`, `dnf`, `tdnf`, `microdnf` or `zypper` leaves its cache in the layer.",
    why: "Metadata and packages are kept for a next command that never runs. `clean all` must come after the install, in the same RUN.",
    bad: "FROM rockylinux:9\nRUN dnf install -y make\n",
    good: "FROM rockylinux:9\nRUN dnf install -y make && dnf clean all\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        let packages = package_commands(&run.script);
        let fills = |action| matches!(action, Action::Install | Action::Upgrade);
        for (position, package) in packages.iter().enumerate() {
            if !package.manager.is_rpm() || !fills(package.action) || package.has_option(&["--downloadonly", "--help"])
            {
                continue;
            }
            let caches: &[&str] = match package.manager {
                Manager::Yum => &["/var/cache/yum", "/var/cache/dnf"],
                Manager::Tdnf => &["/var/cache/tdnf"],
                Manager::Zypper => &["/var/cache/zypp"],
                _ => &["/var/cache/dnf", "/var/cache/libdnf5", "/var/cache/yum"],
            };
            let later = &packages[position + 1..];
            // Reported once, on the last command that fills the cache.
            let again = later.iter().any(|other| other.manager == package.manager && fills(other.action));
            let cleaned = later.iter().any(|other| other.manager.is_rpm() && other.action == Action::Clean)
                || run
                    .script
                    .commands
                    .iter()
                    .skip(package.index + 1)
                    .any(|c| caches.iter().any(|cache| removes(c, cache)))
                || caches.iter().any(|cache| run.is_mounted(cache))
                || package.has_option(&["--no-cache"]);
            if again || cleaned {
                continue;
            }
            let name = package.manager.name();
            let finding = report
                .report(package.command.span, format!("`{name} {}` leaves its cache in the layer", package.verb.text));
            let clean = if package.manager == Manager::Zypper {
                "zypper clean --all".to_owned()
            } else {
                format!("{name} clean all")
            };
            match context.append_command(run, &clean) {
                Some(edit) => finding.safe_fix(format!("Add `{clean}`"), vec![edit]),
                None => finding.help(format!("run `{clean}` at the end of this RUN")),
            };
        }
    }
}
