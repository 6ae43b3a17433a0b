//! Words: quotes, escapes, expansions.

use super::super::invocation::is_assignment;
use super::super::{Dialect, ParameterUse};
use super::{PartKind, Quoting, RawWord, Reader, Until};
use bake_dockerfile::Span;

impl Reader<'_> {
    /// A word inside `[[ ... ]]`, where operators are plain words.
    pub(super) fn test_word(&mut self) -> Option<RawWord> {
        match self.peek(0)? {
            '\n' | '(' | ')' | '<' | '>' | '&' | '|' | ';' => {
                let character = *self.input.get(self.position)?;
                self.position += 1;
                Some(RawWord {
                    start: character.offset,
                    end: character.end,
                    characters: vec![character],
                    ..RawWord::default()
                })
            }
            _ => self.word(),
        }
    }

    /// A word; `None` where none begins.
    pub(super) fn word(&mut self) -> Option<RawWord> {
        let begin = self.position;
        let mut word = RawWord { start: self.offset(), ..RawWord::default() };
        while let Some(character) = self.input.get(self.position).copied() {
            match character.value {
                '\'' => self.single_quotes(&mut word),
                '"' => self.double_quotes(&mut word),
                '\\' => {
                    self.position += 1;
                    if let Some(escaped) = self.input.get(self.position) {
                        self.position += 1;
                        if escaped.value != '\n' {
                            word.end_literal();
                            word.characters.push(*escaped);
                            word.end_part(PartKind::Literal, Quoting::Escaped);
                            word.quoted = true;
                        }
                    }
                }
                '$' | '`' => self.expansion(&mut word),
                '<' | '>' if self.peek(1) == Some('(') => {
                    let start = self.offset();
                    let from = self.position;
                    self.position += 2;
                    self.nested(|reader| reader.list(Until::Parenthesis, 1));
                    self.bashism(start, "process substitution");
                    self.keep_raw(&mut word, from, PartKind::Process);
                }
                '(' if !word.quoted
                    && !word.expands
                    && word.characters.last().is_some_and(|c| c.value == '=')
                    && is_assignment(&word.text()) =>
                {
                    let start = word.start;
                    let from = self.position;
                    self.position += 1;
                    self.nested(|reader| reader.skip_array(start));
                    self.bashism(start, "an array");
                    self.keep_raw(&mut word, from, PartKind::Array);
                }
                '(' if self.is_extended_pattern(begin) => {
                    let start = word.start;
                    self.extended_pattern(&mut word);
                    self.bashism(start, "an extended pattern");
                }
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                _ => {
                    word.characters.push(character);
                    self.position += 1;
                }
            }
        }
        word.end = self.end_offset();
        (self.position > begin).then_some(word)
    }

    /// Whether the parenthesis here belongs to `?(...)`, `*(...)`, `+(...)`, `@(...)` or `!(...)` in the word that began at `begin`.
    fn is_extended_pattern(&self, begin: usize) -> bool {
        let before = self.position.checked_sub(1).filter(|before| *before >= begin);
        before.and_then(|before| self.input.get(before)).is_some_and(|c| matches!(c.value, '?' | '*' | '+' | '@' | '!'))
    }

    /// From the `(` of an extended pattern to its `)`.
    fn extended_pattern(&mut self, word: &mut RawWord) {
        let start = self.offset();
        let mut open = 0_usize;
        while let Some(character) = self.input.get(self.position).copied() {
            match character.value {
                '\'' => {
                    self.single_quotes(word);
                    continue;
                }
                '"' => {
                    self.double_quotes(word);
                    continue;
                }
                '$' | '`' => {
                    self.expansion(word);
                    continue;
                }
                '(' => open += 1,
                ')' => open -= 1,
                '\n' => break,
                _ => {}
            }
            word.characters.push(character);
            self.position += 1;
            if open == 0 {
                return;
            }
        }
        self.error(start, "a pattern's `(` is not closed");
    }

    /// Keeps the text from `from` up to here as it is, as an expansion of kind `kind`.
    pub(super) fn keep_raw(&mut self, word: &mut RawWord, from: usize, kind: PartKind) {
        word.end_literal();
        word.expands = true;
        word.characters.extend(self.input.get(from..self.position).unwrap_or_default());
        word.end_part(kind, word.quoting);
    }

    pub(super) fn single_quotes(&mut self, word: &mut RawWord) {
        let start = self.offset();
        let outer = word.quoting;
        word.end_literal();
        word.quoting = Quoting::Single;
        word.quoted = true;
        self.position += 1;
        let mut closed = false;
        while let Some(character) = self.input.get(self.position).copied() {
            self.position += 1;
            if character.value == '\'' {
                closed = true;
                break;
            }
            word.characters.push(character);
        }
        word.end_literal();
        word.quoting = outer;
        if !closed {
            self.error(start, "a `'` is not closed");
        }
    }

    /// `$'...'` from its quote, where a backslash also keeps a quote.
    fn escaped_quotes(&mut self, word: &mut RawWord) {
        let start = self.offset();
        word.end_literal();
        word.quoting = Quoting::Single;
        word.quoted = true;
        self.position += 1;
        let mut closed = false;
        while let Some(character) = self.input.get(self.position).copied() {
            self.position += 1;
            match character.value {
                '\'' => {
                    closed = true;
                    break;
                }
                '\\' => {
                    word.characters.push(character);
                    word.characters.extend(self.input.get(self.position));
                    self.position += 1;
                }
                _ => word.characters.push(character),
            }
        }
        word.end_literal();
        word.quoting = Quoting::None;
        if !closed {
            self.error(start, "a `$'` is not closed");
        }
    }

    pub(super) fn double_quotes(&mut self, word: &mut RawWord) {
        let start = self.offset();
        let outer = word.quoting;
        word.end_literal();
        word.quoting = Quoting::Double;
        word.quoted = true;
        self.position += 1;
        let mut closed = false;
        while let Some(character) = self.input.get(self.position).copied() {
            match character.value {
                '"' => {
                    self.position += 1;
                    closed = true;
                    break;
                }
                '\\' => {
                    match self.input.get(self.position + 1) {
                        Some(next) if matches!(next.value, '$' | '`' | '"' | '\\') => word.characters.push(*next),
                        Some(next) if next.value == '\n' => {}
                        Some(next) => word.characters.extend([character, *next]),
                        None => {}
                    }
                    self.position = (self.position + 2).min(self.input.len());
                }
                '$' | '`' => self.expansion(word),
                _ => {
                    word.characters.push(character);
                    self.position += 1;
                }
            }
        }
        word.end_literal();
        word.quoting = outer;
        if !closed {
            self.error(start, "a `\"` is not closed");
        }
    }

    /// `$name`, `${...}`, `$(...)`, `$((...))` or a backquoted command; kept in the word as written.
    pub(super) fn expansion(&mut self, word: &mut RawWord) {
        let from = self.position;
        let start = self.offset();
        let opener = self.peek(0);
        self.position += 1;
        let kind = match (opener, self.peek(0)) {
            (Some('`'), _) => {
                self.backquotes(start);
                PartKind::Backquoted
            }
            (_, Some('(')) if self.peek(1) == Some('(') && self.is_arithmetic_expansion() => {
                self.position += 1;
                self.nested(Self::skip_arithmetic);
                PartKind::Arithmetic
            }
            (_, Some('(')) => {
                self.position += 1;
                self.nested(|reader| reader.list(Until::Parenthesis, 1));
                PartKind::Command
            }
            (_, Some('{')) => {
                self.position += 1;
                let in_double_quotes = word.quoting == Quoting::Double;
                self.nested(|reader| reader.parameter(start, in_double_quotes));
                PartKind::Parameter
            }
            (_, Some(c)) if c == '_' || c.is_ascii_alphabetic() => {
                let name = self.name();
                self.parameter_use(name, None, start);
                PartKind::Parameter
            }
            (_, Some(c @ ('@' | '*' | '#' | '?' | '-' | '$' | '!' | '0'..='9'))) => {
                self.position += 1;
                self.parameter_use(c.to_string(), None, start);
                PartKind::Parameter
            }
            (_, Some('\'')) if word.quoting == Quoting::None => {
                self.escaped_quotes(word);
                self.bashism(start, "`$'...'`");
                return;
            }
            (_, Some('"')) if word.quoting == Quoting::None => {
                // `$"..."` is translated text: the quotes follow.
                self.bashism(start, "`$\"...\"`");
                return;
            }
            _ => {
                // A lone `$`.
                word.characters.extend(self.input.get(from..self.position).unwrap_or_default());
                return;
            }
        };
        self.keep_raw(word, from, kind);
    }

    /// Whether `((` after a `$` opens arithmetic, and not a command that begins with a subshell. `self` is at the first parenthesis.
    fn is_arithmetic_expansion(&mut self) -> bool {
        self.position += 1;
        let arithmetic = self.is_arithmetic();
        self.position -= 1;
        arithmetic
    }

    fn name(&mut self) -> String {
        let from = self.position;
        while self.peek(0).is_some_and(|c| c == '_' || c.is_ascii_alphanumeric()) {
            self.position += 1;
        }
        self.input.get(from..self.position).unwrap_or_default().iter().map(|c| c.value).collect()
    }

    /// Notes a use of a variable that began at `start` and ends here.
    pub(super) fn parameter_use(&mut self, name: String, operator: Option<char>, start: usize) {
        let span = Span::new(start, self.end_offset().max(start));
        let position = self.script.commands.len();
        self.script.parameters.push(ParameterUse { name, operator, span, session: self.session, position });
    }

    /// The inside of `${...}`. In double quotes a single quote in `${x:-it's}` means nothing to a POSIX shell.
    fn parameter(&mut self, start: usize, in_double_quotes: bool) {
        let mut sign = None;
        if matches!(self.peek(0), Some('#' | '!'))
            && self.peek(1).is_some_and(|c| c == '_' || c.is_ascii_alphanumeric())
        {
            sign = self.peek(0);
            self.position += 1;
        }
        let mut name = self.name();
        if name.is_empty()
            && let Some(special) = self.peek(0).filter(|c| matches!(c, '@' | '*' | '#' | '?' | '-' | '$' | '!'))
        {
            name.push(special);
            self.position += 1;
        }
        if name.is_empty() {
            self.error(start, "a name has to follow `${`");
        }
        let operator = match (self.peek(0), self.peek(1)) {
            (Some(':'), Some(next)) => Some(next),
            (Some('}'), _) => None,
            (next, _) => next,
        };
        let is_substring = self.peek(0) == Some(':') && !matches!(operator, Some('-' | '+' | '=' | '?'));
        if operator == Some('/') || is_substring {
            self.bashism(start, "`${x/a/b}` or `${x:1}`");
        } else if matches!(operator, Some('^' | ',' | '@')) || sign == Some('!') {
            self.bashism(start, "`${x^^}` or `${!x}`");
        } else if operator == Some('[') {
            self.bashism(start, "an array");
        }
        self.parameter_use(name, sign.or(operator), start);
        let quotes_mean_nothing =
            in_double_quotes && self.dialect() == Dialect::Posix && matches!(operator, Some('-' | '+' | '=' | '?'));
        let quoting = if in_double_quotes { Quoting::Double } else { Quoting::None };
        let mut ignored = RawWord { quoting, ..RawWord::default() };
        while let Some(next) = self.peek(0) {
            match next {
                '}' => {
                    self.position += 1;
                    return;
                }
                '\\' => self.position += 1,
                '\'' if !quotes_mean_nothing => {
                    self.single_quotes(&mut ignored);
                    continue;
                }
                '"' => {
                    self.double_quotes(&mut ignored);
                    continue;
                }
                '$' | '`' => {
                    self.expansion(&mut ignored);
                    continue;
                }
                _ => {}
            }
            self.position = (self.position + 1).min(self.input.len());
        }
        self.error(start, "`${` is not closed");
    }

    fn backquotes(&mut self, start: usize) {
        let mut inner = Vec::new();
        while let Some(character) = self.input.get(self.position).copied() {
            self.position += 1;
            match character.value {
                '`' => {
                    let session = self.session;
                    self.read_in_session(session, &inner);
                    return;
                }
                '\\' if matches!(self.peek(0), Some('`' | '\\' | '$')) => {
                    inner.extend(self.input.get(self.position));
                    self.position += 1;
                }
                _ => inner.push(character),
            }
        }
        self.error(start, "a backquote is not closed");
    }

    /// From after the `(` of `name=(...)` to its `)`.
    fn skip_array(&mut self, start: usize) {
        loop {
            self.skip_lines();
            match self.peek(0) {
                None => {
                    self.error(start, "an array's `(` is not closed");
                    return;
                }
                Some(')') => {
                    self.position += 1;
                    return;
                }
                Some(_) => {
                    if self.word().is_none() {
                        self.position += 1;
                    }
                }
            }
        }
    }
}
