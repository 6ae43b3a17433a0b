//! Physical lines and how they end.

use bake_dockerfile::{PhysicalLine, line_at};

/// What ends the lines of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnding {
    Newline,
    CarriageReturnNewline,
}

impl LineEnding {
    /// That of the first line: unlike the more frequent one, formatting cannot change it.
    pub(crate) fn first_of(text: &str) -> Self {
        match line_at(text, 0) {
            Some(line) if text[line.end..line.next].starts_with('\r') => Self::CarriageReturnNewline,
            _ => Self::Newline,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Newline => "\n",
            Self::CarriageReturnNewline => "\r\n",
        }
    }

    /// Whether a line that ends with `ending` ends like the file, several carriage returns counting as one.
    pub(crate) fn is(self, ending: &str) -> bool {
        (self == Self::CarriageReturnNewline) == ending.starts_with('\r')
    }
}

/// The lines that begin in `start..end`.
pub(crate) fn of(text: &str, start: usize, end: usize) -> impl Iterator<Item = PhysicalLine> + '_ {
    let mut position = start;
    std::iter::from_fn(move || {
        let line = line_at(text, position).filter(|line| line.start < end)?;
        position = line.next;
        Some(line)
    })
}

/// How many blanks and tabs a text begins with.
pub(crate) fn leading_blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t']).len()
}
