//! `apt-missing-yes`

use super::prelude::*;
use crate::packages::PackageCommand;

pub(super) const RULE: Rule = Rule {
    id: "apt-missing-yes",
    aliases: &["DL3014", "DS-0021", "AVD-DS-0021"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`apt-get install` without `-y` would ask, and there is nobody to answer.",
    why: "The question gets no answer and the build fails. `-qq`, `yes |` and an `apt.conf` that assumes yes are understood.",
    bad: "FROM debian:12-slim\nRUN apt-get update && apt-get install --no-install-recommends make && rm -rf /var/lib/apt/lists/*\n",
    good: "FROM debian:12-slim\n\
           RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for package in package_commands(&run.script) {
            let asks = matches!(package.action, Action::Install | Action::Upgrade | Action::Remove)
                && !matches!(package.verb.text.as_str(), "autoremove" | "autopurge");
            if !package.manager.is_apt() || !asks || package.answers_itself() {
                continue;
            }
            if !context.is_apt_configured(run, package.index, &["assume-yes", "force-yes"]) {
                report_missing(run, &package, report);
            }
        }
    }
}

/// Reports that `-y` is missing; shared by the package managers.
pub(super) fn report_missing(run: &RunFacts<'_>, package: &PackageCommand<'_>, report: &mut Reporter<'_>) {
    let (name, verb) = (package.manager.name(), &package.verb.text);
    let finding = report.report(package.command.span, format!("`{name} {verb}` without `-y` waits for an answer"));
    if package.verb.span != run.instruction.span {
        finding.safe_fix("Add `-y`", vec![TextEdit::insert(package.verb.span.end, " -y")]);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn all_forms_of_yes_are_known() {
        for command in [
            "apt-get -qqy install x",
            "apt-get install --assume-yes x",
            "apt-get -qq install x",
            "apt-get -o APT::Get::Assume-Yes=true install x",
            "yes | apt-get install x",
            "sudo -E apt-get install -y x",
            "apt-get install -q=2 x",
            "echo 'APT::Get::Assume-Yes \"true\";' > /etc/apt/apt.conf.d/99x && apt-get install x",
        ] {
            assert_eq!(lines("apt-missing-yes", &format!("FROM debian:12\nRUN {command}\n")), [0; 0], "{command}");
        }
        for command in [
            "apt-get -q install x",
            "apt install x",
            "bash -c \"apt-get install x\"",
            "if a; then apt-get install x; fi",
            "x=$(apt-get install x)",
            "echo 'APT::Install-Recommends \"0\";' > /etc/apt/apt.conf.d/99x && apt-get install x",
        ] {
            assert_eq!(lines("apt-missing-yes", &format!("FROM debian:12\nRUN {command}\n")), [2], "{command}");
        }
    }

    #[test]
    fn the_option_is_inserted() {
        let text = "FROM debian:12\nRUN bash -c \"apt-get install x\"\n";
        assert_eq!(fixed("apt-missing-yes", text), "FROM debian:12\nRUN bash -c \"apt-get install -y x\"\n");
    }
}
