//! Parser directives: `# syntax=`, `# escape=` and `# check=` on the first lines of a file.

use crate::diagnostic::{Diagnostic, code};
use crate::limits::PROBLEMS_PER_INSTRUCTION_MAX;
use crate::logical::{PhysicalLine, line_at};
use crate::source::{Span, Spanned};

/// The directives of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directives {
    /// The frontend reference of `# syntax=` (the first word of its value).
    pub syntax: Option<Spanned<String>>,
    /// The escape character, `\` when the file does not set it.
    pub escape: char,
    /// Where `# escape=` stands.
    pub escape_span: Option<Span>,
    /// The value of `# check=`, when it is well formed.
    pub check: Option<Spanned<CheckOptions>>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', escape_span: None, check: None }
    }
}

/// The value of `# check=`: `skip=A,B;experimental=all;error=true`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Rules that are skipped.
    pub skip: Vec<String>,
    /// Whether all rules are skipped.
    pub skip_all: bool,
    /// Experimental rules that are switched on.
    pub experimental: Vec<String>,
    /// Whether all experimental rules are switched on.
    pub experimental_all: bool,
    /// Whether findings fail the build.
    pub error: bool,
}

/// A value of `# check=` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckOptionsError {
    /// No such option, or one without `=`.
    #[error("invalid check option {0:?}")]
    Option(String),
    /// A value of `error` that is no boolean.
    #[error("failed to parse check option {0:?}: expected true or false")]
    Boolean(String),
}

impl CheckOptions {
    /// Reads the value of `# check=`.
    ///
    /// # Errors
    /// An unknown option or a bad boolean.
    pub fn parse(text: &str) -> Result<Self, CheckOptionsError> {
        let mut options = Self::default();
        for part in text.split(';') {
            let invalid = || CheckOptionsError::Option(part.trim().to_owned());
            let (key, value) = part.split_once('=').ok_or_else(invalid)?;
            let value = value.trim();
            let names = || value.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
            match key.trim() {
                "skip" if value == "all" => options.skip_all = true,
                "skip" => options.skip.extend(names()),
                "experimental" if value == "all" => options.experimental_all = true,
                "experimental" => options.experimental.extend(names()),
                "error" => {
                    options.error =
                        parse_boolean(value).ok_or_else(|| CheckOptionsError::Boolean(part.trim().to_owned()))?;
                }
                _ => return Err(invalid()),
            }
        }
        Ok(options)
    }
}

/// The booleans of Go's `strconv.ParseBool`.
pub fn parse_boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// What the first lines hold.
#[derive(Debug, Default)]
pub(crate) struct DirectiveLines {
    pub(crate) directives: Directives,
    /// The lines that are directives, ordered.
    pub(crate) lines: Vec<Span>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// Reads the directives that begin at `start` (after a byte-order mark).
pub(crate) fn read_directives(text: &str, start: usize) -> DirectiveLines {
    let mut reader = Reader::default();
    let mut position = start;
    // A `#!` line may stand before `syntax` and `check`; it ends the place where `escape` counts.
    let interpreter = line_at(text, start).filter(|line| text[line.start..line.end].starts_with("#!"));
    if let Some(line) = interpreter {
        reader.escape_is_late = true;
        position = line.next;
    }
    while let Some(line) = line_at(text, position) {
        if !reader.read_line(text, line, "#") {
            break;
        }
        position = line.next;
    }
    if reader.found.directives.syntax.is_none() {
        reader.other_syntax_forms(text, interpreter.map_or(start, |line| line.next));
    }
    reader.found
}

#[derive(Default)]
struct Reader {
    found: DirectiveLines,
    seen: Vec<&'static str>,
    escape_is_late: bool,
}

impl Reader {
    /// Reads one line; false when it is no directive, which ends them.
    fn read_line(&mut self, text: &str, line: PhysicalLine, comment: &str) -> bool {
        let Some((name, value)) = split_directive(text, line, comment) else { return false };
        let span = Span::new(line.start, line.end);
        let Some(known) = ["syntax", "escape", "check"].into_iter().find(|known| known.eq_ignore_ascii_case(&name))
        else {
            return false;
        };
        if comment == "#" {
            self.found.lines.push(Span::new(line.start, line.next));
        }
        if self.seen.contains(&known) {
            if self.found.diagnostics.len() < PROBLEMS_PER_INSTRUCTION_MAX {
                let message = format!("only one {known} parser directive can be used");
                self.found.diagnostics.push(Diagnostic::error(code::DIRECTIVE, span, message));
            }
            return true;
        }
        self.seen.push(known);
        match known {
            "syntax" => self.syntax(&value),
            "check" if comment == "#" => self.check(&value),
            "escape" if comment == "#" => self.escape(&value, span),
            _ => {}
        }
        true
    }

    fn syntax(&mut self, value: &Spanned<String>) {
        let reference = value.value.split(' ').next().unwrap_or_default().to_owned();
        let span = Span::new(value.span.start, (value.span.start + reference.len()).min(value.span.end));
        if !is_built_in_frontend(&reference) {
            let message = format!("syntax {reference:?} is not supported");
            let help = "the Dockerfile frontend is built in, and images given by `# syntax=` are never run; \
                        only docker/dockerfile with any tag is accepted, and stands for the built-in frontend";
            self.found.diagnostics.push(Diagnostic::error(code::SYNTAX, span, message).with_help(help));
        }
        self.found.directives.syntax = Some(Spanned::new(reference, span));
    }

    fn check(&mut self, value: &Spanned<String>) {
        match CheckOptions::parse(&value.value) {
            Ok(options) => self.found.directives.check = Some(Spanned::new(options, value.span)),
            Err(error) => {
                let help = "write `# check=skip=RULE,...;experimental=RULE,...;error=true`";
                let diagnostic = Diagnostic::error(code::DIRECTIVE, value.span, error.to_string()).with_help(help);
                self.found.diagnostics.push(diagnostic);
            }
        }
    }

    fn escape(&mut self, value: &Spanned<String>, span: Span) {
        if self.escape_is_late {
            let message = "the escape directive has no effect after a `#!` line";
            self.found.diagnostics.push(Diagnostic::warning(code::DIRECTIVE, span, message));
            return;
        }
        match value.value.as_str() {
            "\\" => self.found.directives.escape = '\\',
            "`" => self.found.directives.escape = '`',
            other => {
                let message = format!("invalid escape token '{other}' does not match ` or \\");
                self.found.diagnostics.push(Diagnostic::error(code::DIRECTIVE, value.span, message));
            }
        }
        self.found.directives.escape_span = Some(span);
    }

    /// `syntax` may also be given in `//` comments or in a JSON object, for files that are no Dockerfiles at all.
    fn other_syntax_forms(&mut self, text: &str, start: usize) {
        let mut position = start;
        self.seen.clear();
        while let Some(line) = line_at(text, position) {
            if !self.read_line(text, line, "//") {
                break;
            }
            position = line.next;
        }
        if self.found.directives.syntax.is_some() || !text[start..].trim_start().starts_with('{') {
            return;
        }
        let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text[start..]);
        if let Some(serde_json::Value::String(value)) = object.ok().and_then(|mut object| object.remove("syntax")) {
            let line_end = line_at(text, start).map_or(start, |line| line.end);
            self.syntax(&Spanned::new(value, Span::new(start, line_end)));
        }
    }
}

/// Splits `COMMENT name = value`; `None` when the line has another form.
fn split_directive(text: &str, line: PhysicalLine, comment: &str) -> Option<(String, Spanned<String>)> {
    let content = text[line.start..line.end].trim_start().strip_prefix(comment)?.trim_start();
    let name_length = content.find(|c: char| !c.is_ascii_alphanumeric())?;
    let (name, rest) = content.split_at(name_length);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let value = rest.trim_start().strip_prefix('=')?.trim_start();
    let start = line.end - value.len();
    let value = value.trim_end();
    if value.is_empty() {
        return None;
    }
    Some((name.to_owned(), Spanned::new(value.to_owned(), Span::new(start, start + value.len()))))
}

/// Whether a frontend reference (`# syntax=`, or the build argument `BUILDKIT_SYNTAX`) means the language that is built in.
pub fn is_built_in_frontend(reference: &str) -> bool {
    let name = reference.split('@').next().unwrap_or_default();
    let name = ["docker.io/", "index.docker.io/", "registry-1.docker.io/"]
        .iter()
        .find_map(|registry| name.strip_prefix(registry))
        .unwrap_or(name);
    let (repository, tag) = name.split_once(':').map_or((name, None), |(repository, tag)| (repository, Some(tag)));
    matches!(repository, "docker/dockerfile" | "docker/dockerfile-upstream") && tag != Some("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        read_directives(text, 0).diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect()
    }

    #[test]
    fn escape_and_where_directives_end() {
        for (text, escape, lines) in [
            ("# escape=`\nFROM a", '`', 1),
            ("#escape=`", '`', 1),
            ("  #   EsCaPe  =  `  \r\n", '`', 1),
            ("# escape=\\\n", '\\', 1),
            ("\n# escape=`\n", '\\', 0),
            ("# a comment\n# escape=`\n", '\\', 0),
            ("# unknown=x\n# escape=`\n", '\\', 0),
            ("FROM a\n# escape=`\n", '\\', 0),
            ("# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=all\n# x\n", '`', 3),
            ("# escape=\n# escape=`", '\\', 0),
            ("#!/usr/bin/env bake\n# syntax=docker/dockerfile:1\n# escape=`\n", '\\', 2),
        ] {
            let found = read_directives(text, 0);
            assert_eq!((found.directives.escape, found.lines.len()), (escape, lines), "{text:?}");
        }
    }

    #[test]
    fn bad_directives() {
        assert_eq!(messages("# escape=`\n# escape=`\n"), ["only one escape parser directive can be used"]);
        assert_eq!(messages("# escape=x\n"), ["invalid escape token 'x' does not match ` or \\"]);
        assert_eq!(messages("# check=foo=bar\n"), ["invalid check option \"foo=bar\""]);
        assert_eq!(
            messages("# check=error=yes\n"),
            ["failed to parse check option \"error=yes\": expected true or false"]
        );
        assert_eq!(messages("#!x\n# escape=`\n"), ["the escape directive has no effect after a `#!` line"]);
    }

    #[test]
    fn only_the_built_in_frontend_is_accepted() {
        for reference in [
            "docker/dockerfile",
            "docker/dockerfile:1",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile:latest",
            "docker/dockerfile-upstream:master",
            "docker/dockerfile:1@sha256:abcd",
        ] {
            assert_eq!(messages(&format!("# syntax={reference}\n")), [""; 0], "{reference}");
        }
        for text in [
            "# syntax=tonistiigi/copy\n",
            "#syntax = ghcr.io/docker/dockerfile:1 extra\n",
            "// syntax=a/b\n",
            "#!x\n// syntax=a/b\n",
            "{ \"a\": 1, \"syntax\": \"a/b\" }",
            "# syntax=docker/dockerfile:\n",
        ] {
            let found = read_directives(text, 0);
            assert_eq!(found.diagnostics.len(), 1, "{text}");
            assert_eq!(found.diagnostics[0].code, code::SYNTAX);
        }
        let found = read_directives("# syntax=docker/dockerfile:1 more\n", 0);
        let syntax = found.directives.syntax.map(|syntax| (syntax.value, syntax.span));
        assert_eq!(syntax, Some(("docker/dockerfile:1".to_owned(), Span::new(9, 28))));
    }

    #[test]
    fn check_options() {
        let options = CheckOptions::parse("skip=A, B;error=true; experimental=all");
        let expected = CheckOptions {
            skip: vec!["A".into(), "B".into()],
            error: true,
            experimental_all: true,
            ..CheckOptions::default()
        };
        assert_eq!(options, Ok(expected));
        assert!(CheckOptions::parse("skip=all").is_ok_and(|options| options.skip_all));
        assert!(CheckOptions::parse("").is_err());
    }
}
