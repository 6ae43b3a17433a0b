//! What the tests of rules share: a Dockerfile in, the lines of the findings out.

use bake_dockerfile::{SourceText, parse};

use crate::{Finding, LintOptions, lint};

/// The findings of every rule, those that are off by default included.
pub(crate) fn findings(text: &str) -> Vec<Finding> {
    let options = LintOptions { select: vec!["all".to_owned()], ..LintOptions::default() };
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

/// Checks that `rule` reports something in a `RUN` of each of the `bad` bodies, on the `RUN`, and nothing in the `good` ones.
pub(crate) fn check_bodies(rule: &str, bad: &[&str], good: &[&str]) {
    let flagged = |body: &&&str| {
        !lines(rule, &format!("FROM debian:12-slim\nARG GIVEN\nARG WITH_DEFAULT=1.2\nENV SET=/x\nRUN {body}\n"))
            .is_empty()
    };
    let missed: Vec<_> = bad.iter().filter(|body| !flagged(body)).collect();
    let wrong: Vec<_> = good.iter().filter(flagged).collect();
    assert!(missed.is_empty() && wrong.is_empty(), "{rule}: missed {missed:#?}, wrongly flagged {wrong:#?}");
}

/// The body of a `RUN` after the fixes of `rule`, unsafe ones too.
pub(crate) fn fixed_body(rule: &str, body: &str) -> String {
    let begin = "FROM debian:12-slim\nARG GIVEN\nENV SET=/x\nRUN ";
    let text = fixed(rule, &format!("{begin}{body}\n"));
    text.strip_prefix(begin).unwrap_or(&text).trim_end().to_owned()
}
