//! Physical lines, and the logical line that joins them with a map back to the source.

use std::ops::Range;

use crate::source::Span;

/// A physical line.
#[derive(Debug, Clone, Copy)]
pub struct PhysicalLine {
    /// First byte.
    pub start: usize,
    /// End of the content: no carriage return and no newline before it.
    pub end: usize,
    /// First byte of the next line.
    pub next: usize,
}

/// The line that begins at `start`, or `None` at the end of the text.
pub fn line_at(text: &str, start: usize) -> Option<PhysicalLine> {
    let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
    let length = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
    let content = rest[..length].trim_end_matches(['\r', '\n']);
    Some(PhysicalLine { start, end: start + content.len(), next: start + length })
}

/// An instruction's text with continuations joined and comment lines dropped, and where each piece of it stands in the source.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogicalLine {
    text: String,
    /// Ordered by offset in `text`; no piece is empty.
    pieces: Vec<Piece>,
    /// Where an empty line stands.
    origin: usize,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    logical: usize,
    source: usize,
}

impl LogicalLine {
    /// An empty line at `origin`.
    pub(crate) fn new(origin: usize) -> Self {
        Self { origin, ..Self::default() }
    }

    /// Appends text that stands at `source`.
    pub(crate) fn push(&mut self, text: &str, source: usize) {
        if !text.is_empty() {
            self.pieces.push(Piece { logical: self.text.len(), source });
            self.text.push_str(text);
        }
    }

    /// The joined text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The part of the joined text.
    pub(crate) fn slice(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }

    /// The whole range without white space at its ends.
    pub(crate) fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let text = self.slice(range.clone());
        let start = range.start + (text.len() - text.trim_start().len());
        start..start + text.trim().len()
    }

    /// Where a range of the joined text stands; it covers continuations inside it. An empty range stands directly after the character
    /// before it, also where the line is continued there.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        if range.is_empty() {
            let place =
                range.start.checked_sub(1).map_or(self.source_offset(0), |before| self.source_offset(before) + 1);
            return Span::new(place, place);
        }
        Span::new(self.source_offset(range.start), self.source_offset(range.end - 1) + 1)
    }

    fn source_offset(&self, logical: usize) -> usize {
        let following = self.pieces.partition_point(|piece| piece.logical <= logical);
        match following.checked_sub(1) {
            Some(index) => self.pieces[index].source + (logical.min(self.text.len()) - self.pieces[index].logical),
            None => self.origin,
        }
    }
}

/// Where the text of a line ends when the line goes on in the next one: the escape character is the last on the line apart from
/// blanks and tabs, and no other escape character stands directly before it.
pub fn continuation(content: &str, escape: char) -> Option<usize> {
    let before = content.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    if before.ends_with(escape) { None } else { Some(before.len()) }
}

/// Whether the line is a comment.
pub fn is_comment(content: &str) -> bool {
    content.trim_start().starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continuations() {
        for (content, escape, expected) in [
            ("a \\", '\\', Some(2)),
            ("a \\ \t", '\\', Some(2)),
            ("\\", '\\', Some(0)),
            ("a \\\\", '\\', None),
            ("a \\\\\\", '\\', None),
            ("a \\b", '\\', None),
            ("a `", '`', Some(2)),
            ("a \\", '`', None),
            ("", '\\', None),
        ] {
            assert_eq!(continuation(content, escape), expected, "{content:?}");
        }
    }

    #[test]
    fn spans_cross_pieces() {
        let mut line = LogicalLine::new(10);
        assert_eq!(line.span(0..0), Span::new(10, 10));
        line.push("RUN a", 10);
        line.push("", 17);
        line.push("b c", 20);
        assert_eq!(line.text(), "RUN ab c");
        assert_eq!(line.span(4..6), Span::new(14, 21));
        assert_eq!(line.span(0..5), Span::new(10, 15));
        assert_eq!(line.span(7..8), Span::new(22, 23));
        assert_eq!(line.span(8..8), Span::new(23, 23));
        assert_eq!(line.span(5..5), Span::new(15, 15));
        assert_eq!(line.trimmed(3..8), 4..8);
    }

    #[test]
    fn lines_end_before_carriage_returns() {
        let line = line_at("a\r\nb", 0).map(|line| (line.start, line.end, line.next));
        assert_eq!(line, Some((0, 1, 3)));
        let line = line_at("a\r\nb", 3).map(|line| (line.start, line.end, line.next));
        assert_eq!(line, Some((3, 4, 4)));
        assert!(line_at("a", 1).is_none());
    }
}
