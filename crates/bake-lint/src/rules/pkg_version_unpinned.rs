//! `pkg-version-unpinned`

use super::prelude::*;
use crate::packages::PackageCommand;

pub(super) const RULE: Rule = Rule {
    id: "pkg-version-unpinned",
    aliases: &["DL3008", "DL3013", "DL3016", "DL3018", "DL3028", "DL3033", "DL3037", "DL3041", "DL3062"],
    severity: Severity::Info,
    default: false,
    since: 2026,
    fix: FixSafety::None,
    summary: "A package is installed without a version.",
    why: "Builds on different days get different versions. Off by default: distributions remove old versions from their mirrors, so \
          pins break builds; a snapshot mirror keeps both promises.",
    bad: "FROM debian:12-slim\nRUN apt-get update && apt-get install -y --no-install-recommends make\n",
    good: "FROM debian:12-slim\nRUN apt-get update && apt-get install -y --no-install-recommends make=4.3-4.1\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for run in &context.runs {
        for package in package_commands(&run.script).iter().filter(|package| package.action == Action::Install) {
            if let Some(name) = unpinned(package) {
                let message = format!("`{name}` is installed by {} without a version", package.manager.name());
                report.report(package.command.span, message);
            }
        }
        for command in &run.script.commands {
            if let Some(module) = unpinned_module(command) {
                report.report(command.span, format!("`{module}` is installed by go without a version"));
            }
        }
    }
}

/// What `go install` or `go get` fetches in whatever version is the latest.
fn unpinned_module(command: &SimpleCommand) -> Option<&str> {
    let mut operands = command.operands();
    let verb = operands.next()?;
    if command.program() != "go" || !matches!(verb.text.as_str(), "install" | "get") {
        return None;
    }
    let is_latest = |text: &&str| match text.split_once('@') {
        Some((_, version)) => version == "latest",
        // Without a version `go install` builds what is there, and `go get` takes the latest.
        None => verb.text == "get" && !text.starts_with(['.', '/']) && text.contains('.'),
    };
    operands.map(|word| word.text.as_str()).find(is_latest)
}

/// The first operand that names a package without a version.
fn unpinned<'s>(package: &PackageCommand<'s>) -> Option<&'s str> {
    let is_file = |text: &str| {
        text.contains('/')
            || [".deb", ".rpm", ".apk", ".whl", ".gem", ".tgz", ".tar.gz"].iter().any(|e| text.ends_with(e))
    };
    let pinned: fn(&str) -> bool = match package.manager {
        Manager::AptGet | Manager::Apt | Manager::Aptitude => |text| text.contains('='),
        Manager::Apk => |text| text.contains(['=', '<', '>', '~']),
        Manager::Yum | Manager::Dnf | Manager::Tdnf | Manager::Microdnf => {
            // `make-4.3`: a dash before a digit.
            |text| {
                text.starts_with('@')
                    || text.split('-').skip(1).any(|part| part.starts_with(|c: char| c.is_ascii_digit()))
            }
        }
        Manager::Zypper => |text| text.contains(['=', '<', '>']),
        Manager::Pip => |text| text.contains(['=', '<', '>', '~', '@']) || text == ".",
        Manager::Npm | Manager::Yarn => |text| text.get(1..).is_some_and(|rest| rest.contains('@')),
        Manager::Gem => |text| text.contains(':'),
    };
    let by_option = match package.manager {
        manager if manager.is_apt() => package.option_value(&["-t", "--target-release", "--default-release"]).is_some(),
        Manager::Pip => {
            package.has_option(&["-r", "--requirement", "-c", "--constraint", "-e", "--editable", "--require-hashes"])
        }
        Manager::Gem => package.has_option(&["-v", "--version"]),
        Manager::Npm => matches!(package.verb.text.as_str(), "ci" | "clean-install"),
        _ => false,
    };
    if by_option {
        return None;
    }
    let names = package.operands.iter().filter(|word| !word.text.contains('$') && !word.text.starts_with('>'));
    names.map(|word| word.text.as_str()).find(|text| !pinned(text) && (!is_file(text) || text.starts_with('@')))
}
