//! The three ways in which instructions split their arguments.

use std::ops::Range;

/// The characters that separate arguments where no quoting is known.
pub(crate) const BLANKS: [char; 5] = [' ', '\t', '\u{b}', '\u{c}', '\r'];

/// Ranges of the parts of `text` between blanks; quotes mean nothing.
pub(crate) fn blank_separated(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = None;
    for (offset, character) in text.char_indices() {
        if BLANKS.contains(&character) {
            ranges.extend(start.take().map(|from| from..offset));
        } else if start.is_none() {
            start = Some(offset);
        }
    }
    ranges.extend(start.map(|from| from..text.len()));
    ranges
}

/// The text up to the first blank, and where the text after the run of blanks begins; `None` without any blank.
pub(crate) fn first_blank(text: &str) -> Option<(usize, usize)> {
    let end = text.find(BLANKS)?;
    let rest = text[end..].trim_start_matches(BLANKS);
    Some((end, text.len() - rest.len()))
}

/// Ranges of the words of `text` between white space that is neither quoted nor escaped. Quotes and escapes stay in the words; an
/// escape character at the very end belongs to no word.
pub(crate) fn shell_words(text: &str, escape: char) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut end = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((offset, character)) = characters.next() {
        let next = offset + character.len_utf8();
        if quote.is_none() && character.is_whitespace() {
            ranges.extend(start.take().map(|from| from..offset));
            continue;
        }
        start.get_or_insert(offset);
        if character == escape && quote != Some('\'') {
            match characters.next() {
                Some((offset, escaped)) => end = offset + escaped.len_utf8(),
                None => end = offset,
            }
            continue;
        }
        match quote {
            Some(open) if open == character => quote = None,
            None if matches!(character, '\'' | '"') => quote = Some(character),
            _ => {}
        }
        end = next;
    }
    ranges.extend(start.filter(|from| end > *from).map(|from| from..end));
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        shell_words(text, '\\').into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn quoting_keeps_words_together() {
        for (text, expected) in [
            ("a b", vec!["a", "b"]),
            ("  a\t b ", vec!["a", "b"]),
            (r#"q="a b" r='$q' s=a\ b"#, vec![r#"q="a b""#, "r='$q'", r"s=a\ b"]),
            (r#"a="x\" y" b"#, vec![r#"a="x\" y""#, "b"]),
            (r"a='x\' b", vec![r"a='x\'", "b"]),
            (r#"a="unclosed b"#, vec![r#"a="unclosed b"#]),
            ("a\\", vec!["a"]),
            ("a \\", vec!["a"]),
            ("a=\"b\\", vec!["a=\"b"]),
            ("\"\" b", vec!["\"\"", "b"]),
            ("", vec![]),
            ("é ü", vec!["é", "ü"]),
        ] {
            assert_eq!(words(text), expected, "{text:?}");
        }
        assert_eq!(shell_words("a` b", '`'), vec![0..4]);
    }

    #[test]
    fn blanks_ignore_quotes() {
        let text = "a \"b c\"\td\u{b}e";
        let parts: Vec<_> = blank_separated(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(parts, ["a", "\"b", "c\"", "d", "e"]);
        assert!(blank_separated("").is_empty());
        assert_eq!(first_blank("a  b c"), Some((1, 3)));
        assert_eq!(first_blank("a"), None);
    }
}
