//! File name patterns with the syntax of Go's `filepath.Match`, on bytes: `*`, `?`, `[a-z]`, `[^a-z]` and `\x`.
//!
//! `COPY` wildcards and ignore patterns use it. All alternatives are followed at once, so the time is the product of the lengths of
//! pattern and name, never exponential.

/// The pattern is malformed: an unclosed or empty class, a bad range, or an escape at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Whether `name` as a whole matches `pattern`. `*` and `?` do not match `/`. Bytes that are not UTF-8 count as one character each.
///
/// # Errors
/// The pattern is malformed, wherever in it and whatever the name.
pub fn glob_match(pattern: impl AsRef<[u8]>, name: impl AsRef<[u8]>) -> Result<bool, BadPattern> {
    Ok(Glob::parse(pattern.as_ref())?.matches(name.as_ref()))
}

/// Whether the text has any character that is special in patterns.
pub fn has_wildcard(text: impl AsRef<[u8]>) -> bool {
    text.as_ref().iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'))
}

/// A character, or a byte that is part of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unit(u32);

impl Unit {
    const SEPARATOR: Self = Self('/' as u32);

    /// Beyond the last character, so that stray bytes equal no character.
    fn stray(byte: u8) -> Self {
        Self(0x11_0000 + u32::from(byte))
    }

    fn is_stray(self) -> bool {
        self.0 >= 0x11_0000
    }

    /// The ASCII or other character it is.
    pub(crate) fn character(self) -> Option<char> {
        char::from_u32(self.0)
    }

    fn push_bytes(self, bytes: &mut Vec<u8>) {
        match self.character() {
            Some(character) => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => bytes.extend(u8::try_from(self.0 - 0x11_0000)),
        }
    }
}

/// The characters of bytes.
pub(crate) fn units(bytes: &[u8]) -> impl Iterator<Item = Unit> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let characters = chunk.valid().chars().map(|character| Unit(character as u32));
        characters.chain(chunk.invalid().iter().map(|byte| Unit::stray(*byte)))
    })
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// Exactly this.
    Literal(Unit),
    /// `?`: anything but `/`.
    One,
    /// `*`: any run without `/`.
    Star,
    /// `[...]`
    Class { negated: bool, ranges: Vec<(Unit, Unit)> },
    /// The entry of `**/`: nothing at all, or directories. Always followed by [`Token::Directories`].
    OptionalDirectories,
    /// The inside of `**/`: anything up to and including some `/`.
    Directories,
    /// `**` at the end: anything.
    Rest,
}

/// A parsed pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    tokens: Vec<Token>,
    /// Bytes every match begins with: the cheapest way to see that a name does not match.
    prefix: Vec<u8>,
    /// Bytes every match ends with.
    suffix: Vec<u8>,
}

impl Glob {
    /// Reads a pattern of `filepath.Match`.
    pub(crate) fn parse(pattern: &[u8]) -> Result<Self, BadPattern> {
        let all: Vec<Unit> = units(pattern).collect();
        let mut rest = all.as_slice();
        let mut tokens = Vec::new();
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            tokens.push(match first.character() {
                Some('*') => Token::Star,
                Some('?') => Token::One,
                Some('[') => parse_class(&mut rest)?,
                Some('\\') => Token::Literal(take(&mut rest)?),
                _ => Token::Literal(*first),
            });
        }
        Ok(Self::new(tokens))
    }

    /// A pattern of these parts.
    pub(crate) fn new(tokens: Vec<Token>) -> Self {
        let literals = |tokens: &mut dyn Iterator<Item = &Token>| {
            let literals = tokens.map_while(|token| if let Token::Literal(unit) = token { Some(*unit) } else { None });
            literals.collect::<Vec<Unit>>()
        };
        let bytes = |units: &mut dyn Iterator<Item = &Unit>| {
            let mut bytes = Vec::new();
            units.for_each(|unit| unit.push_bytes(&mut bytes));
            bytes
        };
        let prefix = bytes(&mut literals(&mut tokens.iter()).iter());
        let suffix = bytes(&mut literals(&mut tokens.iter().rev()).iter().rev());
        Self { tokens, prefix, suffix }
    }

    /// Whether the whole of `name` matches.
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        if !name.starts_with(&self.prefix) || !name.ends_with(&self.suffix) {
            return false;
        }
        self.run(name, |states| states.contains(self.tokens.len()))
    }

    /// Whether some name that begins with `beginning` and is longer could match.
    pub(crate) fn may_continue(&self, beginning: &[u8]) -> bool {
        self.run(beginning, |states| states.iter().any(|state| state < self.tokens.len()))
    }

    fn run(&self, text: &[u8], judge: impl Fn(&States) -> bool) -> bool {
        let mut current = States::new(self.tokens.len() + 1);
        let mut next = States::new(self.tokens.len() + 1);
        self.enter(&mut current, 0);
        for unit in units(text) {
            next.clear();
            for state in current.iter() {
                let Some(token) = self.tokens.get(state) else { continue };
                match token {
                    Token::Literal(expected) if *expected == unit => self.enter(&mut next, state + 1),
                    Token::One if unit != Unit::SEPARATOR => self.enter(&mut next, state + 1),
                    Token::Star if unit != Unit::SEPARATOR => self.enter(&mut next, state),
                    Token::Class { negated, ranges }
                        if ranges.iter().any(|(low, high)| *low <= unit && unit <= *high) != *negated =>
                    {
                        self.enter(&mut next, state + 1);
                    }
                    Token::Directories => {
                        next.insert(state);
                        if unit == Unit::SEPARATOR {
                            self.enter(&mut next, state + 1);
                        }
                    }
                    Token::Rest => self.enter(&mut next, state),
                    _ => {}
                }
            }
            std::mem::swap(&mut current, &mut next);
            if current.is_empty() {
                return false;
            }
        }
        judge(&current)
    }

    /// Adds a state and all that follow from it without reading anything.
    fn enter(&self, states: &mut States, mut state: usize) {
        while !states.contains(state) {
            states.insert(state);
            match self.tokens.get(state) {
                Some(Token::Star | Token::Rest) => state += 1,
                Some(Token::OptionalDirectories) => {
                    states.insert(state + 1);
                    state += 2;
                }
                _ => break,
            }
        }
    }
}

/// Reads a class; `rest` begins after its `[`.
pub(crate) fn parse_class(rest: &mut &[Unit]) -> Result<Token, BadPattern> {
    let negated = rest.first().and_then(|unit| unit.character()) == Some('^');
    if negated {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if rest.first().and_then(|unit| unit.character()) == Some(']') && !ranges.is_empty() {
            *rest = &rest[1..];
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_bound(rest)?;
        let mut high = low;
        if rest.first().and_then(|unit| unit.character()) == Some('-') {
            *rest = &rest[1..];
            high = class_bound(rest)?;
        }
        ranges.push((low, high));
    }
}

/// One bound of a range in a class: something must follow it.
fn class_bound(rest: &mut &[Unit]) -> Result<Unit, BadPattern> {
    let first = take(rest)?;
    let bound = match first.character() {
        Some('-' | ']') => return Err(BadPattern),
        Some('\\') => take(rest)?,
        _ => first,
    };
    if bound.is_stray() || rest.is_empty() { Err(BadPattern) } else { Ok(bound) }
}

fn take(rest: &mut &[Unit]) -> Result<Unit, BadPattern> {
    let (first, after) = rest.split_first().ok_or(BadPattern)?;
    *rest = after;
    Ok(*first)
}

/// A set of states. Patterns of usual length need no allocation.
struct States {
    inline: [u64; 4],
    heap: Vec<u64>,
}

impl States {
    fn new(count: usize) -> Self {
        let words = count.div_ceil(64);
        Self { inline: [0; 4], heap: if words > 4 { vec![0; words] } else { Vec::new() } }
    }

    fn words(&self) -> &[u64] {
        if self.heap.is_empty() { &self.inline } else { &self.heap }
    }

    fn words_mut(&mut self) -> &mut [u64] {
        if self.heap.is_empty() { &mut self.inline } else { &mut self.heap }
    }

    fn insert(&mut self, state: usize) {
        self.words_mut()[state / 64] |= 1 << (state % 64);
    }

    fn contains(&self, state: usize) -> bool {
        self.words()[state / 64] & (1 << (state % 64)) != 0
    }

    fn clear(&mut self) {
        self.words_mut().fill(0);
    }

    fn is_empty(&self) -> bool {
        self.words().iter().all(|word| *word == 0)
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        self.words().iter().enumerate().flat_map(|(index, word)| {
            let mut bits = *word;
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros() as usize;
                bits &= bits.checked_sub(1)?;
                Some(index * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("abc", "ab", false),
            ("*", "abc", true),
            ("*", "", true),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*b*c*d*/f", "axbxcxdxe/f", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a[^b]c", "a/c", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "ab", false),
            ("a?b", "aäb", true),
            ("a??b", "aäb", false),
            ("a?b", "a/b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            (r"[\]a]", "]", true),
            (r"[x\-]", "-", true),
            (r"[\-x]", "a", false),
            ("[z-a]", "m", false),
            ("[!k]x", "!x", true),
            ("[!k]x", "ax", false),
            ("a]", "a]", true),
            ("", "", true),
            ("", "a", false),
            ("**", "a/b", false),
        ] {
            assert_eq!(glob_match(pattern, name), Ok(expected), "{pattern} {name}");
        }
        for pattern in ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a[", "[a", "[a\\", "x/[-]"]
        {
            assert_eq!(glob_match(pattern, "a"), Err(BadPattern), "{pattern}");
        }
    }

    #[test]
    fn bytes_that_are_no_text() {
        assert_eq!(glob_match(b"a\xff*", b"a\xff\xfe"), Ok(true));
        assert_eq!(glob_match(b"a?b", b"a\xffb"), Ok(true));
        assert_eq!(glob_match(b"a\xff", b"a\xfe"), Ok(false));
        assert_eq!(glob_match(b"[\xff]", b"\xff"), Err(BadPattern));
        assert_eq!(glob_match(b"[^a]", b"\xff"), Ok(true));
    }

    #[test]
    fn long_patterns_stay_fast() {
        let pattern = format!("{}b", "a*".repeat(500));
        assert_eq!(glob_match(&pattern, "a".repeat(5_000)), Ok(false));
        assert_eq!(glob_match(&pattern, format!("{}b", "a".repeat(3_000))), Ok(true));
    }

    #[test]
    fn wildcards_are_recognised() {
        assert!(has_wildcard("a*") && has_wildcard("[a]") && has_wildcard("a?") && has_wildcard(r"\a"));
        assert!(!has_wildcard("a/b]"));
    }
}
