//! `parse-error`

use super::prelude::*;
use bake_dockerfile::{Code, Diagnostic, diagnostic::code};

pub(super) const RULE: Rule = Rule {
    id: "parse-error",
    aliases: &["DL1000", "DL3021", "DL3043", "DS-0011"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "An instruction cannot be read, so the file cannot be built.",
    why: "The build stops before its first step. Reading goes on with the next instruction, so all mistakes are reported at once.",
    bad: "FROM debian:12-slim\nCOPY onlyone\nUSER 10001\n",
    good: "FROM debian:12-slim\nCOPY one /two\nUSER 10001\n",
    check,
};

/// Codes that have a rule of their own.
const OTHERS: [Code; 5] = [code::UNKNOWN_INSTRUCTION, code::ONBUILD, code::ORDER, code::EMPTY_CONTINUATION, code::JSON];

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for diagnostic in context.dockerfile.diagnostics.iter().filter(|diagnostic| !OTHERS.contains(&diagnostic.code)) {
        report_diagnostic(diagnostic, report);
    }
}

/// Reports what the parser said under one code.
pub(super) fn report_code(context: &LintContext<'_>, code: Code, report: &mut Reporter<'_>) {
    for diagnostic in context.dockerfile.diagnostics.iter().filter(|diagnostic| diagnostic.code == code) {
        report_diagnostic(diagnostic, report);
    }
}

fn report_diagnostic(diagnostic: &Diagnostic, report: &mut Reporter<'_>) {
    let finding = report.report(diagnostic.span, diagnostic.message.clone());
    finding.severity(diagnostic.severity);
    finding.labels.clone_from(&diagnostic.labels);
    finding.help.clone_from(&diagnostic.help);
    if let Some(first) = diagnostic.fix.first() {
        let edits = diagnostic.fix.iter().map(|edit| TextEdit::replace(edit.span, edit.replacement.clone())).collect();
        if diagnostic.fix.iter().all(|edit| edit.safe) {
            finding.safe_fix(first.title.clone(), edits);
        } else {
            finding.unsafe_fix(first.title.clone(), edits);
        }
    }
}
