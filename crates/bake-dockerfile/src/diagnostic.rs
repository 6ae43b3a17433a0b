//! What the parser and the linter have to say about a Dockerfile.

use crate::source::Span;

/// The stable name of a kind of diagnostic, in kebab case (`unknown-instruction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub &'static str);

impl std::fmt::Display for Code {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.0)
    }
}

/// How serious a diagnostic is, most serious first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The file cannot be built.
    Error,
    /// Almost certainly not what was meant.
    Warning,
    /// Worth knowing.
    Info,
    /// A matter of taste.
    Style,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Style => "style",
        })
    }
}

/// A replacement of one range of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; empty for an insertion.
    pub span: Span,
    /// What it is replaced with.
    pub replacement: String,
    /// Whether the edit cannot change what is built other than as the title says.
    pub safe: bool,
    /// What the edit does, as an imperative sentence without a full stop.
    pub title: String,
}

/// One finding with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its kind.
    pub code: Code,
    /// How serious it is.
    pub severity: Severity,
    /// What is wrong, one line without a full stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// Other places that matter, each with its explanation.
    pub labels: Vec<(Span, String)>,
    /// What to do about it.
    pub help: Option<String>,
    /// Edits that together resolve it; empty when there is no fix.
    pub fix: Vec<Edit>,
    /// Where to read more.
    pub url: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without labels, help, fix and address.
    pub fn new(severity: Severity, code: Code, span: Span, message: impl Into<String>) -> Self {
        Self {
            code,
            severity,
            message: message.into(),
            span,
            labels: Vec::new(),
            help: None,
            fix: Vec::new(),
            url: None,
        }
    }

    /// An error.
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, span, message)
    }

    /// A warning.
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, span, message)
    }

    /// Adds advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another place that matters.
    #[must_use]
    pub fn with_label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }

    /// Adds an edit to the fix.
    #[must_use]
    pub fn with_edit(mut self, edit: Edit) -> Self {
        self.fix.push(edit);
        self
    }

    /// Whether it stops a build.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The codes the parser itself reports.
pub mod code {
    use super::Code;

    /// The file, a line or a list is larger than its limit.
    pub const LIMIT: Code = Code("limit-exceeded");
    /// A parser directive is repeated or has a bad value.
    pub const DIRECTIVE: Code = Code("invalid-directive");
    /// `# syntax=` names a frontend other than the built-in one.
    pub const SYNTAX: Code = Code("unsupported-syntax");
    /// The first word of a line is no instruction.
    pub const UNKNOWN_INSTRUCTION: Code = Code("unknown-instruction");
    /// An instruction has too few, too many or malformed arguments.
    pub const ARGUMENTS: Code = Code("invalid-arguments");
    /// A flag is unknown, repeated, without a value or with a bad one.
    pub const FLAG: Code = Code("invalid-flag");
    /// The value of `--mount` is malformed.
    pub const MOUNT: Code = Code("invalid-mount");
    /// A list in JSON form holds something else than strings, or JSON form was required.
    pub const JSON: Code = Code("invalid-json-form");
    /// A heredoc has no end or stands where none may.
    pub const HEREDOC: Code = Code("invalid-heredoc");
    /// An `ONBUILD` trigger that is not allowed.
    pub const ONBUILD: Code = Code("onbuild-invalid");
    /// The file has no instructions, no stages, or instructions before the first `FROM`.
    pub const ORDER: Code = Code("instruction-order");
    /// A blank line inside a continued instruction.
    pub const EMPTY_CONTINUATION: Code = Code("empty-continuation");
    /// A `RUN` without a command.
    pub const EMPTY_COMMAND: Code = Code("empty-command");
}
