//! Shell text as characters that remember where they stand in the Dockerfile.

use bake_dockerfile::Span;

/// A character and the byte it begins at in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Character {
    pub(crate) value: char,
    pub(crate) offset: usize,
    /// One past its last byte in the source.
    pub(crate) end: usize,
}

/// A piece of shell text.
pub(crate) type Characters = Vec<Character>;

/// `text`, which begins at byte `start` of the source.
pub(crate) fn at(text: &str, start: usize) -> Characters {
    text.char_indices()
        .map(|(index, value)| Character { value, offset: start + index, end: start + index + value.len_utf8() })
        .filter(|character| character.value != '\r')
        .collect()
}

/// `text`, whose characters all stand for the whole of `span`: used where the source escapes them in another way (JSON).
pub(crate) fn all_at(text: &str, span: Span) -> Characters {
    text.chars().map(|value| Character { value, offset: span.start, end: span.end }).collect()
}

/// Joins the continued lines of an instruction as the Dockerfile parser does: the escape character with blanks after it at a line's
/// end goes together with the line end; comment lines and blank lines in between go too.
pub(crate) fn join_continuations(text: &str, start: usize, escape: char) -> Characters {
    let mut joined = Characters::new();
    let mut offset = start;
    let mut continued = false;
    for line in text.split_inclusive('\n') {
        let line_start = offset;
        offset += line.len();
        let content = line.trim_end_matches(['\n', '\r']);
        let trimmed = content.trim_start();
        if continued && (trimmed.is_empty() || trimmed.starts_with('#')) {
            continue;
        }
        let without_blanks = content.trim_end_matches([' ', '\t']);
        let escapes = without_blanks.chars().rev().take_while(|c| *c == escape).count();
        continued = escapes == 1;
        if continued {
            joined.extend(at(&without_blanks[..without_blanks.len() - escape.len_utf8()], line_start));
        } else {
            joined.extend(at(line, line_start));
        }
    }
    joined
}
