//! Simple commands: words, assignments, redirects, and the commands that they were given as text.

use bake_dockerfile::Span;

use super::super::invocation::{ShellInput, is_assignment, program_index, shell_program};
use super::super::{Assignment, Connector, Dialect, Origin, Redirect, Session, ShellWord, SimpleCommand};
use super::{Character, List, PendingHeredoc, RawWord, Reader, Until};

/// Words that only `find` reads after its `-exec`.
const FIND_ACTIONS: [&str; 4] = ["-exec", "-execdir", "-ok", "-okdir"];

/// A simple command while it is read.
#[derive(Default)]
struct RawCommand {
    words: Vec<RawWord>,
    assignments: Vec<Assignment>,
    redirects: Vec<Redirect>,
    heredocs: Vec<PendingHeredoc>,
    end: usize,
}

impl Reader<'_> {
    /// A simple command. Returns its index, `None` when it was a function's head or nothing.
    pub(super) fn command(&mut self, list: &List) -> Option<usize> {
        let start = self.offset();
        let raw = self.parts_of_command(start)?;
        let mut words = raw.words;
        if words.is_empty() && raw.assignments.is_empty() && raw.redirects.is_empty() {
            return None;
        }
        let index = self.script.commands.len();
        let finished: Vec<ShellWord> = words.iter_mut().map(RawWord::finish).collect();
        let command = SimpleCommand {
            session: self.session,
            assignments: raw.assignments,
            program_index: program_index(&finished),
            words: finished,
            redirects: raw.redirects,
            span: Span::new(start, raw.end),
            connector: list.connector,
            depth: list.depth(),
            piped_from: list.before.filter(|_| list.connector == Connector::Pipe),
            previous: list.before,
            followed_by: None,
            in_condition: self.conditions > 0,
            negated: list.negated,
        };
        if command.program() == "set"
            && let Some(session) = self.script.sessions.get_mut(self.session)
        {
            session.change_options(index, &command);
        }
        self.script.commands.push(command);
        self.pending.extend(raw.heredocs.into_iter().map(|heredoc| PendingHeredoc { command: Some(index), ..heredoc }));
        self.inner_commands(index, &words);
        Some(index)
    }

    /// Everything up to the operator that ends the command; `None` for the head of a function.
    fn parts_of_command(&mut self, start: usize) -> Option<RawCommand> {
        let mut command = RawCommand { end: start, ..RawCommand::default() };
        let (mut in_test, mut test_closed) = (false, false);
        loop {
            self.skip_blanks();
            let Some(next) = self.peek(0) else { break };
            if in_test && !test_closed {
                let Some(word) = self.test_word() else { break };
                command.end = word.end;
                test_closed = !word.quoted && word.text() == "]]";
                command.words.push(word);
                continue;
            }
            if let Some(redirect) = self.redirect(&mut command.heredocs) {
                command.end = self.end_offset();
                command.redirects.push(redirect);
                continue;
            }
            if test_closed || matches!(next, '\n' | ';' | '&' | '|' | ')') {
                break;
            }
            if next == '(' {
                if command.words.len() == 1 && self.peek(1) == Some(')') {
                    // The head of a function: its body is read as commands that follow.
                    self.position += 2;
                    self.skip_lines();
                    return None;
                }
                break;
            }
            let Some(mut word) = self.word() else { break };
            command.end = word.end;
            let text = word.text();
            if command.words.is_empty() && is_assignment(&text) {
                let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                let name = name.trim_end_matches('+').split('[').next().unwrap_or_default().to_owned();
                command.assignments.push(Assignment { name, value: value.to_owned(), word: word.finish() });
            } else {
                if command.words.is_empty() && !word.quoted && text == "[[" {
                    self.bashism(word.start, "`[[`");
                    in_test = true;
                }
                command.words.push(word);
            }
        }
        if in_test && !test_closed {
            self.error(start, "`[[` is not closed by `]]`");
        }
        Some(command)
    }

    /// Reads the commands that a command was given as text or words: `sh -c '...'`, `su -c '...'`, `eval '...'`, `find -exec ...`.
    fn inner_commands(&mut self, index: usize, words: &[RawWord]) {
        let Some(command) = self.script.commands.get(index) else { return };
        let first_argument = command.program_index + 1;
        let arguments = command.arguments();
        let texts = arguments.iter().map(|word| word.text.as_str());
        let program = command.words.get(command.program_index).map_or("", |word| word.text.as_str());
        let span = command.span;
        if let Some(shell) = shell_program(program, texts) {
            if let ShellInput::Argument(argument) = shell.input
                && let Some(word) = words.get(first_argument + argument)
            {
                let session = Session::nested(shell.dialect, shell.pipefail, shell.errexit, span, false);
                self.read_word(session, word);
            }
        } else if matches!(command.program(), "su" | "runuser") {
            let option = arguments.iter().position(|word| word.text == "-c" || word.text == "--command");
            if let Some(word) = option.and_then(|option| words.get(first_argument + option + 1)) {
                self.read_word(Session::nested(Dialect::Posix, false, false, span, false), word);
            }
        } else if command.program() == "eval"
            && let Some(word) = words.get(first_argument)
            && let Some(session) = self.script.sessions.get(self.session)
        {
            let session = Session::nested(session.dialect, session.pipefail, session.errexit, span, false);
            self.read_word(session, word);
        } else if command.program() == "find" {
            self.commands_of_find(index);
        }
    }

    /// `find ... -exec program arguments ;` as a command of its own.
    fn commands_of_find(&mut self, index: usize) {
        let Some(find) = self.script.commands.get(index) else { return };
        let mut found = Vec::new();
        let mut arguments = find.arguments().iter();
        while let Some(argument) = arguments.next() {
            if !FIND_ACTIONS.contains(&argument.text.as_str()) {
                continue;
            }
            let words: Vec<ShellWord> =
                arguments.by_ref().take_while(|word| word.text != ";" && word.text != "+").cloned().collect();
            let (Some(first), Some(last)) = (words.first(), words.last()) else { continue };
            found.push(SimpleCommand {
                session: find.session,
                assignments: Vec::new(),
                program_index: program_index(&words),
                redirects: Vec::new(),
                span: Span::new(first.span.start, last.span.end),
                connector: Connector::Start,
                depth: find.depth + 1,
                piped_from: None,
                previous: None,
                followed_by: None,
                in_condition: true,
                negated: false,
                words,
            });
        }
        self.script.commands.append(&mut found);
    }

    /// Reads what another shell was given as one word.
    fn read_word(&mut self, session: Session, word: &RawWord) {
        let origin = if word.expands { Origin::Expanded } else { Origin::Quoted };
        let session = Session { origin, ..session };
        self.read_nested(session, &word.characters);
    }

    pub(super) fn read_nested(&mut self, session: Session, characters: &[Character]) {
        self.script.sessions.push(session);
        let session = self.script.sessions.len() - 1;
        self.read_in_session(session, characters);
    }

    pub(super) fn read_in_session(&mut self, session: usize, characters: &[Character]) {
        if self.nesting >= super::NESTING_MAX {
            return;
        }
        let nesting = self.nesting + 1;
        let mut inner = Reader::new(self.script, characters, session);
        inner.nesting = nesting;
        inner.list(Until::End, 0);
    }

    /// Redirects after `done`, `}`, `)`: they belong to no simple command.
    pub(super) fn redirects_of_compound(&mut self) {
        self.skip_blanks();
        let mut heredocs = Vec::new();
        while self.redirect(&mut heredocs).is_some() {
            self.skip_blanks();
        }
        self.pending.append(&mut heredocs);
    }

    /// A redirect at the present place. Heredocs are added to `heredocs`.
    fn redirect(&mut self, heredocs: &mut Vec<PendingHeredoc>) -> Option<Redirect> {
        const OPERATORS: [&str; 12] = ["&>>", "&>", "<<<", "<<-", "<<", "<&", "<>", "<", ">>", ">&", ">|", ">"];
        if !matches!(self.peek(0)?, '&' | '<' | '>' | '0'..='9') {
            return None;
        }
        let start = self.offset();
        let before = self.position;
        while self.peek(0).is_some_and(|c| c.is_ascii_digit()) {
            self.position += 1;
        }
        let digits: String =
            self.input.get(before..self.position).unwrap_or_default().iter().map(|c| c.value).collect();
        let descriptor = digits.parse().ok();
        let digits = !digits.is_empty();
        let operator = OPERATORS.into_iter().find(|operator| self.starts_with(operator));
        // `<(` and `>(` are substitutions, not redirects.
        let operator = operator.filter(|o| !(matches!(*o, "<" | ">") && self.peek(1) == Some('(')));
        let Some(operator) = operator.filter(|operator| !digits || !operator.starts_with('&')) else {
            self.position = before;
            return None;
        };
        self.position += operator.len();
        if operator == "<<<" {
            self.bashism(start, "`<<<`");
        } else if operator.starts_with("&>") {
            self.bashism(start, "`&>`");
        }
        self.skip_blanks();
        let Some(mut target) = self.word() else {
            self.error(start, format!("a file or name is missing after `{operator}`"));
            let (target, span) = (RawWord::default().finish(), Span::new(start, self.end_offset()));
            return Some(Redirect { operator: operator.to_owned(), descriptor, target, span });
        };
        let quoted = target.quoted;
        let target = target.finish();
        if matches!(operator, "<<" | "<<-") {
            let strip_tabs = operator == "<<-";
            heredocs.push(PendingHeredoc { delimiter: target.text.clone(), quoted, strip_tabs, command: None });
        }
        let span = Span::new(start, target.span.end);
        Some(Redirect { operator: operator.to_owned(), descriptor, target, span })
    }
}

impl Session {
    fn nested(dialect: Dialect, pipefail: bool, errexit: bool, span: Span, heredoc: bool) -> Self {
        Self { pipefail, errexit, heredoc, origin: Origin::Quoted, ..Self::new(dialect, span) }
    }

    /// The session of a shell command that reads its commands from standard input.
    pub(crate) fn reading_standard_input(command: &SimpleCommand) -> Option<Self> {
        let program = command.words.get(command.program_index)?;
        let shell = shell_program(&program.text, command.arguments().iter().map(|word| word.text.as_str()))?;
        (shell.input == ShellInput::Standard)
            .then(|| Self::nested(shell.dialect, shell.pipefail, shell.errexit, command.span, true))
    }
}
