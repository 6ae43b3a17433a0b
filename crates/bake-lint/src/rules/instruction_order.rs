//! `instruction-order`

use super::parse_error::report_code;
use super::prelude::*;
use bake_dockerfile::diagnostic::code;

pub(super) const RULE: Rule = Rule {
    id: "instruction-order",
    aliases: &["DL3061"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::None,
    summary: "Something other than `ARG` stands before the first `FROM`, or there is no stage at all.",
    why: "There is nothing yet that the instruction could apply to: the build stops before its first step.",
    bad: "RUN true\nFROM debian:12-slim\nUSER 10001\n",
    good: "ARG TAG=12-slim\nFROM debian:$TAG\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    report_code(context, code::ORDER, report);
}
