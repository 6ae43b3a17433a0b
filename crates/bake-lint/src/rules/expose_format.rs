//! `expose-format`

use super::expose_proto_casing::port_violations;
use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "expose-format",
    aliases: &["ExposeInvalidFormat"],
    severity: Severity::Error,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "`EXPOSE` names an address or a port of the host.",
    why: "An image can only say which ports of its own it serves; where they appear on the host is decided by whoever runs it.",
    bad: "FROM debian:12-slim\nEXPOSE 127.0.0.1:80:8080\nUSER 10001\n",
    good: "FROM debian:12-slim\nEXPOSE 8080\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        for (word, violation) in port_violations(context, *located, "ExposeInvalidFormat") {
            let finding = report.violation(violation);
            let port = word.value.rsplit_once(':').map(|(_, port)| port);
            if let Some(port) = port.filter(|port| !port.is_empty() && context.source(word.span) == word.value) {
                finding.safe_fix("Keep the port of the container", vec![TextEdit::replace(word.span, port)]);
            }
        }
    }
}
