//! The reader itself: one pass over the characters, emitting commands as they end.
//!
//! Compound commands are not built into a tree; a stack of their opening words gives the depth and finds what is not closed.

mod words;

use bake_dockerfile::Span;

use super::characters::Character;
use super::invocation::{ShellInput, is_assignment, program_index, shell_program};
use super::{Assignment, Connector, Dialect, Pipe, Redirect, Script, Session, ShellError, ShellWord, SimpleCommand};

/// How deeply substitutions, subshells and `sh -c` may nest before the reader looks no further: deeper text is hostile or generated,
/// and the bound keeps the recursion inside any thread's stack.
const NESTING_MAX: usize = 40;

/// A heredoc whose body was not in the text: it stands after the instruction's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutsideHeredoc {
    /// The command that has the redirect; `None` where a compound command has it.
    pub(crate) command: Option<usize>,
}

/// Reads `input` as commands of `session` (which must exist) and appends them to `script`. Returns the heredocs whose bodies are
/// elsewhere, in order.
pub(crate) fn read_into(script: &mut Script, input: &[Character], session: usize) -> Vec<OutsideHeredoc> {
    let mut reader = Reader { script, input, position: 0, session, nesting: 0, pending: Vec::new() };
    reader.list(Until::End, 0);
    reader.pending.iter().map(|heredoc| OutsideHeredoc { command: heredoc.command }).collect()
}

/// What ends a list besides the end of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    End,
    Parenthesis,
    CaseItem,
}

struct PendingHeredoc {
    delimiter: String,
    strip_tabs: bool,
    command: Option<usize>,
}

struct Reader<'a> {
    script: &'a mut Script,
    input: &'a [Character],
    position: usize,
    session: usize,
    nesting: usize,
    pending: Vec<PendingHeredoc>,
}

/// A word while it is read: quotes removed, every character with its place.
#[derive(Default)]
struct RawWord {
    characters: Vec<Character>,
    start: usize,
    end: usize,
    expands: bool,
    quoted: bool,
}

impl RawWord {
    fn text(&self) -> String {
        self.characters.iter().map(|character| character.value).collect()
    }

    fn finish(&self) -> ShellWord {
        ShellWord { text: self.text(), span: Span::new(self.start, self.end), expands: self.expands }
    }
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.input.get(self.position + ahead).map(|character| character.value)
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(index, value)| self.peek(index) == Some(value))
    }

    /// The source byte of the next character, or the end of the text.
    fn offset(&self) -> usize {
        self.input.get(self.position).map_or_else(|| self.end_offset(), |character| character.offset)
    }

    fn end_offset(&self) -> usize {
        self.position.checked_sub(1).and_then(|index| self.input.get(index)).map_or(0, |character| character.end)
    }

    fn error(&mut self, start: usize, message: impl Into<String>) {
        let span = Span::new(start, self.end_offset().max(start));
        self.script.errors.push(ShellError { span, message: message.into() });
    }

    fn bashism(&mut self, start: usize, what: &'static str) {
        let span = Span::new(start, self.end_offset().max(start + 1));
        if let Some(session) = self.script.sessions.get_mut(self.session) {
            session.bashisms.push((span, what));
        }
    }

    /// Spaces, tabs, escaped line ends and comments.
    fn skip_blanks(&mut self) {
        loop {
            match self.peek(0) {
                Some(' ' | '\t') => self.position += 1,
                Some('\\') if self.peek(1) == Some('\n') => self.position += 2,
                Some('#') => {
                    while self.peek(0).is_some_and(|c| c != '\n') {
                        self.position += 1;
                    }
                }
                _ => return,
            }
        }
    }

    /// Reads a list of commands up to what `until` says.
    fn list(&mut self, until: Until, depth: usize) {
        let mut connector = Connector::Start;
        let mut openers: Vec<(&'static str, usize)> = Vec::new();
        // What stands to the left of the next operator: nothing, a simple command with its index, or a compound command.
        let mut left: Option<Option<usize>> = None;
        // The simple command before the last `|`.
        let mut source = None;
        loop {
            self.skip_blanks();
            let Some(next) = self.peek(0) else { break };
            let start = self.offset();
            match next {
                '\n' => {
                    self.position += 1;
                    self.heredoc_bodies();
                    if left.take().is_some() {
                        connector = Connector::Then;
                    }
                }
                ';' if matches!(self.peek(1), Some(';' | '&')) => {
                    self.position += if self.starts_with(";;&") { 3 } else { 2 };
                    if until == Until::CaseItem {
                        break;
                    }
                    self.error(start, "`;;` outside of `case`");
                    left = None;
                }
                ';' => {
                    self.position += 1;
                    left = None;
                    connector = Connector::Then;
                }
                '&' if self.peek(1) == Some('&') => {
                    self.position += 2;
                    left = None;
                    connector = Connector::And;
                }
                '&' if self.peek(1) != Some('>') => {
                    self.position += 1;
                    left = None;
                    connector = Connector::Background;
                }
                '|' if self.peek(1) == Some('|') => {
                    self.position += 2;
                    left = None;
                    connector = Connector::Or;
                }
                '|' => {
                    self.position += if self.peek(1) == Some('&') { 2 } else { 1 };
                    let span = Span::new(start, self.end_offset());
                    let position = self.script.commands.len();
                    source = left.take().flatten();
                    self.script.pipes.push(Pipe { span, left: source, position, session: self.session });
                    connector = Connector::Pipe;
                }
                ')' => {
                    self.position += 1;
                    if until == Until::Parenthesis {
                        break;
                    }
                    self.error(start, "`)` without `(`");
                }
                '(' => {
                    self.position += 1;
                    if self.peek(0) == Some('(') {
                        self.skip_arithmetic();
                    } else {
                        self.nested(|reader, _| reader.list(Until::Parenthesis, depth + openers.len() + 1));
                    }
                    self.redirects_of_compound();
                    left = Some(None);
                    connector = Connector::Then;
                }
                _ => {
                    let before = self.position;
                    let piped_from = source.filter(|_| connector == Connector::Pipe);
                    match self.reserved_word() {
                        Some("esac") if until == Until::CaseItem && openers.is_empty() => {
                            self.position = before;
                            return;
                        }
                        Some(word @ ("if" | "while" | "until" | "{")) => {
                            openers.push((word, start));
                            connector = Connector::Start;
                            left = None;
                        }
                        Some(word @ ("for" | "select")) => {
                            openers.push((word, start));
                            self.for_header();
                            connector = Connector::Start;
                            left = None;
                        }
                        Some("case") => {
                            self.case(start, depth + openers.len() + 1);
                            left = Some(None);
                            connector = Connector::Then;
                        }
                        Some("function") => {
                            self.bashism(start, "`function`");
                            self.skip_blanks();
                            let _name = self.word();
                            self.skip_blanks();
                            if self.starts_with("()") {
                                self.position += 2;
                            }
                        }
                        Some(word @ ("fi" | "done" | "}" | "esac")) => {
                            let opened: &[&str] = match word {
                                "fi" => &["if"],
                                "done" => &["while", "until", "for", "select"],
                                "}" => &["{"],
                                _ => &[],
                            };
                            if openers.last().is_some_and(|(opener, _)| opened.contains(opener)) {
                                openers.pop();
                            } else {
                                self.error(start, format!("`{word}` closes nothing that is open"));
                            }
                            self.redirects_of_compound();
                            left = Some(None);
                            connector = Connector::Then;
                        }
                        Some("!") => {}
                        Some(_) => {
                            // `then`, `do`, `else`, `elif`: a command follows.
                            connector = Connector::Start;
                            left = None;
                        }
                        None => {
                            left = Some(self.command(connector, depth + openers.len(), piped_from));
                            connector = Connector::Then;
                        }
                    }
                    if self.position == before {
                        // Nothing was understood: step over the character, so that reading always ends.
                        self.position += 1;
                    }
                }
            }
        }
        for (opener, start) in openers {
            self.error(start, format!("`{opener}` is not closed"));
        }
    }

    /// Runs `read` one nesting level deeper, or skips the rest of the text when the level is too deep.
    fn nested(&mut self, read: impl FnOnce(&mut Self, usize)) {
        if self.nesting >= NESTING_MAX {
            let start = self.offset();
            self.position = self.input.len();
            self.error(start, format!("nested more than {NESTING_MAX} deep"));
            return;
        }
        self.nesting += 1;
        let level = self.nesting;
        read(self, level);
        self.nesting -= 1;
    }

    /// Consumes a reserved word at the place of a command.
    fn reserved_word(&mut self) -> Option<&'static str> {
        const WORDS: [&str; 17] = [
            "if", "then", "elif", "else", "fi", "for", "select", "while", "until", "do", "done", "case", "esac",
            "function", "{", "}", "!",
        ];
        let found = WORDS.into_iter().find(|word| {
            self.starts_with(word)
                && self
                    .peek(word.len())
                    .is_none_or(|c| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')' | '<' | '>'))
        })?;
        self.position += found.len();
        Some(found)
    }

    /// The part of `for name in words` before the `;` or line end.
    fn for_header(&mut self) {
        self.skip_blanks();
        if self.starts_with("((") {
            self.position += 1;
            self.skip_arithmetic();
            return;
        }
        while self.peek(0).is_some_and(|c| !matches!(c, '\n' | ';' | '&' | '|' | '(' | ')')) {
            if self.word().is_none() {
                self.position += 1;
            }
            self.skip_blanks();
        }
    }

    /// From the second `(` of `((` to `))`.
    fn skip_arithmetic(&mut self) {
        let start = self.offset();
        let mut open = 1_usize;
        while let Some(next) = self.peek(0) {
            self.position += 1;
            match next {
                '(' => open += 1,
                ')' => open -= 1,
                _ => {}
            }
            if open == 0 {
                return;
            }
        }
        self.error(start, "`((` is not closed");
    }

    fn case(&mut self, start: usize, depth: usize) {
        self.skip_blanks();
        let _subject = self.word();
        self.skip_lines();
        if self.starts_with("in") {
            self.position += 2;
        }
        loop {
            self.skip_lines();
            if self.peek(0).is_none() {
                self.error(start, "`case` is not closed");
                return;
            }
            if self.reserved_word() == Some("esac") {
                self.redirects_of_compound();
                return;
            }
            while self.peek(0).is_some_and(|c| c != ')') {
                let before = self.position;
                if matches!(self.peek(0), Some('(' | '|' | ' ' | '\t' | '\n' | ';' | '&' | '<' | '>'))
                    || self.word().is_none()
                {
                    self.position = before + 1;
                }
            }
            if self.peek(0).is_some() {
                self.position += 1;
            }
            let mut level_reached = true;
            self.nested(|reader, _| {
                level_reached = false;
                reader.list(Until::CaseItem, depth);
            });
            if level_reached {
                return;
            }
        }
    }

    fn skip_lines(&mut self) {
        loop {
            self.skip_blanks();
            if self.peek(0) != Some('\n') {
                return;
            }
            self.position += 1;
            self.heredoc_bodies();
        }
    }

    /// Redirects after `done`, `}`, `)`: they belong to no simple command.
    fn redirects_of_compound(&mut self) {
        self.skip_blanks();
        let mut heredocs = Vec::new();
        while self.redirect(&mut heredocs).is_some() {
            self.skip_blanks();
        }
        self.pending.append(&mut heredocs);
    }

    /// A simple command. Returns its index, `None` when it was a function's head or nothing.
    fn command(&mut self, connector: Connector, depth: usize, piped_from: Option<usize>) -> Option<usize> {
        let mut words: Vec<RawWord> = Vec::new();
        let mut assignments = Vec::new();
        let mut redirects = Vec::new();
        let mut heredocs = Vec::new();
        let start = self.offset();
        let mut end = start;
        loop {
            self.skip_blanks();
            let in_test = words.first().is_some_and(|word| !word.quoted && word.text() == "[[");
            let Some(next) = self.peek(0) else { break };
            if in_test {
                let Some(word) = self.test_word() else { break };
                end = word.end;
                let closes = !word.quoted && word.text() == "]]";
                words.push(word);
                if closes {
                    break;
                }
                continue;
            }
            if let Some(redirect) = self.redirect(&mut heredocs) {
                end = self.end_offset();
                redirects.push(redirect);
                continue;
            }
            if matches!(next, '\n' | ';' | '&' | '|' | ')') {
                break;
            }
            if next == '(' {
                if words.len() == 1 && self.peek(1) == Some(')') {
                    // The head of a function: its body is read as commands that follow.
                    self.position += 2;
                    self.skip_lines();
                    return None;
                }
                break;
            }
            let Some(word) = self.word() else { break };
            end = word.end;
            let text = word.text();
            if words.is_empty() && is_assignment(&text) {
                let (name, value) = text.split_once('=').unwrap_or((&text, ""));
                assignments.push(Assignment { name: name.trim_end_matches('+').to_owned(), value: value.to_owned() });
            } else {
                words.push(word);
            }
        }
        if words.is_empty() && assignments.is_empty() && redirects.is_empty() {
            return None;
        }
        if let Some(first) = words.first() {
            let (text, place) = (first.text(), first.start);
            match text.as_str() {
                "[[" => self.bashism(place, "`[[`"),
                "source" => self.bashism(place, "`source`"),
                "pushd" | "popd" => self.bashism(place, "`pushd` and `popd`"),
                _ => {}
            }
        }
        let index = self.script.commands.len();
        let finished: Vec<ShellWord> = words.iter().map(RawWord::finish).collect();
        let command = SimpleCommand {
            session: self.session,
            assignments,
            program_index: program_index(&finished),
            words: finished,
            redirects,
            span: Span::new(start, end),
            connector,
            depth,
            piped_from,
        };
        self.script.commands.push(command);
        self.pending.extend(heredocs.into_iter().map(|heredoc| PendingHeredoc { command: Some(index), ..heredoc }));
        self.inner_commands(index, &words);
        Some(index)
    }

    /// Reads the commands that a command was given as text: `sh -c '...'`, `su -c '...'`, `eval '...'`.
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
                self.read_nested(session, &word.characters);
            }
        } else if matches!(command.program(), "su" | "runuser") {
            let option = arguments.iter().position(|word| word.text == "-c" || word.text == "--command");
            if let Some(word) = option.and_then(|option| words.get(first_argument + option + 1)) {
                let session = Session::nested(Dialect::Posix, false, false, span, false);
                self.read_nested(session, &word.characters);
            }
        } else if command.program() == "eval"
            && let Some(word) = words.get(first_argument)
        {
            let (session, characters) = (self.session, word.characters.clone());
            self.read_in_session(session, &characters);
        }
    }

    fn read_nested(&mut self, session: Session, characters: &[Character]) {
        self.script.sessions.push(session);
        let session = self.script.sessions.len() - 1;
        self.read_in_session(session, characters);
    }

    fn read_in_session(&mut self, session: usize, characters: &[Character]) {
        if self.nesting >= NESTING_MAX {
            return;
        }
        let nesting = self.nesting + 1;
        let mut inner =
            Reader { script: self.script, input: characters, position: 0, session, nesting, pending: Vec::new() };
        inner.list(Until::End, 0);
    }

    /// A redirect at the present place. Heredocs are added to `heredocs`.
    fn redirect(&mut self, heredocs: &mut Vec<PendingHeredoc>) -> Option<Redirect> {
        const OPERATORS: [&str; 12] = ["&>>", "&>", "<<<", "<<-", "<<", "<&", "<>", "<", ">>", ">&", ">|", ">"];
        let digits =
            self.input[self.position.min(self.input.len())..].iter().take_while(|c| c.value.is_ascii_digit()).count();
        let start = self.offset();
        let before = self.position;
        self.position += digits;
        let operator = OPERATORS.into_iter().find(|operator| self.starts_with(operator));
        // `<(` and `>(` are substitutions, not redirects.
        let Some(operator) = operator.filter(|o| !(matches!(*o, "<" | ">") && self.peek(1) == Some('('))) else {
            self.position = before;
            return None;
        };
        if digits > 0 && operator.starts_with('&') {
            self.position = before;
            return None;
        }
        self.position += operator.len();
        if operator == "<<<" {
            self.bashism(start, "`<<<`");
        } else if operator.starts_with("&>") {
            self.bashism(start, "`&>`");
        }
        self.skip_blanks();
        let target = self.word().unwrap_or_default().finish();
        if matches!(operator, "<<" | "<<-") {
            let strip_tabs = operator == "<<-";
            heredocs.push(PendingHeredoc { delimiter: target.text.clone(), strip_tabs, command: None });
        }
        Some(Redirect { operator: operator.to_owned(), target })
    }

    /// After a line end: the bodies of the heredocs that began on the line.
    fn heredoc_bodies(&mut self) {
        for heredoc in std::mem::take(&mut self.pending) {
            let body_start = self.position;
            let mut body_end = self.input.len();
            while self.position < self.input.len() {
                let line_start = self.position;
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.position += 1;
                }
                let line: String = self.input[line_start..self.position].iter().map(|c| c.value).collect();
                self.position = (self.position + 1).min(self.input.len());
                let line = if heredoc.strip_tabs { line.trim_start_matches('\t') } else { line.as_str() };
                if line == heredoc.delimiter {
                    body_end = line_start;
                    break;
                }
            }
            let input = self.input;
            self.heredoc_for_shell(heredoc.command, &input[body_start.min(body_end)..body_end]);
        }
    }

    /// Reads a heredoc's body when the command that gets it is a shell reading its standard input.
    fn heredoc_for_shell(&mut self, command: Option<usize>, body: &[Character]) {
        let Some(command) = command.and_then(|index| self.script.commands.get(index)) else { return };
        if let Some(session) = Session::reading_standard_input(command) {
            self.read_nested(session, body);
        }
    }
}

impl Session {
    fn nested(dialect: Dialect, pipefail: bool, errexit: bool, span: Span, heredoc: bool) -> Self {
        Self { dialect, pipefail, errexit, span, heredoc, bashisms: Vec::new() }
    }

    /// The session of a shell command that reads its commands from standard input.
    pub(crate) fn reading_standard_input(command: &SimpleCommand) -> Option<Self> {
        let program = command.words.get(command.program_index)?;
        let shell = shell_program(&program.text, command.arguments().iter().map(|word| word.text.as_str()))?;
        (shell.input == ShellInput::Standard)
            .then(|| Self::nested(shell.dialect, shell.pipefail, shell.errexit, command.span, true))
    }
}
