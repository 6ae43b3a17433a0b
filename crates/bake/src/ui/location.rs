//! Places in a Dockerfile as BuildKit's API gives them: lines, one range for each.

use bake_dockerfile::{SourceText, Span};
use serde::Serialize;

/// Some lines.
#[derive(Debug, Default, Serialize)]
pub(super) struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ranges: Vec<LineRange>,
}

/// One line.
#[derive(Debug, Serialize)]
pub(super) struct LineRange {
    start: Line,
    end: Line,
}

#[derive(Debug, Serialize)]
struct Line {
    line: usize,
}

/// The lines that a span touches.
pub(super) fn location(source: &SourceText, span: Span) -> Location {
    let (first, last) = lines(source, span);
    let range = |line| LineRange { start: Line { line }, end: Line { line } };
    Location { ranges: (first..=last).map(range).collect() }
}

/// The first and the last line that a span touches, from 1.
pub fn lines(source: &SourceText, span: Span) -> (usize, usize) {
    let first = source.position(span.start).line;
    let covered = source.slice(span).trim_end().len();
    let last = source.position(span.start + covered.saturating_sub(1)).line;
    (first, last.max(first))
}
