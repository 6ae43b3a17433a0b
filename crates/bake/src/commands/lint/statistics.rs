//! How many findings there are of each rule.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bake::cli::LintFormat;
use bake_dockerfile::Severity;
use serde::Serialize;

use super::Checked;

/// The findings of one rule.
#[derive(Debug, Serialize)]
struct Count {
    rule: &'static str,
    severity: String,
    /// How many there are.
    #[serde(rename = "count")]
    findings: usize,
    /// How many of them have a fix that keeps the image's meaning.
    fixable: usize,
}

/// The counts, the most frequent rule first: a table, or as JSON a list of objects with `rule`, `severity`, `count` and `fixable`.
pub(super) fn text(checked: &[Checked], format: LintFormat) -> String {
    let mut counts: BTreeMap<(&'static str, Severity), Count> = BTreeMap::new();
    for finding in checked.iter().flat_map(|file| &file.findings) {
        let (rule, severity) = (finding.rule.id, finding.severity);
        let count = counts.entry((rule, severity)).or_insert_with(|| Count {
            rule,
            severity: severity.to_string(),
            findings: 0,
            fixable: 0,
        });
        count.findings += 1;
        count.fixable += usize::from(finding.fix.as_ref().is_some_and(|fix| fix.safe));
    }
    let mut counts: Vec<Count> = counts.into_values().collect();
    counts.sort_by_key(|count| (std::cmp::Reverse(count.findings), count.rule));
    if format == LintFormat::Json {
        // Only maps with keys that are no strings could fail, and there are none.
        return format!("{}\n", serde_json::to_string_pretty(&counts).unwrap_or_default());
    }
    let mut text = String::new();
    for Count { rule, severity, findings, fixable } in counts {
        let fixable = if fixable > 0 { format!("  ({fixable} fixable)") } else { String::new() };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{findings:>6}  {severity:<7}  {rule}{fixable}");
    }
    text
}
