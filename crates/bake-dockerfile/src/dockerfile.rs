//! The syntax tree of a file.

use std::ops::Range;

use crate::diagnostic::Diagnostic;
use crate::directive::Directives;
use crate::instruction::Instruction;
use crate::source::{SourceText, Span, Spanned};

/// A parsed Dockerfile. It exists for any text; [`Self::has_errors`] says whether it may be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    /// The text it was parsed from.
    pub source: SourceText,
    /// Parser directives.
    pub directives: Directives,
    /// Everything in the file, in order: the texts of the items concatenate to the source.
    pub items: Vec<Item>,
    /// All instructions in order.
    pub instructions: Vec<Instruction>,
    /// Indexes of the `ARG` instructions before the first `FROM`.
    pub global_args: Vec<usize>,
    /// The stages in order. A `FROM` that could not be parsed begins none.
    pub stages: Vec<Stage>,
    /// All findings, ordered by place.
    pub diagnostics: Vec<Diagnostic>,
}

/// A piece of the file. Items cover whole lines with their line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: ItemKind,
    /// Where it stands.
    pub span: Span,
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// The byte-order mark at the beginning.
    ByteOrderMark,
    /// A parser directive.
    Directive,
    /// A comment line.
    Comment,
    /// A line with nothing but white space.
    Blank,
    /// The instruction with this index in [`Dockerfile::instructions`], with its continuation lines and heredoc bodies.
    Instruction(usize),
    /// Text that was not looked at because a limit was exceeded.
    Unparsed,
}

/// A stage: a `FROM` and the instructions after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its index in [`Dockerfile::stages`].
    pub index: usize,
    /// `AS NAME`, as written; names compare lower-cased.
    pub name: Option<Spanned<String>>,
    /// The index of its `FROM` instruction.
    pub from: usize,
    /// Indexes of the instructions after `FROM`.
    pub instructions: Range<usize>,
}

impl Dockerfile {
    /// The instructions of a stage, without its `FROM`.
    pub fn stage_instructions(&self, stage: &Stage) -> &[Instruction] {
        self.instructions.get(stage.instructions.clone()).unwrap_or_default()
    }

    /// The last stage with this name, in any case.
    pub fn stage_by_name(&self, name: &str) -> Option<&Stage> {
        let name = name.to_lowercase();
        self.stages
            .iter()
            .rev()
            .find(|stage| stage.name.as_ref().is_some_and(|known| known.value.to_lowercase() == name))
    }

    /// The text of the file, put together from the items: the source byte for byte.
    pub fn print(&self) -> String {
        self.items.iter().map(|item| self.source.slice(item.span)).collect()
    }

    /// Whether any diagnostic is an error.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    /// A stable text form of the tree, for tests.
    pub fn dump(&self) -> String {
        crate::dump::dump(self)
    }
}
