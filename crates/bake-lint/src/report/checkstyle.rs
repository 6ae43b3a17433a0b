//! Checkstyle's XML, which many review tools read.

use std::fmt::Write as _;

use super::FileFindings;
use super::issue::{issue, path, xml};

/// One `file` for each file with findings; `source` of an error is `bake.RULE`.
pub fn checkstyle(files: &[FileFindings<'_>]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<checkstyle version=\"4.3\">\n");
    for file in files.iter().filter(|file| !file.findings.is_empty()) {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "  <file name=\"{}\">", xml(path(file.source.name())));
        for issue in file.findings.iter().map(|finding| issue(file.source, finding)) {
            let _ = writeln!(
                text,
                "    <error line=\"{}\" column=\"{}\" severity=\"{}\" message=\"{}\" source=\"bake.{}\"/>",
                issue.start.line,
                issue.start.column,
                issue.level("error", "warning", "info"),
                xml(&issue.message()),
                issue.finding.rule.id,
            );
        }
        text.push_str("  </file>\n");
    }
    text.push_str("</checkstyle>\n");
    text
}
