//! Dockerfile text to a lossless syntax tree with spans, and the small languages around it.
//!
//! Purpose: everything that can be said about a Dockerfile or a `.dockerignore` from its text alone: instructions with exact source
//! ranges ([`Instruction`]), parser directives, heredocs, word expansion ([`Expander`]), ignore patterns ([`IgnorePatterns`]) and
//! the [`Diagnostic`] type that the parser and the linter share.
//!
//! Entry points: [`parse`] for a file, [`parse_trigger`] for an `ONBUILD` trigger out of an image config, [`IgnoreFile::parse`].
//!
//! Invariants: parsing never fails and never panics; it returns a tree and diagnostics. The texts of [`Dockerfile::items`]
//! concatenate to the source byte for byte. Every span lies inside the source on character boundaries.
//!
//! Must not: touch the disk, the network or the environment, print, or block. Variables come in through a closure.
#![forbid(unsafe_code)]

mod arguments;
pub mod diagnostic;
mod directive;
mod dockerfile;
mod dump;
mod flag;
pub mod glob;
mod heredoc;
pub mod ignore;
pub mod instruction;
mod json;
mod keyword;
pub mod limits;
mod logical;
mod mount;
mod parse;
mod pattern;
mod quantity;
pub mod source;
mod split;
mod stages;
pub mod suggest;
pub mod word;

pub use diagnostic::{Code, Diagnostic, Edit, Severity};
pub use directive::{CheckOptions, CheckOptionsError, Directives, is_built_in_frontend, parse_boolean};
pub use dockerfile::{Dockerfile, Item, ItemKind, Stage};
pub use flag::flag_names;
pub use glob::{BadPattern, glob_match};
pub use ignore::{IgnoreError, IgnoreFile, IgnorePattern, IgnorePatterns, MatchState};
pub use instruction::{Instruction, InstructionKind};
pub use keyword::instruction_names;
pub use logical::{PhysicalLine, continuation, is_comment, line_at};
pub use parse::{parse, parse_trigger};
pub use quantity::{QuantityError, parse_byte_size, parse_duration_ns};
pub use source::{Position, SourceText, Span, Spanned};
pub use suggest::suggest;
pub use word::{ExpandError, Expander, Expansion, WordsExpansion};
