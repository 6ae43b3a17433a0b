//! The arguments of each instruction, checked and typed.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, code};
use crate::flag::{FlagValues, RawFlag};
use crate::heredoc::HeredocWord;
use crate::instruction::{
    ArgDeclaration, Command, CopyInstruction, CopySource, FromInstruction, Healthcheck, InstructionKind, KeyValues,
    NetworkFlag, RunInstruction, SecurityFlag, Word,
};
use crate::json::{JsonForm, json_form};
use crate::keyword::Keyword;
use crate::limits::PROBLEMS_PER_INSTRUCTION_MAX;
use crate::logical::LogicalLine;
use crate::mount::parse_mount;
use crate::quantity::parse_duration_ns;
use crate::source::{Span, Spanned};
use crate::split::{blank_separated, first_blank, shell_words};
use crate::suggest::did_you_mean;

/// What one instruction's arguments are made of.
pub(crate) struct Arguments<'a> {
    /// The logical line.
    pub(crate) line: &'a LogicalLine,
    /// The arguments in it, without keyword and flags, trimmed.
    pub(crate) range: Range<usize>,
    /// The keyword.
    pub(crate) keyword: Keyword,
    /// Where the keyword stands: the place of problems with arguments that are not there.
    pub(crate) keyword_span: Span,
    /// The flags.
    pub(crate) flags: &'a [RawFlag],
    /// The heredoc words of the line.
    pub(crate) heredocs: &'a [HeredocWord],
    /// The escape character of the file.
    pub(crate) escape: char,
    /// Where problems go.
    pub(crate) diagnostics: &'a mut Vec<Diagnostic>,
}

impl<'a> Arguments<'a> {
    /// The typed instruction; `None` when a problem was reported that leaves none. `ONBUILD` is not for this function.
    pub(crate) fn parse(mut self) -> Option<InstructionKind> {
        match self.keyword {
            Keyword::From => self.from(),
            Keyword::Arg => self.arg(),
            Keyword::Env => self.key_values().map(InstructionKind::Env),
            Keyword::Label => self.key_values().map(InstructionKind::Label),
            Keyword::Maintainer => self.whole().map(InstructionKind::Maintainer),
            Keyword::Workdir => self.whole().map(InstructionKind::Workdir),
            Keyword::User => self.whole().map(InstructionKind::User),
            Keyword::StopSignal => self.whole().map(InstructionKind::StopSignal),
            Keyword::Run => self.run(),
            Keyword::Copy => self.copy().map(InstructionKind::Copy),
            Keyword::Add => self.copy().map(InstructionKind::Add),
            Keyword::Cmd => self.command(self.range.clone()).map(InstructionKind::Cmd),
            Keyword::Entrypoint => self.command(self.range.clone()).map(InstructionKind::Entrypoint),
            Keyword::Shell => self.shell(),
            Keyword::Expose => self.expose(),
            Keyword::Volume => self.volume(),
            Keyword::Healthcheck => self.healthcheck().map(InstructionKind::Healthcheck),
            Keyword::Onbuild => None,
        }
    }

    fn text(&self) -> &'a str {
        self.line.slice(self.range.clone())
    }

    fn word(&self, range: Range<usize>) -> Word {
        Spanned::new(self.line.slice(range.clone()).to_owned(), self.line.span(range))
    }

    fn values(&self) -> FlagValues<'a> {
        FlagValues { line: self.line, flags: self.flags }
    }

    /// The arguments, or the keyword where there are none.
    fn span(&self) -> Span {
        if self.range.is_empty() { self.keyword_span } else { self.line.span(self.range.clone()) }
    }

    fn report(&mut self, span: Span, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(code::ARGUMENTS, span, message));
    }

    /// Moves ranges of the arguments to ranges of the line.
    fn absolute(&self, ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
        let base = self.range.start;
        ranges.into_iter().map(|range| base + range.start..base + range.end).collect()
    }

    fn at_least_one(&mut self) {
        self.report(self.keyword_span, format!("{} requires at least one argument", self.keyword.name()));
    }

    /// All arguments as one word.
    fn whole(&mut self) -> Option<Word> {
        if self.range.is_empty() {
            self.report(self.keyword_span, format!("{} requires exactly one argument", self.keyword.name()));
            return None;
        }
        Some(self.word(self.range.clone()))
    }

    fn from(&mut self) -> Option<InstructionKind> {
        let words = self.absolute(blank_separated(self.text()));
        let (image, naming) = match words.as_slice() {
            [image] => (image, None),
            [image, keyword, name] if self.line.slice(keyword.clone()).eq_ignore_ascii_case("as") => {
                (image, Some((keyword.clone(), name.clone())))
            }
            _ => {
                let message = "FROM requires either one or three arguments";
                let help = "write `FROM IMAGE` or `FROM IMAGE AS NAME`";
                self.diagnostics.push(Diagnostic::error(code::ARGUMENTS, self.span(), message).with_help(help));
                return None;
            }
        };
        let (as_keyword, name) = match naming {
            Some((keyword, name)) => (Some(self.word(keyword)), Some(self.word(name))),
            None => (None, None),
        };
        if let Some(name) = name.as_ref().filter(|name| !is_stage_name(&name.value)) {
            let message = format!(
                "invalid name for build stage: {:?}, name can't start with a number or contain symbols",
                name.value
            );
            self.report(name.span, message);
        }
        let platform = self.values().word("platform");
        let image = self.word(image.clone());
        Some(InstructionKind::From(FromInstruction { image, name, as_keyword, platform }))
    }

    fn arg(&mut self) -> Option<InstructionKind> {
        let words = self.absolute(shell_words(self.text(), self.escape));
        if words.is_empty() {
            self.at_least_one();
            return None;
        }
        let mut declarations = Vec::with_capacity(words.len());
        for range in words {
            let (name, default) = self.split_pair(range);
            if name.value.is_empty() {
                let span = default.map_or(name.span, |default| Span::new(name.span.start, default.span.end));
                self.report(span, "ARG names can not be blank");
                return None;
            }
            declarations.push(ArgDeclaration { name, default });
        }
        Some(InstructionKind::Arg(declarations))
    }

    /// Splits a word at its first `=`.
    fn split_pair(&self, range: Range<usize>) -> (Word, Option<Word>) {
        match self.line.slice(range.clone()).find('=') {
            None => (self.word(range), None),
            Some(length) => {
                let equals = range.start + length;
                (self.word(range.start..equals), Some(self.word(equals + 1..range.end)))
            }
        }
    }

    fn key_values(&mut self) -> Option<KeyValues> {
        let name = self.keyword.name();
        let words = self.absolute(shell_words(self.text(), self.escape));
        let Some(first) = words.first() else {
            self.at_least_one();
            return None;
        };
        // The first word decides: without `=` it is the form `KEY rest of line`.
        if !self.line.slice(first.clone()).contains('=') {
            let Some((end, rest)) = first_blank(self.text()) else {
                let help = format!("write `{name} {}=VALUE`", self.text());
                let message = format!("{name} must have two arguments");
                self.diagnostics.push(Diagnostic::error(code::ARGUMENTS, self.span(), message).with_help(help));
                return None;
            };
            let key = self.word(self.range.start..self.range.start + end);
            let value = self.word(self.range.start + rest..self.range.end);
            return Some(KeyValues { pairs: vec![(key, value)], legacy: true });
        }
        let mut pairs = Vec::with_capacity(words.len());
        let mut problems = 0;
        for range in words {
            let (key, value) = self.split_pair(range.clone());
            let span = self.line.span(range);
            match value {
                None => {
                    let message =
                        format!("Syntax error - can't find = in {:?}. Must be of the form: name=value", key.value);
                    let help = "quote values that contain spaces: `name=\"a value\"`";
                    self.diagnostics.push(Diagnostic::error(code::ARGUMENTS, span, message).with_help(help));
                    problems += 1;
                }
                Some(_) if key.value.is_empty() => {
                    self.report(span, format!("{name} names can not be blank"));
                    problems += 1;
                }
                Some(value) => pairs.push((key, value)),
            }
            if problems == PROBLEMS_PER_INSTRUCTION_MAX {
                break;
            }
        }
        (problems == 0).then_some(KeyValues { pairs, legacy: false })
    }

    /// A command in shell or exec form.
    fn command(&mut self, range: Range<usize>) -> Option<Command> {
        match json_form(self.line.slice(range.clone())) {
            JsonForm::Strings(strings) => Some(Command::Exec(strings.into_iter().map(|(string, _)| string).collect())),
            JsonForm::NotJson => Some(Command::Shell(self.word(range))),
            JsonForm::OtherElements => {
                self.not_only_strings(range);
                None
            }
        }
    }

    fn not_only_strings(&mut self, range: Range<usize>) {
        let message = "when using JSON array syntax, arrays must be comprised of strings only";
        self.diagnostics.push(Diagnostic::error(code::JSON, self.line.span(range), message));
    }

    fn run(&mut self) -> Option<InstructionKind> {
        let command = self.command(self.range.clone())?;
        match &command {
            Command::Exec(arguments) if arguments.is_empty() => {
                self.report(self.span(), "RUN requires at least one argument");
                return None;
            }
            Command::Shell(word) if word.value.is_empty() => {
                let message = "RUN without a command does nothing";
                self.diagnostics.push(Diagnostic::warning(code::EMPTY_COMMAND, self.keyword_span, message));
            }
            _ => {}
        }
        let values = self.values();
        let mounts =
            values.all("mount").map(|(flag, value)| parse_mount(self.line, flag, value, self.diagnostics)).collect();
        let network = values.word("network").and_then(|word| {
            let known = [("default", NetworkFlag::Default), ("none", NetworkFlag::None), ("host", NetworkFlag::Host)];
            self.one_of(&word, "invalid network mode", &known)
        });
        let security = values.word("security").and_then(|word| {
            let known = [("sandbox", SecurityFlag::Sandbox), ("insecure", SecurityFlag::Insecure)];
            self.one_of(&word, "invalid security mode", &known)
        });
        let devices = values.words("device");
        Some(InstructionKind::Run(RunInstruction { command, mounts, network, security, devices }))
    }

    fn one_of<T: Copy>(&mut self, word: &Word, problem: &str, known: &[(&str, T)]) -> Option<Spanned<T>> {
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == word.value) {
            return Some(Spanned::new(*value, word.span));
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let hint = did_you_mean(&word.value, names.iter().copied(), true);
        let message = format!("{problem} {:?}{hint}", word.value);
        let help = format!("use {}", names.join(", "));
        self.diagnostics.push(Diagnostic::error(code::FLAG, word.span, message).with_help(help));
        None
    }

    /// The arguments as a list: JSON, or separated by blanks.
    fn list(&mut self) -> Option<Vec<(Word, Range<usize>)>> {
        match json_form(self.text()) {
            JsonForm::Strings(strings) => {
                let base = self.range.start;
                let words = strings.into_iter().map(|(string, range)| {
                    let range = base + range.start..base + range.end;
                    // No heredoc begins in JSON form: an empty range is none's place.
                    (Spanned::new(string, self.line.span(range.clone())), range.end..range.end)
                });
                Some(words.collect())
            }
            JsonForm::NotJson => {
                let ranges = self.absolute(blank_separated(self.text()));
                Some(ranges.into_iter().map(|range| (self.word(range.clone()), range)).collect())
            }
            JsonForm::OtherElements => {
                self.not_only_strings(self.range.clone());
                None
            }
        }
    }

    fn copy(&mut self) -> Option<CopyInstruction> {
        let name = self.keyword.name();
        let mut sources = Vec::new();
        for (word, range) in self.list()? {
            // A quoted name with blanks, or blanks after `<<`, spread one heredoc over several words.
            match self
                .heredocs
                .iter()
                .position(|heredoc| heredoc.range.start <= range.start && range.end <= heredoc.range.end)
            {
                Some(index) if !range.is_empty() => {
                    // The words of one heredoc follow each other.
                    if !matches!(sources.last(), Some((CopySource::Heredoc(last), _)) if *last == index) {
                        sources.push((CopySource::Heredoc(index), word.span));
                    }
                }
                _ => {
                    let span = word.span;
                    sources.push((CopySource::Path(word), span));
                }
            }
        }
        let destination = match sources.pop() {
            Some((CopySource::Path(word), _)) if !sources.is_empty() => word,
            Some((CopySource::Heredoc(_), span)) if !sources.is_empty() => {
                let message = format!("{name} cannot accept a heredoc as a destination");
                self.diagnostics.push(Diagnostic::error(code::HEREDOC, span, message));
                return None;
            }
            _ => {
                let message = format!(
                    "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
                );
                let help = format!("write `{name} SOURCE... DESTINATION`");
                self.diagnostics.push(Diagnostic::error(code::ARGUMENTS, self.span(), message).with_help(help));
                return None;
            }
        };
        let values = self.values();
        let from = values.word("from").filter(|_| self.keyword == Keyword::Copy);
        if let Some(from) = from.as_ref().filter(|from| from.value.contains('$')) {
            let message = "variable expansion is not supported for --from, define a new stage with FROM using ARG from \
                           global scope as a workaround";
            self.diagnostics.push(Diagnostic::error(code::FLAG, from.span, message));
        }
        Some(CopyInstruction {
            sources: sources.into_iter().map(|(source, _)| source).collect(),
            destination,
            from,
            chown: values.word("chown"),
            chmod: values.word("chmod"),
            link: values.boolean("link").unwrap_or(false),
            parents: values.boolean("parents").unwrap_or(false),
            excludes: values.words("exclude"),
            checksum: values.word("checksum"),
            keep_git_dir: values.boolean("keep-git-dir"),
            unpack: values.boolean("unpack"),
        })
    }

    fn shell(&mut self) -> Option<InstructionKind> {
        match json_form(self.text()) {
            JsonForm::Strings(strings) if !strings.is_empty() => {
                Some(InstructionKind::Shell(strings.into_iter().map(|(string, _)| string).collect()))
            }
            JsonForm::OtherElements => {
                self.not_only_strings(self.range.clone());
                None
            }
            JsonForm::NotJson if !self.range.is_empty() => {
                let message = "SHELL requires the arguments to be in JSON form";
                let help = "write a list of double-quoted strings: `SHELL [\"/bin/sh\", \"-c\"]`; \
                            backslashes in them are doubled";
                self.diagnostics.push(Diagnostic::error(code::JSON, self.span(), message).with_help(help));
                None
            }
            _ => {
                self.at_least_one();
                None
            }
        }
    }

    fn expose(&mut self) -> Option<InstructionKind> {
        let ports: Vec<Word> =
            self.absolute(blank_separated(self.text())).into_iter().map(|range| self.word(range)).collect();
        if ports.is_empty() {
            self.at_least_one();
            return None;
        }
        Some(InstructionKind::Expose(ports))
    }

    fn volume(&mut self) -> Option<InstructionKind> {
        let words = self.list()?;
        if words.is_empty() {
            self.at_least_one();
            return None;
        }
        let mut volumes = Vec::with_capacity(words.len());
        for (word, _) in words {
            let path = word.value.trim();
            if path.is_empty() {
                self.report(word.span, "VOLUME specified can not be an empty string");
                return None;
            }
            volumes.push(Spanned::new(path.to_owned(), word.span));
        }
        Some(InstructionKind::Volume(volumes))
    }

    fn healthcheck(&mut self) -> Option<Healthcheck> {
        let text = self.text();
        if text.is_empty() {
            self.at_least_one();
            return None;
        }
        let length = text.find(char::is_whitespace).unwrap_or(text.len());
        let kind = text[..length].to_uppercase();
        let rest = self.line.trimmed(self.range.start + length..self.range.end);
        match kind.as_str() {
            "NONE" if rest.is_empty() => return Some(Healthcheck::None),
            "NONE" => {
                self.report(self.line.span(rest), "HEALTHCHECK NONE takes no arguments");
                return None;
            }
            "CMD" => {}
            _ => {
                let span = self.line.span(self.range.start..self.range.start + length);
                self.report(span, format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)"));
                return None;
            }
        }
        let command = self.command(rest)?;
        let missing = match &command {
            Command::Shell(word) => word.value.is_empty(),
            Command::Exec(arguments) => arguments.is_empty(),
        };
        if missing {
            self.report(self.span(), "Missing command after HEALTHCHECK CMD");
            return None;
        }
        Some(Healthcheck::Command {
            command,
            interval_ns: self.duration("interval"),
            timeout_ns: self.duration("timeout"),
            start_period_ns: self.duration("start-period"),
            start_interval_ns: self.duration("start-interval"),
            retries: self.retries(),
        })
    }

    fn duration(&mut self, name: &str) -> Option<u64> {
        /// Shorter durations are refused, but zero means "the default".
        const SHORTEST_NS: i64 = 1_000_000;
        let word = FlagValues { line: self.line, flags: self.flags }.word(name)?;
        let message = match parse_duration_ns(&word.value) {
            Ok(nanoseconds) if nanoseconds == 0 || nanoseconds >= SHORTEST_NS => {
                return u64::try_from(nanoseconds).ok();
            }
            Ok(_) => format!("Interval {name:?} cannot be less than 1ms"),
            Err(error) => error.to_string(),
        };
        let help = "write a number with a unit: `30s`, `1m30s`, `500ms`";
        self.diagnostics.push(Diagnostic::error(code::FLAG, word.span, message).with_help(help));
        None
    }

    fn retries(&mut self) -> Option<u32> {
        let word = self.values().word("retries")?;
        let message = match word.value.parse::<i32>() {
            Ok(retries) => match u32::try_from(retries) {
                Ok(retries) => return Some(retries),
                Err(_) => format!("--retries cannot be negative ({retries})"),
            },
            Err(_) => format!("invalid value for --retries: {:?} is not a number below 2147483648", word.value),
        };
        self.diagnostics.push(Diagnostic::error(code::FLAG, word.span, message));
        None
    }
}

/// `^[a-z][a-z0-9-_.]*$` in any case.
fn is_stage_name(name: &str) -> bool {
    let name = name.to_lowercase();
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}
