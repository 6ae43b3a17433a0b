//! A plain JSON list.

use serde::Serialize;

use super::FileFindings;
use super::issue::{places, url};
use crate::finding::{Finding, Fix};
use bake_dockerfile::{SourceText, Span};

#[derive(Serialize)]
struct JsonFinding<'a> {
    rule: &'static str,
    aliases: &'static [&'static str],
    /// The number of another program's check.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    file: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    severity: String,
    message: &'a str,
    /// The page of the rule.
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    /// Null where there is none.
    fix: Option<JsonFix<'a>>,
    /// Bytes of the image, where a build measured them.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

#[derive(Serialize)]
struct JsonFix<'a> {
    title: &'a str,
    safe: bool,
    edits: Vec<JsonEdit<'a>>,
    /// A file that is written at the root of the build context.
    #[serde(skip_serializing_if = "Option::is_none")]
    new_file: Option<JsonFile<'a>>,
}

#[derive(Serialize)]
struct JsonFile<'a> {
    name: &'a str,
    text: &'a str,
}

#[derive(Serialize)]
struct JsonEdit<'a> {
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    /// Bytes from the beginning of the file.
    offset: usize,
    /// Bytes replaced.
    length: usize,
    replacement: &'a str,
}

/// All findings as a JSON array of objects with at least `rule`, `file`, `line`, `column`, `severity`, `message`; `fix` where there is
/// one. Lines and columns count from 1, columns in characters; the end is one past the last character.
pub fn json(files: &[FileFindings<'_>]) -> String {
    let findings: Vec<JsonFinding<'_>> =
        files.iter().flat_map(|file| file.findings.iter().map(|finding| finding_of(file.source, finding))).collect();
    // Only maps with keys that are no strings could fail, and there are none.
    serde_json::to_string_pretty(&findings).unwrap_or_default()
}

fn finding_of<'a>(source: &'a SourceText, finding: &'a Finding) -> JsonFinding<'a> {
    let (start, end) = places(source, finding.span);
    JsonFinding {
        rule: finding.rule.id,
        aliases: finding.rule.aliases,
        code: finding.code.as_deref(),
        file: source.name(),
        line: start.line,
        column: start.column,
        end_line: end.line,
        end_column: end.column,
        severity: finding.severity.to_string(),
        message: &finding.message,
        url: url(finding.rule),
        help: finding.help.as_deref(),
        fix: finding.fix.as_ref().map(|fix| fix_of(source, fix)),
        bytes: finding.bytes,
    }
}

fn fix_of<'a>(source: &SourceText, fix: &'a Fix) -> JsonFix<'a> {
    let edit_of = |span: Span, replacement: &'a str| {
        let (start, end) = places(source, span);
        JsonEdit {
            line: start.line,
            column: start.column,
            end_line: end.line,
            end_column: end.column,
            offset: span.start,
            length: span.end - span.start,
            replacement,
        }
    };
    let edits = fix.edits.iter().map(|edit| edit_of(edit.span, &edit.replacement)).collect();
    let new_file = fix.new_file.as_ref().map(|file| JsonFile { name: &file.name, text: &file.text });
    JsonFix { title: &fix.title, safe: fix.safe, edits, new_file }
}
