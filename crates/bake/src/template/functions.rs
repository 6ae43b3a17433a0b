//! The functions of templates, and how values count and print.

use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::Value;

/// The widest field that `printf` and `pad` fill.
const WIDTH_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Index,
    Slice,
    Len,
    Json,
    Join,
    Split,
    Lower,
    Upper,
    Title,
    Pad,
    Truncate,
    Print,
    Println,
    Printf,
}

pub(super) const NAMES: &[(&str, Function)] = &[
    ("and", Function::And),
    ("or", Function::Or),
    ("not", Function::Not),
    ("eq", Function::Eq),
    ("ne", Function::Ne),
    ("lt", Function::Lt),
    ("le", Function::Le),
    ("gt", Function::Gt),
    ("ge", Function::Ge),
    ("index", Function::Index),
    ("slice", Function::Slice),
    ("len", Function::Len),
    ("json", Function::Json),
    ("join", Function::Join),
    ("split", Function::Split),
    ("lower", Function::Lower),
    ("upper", Function::Upper),
    ("title", Function::Title),
    ("pad", Function::Pad),
    ("truncate", Function::Truncate),
    ("print", Function::Print),
    ("println", Function::Println),
    ("printf", Function::Printf),
];

pub(super) fn find(name: &str) -> Option<Function> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
}

/// Calls a function; an error says what is wrong with its arguments.
pub(super) fn call(function: Function, mut values: Vec<Value>) -> Result<Value, String> {
    let name = NAMES.iter().find(|(_, known)| *known == function).map_or("", |(name, _)| *name);
    let count = |wanted: std::ops::RangeInclusive<usize>, what: &str| {
        if wanted.contains(&values.len()) {
            return Ok(());
        }
        Err(format!("`{name}` takes {what}, not {} arguments", values.len()))
    };
    match function {
        Function::And | Function::Or => {
            count(1..=usize::MAX, "one or more values")?;
            Ok(values.pop().unwrap_or_default())
        }
        Function::Not => count(1..=1, "a value").map(|()| Value::Bool(!truth(&values[0]))),
        Function::Eq => {
            count(2..=usize::MAX, "two or more values")?;
            Ok(Value::Bool(values[1..].iter().any(|other| compare(&values[0], other) == Some(Ordering::Equal))))
        }
        Function::Ne | Function::Lt | Function::Le | Function::Gt | Function::Ge => {
            count(2..=2, "two values")?;
            ordered(function, &values[0], &values[1]).map(Value::Bool).map_err(|problem| format!("`{name}`: {problem}"))
        }
        Function::Index => {
            count(1..=usize::MAX, "a list or map and indexes")?;
            let mut keys = values.drain(1..).collect::<Vec<_>>().into_iter();
            keys.try_fold(values.pop().unwrap_or_default(), |value, key| index(&value, &key))
        }
        Function::Slice => {
            count(1..=3, "a list or text and up to two positions")?;
            slice(&values)
        }
        Function::Len => count(1..=1, "a list, map or text").and_then(|()| length(&values[0])).map(Value::from),
        Function::Json => {
            count(1..=1, "a value")?;
            serde_json::to_string(&values[0]).map(Value::String).map_err(|error| error.to_string())
        }
        Function::Join => {
            count(2..=2, "a list and a separator")?;
            let (list, separator) = arrange(values);
            let items: Vec<String> = match list {
                Value::Null => Vec::new(),
                Value::Array(items) => items.iter().map(shown).collect(),
                other => return Err(format!("`join` joins a list, not {}", kind(&other))),
            };
            Ok(Value::String(items.join(&text(&separator, name)?)))
        }
        Function::Split => {
            count(2..=2, "a text and a separator")?;
            let (whole, separator) = (text(&values[0], name)?, text(&values[1], name)?);
            let characters = || whole.chars().map(|character| character.to_string().into()).collect();
            let parts = || whole.split(&separator).map(Value::from).collect();
            Ok(Value::Array(if separator.is_empty() { characters() } else { parts() }))
        }
        Function::Lower => count(1..=1, "a text").and_then(|()| Ok(text(&values[0], name)?.to_lowercase().into())),
        Function::Upper => count(1..=1, "a text").and_then(|()| Ok(text(&values[0], name)?.to_uppercase().into())),
        Function::Title => count(1..=1, "a text").and_then(|()| Ok(title(&text(&values[0], name)?).into())),
        Function::Pad => {
            count(3..=3, "a text and two numbers of blanks")?;
            let blanks = |value: &Value| Ok::<_, String>(" ".repeat(number(value, name)?.min(WIDTH_MAX)));
            let text = text(&values[0], name)?;
            let padded = if text.is_empty() { text } else { blanks(&values[1])? + &text + &blanks(&values[2])? };
            Ok(padded.into())
        }
        Function::Truncate => {
            count(2..=2, "a text and a length")?;
            let length = number(&values[1], name)?;
            Ok(text(&values[0], name)?.chars().take(length).collect::<String>().into())
        }
        Function::Print => Ok(print(&values).into()),
        Function::Println => Ok((values.iter().map(shown).collect::<Vec<_>>().join(" ") + "\n").into()),
        Function::Printf => {
            count(1..=usize::MAX, "a format and values")?;
            printf(&text(&values[0], name)?, &values[1..]).map(Value::String)
        }
    }
}

/// `join .List ","` and, since docker's and Go's idioms differ, `.List | join ","` too.
fn arrange(values: Vec<Value>) -> (Value, Value) {
    let mut values = values.into_iter();
    let (first, second) = (values.next().unwrap_or_default(), values.next().unwrap_or_default());
    if second.is_array() && first.is_string() { (second, first) } else { (first, second) }
}

/// Go's `Print`: blanks only between two operands that are no texts.
fn print(values: &[Value]) -> String {
    let mut text = String::new();
    for (position, value) in values.iter().enumerate() {
        let before = position.checked_sub(1).and_then(|before| values.get(before));
        if before.is_some_and(|before| !before.is_string() && !value.is_string()) {
            text.push(' ');
        }
        text.push_str(&shown(value));
    }
    text
}

/// Whether a value counts as true: everything but `false`, 0, nothing and what is empty.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go's `%v` prints it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut items: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", shown(value))).collect();
            items.sort();
            format!("map[{}]", items.join(" "))
        }
    }
}

/// How messages call a value.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

fn text(value: &Value, name: &str) -> Result<String, String> {
    match value {
        Value::Array(_) | Value::Object(_) => Err(format!("`{name}` takes a text, not {}", kind(value))),
        Value::Null => Ok(String::new()),
        other => Ok(shown(other)),
    }
}

fn number(value: &Value, name: &str) -> Result<usize, String> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| format!("`{name}` takes a number that is not negative, not {}", shown(value)))
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
        },
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => (a == b).then_some(Ordering::Equal),
    }
}

fn ordered(function: Function, a: &Value, b: &Value) -> Result<bool, String> {
    let order = compare(a, b);
    if function == Function::Ne {
        return Ok(order != Some(Ordering::Equal));
    }
    let order = match (a, b) {
        (Value::Number(_), Value::Number(_)) | (Value::String(_), Value::String(_)) => order,
        _ => None,
    };
    let order = order.ok_or_else(|| format!("{} and {} have no order", kind(a), kind(b)))?;
    Ok(match function {
        Function::Lt => order.is_lt(),
        Function::Le => order.is_le(),
        Function::Gt => order.is_gt(),
        _ => order.is_ge(),
    })
}

/// One step of `index`. As in Go, a key that is not in a map gives nothing, a position outside of a list is an error.
fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Object(map), Value::String(key)) => Ok(map.get(key).cloned().unwrap_or_else(|| String::new().into())),
        (Value::Null, Value::String(_)) => Ok(String::new().into()),
        (Value::Array(items), key) => {
            let position = number(key, "index")?;
            let found = items.get(position).cloned();
            found
                .ok_or_else(|| format!("`index`: the list has {} entries, so there is none at {position}", items.len()))
        }
        (value, key) => Err(format!("`index`: {} cannot be asked for {}", kind(value), shown(key))),
    }
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::Null => Ok(0),
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        other => Err(format!("`len`: {} has no length", kind(other))),
    }
}

fn slice(values: &[Value]) -> Result<Value, String> {
    let all = length(&values[0])?;
    let bound = |at: usize, otherwise: usize| values.get(at).map_or(Ok(otherwise), |value| number(value, "slice"));
    let (start, end) = (bound(1, 0)?, bound(2, all)?);
    let outside = || format!("`slice`: there is nothing from {start} to {end} in something of length {all}");
    match &values[0] {
        Value::String(text) => Ok(text.get(start..end).ok_or_else(outside)?.into()),
        Value::Array(items) => Ok(items.get(start..end).ok_or_else(outside)?.to_vec().into()),
        other => Err(format!("`slice` takes a list or text, not {}", kind(other))),
    }
}

fn title(text: &str) -> String {
    let mut start = true;
    let upper = |character: char| {
        let first = std::mem::replace(&mut start, !character.is_alphanumeric());
        if first { character.to_uppercase().collect() } else { character.to_string() }
    };
    text.chars().map(upper).collect()
}

/// Go's verbs `%s %v %q %d %t %f %x %%`, with width, `-`, `0` and precision.
fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut output = String::new();
    let mut values = values.iter();
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            output.push(character);
            continue;
        }
        if characters.next_if_eq(&'%').is_some() {
            output.push('%');
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = characters.next_if(|c| matches!(c, '-' | '0')) {
            flags.push(flag);
        }
        let mut digits = || {
            let mut digits = String::new();
            while let Some(digit) = characters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse::<usize>().ok().map(|number| number.min(WIDTH_MAX))
        };
        let width = digits().unwrap_or(0);
        let precision = if characters.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = characters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            Some(digits.parse::<usize>().unwrap_or(0).min(WIDTH_MAX))
        } else {
            None
        };
        let verb = characters.next().ok_or("`printf`: the format ends with `%`")?;
        let value = values.next().ok_or_else(|| format!("`printf`: there is no value for `%{verb}`"))?;
        let wrong = || format!("`printf`: `%{verb}` cannot show {}", kind(value));
        let text = match verb {
            's' | 'v' => precision.map_or_else(|| shown(value), |length| shown(value).chars().take(length).collect()),
            'q' => serde_json::to_string(&shown(value)).map_err(|error| error.to_string())?,
            'd' if value.is_i64() || value.is_u64() => shown(value),
            't' if value.is_boolean() => shown(value),
            'f' => format!("{:.*}", precision.unwrap_or(6), value.as_f64().ok_or_else(wrong)?),
            'x' => match value {
                Value::String(text) => text.bytes().fold(String::new(), |mut hex, byte| {
                    // Writing to a string cannot fail.
                    let _ = write!(hex, "{byte:02x}");
                    hex
                }),
                other => format!("{:x}", other.as_u64().ok_or_else(wrong)?),
            },
            'd' | 't' => return Err(wrong()),
            other => return Err(format!("`printf`: the verb `%{other}` is not supported")),
        };
        let blanks = width.saturating_sub(text.chars().count());
        if flags.contains('-') {
            output.push_str(&text);
            output.extend(std::iter::repeat_n(' ', blanks));
        } else {
            let fill = if flags.contains('0') && !matches!(verb, 's' | 'v' | 'q') { '0' } else { ' ' };
            output.extend(std::iter::repeat_n(fill, blanks));
            output.push_str(&text);
        }
    }
    if values.next().is_some() {
        return Err("`printf`: there are more values than the format shows".to_owned());
    }
    Ok(output)
}
