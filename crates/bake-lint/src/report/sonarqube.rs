//! Generic issues of `SonarQube` (10.3 and later): rules with their kinds, and issues with places.

use std::collections::BTreeMap;

use bake_dockerfile::{Position, Severity, SourceText};
use serde_json::{Value, json};

use super::FileFindings;
use super::issue::{Issue, issues};
use crate::rule::Rule;

/// The document for `sonar.externalIssuesReportPaths`.
pub fn sonarqube(files: &[FileFindings<'_>]) -> String {
    let issues = issues(files);
    let rules: BTreeMap<&str, &Rule> = issues.iter().map(|issue| (issue.finding.rule.id, issue.finding.rule)).collect();
    let document = json!({
        "rules": rules.values().map(|rule| description(rule)).collect::<Vec<_>>(),
        "issues": issues.iter().map(value).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

fn description(rule: &Rule) -> Value {
    // Both ways of SonarQube to say how bad something is: it reads the one that its server is set to.
    let (kind, severity, impact) = match rule.severity {
        Severity::Error => ("BUG", "CRITICAL", "HIGH"),
        Severity::Warning => ("CODE_SMELL", "MAJOR", "MEDIUM"),
        Severity::Info => ("CODE_SMELL", "MINOR", "LOW"),
        Severity::Style => ("CODE_SMELL", "INFO", "INFO"),
    };
    let quality = if rule.severity == Severity::Error { "RELIABILITY" } else { "MAINTAINABILITY" };
    json!({
        "id": rule.id,
        "name": rule.summary,
        "description": rule.why,
        "engineId": "bake",
        "cleanCodeAttribute": "CONVENTIONAL",
        "type": kind,
        "severity": severity,
        "impacts": [{ "softwareQuality": quality, "severity": impact }],
    })
}

fn value(issue: &Issue<'_>) -> Value {
    let (start, end) = (column(issue.source, issue.start), column(issue.source, issue.end));
    let mut range = json!({ "startLine": issue.start.line, "endLine": issue.end.line });
    // An empty range is refused.
    if (issue.start.line, start) < (issue.end.line, end) {
        range["startColumn"] = json!(start);
        range["endColumn"] = json!(end);
    }
    json!({
        "ruleId": issue.finding.rule.id,
        "primaryLocation": { "message": issue.message(), "filePath": issue.path, "textRange": range },
    })
}

/// `SonarQube` counts columns from 0, in UTF-16 units.
fn column(source: &SourceText, position: Position) -> usize {
    let line = source.line(position.line);
    let line = if position.line == 1 { line.trim_start_matches('\u{feff}') } else { line };
    line.chars().take(position.column - 1).map(char::len_utf16).sum()
}
