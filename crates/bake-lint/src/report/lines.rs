//! Forms with a line for each finding: GNU's error messages, workflow commands of GitHub, Codacy's results.

use std::fmt::Write as _;

use serde_json::json;

use super::FileFindings;
use super::issue::{issues, visible_line};

/// `FILE:LINE:COLUMN: SEVERITY: MESSAGE [RULE]` (GNU Coding Standards, section 4.4), which editors and `grep` understand.
pub fn gnu(files: &[FileFindings<'_>]) -> String {
    let mut text = String::new();
    for issue in issues(files) {
        let (path, severity, rule) = (visible_line(issue.path), issue.finding.severity, issue.finding.rule.id);
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            text,
            "{path}:{}:{}: {severity}: {} [{rule}]",
            issue.start.line,
            issue.start.column,
            issue.message()
        );
    }
    text
}

/// `::error file=...,line=...::MESSAGE`: GitHub shows them beside the lines of a pull request.
pub fn github(files: &[FileFindings<'_>]) -> String {
    let mut text = String::new();
    for issue in issues(files) {
        let command = issue.level("error", "warning", "notice");
        let (start, end) = (issue.start, issue.end);
        // Columns are for one line only.
        let columns = if start.line == end.line && start.column < end.column {
            format!(",col={},endColumn={}", start.column, end.column)
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "::{command} file={},line={},endLine={}{columns},title={}::{}",
            property(&visible_line(issue.path)),
            start.line,
            end.line,
            property(issue.finding.rule.id),
            data(&issue.message())
        );
    }
    text
}

/// Codacy's results of a tool: a JSON object a line with `filename`, `message`, `patternId` and `line`.
pub fn codacy(files: &[FileFindings<'_>]) -> String {
    let mut text = String::new();
    for issue in issues(files) {
        let result = json!({
            "filename": issue.path,
            "message": issue.message(),
            "patternId": issue.finding.rule.id,
            "line": issue.start.line,
        });
        let _ = writeln!(text, "{result}");
    }
    text
}

/// The message of a workflow command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value among the properties of a workflow command.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
