//! Where in an instruction's logical line blanks only separate words, so that one is as good as many.
//!
//! The reader is fed the pieces of the line and knows quotes, escapes and substitutions. Where it cannot be sure it says so for all
//! that follows: [`Quoting::is_free`] is then false, and the lines stay as they are.

/// The language whose quotes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// A POSIX shell or bash.
    Shell,
    /// Words of Dockerfiles: quotes and this escape character.
    Words(char),
    /// A JSON array.
    Json,
}

/// What is open at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// `(`, `$(`, `<(`
    Parenthesis,
    /// `"`
    Double,
    /// `${`
    Brace,
    /// A back quote.
    Backquote,
}

/// A text in which nothing else is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    /// `'`
    Single,
    /// `#` to the end of the line.
    Comment,
    /// Something that shells do not agree on, or that takes more than this reader to follow.
    Riddle,
}

/// The state of the reader between two characters.
#[derive(Debug)]
pub(crate) struct Quoting {
    language: Language,
    open: Vec<Open>,
    within: Within,
    escaped: bool,
    /// The character before, `x` for one that was quoted or escaped.
    before: char,
    /// Whether the character before is a `$` that is not escaped.
    after_dollar: bool,
}

impl Quoting {
    pub(crate) fn new(language: Language) -> Self {
        Self { language, open: Vec::new(), within: Within::Nothing, escaped: false, before: ' ', after_dollar: false }
    }

    /// Whether blanks at this place do no more than separate words.
    pub(crate) fn is_free(&self) -> bool {
        matches!(self.within, Within::Nothing | Within::Comment)
            && !self.escaped
            && self.open.iter().all(|open| *open == Open::Parenthesis)
    }

    /// Whether the text so far ends between two words.
    pub(crate) fn is_between_words(&self) -> bool {
        self.is_free() && matches!(self.before, ' ' | '\t')
    }

    /// Reads on.
    pub(crate) fn read(&mut self, text: &str) {
        for (offset, character) in text.char_indices() {
            if self.within == Within::Riddle {
                return;
            }
            match self.language {
                Language::Shell => self.shell(character, &text[offset..]),
                Language::Words(escape) => self.word(character, escape),
                Language::Json => self.json(character),
            }
        }
    }

    /// What every language begins with: the character after an escape character means nothing.
    fn is_escaped(&mut self) -> bool {
        let escaped = std::mem::take(&mut self.escaped);
        if escaped {
            self.before = 'x';
            self.after_dollar = false;
        }
        escaped
    }

    fn json(&mut self, character: char) {
        if self.is_escaped() {
            return;
        }
        let inside = !self.open.is_empty();
        match character {
            '\\' if inside => self.escaped = true,
            '"' if inside => self.open.clear(),
            '"' => self.open.push(Open::Double),
            _ => {}
        }
        self.before = if inside { 'x' } else { character };
    }

    fn word(&mut self, character: char, escape: char) {
        if self.is_escaped() {
            return;
        }
        let double = !self.open.is_empty();
        let single = self.within == Within::Single;
        self.before = if single || double { 'x' } else { character };
        match character {
            '\'' if single => self.within = Within::Nothing,
            _ if single => {}
            _ if character == escape => self.escaped = true,
            '"' if double => self.open.clear(),
            '"' => self.open.push(Open::Double),
            '\'' if !double => self.within = Within::Single,
            _ => {}
        }
    }

    fn shell(&mut self, character: char, rest: &str) {
        if self.is_escaped() || self.within == Within::Comment {
            return;
        }
        if self.within == Within::Single {
            if character == '\'' {
                self.within = Within::Nothing;
            }
            self.before = 'x';
            return;
        }
        let after_dollar = std::mem::replace(&mut self.after_dollar, character == '$');
        let top = self.open.last().copied();
        let quoted = self.open.contains(&Open::Double);
        let begins_word = matches!(self.before, ' ' | '\t' | ';' | '&' | '|' | '(' | ')');
        self.before = if top.is_some_and(|open| open != Open::Parenthesis) { 'x' } else { character };
        match (character, top) {
            ('\\', _) => self.escaped = true,
            ('"', Some(Open::Double))
            | ('`', Some(Open::Backquote))
            | ('}', Some(Open::Brace))
            | (')', Some(Open::Parenthesis)) => {
                self.open.pop();
            }
            // Shells do not agree on quotes in `"${x:-'a'}"` and inside quoted back quotes.
            ('\'', Some(Open::Brace)) | ('"' | '\'', Some(Open::Backquote)) if quoted => self.within = Within::Riddle,
            ('"', _) => self.open.push(Open::Double),
            ('\'', Some(Open::Double)) => {}
            // After `$`, an apostrophe whose text holds a backslash ends at different places in bash and in other shells.
            ('\'', _) if after_dollar && rest[1..].split('\'').next().is_some_and(|text| text.contains('\\')) => {
                self.within = Within::Riddle;
            }
            ('\'', _) => self.within = Within::Single,
            ('`', _) => self.open.push(Open::Backquote),
            ('{', _) if after_dollar => self.open.push(Open::Brace),
            ('(', Some(Open::Double | Open::Brace)) if !after_dollar => {}
            ('(', _) => self.open.push(Open::Parenthesis),
            // The patterns of `case` have closing parentheses of their own.
            ('c', Some(Open::Parenthesis)) if quoted && begins_word && rest.starts_with("case") => {
                self.within = Within::Riddle;
            }
            ('#', None | Some(Open::Parenthesis)) if begins_word => self.within = Within::Comment,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Language, Quoting};

    fn is_between_words(language: Language, text: &str) -> bool {
        let mut quoting = Quoting::new(language);
        quoting.read(text);
        quoting.is_between_words()
    }

    #[test]
    fn blanks_of_shells() {
        for (text, expected) in [
            ("a ", true),
            ("a", false),
            ("a\\ ", false),
            ("a\\\\ ", true),
            ("a \"b ", false),
            ("a 'b ", false),
            ("a 'b' ", true),
            ("a \"it's\" ", true),
            ("a \"$(b ", false),
            ("a $(b ", true),
            ("a $(b) ", true),
            ("a \"$(b \"c\" d)\" ", true),
            ("a \"${b:-\"c d\"}\" ", true),
            ("a ${b:-c ", false),
            ("a `b ", false),
            ("a `b` ", true),
            ("a \"`b 'c'`\" ", false),
            ("a $'b\\'c ", false),
            ("a $'b' ", true),
            ("a # it's ", false),
            ("a#'b ", false),
            ("a \"$(case x in x) b ", false),
            ("(a; b) && c ", true),
            ("a $((1 + 2)) ", true),
        ] {
            assert_eq!(is_between_words(Language::Shell, text), expected, "{text}");
        }
    }

    #[test]
    fn blanks_of_words_and_json() {
        for (text, expected) in
            [("A=b ", true), ("A=\"b ", false), ("A='b\\' ", true), ("A=b` ", false), ("A=b\\ ", true)]
        {
            assert_eq!(is_between_words(Language::Words('`'), text), expected, "{text}");
        }
        for (text, expected) in [("[\"a\", ", true), ("[\"a ", false), ("[\"$(a \\\" ", false), ("[\"it's\", ", true)] {
            assert_eq!(is_between_words(Language::Json, text), expected, "{text}");
        }
    }
}
