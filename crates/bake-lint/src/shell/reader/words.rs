//! Words: quotes, escapes, expansions.

use super::{RawWord, Reader, Until};

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
                            word.characters.push(*escaped);
                            word.quoted = true;
                        }
                    }
                }
                '$' | '`' => self.expansion(&mut word),
                '<' | '>' if self.peek(1) == Some('(') => {
                    let start = self.offset();
                    let from = self.position;
                    self.position += 2;
                    self.nested(|reader, _| reader.list(Until::Parenthesis, 1));
                    self.bashism(start, "process substitution");
                    self.keep_raw(&mut word, from);
                }
                '(' if self.position > begin
                    && word.characters.last().is_some_and(|c| c.value == '=')
                    && !word.quoted =>
                {
                    let start = word.start;
                    let from = self.position;
                    self.position += 1;
                    self.skip_array();
                    self.bashism(start, "an array");
                    self.keep_raw(&mut word, from);
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

    /// Keeps the text from `from` up to here as it is.
    pub(super) fn keep_raw(&mut self, word: &mut RawWord, from: usize) {
        word.expands = true;
        word.characters.extend(self.input.get(from..self.position).unwrap_or_default());
    }

    pub(super) fn single_quotes(&mut self, word: &mut RawWord) {
        let start = self.offset();
        word.quoted = true;
        self.position += 1;
        while let Some(character) = self.input.get(self.position).copied() {
            self.position += 1;
            if character.value == '\'' {
                return;
            }
            word.characters.push(character);
        }
        self.error(start, "a `'` is not closed");
    }

    pub(super) fn double_quotes(&mut self, word: &mut RawWord) {
        let start = self.offset();
        word.quoted = true;
        self.position += 1;
        while let Some(character) = self.input.get(self.position).copied() {
            match character.value {
                '"' => {
                    self.position += 1;
                    return;
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
        self.error(start, "a `\"` is not closed");
    }

    /// `$name`, `${...}`, `$(...)`, `$((...))` or a backquoted command; kept in the word as written.
    pub(super) fn expansion(&mut self, word: &mut RawWord) {
        let from = self.position;
        let start = self.offset();
        let opener = self.peek(0);
        self.position += 1;
        match (opener, self.peek(0)) {
            (Some('`'), _) => self.backquotes(start),
            (_, Some('(')) if self.peek(1) == Some('(') => {
                self.position += 1;
                self.skip_arithmetic();
            }
            (_, Some('(')) => {
                self.position += 1;
                self.nested(|reader, _| reader.list(Until::Parenthesis, 1));
            }
            (_, Some('{')) => {
                self.position += 1;
                self.parameter(start);
            }
            (_, Some(c)) if c == '_' || c.is_ascii_alphabetic() => {
                while self.peek(0).is_some_and(|c| c == '_' || c.is_ascii_alphanumeric()) {
                    self.position += 1;
                }
            }
            (_, Some('@' | '*' | '#' | '?' | '-' | '$' | '!' | '0'..='9')) => self.position += 1,
            (_, Some('\'')) => {
                // `$'...'`: backslash escapes, read as single quotes.
                self.bashism(start, "`$'...'`");
                self.single_quotes(word);
                return;
            }
            _ => {
                // A lone `$`.
                word.characters.extend(self.input.get(from..self.position).unwrap_or_default());
                return;
            }
        }
        self.keep_raw(word, from);
    }

    /// The inside of `${...}`.
    pub(super) fn parameter(&mut self, start: usize) {
        let mut open = 1_usize;
        let mut ignored = RawWord::default();
        while let Some(next) = self.peek(0) {
            match next {
                '{' => open += 1,
                '}' => open -= 1,
                '\\' => self.position += 1,
                '\'' => {
                    self.single_quotes(&mut ignored);
                    continue;
                }
                '"' => {
                    self.double_quotes(&mut ignored);
                    continue;
                }
                '$' | '`' => {
                    self.nested(|reader, _| reader.expansion(&mut ignored));
                    continue;
                }
                _ => {}
            }
            self.position = (self.position + 1).min(self.input.len());
            if open == 0 {
                return;
            }
        }
        self.error(start, "`${` is not closed");
    }

    pub(super) fn backquotes(&mut self, start: usize) {
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
    pub(super) fn skip_array(&mut self) {
        loop {
            self.skip_blanks();
            match self.peek(0) {
                None => return,
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
