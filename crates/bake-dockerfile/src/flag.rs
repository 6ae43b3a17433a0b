//! The `--name=value` flags between an instruction's keyword and its arguments.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, code};
use crate::instruction::{Flag, Word};
use crate::keyword::Keyword;
use crate::limits::FLAGS_MAX;
use crate::logical::LogicalLine;
use crate::source::Spanned;
use crate::suggest::did_you_mean;

/// A flag as it stands in the logical line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawFlag {
    /// The whole flag.
    pub(crate) range: Range<usize>,
    /// The name without dashes, quotes and escapes resolved.
    pub(crate) name: String,
    /// The value, quotes and escapes resolved; `None` without `=`.
    pub(crate) value: Option<RawValue>,
    /// Whether a quote in it is not closed.
    pub(crate) unclosed: bool,
}

/// A flag's value and where its bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawValue {
    pub(crate) text: String,
    /// For each byte of `text` its offset in the logical line.
    offsets: Vec<usize>,
    /// Where an empty value stands.
    origin: usize,
}

impl RawValue {
    /// The range of the logical line that a range of the value comes from.
    pub(crate) fn range(&self, range: Range<usize>) -> Range<usize> {
        let Some(start) = self.offsets.get(range.start).copied() else {
            let end = self.offsets.last().map_or(self.origin, |last| last + 1);
            return end..end;
        };
        match range.end.checked_sub(1).filter(|last| *last >= range.start).and_then(|last| self.offsets.get(last)) {
            Some(last) => start..last + 1,
            None => start..start,
        }
    }
}

/// Splits the flags off the text at `range`. Returns them and where the arguments begin. A `--` alone ends the flags.
pub(crate) fn split_flags(line: &LogicalLine, range: Range<usize>, escape: char) -> (Vec<RawFlag>, usize) {
    let mut flags = Vec::new();
    let mut position = range.start;
    loop {
        let rest = line.slice(position..range.end);
        let word = rest.trim_start();
        position += rest.len() - word.len();
        if !word.starts_with("--") {
            return (flags, position);
        }
        let flag = read_flag(word, position, escape);
        let end = flag.range.end;
        if flag.name.is_empty() && flag.value.is_none() {
            return (flags, end);
        }
        flags.push(flag);
        position = end;
    }
}

/// Reads the flag at the beginning of `word`, which stands at `base`.
fn read_flag(word: &str, base: usize, escape: char) -> RawFlag {
    let mut text = String::new();
    let mut offsets = Vec::new();
    let mut push = |character: char, offset: usize| {
        text.push(character);
        offsets.extend((0..character.len_utf8()).map(|byte| base + offset + byte));
    };
    let mut quote = None;
    let mut end = word.len();
    let mut characters = word.char_indices();
    while let Some((offset, character)) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            end = offset;
            break;
        }
        if character == escape {
            // An escape at the very end escapes nothing and is dropped.
            if let Some((offset, escaped)) = characters.next() {
                push(escaped, offset);
            }
        } else if quote == Some(character) {
            quote = None;
        } else if quote.is_none() && matches!(character, '\'' | '"') {
            quote = Some(character);
        } else {
            push(character, offset);
        }
    }
    let range = base..base + end;
    // Quoted dashes are dashes too: the word begins with two of them as written.
    let body = text.strip_prefix("--").map_or(0, |_| 2);
    match text[body..].find('=') {
        Some(length) => {
            let value_start = body + length + 1;
            RawFlag {
                name: text[body..body + length].to_owned(),
                value: Some(RawValue {
                    text: text[value_start..].to_owned(),
                    origin: offsets.get(value_start - 1).map_or(base, |offset| offset + 1),
                    offsets: offsets.split_off(value_start),
                }),
                range,
                unclosed: quote.is_some(),
            }
        }
        None => RawFlag { name: text[body..].to_owned(), value: None, range, unclosed: quote.is_some() },
    }
}

/// How a flag is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlagForm {
    /// `--name` or `--name=true|false`, at most once.
    Boolean,
    /// `--name=value`, at most once.
    Single,
    /// `--name=value`, any number of times.
    List,
}

/// The flags an instruction takes.
fn known_flags(keyword: Keyword) -> &'static [(&'static str, FlagForm)] {
    use FlagForm::{Boolean, List, Single};
    match keyword {
        Keyword::From => &[("platform", Single)],
        Keyword::Run => &[("mount", List), ("network", Single), ("security", Single), ("device", List)],
        Keyword::Copy => &[
            ("from", Single),
            ("chown", Single),
            ("chmod", Single),
            ("link", Boolean),
            ("parents", Boolean),
            ("exclude", List),
        ],
        Keyword::Add => &[
            ("chown", Single),
            ("chmod", Single),
            ("link", Boolean),
            ("keep-git-dir", Boolean),
            ("checksum", Single),
            ("unpack", Boolean),
            ("exclude", List),
        ],
        Keyword::Healthcheck => &[
            ("interval", Single),
            ("timeout", Single),
            ("start-period", Single),
            ("start-interval", Single),
            ("retries", Single),
        ],
        _ => &[],
    }
}

/// The names of the flags that an instruction takes, without dashes; none for what is no instruction.
pub fn flag_names(keyword: &str) -> impl Iterator<Item = &'static str> {
    Keyword::parse(keyword).map_or(&[][..], known_flags).iter().map(|(name, _)| *name)
}

/// The flags of the syntax tree.
pub(crate) fn tree_flags(line: &LogicalLine, flags: &[RawFlag]) -> Vec<Flag> {
    flags
        .iter()
        .map(|flag| {
            let name_start = flag.range.start + 2;
            let name_end = flag.value.as_ref().map_or(flag.range.end, |value| value.origin.saturating_sub(1));
            Flag {
                name: Spanned::new(flag.name.clone(), line.span(name_start..name_end.max(name_start))),
                value: flag.value.as_ref().map(|value| flag_word(line, flag, value)),
                span: line.span(flag.range.clone()),
            }
        })
        .collect()
}

fn flag_word(line: &LogicalLine, flag: &RawFlag, value: &RawValue) -> Word {
    Spanned::new(value.text.clone(), line.span(value.origin..flag.range.end))
}

/// Reports unknown, repeated and malformed flags; true when there are none.
pub(crate) fn check_flags(
    keyword: Keyword,
    line: &LogicalLine,
    flags: &[RawFlag],
    diagnostics: &mut Vec<Diagnostic>,
) -> bool {
    let known = known_flags(keyword);
    let before = diagnostics.len();
    if let Some(flag) = flags.get(FLAGS_MAX) {
        let message = format!("an instruction may have at most {FLAGS_MAX} flags");
        diagnostics.push(Diagnostic::error(code::LIMIT, line.span(flag.range.clone()), message));
    }
    for (index, flag) in flags.iter().enumerate().take(FLAGS_MAX) {
        let name = flag.name.as_str();
        let span = line.span(flag.range.clone());
        let mut report = |message: String, help: Option<String>| {
            let mut diagnostic = Diagnostic::error(code::FLAG, span, message);
            diagnostic.help = help;
            diagnostics.push(diagnostic);
        };
        if flag.unclosed {
            report(format!("unclosed quote in flag: --{name}"), None);
        }
        let Some((_, form)) = known.iter().find(|(known, _)| *known == name) else {
            let hint = did_you_mean(name, known.iter().map(|(known, _)| *known), true);
            let all: Vec<String> = known.iter().map(|(known, _)| format!("--{known}")).collect();
            let help = match all.as_slice() {
                [] => format!("{} takes no flags", keyword.name()),
                _ => format!("{} takes {}", keyword.name(), all.join(", ")),
            };
            report(format!("unknown flag: --{name}{hint}"), Some(help));
            continue;
        };
        if *form != FlagForm::List && flags[..index].iter().any(|earlier| earlier.name == name) {
            report(format!("duplicate flag specified: --{name}"), None);
        }
        let value = flag.value.as_ref().map(|value| value.text.as_str());
        match (form, value) {
            (FlagForm::Boolean, Some("")) | (FlagForm::Single | FlagForm::List, None) => {
                report(format!("missing a value on flag: --{name}"), Some(format!("write `--{name}=VALUE`")));
            }
            (FlagForm::Boolean, Some(value)) if boolean(value).is_none() => {
                report(format!("expecting boolean value for flag --{name}, not: {value}"), None);
            }
            _ => {}
        }
    }
    diagnostics.len() == before
}

fn boolean(value: &str) -> Option<bool> {
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Reads the flags of one instruction by name. What [`check_flags`] reports is simply absent here.
#[derive(Clone, Copy)]
pub(crate) struct FlagValues<'a> {
    pub(crate) line: &'a LogicalLine,
    pub(crate) flags: &'a [RawFlag],
}

impl<'a> FlagValues<'a> {
    /// All flags of this name that have a value.
    pub(crate) fn all(self, name: &'a str) -> impl Iterator<Item = (&'a RawFlag, &'a RawValue)> {
        self.flags.iter().filter(move |flag| flag.name == name).filter_map(|flag| Some((flag, flag.value.as_ref()?)))
    }

    /// The values of a flag that may be repeated.
    pub(crate) fn words(self, name: &'a str) -> Vec<Word> {
        self.all(name).map(|(flag, value)| flag_word(self.line, flag, value)).collect()
    }

    /// The value of a flag; an empty one is as if it were not given.
    pub(crate) fn word(self, name: &'a str) -> Option<Word> {
        let (flag, value) = self.all(name).next()?;
        Some(flag_word(self.line, flag, value)).filter(|word| !word.value.is_empty())
    }

    /// The value of a boolean flag; `None` where it is not given.
    pub(crate) fn boolean(self, name: &str) -> Option<bool> {
        let flag = self.flags.iter().find(|flag| flag.name == name)?;
        flag.value.as_ref().map_or(Some(true), |value| boolean(&value.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogicalLine {
        let mut line = LogicalLine::new(0);
        line.push(text, 0);
        line
    }

    fn split(text: &str) -> (Vec<(String, Option<String>)>, String) {
        let line = line(text);
        let (flags, rest) = split_flags(&line, 0..text.len(), '\\');
        let flags = flags.into_iter().map(|flag| (flag.name, flag.value.map(|value| value.text))).collect();
        (flags, text[rest..].trim().to_owned())
    }

    #[test]
    fn flags_are_split_off() {
        for (text, flags, rest) in [
            ("a b", vec![], "a b"),
            ("--from=x a b", vec![("from", Some("x"))], "a b"),
            ("  --a --b=c   rest", vec![("a", None), ("b", Some("c"))], "rest"),
            ("--a -- --b c", vec![("a", None)], "--b c"),
            ("--", vec![], ""),
            ("-x --a", vec![], "-x --a"),
            ("--a=\"x y\" z", vec![("a", Some("x y"))], "z"),
            ("--a='x y'\"z\" r", vec![("a", Some("x yz"))], "r"),
            (r"--a=x\ y r", vec![("a", Some("x y"))], "r"),
            ("--a=\"b\\\"c\" r", vec![("a", Some("b\"c"))], "r"),
            ("--a= r", vec![("a", Some(""))], "r"),
            ("--a=b=c", vec![("a", Some("b=c"))], ""),
            ("--a=é r", vec![("a", Some("é"))], "r"),
            ("--a=x\\", vec![("a", Some("x"))], ""),
        ] {
            let (found, found_rest) = split(text);
            let flags: Vec<_> =
                flags.into_iter().map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).collect();
            assert_eq!((found, found_rest.as_str()), (flags, rest), "{text}");
        }
    }

    #[test]
    fn values_know_their_places() {
        let text = "--a=\"x y\"z r";
        let line = line(text);
        let (flags, _) = split_flags(&line, 0..text.len(), '\\');
        let tree = tree_flags(&line, &flags);
        assert_eq!((tree[0].name.span.start, tree[0].name.span.end), (2, 3));
        let value = tree[0].value.as_ref().map(|word| (word.span.start, word.span.end));
        assert_eq!(value, Some((4, 10)));
        let raw = flags[0].value.as_ref();
        assert_eq!(raw.map(|value| value.range(2..4)), Some(7..10));
        assert_eq!(raw.map(|value| value.range(4..4)), Some(10..10));
    }

    #[test]
    fn problems_are_named() {
        for (keyword, text, expected) in [
            (Keyword::Copy, "--form=a", "unknown flag: --form (did you mean from?)"),
            (Keyword::Maintainer, "--boo x", "unknown flag: --boo"),
            (Keyword::Copy, "--from a b", "missing a value on flag: --from"),
            (Keyword::Copy, "--link=maybe", "expecting boolean value for flag --link, not: maybe"),
            (Keyword::Copy, "--link=", "missing a value on flag: --link"),
            (Keyword::Copy, "--from=a --from=b", "duplicate flag specified: --from"),
            (Keyword::Run, "--mount", "missing a value on flag: --mount"),
            (Keyword::Run, "--network=\"host x", "unclosed quote in flag: --network"),
        ] {
            let line = line(text);
            let (flags, _) = split_flags(&line, 0..text.len(), '\\');
            let mut diagnostics = Vec::new();
            assert!(!check_flags(keyword, &line, &flags, &mut diagnostics));
            assert_eq!(diagnostics[0].message, expected);
        }
        let line = line("--mount=a --mount=b --link=TRUE");
        let (flags, _) = split_flags(&line, 0..20, '\\');
        assert!(check_flags(Keyword::Run, &line, &flags, &mut Vec::new()));
    }
}
