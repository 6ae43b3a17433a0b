//! The reader itself: one pass over the characters, emitting commands as they end.
//!
//! Compound commands are not built into a tree; a stack of their opening words gives the depth, and finds what is not closed or has no
//! condition or body.

mod command;
mod compound;
mod heredoc;
mod words;

pub(crate) use heredoc::holds_expansion;

use bake_dockerfile::Span;

use super::characters::Character;
use super::{Connector, PartKind, Pipe, Quoting, Script, ShellError, ShellWord, WordPart};

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
    let mut reader = Reader::new(script, input, session);
    reader.list(Until::End, 0);
    reader.pending.iter().map(|heredoc| OutsideHeredoc { command: heredoc.command }).collect()
}

/// Reads the expansions of a heredoc's body that is data for a command, and the commands in them.
pub(crate) fn read_expansions_into(script: &mut Script, input: &[Character], session: usize) {
    Reader::new(script, input, session).expansions_of_text();
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
    quoted: bool,
    strip_tabs: bool,
    command: Option<usize>,
}

struct Reader<'a> {
    script: &'a mut Script,
    input: &'a [Character],
    position: usize,
    session: usize,
    nesting: usize,
    /// How many conditions of `if`, `while` and `until` enclose the present place.
    conditions: usize,
    pending: Vec<PendingHeredoc>,
}

/// What stands to the left of the next operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    Simple(usize),
    Compound,
    /// The head of a loop, up to its `do`.
    LoopHead,
}

impl Left {
    fn command(self) -> Option<usize> {
        match self {
            Self::Simple(command) => Some(command),
            _ => None,
        }
    }
}

/// A compound command that is not closed yet.
struct Opener {
    word: &'static str,
    start: usize,
    section: Section,
}

/// Where in a compound command the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Condition,
    Body,
    Else,
}

/// A list of commands while it is read.
struct List {
    connector: Connector,
    /// The text of the operator that waits for its right side, with its place.
    operator: Option<(&'static str, usize)>,
    negated: bool,
    left: Left,
    /// The simple command before the connector.
    before: Option<usize>,
    openers: Vec<Opener>,
    /// Whether a command was read since the last word that begins a section.
    filled: bool,
    depth: usize,
}

impl List {
    fn depth(&self) -> usize {
        self.depth + self.openers.len()
    }

    /// A word that begins a section (`then`, `{`, ...): a command follows.
    fn begin_section(&mut self) {
        self.connector = Connector::Start;
        self.operator = None;
        self.left = Left::Nothing;
        self.before = None;
        self.filled = false;
    }
}

/// A word while it is read: quotes removed, every character with its place.
#[derive(Default)]
struct RawWord {
    characters: Vec<Character>,
    start: usize,
    end: usize,
    expands: bool,
    quoted: bool,
    /// How what is read now is quoted.
    quoting: Quoting,
    /// Parts that are complete: kind, quoting, and the number of characters up to their end.
    parts: Vec<(PartKind, Quoting, usize)>,
}

impl RawWord {
    fn text(&self) -> String {
        self.characters.iter().map(|character| character.value).collect()
    }

    /// Ends the plain text read so far, because what follows is quoted in another way or an expansion.
    fn end_literal(&mut self) {
        self.end_part(PartKind::Literal, self.quoting);
    }

    fn end_part(&mut self, kind: PartKind, quoting: Quoting) {
        if self.characters.len() > self.parts.last().map_or(0, |(_, _, end)| *end) {
            self.parts.push((kind, quoting, self.characters.len()));
        }
    }

    /// The word as rules get it.
    fn finish(&mut self) -> ShellWord {
        self.end_literal();
        let span = Span::new(self.start, self.end);
        let plain = matches!(self.parts.as_slice(), [] | [(PartKind::Literal, Quoting::None, _)]);
        if plain {
            return ShellWord { text: self.text(), span, expands: self.expands, parts: Vec::new() };
        }
        let mut text = String::with_capacity(self.characters.len());
        let mut parts = Vec::with_capacity(self.parts.len());
        let mut from = 0;
        for (kind, quoting, end) in &self.parts {
            let characters = self.characters.get(from..*end).unwrap_or_default();
            let begin = text.len();
            text.extend(characters.iter().map(|character| character.value));
            let place = characters.first().map_or(self.start, |character| character.offset);
            let place = Span::new(place, characters.last().map_or(place, |character| character.end));
            parts.push(WordPart { kind: *kind, quoting: *quoting, text: begin..text.len(), span: place });
            from = *end;
        }
        ShellWord { text, span, expands: self.expands, parts }
    }
}

impl<'a> Reader<'a> {
    fn new(script: &'a mut Script, input: &'a [Character], session: usize) -> Self {
        Self { script, input, position: 0, session, nesting: 0, conditions: 0, pending: Vec::new() }
    }

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

    /// Blanks and line ends.
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

    /// Runs `read` one nesting level deeper, or skips the rest of the text when the level is too deep.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.nesting >= NESTING_MAX {
            let start = self.offset();
            self.position = self.input.len();
            self.error(start, format!("nested more than {NESTING_MAX} deep"));
            return None;
        }
        self.nesting += 1;
        let result = read(self);
        self.nesting -= 1;
        Some(result)
    }

    /// Reads a list of commands up to what `until` says; whether there was any.
    fn list(&mut self, until: Until, depth: usize) -> bool {
        let begin = self.offset();
        let conditions = self.conditions;
        let mut list = List {
            connector: Connector::Start,
            operator: None,
            negated: false,
            left: Left::Nothing,
            before: None,
            openers: Vec::new(),
            filled: false,
            depth,
        };
        let mut closed = until == Until::End;
        loop {
            self.skip_blanks();
            let Some(next) = self.peek(0) else { break };
            let start = self.offset();
            match next {
                '\n' => {
                    self.position += 1;
                    self.heredoc_bodies();
                    if list.left != Left::Nothing {
                        list.before = list.left.command();
                        list.left = Left::Nothing;
                        list.connector = Connector::Then;
                    }
                }
                ';' | '|' => {
                    if self.operator(&mut list, until) {
                        closed = true;
                        break;
                    }
                }
                '&' if self.peek(1) != Some('>') => {
                    self.operator(&mut list, until);
                }
                ')' => {
                    self.position += 1;
                    if until == Until::Parenthesis {
                        closed = true;
                        break;
                    }
                    self.error(start, "`)` without `(`");
                }
                '(' => {
                    self.begin_command(&mut list, start);
                    self.parenthesis(list.depth());
                    self.end_compound(&mut list);
                }
                _ => {
                    let before = self.position;
                    match self.reserved_word() {
                        Some("esac") if until == Until::CaseItem && list.openers.is_empty() => {
                            self.position = before;
                            closed = true;
                            break;
                        }
                        Some(word) => self.compound_word(word, start, &mut list),
                        None => self.simple_command(&mut list, start),
                    }
                    if self.position == before {
                        // Nothing was understood: step over the character, so that reading always ends.
                        self.position += 1;
                    }
                }
            }
        }
        self.check_operator(&list);
        for opener in &list.openers {
            self.error(opener.start, format!("`{}` is not closed", opener.word));
        }
        if !closed && until == Until::Parenthesis {
            self.error(begin, "`(` is not closed");
        }
        self.conditions = conditions;
        list.filled
    }

    /// An operator between commands. Whether it ends the list.
    fn operator(&mut self, list: &mut List, until: Until) -> bool {
        let start = self.offset();
        let next = [self.peek(0), self.peek(1), self.peek(2)].map(|c| c.unwrap_or(' '));
        let (text, connector) = match next {
            [';', ';', '&'] => (";;&", Connector::Then),
            [';', ';', _] => (";;", Connector::Then),
            [';', '&', _] => (";&", Connector::Then),
            [';', ..] => (";", Connector::Then),
            ['&', '&', _] => ("&&", Connector::And),
            ['&', ..] => ("&", Connector::Background),
            ['|', '|', _] => ("||", Connector::Or),
            ['|', '&', _] => ("|&", Connector::Pipe),
            _ => ("|", Connector::Pipe),
        };
        self.position += text.len();
        if matches!(text, ";;" | ";&" | ";;&") {
            if until == Until::CaseItem && list.openers.is_empty() {
                return true;
            }
            self.error(start, format!("`{text}` outside of `case`"));
            list.left = Left::Nothing;
            return false;
        }
        if list.left == Left::Nothing {
            self.error(start, format!("nothing stands before `{text}`"));
        }
        if text == "|&" {
            self.bashism(start, "`|&`");
        }
        list.before = list.left.command();
        if connector == Connector::Pipe {
            let span = Span::new(start, self.end_offset());
            let position = self.script.commands.len();
            self.script.pipes.push(Pipe { span, left: list.before, position, session: self.session });
        }
        if let Some(command) = list.before.and_then(|index| self.script.commands.get_mut(index)) {
            command.followed_by = Some(connector);
        }
        list.left = Left::Nothing;
        list.connector = connector;
        list.operator = matches!(text, "&&" | "||" | "|" | "|&").then_some((text, start));
        false
    }

    /// Something begins that is a command.
    fn begin_command(&mut self, list: &mut List, start: usize) {
        if list.left != Left::Nothing {
            self.error(start, "`;` or a line end is missing before this");
        }
        if list.connector == Connector::Then
            && let Some(command) = list.before.and_then(|index| self.script.commands.get_mut(index))
        {
            command.followed_by = Some(Connector::Then);
        }
        list.operator = None;
        list.filled = true;
    }

    /// A compound command has ended: redirects, and the next operator.
    fn end_compound(&mut self, list: &mut List) {
        self.redirects_of_compound();
        list.left = Left::Compound;
        list.connector = Connector::Then;
        list.negated = false;
        list.operator = None;
        list.filled = true;
    }

    /// An operator that has nothing on its right.
    fn check_operator(&mut self, list: &List) {
        if let Some((text, start)) = list.operator {
            let span = Span::new(start, start + text.len());
            self.script.errors.push(ShellError { span, message: format!("nothing stands after `{text}`") });
        }
    }

    fn simple_command(&mut self, list: &mut List, start: usize) {
        self.begin_command(list, start);
        // After the head of a function its body follows without an operator.
        list.left = self.command(list).map_or(Left::Nothing, Left::Simple);
        list.connector = Connector::Then;
        list.negated = false;
    }
}
