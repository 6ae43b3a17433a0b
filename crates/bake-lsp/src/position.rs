//! Places as editors count them: lines from 0, columns from 0 in units of the encoding that was agreed on.

use serde::{Deserialize, Serialize};

use bake_dockerfile::Span;

/// A place between two characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) character: u32,
}

/// From one place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    pub(crate) start: Position,
    pub(crate) end: Position,
}

/// What columns count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Encoding {
    /// Bytes.
    Utf8,
    /// Halves of surrogate pairs count, as in JavaScript. Every client knows it.
    #[default]
    Utf16,
    /// Characters.
    Utf32,
}

impl Encoding {
    /// Its name in the protocol.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf16 => "utf-16",
            Self::Utf32 => "utf-32",
        }
    }

    /// The one that takes least work of those that a client offers.
    pub(crate) fn best_of(offered: &[String]) -> Self {
        let known = [Self::Utf8, Self::Utf32];
        known.into_iter().find(|encoding| offered.iter().any(|name| name == encoding.name())).unwrap_or_default()
    }

    fn width(self, character: char) -> usize {
        match self {
            Self::Utf8 => character.len_utf8(),
            Self::Utf16 => character.len_utf16(),
            Self::Utf32 => 1,
        }
    }
}

/// Where the lines of a text begin. As the protocol has it, a carriage return alone ends a line too.
#[derive(Debug, Clone, Default)]
pub(crate) struct LineIndex {
    starts: Vec<usize>,
}

impl LineIndex {
    pub(crate) fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let ends = |at: usize| bytes[at] == b'\n' || (bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n'));
        let starts = std::iter::once(0).chain((0..bytes.len()).filter(|at| ends(*at)).map(|at| at + 1)).collect();
        Self { starts }
    }

    /// The line of a byte of the text, from 0.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).saturating_sub(1)
    }

    /// The place of a byte of the text; of one inside a character the place before that character.
    pub(crate) fn position(&self, text: &str, offset: usize, encoding: Encoding) -> Position {
        let offset = offset.min(text.len());
        let line = self.line(offset);
        let start = self.starts.get(line).copied().unwrap_or(0);
        let before = text.get(start..).unwrap_or_default().char_indices();
        let column: usize = before
            .take_while(|(at, character)| start + at + character.len_utf8() <= offset)
            .map(|(_, character)| encoding.width(character))
            .sum();
        Position { line: count(line), character: count(column) }
    }

    /// The byte at a place. Places beyond the end of a line are at its end, those beyond the last line at the end of the text.
    pub(crate) fn offset(&self, text: &str, position: Position, encoding: Encoding) -> usize {
        let line = position.line as usize;
        let Some(start) = self.starts.get(line).copied() else { return text.len() };
        let next = self.starts.get(line + 1).copied().unwrap_or(text.len());
        let content = text.get(start..next).unwrap_or_default().trim_end_matches(['\r', '\n']);
        let mut left = position.character as usize;
        for (at, character) in content.char_indices() {
            let width = encoding.width(character);
            if left < width {
                return start + at;
            }
            left -= width;
        }
        start + content.len()
    }

    /// The range of a span.
    pub(crate) fn range(&self, text: &str, span: Span, encoding: Encoding) -> Range {
        Range { start: self.position(text, span.start, encoding), end: self.position(text, span.end, encoding) }
    }
}

/// Texts are far smaller than 4 GiB.
fn count(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(line: u32, character: u32) -> Position {
        Position { line, character }
    }

    #[test]
    fn columns_count_in_the_encoding() {
        let text = "a\r\nö😀b\nc";
        let index = LineIndex::new(text);
        for (offset, utf8, utf16, utf32) in [(3, 0, 0, 0), (5, 2, 1, 1), (9, 6, 3, 2), (10, 7, 4, 3)] {
            for (encoding, column) in [(Encoding::Utf8, utf8), (Encoding::Utf16, utf16), (Encoding::Utf32, utf32)] {
                assert_eq!(index.position(text, offset, encoding), at(1, column), "{offset} {encoding:?}");
                assert_eq!(index.offset(text, at(1, column), encoding), offset, "{offset} {encoding:?}");
            }
        }
        // In the middle of a pair, beyond the line, beyond the text.
        assert_eq!(index.offset(text, at(1, 2), Encoding::Utf16), 5);
        assert_eq!(index.offset(text, at(0, 9), Encoding::Utf16), 1);
        assert_eq!(index.offset(text, at(9, 0), Encoding::Utf16), text.len());
    }

    #[test]
    fn a_carriage_return_alone_ends_a_line() {
        let text = "a\rb\n\r\nc";
        let index = LineIndex::new(text);
        assert_eq!(index.position(text, 2, Encoding::Utf16), at(1, 0));
        assert_eq!(index.position(text, text.len() - 1, Encoding::Utf16), at(3, 0));
    }

    #[test]
    fn the_cheapest_encoding_is_taken() {
        let offered = |names: &[&str]| Encoding::best_of(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert_eq!(offered(&[]), Encoding::Utf16);
        assert_eq!(offered(&["utf-16", "utf-8"]), Encoding::Utf8);
        assert_eq!(offered(&["utf-32", "utf-16"]), Encoding::Utf32);
    }

    proptest! {
        #[test]
        fn places_lead_back(text in "[a-c ö😀\r\n]{0,40}", offset in 0_usize..60) {
            let index = LineIndex::new(&text);
            let offset = (0..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            for encoding in [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32] {
                let position = index.position(&text, offset, encoding);
                let back = index.offset(&text, position, encoding);
                // A place between the two characters of a line end is at the end of the line.
                prop_assert!(back == offset || text[back..offset].trim_matches(['\r', '\n']).is_empty());
            }
        }
    }
}
