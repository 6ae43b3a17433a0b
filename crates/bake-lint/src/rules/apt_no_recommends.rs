//! `apt-no-recommends`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "apt-no-recommends",
    aliases: &["DL3015", "DS-0029", "AVD-DS-0029"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`apt-get install` also installs what packages merely recommend.",
    why: "Recommended packages often outweigh the wanted ones, and each is something more to keep patched. Stages that are only copied \
          from do not count.",
    bad: "FROM debian:12-slim\nRUN apt-get update && apt-get install -y make && rm -rf /var/lib/apt/lists/*\n",
    good: "FROM debian:12-slim\n\
           RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        if !run.onbuild && !run.stage.is_some_and(|stage| context.stages[stage].in_result) {
            continue;
        }
        for package in package_commands(&run.script) {
            // What a package needs to be built is wanted for a moment, with all that helps.
            let installs =
                package.manager.is_apt() && package.action == Action::Install && package.verb.text != "build-dep";
            let says = package.has_option(&["--no-install-recommends", "--install-recommends", "--without-recommends"])
                || (package.manager == Manager::Aptitude && package.has_letter('R'))
                || package.configures("apt::install-recommends", &["0", "false", "no"]);
            if !installs || says || context.is_apt_configured(run, package.index, &["install-recommends"]) {
                continue;
            }
            let finding = report
                .report(package.command.span, format!("`{} install` with recommended packages", package.manager.name()))
                .help("add `--no-install-recommends` and name what is really needed");
            if package.verb.span != run.instruction.span {
                let edit = TextEdit::insert(package.verb.span.end, " --no-install-recommends");
                finding.unsafe_fix("Add `--no-install-recommends`", vec![edit]);
            }
        }
    }
}
