//! `--set TARGET.ATTRIBUTE=VALUE` and the flags that are short for it.

use std::collections::BTreeMap;

use crate::config::{Config, matches};
use crate::entries::{OutputEntry, deduplicate, entries_of_texts};
use crate::error::TargetError;
use crate::target::Target;
use crate::value::Value;

type Result<T> = std::result::Result<T, TargetError>;

/// Attributes that take several values, one for each `--set`.
const LISTS: [&str; 14] = [
    "annotations",
    "attest",
    "cache-from",
    "cache-to",
    "entitlements",
    "no-cache-filter",
    "output",
    "platform",
    "platforms",
    "secret",
    "secrets",
    "ssh",
    "tags",
    "ulimits",
];

/// Attributes that take one value.
const SINGLE: [&str; 13] = [
    "args",
    "call",
    "context",
    "contexts",
    "dockerfile",
    "extra-hosts",
    "labels",
    "load",
    "network",
    "no-cache",
    "pull",
    "push",
    "shm-size",
];

/// Changes to targets, in the order in which they were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    changes: Vec<Change>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    /// A target or a pattern of targets.
    pattern: String,
    attribute: String,
    /// The key of a map's attribute.
    key: Option<String>,
    /// Whether values are added to those of the file.
    append: bool,
    values: Vec<String>,
    /// As it was written, for messages.
    written: String,
}

impl Overrides {
    /// Adds `TARGET.ATTRIBUTE[.KEY]=VALUE` or, for lists, `TARGET.ATTRIBUTE+=VALUE`. `TARGET.args.NAME` without a value takes that of
    /// the environment, and is nothing when there is none.
    ///
    /// # Errors
    /// What is not of this form, and attributes that do not exist.
    pub fn add(&mut self, text: &str, environment: &BTreeMap<String, String>) -> Result<()> {
        let wrong = |problem: String| TargetError::new(format!("cannot use `--set {text}`: {problem}"));
        let (path, value) = text.split_once('=').map_or((text, None), |(path, value)| (path, Some(value)));
        let (path, append) = path.strip_suffix('+').map_or((path, false), |path| (path, true));
        let mut parts = path.splitn(3, '.');
        let (Some(pattern), Some(attribute)) = (parts.next(), parts.next()) else {
            return Err(wrong("it is `TARGET.ATTRIBUTE=VALUE`".to_owned()));
        };
        let key = parts.next().map(str::to_owned);
        if !LISTS.contains(&attribute) && !SINGLE.contains(&attribute) && attribute != "target" {
            let known = LISTS.iter().chain(&SINGLE).copied().chain(["target"]);
            let near = bake_dockerfile::suggest::did_you_mean(attribute, known, false);
            return Err(wrong(format!("targets have no attribute `{attribute}` to set{near}")));
        }
        let has_keys = matches!(attribute, "args" | "contexts" | "labels" | "extra-hosts");
        if has_keys != key.is_some() {
            let form = if has_keys { ".NAME" } else { "" };
            return Err(wrong(format!("it is `{pattern}.{attribute}{form}=VALUE`")));
        }
        if append && !LISTS.contains(&attribute) {
            return Err(wrong(format!("`{attribute}` has one value, so `+=` adds nothing")));
        }
        let value = match (value, &key) {
            (Some(value), _) => value.to_owned(),
            (None, Some(name)) if attribute == "args" => match environment.get(name) {
                Some(value) => value.clone(),
                None => return Ok(()),
            },
            (None, _) => return Err(wrong("it has no value".to_owned())),
        };
        let same =
            |change: &&mut Change| change.pattern == pattern && change.attribute == attribute && change.key == key;
        let written = text.to_owned();
        match self.changes.iter_mut().find(same) {
            Some(change) if LISTS.contains(&attribute) => {
                change.append = append;
                change.values.push(value);
            }
            Some(change) => {
                change.values = vec![value];
                change.written = written;
            }
            None => self.changes.push(Change {
                pattern: pattern.to_owned(),
                attribute: attribute.to_owned(),
                key,
                append,
                values: vec![value],
                written,
            }),
        }
        Ok(())
    }

    /// The changes for each target they name.
    pub(crate) fn by_target(&self, config: &Config) -> Result<BTreeMap<String, Self>> {
        let mut by_target: BTreeMap<String, Self> = BTreeMap::new();
        for change in &self.changes {
            let exact = config.targets.iter().any(|target| target.name == change.pattern);
            let names = config.targets.iter().map(|target| &target.name);
            let names: Vec<&String> = names
                .filter(|name| if exact { **name == change.pattern } else { matches(&change.pattern, name) })
                .collect();
            if names.is_empty() {
                let problem = format!("cannot use `--set {}`: no target matches `{}`", change.written, change.pattern);
                return Err(TargetError::new(problem));
            }
            for name in names {
                by_target.entry(name.clone()).or_default().changes.push(change.clone());
            }
        }
        Ok(by_target)
    }

    /// Makes the changes, whatever target they were for.
    pub(crate) fn apply(&self, target: &mut Target) -> Result<()> {
        for change in &self.changes {
            change
                .apply(target)
                .map_err(|problem| TargetError::new(format!("cannot use `--set {}`: {problem}", change.written)))?;
        }
        Ok(())
    }
}

impl Change {
    fn apply(&self, target: &mut Target) -> std::result::Result<(), String> {
        let value = self.values.last().cloned().unwrap_or_default();
        let key = self.key.clone().unwrap_or_default();
        let truth =
            || Value::from(value.as_str()).as_bool().ok_or_else(|| format!("`{value}` is neither true nor false"));
        match self.attribute.as_str() {
            "args" => {
                target.args.insert(key, value);
            }
            "contexts" => {
                target.contexts.insert(key, value);
            }
            "labels" => {
                target.labels.insert(key, value);
            }
            "extra-hosts" => {
                target.extra_hosts.insert(key, value);
            }
            "context" => target.context = Some(value),
            "dockerfile" => target.dockerfile = Some(value),
            "target" => target.target = Some(value),
            "call" => target.call = Some(value),
            "network" => target.network = Some(value),
            "shm-size" => target.shm_size = Some(value),
            "pull" => target.pull = Some(truth()?),
            "no-cache" => target.no_cache = Some(truth()?),
            "push" => set_push(target, truth()?),
            "load" => {
                if truth()? {
                    set_load(target);
                }
            }
            "tags" => self.texts(&mut target.tags, self.append),
            "platform" | "platforms" => self.texts(&mut target.platforms, self.append),
            "no-cache-filter" => self.texts(&mut target.no_cache_filter, self.append),
            "ulimits" => self.texts(&mut target.ulimits, self.append),
            "entitlements" => self.texts(&mut target.entitlements, true),
            "annotations" => self.texts(&mut target.annotations, true),
            "attest" => self.entries(&mut target.attest, true)?,
            "cache-from" => self.entries(&mut target.cache_from, self.append)?,
            "cache-to" => self.entries(&mut target.cache_to, self.append)?,
            "output" => self.entries(&mut target.outputs, self.append)?,
            "secret" | "secrets" => self.entries(&mut target.secrets, self.append)?,
            "ssh" => self.entries(&mut target.ssh, self.append)?,
            other => return Err(format!("targets have no attribute `{other}` to set")),
        }
        Ok(())
    }

    fn texts(&self, into: &mut Option<Vec<String>>, append: bool) {
        let mut texts = if append { into.take().unwrap_or_default() } else { Vec::new() };
        texts.extend_from_slice(&self.values);
        *into = Some(texts);
    }

    fn entries<E: crate::entries::Entry>(
        &self,
        into: &mut Option<Vec<E>>,
        append: bool,
    ) -> std::result::Result<(), String> {
        let mut entries = if append { into.take().unwrap_or_default() } else { Vec::new() };
        entries.extend(entries_of_texts::<E>(&self.values)?);
        *into = Some(deduplicate(entries));
        Ok(())
    }
}

/// Pushes what is an image, or nothing of it.
fn set_push(target: &mut Target, push: bool) {
    let outputs = target.outputs.get_or_insert_default();
    if !push {
        outputs.retain(|output| output.kind != "registry");
    }
    for output in outputs.iter_mut().filter(|output| output.kind == "image") {
        output.attributes.insert("push".to_owned(), push.to_string());
    }
    if push && outputs.iter().all(|output| output.kind == "docker") {
        let attributes = BTreeMap::from([("push".to_owned(), "true".to_owned())]);
        outputs.push(OutputEntry { kind: "image".to_owned(), destination: None, attributes });
    }
}

/// Loads the image besides, unless the results are no images.
fn set_load(target: &mut Target) {
    let outputs = target.outputs.get_or_insert_default();
    let loaded = outputs.iter().any(|output| output.kind == "docker" && output.destination.is_none());
    let images = outputs.iter().all(|output| matches!(output.kind.as_str(), "docker" | "image" | "registry" | "oci"));
    if images && !loaded {
        outputs.push(OutputEntry { kind: "docker".to_owned(), destination: None, attributes: BTreeMap::new() });
    }
}
