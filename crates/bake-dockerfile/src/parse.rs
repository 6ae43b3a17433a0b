//! The parser's main flow: lines to items and instructions.
//!
//! 1. byte-order mark and directives;
//! 2. per line: blank, comment, or an instruction with its continuations;
//! 3. keyword, flags and heredoc bodies of the instruction;
//! 4. its arguments, typed;
//! 5. the rules about the file as a whole.

use std::ops::Range;

use crate::arguments::Arguments;
use crate::diagnostic::{Diagnostic, Edit, code};
use crate::directive::{Directives, read_directives};
use crate::dockerfile::{Dockerfile, Item, ItemKind};
use crate::flag::{RawFlag, check_flags, split_flags, tree_flags};
use crate::heredoc::{HeredocWord, heredoc_words, read_body, without_leading_tabs};
use crate::instruction::{Heredoc, Instruction, InstructionKind, OnbuildInstruction};
use crate::json::{JsonForm, json_form};
use crate::keyword::Keyword;
use crate::limits::{
    DIAGNOSTICS_MAX, FILE_BYTES_MAX, HEREDOCS_MAX, INSTRUCTIONS_MAX, LINE_BYTES_MAX, PROBLEMS_PER_INSTRUCTION_MAX,
};
use crate::logical::{LogicalLine, continuation, is_comment, line_at};
use crate::source::{SourceText, Span, Spanned};
use crate::split::first_blank;
use crate::stages::{check_order, find_stages};
use crate::suggest::did_you_mean;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Parses a Dockerfile. Never fails: problems are in [`Dockerfile::diagnostics`], all of them at once.
pub fn parse(source: SourceText) -> Dockerfile {
    let mut dockerfile = parse_lines(source, Form::File);
    find_stages(&mut dockerfile);
    check_order(&mut dockerfile);
    // A file for another frontend has another language: what this parser makes of it is of no use to its author.
    if dockerfile.diagnostics.iter().any(|diagnostic| diagnostic.code == code::SYNTAX) {
        dockerfile.diagnostics.retain(|diagnostic| diagnostic.code == code::SYNTAX);
    }
    dockerfile.diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    dockerfile
}

/// Parses an `ONBUILD` trigger out of an image config: one instruction, no `FROM` around it, `\` as escape character.
///
/// The result has no stages and no global args; more or fewer than one instruction is an error in its diagnostics.
pub fn parse_trigger(text: &str) -> Dockerfile {
    let mut dockerfile = parse_lines(SourceText::new("ONBUILD trigger", text), Form::Trigger);
    let whole = Span::new(0, text.len());
    if dockerfile.instructions.len() != 1 && !dockerfile.has_errors() {
        let message = "onbuild trigger should be a single expression";
        dockerfile.diagnostics.push(Diagnostic::error(code::ONBUILD, whole, message));
    }
    for instruction in &dockerfile.instructions {
        let problem = forbidden_trigger(&instruction.keyword);
        dockerfile.diagnostics.extend(problem);
    }
    dockerfile.diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    dockerfile
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    File,
    Trigger,
}

fn parse_lines(source: SourceText, form: Form) -> Dockerfile {
    let mut parser = Parser {
        text: source.text(),
        escape: '\\',
        items: Vec::new(),
        instructions: Vec::new(),
        diagnostics: Vec::new(),
        comments: Vec::new(),
    };
    let directives = parser.file(form);
    let Parser { items, instructions, diagnostics, .. } = parser;
    Dockerfile { directives, items, instructions, global_args: Vec::new(), stages: Vec::new(), diagnostics, source }
}

struct Parser<'a> {
    text: &'a str,
    escape: char,
    items: Vec<Item>,
    instructions: Vec<Instruction>,
    diagnostics: Vec<Diagnostic>,
    /// Comment lines since the last instruction or blank line.
    comments: Vec<Span>,
}

/// An instruction's logical line and what was learnt while joining it.
struct Joined {
    line: LogicalLine,
    /// The end of the last line without its line end.
    end: usize,
    /// Where the next line begins.
    next: usize,
}

/// Keyword, flags and arguments as ranges of a logical line.
struct Head {
    keyword: Range<usize>,
    flags: Vec<RawFlag>,
    arguments: Range<usize>,
}

impl Parser<'_> {
    fn file(&mut self, form: Form) -> Directives {
        if self.text.len() > FILE_BYTES_MAX {
            let message = format!("the file has {} bytes, more than the {FILE_BYTES_MAX} allowed", self.text.len());
            self.diagnostics.push(Diagnostic::error(code::LIMIT, Span::default(), message));
            self.item(ItemKind::Unparsed, 0, self.text.len());
            return Directives::default();
        }
        let mut position = 0;
        if self.text.starts_with(BYTE_ORDER_MARK) {
            position = BYTE_ORDER_MARK.len_utf8();
            self.item(ItemKind::ByteOrderMark, 0, position);
        }
        let mut directives = Directives::default();
        let mut directive_lines = Vec::new();
        if form == Form::File {
            let found = read_directives(self.text, position);
            directives = found.directives;
            directive_lines = found.lines;
            self.diagnostics.extend(found.diagnostics);
            self.escape = directives.escape;
        }
        while let Some(line) = line_at(self.text, position) {
            let content = &self.text[line.start..line.end];
            if content.trim_start().is_empty() {
                self.check_length(line.start, line.end);
                self.item(ItemKind::Blank, line.start, line.next);
                self.comments.clear();
                position = line.next;
            } else if is_comment(content) {
                self.check_length(line.start, line.end);
                if directive_lines.binary_search_by_key(&line.start, |span| span.start).is_ok() {
                    self.item(ItemKind::Directive, line.start, line.next);
                } else {
                    self.item(ItemKind::Comment, line.start, line.next);
                    self.comments.push(Span::new(line.start, line.end));
                }
                position = line.next;
            } else if self.instructions.len() == INSTRUCTIONS_MAX || self.diagnostics.len() >= DIAGNOSTICS_MAX {
                let span = Span::new(line.start, line.end);
                let message = if self.instructions.len() == INSTRUCTIONS_MAX {
                    format!("the file has more than the {INSTRUCTIONS_MAX} instructions allowed")
                } else {
                    format!("the file has more than {DIAGNOSTICS_MAX} problems, the rest of it is not looked at")
                };
                self.diagnostics.push(Diagnostic::error(code::LIMIT, span, message));
                self.item(ItemKind::Unparsed, line.start, self.text.len());
                break;
            } else {
                position = self.instruction(line.start);
            }
        }
        directives
    }

    fn item(&mut self, kind: ItemKind, start: usize, end: usize) {
        self.items.push(Item { kind, span: Span::new(start, end) });
    }

    fn check_length(&mut self, start: usize, end: usize) {
        if end - start > LINE_BYTES_MAX {
            let message = format!("dockerfile line greater than max allowed size of {LINE_BYTES_MAX}");
            self.diagnostics.push(Diagnostic::error(code::LIMIT, Span::new(start, end), message));
        }
    }

    /// Parses the instruction that begins on the line at `start`; returns where the next line begins.
    fn instruction(&mut self, start: usize) -> usize {
        let joined = self.join(start);
        let comments = std::mem::take(&mut self.comments);
        let line = joined.line;
        let whole = line.trimmed(0..line.text().len());
        if whole.is_empty() {
            let span = Span::new(start, joined.end);
            let message = "unknown instruction: a line continuation continues nothing";
            self.diagnostics.push(Diagnostic::error(code::UNKNOWN_INSTRUCTION, span, message));
        }
        let head = split_head(&line, whole.clone(), self.escape);
        let mut words = heredoc_words_of(&line, &head, self.escape);
        if words.len() > HEREDOCS_MAX {
            let message = format!("an instruction may begin at most {HEREDOCS_MAX} heredocs");
            self.diagnostics.push(Diagnostic::error(code::LIMIT, line.span(head.keyword.clone()), message));
            words.truncate(HEREDOCS_MAX);
        }
        let (heredocs, end, next) = self.heredoc_bodies(&line, &words, joined.end, joined.next);
        let keyword_start = line.span(head.keyword.clone()).start;
        let context = Context { words: &words, heredocs, comments, span_end: end, line: &line };
        let instruction = self.build(&head, whole, context);
        let indented = self.text[start..keyword_start].contains([' ', '\t']);
        self.suggest_continuation(&instruction, indented);
        self.instructions.push(instruction);
        self.item(ItemKind::Instruction(self.instructions.len() - 1), start, next);
        next
    }

    /// Joins the continuation lines of an instruction.
    fn join(&mut self, start: usize) -> Joined {
        let mut line = LogicalLine::new(start);
        let mut joined_end = start;
        let mut position = start;
        let mut first = true;
        let mut empty_lines = 0;
        while let Some(physical) = line_at(self.text, position) {
            let content = &self.text[physical.start..physical.end];
            position = physical.next;
            self.check_length(physical.start, physical.end);
            if !first && is_comment(content) {
                joined_end = physical.end;
                continue;
            }
            if !first && content.trim_start().is_empty() {
                empty_lines += 1;
                if empty_lines <= PROBLEMS_PER_INSTRUCTION_MAX {
                    self.empty_continuation(physical.start, physical.end, physical.next);
                }
                continue;
            }
            joined_end = physical.end;
            // White space at the beginning counts on continuation lines only.
            let skipped = if first { content.len() - content.trim_start().len() } else { 0 };
            let content = &content[skipped..];
            let source = physical.start + skipped;
            first = false;
            if let Some(length) = continuation(content, self.escape) {
                line.push(&content[..length], source);
            } else {
                line.push(content, source);
                break;
            }
        }
        Joined { line, end: joined_end, next: position }
    }

    fn empty_continuation(&mut self, start: usize, end: usize, next: usize) {
        let edit = Edit {
            span: Span::new(start, next),
            replacement: String::new(),
            safe: true,
            title: "delete the empty line".to_owned(),
        };
        let help = "the instruction goes on below; delete the line, or end the instruction above it";
        let diagnostic =
            Diagnostic::warning(code::EMPTY_CONTINUATION, Span::new(start, end), "Empty continuation line");
        self.diagnostics.push(diagnostic.with_help(help).with_edit(edit));
    }

    /// Reads the bodies of the heredocs that begin on a line. Returns them, the end of the instruction and the next line.
    fn heredoc_bodies(
        &mut self,
        line: &LogicalLine,
        words: &[HeredocWord],
        end: usize,
        next: usize,
    ) -> (Vec<Heredoc>, usize, usize) {
        let drop_carriage_returns = self.text[end..next].starts_with('\r');
        let (mut end, mut next) = (end, next);
        let mut heredocs = Vec::with_capacity(words.len());
        for word in words {
            let span = line.span(word.range.clone());
            let body = read_body(self.text, next, word, drop_carriage_returns);
            let body_start = next;
            // At the end of the file there is no body: its place is where the instruction ends.
            let body_span =
                if body.next > next { Span::new(body_start, body.end.max(body_start)) } else { Span::new(end, end) };
            end = end.max(body_span.end);
            next = body.next;
            self.check_lengths(body_start, next);
            if !body.closed {
                let message = format!("unterminated heredoc: there is no line that holds only `{}`", word.name);
                self.diagnostics.push(Diagnostic::error(code::HEREDOC, span, message));
            }
            heredocs.push(Heredoc {
                name: word.name.clone(),
                expand: word.expand,
                chomp: word.chomp,
                file_descriptor: word.file_descriptor,
                body: if word.chomp { without_leading_tabs(&body.text) } else { body.text.clone() },
                unstripped: body.text,
                span: body_span,
                word: Spanned::new(line.slice(word.range.clone()).to_owned(), span),
            });
        }
        (heredocs, end, next)
    }

    fn check_lengths(&mut self, start: usize, end: usize) {
        let mut position = start;
        while let Some(line) = line_at(self.text, position).filter(|line| line.start < end) {
            self.check_length(line.start, line.end);
            position = line.next;
        }
    }

    /// Puts the instruction together.
    fn build(&mut self, head: &Head, whole: Range<usize>, mut context: Context<'_>) -> Instruction {
        let line = context.line;
        let written = line.slice(head.keyword.clone()).to_owned();
        let keyword = Spanned::new(written, line.span(head.keyword.clone()));
        let span_start = line.span(whole.clone()).start;
        let span = Span::new(span_start, context.span_end.max(span_start));
        let flags = tree_flags(line, &head.flags);
        let heredocs = std::mem::take(&mut context.heredocs);
        let comments = std::mem::take(&mut context.comments);
        let invalid = || {
            let rest = line.slice(head.arguments.clone()).to_owned();
            InstructionKind::Invalid(Spanned::new(rest, line.span(head.arguments.clone())))
        };
        let kind = match Keyword::parse(&keyword.value) {
            None => {
                if !keyword.value.is_empty() {
                    self.unknown_instruction(&keyword);
                }
                None
            }
            Some(Keyword::Onbuild) => {
                check_flags(Keyword::Onbuild, line, &head.flags, &mut self.diagnostics);
                self.onbuild(head, &context, &heredocs, &keyword, span.end)
            }
            Some(known) => {
                check_flags(known, line, &head.flags, &mut self.diagnostics);
                let arguments = Arguments {
                    line,
                    range: head.arguments.clone(),
                    keyword: known,
                    keyword_span: keyword.span,
                    flags: &head.flags,
                    heredocs: context.words,
                    escape: self.escape,
                    diagnostics: &mut self.diagnostics,
                };
                arguments.parse()
            }
        };
        let kind = kind.unwrap_or_else(invalid);
        Instruction { kind, keyword, flags, heredocs, span, comments, text: line.slice(whole).to_owned() }
    }

    fn onbuild(
        &mut self,
        head: &Head,
        context: &Context<'_>,
        heredocs: &[Heredoc],
        keyword: &Spanned<String>,
        span_end: usize,
    ) -> Option<InstructionKind> {
        let line = context.line;
        if head.arguments.is_empty() {
            let message = "ONBUILD requires at least one argument";
            self.diagnostics.push(Diagnostic::error(code::ARGUMENTS, keyword.span, message));
            return None;
        }
        let inner = split_head(line, head.arguments.clone(), self.escape);
        let inner_keyword =
            Spanned::new(line.slice(inner.keyword.clone()).to_owned(), line.span(inner.keyword.clone()));
        if let Some(diagnostic) = forbidden_trigger(&inner_keyword) {
            self.diagnostics.push(diagnostic);
            return None;
        }
        // The stored text keeps white space at its end, and the bodies with the tabs that `<<-` strips when the trigger runs.
        let mut trigger = line.slice(head.arguments.start..line.text().len()).to_owned();
        for heredoc in heredocs {
            let written = &self.text[heredoc.span.start..heredoc.span.end];
            let body = &written[..written.rfind('\n').map_or(0, |newline| newline + 1)];
            trigger.push('\n');
            trigger.push_str(&body.replace("\r\n", "\n"));
            trigger.push_str(&heredoc.name);
        }
        let inner_context =
            Context { words: context.words, heredocs: heredocs.to_vec(), comments: Vec::new(), span_end, line };
        let instruction = self.build(&inner, head.arguments.clone(), inner_context);
        Some(InstructionKind::Onbuild(OnbuildInstruction { trigger, instruction: Box::new(instruction) }))
    }

    fn unknown_instruction(&mut self, keyword: &Spanned<String>) {
        let hint = did_you_mean(&keyword.value, Keyword::names(), false);
        let message = format!("unknown instruction: {}{hint}", keyword.value);
        let mut diagnostic = Diagnostic::error(code::UNKNOWN_INSTRUCTION, keyword.span, message);
        if let Some(suggestion) = crate::suggest::suggest(&keyword.value, Keyword::names(), false) {
            diagnostic = diagnostic.with_edit(Edit {
                span: keyword.span,
                replacement: suggestion.to_owned(),
                safe: false,
                title: format!("replace `{}` with `{suggestion}`", keyword.value),
            });
        }
        self.diagnostics.push(diagnostic);
    }

    /// An unknown instruction is often the rest of the one above, whose continuation was forgotten.
    fn suggest_continuation(&mut self, instruction: &Instruction, indented: bool) {
        if !matches!(instruction.kind, InstructionKind::Invalid(_)) {
            return;
        }
        let Some(previous) = self.instructions.last() else { return };
        let dangling = ["&&", "||", "|", ";", "\\\\"].iter().any(|end| previous.text.ends_with(end));
        if !indented && !dangling {
            return;
        }
        let escape = self.escape;
        if let Some(diagnostic) = self.diagnostics.last_mut()
            && diagnostic.code == code::UNKNOWN_INSTRUCTION
            && diagnostic.help.is_none()
            && diagnostic.fix.is_empty()
        {
            diagnostic.help = Some(format!("if this line continues the one above, that one must end with `{escape}`"));
        }
    }
}

/// What an instruction shares with the `ONBUILD` around it.
struct Context<'a> {
    words: &'a [HeredocWord],
    heredocs: Vec<Heredoc>,
    comments: Vec<Span>,
    span_end: usize,
    line: &'a LogicalLine,
}

/// Splits keyword, flags and arguments at `range`, which is trimmed.
fn split_head(line: &LogicalLine, range: Range<usize>, escape: char) -> Head {
    let Some((length, rest)) = first_blank(line.slice(range.clone())) else {
        return Head { keyword: range.clone(), flags: Vec::new(), arguments: range.end..range.end };
    };
    let keyword = range.start..range.start + length;
    let (flags, arguments) = split_flags(line, range.start + rest..range.end, escape);
    Head { keyword, flags, arguments: line.trimmed(arguments..range.end) }
}

/// The heredoc words of an instruction, if it may have any: `RUN`, `COPY` and `ADD` in shell form, also below `ONBUILD`.
fn heredoc_words_of(line: &LogicalLine, head: &Head, escape: char) -> Vec<HeredocWord> {
    if !line.text().contains("<<") {
        return Vec::new();
    }
    let keyword = Keyword::parse(line.slice(head.keyword.clone()));
    if keyword == Some(Keyword::Onbuild) {
        let inner = split_head(line, head.arguments.clone(), escape);
        let inner_keyword = Keyword::parse(line.slice(inner.keyword.clone()));
        return if inner_keyword == Some(Keyword::Onbuild) {
            Vec::new()
        } else {
            heredoc_words_of(line, &inner, escape)
        };
    }
    if !keyword.is_some_and(Keyword::takes_heredocs) {
        return Vec::new();
    }
    match json_form(line.slice(head.arguments.clone())) {
        JsonForm::NotJson => heredoc_words(line.text()),
        JsonForm::Strings(_) | JsonForm::OtherElements => Vec::new(),
    }
}

/// The problem with an instruction that may not be a trigger.
fn forbidden_trigger(keyword: &Spanned<String>) -> Option<Diagnostic> {
    let message = match Keyword::parse(&keyword.value)? {
        Keyword::Onbuild => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
        forbidden @ (Keyword::From | Keyword::Maintainer) => {
            format!("{} isn't allowed as an ONBUILD trigger", forbidden.name())
        }
        _ => return None,
    };
    Some(Diagnostic::error(code::ONBUILD, keyword.span, message))
}

#[cfg(test)]
mod tests;
