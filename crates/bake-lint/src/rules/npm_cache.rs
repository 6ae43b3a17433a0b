//! `npm-cache`

use super::prelude::*;
use crate::packages::{PackageCommand, removes};
use bake_dockerfile::instruction::CopySource;

pub(super) const RULE: Rule = Rule {
    id: "npm-cache",
    aliases: &[],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`npm install` or `npm ci` leaves its download cache in the layer.",
    why: "Every package is in the image twice: installed, and in `~/.npm`. A cache mount avoids that and makes the next build faster.",
    bad: "FROM node:22-slim\nRUN npm ci\nUSER node\n",
    good: "FROM node:22-slim\nRUN --mount=type=cache,target=/root/.npm npm ci\nUSER node\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    check_manager(context, report, Manager::Npm, &["/root/.npm", "/root/.cache"], "npm cache clean --force");
}

/// Reports installs of `manager` after which nothing empties one of `caches`; shared with yarn.
pub(super) fn check_manager(
    context: &LintContext<'_>,
    report: &mut Reporter<'_>,
    manager: Manager,
    caches: &[&str],
    clean: &str,
) {
    let name = manager.name();
    for run in &context.runs {
        if caches.iter().any(|cache| run.is_mounted(cache)) || run.has_mount_named(name) {
            continue;
        }
        let packages = package_commands(&run.script);
        let of_manager = || packages.iter().filter(|package| package.manager == manager);
        let Some(last) = of_manager().rfind(|package| package.action == Action::Install) else { continue };
        if manager == Manager::Yarn && runs_from_cache(context, run, last) {
            continue;
        }
        let cleaned = of_manager().any(|package| package.index > last.index && package.action == Action::Clean)
            || run.script.commands.iter().skip(last.index + 1).any(|c| caches.iter().any(|cache| removes(c, cache)))
            || last.option_value(&["--cache", "--cache-folder"]).is_some_and(|folder| folder.starts_with("/tmp"));
        if cleaned {
            continue;
        }
        let finding = report
            .report(last.command.span, format!("`{name}` leaves its cache in the layer"))
            .help(format!("give the RUN `--mount=type=cache,target={}`, or end it with `{clean}`", caches[0]));
        if let Some(edit) = context.append_command(run, clean) {
            finding.safe_fix(format!("Add `{clean}`"), vec![edit]);
        }
    }
}

/// Whether yarn is a version (2 and later) that may run packages out of its cache, which is then no waste and must not be emptied.
fn runs_from_cache(context: &LintContext<'_>, run: &RunFacts<'_>, install: &PackageCommand<'_>) -> bool {
    let is_sign = |path: &str| path.split('/').any(|part| matches!(part, ".yarn" | ".yarnrc.yml" | ".pnp.cjs"));
    let copies_sign = |instruction: &Instruction| match &instruction.kind {
        InstructionKind::Copy(copy) => copy.sources.iter().any(|source| match source {
            CopySource::Path(word) => is_sign(&word.value),
            CopySource::Heredoc(_) => false,
        }),
        _ => false,
    };
    let copied_before = |stage| context.history(stage, run.index).any(|located| copies_sign(located.instruction));
    install.has_option(&["--immutable", "--immutable-cache", "--check-cache"]) || run.stage.is_some_and(copied_before)
}
