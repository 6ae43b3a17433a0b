//! What the tests of rules share: a Dockerfile in, the lines of the findings out.

use bake_dockerfile::{SourceText, parse};

use crate::{BuildContext, Finding, Found, IgnoreFile, LintOptions, UnwantedPath, lint};

/// The findings of every rule, those that are off by default included.
pub(crate) fn findings(text: &str) -> Vec<Finding> {
    let measurements = crate::rules::example_measurements(text);
    let options = LintOptions { select: vec!["all".to_owned()], measurements, ..LintOptions::default() };
    lint(&parse(SourceText::new("Dockerfile", text)), &options)
}

/// The findings with these options.
pub(crate) fn findings_with(text: &str, options: &LintOptions) -> Vec<Finding> {
    lint(&parse(SourceText::new("Dockerfile", text)), options)
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

/// A build context of listed files.
#[derive(Debug, Clone)]
pub(crate) struct ListedContext {
    files: Vec<String>,
    /// The patterns of its ignore file.
    pub(crate) ignore_file: Option<Vec<String>>,
    /// Path, bytes, whether secret.
    pub(crate) unwanted: Vec<(&'static str, u64, bool)>,
}

impl ListedContext {
    pub(crate) fn new(files: &[&str], ignored: &[&str]) -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Self { files: owned(files), ignore_file: Some(owned(ignored)), unwanted: Vec::new() }
    }

    /// Options with this context.
    pub(crate) fn options(&self) -> LintOptions {
        LintOptions { context: Some(std::sync::Arc::new(self.clone())), ..LintOptions::default() }
    }
}

impl BuildContext for ListedContext {
    fn ignore_file(&self) -> Option<IgnoreFile> {
        let patterns = self.ignore_file.as_ref()?;
        Some(IgnoreFile { name: ".dockerignore".to_owned(), text: patterns.join("\n") })
    }

    fn find(&self, source: &str) -> Found {
        let text = self.ignore_file.clone().unwrap_or_default().join("\n");
        let pattern = bake_dockerfile::IgnoreFile::parse(text.as_bytes())
            .ok()
            .and_then(|patterns| patterns.deciding_pattern(source).map(ToString::to_string));
        if let Some(pattern) = pattern {
            return Found::Ignored { pattern };
        }
        let below = |file: &String| file == source || file.starts_with(&format!("{source}/"));
        if self.files.iter().any(below) {
            return Found::Present;
        }
        let near = bake_dockerfile::suggest(source, self.files.iter().map(String::as_str), true).map(str::to_owned);
        Found::Missing { near }
    }

    fn unwanted(&self) -> Vec<UnwantedPath> {
        let path_of = |(path, bytes, secret): &(&'static str, u64, bool)| UnwantedPath {
            path: (*path).to_owned(),
            bytes: *bytes,
            secret: *secret,
        };
        self.unwanted.iter().map(path_of).collect()
    }
}
