//! The XML of `JUnit`, for dashboards of test results: a suite for each file, a failed case for each finding, a passed one for a clean file.

use std::fmt::Write as _;

use bake_dockerfile::Severity;

use super::FileFindings;
use super::issue::{issue, path, xml};

/// Findings of severity error are `error`s, all others `failure`s.
pub fn junit(files: &[FileFindings<'_>]) -> String {
    let mut suites = String::new();
    let (mut tests, mut failures, mut errors) = (0, 0, 0);
    for file in files {
        let name = xml(path(file.source.name()));
        let broken = file.findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        let (cases, failed) = (file.findings.len().max(1), file.findings.len() - broken);
        (tests, failures, errors) = (tests + cases, failures + failed, errors + broken);
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            suites,
            "  <testsuite name=\"{name}\" tests=\"{cases}\" failures=\"{failed}\" errors=\"{broken}\">"
        );
        if file.findings.is_empty() {
            let _ = writeln!(suites, "    <testcase classname=\"{name}\" name=\"bake lint\"/>");
        }
        for issue in file.findings.iter().map(|finding| issue(file.source, finding)) {
            let element = if issue.finding.severity == Severity::Error { "error" } else { "failure" };
            let (rule, line, column) = (issue.finding.rule.id, issue.start.line, issue.start.column);
            let message = xml(&issue.message());
            let _ = writeln!(
                suites,
                "    <testcase classname=\"{name}\" name=\"{rule} ({line}:{column})\" file=\"{name}\" line=\"{line}\">\n      \
                 <{element} type=\"{}\" message=\"{message}\">{name}:{line}:{column}: {message} [{rule}]</{element}>\n    </testcase>",
                issue.finding.severity,
            );
        }
        suites.push_str("  </testsuite>\n");
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"bake lint\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\">\n{suites}</testsuites>\n"
    )
}
