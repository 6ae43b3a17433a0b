//! `expose-proto-casing`

use super::prelude::*;

pub(super) const RULE: Rule = Rule {
    id: "expose-proto-casing",
    aliases: &["ExposeProtoCasing"],
    severity: Severity::Style,
    default: true,
    since: 2026,
    fix: FixSafety::Safe,
    summary: "The protocol in `EXPOSE` has capital letters.",
    why: "Protocols are written in lower case in the image's configuration.",
    bad: "FROM debian:12-slim\nEXPOSE 53/UDP\nUSER 10001\n",
    good: "FROM debian:12-slim\nEXPOSE 53/udp\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    for located in &context.instructions {
        let InstructionKind::Expose(words) = &located.instruction.kind else { continue };
        for word in words {
            let Some((_, protocol)) = word.value.rsplit_once('/') else { continue };
            if !protocol.contains('$') && protocol.chars().any(char::is_uppercase) {
                let span = Span::new(word.span.end - protocol.len(), word.span.end);
                let finding = report.report(word.span, format!("Defined protocol `{}` in EXPOSE should be lowercase", word.value));
                if context.source(span) == protocol {
                    finding.safe_fix("Use lower case", vec![TextEdit::replace(span, protocol.to_lowercase())]);
                }
            }
        }
    }
}
