//! The sections `[registry."HOST"]` of the configuration, with the keys of BuildKit's `buildkitd.toml` and `token-hosts`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Value;

use crate::configuration::key::{Key, Section, Setter, Shape};
use crate::configuration::project::ProjectRule;

const KEYPAIR_KEYS: [&str; 2] = ["key", "cert"];

/// What the configuration says about registries, by `host` or `host:port`.
pub(crate) type RegistrySections = BTreeMap<String, RegistrySection>;

/// What it says about one of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RegistrySection {
    /// Where to look first when pulling, as `host` or `host:port`.
    pub(crate) mirrors: Vec<String>,
    /// Whether it has no TLS.
    pub(crate) http: bool,
    /// Whether its certificate is not checked.
    pub(crate) insecure: bool,
    /// Token servers outside of its domain that may get its passwords, as `host` or `host:port`.
    pub(crate) token_hosts: Vec<String>,
    /// Files with certificates to trust for it.
    pub(crate) ca: Vec<PathBuf>,
    /// The files with our certificate and key for it.
    pub(crate) keypair: Option<Keypair>,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keypair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// The keys of `[registry."HOST"]`. No variable of the environment can say them: a host is part of their names.
pub(crate) fn keys() -> Vec<Key> {
    let key = |name: &str, shape, summary: &str, set| Key {
        section: Section::Registry,
        name: name.to_owned(),
        shape,
        summary: summary.to_owned(),
        default: None,
        project: ProjectRule::Never,
        variable: None,
        setter: Setter::Registry(set),
    };
    vec![
        key("mirrors", Shape::Texts, "Where to look first when pulling, as `host` or `host:port`.", |to, value| {
            to.mirrors = hosts(value)?;
            Ok(())
        }),
        key("http", Shape::Boolean, "Whether it has no TLS.", |to, value| {
            to.http = value.as_bool() == Some(true);
            Ok(())
        }),
        key("insecure", Shape::Boolean, "Whether its certificate is not checked.", |to, value| {
            to.insecure = value.as_bool() == Some(true);
            Ok(())
        }),
        key("ca", Shape::Texts, "Files with certificates to trust for it.", |to, value| {
            let files: Vec<PathBuf> = texts(value).into_iter().map(PathBuf::from).collect();
            if !files.iter().all(|file| file.is_absolute()) {
                return Err("expected a list of absolute paths in quotes".to_owned());
            }
            to.ca = files;
            Ok(())
        }),
        key(
            "keypair",
            Shape::Keypair,
            "The files with our certificate (`cert`) and key (`key`) for it.",
            |to, value| {
                to.keypair = Some(keypair(value)?);
                Ok(())
            },
        ),
        key(
            "token-hosts",
            Shape::Texts,
            "Token servers outside of its domain that may get its passwords, as `host` or `host:port`.",
            |to, value| {
                to.token_hosts = hosts(value)?;
                Ok(())
            },
        ),
    ]
}

/// What the keys of a registry must be together.
pub(crate) fn check(host: &str, section: &RegistrySection) -> Result<(), String> {
    if section.http && (!section.ca.is_empty() || section.keypair.is_some()) {
        return Err(format!("`registry.\"{host}\"`: `http` and certificates exclude each other"));
    }
    Ok(())
}

fn hosts(value: &Value) -> Result<Vec<String>, String> {
    let hosts = Some(texts(value)).filter(|hosts| hosts.iter().all(|host| is_host(host)));
    hosts.ok_or_else(|| "expected a list of `host` or `host:port` in quotes".to_owned())
}

/// `[[registry."HOST".keypair]]`; BuildKit takes several, which no server could tell apart.
fn keypair(value: &Value) -> Result<Keypair, String> {
    let table = match value {
        Value::Table(table) => table,
        Value::Array(tables) => match tables.as_slice() {
            [Value::Table(table)] => table,
            _ => return Err("expected one section".to_owned()),
        },
        _ => return Err("expected a section".to_owned()),
    };
    if let Some(other) = table.keys().find(|key| !KEYPAIR_KEYS.contains(&key.as_str())) {
        return Err(format!("there is no key `{other}`; it may hold {}", KEYPAIR_KEYS.join(", ")));
    }
    let file = |key| {
        let path = table.get(key).and_then(Value::as_str).map(PathBuf::from).filter(|path| path.is_absolute());
        path.ok_or_else(|| format!("expected `{key}` with an absolute path in quotes"))
    };
    Ok(Keypair { certificate: file("cert")?, key: file("key")? })
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// Whether `text` may be the registry of a reference.
pub(crate) fn is_host(text: &str) -> bool {
    bake_oci::Reference::parse(&format!("{text}/a")).is_ok_and(|reference| reference.registry() == text)
}
