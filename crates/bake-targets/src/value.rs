//! Values of expressions: what HCL's type system knows, and how they turn into each other and into JSON.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

/// A value. Tuples and objects are what is written in a file, lists, sets and maps what a type or a function makes of them: they
/// compare unequal, and some functions take only one kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// `null`, of any type.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    String(String),
    /// Elements of one type.
    List(Vec<Value>),
    /// Elements of one type, each once, in order.
    Set(Vec<Value>),
    /// Elements of any types.
    Tuple(Vec<Value>),
    /// Values of one type by name.
    Map(BTreeMap<String, Value>),
    /// Values of any types by name.
    Object(BTreeMap<String, Value>),
}

/// A number: exact as long as it is whole and below 2^127, else in double precision.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    /// A whole number.
    Integer(i128),
    /// Any other; neither infinite nor NaN.
    Real(f64),
}

/// Doubles hold about this many decimal digits for sure; what is beyond is noise such as the 4 in 0.30000000000000004.
const SIGNIFICANT_DIGITS: usize = 15;

impl Number {
    /// A number from a double; `None` if it is none.
    pub(crate) fn real(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        // Every double up to 2^53 that has no fraction is a whole number exactly.
        if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
            #[expect(clippy::cast_possible_truncation, reason = "checked in the line above")]
            return Some(Self::Integer(value as i128));
        }
        Some(Self::Real(value))
    }

    /// A number from text such as `12`, `-1.5e3`; `None` if it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(integer) = text.parse::<i128>() {
            return Some(Self::Integer(integer));
        }
        let well_formed = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E'));
        text.parse().ok().filter(|_| well_formed).and_then(Self::real)
    }

    /// The number in double precision.
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "that is what is asked for")]
            Self::Integer(integer) => integer as f64,
            Self::Real(real) => real,
        }
    }

    /// The number if it is whole and fits.
    pub(crate) fn as_i64(self) -> Option<i64> {
        match self {
            Self::Integer(integer) => i64::try_from(integer).ok(),
            Self::Real(_) => None,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.partial_cmp(b),
            _ => self.as_f64().partial_cmp(&other.as_f64()),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Real(real) => {
                let rounded: f64 = format!("{real:.*e}", SIGNIFICANT_DIGITS - 1).parse().unwrap_or(*real);
                write!(f, "{rounded}")
            }
        }
    }
}

impl From<i128> for Value {
    fn from(integer: i128) -> Self {
        Self::Number(Number::Integer(integer))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl Value {
    /// What kind of value it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Tuple(_) => "tuple",
            Self::Map(_) => "map",
            Self::Object(_) => "object",
        }
    }

    /// A value as text: strings as they are, numbers and truth values as written; `None` for everything else.
    pub(crate) fn as_text(&self) -> Option<String> {
        match self {
            Self::String(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            Self::Bool(value) => Some(value.to_string()),
            _ => None,
        }
    }

    /// A value as a number: numbers, and text that is one.
    pub(crate) fn as_number(&self) -> Option<Number> {
        match self {
            Self::Number(number) => Some(*number),
            Self::String(text) => Number::parse(text),
            _ => None,
        }
    }

    /// A value as a truth value: those, and the texts `true` and `false` (and `1` and `0`).
    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::String(text) => match text.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The elements of a list, set or tuple.
    pub(crate) fn elements(&self) -> Option<&[Value]> {
        match self {
            Self::List(elements) | Self::Set(elements) | Self::Tuple(elements) => Some(elements),
            _ => None,
        }
    }

    /// The entries of a map or object.
    pub(crate) fn entries(&self) -> Option<&BTreeMap<String, Value>> {
        match self {
            Self::Map(entries) | Self::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// A set of these elements: each once, in order.
    pub(crate) fn set(mut elements: Vec<Value>) -> Self {
        elements.sort_by(Self::compare);
        elements.dedup();
        Self::Set(elements)
    }

    /// A list of texts.
    pub(crate) fn texts(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::List(texts.into_iter().map(|text| Self::String(text.into())).collect())
    }

    /// An order of values of one kind: numbers by size, texts by their bytes, `false` first, everything else by its JSON.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            _ => self.to_json().to_string().cmp(&other.to_json().to_string()),
        }
    }

    /// As JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            // Through text, so that numbers look the same everywhere.
            Self::Number(number) => serde_json::from_str(&number.to_string()).unwrap_or(serde_json::Value::Null),
            Self::String(text) => text.clone().into(),
            Self::List(elements) | Self::Set(elements) | Self::Tuple(elements) => {
                elements.iter().map(Self::to_json).collect::<Vec<_>>().into()
            }
            Self::Map(entries) | Self::Object(entries) => entries
                .iter()
                .map(|(key, value)| (key.clone(), value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    /// From JSON: arrays become tuples, objects objects.
    pub(crate) fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => Number::parse(&number.to_string()).map_or(Self::Null, Self::Number),
            serde_json::Value::String(text) => Self::String(text.clone()),
            serde_json::Value::Array(elements) => Self::Tuple(elements.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(entries) => {
                Self::Object(entries.iter().map(|(key, value)| (key.clone(), Self::from_json(value))).collect())
            }
        }
    }
}

/// JSON as Go writes it: `<`, `>`, `&` and the two line separators of Unicode are escaped.
pub(crate) fn go_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            '\u{2028}' => text.push_str("\\u2028"),
            '\u{2029}' => text.push_str("\\u2029"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Number, Value, go_json};

    #[test]
    fn numbers_look_as_they_were_written() {
        for (text, shown) in [
            ("3", "3"),
            ("1.5", "1.5"),
            ("1e3", "1000"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("-0.25", "-0.25"),
            ("1e21", "1000000000000000000000"),
        ] {
            assert_eq!(Number::parse(text).map(|number| number.to_string()).as_deref(), Some(shown));
        }
        assert_eq!(Number::real(0.1 + 0.2).map(|number| number.to_string()).as_deref(), Some("0.3"));
        for text in ["", "inf", "NaN", "0x1", "1_000", "infinity"] {
            assert!(Number::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn sets_are_ordered_and_kinds_differ() {
        let set = Value::set(vec!["b".into(), "a".into(), "b".into()]);
        assert_eq!(set.to_json().to_string(), r#"["a","b"]"#);
        assert_ne!(Value::List(vec![1.into()]), Value::Tuple(vec![1.into()]));
        assert_eq!(go_json("<\u{2028}"), "\\u003c\\u2028");
    }
}
