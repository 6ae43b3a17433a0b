//! Findings of build checks: a line each during a build, with their source lines for `--check`, and as JSON.

use std::fmt::Write as _;

use bake_dockerfile::{Diagnostic, SourceText, Span};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::colour::Colour;
use super::location::{Location, lines, location};
use super::sanitize::sanitize_line;
use super::snippet::render_marked_lines;

/// One line for each finding: `warning[NAME]: what is wrong (Dockerfile:3)`, without a newline at the end.
pub fn finding_lines(source: &SourceText, findings: &[Diagnostic], colour: Colour) -> String {
    let line = |finding: &Diagnostic| {
        let heading = colour.warning(&format!("warning[{}]:", finding.code));
        let (line, _) = lines(source, finding.span);
        format!("{heading} {} ({}:{line})", sanitize_line(&finding.message), sanitize_line(source.name()))
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// All findings in the order of their lines, each with its source, under a heading that counts them.
pub fn findings_text(source: &SourceText, findings: &[Diagnostic], colour: Colour) -> String {
    let mut text = match findings.len() {
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    let mut sorted: Vec<&Diagnostic> = findings.iter().collect();
    sorted.sort_by_key(|finding| lines(source, finding.span).0);
    for finding in sorted {
        let link = finding.url.as_deref().map(|url| format!(" - {url}")).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n{} {}{}\n{}\n{}",
            colour.warning("WARNING:"),
            colour.warning(finding.code.0),
            colour.dim(&link),
            sanitize_line(&finding.message),
            render_marked_lines(source, finding.span, colour)
        );
    }
    text
}

/// All findings as `docker buildx build --metadata-file` writes them.
pub fn warnings_json(source: &SourceText, findings: &[Diagnostic]) -> serde_json::Value {
    let vertex = bake_oci::DefinitionDigest::of(format!("build checks of {}", source.name()).as_bytes());
    super::rawjson::warnings(&super::rawjson::vertex_digest(&vertex), source, findings)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Findings {
    /// None where there are none.
    warnings: Option<Vec<Finding>>,
    sources: [Source; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    build_error: Option<BuildError>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Finding {
    rule_name: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: String,
    location: Location,
}

#[derive(Debug, Serialize)]
struct BuildError {
    message: String,
    location: Location,
}

/// A file that findings are in.
#[derive(Debug, Serialize)]
pub(super) struct Source {
    filename: String,
    /// Base64, as Go writes byte slices.
    data: String,
    language: &'static str,
}

impl Source {
    pub(super) fn new(source: &SourceText) -> Self {
        Self { filename: source.name().to_owned(), data: STANDARD.encode(source.text()), language: "Dockerfile" }
    }
}

/// The findings, and what stopped the check, as JSON in the form of BuildKit's `lint` request.
///
/// # Errors
/// None that could happen with these types.
pub fn findings_json(
    source: &SourceText,
    findings: &[Diagnostic],
    error: Option<(&str, Option<Span>)>,
) -> serde_json::Result<String> {
    let finding = |finding: &Diagnostic| Finding {
        rule_name: finding.code.0,
        description: description(finding),
        url: finding.url.clone(),
        detail: finding.message.clone(),
        location: location(source, finding.span),
    };
    let findings = Findings {
        warnings: (!findings.is_empty()).then(|| findings.iter().map(finding).collect()),
        sources: [Source::new(source)],
        build_error: error.map(|(message, span)| BuildError {
            message: message.to_owned(),
            location: span.map(|span| location(source, span)).unwrap_or_default(),
        }),
    };
    serde_json::to_string_pretty(&findings)
}

/// What the check behind a finding is about.
pub(super) fn description(finding: &Diagnostic) -> &'static str {
    bake_frontend::check_named(finding.code.0).map_or("", |check| check.description)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_dockerfile::Code;

    use super::*;

    fn example() -> (SourceText, Vec<Diagnostic>) {
        let text = "FROM scratch\nCMD a \\\n  b\nWORKDIR x\n";
        let finding = |name, part: &str, message| {
            let start = text.find(part).unwrap();
            Diagnostic::warning(Code(name), Span::new(start, start + part.len()), message)
        };
        let findings = vec![
            finding("WorkdirRelativePath", "WORKDIR x", "relative"),
            finding("JSONArgsRecommended", "CMD a \\\n  b", "shell\u{1b}[2J"),
        ];
        (SourceText::new("Dockerfile", text), findings)
    }

    #[test]
    fn a_finding_is_one_line_during_a_build() {
        let (source, findings) = example();
        assert_eq!(
            finding_lines(&source, &findings, Colour::Plain),
            "warning[WorkdirRelativePath]: relative (Dockerfile:4)\n\
             warning[JSONArgsRecommended]: shell\\x1b[2J (Dockerfile:2)"
        );
    }

    #[test]
    fn a_check_shows_the_lines_in_order() {
        let (source, findings) = example();
        let text = findings_text(&source, &findings, Colour::Plain);
        assert!(text.starts_with("Check complete, 2 warnings have been found!\n\nWARNING: JSONArgs"), "{text}");
        assert!(text.contains("   2 | >>> CMD a \\\n   3 | >>>   b\n"), "{text}");
        assert_eq!(findings_text(&source, &[], Colour::Plain), "Check complete, no warnings found.\n");
    }

    #[test]
    fn programs_get_every_line_of_an_instruction() {
        let (source, findings) = example();
        let json = findings_json(&source, &findings, Some(("no", None))).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["warnings"][1]["location"]["ranges"][1]["start"]["line"], 3);
        assert_eq!(value["warnings"][0]["ruleName"], "WorkdirRelativePath");
        assert_eq!(value["buildError"]["message"], "no");
        let json = findings_json(&source, &[], None).unwrap();
        assert!(json.starts_with("{\n  \"warnings\": null,"), "{json}");
    }
}
