//! A target: what one build is asked to do, and how the definitions of several files and of inherited targets become one.

use std::collections::BTreeMap;

use crate::entries::{AttestEntry, CacheEntry, Entry, OutputEntry, SecretEntry, SshEntry, deduplicate, read_entries};
use crate::print::Printed;
use crate::privileges::local_path;
use crate::value::Value;

/// The attributes of a target, in the order of their names.
pub(crate) const ATTRIBUTES: [&str; 29] = [
    "annotations",
    "args",
    "attest",
    "cache-from",
    "cache-to",
    "call",
    "context",
    "contexts",
    "description",
    "dockerfile",
    "dockerfile-inline",
    "entitlements",
    "extra-hosts",
    "inherits",
    "labels",
    "matrix",
    "name",
    "network",
    "no-cache",
    "no-cache-filter",
    "output",
    "platforms",
    "pull",
    "secret",
    "shm-size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// A build. `None` and empty lists of [`Option`] fields differ: nothing was said, or nothing is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the attributes of the same names in the file format's reference")]
pub struct Target {
    pub name: String,
    pub description: Option<String>,
    pub inherits: Vec<String>,
    pub annotations: Option<Vec<String>>,
    pub attest: Option<Vec<AttestEntry>>,
    pub context: Option<String>,
    pub contexts: BTreeMap<String, String>,
    pub dockerfile: Option<String>,
    pub dockerfile_inline: Option<String>,
    pub args: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    pub tags: Option<Vec<String>>,
    pub cache_from: Option<Vec<CacheEntry>>,
    pub cache_to: Option<Vec<CacheEntry>>,
    pub target: Option<String>,
    pub secrets: Option<Vec<SecretEntry>>,
    pub ssh: Option<Vec<SshEntry>>,
    pub platforms: Option<Vec<String>>,
    pub outputs: Option<Vec<OutputEntry>>,
    pub pull: Option<bool>,
    pub no_cache: Option<bool>,
    pub network: Option<String>,
    pub no_cache_filter: Option<Vec<String>>,
    pub shm_size: Option<String>,
    pub ulimits: Option<Vec<String>>,
    pub call: Option<String>,
    pub entitlements: Option<Vec<String>>,
    pub extra_hosts: BTreeMap<String, String>,
    /// Whether it is built only because another target is built from it.
    pub linked: bool,
}

impl Target {
    /// A target about which nothing is said yet.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Sets an attribute; the error says what is wrong with the value.
    pub(crate) fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        if *value == Value::Null {
            return Ok(());
        }
        match name {
            "annotations" => self.annotations = Some(texts(value)?),
            "args" => self.args = text_map(value)?,
            "attest" => self.attest = Some(read_entries(value)?),
            "cache-from" => self.cache_from = Some(read_entries(value)?),
            "cache-to" => self.cache_to = Some(read_entries(value)?),
            "call" => self.call = Some(text(value)?),
            "context" => self.context = Some(text(value)?),
            "contexts" => self.contexts = text_map(value)?,
            "description" => self.description = Some(text(value)?),
            "dockerfile" => self.dockerfile = Some(text(value)?),
            "dockerfile-inline" => self.dockerfile_inline = Some(text(value)?),
            "entitlements" => self.entitlements = Some(texts(value)?),
            "extra-hosts" => self.extra_hosts = text_map(value)?,
            "inherits" => self.inherits = texts(value)?,
            "labels" => self.labels = text_map(value)?,
            "network" => self.network = Some(text(value)?),
            "no-cache" => self.no_cache = Some(truth(value)?),
            "no-cache-filter" => self.no_cache_filter = Some(texts(value)?),
            "output" => self.outputs = Some(read_entries(value)?),
            "platforms" => self.platforms = Some(texts(value)?),
            "pull" => self.pull = Some(truth(value)?),
            "secret" => self.secrets = Some(read_entries(value)?),
            "shm-size" => self.shm_size = Some(text(value)?),
            "ssh" => self.ssh = Some(read_entries(value)?),
            "tags" => self.tags = Some(texts(value)?),
            "target" => self.target = Some(text(value)?),
            "ulimits" => self.ulimits = Some(texts(value)?),
            other => return Err(format!("targets have no attribute `{other}`")),
        }
        Ok(())
    }

    /// An attribute as expressions of other blocks see it.
    pub(crate) fn value(&self, name: &str) -> Value {
        let text = |text: &Option<String>| text.as_deref().map_or(Value::Null, Value::from);
        let truth = |value: Option<bool>| value.map_or(Value::Null, Value::Bool);
        let list = |texts: &Option<Vec<String>>| texts.clone().map_or(Value::Null, Value::texts);
        let map = |map: &BTreeMap<String, String>| {
            if map.is_empty() {
                return Value::Null;
            }
            Value::Map(map.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect())
        };
        match name {
            "name" => self.name.as_str().into(),
            "annotations" => list(&self.annotations),
            "args" => map(&self.args),
            "attest" => entry_values(self.attest.as_deref()),
            "cache-from" => entry_values(self.cache_from.as_deref()),
            "cache-to" => entry_values(self.cache_to.as_deref()),
            "call" => text(&self.call),
            "context" => text(&self.context),
            "contexts" => map(&self.contexts),
            "description" => text(&self.description),
            "dockerfile" => text(&self.dockerfile),
            "dockerfile-inline" => text(&self.dockerfile_inline),
            "entitlements" => list(&self.entitlements),
            "extra-hosts" => map(&self.extra_hosts),
            "inherits" => Value::texts(self.inherits.clone()),
            "labels" => map(&self.labels),
            "network" => text(&self.network),
            "no-cache" => truth(self.no_cache),
            "no-cache-filter" => list(&self.no_cache_filter),
            "output" => entry_values(self.outputs.as_deref()),
            "platforms" => list(&self.platforms),
            "pull" => truth(self.pull),
            "secret" => entry_values(self.secrets.as_deref()),
            "shm-size" => text(&self.shm_size),
            "ssh" => entry_values(self.ssh.as_deref()),
            "tags" => list(&self.tags),
            "target" => text(&self.target),
            "ulimits" => list(&self.ulimits),
            _ => Value::Null,
        }
    }

    /// Takes over what `later` says: it replaces single values, tags, platforms, outputs and `cache-to`, and adds to everything else.
    pub(crate) fn merge(&mut self, later: &Self) {
        fn replace<T: Clone>(into: &mut Option<T>, from: Option<&T>) {
            if let Some(from) = from {
                *into = Some(from.clone());
            }
        }
        fn append<T: Clone>(into: &mut Option<Vec<T>>, from: Option<&Vec<T>>) {
            if let Some(from) = from {
                into.get_or_insert_default().extend_from_slice(from);
            }
        }
        fn join<E: Entry>(into: &mut Option<Vec<E>>, from: Option<&Vec<E>>) {
            append(into, from);
            *into = into.take().map(deduplicate);
        }
        let extend = |into: &mut BTreeMap<String, String>, from: &BTreeMap<String, String>| into.extend(from.clone());
        replace(&mut self.description, later.description.as_ref());
        replace(&mut self.context, later.context.as_ref());
        replace(&mut self.dockerfile, later.dockerfile.as_ref());
        replace(&mut self.dockerfile_inline, later.dockerfile_inline.as_ref());
        replace(&mut self.tags, later.tags.as_ref());
        replace(&mut self.target, later.target.as_ref());
        replace(&mut self.call, later.call.as_ref());
        replace(&mut self.platforms, later.platforms.as_ref());
        replace(&mut self.cache_to, later.cache_to.as_ref());
        replace(&mut self.outputs, later.outputs.as_ref());
        replace(&mut self.pull, later.pull.as_ref());
        replace(&mut self.no_cache, later.no_cache.as_ref());
        replace(&mut self.network, later.network.as_ref());
        replace(&mut self.shm_size, later.shm_size.as_ref());
        extend(&mut self.args, &later.args);
        extend(&mut self.contexts, &later.contexts);
        extend(&mut self.labels, &later.labels);
        extend(&mut self.extra_hosts, &later.extra_hosts);
        append(&mut self.annotations, later.annotations.as_ref());
        append(&mut self.no_cache_filter, later.no_cache_filter.as_ref());
        append(&mut self.ulimits, later.ulimits.as_ref());
        append(&mut self.entitlements, later.entitlements.as_ref());
        join(&mut self.attest, later.attest.as_ref());
        join(&mut self.secrets, later.secrets.as_ref());
        join(&mut self.ssh, later.ssh.as_ref());
        join(&mut self.cache_from, later.cache_from.as_ref());
        self.inherits.extend_from_slice(&later.inherits);
    }

    /// Removes what is said twice or is empty.
    pub(crate) fn normalise(&mut self) {
        fn distinct(texts: &mut Option<Vec<String>>) {
            let Some(texts) = texts else { return };
            let mut seen = std::collections::BTreeSet::new();
            texts.retain(|text| !text.is_empty() && seen.insert(text.clone()));
        }
        fn entries<E: Entry>(entries: &mut Option<Vec<E>>) {
            *entries = entries.take().map(deduplicate);
        }
        distinct(&mut self.annotations);
        distinct(&mut self.tags);
        distinct(&mut self.platforms);
        distinct(&mut self.no_cache_filter);
        distinct(&mut self.ulimits);
        entries(&mut self.attest);
        entries(&mut self.secrets);
        entries(&mut self.ssh);
        entries(&mut self.cache_from);
        entries(&mut self.cache_to);
        entries(&mut self.outputs);
        if self.network.as_deref() == Some("host") {
            self.entitlements.get_or_insert_default().push("network.host".to_owned());
        }
        distinct(&mut self.entitlements);
        self.contexts.retain(|_, value| !value.is_empty());
    }

    /// The target as `--print` shows it: what is not set is left out, and what would be an expression again is escaped.
    pub(crate) fn printed(&self) -> Printed {
        let mut members = Vec::new();
        let mut put = |key: &str, value: Option<Printed>| {
            if let Some(value) = value {
                members.push((key.to_owned(), value));
            }
        };
        let text = |text: &Option<String>| text.as_deref().map(Printed::from);
        let list = |texts: &Option<Vec<String>>| texts.as_deref().filter(|texts| !texts.is_empty()).map(Printed::texts);
        let map = |map: &BTreeMap<String, String>, show: fn(&str) -> String| {
            let member = |(key, text): (&String, &String)| (key.clone(), Printed::from(show(text).as_str()));
            (!map.is_empty()).then(|| Printed::Object(map.iter().map(member).collect()))
        };
        put("description", text(&self.description.clone().filter(|description| !description.is_empty())));
        put("annotations", list(&self.annotations.as_ref().map(|all| all.iter().map(|text| escaped(text)).collect())));
        put("attest", printed_entries(self.attest.as_deref()));
        put("context", text(&self.context.as_deref().map(printed_context)));
        put("contexts", map(&self.contexts, str::to_owned));
        put("dockerfile", text(&self.dockerfile));
        put("dockerfile-inline", text(&self.dockerfile_inline.as_deref().map(escaped)));
        put("args", map(&self.args, escaped));
        put("labels", map(&self.labels, escaped));
        put("tags", list(&self.tags));
        put("cache-from", printed_entries(self.cache_from.as_deref()));
        put("cache-to", printed_entries(self.cache_to.as_deref()));
        put("target", text(&self.target));
        put("secret", printed_entries(self.secrets.as_deref()));
        put("ssh", printed_entries(self.ssh.as_deref()));
        put("platforms", list(&self.platforms));
        put("output", printed_entries(self.outputs.as_deref()));
        put("pull", self.pull.map(Printed::from));
        put("no-cache", self.no_cache.map(Printed::from));
        put("network", text(&self.network));
        put("no-cache-filter", list(&self.no_cache_filter));
        put("shm-size", text(&self.shm_size));
        put("ulimits", list(&self.ulimits));
        put("call", text(&self.call));
        put("entitlements", list(&self.entitlements));
        put("extra-hosts", map(&self.extra_hosts, escaped));
        Printed::Object(members)
    }
}

/// A context as buildx shows it: the path of a directory in its shortest form, everything else as it is.
fn printed_context(context: &str) -> String {
    let Some(path) = local_path(context) else { return context.to_owned() };
    let mut parts: Vec<&str> = Vec::new();
    let is_absolute = path.starts_with('/');
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if is_absolute => {}
            part => parts.push(part),
        }
    }
    let root = if is_absolute { "/" } else { "" };
    if parts.is_empty() && !is_absolute { ".".to_owned() } else { format!("{root}{}", parts.join("/")) }
}

/// Text that the parser reads as this text.
fn escaped(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

fn entry_values<E: Entry>(entries: Option<&[E]>) -> Value {
    entries.map_or(Value::Null, |entries| Value::List(entries.iter().map(Entry::to_value).collect()))
}

fn printed_entries<E: Entry>(entries: Option<&[E]>) -> Option<Printed> {
    let entries = entries.filter(|entries| !entries.is_empty())?;
    Some(Printed::List(entries.iter().map(Entry::printed).collect()))
}

fn text(value: &Value) -> Result<String, String> {
    value.as_text().ok_or_else(|| format!("string required, but it is a {}", value.kind()))
}

fn truth(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("true or false required, but it is {}", value.to_json()))
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let elements = value.elements().ok_or_else(|| format!("list of strings required, but it is a {}", value.kind()))?;
    let text = |(index, element)| text(element).map_err(|problem| format!("element {index}: {problem}"));
    elements.iter().enumerate().map(text).collect()
}

/// A map of texts; what is null is not there.
fn text_map(value: &Value) -> Result<BTreeMap<String, String>, String> {
    let entries = value.entries().ok_or_else(|| format!("map of strings required, but it is a {}", value.kind()))?;
    let set = entries.iter().filter(|(_, value)| **value != Value::Null);
    set.map(|(key, value)| Ok((key.clone(), text(value).map_err(|problem| format!("element `{key}`: {problem}"))?)))
        .collect()
}
