//! `platform-const`

use super::platform_redundant::{platform_violation, without_platform};
use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "platform-const",
    aliases: &["FromPlatformFlagConstDisallowed", "DL3029"],
    severity: Severity::Info,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "`FROM --platform` is a constant.",
    why: "The stage is then always of that platform, whatever `--platform` the build is asked for. A stage whose name says the \
          platform (`AS build-amd64`) is taken to mean it.",
    bad: "FROM --platform=linux/amd64 debian:12-slim\nUSER 10001\n",
    good: "FROM --platform=$BUILDPLATFORM debian:12-slim AS build\nFROM debian:12-slim AS tools-amd64\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for stage in &context.stages {
        if let Some(violation) = platform_violation(context, stage, "FromPlatformFlagConstDisallowed") {
            let finding = report.violation(violation).help("leave the flag out, or use `$BUILDPLATFORM`");
            if let Some(edit) = without_platform(context, stage) {
                finding.unsafe_fix("Remove the flag", vec![edit]);
            }
        }
    }
}
