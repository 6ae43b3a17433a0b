//! Compose files: every service with a `build` section is a target, and what `x-bake` in that section says is added.

mod interpolate;
mod merge;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::config::Group;
use crate::definitions::valid_name;
use crate::entries::{AttestEntry, Entry, SecretEntry, SshEntry, entries_of_texts};
use crate::error::{BakeFile, Place, TargetError};
use crate::inputs::Inputs;
use crate::target::Target;

type Result<T> = std::result::Result<T, TargetError>;

/// Services that may build on each other by `extends`, one behind the other.
const EXTENDS_MAX: usize = 50;

/// What the files define.
pub(crate) struct Composed {
    pub(crate) targets: Vec<Target>,
    pub(crate) groups: Vec<Group>,
}

/// Whether a file whose name says nothing is a Compose file.
pub(crate) fn is_compose(file: &BakeFile) -> bool {
    parse(&file.text).is_ok_and(|json| json.get("services").is_some_and(Json::is_object))
}

fn parse(text: &str) -> std::result::Result<Json, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// Reads Compose files, later ones merged into earlier ones.
pub(crate) fn read(files: &[Arc<BakeFile>], inputs: &Inputs) -> Result<Composed> {
    let mut merged = Json::Object(serde_json::Map::new());
    for file in files {
        let place = Place { file: file.clone(), span: None };
        let json = parse(&file.text)
            .map_err(|problem| TargetError::new(format!("this is not valid YAML: {problem}")).at(&place))?;
        if json.get("include").is_some() {
            let error = TargetError::new("`include` is not understood in Compose files").at(&place);
            return Err(error.hint("name the files one by one: `-f compose.yaml -f other.yaml`"));
        }
        let mut json = interpolate::all(&json, inputs).map_err(|problem| TargetError::new(problem).at(&place))?;
        // What a service takes over is what stands in the same file, without what later files say about it.
        extend_services(&mut json).map_err(|problem| TargetError::new(problem).at(&place))?;
        merge::merge(&mut merged, &json);
    }
    let Some(first) = files.first() else { return Ok(Composed { targets: Vec::new(), groups: Vec::new() }) };
    let place = Place { file: first.clone(), span: None };
    let reader = Reader { project: &merged, inputs };
    reader.targets().map_err(|problem| TargetError::new(problem).at(&place))
}

/// Replaces every service that builds on another by `extends`.
fn extend_services(project: &mut Json) -> std::result::Result<(), String> {
    let Some(services) = project.get("services").and_then(Json::as_object).cloned() else { return Ok(()) };
    for name in services.keys() {
        let service = extended(&services, name, 0).map_err(|problem| format!("service `{name}`: {problem}"))?;
        project["services"][name] = service;
    }
    Ok(())
}

fn extended(services: &serde_json::Map<String, Json>, name: &str, depth: usize) -> std::result::Result<Json, String> {
    let own = services.get(name).ok_or_else(|| format!("there is no service `{name}` in this file"))?;
    let base = match own.get("extends") {
        None | Some(Json::Null) => return Ok(own.clone()),
        Some(Json::String(base)) => base.as_str(),
        Some(extends) if extends.get("file").is_some() => {
            return Err("`extends` from another file is not understood".to_owned());
        }
        Some(extends) => extends.get("service").and_then(Json::as_str).ok_or("`extends` names no service")?,
    };
    if depth >= EXTENDS_MAX {
        return Err("`extends` leads in a circle".to_owned());
    }
    let mut service = extended(services, base, depth + 1)?;
    merge::merge(&mut service, own);
    Ok(service)
}

struct Reader<'a> {
    project: &'a Json,
    inputs: &'a Inputs,
}

impl Reader<'_> {
    fn targets(&self) -> std::result::Result<Composed, String> {
        let mut targets = Vec::new();
        let empty = serde_json::Map::new();
        let services = match self.project.get("services") {
            None | Some(Json::Null) => &empty,
            Some(services) => services.as_object().ok_or("`services` is not a map")?,
        };
        for (name, service) in services {
            let in_service = |problem: String| format!("service `{name}`: {problem}");
            if let Some(target) = self.target(name, service).map_err(in_service)? {
                targets.push(target);
            }
        }
        let names = targets.iter().map(|target| target.name.clone()).collect();
        let groups = if services.is_empty() {
            Vec::new()
        } else {
            vec![Group { name: crate::config::DEFAULT_TARGET.to_owned(), description: None, targets: names }]
        };
        Ok(Composed { targets, groups })
    }

    fn target(&self, name: &str, service: &Json) -> std::result::Result<Option<Target>, String> {
        let build = match service.get("build") {
            None | Some(Json::Null) => return Ok(None),
            Some(Json::String(context)) => {
                Json::Object(serde_json::Map::from_iter([("context".to_owned(), context.as_str().into())]))
            }
            Some(build @ Json::Object(_)) => build.clone(),
            Some(_) => return Err("`build` is neither a path nor a map".to_owned()),
        };
        let target_name = name.replace('.', "_");
        valid_name(&target_name).map_err(|error| error.message)?;
        let mut target = Target::named(&target_name);
        target.context = text(&build, "context")?.map(|context| cleaned(&context));
        target.dockerfile = text(&build, "dockerfile")?;
        target.dockerfile_inline = text(&build, "dockerfile_inline")?;
        target.target = text(&build, "target")?.filter(|stage| !stage.is_empty());
        target.network = text(&build, "network")?;
        target.pull = truth(&build, "pull")?;
        target.no_cache = truth(&build, "no_cache")?;
        target.args = self.arguments(&build, service)?;
        target.labels = set(pairs(&build, "labels")?);
        target.extra_hosts = hosts(&build)?;
        target.contexts = set(pairs(&build, "additional_contexts")?);
        for context in target.contexts.values_mut() {
            if let Some(other) = context.strip_prefix("service:") {
                *context = format!("target:{}", other.replace('.', "_"));
            }
        }
        target.tags = list(&build, "tags")?;
        target.platforms = list(&build, "platforms")?;
        target.cache_from = list(&build, "cache_from")?.map(|texts| entries_of_texts(&texts)).transpose()?;
        target.cache_to = list(&build, "cache_to")?.map(|texts| entries_of_texts(&texts)).transpose()?;
        target.shm_size = shm_size(&build)?;
        target.ulimits = ulimits(&build)?;
        target.secrets = self.secrets(&build)?;
        target.ssh = ssh(&build)?;
        target.attest = attest(&build)?;
        if let Some(extension) = build.get("x-bake") {
            extend(&mut target, extension).map_err(|problem| format!("`x-bake`: {problem}"))?;
        }
        if target.tags.as_ref().is_none_or(Vec::is_empty) {
            target.tags = text(service, "image")?.map(|image| vec![image]).or(target.tags);
        }
        Ok(Some(target))
    }

    /// Build arguments; what has no value takes that of the service's environment, else of the user's.
    fn arguments(&self, build: &Json, service: &Json) -> std::result::Result<BTreeMap<String, String>, String> {
        let environment = pairs(service, "environment")?;
        let mut arguments = BTreeMap::new();
        for (name, value) in pairs(build, "args")? {
            let of_service = || environment.iter().find(|(key, _)| *key == name).and_then(|(_, value)| value.clone());
            let value = value.or_else(of_service).or_else(|| self.inputs.lookup_for_compose(&name).map(str::to_owned));
            if let Some(value) = value {
                arguments.insert(name, value);
            }
        }
        Ok(arguments)
    }

    fn secrets(&self, build: &Json) -> std::result::Result<Option<Vec<SecretEntry>>, String> {
        let Some(wanted) = build.get("secrets").filter(|wanted| !wanted.is_null()) else { return Ok(None) };
        let mut secrets = Vec::new();
        for secret in wanted.as_array().ok_or("`secrets` is not a list")? {
            let source = match secret {
                Json::String(source) => source.clone(),
                other => text(other, "source")?.ok_or("a secret has no `source`")?,
            };
            let definition = self.project.get("secrets").and_then(|all| all.get(&source)).unwrap_or(&Json::Null);
            if definition.get("external").is_some_and(|external| *external != Json::Bool(false)) {
                return Err(format!("the secret `{source}` is external, and builds have no such store"));
            }
            secrets.push(SecretEntry {
                source: text(definition, "file")?,
                variable: text(definition, "environment")?,
                id: source,
            });
        }
        Ok(Some(secrets))
    }
}

/// A local path without what says nothing: `./dir/` is `dir`.
fn cleaned(context: &str) -> String {
    if context.contains("://") || context.contains('@') {
        return context.to_owned();
    }
    let rooted = if context.starts_with('/') { "/" } else { "" };
    let parts: Vec<&str> = context.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() && rooted.is_empty() { ".".to_owned() } else { format!("{rooted}{}", parts.join("/")) }
}

fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

fn text(map: &Json, key: &str) -> std::result::Result<Option<String>, String> {
    match map.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => scalar(value).map(Some).ok_or_else(|| format!("`{key}` is not a text")),
    }
}

fn truth(map: &Json, key: &str) -> std::result::Result<Option<bool>, String> {
    match map.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Bool(value)) => Ok(Some(*value)),
        Some(Json::String(text)) if text == "true" || text == "false" => Ok(Some(text == "true")),
        Some(_) => Err(format!("`{key}` is neither true nor false")),
    }
}

fn list(map: &Json, key: &str) -> std::result::Result<Option<Vec<String>>, String> {
    match map.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Array(elements)) => elements
            .iter()
            .map(|element| scalar(element).ok_or_else(|| format!("`{key}` holds more than texts")))
            .collect::<std::result::Result<_, _>>()
            .map(Some),
        Some(_) => Err(format!("`{key}` is not a list")),
    }
}

/// A map, or a list of `key=value`; what has no value has none.
fn pairs(map: &Json, key: &str) -> std::result::Result<Vec<(String, Option<String>)>, String> {
    match map.get(key) {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Object(members)) => members
            .iter()
            .map(|(name, value)| match value {
                Json::Null => Ok((name.clone(), None)),
                other => scalar(other)
                    .map(|text| (name.clone(), Some(text)))
                    .ok_or_else(|| format!("`{key}`: `{name}` is not a text")),
            })
            .collect(),
        Some(Json::Array(elements)) => elements
            .iter()
            .map(|element| {
                let element = scalar(element).ok_or_else(|| format!("`{key}` holds more than texts"))?;
                Ok(match element.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (element, None),
                })
            })
            .collect(),
        Some(_) => Err(format!("`{key}` is neither a map nor a list")),
    }
}

fn set(pairs: Vec<(String, Option<String>)>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key, value.unwrap_or_default())).collect()
}

/// `host=address` or `host:address`, or a map.
fn hosts(build: &Json) -> std::result::Result<BTreeMap<String, String>, String> {
    let pairs = pairs(build, "extra_hosts")?;
    pairs
        .into_iter()
        .map(|(host, address)| {
            if let Some(address) = address {
                Ok((host, address))
            } else {
                let (host, address) =
                    host.split_once(':').ok_or_else(|| format!("`extra_hosts`: `{host}` has no address"))?;
                Ok((host.to_owned(), address.to_owned()))
            }
        })
        .collect()
}

/// A size as docker writes it: `128m` is `128MiB`.
fn shm_size(build: &Json) -> std::result::Result<Option<String>, String> {
    let Some(text) = text(build, "shm_size")? else { return Ok(None) };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let factor: u64 = match text[digits..].trim().to_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(format!("`shm_size`: `{text}` is no size such as 128m")),
    };
    let bytes = text[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    let bytes = bytes.ok_or_else(|| format!("`shm_size`: `{text}` is no size such as 128m"))?;
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "it is shown with three digits")]
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let rounded = format!("{value:.3}");
    Ok(Some(format!("{}{}", rounded.trim_end_matches('0').trim_end_matches('.'), units[unit])))
}

/// `name=soft:hard`, by name.
fn ulimits(build: &Json) -> std::result::Result<Option<Vec<String>>, String> {
    let Some(limits) = build.get("ulimits").filter(|limits| !limits.is_null()) else { return Ok(None) };
    let mut texts = Vec::new();
    for (name, limit) in limits.as_object().ok_or("`ulimits` is not a map")? {
        let number = |value: &Json| scalar(value).and_then(|text| text.parse::<i64>().ok());
        let (soft, hard) = match limit {
            Json::Object(_) => (limit.get("soft").and_then(number), limit.get("hard").and_then(number)),
            single => (number(single), number(single)),
        };
        let (Some(soft), Some(hard)) = (soft, hard) else {
            return Err(format!("`ulimits`: `{name}` needs `soft` and `hard`"));
        };
        texts.push(format!("{name}={soft}:{hard}"));
    }
    Ok(Some(texts))
}

fn ssh(build: &Json) -> std::result::Result<Option<Vec<SshEntry>>, String> {
    if build.get("ssh").is_none_or(Json::is_null) {
        return Ok(None);
    }
    let mut entries: Vec<SshEntry> = pairs(build, "ssh")?
        .into_iter()
        .map(|(id, path)| SshEntry { id, paths: path.filter(|path| !path.is_empty()).into_iter().collect() })
        .collect();
    entries.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Some(entries))
}

/// `sbom` and `provenance`: true, false, or their keys.
fn attest(build: &Json) -> std::result::Result<Option<Vec<AttestEntry>>, String> {
    let mut entries = Vec::new();
    for kind in ["sbom", "provenance"] {
        let Some(given) = text(build, kind)? else { continue };
        entries.push(match given.as_str() {
            "true" => AttestEntry::from_text(&format!("type={kind}"))?,
            "false" => AttestEntry::from_text(&format!("type={kind},disabled=true"))?,
            keys => AttestEntry::from_text(&format!("type={kind},{keys}"))?,
        });
    }
    Ok((!entries.is_empty()).then_some(entries))
}

/// What Compose has no words for: `x-bake` in the build section. Lists may be written as one text.
fn extend(target: &mut Target, extension: &Json) -> std::result::Result<(), String> {
    fn words(extension: &Json, key: &str) -> std::result::Result<Vec<String>, String> {
        match extension.get(key) {
            Some(Json::String(text)) => Ok(text.split_whitespace().map(str::to_owned).collect()),
            _ => Ok(list(extension, key)?.unwrap_or_default()),
        }
    }
    fn add<E: Entry>(into: &mut Option<Vec<E>>, texts: &[String]) -> std::result::Result<(), String> {
        if !texts.is_empty() {
            into.get_or_insert_default().extend(entries_of_texts::<E>(texts)?);
        }
        Ok(())
    }
    let add_texts = |into: &mut Option<Vec<String>>, texts: Vec<String>| {
        if !texts.is_empty() {
            into.get_or_insert_default().extend(texts);
        }
    };
    if extension.is_null() {
        return Ok(());
    }
    add_texts(&mut target.tags, words(extension, "tags")?);
    add_texts(&mut target.platforms, words(extension, "platforms")?);
    add_texts(&mut target.no_cache_filter, words(extension, "no-cache-filter")?);
    add(&mut target.cache_from, &words(extension, "cache-from")?)?;
    add(&mut target.cache_to, &words(extension, "cache-to")?)?;
    add(&mut target.secrets, &words(extension, "secret")?)?;
    add(&mut target.ssh, &words(extension, "ssh")?)?;
    add(&mut target.outputs, &words(extension, "output")?)?;
    target.pull = truth(extension, "pull")?.or(target.pull);
    target.no_cache = truth(extension, "no-cache")?.or(target.no_cache);
    for (name, context) in set(pairs(extension, "contexts")?) {
        target.contexts.entry(name).or_insert(context);
    }
    Ok(())
}
