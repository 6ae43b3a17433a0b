//! The layout of Dockerfiles: the same instructions in one way of writing them.
//!
//! Purpose: `bake fmt` and the formatting of editors. Keywords are upper-case, single blanks follow keywords and flags, lines end
//! without blanks and in one way, continuation lines are indented by [`INDENTATION`] columns, one blank line stands where there were
//! several and before each later stage.
//!
//! Entry points: [`format()`] for a whole file, [`format_edits`] for the single changes.
//!
//! Invariants: a formatted file has the same instructions, flags, words and heredoc bodies, and steps run the same commands; what
//! would land in an image's config is not touched at all. Formatting twice is formatting once. Comments keep their text.
//!
//! Must not: touch the disk, the network or the environment; print; look inside quotes, heredocs or other people's languages.
#![forbid(unsafe_code)]

mod continuation;
mod lines;
mod meaning;
mod quoting;

use bake_dockerfile::diagnostic::code;
use bake_dockerfile::instruction::{Instruction, InstructionKind};
use bake_dockerfile::{Dockerfile, Item, ItemKind, SourceText, Span};

use crate::lines::LineEnding;

/// Columns by which continuation lines are indented.
pub const INDENTATION: usize = 4;

/// The replacement of one range of the text; an empty range inserts. The edits of a file do not overlap and are in source order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatEdit {
    /// What is replaced, in bytes of the source.
    pub span: Span,
    /// By what.
    pub replacement: String,
}

/// Why a file is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// `# syntax=` names another frontend: the file is in a language that is not known here.
    #[error("the file is for another frontend, whose language is not known here")]
    OtherFrontend,
    /// The formatted text would not mean the same. That is a defect of the formatter, and the check is there so that it costs nobody
    /// a build.
    #[error("the formatted file would not mean the same as before")]
    MeaningChanged,
}

/// The whole file formatted.
///
/// # Errors
/// [`FormatError`]; the file is to be left as it is then. Files that do not parse are no error: the instructions that cannot be
/// understood stay as they are.
pub fn format(dockerfile: &Dockerfile) -> Result<String, FormatError> {
    let edits = format_edits(dockerfile)?;
    let text = apply(dockerfile.source.text(), &edits);
    let formatted = bake_dockerfile::parse(SourceText::new(dockerfile.source.name(), text.as_str()));
    if meaning::is_same(dockerfile, &formatted) { Ok(text) } else { Err(FormatError::MeaningChanged) }
}

/// The changes that format the file, each of which may also be made without the others. Unlike [`format()`] this does not read the
/// result again.
///
/// # Errors
/// [`FormatError::OtherFrontend`].
pub fn format_edits(dockerfile: &Dockerfile) -> Result<Vec<FormatEdit>, FormatError> {
    if dockerfile.diagnostics.iter().any(|diagnostic| diagnostic.code == code::SYNTAX) {
        return Err(FormatError::OtherFrontend);
    }
    let mut formatter = Formatter::new(dockerfile);
    formatter.file();
    let mut edits = formatter.edits;
    edits.retain(|edit| dockerfile.source.slice(edit.span) != edit.replacement);
    edits.sort_by_key(|edit| edit.span);
    Ok(edits)
}

/// The text with the edits made.
pub fn apply(text: &str, edits: &[FormatEdit]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut position = 0;
    for edit in edits {
        result.push_str(text.get(position..edit.span.start).unwrap_or_default());
        result.push_str(&edit.replacement);
        position = edit.span.end;
    }
    result.push_str(text.get(position..).unwrap_or_default());
    result
}

/// What is found out about a file while its edits are collected.
struct Formatter<'a> {
    dockerfile: &'a Dockerfile,
    text: &'a str,
    ending: LineEnding,
    /// Whether the shell of all steps quotes as POSIX shells do.
    posix_shell: bool,
    edits: Vec<FormatEdit>,
}

impl<'a> Formatter<'a> {
    fn new(dockerfile: &'a Dockerfile) -> Self {
        let text = dockerfile.source.text();
        Self {
            dockerfile,
            text,
            ending: LineEnding::first_of(text),
            posix_shell: continuation::has_posix_shell(dockerfile),
            edits: Vec::new(),
        }
    }

    fn file(&mut self) {
        let items = &self.dockerfile.items;
        let mut after_instruction = false;
        for (index, item) in items.iter().enumerate() {
            match item.kind {
                ItemKind::ByteOrderMark | ItemKind::Unparsed => {}
                ItemKind::Directive => self.line_endings(item.span.start, item.span.end),
                ItemKind::Blank => self.blank(items, index),
                ItemKind::Comment => self.comment(item.span, after_instruction),
                ItemKind::Instruction(number) => {
                    after_instruction = true;
                    if let Some(instruction) = self.dockerfile.instructions.get(number) {
                        self.instruction(*item, instruction);
                    }
                }
            }
        }
        self.space_before_stages();
        self.final_newline();
    }

    fn replace(&mut self, start: usize, end: usize, replacement: impl Into<String>) {
        self.edits.push(FormatEdit { span: Span::new(start, end), replacement: replacement.into() });
    }

    /// Of several blank lines the first is kept, at the end of the file none.
    fn blank(&mut self, items: &[Item], index: usize) {
        let span = items[index].span;
        let is_blank = |item: &Item| item.kind == ItemKind::Blank;
        let before = index.checked_sub(1).and_then(|before| items.get(before));
        let rest = items.get(index + 1..).unwrap_or_default();
        let next = rest.iter().find(|item| !is_blank(item));
        let superfluous = match (before, next) {
            (_, None) => true,
            (Some(before), Some(_)) if is_blank(before) => true,
            (None, Some(next)) => self.may_stand_first(*next),
            _ => false,
        };
        if superfluous {
            self.replace(span.start, span.end, "");
        } else {
            let line_end = lines::of(self.text, span.start, span.end).next().map_or(span.start, |line| line.end);
            self.replace(span.start, line_end, "");
            self.line_endings(span.start, span.end);
        }
    }

    /// Whether an item means the same without a blank line above it at the beginning of the file. A comment could become a directive,
    /// and the first line decides how lines end.
    fn may_stand_first(&self, item: Item) -> bool {
        let ItemKind::Instruction(number) = item.kind else { return false };
        self.dockerfile.instructions.get(number).is_some_and(|instruction| {
            instruction.heredocs.is_empty() && !matches!(instruction.kind, InstructionKind::Invalid(_))
        })
    }

    /// A comment between instructions. Those before the first instruction keep their indentation, which can keep them from being
    /// directives.
    fn comment(&mut self, span: Span, after_instruction: bool) {
        for line in lines::of(self.text, span.start, span.end) {
            let content = &self.text[line.start..line.end];
            if after_instruction {
                self.replace(line.start, line.start + lines::leading_blanks(content), "");
            }
            self.trailing_blanks(line.start, line.end);
        }
        self.line_endings(span.start, span.end);
    }

    fn instruction(&mut self, item: Item, instruction: &Instruction) {
        let head_end = instruction
            .heredocs
            .first()
            .map(|heredoc| heredoc.span.start)
            .filter(|start| *start > item.span.start && self.text[..*start].ends_with('\n'))
            .unwrap_or(item.span.end);
        let head_ending = lines::of(self.text, item.span.start, head_end).last();
        let ends_as_file =
            head_ending.is_none_or(|line| line.end == line.next || self.ending.is(&self.text[line.end..line.next]));
        // How the first lines end decides whether carriage returns belong to the body, which stays as it is.
        if instruction.heredocs.is_empty() || ends_as_file {
            self.line_endings(item.span.start, head_end);
        }
        if matches!(instruction.kind, InstructionKind::Invalid(_)) {
            return;
        }
        self.keyword(item, instruction);
        if !matches!(instruction.kind, InstructionKind::Onbuild(_)) {
            self.continuations(item.span.start, head_end, instruction);
        }
    }

    /// Upper case, no indentation, and single blanks after keyword, flags and the words of `FROM`.
    fn keyword(&mut self, item: Item, instruction: &Instruction) {
        let keyword = &instruction.keyword;
        if self.dockerfile.source.slice(keyword.span) == keyword.value {
            self.replace(keyword.span.start, keyword.span.end, keyword.value.to_ascii_uppercase());
        }
        let before = &self.text[item.span.start..keyword.span.start];
        if lines::leading_blanks(before) == before.len() {
            self.replace(item.span.start, keyword.span.start, "");
        }
        self.single_blank(keyword.span);
        for flag in &instruction.flags {
            self.single_blank(flag.span);
        }
        if let InstructionKind::From(from) = &instruction.kind {
            self.single_blank(from.image.span);
            if let Some(word) = &from.as_keyword {
                if self.dockerfile.source.slice(word.span).eq_ignore_ascii_case("as") {
                    self.replace(word.span.start, word.span.end, "AS");
                }
                self.single_blank(word.span);
            }
        }
    }

    /// Makes one blank of those after a word, where something follows on the line.
    fn single_blank(&mut self, word: Span) {
        let rest = self.text.get(word.end..).unwrap_or_default();
        let blanks = lines::leading_blanks(rest);
        if blanks > 0 && !rest[blanks..].starts_with(['\n', '\r']) && blanks < rest.len() {
            self.replace(word.end, word.end + blanks, " ");
        }
    }

    /// Removes blanks and tabs at the end of a line.
    fn trailing_blanks(&mut self, start: usize, end: usize) {
        let content = &self.text[start..end];
        let kept = content.trim_end_matches([' ', '\t']).len();
        self.replace(start + kept, end, "");
    }

    fn line_endings(&mut self, start: usize, end: usize) {
        for line in lines::of(self.text, start, end) {
            if line.end < line.next {
                self.replace(line.end, line.next, self.ending.text());
            }
        }
    }

    /// One blank line before each stage but the first, above the comments that belong to its `FROM`.
    fn space_before_stages(&mut self) {
        let items = &self.dockerfile.items;
        let mut later = self.dockerfile.stages.iter().skip(1).map(|stage| stage.from).peekable();
        for (index, item) in items.iter().enumerate() {
            let ItemKind::Instruction(number) = item.kind else { continue };
            if later.next_if_eq(&number).is_none() {
                continue;
            }
            let comments = items[..index].iter().rev().take_while(|item| item.kind == ItemKind::Comment).count();
            let first = index - comments;
            let above = first.checked_sub(1).and_then(|above| items.get(above));
            if above.is_some_and(|above| matches!(above.kind, ItemKind::Instruction(_))) {
                let place = items[first].span.start;
                self.replace(place, place, self.ending.text());
            }
        }
    }

    fn final_newline(&mut self) {
        let Some(last) = self.dockerfile.items.last() else { return };
        let may_end = match last.kind {
            ItemKind::Instruction(number) => {
                self.dockerfile.instructions.get(number).is_some_and(|instruction| instruction.heredocs.is_empty())
            }
            ItemKind::Comment | ItemKind::Directive => true,
            ItemKind::Blank | ItemKind::ByteOrderMark | ItemKind::Unparsed => false,
        };
        if may_end && !self.text.ends_with('\n') {
            self.replace(self.text.len(), self.text.len(), self.ending.text());
        }
    }
}
