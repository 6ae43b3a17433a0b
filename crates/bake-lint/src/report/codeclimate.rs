//! Code Climate's issues, and GitLab's code quality report, which is made of them.

use std::collections::HashMap;
use std::fmt::Write as _;

use bake_dockerfile::Severity;
use serde_json::{Value, json};

use super::FileFindings;
use super::issue::{Issue, issues};

/// A fingerprint is a MD5 sum in the examples of both; any text of that length does.
const FINGERPRINT_LENGTH: usize = 32;

/// Code Climate's engine format: one JSON document for each issue, each ended by a NUL character.
pub fn codeclimate(files: &[FileFindings<'_>]) -> String {
    let mut text = String::new();
    for value in values(files) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{value}\0");
    }
    text
}

/// GitLab's code quality report: a JSON array of issues with `description`, `check_name`, `fingerprint`, `severity` and `location`.
pub fn gitlab(files: &[FileFindings<'_>]) -> String {
    format!("{:#}\n", Value::Array(values(files)))
}

fn values(files: &[FileFindings<'_>]) -> Vec<Value> {
    let mut seen = HashMap::new();
    issues(files).iter().map(|issue| value(issue, &issue.fingerprint(&mut seen, FINGERPRINT_LENGTH))).collect()
}

fn value(issue: &Issue<'_>, fingerprint: &str) -> Value {
    let rule = issue.finding.rule;
    let (severity, category) = match issue.finding.severity {
        Severity::Error => ("critical", "Bug Risk"),
        Severity::Warning => ("major", "Bug Risk"),
        Severity::Info => ("minor", "Style"),
        Severity::Style => ("info", "Style"),
    };
    json!({
        "type": "issue",
        "check_name": rule.id,
        "description": issue.message(),
        "content": { "body": format!("{}\n\n{}", rule.summary, rule.why) },
        "categories": [category],
        "severity": severity,
        "fingerprint": fingerprint,
        "location": {
            "path": issue.path,
            "lines": { "begin": issue.start.line, "end": issue.end.line },
        },
    })
}
