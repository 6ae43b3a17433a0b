//! Shell text as characters that remember where they stand in the Dockerfile.

use bake_dockerfile::Span;

/// A character and the byte it begins at in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Character {
    pub(crate) value: char,
    pub(crate) offset: usize,
    /// One past its last byte in the source.
    pub(crate) end: usize,
}

/// A piece of shell text.
pub(crate) type Characters = Vec<Character>;

/// `text`, which begins at byte `start` of the source.
pub(crate) fn at(text: &str, start: usize) -> Characters {
    text.char_indices()
        .map(|(index, value)| Character { value, offset: start + index, end: start + index + value.len_utf8() })
        .filter(|character| character.value != '\r')
        .collect()
}

/// `text`, whose characters all stand for the whole of `span`: used where the source escapes them in another way (JSON).
pub(crate) fn all_at(text: &str, span: Span) -> Characters {
    text.chars().map(|value| Character { value, offset: span.start, end: span.end }).collect()
}

/// Joins the continued lines of an instruction as the Dockerfile parser does: the escape character with blanks after it at a line's
/// end goes together with the line end; comment lines and blank lines in between go too.
pub(crate) fn join_continuations(text: &str, start: usize, escape: char) -> Characters {
    let mut joined = Characters::new();
    let mut offset = start;
    let mut continued = false;
    for line in text.split_inclusive('\n') {
        let line_start = offset;
        offset += line.len();
        let content = line.trim_end_matches(['\n', '\r']);
        let trimmed = content.trim_start();
        if continued && (trimmed.is_empty() || trimmed.starts_with('#')) {
            continue;
        }
        let without_blanks = content.trim_end_matches([' ', '\t']);
        let escapes = without_blanks.chars().rev().take_while(|c| *c == escape).count();
        continued = escapes == 1;
        if continued {
            joined.extend(at(&without_blanks[..without_blanks.len() - escape.len_utf8()], line_start));
        } else {
            joined.extend(at(line, line_start));
        }
    }
    joined
}

/// The strings of the first JSON list in `text`, each character with its place, when they are `expected`; `None` otherwise.
pub(crate) fn json_strings(text: &[Character], expected: &[String]) -> Option<Vec<Characters>> {
    let begin = text.iter().position(|character| character.value == '[')?;
    let mut rest = text.get(begin + 1..)?.iter();
    let mut strings = Vec::with_capacity(expected.len());
    for wanted in expected {
        rest.by_ref().find(|character| character.value == '"')?;
        let mut string = Characters::new();
        loop {
            let character = rest.next()?;
            match character.value {
                '"' => break,
                '\\' => string.push(json_escape(*character, &mut rest)?),
                _ => string.push(*character),
            }
        }
        if !string.iter().map(|character| character.value).eq(wanted.chars()) {
            return None;
        }
        strings.push(string);
    }
    Some(strings)
}

/// What a backslash in a JSON string and the characters after it stand for.
fn json_escape<'t>(backslash: Character, rest: &mut impl Iterator<Item = &'t Character>) -> Option<Character> {
    let letter = rest.next()?;
    let mut end = letter.end;
    let mut unit = || {
        let mut value = 0;
        for _ in 0..4 {
            let digit = rest.next()?;
            value = value * 16 + digit.value.to_digit(16)?;
            end = digit.end;
        }
        Some(value)
    };
    let value = match letter.value {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => {
            let first = unit()?;
            // Characters beyond the first 65,536 are written as two units, and are not worth a place: the caller falls back.
            char::from_u32(first)?
        }
        other => other,
    };
    Some(Character { value, offset: backslash.offset, end })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::{at, json_strings};

    #[test]
    fn json_strings_have_places() {
        let text = r#" --network=none ["sh", "-c", "a \"b\" \u00e9 && c"]"#;
        let words = ["sh", "-c", "a \"b\" é && c"].map(str::to_owned);
        let strings = json_strings(&at(text, 0), &words).unwrap();
        let last = strings[2].last().unwrap();
        assert_eq!(&text[last.offset..last.end], "c");
        let quote = strings[2][2];
        assert_eq!(&text[quote.offset..quote.end], "\\\"");
        assert!(json_strings(&at(text, 0), &["other".to_owned()]).is_none());
        assert!(json_strings(&at("[\"a", 0), &["a".to_owned()]).is_none());
    }
}
