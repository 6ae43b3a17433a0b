//! SARIF 2.1.0 (OASIS "Static Analysis Results Interchange Format"), as code hosts take it.

use bake_dockerfile::{Severity, SourceText, Span};
use serde_json::{Value, json};

use super::FileFindings;
use super::issue::{issue, path, places, url};
use crate::finding::Finding;
use crate::rule::Rule;

/// One run with all findings; `version` is that of the program. Every rule that found something is described. Columns count Unicode
/// code points (`columnKind`); fixes are given as replacements with exact regions (section 3.55).
pub fn sarif(files: &[FileFindings<'_>], version: &str) -> String {
    let mut rules: Vec<&'static Rule> =
        files.iter().flat_map(|file| file.findings).map(|finding| finding.rule).collect();
    rules.sort_by_key(|rule| rule.id);
    rules.dedup_by_key(|rule| rule.id);
    let results: Vec<Value> = files
        .iter()
        .flat_map(|file| file.findings.iter().map(|finding| result(file.source, finding, &rules)))
        .collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "bake",
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "semanticVersion": version,
                "rules": rules.iter().map(|rule| rule_description(rule)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{document:#}")
}

fn rule_description(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.summary },
        "fullDescription": { "text": rule.why },
        "helpUri": url(rule),
        "help": { "text": format!("{}\n\nInstead of\n\n{}\nwrite\n\n{}", rule.why, rule.bad, rule.good) },
        "defaultConfiguration": { "level": level(rule.severity) },
        "properties": { "aliases": rule.aliases },
    })
}

fn result(source: &SourceText, finding: &Finding, rules: &[&Rule]) -> Value {
    let mut result = json!({
        "ruleId": finding.rule.id,
        "level": level(finding.severity),
        "message": { "text": issue(source, finding).message() },
        "locations": [location(source, finding.span)],
    });
    if let Some(index) = rules.iter().position(|rule| rule.id == finding.rule.id) {
        result["ruleIndex"] = json!(index);
    }
    if !finding.labels.is_empty() {
        let related = finding.labels.iter().enumerate().map(|(index, (span, text))| {
            let mut location = location(source, *span);
            location["id"] = json!(index + 1);
            location["message"] = json!({ "text": text });
            location
        });
        result["relatedLocations"] = related.collect();
    }
    // A fix that only writes another file cannot be told here: a change has to replace something.
    if let Some(fix) = finding.fix.as_ref().filter(|fix| !fix.edits.is_empty()) {
        let replacements: Vec<Value> = fix
            .edits
            .iter()
            .map(|edit| json!({ "deletedRegion": region(source, edit.span), "insertedContent": { "text": edit.replacement } }))
            .collect();
        result["fixes"] = json!([{
            "description": { "text": fix.title },
            "artifactChanges": [{ "artifactLocation": { "uri": uri(path(source.name())) }, "replacements": replacements }],
            "properties": { "safe": fix.safe },
        }]);
    }
    result
}

fn location(source: &SourceText, span: Span) -> Value {
    json!({ "physicalLocation": {
        "artifactLocation": { "uri": uri(path(source.name())) },
        "region": region(source, span),
    }})
}

fn region(source: &SourceText, span: Span) -> Value {
    let (start, end) = places(source, span);
    json!({ "startLine": start.line, "startColumn": start.column, "endLine": end.line, "endColumn": end.column })
}

/// A path as a URI reference (RFC 3986): what is not allowed in one is percent-encoded.
fn uri(path: &str) -> String {
    let scheme = if path.starts_with('/') { "file://" } else { "" };
    let encoded = path.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'+' | b'@' | b',' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    std::iter::once(scheme.to_owned()).chain(encoded).collect()
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info | Severity::Style => "note",
    }
}
