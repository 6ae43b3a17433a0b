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

/// The state of the reader between two characters.
#[derive(Debug)]
pub(crate) struct Quoting {
    language: Language,
    open: Vec<Open>,
    single: bool,
    escaped: bool,
    comment: bool,
    unsure: bool,
    /// The character before, `x` for one that was quoted or escaped.
    before: char,
    /// Whether the character before is a `$` that is not escaped.
    after_dollar: bool,
}

impl Quoting {
    pub(crate) fn new(language: Language) -> Self {
        Self {
            language,
            open: Vec::new(),
            single: false,
            escaped: false,
            comment: false,
            unsure: false,
            before: ' ',
            after_dollar: false,
        }
    }

    /// Whether blanks at this place do no more than separate words.
    pub(crate) fn is_free(&self) -> bool {
        !self.unsure && !self.single && !self.escaped && self.open.iter().all(|open| *open == Open::Parenthesis)
    }

    /// Whether the text so far ends between two words.
    pub(crate) fn is_between_words(&self) -> bool {
        self.is_free() && matches!(self.before, ' ' | '\t')
    }

    /// Reads on.
    pub(crate) fn read(&mut self, text: &str) {
        for (offset, character) in text.char_indices() {
            if self.unsure {
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
        self.before = if self.single || double { 'x' } else { character };
        match character {
            '\'' if self.single => self.single = false,
            _ if self.single => {}
            _ if character == escape => self.escaped = true,
            '"' if double => self.open.clear(),
            '"' => self.open.push(Open::Double),
            '\'' if !double => self.single = true,
            _ => {}
        }
    }

    fn shell(&mut self, character: char, rest: &str) {
        if self.is_escaped() || self.comment {
            return;
        }
        if self.single {
            self.single = character != '\'';
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
            ('"', Some(Open::Double)) => {
                self.open.pop();
            }
            // Shells do not agree on quotes in `"${x:-'a'}"` and inside quoted back quotes.
            ('\'', Some(Open::Brace)) if quoted => self.unsure = true,
            ('"' | '\'', Some(Open::Backquote)) if quoted => self.unsure = true,
            ('"', _) => self.open.push(Open::Double),
            ('\'', Some(Open::Double)) => {}
            // After `$`, an apostrophe whose text holds a backslash ends at different places in bash and in other shells.
            ('\'', _) if after_dollar && rest[1..].split('\'').next().is_some_and(|text| text.contains('\\')) => {
                self.unsure = true;
            }
            ('\'', _) => self.single = true,
            ('`', Some(Open::Backquote)) => {
                self.open.pop();
            }
            ('`', _) => self.open.push(Open::Backquote),
            ('}', Some(Open::Brace)) | (')', Some(Open::Parenthesis)) => {
                self.open.pop();
            }
            ('{', _) if after_dollar => self.open.push(Open::Brace),
            ('(', Some(Open::Double | Open::Brace)) if !after_dollar => {}
            ('(', _) => self.open.push(Open::Parenthesis),
            // The patterns of `case` have closing parentheses of their own.
            ('c', Some(Open::Parenthesis)) if quoted && begins_word && rest.starts_with("case") => self.unsure = true,
            ('#', None | Some(Open::Parenthesis)) if begins_word => self.comment = true,
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
        for (text, expected) in [("A=b ", true), ("A=\"b ", false), ("A='b\\' ", true), ("A=b` ", false), ("A=b\\ ", true)] {
            assert_eq!(is_between_words(Language::Words('`'), text), expected, "{text}");
        }
        for (text, expected) in [("[\"a\", ", true), ("[\"a ", false), ("[\"$(a \\\" ", false), ("[\"it's\", ", true)] {
            assert_eq!(is_between_words(Language::Json, text), expected, "{text}");
        }
    }
}
