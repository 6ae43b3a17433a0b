//! Values of keys with where they come from, and the values of several places put over each other.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Value;

use super::key::Section;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// A place in a file; line and column are counted from 1.
    File { path: Arc<str>, line: usize, column: usize },
    /// A variable of the environment.
    Environment(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { path, line, .. } => write!(formatter, "{path}:{line}"),
            Self::Environment(name) => write!(formatter, "environment {name}"),
        }
    }
}

/// The full name of a value: section, host of a registry, key, name in a table; absent parts are empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ValuePath {
    pub(crate) section: Section,
    pub(crate) host: String,
    pub(crate) key: String,
    pub(crate) name: String,
}

impl fmt::Display for ValuePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.section.name(), &self.host, &self.key, &self.name];
        let parts = parts.into_iter().filter(|part| !part.is_empty()).map(quoted);
        formatter.write_str(&parts.collect::<Vec<_>>().join("."))
    }
}

/// A key as TOML writes it.
pub(crate) fn quoted(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if is_bare { key.to_owned() } else { Value::String(key.to_owned()).to_string() }
}

/// A value and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
    /// The directory that the patterns in it are relative to; empty for the current one.
    pub(crate) directory: PathBuf,
}

/// Values by name. Lists are values as a whole, tables are values by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values(pub(crate) BTreeMap<ValuePath, Entry>);

impl Values {
    /// Puts `over` over these: what it names, it replaces.
    pub(crate) fn put_over(&mut self, over: Self) {
        for (path, mut entry) in over.0 {
            // Every policy has to allow an image: one that could be dropped by naming another would be none.
            if path.section == Section::Build
                && path.key == "policy"
                && let Some(before) = self.0.get(&path)
            {
                entry.value = Value::Array([items(&before.value), items(&entry.value)].concat());
            }
            self.0.insert(path, entry);
        }
    }

    /// The values of one section.
    pub(crate) fn of(&self, section: Section) -> impl Iterator<Item = (&ValuePath, &Entry)> {
        self.0.iter().filter(move |(path, _)| path.section == section)
    }
}

/// The items of a list; a value alone is one.
pub(crate) fn items(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(list) => list.clone(),
        other => vec![other.clone()],
    }
}

/// A value as it is typed behind a flag.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
