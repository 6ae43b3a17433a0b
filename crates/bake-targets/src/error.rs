//! What is wrong with a bake file, and where.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A file with targets: its name for messages, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BakeFile {
    /// As the user named it.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<BakeFile>,
    /// The bytes; `None` where only the file is known.
    pub span: Option<Range<usize>>,
}

impl Place {
    /// Line and column of the beginning, both from 1.
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        let start = self.span.as_ref()?.start;
        let before = self.file.text.get(..start)?;
        let line_start = before.rfind('\n').map_or(0, |position| position + 1);
        Some((before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }
}

/// An error in a bake file, an override or the request for a target.
#[derive(Debug, Clone)]
pub struct TargetError {
    /// What is wrong, without a final period.
    pub message: String,
    /// Where, if it is in a file.
    pub place: Option<Place>,
    /// How it can be mended.
    pub hint: Option<String>,
}

impl TargetError {
    /// An error without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, hint: None }
    }

    /// Says how it can be mended.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where it is, unless a nearer place is known.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.place.get_or_insert_with(|| place.clone());
        self
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            f.write_str(&place.file.name)?;
            if let Some((line, column)) = place.line_and_column() {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for TargetError {}
