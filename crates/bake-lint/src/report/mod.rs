//! Findings in forms for other programs.

mod json;
mod sarif;

pub use json::json;
pub use sarif::sarif;

use bake_dockerfile::SourceText;

use crate::finding::Finding;

/// The findings of one file.
#[derive(Debug, Clone, Copy)]
pub struct FileFindings<'a> {
    /// The file.
    pub source: &'a SourceText,
    /// Its findings, in the order they are to be reported.
    pub findings: &'a [Finding],
}

#[cfg(test)]
mod tests;
