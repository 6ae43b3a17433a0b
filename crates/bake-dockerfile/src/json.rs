//! The JSON form of arguments: a list of strings and nothing else.

use std::borrow::Cow;
use std::ops::Range;

/// What a list of arguments that may be in JSON form turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum JsonForm {
    /// A list of strings, each with the range of its literal (quotes included).
    Strings(Vec<(String, Range<usize>)>),
    /// A list, but not of strings only.
    OtherElements,
    /// No JSON list: the shell form.
    NotJson,
}

/// Reads `text` as a JSON list of strings. Anything that is not valid JSON as a whole is the shell form.
pub(crate) fn json_form(text: &str) -> JsonForm {
    if !text.trim_start().starts_with('[') {
        return JsonForm::NotJson;
    }
    match serde_json::from_str::<Vec<serde_json::Value>>(&without_lone_surrogates(text)) {
        Err(_) => JsonForm::NotJson,
        Ok(values) => {
            let mut ranges = string_literals(text).into_iter();
            let mut strings = Vec::with_capacity(values.len());
            for value in values {
                let (serde_json::Value::String(string), Some(range)) = (value, ranges.next()) else {
                    return JsonForm::OtherElements;
                };
                strings.push((string, range));
            }
            JsonForm::Strings(strings)
        }
    }
}

/// Half a surrogate pair stands for no character: as in Go it becomes U+FFFD, where other readers refuse the whole text. The escape
/// that takes its place is as long, so that places stay right.
fn without_lone_surrogates(text: &str) -> Cow<'_, str> {
    const ESCAPE_BYTES: usize = 6;
    let unit = |at: usize| {
        let digits = text.get(at..at + ESCAPE_BYTES)?.strip_prefix("\\u")?;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
    };
    let mut result = Cow::Borrowed(text);
    let mut position = 0;
    while let Some(found) = text[position..].find('\\') {
        let at = position + found;
        position = match (unit(at), unit(at + ESCAPE_BYTES)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at + 2 * ESCAPE_BYTES,
            (Some(0xd800..=0xdfff), _) => {
                result.to_mut().replace_range(at..at + ESCAPE_BYTES, "\\ufffd");
                at + ESCAPE_BYTES
            }
            // The character after the backslash may be a backslash itself.
            _ => at + 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    result
}

/// Ranges of the string literals of valid JSON.
fn string_literals(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = None;
    let mut escaped = false;
    for (offset, byte) in text.bytes().enumerate() {
        match (start, byte) {
            (None, b'"') => start = Some(offset),
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(from), b'"') => {
                ranges.push(from..offset + 1);
                start = None;
            }
            _ => {}
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(
            json_form(r#" ["a", "b\"\u00e9"]"#),
            JsonForm::Strings(vec![("a".into(), 2..5), ("b\"é".into(), 7..18)])
        );
        assert_eq!(
            json_form(r#"["\ud83d\ude00", "\udc00x\ud83d\u0041", "\\ud800"]"#),
            JsonForm::Strings(vec![
                ("😀".into(), 1..15),
                ("\u{fffd}x\u{fffd}A".into(), 17..38),
                (r"\ud800".into(), 40..49)
            ])
        );
        assert_eq!(json_form("[]"), JsonForm::Strings(vec![]));
        for text in [r#"["a", 1]"#, "[1]", "[null]", r#"[["a"]]"#, r#"[{"a":"b"}]"#, r#"["a", null]"#] {
            assert_eq!(json_form(text), JsonForm::OtherElements, "{text}");
        }
        for text in
            ["", "a", "['a']", r#"["a",]"#, r#"["a"] b"#, r#"["a""#, "[ -f x ] && y", r#"{"a":1}"#, r#"["c:\dir"]"#]
        {
            assert_eq!(json_form(text), JsonForm::NotJson, "{text}");
        }
    }
}
