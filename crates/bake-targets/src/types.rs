//! Types of variables and the `convert` function: `string`, `list(number)`, `object({ a = bool })`, ... after HCL's `typeexpr`.

use std::collections::BTreeMap;

use hcl_edit::expr::{Expression, ObjectKey};

use crate::value::{Number, Value};

/// A type constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Type {
    Any,
    String,
    Number,
    Bool,
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>),
    Tuple(Vec<Type>),
    Object(BTreeMap<String, Attribute>),
}

/// An attribute of an object type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) of: Type,
    pub(crate) optional: bool,
}

impl Type {
    /// Reads a type; the error says what is wrong with it.
    pub(crate) fn parse(expression: &Expression) -> Result<Self, String> {
        match expression {
            Expression::Variable(name) => match name.as_str() {
                "any" => Ok(Self::Any),
                "string" => Ok(Self::String),
                "number" => Ok(Self::Number),
                "bool" => Ok(Self::Bool),
                "list" | "set" | "map" => {
                    Err(format!("the type `{0}` needs its element's type: `{0}(string)`", name.as_str()))
                }
                other => Err(format!("there is no type `{other}`")),
            },
            Expression::FuncCall(call) => {
                let mut arguments = call.args.iter();
                let (Some(argument), None) = (arguments.next(), arguments.next()) else {
                    return Err(format!("the type `{}` takes one argument", call.name.name.as_str()));
                };
                match call.name.name.as_str() {
                    "list" => Ok(Self::List(Box::new(Self::parse(argument)?))),
                    "set" => Ok(Self::Set(Box::new(Self::parse(argument)?))),
                    "map" => Ok(Self::Map(Box::new(Self::parse(argument)?))),
                    "tuple" => match argument {
                        Expression::Array(types) => {
                            Ok(Self::Tuple(types.iter().map(Self::parse).collect::<Result<_, _>>()?))
                        }
                        _ => Err("a tuple type takes a list of types: `tuple([string, number])`".to_owned()),
                    },
                    "object" => match argument {
                        Expression::Object(attributes) => Ok(Self::Object(
                            attributes
                                .iter()
                                .map(|(key, value)| Self::attribute(key, value.expr()))
                                .collect::<Result<_, _>>()?,
                        )),
                        _ => Err("an object type takes attributes: `object({ name = string })`".to_owned()),
                    },
                    other => Err(format!("there is no type `{other}(...)`")),
                }
            }
            Expression::Parenthesis(inner) => Self::parse(inner.inner()),
            _ => Err(
                "this is no type: types are `string`, `number`, `bool`, `any`, `list(...)`, `set(...)`, `map(...)`, \
                      `tuple([...])` and `object({...})`"
                    .to_owned(),
            ),
        }
    }

    fn attribute(key: &ObjectKey, of: &Expression) -> Result<(String, Attribute), String> {
        let name = match key {
            ObjectKey::Ident(name) => name.as_str().to_owned(),
            ObjectKey::Expression(expression) => expression
                .as_str()
                .ok_or_else(|| "an attribute of an object type is a plain name".to_owned())?
                .to_owned(),
        };
        if let Expression::FuncCall(call) = of
            && call.name.name.as_str() == "optional"
        {
            let mut arguments = call.args.iter();
            let (Some(inner), None) = (arguments.next(), arguments.next()) else {
                return Err("`optional` takes one argument: the attribute's type".to_owned());
            };
            return Ok((name, Attribute { of: Self::parse(inner)?, optional: true }));
        }
        Ok((name, Attribute { of: Self::parse(of)?, optional: false }))
    }

    /// The type's name for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::String => "string".to_owned(),
            Self::Number => "number".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::List(of) => format!("list({})", of.name()),
            Self::Set(of) => format!("set({})", of.name()),
            Self::Map(of) => format!("map({})", of.name()),
            Self::Tuple(of) => format!("tuple([{}])", of.iter().map(Self::name).collect::<Vec<_>>().join(", ")),
            Self::Object(attributes) => {
                let attributes = attributes.iter().map(|(name, attribute)| format!("{name} = {}", attribute.of.name()));
                format!("object({{{}}})", attributes.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Whether a value of this type is a single word.
    pub(crate) fn is_primitive(&self) -> bool {
        matches!(self, Self::String | Self::Number | Self::Bool)
    }

    /// Makes a value of this type of `value`; the error says why that cannot be.
    pub(crate) fn convert(&self, value: &Value) -> Result<Value, String> {
        let needed = || format!("{} required, but it is a {}", self.name(), value.kind());
        if *value == Value::Null {
            return Ok(Value::Null);
        }
        match self {
            Self::Any => Ok(value.clone()),
            Self::String => value.as_text().map(Value::String).ok_or_else(needed),
            Self::Number => value.as_number().map(Value::Number).ok_or_else(needed),
            Self::Bool => value.as_bool().map(Value::Bool).ok_or_else(needed),
            Self::List(of) => Ok(Value::List(of.convert_all(value.elements().ok_or_else(needed)?)?)),
            Self::Set(of) => Ok(Value::set(of.convert_all(value.elements().ok_or_else(needed)?)?)),
            Self::Map(of) => {
                let entries = value.entries().ok_or_else(needed)?;
                let convert = |(key, value): (&String, &Value)| {
                    of.convert(value)
                        .map(|value| (key.clone(), value))
                        .map_err(|problem| format!("element `{key}`: {problem}"))
                };
                Ok(Value::Map(entries.iter().map(convert).collect::<Result<_, _>>()?))
            }
            Self::Tuple(types) => {
                let elements = value.elements().ok_or_else(needed)?;
                if elements.len() != types.len() {
                    return Err(format!("{} elements required, but there are {}", types.len(), elements.len()));
                }
                let convert = |(of, element): (&Self, &Value)| of.convert(element);
                Ok(Value::Tuple(types.iter().zip(elements).map(convert).collect::<Result<_, _>>()?))
            }
            Self::Object(attributes) => {
                let entries = value.entries().ok_or_else(needed)?;
                let mut object = BTreeMap::new();
                for (name, attribute) in attributes {
                    let value = match entries.get(name) {
                        Some(value) => {
                            attribute.of.convert(value).map_err(|problem| format!("attribute `{name}`: {problem}"))?
                        }
                        None if attribute.optional => Value::Null,
                        None => return Err(format!("attribute `{name}` is required")),
                    };
                    object.insert(name.clone(), value);
                }
                Ok(Value::Object(object))
            }
        }
    }

    fn convert_all(&self, elements: &[Value]) -> Result<Vec<Value>, String> {
        let convert = |(index, element): (usize, &Value)| {
            self.convert(element).map_err(|problem| format!("element {index}: {problem}"))
        };
        let elements: Vec<Value> = elements.iter().enumerate().map(convert).collect::<Result<_, _>>()?;
        if *self == Self::Any { Ok(unify(elements)) } else { Ok(elements) }
    }

    /// The type that a value has.
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Any,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::List(elements) => Self::List(Box::new(elements.first().map_or(Self::Any, Self::of))),
            Value::Set(elements) => Self::Set(Box::new(elements.first().map_or(Self::Any, Self::of))),
            Value::Tuple(elements) => Self::Tuple(elements.iter().map(Self::of).collect()),
            Value::Map(entries) => Self::Map(Box::new(entries.values().next().map_or(Self::Any, Self::of))),
            Value::Object(entries) => Self::Object(
                entries
                    .iter()
                    .map(|(name, value)| (name.clone(), Attribute { of: Self::of(value), optional: false }))
                    .collect(),
            ),
        }
    }

    /// A value of this type of what an environment variable or `--var` says: one word, or elements separated by commas in the
    /// quoting of CSV.
    pub(crate) fn read_text(&self, text: &str) -> Result<Value, String> {
        match self {
            Self::Any | Self::String => Ok(Value::String(text.to_owned())),
            Self::Bool => match text {
                "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
                "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
                _ => Err(format!("`{text}` is neither true nor false")),
            },
            Self::Number => {
                Number::parse(text.trim()).map(Value::Number).ok_or_else(|| format!("`{text}` is not a number"))
            }
            Self::List(of) => Ok(Value::List(of.read_fields(text)?)),
            Self::Set(of) => Ok(Value::set(of.read_fields(text)?)),
            Self::Tuple(types) => {
                let fields = fields(text)?;
                if fields.len() != types.len() {
                    return Err(format!("{} elements required, but there are {}", types.len(), fields.len()));
                }
                let convert = |(of, field): (&Self, &String)| of.read_text(field);
                Ok(Value::Tuple(types.iter().zip(&fields).map(convert).collect::<Result<_, _>>()?))
            }
            Self::Map(_) | Self::Object(_) => Err(format!(
                "a value of type {} can be given as JSON only, in the variable with `_JSON` after its name",
                self.name()
            )),
        }
    }

    fn read_fields(&self, text: &str) -> Result<Vec<Value>, String> {
        if !self.is_primitive() && *self != Self::Any {
            return Err(format!(
                "a list of {} can be given as JSON only, in the variable with `_JSON` after its name",
                self.name()
            ));
        }
        fields(text)?.iter().map(|field| self.read_text(field)).collect()
    }
}

/// Makes elements of different primitive types texts, as a list has one type only.
pub(crate) fn unify(elements: Vec<Value>) -> Vec<Value> {
    let mut kinds = elements.iter().filter(|element| **element != Value::Null).map(Value::kind);
    let Some(first) = kinds.next() else { return elements };
    if kinds.all(|kind| kind == first) || !elements.iter().all(|e| *e == Value::Null || e.as_text().is_some()) {
        return elements;
    }
    let text = |element: Value| element.as_text().map_or(element, Value::String);
    elements.into_iter().map(text).collect()
}

/// The fields of one line of CSV: `a,"b,c"` is `a` and `b,c`.
pub(crate) fn fields(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let field = if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut characters = quoted.char_indices();
            let end = loop {
                match characters.next() {
                    Some((position, '"')) if quoted[position + 1..].starts_with('"') => {
                        field.push('"');
                        characters.next();
                    }
                    Some((position, '"')) => break position + 1,
                    Some((_, character)) => field.push(character),
                    None => return Err(format!("a quote is not closed in `{text}`")),
                }
            };
            rest = &quoted[end..];
            field
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let field = rest[..end].to_owned();
            if field.contains('"') {
                return Err(format!("a quote within a field of `{text}`: quote the whole field"));
            }
            rest = &rest[end..];
            field
        };
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => return Ok(fields),
            None => return Err(format!("text after a quoted field in `{text}`")),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Type, String> {
        Type::parse(&text.parse().unwrap())
    }

    #[test]
    fn types_are_read_and_named() {
        for text in
            ["string", "list(number)", "map(list(bool))", "tuple([string, any])", "object({a = string})", "set(any)"]
        {
            assert_eq!(parse(text).unwrap().name(), text);
        }
        for text in ["strin", "list", "list(a, b)", "12", "object([])", "tuple(string)", "foo(string)"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_are_converted() {
        let value = Value::Tuple(vec!["1".into(), 2.into()]);
        assert_eq!(parse("list(number)").unwrap().convert(&value).unwrap(), Value::List(vec![1.into(), 2.into()]));
        assert_eq!(parse("list(any)").unwrap().convert(&value).unwrap(), Value::List(vec!["1".into(), "2".into()]));
        assert!(parse("list(bool)").unwrap().convert(&value).unwrap_err().contains("element 1"));
        let object = Value::Object([("a".to_owned(), 1.into())].into());
        let wanted = parse("object({a = string, b = optional(number)})").unwrap();
        assert_eq!(wanted.convert(&object).unwrap().entries().unwrap()["a"], "1".into());
        assert!(parse("object({b = number})").unwrap().convert(&object).unwrap_err().contains("`b` is required"));
    }

    #[test]
    fn variables_are_read_by_type() {
        assert_eq!(parse("list(number)").unwrap().read_text("1,2").unwrap(), Value::List(vec![1.into(), 2.into()]));
        assert_eq!(parse("list(string)").unwrap().read_text("").unwrap(), Value::List(Vec::new()));
        assert_eq!(parse("bool").unwrap().read_text("T").unwrap(), true.into());
        assert!(parse("map(string)").unwrap().read_text("a").unwrap_err().contains("_JSON"));
        assert_eq!(fields(r#"x,"y,z","a""b""#).unwrap(), ["x", "y,z", "a\"b"]);
        assert!(fields("\"a").is_err() && fields("\"a\"b").is_err());
    }
}
