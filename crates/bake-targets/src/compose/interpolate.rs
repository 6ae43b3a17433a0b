//! `$NAME`, `${NAME:-default}` and their kin in the texts of Compose files.

use serde_json::Value as Json;

use crate::inputs::Inputs;

/// How deeply defaults may nest in defaults.
const DEPTH_MAX: usize = 20;

/// All texts of a document with their variables put in; keys stay as they are.
pub(super) fn all(json: &Json, inputs: &Inputs) -> Result<Json, String> {
    match json {
        Json::String(text) if text.contains('$') => Ok(Json::String(text_of(text, inputs, 0)?)),
        Json::Array(elements) => {
            elements.iter().map(|element| all(element, inputs)).collect::<Result<_, _>>().map(Json::Array)
        }
        Json::Object(members) => {
            let member = |(key, value): (&String, &Json)| Ok((key.clone(), all(value, inputs)?));
            members.iter().map(member).collect::<Result<_, String>>().map(Json::Object)
        }
        other => Ok(other.clone()),
    }
}

fn text_of(text: &str, inputs: &Inputs, depth: usize) -> Result<String, String> {
    if depth > DEPTH_MAX {
        return Err("the defaults of variables nest too deeply".to_owned());
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(position) = rest.find('$') {
        result.push_str(&rest[..position]);
        rest = &rest[position + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing(after).ok_or_else(|| format!("`${{` is not closed in `{text}`"))?;
            result.push_str(&braces(&after[..end], inputs, depth)?);
            rest = &after[end + 1..];
        } else {
            let length = name_length(rest);
            if length == 0 {
                return Err(format!("`$` in `{text}` begins no variable: write `$$` for the character"));
            }
            result.push_str(inputs.lookup_for_compose(&rest[..length]).unwrap_or_default());
            rest = &rest[length..];
        }
    }
    result.push_str(rest);
    Ok(result)
}

/// The position of the brace that closes one that is open.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (position, character) in text.char_indices() {
        match character {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(position),
            '}' => depth -= 1,
            _ => {}
        }
        before = character;
    }
    None
}

fn name_length(text: &str) -> usize {
    let is_name =
        |(index, c): &(usize, char)| *c == '_' || c.is_ascii_alphabetic() || (*index > 0 && c.is_ascii_digit());
    text.char_indices().take_while(is_name).count()
}

fn braces(text: &str, inputs: &Inputs, depth: usize) -> Result<String, String> {
    let length = name_length(text);
    let (name, operation) = text.split_at(length);
    if name.is_empty() {
        return Err(format!("`${{{text}}}` names no variable"));
    }
    let value = inputs.lookup_for_compose(name);
    let not_empty = value.filter(|value| !value.is_empty());
    let inner = |word: &str| text_of(word, inputs, depth + 1);
    if operation.is_empty() {
        return Ok(value.unwrap_or_default().to_owned());
    }
    let operators = [":-", ":?", ":+", "-", "?", "+"];
    let operator = operators.iter().find(|operator| operation.starts_with(**operator));
    let Some(operator) = operator else { return Err(format!("`${{{text}}}` is not understood")) };
    let word = &operation[operator.len()..];
    let considered = if operator.starts_with(':') { not_empty } else { value };
    match (operator.trim_start_matches(':'), considered) {
        ("-" | "?", Some(value)) => Ok(value.to_owned()),
        ("-", None) | ("+", Some(_)) => inner(word),
        ("+", None) => Ok(String::new()),
        _ => {
            let reason = inner(word)?;
            let reason = if reason.is_empty() { "it is not set".to_owned() } else { reason };
            Err(format!("the variable `{name}` is required: {reason}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in() {
        let mut inputs = Inputs::default();
        inputs.environment.insert("A".to_owned(), "a".to_owned());
        inputs.environment.insert("E".to_owned(), String::new());
        for (text, expected) in [
            ("$A-${A}", Ok("a-a")),
            ("$$A", Ok("$A")),
            ("${E:-d}${E-d}", Ok("d")),
            ("${N:-${A:-x}}", Ok("a")),
            ("${A:+set}${N+set}", Ok("set")),
            ("${N:?why}", Err("the variable `N` is required: why")),
            ("$N", Ok("")),
            ("${A", Err("`${` is not closed in `${A`")),
            ("a$", Err("`$` in `a$` begins no variable: write `$$` for the character")),
        ] {
            let result = text_of(text, &inputs, 0);
            assert_eq!(result.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }
}
