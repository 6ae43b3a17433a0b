//! The names that nearly every rule uses.

pub(super) use bake_dockerfile::instruction::{Command, Instruction, InstructionKind};
pub(super) use bake_dockerfile::suggest::suggest;
pub(super) use bake_dockerfile::{Severity, Span};

pub(super) use crate::context::{Base, LintContext, RunFacts, from_words};
pub(super) use crate::finding::{Reporter, TextEdit};
pub(super) use crate::packages::{Action, Manager, package_commands};
pub(super) use crate::rule::{FixSafety, Rule};
pub(super) use crate::shell::SimpleCommand;
