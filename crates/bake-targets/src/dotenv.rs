//! The file `.env` beside a Compose file: `NAME=VALUE` lines.

use std::collections::BTreeMap;

/// Reads the variables of a `.env` file. Later ones may use earlier ones as `$NAME` or `${NAME}`, except between single quotes.
///
/// # Errors
/// Lines that are none of `NAME=VALUE`, a comment or empty, with their number.
pub fn dotenv(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |problem: &str| format!("line {}: {problem}", index + 1);
        let (name, value) = line.split_once('=').ok_or_else(|| wrong("it is no NAME=VALUE"))?;
        let name = name.trim_end();
        if name.is_empty() || !name.chars().all(|c| c == '_' || c == '.' || c == '-' || c.is_ascii_alphanumeric()) {
            return Err(wrong("it is no NAME=VALUE"));
        }
        let value = value.trim_start();
        let value = if let Some(quote @ ('"' | '\'')) = value.chars().next() {
            let inside = quoted(&value[1..], quote).ok_or_else(|| wrong("a quote is not closed"))?;
            if quote == '"' { expanded(&unescaped(inside), &variables) } else { inside.to_owned() }
        } else {
            let end = value.find(" #").unwrap_or(value.len());
            expanded(value[..end].trim_end(), &variables)
        };
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

/// What stands before the quote that ends it.
fn quoted(text: &str, quote: char) -> Option<&str> {
    let mut escaped = false;
    for (position, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            _ if character == quote => return Some(&text[..position]),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some('n') => result.push('\n'),
                Some('r') => result.push('\r'),
                Some('t') => result.push('\t'),
                // Kept for what expands variables.
                Some('$') => result.push_str("$$"),
                Some(other) => result.push(other),
                None => result.push('\\'),
            },
            (other, false) => result.push(other),
        }
    }
    result
}

fn expanded(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('$') {
        result.push_str(&rest[..position]);
        rest = &rest[position + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
            continue;
        }
        let in_braces = rest.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let (name, after) = in_braces.unwrap_or_else(|| {
            let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            rest.split_at(end)
        });
        if name.is_empty() {
            result.push('$');
        } else {
            result.push_str(variables.get(name).map_or("", String::as_str));
        }
        rest = after;
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn lines_are_variables() {
        let text =
            "# comment\nA=1\nexport B = two words # not this\nC=\"x\\n$A ${B}\"\nD='$A'\nE=\n\nF=a#b\nG=\"\\$A\"\n";
        let read = dotenv(text).unwrap();
        let value = |name: &str| read[name].as_str();
        assert_eq!([value("A"), value("B"), value("C")], ["1", "two words", "x\n1 two words"]);
        assert_eq!([value("D"), value("E"), value("F"), value("G")], ["$A", "", "a#b", "$A"]);
    }

    #[test]
    fn mistakes_have_a_line() {
        assert_eq!(dotenv("A=1\nnothing\n").unwrap_err(), "line 2: it is no NAME=VALUE");
        assert_eq!(dotenv("A=\"1\n").unwrap_err(), "line 1: a quote is not closed");
    }
}
