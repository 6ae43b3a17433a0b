//! `.dockerignore`: an ordered list of patterns, of which the last decides that changes what the ones before it say about a path.
//!
//! What a pattern did to a directory holds for everything below. One that had nothing to change there, such as a `!` on a directory
//! that was not excluded, is asked again for each path below, and then has to match that path itself.
//!
//! The semantics are those of moby's pattern matcher, not of gitignore: patterns are anchored at the root of the context, `*.log`
//! matches at the top only, `**` crosses directories, `!` takes back what earlier patterns excluded, also below an excluded directory.
//! Paths are bytes with `/` between components.

use crate::glob::{BadPattern, Glob, Token, Unit, parse_class, units};
use crate::limits::{IGNORE_FILE_BYTES_MAX, IGNORE_PATTERNS_MAX, LINE_BYTES_MAX};

/// An ignore file or a list of patterns that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A `!` alone.
    #[error("illegal exclusion pattern: \"!\"{}", at(*line))]
    BareExclamation {
        /// The line of the file, from 1; `None` for a pattern that came otherwise.
        line: Option<usize>,
    },
    /// A malformed pattern.
    #[error("syntax error in pattern {pattern:?}{}", at(*line))]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// The line of the file, from 1; `None` for a pattern that came otherwise.
        line: Option<usize>,
    },
    /// The file is too large.
    #[error("the ignore file has {bytes} bytes, more than the {IGNORE_FILE_BYTES_MAX} allowed")]
    FileTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A line is too long.
    #[error("line {line} of the ignore file is longer than the {LINE_BYTES_MAX} bytes allowed")]
    LineTooLong {
        /// The line, from 1.
        line: usize,
    },
    /// There are too many patterns.
    #[error("there are more than the {IGNORE_PATTERNS_MAX} ignore patterns allowed")]
    TooManyPatterns,
}

fn at(line: Option<usize>) -> String {
    line.map(|line| format!(" (line {line})")).unwrap_or_default()
}

/// The text of an ignore file.
#[derive(Debug, Clone, Copy)]
pub struct IgnoreFile;

impl IgnoreFile {
    /// Reads an ignore file: `#` at column 0 begins a comment, a byte-order mark and carriage returns are dropped, white space round
    /// patterns is trimmed, paths are cleaned and a leading `/` is dropped.
    ///
    /// # Errors
    /// A bare `!`, a malformed pattern, or a limit.
    pub fn parse(text: &[u8]) -> Result<IgnorePatterns, IgnoreError> {
        if text.len() > IGNORE_FILE_BYTES_MAX {
            return Err(IgnoreError::FileTooLarge { bytes: text.len() });
        }
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut patterns = IgnorePatterns::default();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            if line.len() > LINE_BYTES_MAX {
                return Err(IgnoreError::LineTooLong { line: number });
            }
            if line.first() == Some(&b'#') {
                continue;
            }
            let line = trim(line);
            let (negated, path) = match line.strip_prefix(b"!") {
                Some(path) => (true, trim(path)),
                None => (false, line),
            };
            if line.is_empty() {
                continue;
            }
            let mut pattern = Vec::new();
            if negated {
                pattern.push(b'!');
            }
            if !path.is_empty() {
                let path = clean_path(path);
                // A `/` alone stays as it is and matches nothing.
                pattern.extend_from_slice(if path.len() > 1 {
                    path.strip_prefix(b"/").unwrap_or(&path)
                } else {
                    &path
                });
            }
            patterns.push(&pattern, Some(number))?;
        }
        Ok(patterns)
    }
}

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnorePattern {
    text: Vec<u8>,
    negated: bool,
    line: Option<usize>,
    matcher: Matcher,
}

impl IgnorePattern {
    /// The cleaned pattern without its `!`.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether it takes back (`!`).
    pub fn is_negated(&self) -> bool {
        self.negated
    }

    /// The line of the ignore file, from 1; `None` for a pattern that came otherwise.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

impl std::fmt::Display for IgnorePattern {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}{}", if self.negated { "!" } else { "" }, String::from_utf8_lossy(&self.text))
    }
}

/// How a pattern is matched; the simple forms need no state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Matcher {
    /// No wildcards.
    Exact(Vec<u8>),
    /// `text**`
    Prefix(Vec<u8>),
    /// `**text`; with `**/text` the text begins with `/` and a path without directories matches too.
    Suffix(Vec<u8>),
    Glob(Glob),
}

impl Matcher {
    /// Compiles a cleaned pattern that is known to be well formed for `filepath.Match`.
    fn compile(pattern: &[u8]) -> Result<Self, BadPattern> {
        Glob::parse(pattern)?;
        let all: Vec<Unit> = units(pattern).collect();
        let mut rest = all.as_slice();
        let mut tokens = Vec::new();
        let mut only_literals = true;
        let mut leading_double_star = false;
        let mut trailing_double_star = false;
        let is = |rest: &[Unit], character| rest.first().and_then(|unit| unit.character()) == Some(character);
        while let Some((first, after)) = rest.split_first() {
            let at_start = rest.len() == all.len();
            rest = after;
            match first.character() {
                Some('*') if is(rest, '*') => {
                    rest = &rest[1..];
                    // `**/` also matches no directory at all.
                    if is(rest, '/') {
                        rest = &rest[1..];
                    }
                    if rest.is_empty() {
                        trailing_double_star = only_literals && !leading_double_star;
                        only_literals &= trailing_double_star || at_start;
                        tokens.push(Token::Rest);
                    } else {
                        only_literals &= at_start;
                        tokens.extend([Token::OptionalDirectories, Token::Directories]);
                    }
                    leading_double_star |= at_start;
                }
                character => {
                    let token = match character {
                        Some('*') => Token::Star,
                        Some('?') => Token::One,
                        Some('[') => parse_class(&mut rest)?,
                        Some('\\') => {
                            let (escaped, after) = rest.split_first().ok_or(BadPattern)?;
                            rest = after;
                            only_literals = false;
                            Token::Literal(*escaped)
                        }
                        _ => Token::Literal(*first),
                    };
                    if let Token::Class { ranges, .. } = &token
                        && ranges.iter().any(|(low, high)| low > high)
                    {
                        return Err(BadPattern);
                    }
                    only_literals &= matches!(token, Token::Literal(_));
                    tokens.push(token);
                }
            }
        }
        Ok(match (only_literals, leading_double_star, trailing_double_star) {
            (false, ..) => Self::Glob(Glob::new(tokens)),
            (true, true, _) => Self::Suffix(pattern[2..].to_vec()),
            (true, false, true) => Self::Prefix(pattern[..pattern.len() - 2].to_vec()),
            (true, false, false) => Self::Exact(pattern.to_vec()),
        })
    }

    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(text) => path.starts_with(text),
            Self::Suffix(text) => path.ends_with(text) || text.strip_prefix(b"/").is_some_and(|name| name == path),
            Self::Glob(glob) => glob.matches(path),
        }
    }

    /// Whether some path that begins with `directory` (which ends in `/`) and is longer could match.
    fn may_match_below(&self, directory: &[u8]) -> bool {
        match self {
            Self::Exact(text) => text.len() > directory.len() && text.starts_with(directory),
            Self::Prefix(text) => text.starts_with(directory) || directory.starts_with(text),
            Self::Suffix(_) => true,
            Self::Glob(glob) => glob.may_continue(directory),
        }
    }
}

/// An ordered list of patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IgnorePatterns {
    patterns: Vec<IgnorePattern>,
}

/// Which patterns match a directory or one of its parents: what the walk of a tree hands from a directory to its entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatchState {
    matched: Vec<bool>,
    excluded: bool,
}

impl MatchState {
    /// Whether the path this state is for is excluded.
    pub fn is_excluded(&self) -> bool {
        self.excluded
    }
}

impl IgnorePatterns {
    /// Patterns as given to `--exclude`: trimmed and cleaned, empty ones are dropped.
    ///
    /// # Errors
    /// A bare `!`, a malformed pattern, or too many.
    pub fn new(patterns: Vec<String>) -> Result<Self, IgnoreError> {
        let mut list = Self::default();
        for pattern in patterns {
            list.push(pattern.as_bytes(), None)?;
        }
        Ok(list)
    }

    fn push(&mut self, pattern: &[u8], line: Option<usize>) -> Result<(), IgnoreError> {
        let pattern = trim(pattern);
        if pattern.is_empty() {
            return Ok(());
        }
        if self.patterns.len() == IGNORE_PATTERNS_MAX {
            return Err(IgnoreError::TooManyPatterns);
        }
        let cleaned = clean_path(pattern);
        let (negated, text) = match cleaned.strip_prefix(b"!") {
            Some([]) => return Err(IgnoreError::BareExclamation { line }),
            Some(text) => (true, text.to_vec()),
            None => (false, cleaned),
        };
        let matcher = Matcher::compile(&text).map_err(|BadPattern| IgnoreError::BadPattern {
            pattern: String::from_utf8_lossy(&text).into_owned(),
            line,
        })?;
        self.patterns.push(IgnorePattern { text, negated, line, matcher });
        Ok(())
    }

    /// The patterns in order.
    pub fn patterns(&self) -> &[IgnorePattern] {
        &self.patterns
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether any pattern takes back (`!`).
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.negated)
    }

    /// Whether the path is excluded. The root itself (empty or `.`) never is.
    pub fn matches(&self, path: impl AsRef<[u8]>) -> bool {
        self.state_of(path).excluded
    }

    /// The pattern that decides about the path; `None` where none matches it.
    pub fn deciding_pattern(&self, path: impl AsRef<[u8]>) -> Option<&IgnorePattern> {
        let state = self.state_of(path);
        let index = state.matched.iter().rposition(|matched| *matched)?;
        self.patterns.get(index)
    }

    /// The state of the root of the tree, where a walk begins.
    pub fn root(&self) -> MatchState {
        MatchState { matched: vec![false; self.patterns.len()], excluded: false }
    }

    /// The state of `path` (from the root, without leading or trailing `/`), an entry of the directory whose state is `parent`.
    pub fn step(&self, parent: &MatchState, path: impl AsRef<[u8]>) -> MatchState {
        let path = path.as_ref();
        let mut excluded = false;
        let mut matched = Vec::with_capacity(self.patterns.len());
        for (index, pattern) in self.patterns.iter().enumerate() {
            // A pattern that would change nothing is not asked, and so is not known to match for what is below either: in
            // `a/b`, `!a` the second takes nothing back, for `a` was not excluded when it matched.
            let hit = parent.matched.get(index).copied().unwrap_or(false)
                || (pattern.negated == excluded && pattern.matcher.matches(path));
            if hit {
                excluded = !pattern.negated;
            }
            matched.push(hit);
        }
        MatchState { matched, excluded }
    }

    /// Whether something below a directory could be taken back by a `!`, so that an excluded directory must still be entered.
    pub fn may_match_below(&self, directory: impl AsRef<[u8]>) -> bool {
        let mut directory = relative(directory.as_ref());
        if directory.is_empty() {
            return self.has_exceptions();
        }
        directory.push(b'/');
        self.patterns.iter().any(|pattern| pattern.negated && pattern.matcher.may_match_below(&directory))
    }

    /// The state of a path, found from the root on.
    pub fn state_of(&self, path: impl AsRef<[u8]>) -> MatchState {
        let path = relative(path.as_ref());
        let mut state = self.root();
        if path.is_empty() {
            return state;
        }
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
        for end in ends.chain([path.len()]) {
            state = self.step(&state, &path[..end]);
        }
        state
    }
}

/// The path from the root: cleaned, without a leading `/`; empty for the root itself.
fn relative(path: &[u8]) -> Vec<u8> {
    let path = clean_path(path);
    let path = path.strip_prefix(b"/").map(<[u8]>::to_vec).unwrap_or(path);
    if path == b"." { Vec::new() } else { path }
}

/// Go's `filepath.Clean`: no `.`, no `..` after a name, no doubled or trailing `/`; `.` for an empty path.
fn clean_path(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(last) if *last != b".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// Without white space at the ends.
fn trim(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => bytes.trim_ascii(),
    }
}

#[cfg(test)]
mod tests;
