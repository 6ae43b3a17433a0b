//! What rules report.

use bake_dockerfile::{Code, Diagnostic, Severity, Span};

use crate::rule::Rule;

/// One thing that a rule found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The number of another program's check, such as `SC2086`, for what that program said.
    pub code: Option<String>,
    /// How serious it is, overrides applied.
    pub severity: Severity,
    /// What is wrong, one sentence without a final period.
    pub message: String,
    /// The offending token.
    pub span: Span,
    /// Other places that explain it.
    pub labels: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Option<String>,
    /// How to change the text.
    pub fix: Option<Fix>,
    /// The bytes that it is about, where a build measured them.
    pub bytes: Option<u64>,
}

/// A change of the text that removes a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// What it does, as an imperative.
    pub title: String,
    /// Whether the image keeps its meaning.
    pub safe: bool,
    /// The changes; they do not overlap.
    pub edits: Vec<TextEdit>,
    /// A file to write at the root of the build context, when there is none of that name.
    pub new_file: Option<NewFile>,
}

/// A file that a fix writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its name, without directories.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// The replacement of one range; an empty range inserts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextEdit {
    /// What is replaced.
    pub span: Span,
    /// By what.
    pub replacement: String,
}

impl Finding {
    /// The finding as the diagnostic that the parser's errors are also shown as.
    pub fn diagnostic(&self) -> Diagnostic {
        let mut diagnostic = Diagnostic::new(self.severity, Code(self.rule.id), self.span, self.message.clone());
        diagnostic.labels.clone_from(&self.labels);
        diagnostic.help.clone_from(&self.help);
        if let Some(fix) = &self.fix {
            diagnostic.fix = fix
                .edits
                .iter()
                .map(|edit| bake_dockerfile::Edit {
                    span: edit.span,
                    replacement: edit.replacement.clone(),
                    safe: fix.safe,
                    title: fix.title.clone(),
                })
                .collect();
        }
        diagnostic
    }

    /// Whether `pattern` means it by its rule or by its code.
    pub(crate) fn is_meant_by(&self, pattern: &str) -> bool {
        self.rule.is_meant_by(pattern) || self.has_code(pattern)
    }

    /// Whether `pattern`, a code or one with `*`, means its code.
    pub(crate) fn has_code(&self, pattern: &str) -> bool {
        let pattern = pattern.strip_prefix("shellcheck/").unwrap_or(pattern).to_ascii_uppercase();
        self.code.as_ref().is_some_and(|code| crate::wildcard::matches(&pattern, code))
    }

    /// Adds another place that explains it.
    pub(crate) fn label(&mut self, span: Span, text: impl Into<String>) -> &mut Self {
        self.labels.push((span, text.into()));
        self
    }

    /// Says what to do about it.
    pub(crate) fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.help = Some(text.into());
        self
    }

    /// Overrides the rule's severity for this finding. Has no effect where the user set one.
    pub(crate) fn severity(&mut self, severity: Severity) -> &mut Self {
        self.severity = severity;
        self
    }

    /// Adds a fix that keeps the image's meaning.
    pub(crate) fn safe_fix(&mut self, title: impl Into<String>, edits: Vec<TextEdit>) -> &mut Self {
        self.fix = Some(Fix { title: title.into(), safe: true, edits, new_file: None });
        self
    }

    /// Adds a fix that may change the image.
    pub(crate) fn unsafe_fix(&mut self, title: impl Into<String>, edits: Vec<TextEdit>) -> &mut Self {
        self.fix = Some(Fix { title: title.into(), safe: false, edits, new_file: None });
        self
    }
}

impl TextEdit {
    /// Replaces `span`.
    pub(crate) fn replace(span: Span, replacement: impl Into<String>) -> Self {
        Self { span, replacement: replacement.into() }
    }

    /// Inserts at byte `offset`.
    pub(crate) fn insert(offset: usize, text: impl Into<String>) -> Self {
        Self::replace(Span::new(offset, offset), text)
    }

    /// Puts `span` into double quotes.
    pub(crate) fn in_quotes(span: Span) -> Vec<Self> {
        vec![Self::insert(span.start, "\""), Self::insert(span.end, "\"")]
    }

    /// Deletes `span`.
    pub(crate) fn delete(span: Span) -> Self {
        Self::replace(span, "")
    }
}

/// Takes the findings of one rule.
pub(crate) struct Reporter<'r> {
    rule: &'static Rule,
    findings: &'r mut Vec<Finding>,
}

impl<'r> Reporter<'r> {
    pub(crate) fn new(rule: &'static Rule, findings: &'r mut Vec<Finding>) -> Self {
        Self { rule, findings }
    }

    /// Adds what a build check found, in its words, and returns it for help, labels and a fix.
    pub(crate) fn violation(&mut self, violation: bake_checks::Violation) -> &mut Finding {
        self.report(violation.span, violation.message)
    }

    /// Adds a finding and returns it for help, labels and a fix.
    pub(crate) fn report(&mut self, span: Span, message: impl Into<String>) -> &mut Finding {
        let index = self.findings.len();
        self.findings.push(Finding {
            rule: self.rule,
            code: None,
            severity: self.rule.severity,
            message: message.into(),
            span,
            labels: Vec::new(),
            help: None,
            fix: None,
            bytes: None,
        });
        &mut self.findings[index]
    }
}
