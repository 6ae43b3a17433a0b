//! The sections `[registry."HOST"]` of the configuration, with the keys of BuildKit's `buildkitd.toml` and `token-hosts`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::{Table, Value};

use crate::configuration::Problem;

const KEYS: [&str; 6] = ["mirrors", "http", "insecure", "ca", "keypair", "token-hosts"];
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

/// Reads `[registry]`, whose keys are hosts.
pub(crate) fn parse(table: &Table) -> Result<RegistrySections, Problem> {
    let mut sections = RegistrySections::new();
    for (host, value) in table {
        let Value::Table(section) = value else {
            let example = r#"registries are sections, written `[registry."host:port"]`"#;
            return Err(Problem::new(format!("`registry.{host}`: {example}")));
        };
        if !is_host(host) {
            return Err(Problem::new(format!(
                "`registry.\"{host}\"`: expected `host` or `host:port`, without scheme and path"
            )));
        }
        sections.insert(host.to_ascii_lowercase(), parse_section(host, section)?);
    }
    Ok(sections)
}

fn parse_section(host: &str, section: &Table) -> Result<RegistrySection, Problem> {
    let mut parsed = RegistrySection::default();
    for (key, value) in section {
        let wrong = |problem: &str| Problem::new(format!("`registry.\"{host}\".{key}`: {problem}"));
        let truth = || value.as_bool().ok_or_else(|| wrong("expected `true` or `false`"));
        let hosts = || {
            let hosts = texts(value).filter(|hosts| hosts.iter().all(|host| is_host(host)));
            hosts.ok_or_else(|| wrong("expected a list of `host` or `host:port` in quotes"))
        };
        match key.as_str() {
            "mirrors" => parsed.mirrors = hosts()?,
            "token-hosts" => parsed.token_hosts = hosts()?,
            "http" => parsed.http = truth()?,
            "insecure" => parsed.insecure = truth()?,
            "ca" => {
                let files = texts(value).map(|files| files.into_iter().map(PathBuf::from).collect::<Vec<_>>());
                let files = files.filter(|files| files.iter().all(|file| file.is_absolute()));
                parsed.ca = files.ok_or_else(|| wrong("expected a list of absolute paths in quotes"))?;
            }
            "keypair" => parsed.keypair = Some(keypair(host, value)?),
            other => return Err(Problem::unknown(&format!("key in section `registry.\"{host}\"`"), other, &KEYS)),
        }
    }
    if parsed.http && (!parsed.ca.is_empty() || parsed.keypair.is_some()) {
        return Err(Problem::new(format!("`registry.\"{host}\"`: `http` and certificates exclude each other")));
    }
    Ok(parsed)
}

/// `[[registry."HOST".keypair]]`; BuildKit takes several, which no server could tell apart.
fn keypair(host: &str, value: &Value) -> Result<Keypair, Problem> {
    let wrong = |problem: &str| Problem::new(format!("`registry.\"{host}\".keypair`: {problem}"));
    let table = match value {
        Value::Table(table) => table,
        Value::Array(tables) => match tables.as_slice() {
            [Value::Table(table)] => table,
            _ => return Err(wrong("expected one section")),
        },
        _ => return Err(wrong("expected a section")),
    };
    if let Some(other) = table.keys().find(|key| !KEYPAIR_KEYS.contains(&key.as_str())) {
        return Err(Problem::unknown(&format!("key in section `registry.\"{host}\".keypair`"), other, &KEYPAIR_KEYS));
    }
    let file = |key| {
        let path = table.get(key).and_then(Value::as_str).map(PathBuf::from).filter(|path| path.is_absolute());
        path.ok_or_else(|| wrong(&format!("expected `{key}` with an absolute path in quotes")))
    };
    Ok(Keypair { certificate: file("cert")?, key: file("key")? })
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// Whether `text` may be the registry of a reference.
fn is_host(text: &str) -> bool {
    bake_oci::Reference::parse(&format!("{text}/a")).is_ok_and(|reference| reference.registry() == text)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<RegistrySections, Problem> {
        parse(&text.parse().unwrap())
    }

    #[test]
    fn the_sections_of_buildkit_are_understood() {
        let text = r#"
            ["docker.io"]
            mirrors = ["mirror.example:5000", "localhost:5001"]
            ["lab.example:5000"]
            insecure = true
            token-hosts = ["auth.example"]
            ca = ["/etc/lab.pem"]
            [["lab.example:5000".keypair]]
            key = "/etc/lab.key"
            cert = "/etc/lab.cert"
        "#;
        let sections = parsed(text).unwrap();
        assert_eq!(sections["docker.io"].mirrors, ["mirror.example:5000", "localhost:5001"]);
        let lab = &sections["lab.example:5000"];
        assert!(lab.insecure && !lab.http);
        assert_eq!(lab.token_hosts, ["auth.example"]);
        let keypair = Keypair { certificate: "/etc/lab.cert".into(), key: "/etc/lab.key".into() };
        assert_eq!(lab.keypair, Some(keypair));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, expected) in [
            ("[\"https://a.example\"]", "without scheme"),
            ("[\"a.example/team\"]", "without scheme"),
            ("\"a.example\" = 1", "registries are sections"),
            ("[\"a.example\"]\nmirror = []", "there is no key"),
            ("[\"a.example\"]\nmirrors = [\"https://b\"]", "expected a list of `host`"),
            ("[\"a.example\"]\nca = [\"ca.pem\"]", "absolute"),
            ("[\"a.example\"]\nhttp = 1", "`true` or `false`"),
            ("[\"a.example\"]\nhttp = true\nca = [\"/a\"]", "exclude each other"),
            ("[[\"a.example\".keypair]]\nkey = \"/a\"", "expected `cert`"),
            ("[[\"a.example\".keypair]]\nkey = \"/a\"\ncrt = \"/b\"", "there is no key"),
        ] {
            let problem = parsed(text).unwrap_err();
            assert!(problem.text.contains(expected), "{text}: {problem:?}");
        }
    }
}
