//! What the tests of rules share: a Dockerfile in, the lines of the findings out.

use bake_dockerfile::{SourceText, parse};

use crate::{Finding, LintOptions, lint};

/// The findings of every rule, those that are off by default included.
pub(crate) fn findings(text: &str) -> Vec<Finding> {
    let measurements = crate::rules::example_measurements(text);
    let options = LintOptions { select: vec!["all".to_owned()], measurements, ..LintOptions::default() };
    lint(&parse(SourceText::new("Dockerfile", text)), &options)
}

/// The lines on which `rule` reports something.
pub(crate) fn lines(rule: &str, text: &str) -> Vec<usize> {
    let source = SourceText::new("Dockerfile", text);
    let mut lines: Vec<usize> =
        findings(text).iter().filter(|f| f.rule.id == rule).map(|f| source.position(f.span.start).line).collect();
    lines.dedup();
    lines
}

/// `text` after the fixes of `rule`, unsafe ones too.
pub(crate) fn fixed(rule: &str, text: &str) -> String {
    let findings: Vec<Finding> = findings(text).into_iter().filter(|f| f.rule.id == rule).collect();
    crate::fix::apply_fixes(text, &findings, true).text
}
