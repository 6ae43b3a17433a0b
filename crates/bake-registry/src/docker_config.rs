//! Changing docker's `config.json`: what `login` adds and `logout` takes away. Everything else in it stays as it is.
//!
//! What is written is what docker writes: tabs, and for a login that a helper keeps an empty entry, so that a list of
//! logins can be shown without asking the helper.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize as _;
use serde_json::{Map, Value};

use crate::credentials::{
    CONFIG_BYTES_MAX, Credential, CredentialsError, DOCKER_HUB, DOCKER_HUB_KEY, host_of_key, hub_or,
};
use crate::helper;

/// The text of a `config.json` that is being changed.
#[expect(missing_debug_implementations, reason = "it holds secrets")]
pub struct DockerConfig {
    root: Map<String, Value>,
}

impl DockerConfig {
    /// Reads the text of a `config.json`; an empty one is an empty config.
    ///
    /// Fails for what is no JSON object, and for `auths` that is none: it would be lost by writing it again.
    pub fn parse(text: &str) -> Result<Self, CredentialsError> {
        if text.len() > CONFIG_BYTES_MAX {
            return Err(CredentialsError::ConfigTooLarge);
        }
        if text.trim().is_empty() {
            return Ok(Self { root: Map::new() });
        }
        let malformed = |line, column| CredentialsError::ConfigMalformed { line, column };
        let value: Value = serde_json::from_str(text).map_err(|error| malformed(error.line(), error.column()))?;
        let Value::Object(root) = value else { return Err(malformed(1, 1)) };
        for key in ["auths", "credHelpers"] {
            if root.get(key).is_some_and(|value| !value.is_object() && !value.is_null()) {
                return Err(malformed(1, 1));
            }
        }
        Ok(Self { root })
    }

    /// The credential helper that keeps the login of `registry` (`host` or `host:port`): its own, or that of all.
    pub fn helper(&self, registry: &str) -> Result<Option<&str>, CredentialsError> {
        let host = hub_or(registry);
        let own = self.root.get("credHelpers").and_then(Value::as_object).and_then(|helpers| {
            helpers
                .iter()
                .find(|(key, _)| host_of_key(key).as_deref() == Some(host))
                .and_then(|(_, name)| name.as_str())
        });
        let name = own.or_else(|| self.root.get("credsStore").and_then(Value::as_str)).filter(|name| !name.is_empty());
        name.map(|name| helper::check_name(name).map(|()| name)).transpose()
    }

    /// Sets the login of `registry`, in place of all entries for it; without a credential one that a helper keeps.
    pub fn set(&mut self, registry: &str, credential: Option<&Credential>) {
        self.remove(registry);
        let mut entry = Map::new();
        let mut put = |key: &str, value: &str| entry.insert(key.to_owned(), Value::String(value.to_owned()));
        match credential {
            None => {}
            Some(Credential::Login { user, secret }) => {
                put("auth", &STANDARD.encode(format!("{user}:{}", secret.expose())));
            }
            Some(Credential::IdentityToken { user, token }) => {
                put("auth", &STANDARD.encode(format!("{user}:")));
                put("identitytoken", token.expose());
            }
            Some(Credential::RegistryToken(token)) => {
                put("registrytoken", token.expose());
            }
        }
        let auths = self.root.entry("auths").or_insert_with(|| Value::Object(Map::new()));
        if auths.is_null() {
            *auths = Value::Object(Map::new());
        }
        if let Value::Object(auths) = auths {
            auths.insert(key_of(registry), Value::Object(entry));
        }
    }

    /// Removes every entry for `registry`, however it is spelt; whether there was one.
    pub fn remove(&mut self, registry: &str) -> bool {
        let host = hub_or(registry);
        let Some(Value::Object(auths)) = self.root.get_mut("auths") else { return false };
        let before = auths.len();
        auths.retain(|key, _| host_of_key(key).as_deref() != Some(host));
        auths.len() < before
    }

    /// The text, indented with tabs as docker does.
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        self.root.serialize(&mut serializer).expect("JSON values are written to memory without failure");
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }
}

/// The key under which docker keeps the login of `registry`, in its config and with helpers.
pub(crate) fn key_of(registry: &str) -> String {
    let host = hub_or(registry);
    if host == DOCKER_HUB { DOCKER_HUB_KEY.to_owned() } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;
    use crate::credentials::Secret;

    fn login(user: &str, secret: &str) -> Credential {
        Credential::Login { user: user.to_owned(), secret: Secret::new(secret) }
    }

    #[test]
    fn a_login_is_written_as_docker_writes_it_and_the_rest_stays() {
        let text = "{\n\t\"auths\": {\n\t\t\"a.example\": {}\n\t},\n\t\"psFormat\": \"x\",\n\t\"plugins\": {\n\t\t\"y\": [\n\t\t\t1\n\t\t]\n\t}\n}";
        let mut config = DockerConfig::parse(text).unwrap();
        config.set("docker.io", Some(&login("me", "a:b")));
        config
            .set("b.example:5000", Some(&Credential::IdentityToken { user: "u".to_owned(), token: Secret::new("t") }));
        config.set("c.example", None);
        let expected = "{\n\t\"auths\": {\n\t\t\"a.example\": {},\n\t\t\"b.example:5000\": {\n\t\t\t\"auth\": \"dTo=\",\n\t\t\t\"identitytoken\": \"t\"\n\t\t},\n\t\t\"c.example\": {},\n\t\t\"https://index.docker.io/v1/\": {\n\t\t\t\"auth\": \"bWU6YTpi\"\n\t\t}\n\t},\n\t\"plugins\": {\n\t\t\"y\": [\n\t\t\t1\n\t\t]\n\t},\n\t\"psFormat\": \"x\"\n}";
        assert_eq!(config.to_text(), expected);
        for registry in ["docker.io", "b.example:5000", "c.example"] {
            assert!(config.remove(registry) && !config.remove(registry), "{registry}");
        }
        assert_eq!(DockerConfig::parse(&config.to_text()).unwrap().root, DockerConfig::parse(text).unwrap().root);
    }

    #[test]
    fn every_spelling_of_a_registry_is_replaced_and_removed() {
        let text =
            r#"{"auths":{"https://a.example/v1/":{"auth":"eDp5"},"a.example":{},"a.example/team":{"auth":"eDp5"}}}"#;
        let mut config = DockerConfig::parse(text).unwrap();
        config.set("a.example", Some(&login("u", "p")));
        let keys: Vec<_> = config.root["auths"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys, ["a.example", "a.example/team"]);
        assert!(config.remove("a.example"));
        assert_eq!(config.root["auths"].as_object().unwrap().len(), 1);
    }

    #[test]
    fn helpers_are_found_by_registry() {
        let text =
            r#"{"credsStore":"all","credHelpers":{"gcr.io":"gcloud","https://index.docker.io/v1/":"hub","x":"../x"}}"#;
        let config = DockerConfig::parse(text).unwrap();
        for (registry, helper) in [("gcr.io", "gcloud"), ("docker.io", "hub"), ("index.docker.io", "hub"), ("b", "all")]
        {
            assert_eq!(config.helper(registry).unwrap(), Some(helper), "{registry}");
        }
        assert!(config.helper("x").is_err());
        assert_eq!(DockerConfig::parse("").unwrap().helper("b").unwrap(), None);
    }

    #[test]
    fn what_could_not_be_kept_is_refused() {
        for bad in ["[]", "{", "null", r#"{"auths":[]}"#, r#"{"credHelpers":"x"}"#, "\"s3cret\""] {
            let error = DockerConfig::parse(bad).err().map(|error| error.to_string()).unwrap();
            assert!(!error.contains("s3cret"), "{error}");
        }
        let mut config = DockerConfig::parse(r#"{"auths":null}"#).unwrap();
        config.set("a", None);
        assert!(config.to_text().contains("\"a\": {}"));
    }
}
