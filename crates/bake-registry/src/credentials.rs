//! Who we are to which registry: docker's `config.json`, credential helpers, and logins given by the caller.
//!
//! ```text
//! { "auths":       { "https://index.docker.io/v1/": { "auth": base64("user:password") },
//!                    "registry.example.com":        { "identitytoken": "..." } },
//!   "credHelpers": { "gcr.io": "gcloud" },      one registry -> docker-credential-gcloud
//!   "credsStore":  "secretservice" }            every other registry
//! ```
//!
//! Order of look-up, as docker's: a login added by the caller, a config that goes before (`DOCKER_AUTH_CONFIG`), `credHelpers`,
//! `credsStore`, `auths`.
//! A config that cannot be understood is an error: guessing would send somebody's password to the wrong place.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::docker_config::key_of;
use crate::helper::{self, HelperRunner};

/// The largest `config.json` that is read; real ones have a few hundred bytes.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// The name under which docker keeps the login of Docker Hub.
pub(crate) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The registry part of a canonical Docker Hub reference.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// Why credentials could not be obtained. No variant holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The config is larger than [`CONFIG_BYTES_MAX`].
    #[error("the docker config is larger than {CONFIG_BYTES_MAX} bytes")]
    ConfigTooLarge,
    /// The config is not JSON of the right shape. (The parser's own text could quote a secret, so only the place is kept.)
    #[error("the docker config is malformed at line {line}, column {column}")]
    ConfigMalformed {
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1.
        column: usize,
    },
    /// An entry of the config cannot be used.
    #[error("the docker config's entry for `{registry}` is malformed: {reason}")]
    EntryMalformed {
        /// The key of the entry.
        registry: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The config names a credential helper whose name could be a path.
    #[error("`{name}` is not the name of a credential helper: only `a-z`, `0-9`, `-`, `_` and `.` may stand in it")]
    HelperName {
        /// The name, with control characters escaped.
        name: String,
    },
    /// The credential helper is not installed.
    #[error("the credential helper `docker-credential-{name}` was not found in {}", show_paths(.searched))]
    HelperMissing {
        /// The helper's name.
        name: String,
        /// The directories searched.
        searched: Vec<PathBuf>,
    },
    /// The credential helper could not be run.
    #[error("could not run the credential helper `{}`", .path.display())]
    HelperRun {
        /// The program.
        path: PathBuf,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// The credential helper did not answer in time.
    #[error("the credential helper `{}` did not answer within {} s", .path.display(), .limit.as_secs())]
    HelperTimeout {
        /// The program.
        path: PathBuf,
        /// The limit.
        limit: Duration,
    },
    /// The credential helper failed or answered something else than the protocol's JSON.
    #[error("the credential helper `{}` failed: {reason}", .path.display())]
    HelperFailed {
        /// The program.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

fn show_paths(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    if shown.is_empty() { "no directory at all".to_owned() } else { shown.join(", ") }
}

/// A password or token. It has no `Debug` and no `Display`, so that it cannot reach a log by accident.
#[expect(missing_debug_implementations, reason = "a secret must not be printable")]
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes the secret.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// What proves who we are.
#[expect(missing_debug_implementations, reason = "it holds a secret")]
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user name and password (or access token in place of one).
    Login {
        /// The user name.
        user: String,
        /// The password.
        secret: Secret,
    },
    /// An `OAuth2` refresh token: `identitytoken` of the config, or a helper's `<token>`.
    IdentityToken {
        /// The user it was given to; empty where that is not known.
        user: String,
        /// The token.
        token: Secret,
    },
    /// A token to send to the registry as it is: `registrytoken` of the config.
    RegistryToken(Secret),
}

/// The credentials of one user for all registries.
///
/// Secrets are looked up only when a registry asks for them, once per registry.
pub struct Credentials {
    logins: BTreeMap<String, Arc<Credential>>,
    stored: BTreeMap<String, Arc<Credential>>,
    helpers: BTreeMap<String, String>,
    default_helper: Option<String>,
    runner: HelperRunner,
    answers: Mutex<HashMap<String, Option<Arc<Credential>>>>,
    /// Another config that goes before this one.
    first: Option<Box<Self>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("logins", &self.logins.keys().collect::<Vec<_>>())
            .field("stored", &self.stored.keys().collect::<Vec<_>>())
            .field("helpers", &self.helpers)
            .field("default_helper", &self.default_helper)
            .field("first", &self.first)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: Option<BTreeMap<String, Option<AuthEntry>>>,
    #[serde(default, rename = "credHelpers")]
    helpers: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize)]
struct AuthEntry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl Credentials {
    /// No credentials: every request is anonymous.
    pub fn none() -> Self {
        Self {
            logins: BTreeMap::new(),
            stored: BTreeMap::new(),
            helpers: BTreeMap::new(),
            default_helper: None,
            runner: HelperRunner::default(),
            answers: Mutex::new(HashMap::new()),
            first: None,
        }
    }

    /// Reads the text of docker's `config.json`; `runner` says where credential helpers are.
    ///
    /// Fails for anything malformed, also in entries of registries that are never used: the user wants to know.
    pub fn from_docker_config(text: &str, runner: HelperRunner) -> Result<Self, CredentialsError> {
        if text.len() > CONFIG_BYTES_MAX {
            return Err(CredentialsError::ConfigTooLarge);
        }
        let mut credentials = Self { runner, ..Self::none() };
        // Docker itself accepts an empty file.
        if text.trim().is_empty() {
            return Ok(credentials);
        }
        let file: ConfigFile = serde_json::from_str(text)
            .map_err(|error| CredentialsError::ConfigMalformed { line: error.line(), column: error.column() })?;
        for (key, entry) in file.auths.unwrap_or_default() {
            let Some(host) = host_of_key(&key) else { continue };
            if let Some(credential) = entry.map(|entry| read_entry(&key, entry)).transpose()?.flatten() {
                credentials.stored.insert(host, Arc::new(credential));
            }
        }
        for (key, name) in file.helpers.unwrap_or_default() {
            helper::check_name(&name)?;
            if let Some(host) = host_of_key(&key) {
                credentials.helpers.insert(host, name);
            }
        }
        if let Some(name) = file.store.filter(|name| !name.is_empty()) {
            helper::check_name(&name)?;
            credentials.default_helper = Some(name);
        }
        Ok(credentials)
    }

    /// These credentials, for what `first` does not know.
    #[must_use]
    pub fn after(self, first: Self) -> Self {
        Self { first: Some(Box::new(first)), ..self }
    }

    /// Adds the login for one registry (`host`, `host:port` or `docker.io`); it wins over everything else.
    pub fn add(&mut self, registry: &str, credential: Credential) {
        self.logins.insert(hub_or(registry).to_owned(), Arc::new(credential));
    }

    /// The user who is logged in to `registry`, if that is known without asking the registry.
    pub async fn user(&self, registry: &str) -> Result<Option<String>, CredentialsError> {
        let found = self.lookup(registry).await?;
        Ok(match found.as_deref() {
            Some(Credential::Login { user, .. } | Credential::IdentityToken { user, .. }) => {
                Some(user.clone()).filter(|user| !user.is_empty())
            }
            _ => None,
        })
    }

    /// The credential for `registry` (`host` or `host:port`; every name of Docker Hub finds Docker Hub's).
    pub(crate) async fn lookup(&self, registry: &str) -> Result<Option<Arc<Credential>>, CredentialsError> {
        let host = hub_or(registry);
        if let Some(login) = self.logins.get(host) {
            return Ok(Some(Arc::clone(login)));
        }
        if let Some(first) = &self.first
            && let Some(found) = Box::pin(first.lookup(registry)).await?
        {
            return Ok(Some(found));
        }
        let Some(name) = self.helpers.get(host).or(self.default_helper.as_ref()) else {
            return Ok(self.stored.get(host).cloned());
        };
        // The lock is held while the helper runs, so that it runs once however many requests wait for it.
        let mut answers = self.answers.lock().await;
        if let Some(answer) = answers.get(host) {
            return Ok(answer.clone());
        }
        let answer = helper::get(&self.runner, name, &key_of(host)).await?.map(Arc::new);
        let answer = answer.or_else(|| self.stored.get(host).cloned());
        answers.insert(host.to_owned(), answer.clone());
        Ok(answer)
    }
}

/// Docker Hub has several names; all of them mean one login.
pub(crate) fn hub_or(registry: &str) -> &str {
    match registry {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        other => other,
    }
}

/// The `host[:port]` that a key of `auths` stands for: it may be a URL with the version paths of old clients.
/// A key with any other path is for tools that keep a login per repository; it must not serve the whole host.
pub(crate) fn host_of_key(key: &str) -> Option<String> {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() || !matches!(path.trim_end_matches('/'), "" | "v1" | "v2") {
        return None;
    }
    Some(hub_or(&host.to_ascii_lowercase()).to_owned())
}

fn read_entry(key: &str, entry: AuthEntry) -> Result<Option<Credential>, CredentialsError> {
    let malformed = |reason| CredentialsError::EntryMalformed { registry: crate::error::printable(key, 256), reason };
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = some(entry.identitytoken) {
        return Ok(Some(Credential::IdentityToken {
            user: some(entry.username).unwrap_or_default(),
            token: Secret::new(token),
        }));
    }
    if let Some(token) = some(entry.registrytoken) {
        return Ok(Some(Credential::RegistryToken(Secret::new(token))));
    }
    if let Some(encoded) = some(entry.auth) {
        let encoded = encoded.trim();
        let bytes = STANDARD
            .decode(encoded)
            .or_else(|_| STANDARD_NO_PAD.decode(encoded))
            .map_err(|_| malformed("`auth` is not base64"))?;
        let text = String::from_utf8(bytes).map_err(|_| malformed("`auth` is not UTF-8"))?;
        let (user, secret) = text.split_once(':').ok_or_else(|| malformed("`auth` holds no `:`"))?;
        // Old versions of docker padded the password with NUL bytes.
        let secret = secret.trim_end_matches('\0');
        return Ok(Some(Credential::Login { user: user.to_owned(), secret: Secret::new(secret) }));
    }
    match (some(entry.username), some(entry.password)) {
        (Some(user), Some(password)) => Ok(Some(Credential::Login { user, secret: Secret::new(password) })),
        (None, None) => Ok(None),
        _ => Err(malformed("it has only one of `username` and `password`")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    fn parse(text: &str) -> Result<Credentials, CredentialsError> {
        Credentials::from_docker_config(text, HelperRunner::default())
    }

    fn login(user: &str, secret: &str) -> Credential {
        Credential::Login { user: user.to_owned(), secret: Secret::new(secret) }
    }

    async fn found(credentials: &Credentials, registry: &str) -> Option<Credential> {
        credentials.lookup(registry).await.unwrap().map(|credential| (*credential).clone())
    }

    #[tokio::test]
    async fn entries_are_found_by_host_in_every_spelling() {
        let auth = STANDARD.encode("me:a:b");
        let credentials = parse(&format!(
            r#"{{"auths":{{
                "https://index.docker.io/v1/":{{"auth":"{auth}"}},
                "https://a.example":{{"username":"u","password":"p"}},
                "b.example:5000":{{"identitytoken":"id","auth":"PHRva2VuPjo="}},
                "http://c.example/v2/":{{"registrytoken":"raw"}},
                "d.example/team":{{"auth":"{auth}"}},
                "e.example":{{}}, "f.example":null
            }},"HttpHeaders":{{}},"proxies":{{}}}}"#
        ))
        .unwrap();
        for hub in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
            assert!(found(&credentials, hub).await == Some(login("me", "a:b")));
        }
        assert!(found(&credentials, "a.example").await == Some(login("u", "p")));
        assert!(found(&credentials, "a.example:5000").await.is_none());
        assert!(found(&credentials, "b.example").await.is_none());
        assert!(
            found(&credentials, "b.example:5000").await
                == Some(Credential::IdentityToken { user: String::new(), token: Secret::new("id") })
        );
        assert!(found(&credentials, "c.example").await == Some(Credential::RegistryToken(Secret::new("raw"))));
        for nobody in ["d.example", "e.example", "f.example", "evil.example", "index.docker.io.evil.example"] {
            assert!(found(&credentials, nobody).await.is_none(), "{nobody}");
        }
    }

    #[test]
    fn a_malformed_config_is_an_error_that_quotes_no_secret() {
        for bad in [
            "{",
            "[]x",
            r#"{"auths":"s3cret"}"#,
            r#"{"auths":{"a.example":"s3cret"}}"#,
            r#"{"auths":{"a.example":{"auth":"s3cret!!"}}}"#,
            r#"{"auths":{"a.example":{"auth":"czNjcmV0"}}}"#,
            r#"{"auths":{"a.example":{"password":"s3cret"}}}"#,
            r#"{"credsStore":"../../s3cret/x"}"#,
            r#"{"credHelpers":{"a.example":"/bin/sh"}}"#,
            r#"{"credHelpers":{"a.example":"a b"}}"#,
            r#"{"credHelpers":{"a.example":""}}"#,
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(!error.contains("s3cret") || error.contains("name of a credential helper"), "{bad}: {error}");
        }
        assert!(parse("").is_ok() && parse("{}").is_ok() && parse(r#"{"credsStore":""}"#).is_ok());
        assert!(matches!(parse(&" ".repeat(CONFIG_BYTES_MAX + 1)), Err(CredentialsError::ConfigTooLarge)));
    }

    #[tokio::test]
    async fn a_missing_helper_is_an_error_and_added_logins_win() {
        let mut credentials = parse(r#"{"auths":{"a.example":{"auth":"bWU6eA=="}},"credsStore":"nowhere"}"#).unwrap();
        assert!(matches!(credentials.lookup("a.example").await, Err(CredentialsError::HelperMissing { .. })));
        credentials.add("a.example", login("other", "y"));
        assert!(found(&credentials, "a.example").await == Some(login("other", "y")));
        assert!(!format!("{credentials:?}").contains("bWU6eA"));
    }
}
