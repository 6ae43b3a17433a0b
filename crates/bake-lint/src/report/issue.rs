//! What all forms are made from: a finding with its place in the way other programs count.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;

use bake_dockerfile::{Position, Severity, SourceText, Span};

use super::FileFindings;
use crate::finding::Finding;
use crate::rule::Rule;

/// A finding and where it is.
#[derive(Debug)]
pub(super) struct Issue<'a> {
    /// The path as it was given, without `./` before it.
    pub(super) path: &'a str,
    pub(super) source: &'a SourceText,
    pub(super) finding: &'a Finding,
    pub(super) start: Position,
    /// One past the last character.
    pub(super) end: Position,
}

/// All findings in the order they were given in.
pub(super) fn issues<'a>(files: &[FileFindings<'a>]) -> Vec<Issue<'a>> {
    files.iter().flat_map(|file| file.findings.iter().map(|finding| issue(file.source, finding))).collect()
}

/// One finding.
pub(super) fn issue<'a>(source: &'a SourceText, finding: &'a Finding) -> Issue<'a> {
    let (start, end) = places(source, finding.span);
    Issue { path: path(source.name()), source, finding, start, end }
}

/// Where a range begins and ends.
pub(super) fn places(source: &SourceText, span: Span) -> (Position, Position) {
    (source.position(span.start), source.position(span.end))
}

/// The path in the form in which other programs compare it.
pub(super) fn path(name: &str) -> &str {
    name.strip_prefix("./").unwrap_or(name)
}

impl Issue<'_> {
    /// What is wrong and what to do about it, on one line.
    pub(super) fn message(&self) -> String {
        let help = self.finding.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        visible_line(&format!("{}{help}", self.finding.message)).into_owned()
    }

    /// A word for the severity where a form has only three of them.
    pub(super) fn level<'w>(&self, error: &'w str, warning: &'w str, note: &'w str) -> &'w str {
        match self.finding.severity {
            Severity::Error => error,
            Severity::Warning => warning,
            Severity::Info | Severity::Style => note,
        }
    }

    /// `length` hexadecimal digits (at most 64) that stay the same when lines are added above, and differ between findings.
    pub(super) fn fingerprint(&self, seen: &mut HashMap<blake3::Hash, usize>, length: usize) -> String {
        let mut hasher = blake3::Hasher::new();
        let text = [self.path, self.finding.rule.id, &self.finding.message, self.source.line(self.start.line).trim()];
        for part in text {
            hasher.update(&part.len().to_le_bytes());
            hasher.update(part.as_bytes());
        }
        // The same finding on the same text: the first, the second, ...
        let before = seen.entry(hasher.finalize()).or_default();
        hasher.update(&before.to_le_bytes());
        *before += 1;
        hasher.finalize().to_hex()[..length].to_owned()
    }
}

/// The page of a rule.
pub(super) fn url(rule: &Rule) -> String {
    format!("{}/blob/main/docs/rules/{}.md", env!("CARGO_PKG_REPOSITORY"), rule.id)
}

/// `text` on one line, with everything visible that a terminal or a parser of lines would act on: `\x1b`, `\n`, `\u{202e}`.
pub(super) fn visible_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match (c, u32::from(c)) {
            ('\n', _) => write!(visible, "\\n"),
            ('\t', _) => write!(visible, " "),
            (_, code) if !is_hidden(c) => char::from_u32(code).map_or(Ok(()), |c| write!(visible, "{c}")),
            (_, code @ 0..=0xff) => write!(visible, "\\x{code:02x}"),
            (_, code) => write!(visible, "\\u{{{code:x}}}"),
        };
    }
    Cow::Owned(visible)
}

/// Control characters, ends of lines, and characters that change the direction of writing.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` for XML: the five special characters as entities, and control characters, which XML 1.0 has no way to write, made visible.
pub(super) fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in visible_line(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // Neither is a character in XML.
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
