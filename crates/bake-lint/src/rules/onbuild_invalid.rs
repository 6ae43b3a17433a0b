//! `onbuild-invalid`

use super::parse_error::report_code;
use super::prelude::*;
use bake_dockerfile::diagnostic::code;

pub(super) const RULE: Rule = Rule {
    id: "onbuild-invalid",
    aliases: &["DL3043"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "`ONBUILD` of an instruction that may not be a trigger: `ONBUILD`, `FROM`, `MAINTAINER`.",
    why: "The build stops before its first step.",
    bad: "FROM debian:12-slim\nONBUILD ONBUILD RUN true\nUSER 10001\n",
    good: "FROM debian:12-slim\nONBUILD RUN true\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    report_code(context, code::ONBUILD, report);
}
