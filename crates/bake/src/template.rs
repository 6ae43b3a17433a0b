//! Templates for `--format`: the part of Go's `text/template` that docker's users write, over JSON values.
//!
//! ```text
//! {{.Field.Field}}  {{json .}}  {{range $key, $value := .Map}}..{{else}}..{{end}}  {{if eq .A "b"}}..{{else if ..}}..{{end}}
//! {{with .Field}}..{{end}}  {{$name := pipeline}}  {{.A | lower | printf "%-10s"}}  {{- trimmed -}}  {{/* comment */}}
//! ```
//!
//! Functions are docker's (`json join split lower upper title pad truncate println`) and those of Go that make sense
//! here. What is not supported (`define`, `template`, `block`, `break`, `continue`, methods) is an error with its place.
//!
//! A field whose name begins with a capital letter must be there, or be one of those that the caller says may be
//! absent: a typing error must not pass for an empty value. Other names are keys of maps, such as labels; one that is not
//! there prints as `<no value>`, as in Go. Fields are also found under the JSON spelling of their name: `.MediaType` is
//! `mediaType`, `.DiffIDs` is `diff_ids`.

use serde_json::Value;

mod evaluate;
mod functions;
mod parse;
mod scan;

/// The longest template, in bytes: what people type is below one kilobyte.
const TEMPLATE_BYTES_MAX: usize = 64 << 10;

/// The longest output of one template, in bytes; nested loops grow beyond all bounds otherwise.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// How deep blocks and parentheses may be nested.
const DEPTH_MAX: usize = 64;

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template, line {line}, column {column}: {problem}")]
pub struct TemplateError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: String,
}

/// A template, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    source: String,
    nodes: Vec<parse::Node>,
}

/// What templates may ask for although it is not there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Absent<'a> {
    /// Fields that may be missing.
    pub optional: &'a [&'a str],
    /// How some fields print that are missing or `null`, as Go prints an empty list (`[]`) or map (`map[]`) of the type
    /// that the field has there. All others print as `<no value>`.
    pub printed: &'a [(&'a str, &'a str)],
}

/// A problem at a byte of the source.
#[derive(Debug, Clone, PartialEq)]
struct Fault {
    position: usize,
    problem: String,
}

impl Fault {
    fn new(position: usize, problem: impl Into<String>) -> Self {
        Self { position, problem: problem.into() }
    }

    fn place(self, source: &str) -> TemplateError {
        let before = source.get(..self.position).unwrap_or(source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        TemplateError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            problem: self.problem,
        }
    }
}

impl Template {
    /// Parses a template of at most 64 KiB.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        if source.len() > TEMPLATE_BYTES_MAX {
            return Err(Fault::new(0, format!("it is longer than {TEMPLATE_BYTES_MAX} bytes")).place(source));
        }
        let nodes = scan::scan(source).and_then(parse::parse).map_err(|fault| fault.place(source))?;
        Ok(Self { source: source.to_owned(), nodes })
    }

    /// Whether the template may use the field `name` of its value: it names one like it, or takes a value as a whole.
    ///
    /// What it does not use need not be found out. The answer may be yes although it is no, never the other way round.
    pub fn may_use(&self, name: &str) -> bool {
        let is_named = |after: &str| after.starts_with(|first: char| first == '_' || first.is_alphanumeric());
        let mut dots = self.source.match_indices('.').map(|(position, _)| &self.source[position + 1..]);
        let mut variables = self.source.match_indices('$').map(|(position, _)| &self.source[position + 1..]);
        dots.any(|after| after.starts_with(name) || !is_named(after))
            || variables.any(|after| !is_named(after) && !after.starts_with('.'))
    }

    /// Evaluates the template with `.` being `value`.
    ///
    /// The output is at most 64 MiB.
    pub fn render(&self, value: &Value, absent: &Absent<'_>) -> Result<String, TemplateError> {
        evaluate::render(&self.nodes, value, absent).map_err(|fault| fault.place(&self.source))
    }
}

#[cfg(test)]
#[path = "template/tests.rs"]
mod tests;
