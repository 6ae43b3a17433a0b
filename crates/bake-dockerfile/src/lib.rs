//! Dockerfile text to a lossless syntax tree with spans.
#![forbid(unsafe_code)]
pub mod instruction;
pub mod source;
pub use source::{Position, SourceText, Span, Spanned};
