//! Words as rules see them: the text without its quotes, and which part of it was quoted or expanded how.

use std::ops::Range;

use bake_dockerfile::Span;

use super::invocation::is_name;

/// A word with its quotes removed; expansions stay as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShellWord {
    /// The text.
    pub(crate) text: String,
    /// Where it stands, quotes included.
    pub(crate) span: Span,
    /// Whether it holds `$x`, `$(...)` or the like, so that the text is not what the program gets.
    pub(crate) expands: bool,
    /// What it is made of, in order and without gaps; empty when all of it is plain text without quotes.
    pub(crate) parts: Vec<WordPart>,
}

/// A run of characters quoted in one way, or one expansion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WordPart {
    /// What it is.
    pub(crate) kind: PartKind,
    /// How it is quoted.
    pub(crate) quoting: Quoting,
    /// Bytes of [`ShellWord::text`].
    pub(crate) text: Range<usize>,
    /// Where it stands, quotes left out.
    pub(crate) span: Span,
}

/// What a part of a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// Text that stays what it is.
    Literal,
    /// `$name` or `${...}`.
    Parameter,
    /// `$(...)`.
    Command,
    /// A command in backquotes.
    Backquoted,
    /// `$((...))`.
    Arithmetic,
    /// `<(...)` or `>(...)`.
    Process,
    /// `(...)` after `name=`.
    Array,
}

/// How a part of a word is quoted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// Not at all: text may be a pattern, and what an expansion gives is split at blanks.
    #[default]
    None,
    /// By a backslash.
    Escaped,
    /// In `'...'` or `$'...'`.
    Single,
    /// In `"..."`.
    Double,
}

impl ShellWord {
    /// A word that the shell leaves as it is.
    pub(crate) fn literal(text: &str, span: Span) -> Self {
        let part = WordPart { kind: PartKind::Literal, quoting: Quoting::Single, text: 0..text.len(), span };
        Self { text: text.to_owned(), span, expands: false, parts: vec![part] }
    }

    /// The text of `part`.
    pub(crate) fn text_of(&self, part: &WordPart) -> &str {
        self.text.get(part.text.clone()).unwrap_or_default()
    }

    /// The expansions with their text as written.
    pub(crate) fn expansions(&self) -> impl Iterator<Item = (&WordPart, &str)> {
        self.parts.iter().filter(|part| part.kind != PartKind::Literal).map(|part| (part, self.text_of(part)))
    }

    /// Whether some of it is in quotes or escaped.
    pub(crate) fn is_quoted(&self) -> bool {
        self.parts.iter().any(|part| part.quoting != Quoting::None)
    }

    /// The text that is neither quoted nor an expansion; what is, is left out.
    pub(crate) fn bare_text(&self) -> String {
        if self.parts.is_empty() {
            return self.text.clone();
        }
        let bare = |part: &&WordPart| part.kind == PartKind::Literal && part.quoting == Quoting::None;
        self.parts.iter().filter(bare).map(|part| self.text_of(part)).collect()
    }
}

/// The name in `$name` or `${name...}` and what follows it up to the closing brace; `None` for other texts. `${#name}` and `${!name}`
/// have the sign as what follows.
pub(crate) fn parameter_name(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('$')?;
    let Some(inner) = text.strip_prefix('{') else { return Some((text, "")) };
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    if let Some(sign) = inner.get(..1).filter(|sign| matches!(*sign, "#" | "!"))
        && is_name(&inner[1..])
    {
        return Some((&inner[1..], sign));
    }
    let end = inner.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(inner.len());
    // A special parameter is one character: `${@}`, `${?}`.
    let end = if end == 0 { inner.chars().next().map_or(0, char::len_utf8) } else { end };
    Some(inner.split_at(end))
}
