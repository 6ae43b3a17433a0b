//! Findings as the protocol's diagnostics.

use bake_dockerfile::Severity;
use bake_lint::Finding;
use serde_json::{Value, json};

use crate::document::Document;

/// Rules whose findings are about something that could go: editors show it faded.
const UNNECESSARY: [&str; 4] = ["stage-unused", "unused-suppression", "platform-redundant", "empty-continuation"];

/// Rules about what is no longer to be used: editors strike it through.
const DEPRECATED: [&str; 2] = ["maintainer", "legacy-key-value"];

/// All findings of a document.
pub(crate) fn diagnostics(document: &Document) -> Vec<Value> {
    document.findings.iter().map(|finding| diagnostic(document, finding)).collect()
}

/// One finding.
pub(crate) fn diagnostic(document: &Document, finding: &Finding) -> Value {
    let severity = match finding.severity {
        Severity::Error => 1,
        Severity::Warning => 2,
        Severity::Info => 3,
        Severity::Style => 4,
    };
    let help = finding.help.as_ref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    let mut diagnostic = json!({
        "range": document.range(finding.span),
        "severity": severity,
        "code": finding.rule.id,
        "source": "bake",
        "message": format!("{}{help}", finding.message),
    });
    if !finding.labels.is_empty() {
        let place = |span| json!({ "uri": document.uri, "range": document.range(span) });
        let labels = finding.labels.iter().map(|(span, text)| json!({ "location": place(*span), "message": text }));
        diagnostic["relatedInformation"] = labels.collect();
    }
    if UNNECESSARY.contains(&finding.rule.id) {
        diagnostic["tags"] = json!([1]);
    } else if DEPRECATED.contains(&finding.rule.id) {
        diagnostic["tags"] = json!([2]);
    }
    diagnostic
}

#[cfg(test)]
mod tests {
    use super::{DEPRECATED, UNNECESSARY};

    #[test]
    fn rules_with_tags_exist() {
        for name in UNNECESSARY.iter().chain(&DEPRECATED) {
            assert!(bake_lint::RULES.iter().any(|rule| rule.id == *name), "{name}");
        }
    }
}
