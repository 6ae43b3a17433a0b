//! The build checks: what BuildKit warns of during every build, under its names and in its words.
//!
//! Purpose: decide each check in one place. `bake build` meets them while it plans and knows everything; `bake lint` has a rule for each,
//! and knows what the text says. Both ask here.
//!
//! Entry points: [`CHECKS`] lists them; a function for each (its documentation begins with the check's name) takes a piece of the syntax
//! tree and the facts that it rests on, and returns a [`Violation`].
//!
//! Invariants: a function decides by its arguments alone. Messages are BuildKit's, word for word, because programs read them.
//!
//! Must not: reach the disk, the network or the environment; plan anything; know about comments that hide findings.
#![forbid(unsafe_code)]

mod description;
mod expanded;
mod from_lines;
mod ignored;
mod instructions;
mod names;
mod table;

use bake_dockerfile::Span;

pub use description::{comment_words, definition_description};
pub use expanded::Expanded;
pub use from_lines::{base_platform, base_platform_named, invalid_default_args, platform_flag, undeclared_args};
pub use ignored::copy_ignored;
pub use instructions::{
    HARMLESS_WORDS, SECRET_WORDS, counted_once, empty_continuation, legacy_key_value, maintainer, port,
    relative_workdir, secret_name, shell_form, superseded, undefined_variable,
};
pub use names::{Casing, casing_majority, from_as_casing, instruction_casing, stage_name_casing, stage_names};
pub use table::{CHECKS, Check};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The check.
    pub check: &'static Check,
    /// The offending token.
    pub span: Span,
    /// What is wrong, in BuildKit's words.
    pub message: String,
}

impl Violation {
    pub(crate) fn new(check: &'static Check, span: Span, message: impl Into<String>) -> Self {
        Self { check, span, message: message.into() }
    }
}

/// The check of this name.
pub fn check_named(name: &str) -> Option<&'static Check> {
    CHECKS.iter().copied().find(|check| check.name == name)
}
