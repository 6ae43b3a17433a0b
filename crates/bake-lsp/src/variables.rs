//! Where `$NAME` and `${NAME...}` stand in a text.

use bake_dockerfile::Span;

/// Whether quotes mean something in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// Nothing is a variable in single quotes, except inside of double ones.
    Interpreted,
    /// They are ordinary characters, as in heredocs that become files.
    Literal,
}

/// The names of variables in a text that stands at `base`, in order; not those after the escape character. A `$` that is followed by
/// no name is none.
pub(crate) fn variables_in(text: &str, base: usize, escape: char, quotes: Quotes) -> Vec<Span> {
    let mut found = Vec::new();
    let (mut single, mut double) = (false, false);
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' | '"' if quotes == Quotes::Literal => {}
            '\'' if !double => single = !single,
            _ if single => {}
            '"' => double = !double,
            _ if character == escape => {
                characters.next();
            }
            '$' => {
                let brace = usize::from(text[at + 1..].starts_with('{'));
                let start = at + 1 + brace;
                let name = name_at(text.get(start..).unwrap_or_default());
                if !name.is_empty() {
                    found.push(Span::new(base + start, base + start + name.len()));
                }
            }
            _ => {}
        }
    }
    found
}

/// The name of a variable at the beginning of a text; empty where there is none.
pub(crate) fn name_at(text: &str) -> &str {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return "";
    }
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// Whether a text can be the name of a variable.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && name_at(text).len() == text.len()
}

/// Whether shell code gives the variable a value of its own, so that its uses there are not those of the environment.
pub(crate) fn is_assigned(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + name.len()..];
        let begins = before.is_none_or(|c| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | '"' | '\''));
        let read = ["read ", "for "].iter().any(|word| code[..at].ends_with(word));
        begins && (after.starts_with('=') || after.starts_with("+=") || read)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        for (text, expected) in [
            ("$A ${B} ${C:-$D}x", vec!["A", "B", "C", "D"]),
            ("\\$A '$B' \"$C '$D'\" $1 $", vec!["C", "D"]),
            ("a$ö$_x1-$A", vec!["_x1", "A"]),
            ("${", vec![]),
        ] {
            let found: Vec<&str> =
                variables_in(text, 0, '\\', Quotes::Interpreted).iter().map(|s| &text[s.start..s.end]).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn assignments_are_seen() {
        for (code, expected) in [
            ("echo $A", false),
            ("A=1; echo $A", true),
            ("x && A=1", true),
            ("for A in b", true),
            ("read A", true),
            ("XA=1 echo $A", false),
            ("echo --A=1", false),
        ] {
            assert_eq!(is_assigned(code, "A"), expected, "{code}");
        }
    }
}
