//! Attributes that are lists of `key=value` lines in the quoting of CSV, or of objects: caches, outputs, secrets, SSH agents,
//! attestations.

use std::collections::BTreeMap;

use crate::print::Printed;
use crate::types::fields;
use crate::value::Value;

/// A place that cache comes from or goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// `registry`, `local`, `inline`, `gha`, `s3`, ...
    pub kind: String,
    /// The other keys.
    pub attributes: BTreeMap<String, String>,
}

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputEntry {
    /// `docker`, `image`, `registry`, `local`, `tar`, `oci`, `cacheonly`.
    pub kind: String,
    /// `dest`; `-` for standard output.
    pub destination: Option<String>,
    /// The other keys.
    pub attributes: BTreeMap<String, String>,
}

/// A secret that steps may mount.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretEntry {
    /// The name by which steps ask for it.
    pub id: String,
    /// The file that holds it.
    pub source: Option<String>,
    /// The environment variable that holds it.
    pub variable: Option<String>,
}

/// An SSH agent that steps may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshEntry {
    /// The name by which steps ask for it.
    pub id: String,
    /// Keys or sockets; empty for the user's agent.
    pub paths: Vec<String>,
}

/// A statement about the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttestEntry {
    /// `provenance` or `sbom`.
    pub kind: String,
    /// Whether it is not wanted.
    pub disabled: bool,
    /// The other keys.
    pub attributes: BTreeMap<String, String>,
}

/// The line of CSV that holds these pairs.
fn line<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let field = |(key, value): (&str, &str)| {
        let field = format!("{key}={value}");
        let needs_quotes = field.contains([',', '"', '\n', '\r']);
        if needs_quotes { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
    };
    pairs.into_iter().map(field).collect::<Vec<_>>().join(",")
}

fn pairs_of(attributes: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()))
}

impl CacheEntry {
    /// As a flag of a build takes it: `type=registry,ref=example.com/app:cache`.
    pub fn to_flag(&self) -> String {
        line([("type", self.kind.as_str())].into_iter().chain(pairs_of(&self.attributes)))
    }
}

impl OutputEntry {
    /// As a flag of a build takes it: `type=local,dest=out`.
    pub fn to_flag(&self) -> String {
        let destination = self.destination.as_deref().map(|destination| ("dest", destination));
        line([("type", self.kind.as_str())].into_iter().chain(destination).chain(pairs_of(&self.attributes)))
    }
}

impl SecretEntry {
    /// As a flag of a build takes it: `id=token,env=TOKEN`.
    pub fn to_flag(&self) -> String {
        let source = self.source.as_deref().map(|source| ("src", source));
        let variable = self.variable.as_deref().map(|variable| ("env", variable));
        line([("id", self.id.as_str())].into_iter().chain(source).chain(variable))
    }
}

impl SshEntry {
    /// As a flag of a build takes it: `default`, or `id=key,key`.
    pub fn to_flag(&self) -> String {
        if self.paths.is_empty() { self.id.clone() } else { format!("{}={}", self.id, self.paths.join(",")) }
    }
}

impl AttestEntry {
    /// As a flag of a build takes it: `type=provenance,mode=max`.
    pub fn to_flag(&self) -> String {
        let disabled = self.disabled.then_some(("disabled", "true"));
        line([("type", self.kind.as_str())].into_iter().chain(disabled).chain(pairs_of(&self.attributes)))
    }
}

/// One element of such a list, from text or from an object.
pub(crate) trait Entry: Sized + PartialEq + Clone {
    /// From `key=value,...`; the error says what is wrong.
    fn from_text(text: &str) -> Result<Self, String>;

    /// From an object's keys.
    fn from_keys(keys: Vec<(String, String)>) -> Result<Self, String>;

    /// From an object, whose values are texts.
    fn from_value(value: &Value) -> Result<Self, String> {
        let object =
            value.entries().ok_or_else(|| format!("a text or an object required, but it is a {}", value.kind()))?;
        let mut keys = Vec::new();
        for (key, value) in object {
            if *value == Value::Null {
                continue;
            }
            let text =
                value.as_text().ok_or_else(|| format!("`{key}`: string required, but it is a {}", value.kind()))?;
            keys.push((key.clone(), text));
        }
        Self::from_keys(keys)
    }

    /// As an expression sees it.
    fn to_value(&self) -> Value;

    /// As `--print` writes it.
    fn printed(&self) -> Printed {
        Printed::from(&self.to_value())
    }

    /// Whether `other`, which comes later, stands for this one.
    fn is_replaced_by(&self, other: &Self) -> bool {
        self == other
    }
}

/// The elements of a list.
pub(crate) fn read_entries<E: Entry>(value: &Value) -> Result<Vec<E>, String> {
    let elements = value.elements().ok_or_else(|| format!("a list required, but it is a {}", value.kind()))?;
    let mut entries = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        let at = |problem: String| format!("element {index}: {problem}");
        match element {
            Value::Null => return Err(at("null is not allowed here".to_owned())),
            // What a condition leaves empty is left out.
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => entries.push(E::from_text(text).map_err(at)?),
            other => entries.push(E::from_value(other).map_err(at)?),
        }
    }
    Ok(entries)
}

/// The entries of texts; empty ones are left out.
pub(crate) fn entries_of_texts<E: Entry>(texts: &[String]) -> Result<Vec<E>, String> {
    texts.iter().filter(|text| !text.is_empty()).map(|text| E::from_text(text)).collect()
}

/// Removes what later entries stand for; the place of the first is kept.
pub(crate) fn deduplicate<E: Entry>(entries: Vec<E>) -> Vec<E> {
    let mut kept: Vec<E> = Vec::with_capacity(entries.len());
    for entry in entries {
        match kept.iter_mut().find(|known| known.is_replaced_by(&entry)) {
            Some(known) => *known = entry,
            None => kept.push(entry),
        }
    }
    kept
}

/// `key=value` pairs of a line of CSV, keys in lower case.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    fields(text)?
        .iter()
        .map(|field| match field.split_once('=') {
            Some((key, value)) => Ok((key.trim().to_lowercase(), value.to_owned())),
            None => Err(format!("`{field}` is no `key=value`")),
        })
        .collect()
}

fn with_kind(kind: &str, rest: &BTreeMap<String, String>) -> Value {
    let mut entries: BTreeMap<String, Value> =
        rest.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    entries.insert("type".to_owned(), kind.into());
    Value::Map(entries)
}

fn take_kind(keys: Vec<(String, String)>, example: &str) -> Result<(String, BTreeMap<String, String>), String> {
    let mut rest: BTreeMap<String, String> = keys.into_iter().collect();
    match rest.remove("type") {
        Some(kind) if !kind.is_empty() => Ok((kind, rest)),
        _ => Err(format!("a `type` is required, as in `{example}`")),
    }
}

impl Entry for CacheEntry {
    fn from_text(text: &str) -> Result<Self, String> {
        let fields = fields(text)?;
        if !fields.iter().any(|field| field.contains('=')) {
            let attributes = BTreeMap::from([("ref".to_owned(), text.to_owned())]);
            return Ok(Self { kind: "registry".to_owned(), attributes });
        }
        Self::from_keys(pairs(text)?)
    }

    fn from_keys(keys: Vec<(String, String)>) -> Result<Self, String> {
        let (kind, attributes) = take_kind(keys, "type=registry,ref=example.com/app:cache")?;
        Ok(Self { kind, attributes })
    }

    fn to_value(&self) -> Value {
        with_kind(&self.kind, &self.attributes)
    }
}

impl Entry for OutputEntry {
    fn from_text(text: &str) -> Result<Self, String> {
        let fields = fields(text)?;
        if let [only] = fields.as_slice()
            && only == text
            && !text.starts_with("type=")
        {
            let kind = if text == "-" { "tar" } else { "local" };
            return Ok(Self { kind: kind.to_owned(), destination: Some(text.to_owned()), attributes: BTreeMap::new() });
        }
        Self::from_keys(pairs(text)?)
    }

    fn from_keys(keys: Vec<(String, String)>) -> Result<Self, String> {
        let (kind, mut attributes) = take_kind(keys, "type=local,dest=out")?;
        let destination = attributes.remove("dest").filter(|destination| !destination.is_empty());
        Ok(Self { kind, destination, attributes })
    }

    fn to_value(&self) -> Value {
        let mut all = self.attributes.clone();
        if let Some(destination) = &self.destination {
            all.insert("dest".to_owned(), destination.clone());
        }
        with_kind(&self.kind, &all)
    }
}

impl Entry for SecretEntry {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::from_keys(pairs(text)?)
    }

    fn from_keys(keys: Vec<(String, String)>) -> Result<Self, String> {
        let mut secret = Self::default();
        let mut from_environment = false;
        for (key, value) in keys {
            match key.as_str() {
                "type" if value == "file" => {}
                "type" if value == "env" => from_environment = true,
                "type" => return Err(format!("there is no type `{value}` of secrets: it is `file` or `env`")),
                "id" => secret.id = value,
                "source" | "src" => secret.source = Some(value).filter(|value| !value.is_empty()),
                "env" => secret.variable = Some(value).filter(|value| !value.is_empty()),
                other => return Err(format!("secrets have no key `{other}`")),
            }
        }
        if from_environment && secret.variable.is_none() {
            secret.variable = secret.source.take();
        }
        Ok(secret)
    }

    fn to_value(&self) -> Value {
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        let keys = [("id", self.id.as_str().into()), ("src", text(&self.source)), ("env", text(&self.variable))];
        Value::Object(keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    fn printed(&self) -> Printed {
        let all = [("id", Some(&self.id)), ("src", self.source.as_ref()), ("env", self.variable.as_ref())];
        let set =
            all.into_iter().filter_map(|(key, text)| text.filter(|text| !text.is_empty()).map(|text| (key, text)));
        Printed::Object(set.map(|(key, text)| (key.to_owned(), text.as_str().into())).collect())
    }
}

impl Entry for SshEntry {
    fn from_text(text: &str) -> Result<Self, String> {
        let (id, paths) = text.split_once('=').map_or((text, None), |(id, paths)| (id, Some(paths)));
        let paths = paths.map_or_else(Vec::new, |paths| paths.split(',').map(str::to_owned).collect());
        Ok(Self { id: id.to_owned(), paths })
    }

    fn from_keys(keys: Vec<(String, String)>) -> Result<Self, String> {
        let mut entry = Self::default();
        for (key, value) in keys {
            match key.as_str() {
                "id" => entry.id = value,
                other => return Err(format!("SSH agents have no key `{other}`")),
            }
        }
        Ok(entry)
    }

    fn from_value(value: &Value) -> Result<Self, String> {
        let Some(object) = value.entries() else {
            return Err(format!("a text or an object required, but it is a {}", value.kind()));
        };
        let id = object.get("id").and_then(Value::as_text).unwrap_or_default();
        let paths = match object.get("paths") {
            None | Some(Value::Null) => Vec::new(),
            Some(paths) => {
                let wrong = || "`paths`: a list of strings required".to_owned();
                paths
                    .elements()
                    .ok_or_else(wrong)?
                    .iter()
                    .map(|path| path.as_text().ok_or_else(wrong))
                    .collect::<Result<_, _>>()?
            }
        };
        match object.keys().find(|key| !["id", "paths"].contains(&key.as_str())) {
            Some(other) => Err(format!("SSH agents have no key `{other}`")),
            None => Ok(Self { id, paths }),
        }
    }

    fn to_value(&self) -> Value {
        let keys = [("id", self.id.as_str().into()), ("paths", Value::texts(self.paths.clone()))];
        Value::Object(keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    fn printed(&self) -> Printed {
        let mut members = vec![("id".to_owned(), self.id.as_str().into())];
        if !self.paths.is_empty() {
            members.push(("paths".to_owned(), Printed::texts(&self.paths)));
        }
        Printed::Object(members)
    }

    fn is_replaced_by(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Entry for AttestEntry {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::from_keys(pairs(text)?)
    }

    fn from_keys(keys: Vec<(String, String)>) -> Result<Self, String> {
        let (kind, mut attributes) = take_kind(keys, "type=provenance,mode=max")?;
        let disabled = match attributes.remove("disabled").as_deref() {
            None => false,
            Some(text) => {
                Value::from(text).as_bool().ok_or_else(|| format!("`disabled` is true or false, not `{text}`"))?
            }
        };
        Ok(Self { kind, disabled, attributes })
    }

    fn to_value(&self) -> Value {
        let mut all = self.attributes.clone();
        if self.disabled {
            all.insert("disabled".to_owned(), "true".to_owned());
        }
        with_kind(&self.kind, &all)
    }

    fn is_replaced_by(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_their_forms() {
        let cache = CacheEntry::from_text("user/app:cache").unwrap();
        assert_eq!(cache.to_value().to_json().to_string(), r#"{"ref":"user/app:cache","type":"registry"}"#);
        assert!(CacheEntry::from_text("ref=x").unwrap_err().contains("`type` is required"));
        assert_eq!(
            OutputEntry::from_text("-").unwrap().to_value().to_json().to_string(),
            r#"{"dest":"-","type":"tar"}"#
        );
        let image = OutputEntry::from_text("type=image,\"name=a,b\",push=true").unwrap();
        assert_eq!(image.attributes["name"], "a,b");
        let secret = SecretEntry::from_text("type=env,id=TOKEN,src=NAME").unwrap();
        assert_eq!((secret.source, secret.variable.as_deref()), (None, Some("NAME")));
        assert!(SecretEntry::from_text("id=x,foo=y").is_err());
        assert_eq!(SshEntry::from_text("k=/a,/b").unwrap().paths, ["/a", "/b"]);
    }

    #[test]
    fn flags_read_back_as_they_were() {
        let flag = |text: &str| OutputEntry::from_text(text).unwrap().to_flag();
        assert_eq!(flag("type=image,\"name=a,b\",push=true"), "type=image,\"name=a,b\",push=true");
        assert_eq!(flag("out"), "type=local,dest=out");
        let quoted = OutputEntry { destination: Some("a\"b,c".to_owned()), ..OutputEntry::from_text("x").unwrap() };
        assert_eq!(OutputEntry::from_text(&quoted.to_flag()).unwrap(), quoted);
        assert_eq!(CacheEntry::from_text("a:cache").unwrap().to_flag(), "type=registry,ref=a:cache");
        assert_eq!(SecretEntry::from_text("type=env,id=T,src=N").unwrap().to_flag(), "id=T,env=N");
        assert_eq!(SshEntry::from_text("k=/a,/b").unwrap().to_flag(), "k=/a,/b");
        let attest = AttestEntry::from_text("type=sbom,disabled=true").unwrap();
        assert_eq!(attest.to_flag(), "type=sbom,disabled=true");
    }

    #[test]
    fn later_statements_of_a_kind_win() {
        let all = entries_of_texts::<AttestEntry>(&[
            "type=provenance,mode=min".to_owned(),
            "type=sbom".to_owned(),
            String::new(),
            "type=provenance,mode=max".to_owned(),
        ]);
        let kept = deduplicate(all.unwrap());
        assert_eq!(kept.iter().map(|entry| entry.kind.as_str()).collect::<Vec<_>>(), ["provenance", "sbom"]);
        assert_eq!(kept[0].attributes["mode"], "max");
    }
}
