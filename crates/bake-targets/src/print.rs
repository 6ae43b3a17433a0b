//! JSON with its members in a given order, laid out as Go does.

use std::collections::BTreeMap;

use crate::config::Group;
use crate::target::Target;
use crate::value::{Value, go_json};

/// A JSON value whose members keep their order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Printed {
    Scalar(serde_json::Value),
    List(Vec<Printed>),
    Object(Vec<(String, Printed)>),
}

impl From<&str> for Printed {
    fn from(text: &str) -> Self {
        Self::Scalar(text.into())
    }
}

impl From<bool> for Printed {
    fn from(value: bool) -> Self {
        Self::Scalar(value.into())
    }
}

impl From<&Value> for Printed {
    fn from(value: &Value) -> Self {
        match (value.elements(), value.entries()) {
            (Some(elements), _) => Self::List(elements.iter().map(Self::from).collect()),
            (_, Some(entries)) => {
                Self::Object(entries.iter().map(|(key, value)| (key.clone(), Self::from(value))).collect())
            }
            _ => Self::Scalar(value.to_json()),
        }
    }
}

impl Printed {
    /// A list of texts.
    pub(crate) fn texts(texts: &[String]) -> Self {
        Self::List(texts.iter().map(|text| text.as_str().into()).collect())
    }

    fn write(&self, into: &mut String, depth: usize) {
        let line = |into: &mut String, depth: usize| {
            into.push('\n');
            into.push_str(&"  ".repeat(depth));
        };
        match self {
            Self::Scalar(scalar) => into.push_str(&go_json(&scalar.to_string())),
            Self::List(elements) if elements.is_empty() => into.push_str("[]"),
            Self::List(elements) => {
                into.push('[');
                for (index, element) in elements.iter().enumerate() {
                    into.push_str(if index == 0 { "" } else { "," });
                    line(into, depth + 1);
                    element.write(into, depth + 1);
                }
                line(into, depth);
                into.push(']');
            }
            Self::Object(members) if members.is_empty() => into.push_str("{}"),
            Self::Object(members) => {
                into.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    into.push_str(if index == 0 { "" } else { "," });
                    line(into, depth + 1);
                    into.push_str(&go_json(&serde_json::Value::from(key.as_str()).to_string()));
                    into.push_str(": ");
                    value.write(into, depth + 1);
                }
                line(into, depth);
                into.push('}');
            }
        }
    }
}

/// The groups and targets as `docker buildx bake --print` writes them, without a newline at the end. The result can be read again as
/// a bake file.
pub fn print(groups: &BTreeMap<String, Group>, targets: &BTreeMap<String, Target>) -> String {
    let group = |(name, group): (&String, &Group)| {
        let mut members = Vec::new();
        if let Some(description) = group.description.as_deref().filter(|description| !description.is_empty()) {
            members.push(("description".to_owned(), description.into()));
        }
        members.push(("targets".to_owned(), Printed::texts(&group.targets)));
        (name.clone(), Printed::Object(members))
    };
    let target = |(name, target): (&String, &Target)| (name.clone(), target.printed());
    let mut members = Vec::new();
    if !groups.is_empty() {
        members.push(("group".to_owned(), Printed::Object(groups.iter().map(group).collect())));
    }
    members.push(("target".to_owned(), Printed::Object(targets.iter().map(target).collect())));
    let mut text = String::new();
    Printed::Object(members).write(&mut text, 0);
    text
}
