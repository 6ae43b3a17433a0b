//! The lines of one instruction: blanks at their ends, and the indentation of those that continue it.
//!
//! Lines are moved together, so that what is indented further than its neighbours stays so. A line is moved only where blanks at its
//! beginning do no more than separate words. Where the text would land in an image's config as it is written (`CMD` in shell form,
//! `WORKDIR`, the value of `ENV NAME VALUE`), no line of it is moved.

use bake_dockerfile::instruction::{Command, Healthcheck, Instruction, InstructionKind};
use bake_dockerfile::{Dockerfile, PhysicalLine, continuation, is_comment};

use crate::quoting::{Language, Quoting};
use crate::{Formatter, INDENTATION, lines};

/// Names of shells whose quotes are known.
const POSIX_SHELLS: [&str; 6] = ["sh", "bash", "dash", "ash", "ksh", "zsh"];

/// Whether every `SHELL` of the file, and the escape character, speak for a POSIX shell.
pub(crate) fn has_posix_shell(dockerfile: &Dockerfile) -> bool {
    dockerfile.directives.escape == '\\'
        && dockerfile.instructions.iter().all(|instruction| match &instruction.kind {
            InstructionKind::Shell(words) => words
                .first()
                .and_then(|program| program.rsplit('/').next())
                .is_some_and(|name| POSIX_SHELLS.contains(&name)),
            _ => true,
        })
}

/// A line that may be moved.
struct Movable {
    start: usize,
    /// Bytes of its indentation.
    blanks: usize,
    column: usize,
    is_comment: bool,
}

impl Formatter<'_> {
    /// Removes blanks at line ends and indents continuation lines, in the lines `start..end` without heredoc bodies.
    pub(crate) fn continuations(&mut self, start: usize, end: usize, instruction: &Instruction) {
        let escape = self.dockerfile.directives.escape;
        let mut quoting = self.language(instruction).map(Quoting::new);
        let kept_from = as_written_from(instruction);
        let mut movable = Vec::new();
        for (number, line) in lines::of(self.text, start, end).enumerate() {
            let content = &self.text[line.start..line.end];
            self.line_end(line, escape);
            if content.trim_start().is_empty() {
                continue;
            }
            let comment = number > 0 && is_comment(content);
            let is_kept = kept_from.is_some_and(|kept| kept < line.start);
            if number > 0 && !is_kept && quoting.as_ref().is_some_and(|quoting| can_move(quoting, content, comment)) {
                let blanks = lines::leading_blanks(content);
                movable.push(Movable {
                    start: line.start,
                    blanks,
                    column: column(&content[..blanks]),
                    is_comment: comment,
                });
            }
            if let Some(quoting) = quoting.as_mut().filter(|_| !comment) {
                let from = if number == 0 { lines::leading_blanks(content) } else { 0 };
                let to = continuation(content, escape).unwrap_or(content.len());
                quoting.read(content.get(from..to).unwrap_or_default());
            }
        }
        // Lines that begin in the first column are not indented at all: they say nothing about the others.
        let columns = || movable.iter().filter(|line| !line.is_comment).map(|line| line.column);
        let least = columns().filter(|column| *column > 0).min().unwrap_or(INDENTATION);
        if columns().next().is_none() {
            return;
        }
        for line in movable {
            let column = (INDENTATION + line.column).saturating_sub(least).max(INDENTATION);
            self.replace(line.start, line.start + line.blanks, " ".repeat(column));
        }
    }

    /// Removes the blanks at the end of a line. Those after an escape character that does not continue the line stay: there they may
    /// be part of a word.
    fn line_end(&mut self, line: PhysicalLine, escape: char) {
        let content = &self.text[line.start..line.end];
        let trimmed = content.trim_end_matches([' ', '\t']);
        if !trimmed.ends_with(['\\', escape]) || continuation(content, escape).is_some() {
            self.trailing_blanks(line.start, line.end);
        }
    }

    /// Whose quotes count in an instruction; `None` where none of its lines may be moved.
    fn language(&self, instruction: &Instruction) -> Option<Language> {
        let shell = self.posix_shell.then_some(Language::Shell);
        let words = Language::Words(self.dockerfile.directives.escape);
        let is_json = instruction.text.contains('[') && instruction.text.trim_end().ends_with(']');
        match &instruction.kind {
            InstructionKind::Run(run) => match &run.command {
                Command::Shell(_) => shell,
                Command::Exec(_) => Some(Language::Json),
            },
            InstructionKind::Cmd(command)
            | InstructionKind::Entrypoint(command)
            | InstructionKind::Healthcheck(Healthcheck::Command { command, .. }) => match command {
                Command::Shell(_) => Some(words),
                Command::Exec(_) => Some(Language::Json),
            },
            InstructionKind::Shell(_) => Some(Language::Json),
            InstructionKind::Copy(_) | InstructionKind::Add(_) | InstructionKind::Volume(_) if is_json => None,
            InstructionKind::Onbuild(_) | InstructionKind::Invalid(_) => None,
            _ => Some(words),
        }
    }
}

/// Whether the indentation of the line that follows may be changed.
fn can_move(quoting: &Quoting, content: &str, comment: bool) -> bool {
    let has_blank = content.starts_with([' ', '\t']);
    quoting.is_free() && (comment || has_blank || quoting.is_between_words())
}

/// Where a value begins that lands in the image's config as it is written.
fn as_written_from(instruction: &Instruction) -> Option<usize> {
    let shell_form = |command: &Command| match command {
        Command::Shell(word) => Some(word.span.start),
        Command::Exec(_) => None,
    };
    match &instruction.kind {
        InstructionKind::Cmd(command)
        | InstructionKind::Entrypoint(command)
        | InstructionKind::Healthcheck(Healthcheck::Command { command, .. }) => shell_form(command),
        InstructionKind::Maintainer(word)
        | InstructionKind::Workdir(word)
        | InstructionKind::User(word)
        | InstructionKind::StopSignal(word) => Some(word.span.start),
        InstructionKind::Env(values) | InstructionKind::Label(values) if values.legacy => {
            values.pairs.first().map(|(_, value)| value.span.start)
        }
        _ => None,
    }
}

/// The width of an indentation, tabs going to multiples of [`INDENTATION`].
fn column(blanks: &str) -> usize {
    blanks.chars().fold(
        0,
        |column, blank| {
            if blank == '\t' { (column / INDENTATION + 1) * INDENTATION } else { column + 1 }
        },
    )
}
