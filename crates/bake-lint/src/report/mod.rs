//! Findings in forms for other programs. All are made from the same model, so they never disagree about a place or a severity, and
//! none lets text of a Dockerfile or a file's name end a line, a string or an element.

mod checkstyle;
mod codeclimate;
mod issue;
mod json;
mod junit;
mod lines;
mod sarif;
mod sonarqube;

pub use checkstyle::checkstyle;
pub use codeclimate::{codeclimate, gitlab};
pub use json::json;
pub use junit::junit;
pub use lines::{codacy, github, gnu};
pub use sarif::sarif;
pub use sonarqube::sonarqube;

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
