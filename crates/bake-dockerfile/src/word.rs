//! Expansion of variables in the words of instructions, exactly as BuildKit's shell lexer does it.
//!
//! `$name ${name} ${name:-w} ${name-w} ${name:+w} ${name+w} ${name:?w} ${name?w} ${name#p} ${name##p} ${name%p} ${name%%p}
//! ${name/p/r} ${name//p/r}`, nested in `w`, `p` and `r`. Single quotes keep everything, double quotes expand, the escape character
//! takes the meaning from the next character.

use std::collections::HashSet;

use crate::limits::{EXPANSION_BYTES_MAX, NESTING_MAX};
use crate::pattern::{Greed, LimitReached, ShellPattern};

/// Looks a variable up; `None` when it is not set.
pub type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Expands the words of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expander {
    /// The character that takes the meaning from the next one: `\` unless the file says otherwise.
    pub escape: char,
}

/// An expanded word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The result.
    pub text: String,
    /// Names that were used without being set and without a default or alternative, in order, each once.
    pub undefined: Vec<String>,
}

/// An expanded list of words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WordsExpansion {
    /// The words between unquoted white space, after expansion. No word is empty.
    pub words: Vec<String>,
    /// As in [`Expansion::undefined`].
    pub undefined: Vec<String>,
}

/// A word that cannot be expanded. Offsets are bytes in the word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// `${name:?message}` or `${name?message}` of a variable that is unset or empty.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message, expanded.
        message: String,
        /// Where the substitution begins.
        offset: usize,
    },
    /// A modifier that does not exist.
    #[error("unsupported modifier ({modifier}) in substitution")]
    UnsupportedModifier {
        /// The modifier.
        modifier: String,
        /// Where the substitution begins.
        offset: usize,
    },
    /// `${}`, `${{` or `${:`.
    #[error("syntax error: bad substitution")]
    BadSubstitution {
        /// Where the substitution begins.
        offset: usize,
    },
    /// A `${` without its `}`.
    #[error("syntax error: missing '}}'")]
    MissingBrace {
        /// Where the substitution begins.
        offset: usize,
    },
    /// A `${name/pattern` without its second slash.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash {
        /// Where the substitution begins.
        offset: usize,
    },
    /// A single quote that is not closed.
    #[error("unexpected end of statement while looking for matching single-quote")]
    UnclosedSingleQuote {
        /// Where the quote stands.
        offset: usize,
    },
    /// A double quote that is not closed.
    #[error("unexpected end of statement while looking for matching double-quote")]
    UnclosedDoubleQuote {
        /// Where the quote stands.
        offset: usize,
    },
    /// A pattern with a bad escape.
    #[error("invalid pattern ({pattern}) in substitution: {reason}")]
    InvalidPattern {
        /// The pattern, expanded.
        pattern: String,
        /// What is wrong with it.
        reason: String,
        /// Where the substitution begins.
        offset: usize,
    },
    /// The pattern, with those before it in the word, would take too long to match.
    #[error("pattern ({pattern}) in substitution takes too long to match against the value of {name}")]
    CostlyPattern {
        /// The pattern, expanded.
        pattern: String,
        /// The variable.
        name: String,
        /// Where the substitution begins.
        offset: usize,
    },
    /// `${` nested too deep.
    #[error("substitutions are nested more than {NESTING_MAX} deep")]
    TooDeep {
        /// Where the innermost substitution begins.
        offset: usize,
    },
    /// The result is too large.
    #[error("the expansion is larger than {EXPANSION_BYTES_MAX} bytes")]
    TooLarge {
        /// Where the last substitution begins.
        offset: usize,
    },
}

impl ExpandError {
    /// The byte of the word where the problem begins.
    pub fn offset(&self) -> usize {
        match self {
            Self::Required { offset, .. }
            | Self::UnsupportedModifier { offset, .. }
            | Self::BadSubstitution { offset }
            | Self::MissingBrace { offset }
            | Self::MissingSlash { offset }
            | Self::UnclosedSingleQuote { offset }
            | Self::UnclosedDoubleQuote { offset }
            | Self::InvalidPattern { offset, .. }
            | Self::CostlyPattern { offset, .. }
            | Self::TooDeep { offset }
            | Self::TooLarge { offset } => *offset,
        }
    }
}

impl Default for Expander {
    fn default() -> Self {
        Self { escape: '\\' }
    }
}

impl Expander {
    /// An expander with an escape character.
    pub fn new(escape: char) -> Self {
        Self { escape }
    }

    /// Expands variables and removes quotes and escapes; white space stays.
    ///
    /// # Errors
    /// A malformed or refused substitution, an unclosed quote, or a limit.
    pub fn expand(&self, word: &str, variables: &Variables<'_>) -> Result<Expansion, ExpandError> {
        let mut lexer = Lexer::new(word, self.escape, Quotes::Interpreted, variables);
        let text = lexer.until(None, Escapes::Resolved, &mut Words::default())?;
        Ok(Expansion { text, undefined: each_once(lexer.undefined) })
    }

    /// Expands variables, then splits at white space that is neither quoted nor escaped.
    ///
    /// # Errors
    /// As [`Self::expand`].
    pub fn expand_to_words(&self, word: &str, variables: &Variables<'_>) -> Result<WordsExpansion, ExpandError> {
        let mut lexer = Lexer::new(word, self.escape, Quotes::Interpreted, variables);
        let mut words = Words::default();
        lexer.until(None, Escapes::Resolved, &mut words)?;
        Ok(WordsExpansion { words: words.finish(), undefined: each_once(lexer.undefined) })
    }

    /// Expands the body of a heredoc: quotes stay as they are, and the escape character is always `\`.
    ///
    /// # Errors
    /// As [`Self::expand`].
    pub fn expand_heredoc(&self, body: &str, variables: &Variables<'_>) -> Result<Expansion, ExpandError> {
        let mut lexer = Lexer::new(body, '\\', Quotes::Literal, variables);
        let text = lexer.until(None, Escapes::Resolved, &mut Words::default())?;
        Ok(Expansion { text, undefined: each_once(lexer.undefined) })
    }

    /// Removes quotes and escapes without expanding anything: `$` is an ordinary character. An unclosed quote ends with the word.
    pub fn unquote(&self, word: &str) -> String {
        let mut result = String::with_capacity(word.len());
        let mut quote = None;
        let mut characters = word.chars().peekable();
        while let Some(character) = characters.next() {
            match quote {
                Some('\'') if character != '\'' => result.push(character),
                _ if quote == Some(character) => quote = None,
                None if matches!(character, '\'' | '"') => quote = Some(character),
                None if character == self.escape => result.extend(characters.next()),
                Some(_) if character == self.escape => match characters.peek() {
                    Some(next) if *next == '"' || *next == '$' || *next == self.escape => {
                        result.extend(characters.next());
                    }
                    Some(_) => result.push(character),
                    None => {}
                },
                _ => result.push(character),
            }
        }
        result
    }

    /// Whether the word is well formed whatever the variables are: quotes closed, substitutions complete, modifiers known.
    ///
    /// # Errors
    /// The first problem. Never [`ExpandError::Required`].
    pub fn check(&self, word: &str) -> Result<(), ExpandError> {
        // With every variable set no `?` refuses.
        self.expand(word, &|_| Some("x".to_owned())).map(|_| ())
    }
}

/// Whether quotes group, or are ordinary characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Interpreted,
    Literal,
}

/// Whether escapes are resolved, or kept for a pattern to interpret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Resolved,
    Kept,
}

/// Collects words.
#[derive(Debug, Default)]
struct Words {
    finished: Vec<String>,
    word: String,
}

impl Words {
    fn push_splitting(&mut self, character: char) {
        if character.is_whitespace() {
            if !self.word.is_empty() {
                self.finished.push(std::mem::take(&mut self.word));
            }
        } else {
            self.word.push(character);
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.finished.push(self.word);
        }
        self.finished
    }
}

struct Lexer<'a> {
    text: &'a str,
    position: usize,
    escape: char,
    quotes: Quotes,
    variables: &'a Variables<'a>,
    /// May hold a name several times: comparing each with all before it would take the square of their number.
    undefined: Vec<String>,
    depth: usize,
    produced: usize,
    /// What the matching of all patterns took so far.
    pattern_steps: usize,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str, escape: char, quotes: Quotes, variables: &'a Variables<'a>) -> Self {
        Self {
            text,
            position: 0,
            escape,
            quotes,
            variables,
            undefined: Vec::new(),
            depth: 0,
            produced: 0,
            pattern_steps: 0,
        }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.position..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.position += character.len_utf8();
        Some(character)
    }

    /// Expands up to `stop`, which is consumed, or to the end. At the top level `words` receives the same text split.
    fn until(&mut self, stop: Option<char>, escapes: Escapes, words: &mut Words) -> Result<String, Unfinished> {
        let mut result = String::new();
        while let Some(character) = self.peek() {
            if Some(character) == stop {
                self.next();
                return Ok(result);
            }
            match character {
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| words.push_splitting(c));
                    result.push_str(&value);
                }
                '\'' | '"' if self.quotes == Quotes::Interpreted => {
                    let value = if character == '"' { self.double_quoted(escapes)? } else { self.single_quoted()? };
                    words.word.push_str(&value);
                    result.push_str(&value);
                }
                _ => {
                    self.next();
                    if character != self.escape {
                        words.push_splitting(character);
                        result.push(character);
                        continue;
                    }
                    if escapes == Escapes::Kept {
                        words.word.push(character);
                        result.push(character);
                    }
                    let Some(literal) = self.next() else { break };
                    words.word.push(literal);
                    result.push(literal);
                }
            }
        }
        if stop.is_some() { Err(Unfinished::End) } else { Ok(result) }
    }

    fn single_quoted(&mut self) -> Result<String, Unfinished> {
        let offset = self.position;
        self.next();
        let rest = &self.text[self.position..];
        let Some(length) = rest.find('\'') else {
            self.position = self.text.len();
            return Err(ExpandError::UnclosedSingleQuote { offset }.into());
        };
        self.position += length + 1;
        Ok(rest[..length].to_owned())
    }

    fn double_quoted(&mut self, escapes: Escapes) -> Result<String, Unfinished> {
        let offset = self.position;
        self.next();
        let mut result = String::new();
        loop {
            match self.peek() {
                None => return Err(ExpandError::UnclosedDoubleQuote { offset }.into()),
                Some('"') => {
                    self.next();
                    return Ok(result);
                }
                Some('$') => result.push_str(&self.dollar()?),
                Some(character) => {
                    self.next();
                    if character != self.escape {
                        result.push(character);
                        continue;
                    }
                    if escapes == Escapes::Kept {
                        result.push(character);
                    }
                    match self.peek() {
                        None => {}
                        Some(literal) if literal == '"' || literal == '$' || literal == self.escape => {
                            self.next();
                            result.push(literal);
                        }
                        Some(_) => result.push(character),
                    }
                }
            }
        }
    }

    /// A substitution; the next character is its `$`.
    fn dollar(&mut self) -> Result<String, Unfinished> {
        let offset = self.position;
        self.next();
        let value = if self.peek() == Some('{') {
            self.next();
            if self.depth == NESTING_MAX {
                return Err(ExpandError::TooDeep { offset }.into());
            }
            self.depth += 1;
            let value = self.braces(offset);
            self.depth -= 1;
            value?
        } else {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            self.value_or_undefined(&name)
        };
        self.produced = self.produced.saturating_add(value.len());
        if self.produced > EXPANSION_BYTES_MAX {
            return Err(ExpandError::TooLarge { offset }.into());
        }
        Ok(value)
    }

    /// The inside of `${...}`.
    fn braces(&mut self, offset: usize) -> Result<String, Unfinished> {
        match self.peek() {
            None => return Err(ExpandError::MissingBrace { offset }.into()),
            Some('{' | '}' | ':') => return Err(ExpandError::BadSubstitution { offset }.into()),
            Some(_) => {}
        }
        let name = self.name();
        let unsupported = |modifier: String| Unfinished::from(ExpandError::UnsupportedModifier { modifier, offset });
        let missing = || Unfinished::from(ExpandError::MissingBrace { offset });
        match self.next().ok_or_else(missing)? {
            '}' => Ok(self.value_or_undefined(&name)),
            ':' => {
                let modifier = self.next().ok_or_else(missing)?;
                match modifier {
                    '-' | '+' | '?' => self.conditional(&name, modifier, true, offset),
                    other => Err(unsupported(format!(":{other}"))),
                }
            }
            modifier @ ('-' | '+' | '?') => self.conditional(&name, modifier, false, offset),
            modifier @ ('#' | '%') => self.trimmed(&name, modifier, offset),
            '/' => self.replaced(&name, offset),
            other => Err(unsupported(other.to_string())),
        }
    }

    /// `-`, `+` and `?` with or without a colon before.
    fn conditional(
        &mut self,
        name: &str,
        modifier: char,
        empty_is_unset: bool,
        offset: usize,
    ) -> Result<String, Unfinished> {
        let undefined_before = self.undefined.len();
        let word = self.operand('}', Escapes::Resolved, offset)?;
        let value = (self.variables)(name);
        let is_set = value.is_some();
        let usable = value.filter(|value| !(empty_is_unset && value.is_empty()));
        let (result, word_used) = match (modifier, usable) {
            ('-', None) | ('+', Some(_)) => (word, true),
            ('-' | '?', Some(value)) => (value, false),
            ('+', None) => (String::new(), false),
            _ => {
                let default = if is_set { "is not allowed to be empty" } else { "is not allowed to be unset" };
                let message = if word.is_empty() { default.to_owned() } else { word };
                return Err(ExpandError::Required { name: name.to_owned(), message, offset }.into());
            }
        };
        if !word_used {
            self.undefined.truncate(undefined_before);
        }
        Ok(result)
    }

    /// `#`, `##`, `%` and `%%`.
    fn trimmed(&mut self, name: &str, modifier: char, offset: usize) -> Result<String, Unfinished> {
        let operand = self.operand('}', Escapes::Kept, offset)?;
        let value = self.value_or_undefined(name);
        let (text, greed) = match operand.strip_prefix(modifier) {
            Some(rest) => (rest, Greed::Longest),
            None => (operand.as_str(), Greed::Shortest),
        };
        let pattern = shell_pattern(text, offset)?;
        let trimmed = if modifier == '#' {
            pattern.trim_prefix(&value, greed, &mut self.pattern_steps)
        } else {
            pattern.trim_suffix(&value, greed, &mut self.pattern_steps)
        };
        trimmed.map_err(|limit| limit_reached(limit, text, name, offset))
    }

    /// `/pattern/text` and `//pattern/text`.
    fn replaced(&mut self, name: &str, offset: usize) -> Result<String, Unfinished> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let text =
            self.until(Some('/'), Escapes::Kept, &mut Words::default()).map_err(|unfinished| match unfinished {
                _ if self.peek().is_none() => ExpandError::MissingSlash { offset }.into(),
                other => other,
            })?;
        let replacement = self.operand('}', Escapes::Kept, offset)?;
        let value = self.value_or_undefined(name);
        shell_pattern(&text, offset)?
            .replace(&value, &replacement, all, &mut self.pattern_steps)
            .map_err(|limit| limit_reached(limit, &text, name, offset))
    }

    /// The text up to `stop`; running into the end of the word means that the brace is missing.
    fn operand(&mut self, stop: char, escapes: Escapes, offset: usize) -> Result<String, Unfinished> {
        self.until(Some(stop), escapes, &mut Words::default()).map_err(|unfinished| match unfinished {
            Unfinished::Refused(
                error @ (ExpandError::Required { .. }
                | ExpandError::TooLarge { .. }
                | ExpandError::CostlyPattern { .. }),
            ) => error.into(),
            _ if self.peek().is_none() => ExpandError::MissingBrace { offset }.into(),
            other => other,
        })
    }

    /// A name: letters, digits and `_`; or only digits; or one special character.
    fn name(&mut self) -> String {
        let rest = &self.text[self.position..];
        let length = match rest.chars().next() {
            Some(first) if first.is_ascii_digit() => {
                rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len()
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest.len() - rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').len(),
        };
        self.position += length;
        rest[..length].to_owned()
    }

    fn value_or_undefined(&mut self, name: &str) -> String {
        (self.variables)(name).unwrap_or_else(|| {
            self.undefined.push(name.to_owned());
            String::new()
        })
    }
}

/// The names in order, without repetitions.
fn each_once(mut names: Vec<String>) -> Vec<String> {
    if names.len() > 1 {
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
    }
    names
}

/// Why scanning stopped early: only the substitution around it knows what is missing when the word ends.
enum Unfinished {
    End,
    Refused(ExpandError),
}

impl From<ExpandError> for Unfinished {
    fn from(error: ExpandError) -> Self {
        Self::Refused(error)
    }
}

impl From<Unfinished> for ExpandError {
    fn from(unfinished: Unfinished) -> Self {
        match unfinished {
            Unfinished::Refused(error) => error,
            // Only `until` with a stop ends so, and its callers name what is missing.
            Unfinished::End => Self::MissingBrace { offset: 0 },
        }
    }
}

fn shell_pattern(text: &str, offset: usize) -> Result<ShellPattern, ExpandError> {
    ShellPattern::parse(text).map_err(|reason| ExpandError::InvalidPattern { pattern: text.to_owned(), reason, offset })
}

fn limit_reached(limit: LimitReached, pattern: &str, name: &str, offset: usize) -> Unfinished {
    match limit {
        LimitReached::Steps => {
            ExpandError::CostlyPattern { pattern: pattern.to_owned(), name: name.to_owned(), offset }.into()
        }
        LimitReached::Bytes => ExpandError::TooLarge { offset }.into(),
    }
}

#[cfg(test)]
mod tests;
