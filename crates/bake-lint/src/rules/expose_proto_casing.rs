//! `expose-proto-casing`

use super::prelude::*;
use crate::context::Located;
use bake_checks::{Violation, port};
use bake_dockerfile::instruction::Word;

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
        for (word, violation) in port_violations(context, *located, "ExposeProtoCasing") {
            let finding = report.violation(violation);
            if let Some((_, protocol)) = word.value.rsplit_once('/').filter(|(_, protocol)| !protocol.contains('$')) {
                let span = Span::new(word.span.end - protocol.len(), word.span.end);
                if context.source(span) == protocol {
                    finding.safe_fix("Use lower case", vec![TextEdit::replace(span, protocol.to_lowercase())]);
                }
            }
        }
    }
}

/// What the build check of this name finds in the ports of an `EXPOSE`, with the word of each; ports that cannot be told are left out.
/// Shared by the two rules about them.
pub(super) fn port_violations<'a>(
    context: &LintContext<'a>,
    located: Located<'a>,
    check: &'static str,
) -> Vec<(&'a Word, Violation)> {
    let (InstructionKind::Expose(words), Some(stage)) = (&located.instruction.kind, located.stage) else {
        return Vec::new();
    };
    let of_word = |word: &'a Word| {
        let ports = context.expanded_word(stage, located.index, word).unwrap_or_default();
        let found: Vec<Violation> = ports.split_whitespace().flat_map(|text| port(text, word.span)).collect();
        found.into_iter().filter(|violation| violation.check.name == check).map(move |violation| (word, violation))
    };
    words.iter().flat_map(of_word).collect()
}
