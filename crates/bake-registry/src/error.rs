//! What went wrong, with whom, and what the registry itself said about it.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use bake_oci::{Digest, ManifestError};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use crate::address::{AddressRefused, UnknownHost};
use crate::credentials::CredentialsError;

/// The most of an error body that is read: enough for any honest registry, little enough for a hostile one.
pub(crate) const ERROR_BODY_BYTES_MAX: u64 = 64 * 1024;
/// The most messages that are kept of one error body.
const MESSAGES_MAX: usize = 8;
/// The most characters that are kept of one message.
const MESSAGE_CHARACTERS_MAX: usize = 512;

/// An operation that failed: what was attempted, on which reference; [`RegistryError::failure`] says why.
///
/// Its text never holds credentials: URLs are shown without user names, passwords and queries.
#[derive(Debug, thiserror::Error)]
#[error("failed to {attempt}")]
pub struct RegistryError {
    attempt: String,
    #[source]
    failure: Box<RegistryFailure>,
}

impl RegistryError {
    /// Why it failed; where mirrors were asked first, why the registry itself could not help.
    pub fn failure(&self) -> &RegistryFailure {
        match &*self.failure {
            RegistryFailure::AfterMirrors { failure, .. } => failure,
            failure => failure,
        }
    }

    /// What was attempted, as a phrase such as ``resolve `docker.io/library/alpine:3` ``.
    pub fn attempt(&self) -> &str {
        &self.attempt
    }

    /// Whether the registry says that what was asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self.failure(), RegistryFailure::NotFound { .. })
    }

    /// Whether other or more credentials could help.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self.failure(), RegistryFailure::Unauthorized { .. } | RegistryFailure::Denied { .. })
    }
}

/// Why an operation on a registry failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryFailure {
    /// The registry asks for credentials, or refused those it got (401).
    #[error("{url} answered 401 Unauthorized ({}){messages}", if *.credentials_sent { "the credentials were refused" } else { "no credentials were sent" })]
    Unauthorized {
        /// The URL asked, without secrets.
        url: String,
        /// Whether credentials or a token were sent.
        credentials_sent: bool,
        /// The registry's own errors.
        messages: Messages,
    },
    /// The credentials do not allow this (403).
    #[error("{url} answered 403 Forbidden{messages}")]
    Denied {
        /// The URL asked, without secrets.
        url: String,
        /// The registry's own errors.
        messages: Messages,
    },
    /// The repository, manifest or blob does not exist (404), or is hidden from these credentials.
    #[error("{url} answered 404 Not Found{messages}")]
    NotFound {
        /// The URL asked, without secrets.
        url: String,
        /// The registry's own errors.
        messages: Messages,
    },
    /// The registry limits the rate of requests (429) and went on doing so.
    #[error("{url} answered 429 Too Many Requests{}{messages}", retry_text(.retry_after.as_ref()))]
    TooManyRequests {
        /// The URL asked, without secrets.
        url: String,
        /// How long the registry asks to wait.
        retry_after: Option<Duration>,
        /// The registry's own errors.
        messages: Messages,
    },
    /// Any other status that is not the expected one.
    #[error("{url} answered {status}{messages}")]
    Status {
        /// The URL asked, without secrets.
        url: String,
        /// The status.
        status: StatusCode,
        /// How long the registry asks to wait, for 503.
        retry_after: Option<Duration>,
        /// The registry's own errors.
        messages: Messages,
    },
    /// The bytes are not those that the digest names.
    #[error("{what} has digest {actual}, not {expected}")]
    DigestMismatch {
        /// What was received or sent.
        what: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// The number of bytes is not the one that the descriptor names.
    #[error("{what} has {actual} bytes, not {expected}")]
    SizeMismatch {
        /// What was received or sent.
        what: String,
        /// The size of the descriptor, in bytes.
        expected: u64,
        /// The size seen or declared; for an endless body the first size above `expected` that was seen.
        actual: u64,
    },
    /// A response is larger than what is accepted of its kind.
    #[error("{what} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What was received.
        what: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// No secure connection could be made: an untrusted, expired or wrong certificate, or no TLS at all.
    #[error("TLS failed for {url}")]
    Tls {
        /// The URL asked, without secrets.
        url: String,
        /// What failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// Nothing happened for too long, or too little.
    #[error("{url}: {what} took longer than {} s", .limit.as_secs_f64())]
    Timeout {
        /// The URL asked, without secrets.
        url: String,
        /// What was waited for.
        what: &'static str,
        /// The limit that was hit.
        limit: Duration,
    },
    /// No connection could be made.
    #[error("could not connect to {url}")]
    Connect {
        /// The URL asked, without secrets.
        url: String,
        /// What failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The name of the host is none: asking again would not change that.
    #[error("could not connect to {url}")]
    UnknownHost {
        /// The URL asked, without secrets.
        url: String,
        /// Which name.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The registry itself could not be asked, and what it has was not to be had from its mirrors before.
    #[error("{mirrors}")]
    AfterMirrors {
        /// Which mirrors, and why each could not help.
        mirrors: String,
        /// Why the registry itself could not.
        #[source]
        failure: Box<RegistryFailure>,
    },
    /// The connection broke.
    #[error("the connection to {url} broke")]
    Broken {
        /// The URL asked, without secrets.
        url: String,
        /// What failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The registry pointed somewhere that bake does not go.
    #[error("refused to follow {from} to {to}: {reason}")]
    Refused {
        /// The URL whose response pointed there, without secrets.
        from: String,
        /// Where it pointed, without secrets.
        to: String,
        /// Why not.
        reason: &'static str,
    },
    /// The authentication challenge or the token server's answer cannot be used.
    #[error("authentication with {url} failed: {reason}")]
    Authentication {
        /// The URL asked, without secrets.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The response breaks the distribution specification.
    #[error("{url} sent an invalid response: {reason}")]
    Protocol {
        /// The URL asked, without secrets.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A manifest or index that is not one, or not the one its media type says.
    #[error("{what} cannot be used")]
    Manifest {
        /// What was received.
        what: String,
        /// What is wrong.
        #[source]
        source: ManifestError,
    },
    /// The request cannot be made as asked.
    #[error("{reason}")]
    Request {
        /// What is wrong with it.
        reason: String,
    },
    /// The credentials could not be obtained.
    #[error("could not get the credentials for `{registry}`")]
    Credentials {
        /// The registry.
        registry: String,
        /// What failed.
        #[source]
        source: CredentialsError,
    },
    /// The place where received bytes go failed.
    #[error("could not write {what}")]
    Sink {
        /// What was being written.
        what: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The bytes to send could not be read.
    #[error("could not read {what}")]
    Source {
        /// What was being read.
        what: String,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The HTTP client could not be set up: bad certificates or proxies.
    #[error("could not set up the HTTP client: {reason}")]
    Setup {
        /// What is wrong.
        reason: String,
    },
}

/// A result inside this crate, before the operation says what it attempted.
pub(crate) type Outcome<T> = Result<T, Box<RegistryFailure>>;

/// Names the operation that an outcome belongs to.
pub(crate) trait Attempt<T> {
    /// `attempt` completes the sentence "failed to ...".
    fn attempt(self, attempt: impl FnOnce() -> String) -> Result<T, RegistryError>;
}

impl<T> Attempt<T> for Outcome<T> {
    fn attempt(self, attempt: impl FnOnce() -> String) -> Result<T, RegistryError> {
        self.map_err(|failure| RegistryError { attempt: attempt(), failure })
    }
}

impl RegistryFailure {
    /// Adds why mirrors could not help, where that may be the mistake: not where the registry itself has answered.
    pub(crate) fn after_mirrors(self: Box<Self>, mirrors: &[String]) -> Box<Self> {
        let unreachable =
            matches!(*self, Self::Connect { .. } | Self::UnknownHost { .. } | Self::Timeout { .. } | Self::Tls { .. });
        if mirrors.is_empty() || !unreachable {
            return self;
        }
        Box::new(Self::AfterMirrors { mirrors: mirrors.join("; "), failure: self })
    }

    /// Whether the same request may succeed when it is made again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TooManyRequests { .. } | Self::Timeout { .. } | Self::Connect { .. } | Self::Broken { .. } => true,
            Self::Status { status, .. } => is_transient_status(*status),
            _ => false,
        }
    }

    /// How long the registry asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What an unwanted status means.
    pub(crate) fn of_status(
        url: &Url,
        status: StatusCode,
        retry_after: Option<Duration>,
        credentials_sent: bool,
        messages: Messages,
    ) -> Box<Self> {
        let url = redact(url);
        Box::new(match status.as_u16() {
            401 => Self::Unauthorized { url, credentials_sent, messages },
            403 => Self::Denied { url, messages },
            404 => Self::NotFound { url, messages },
            429 => Self::TooManyRequests { url, retry_after, messages },
            _ => Self::Status { url, status, retry_after, messages },
        })
    }

    /// The response of `url` breaks its protocol.
    pub fn protocol(url: &Url, reason: impl Into<String>) -> Box<Self> {
        Box::new(Self::Protocol { url: redact(url), reason: reason.into() })
    }

    /// The request cannot be made, for this reason.
    pub fn request(reason: impl Into<String>) -> Box<Self> {
        Box::new(Self::Request { reason: reason.into() })
    }

    /// Sorts an error of the HTTP client into TLS, time-out, connect and the rest.
    pub(crate) fn from_http(url: &Url, error: reqwest::Error) -> Box<Self> {
        let error = error.without_url();
        let url = redact(url);
        if chain_has::<AddressRefused>(&error) {
            let reason = "its name has no address that a response of this registry may lead to";
            return Box::new(Self::Refused { from: "a response".to_owned(), to: url, reason });
        }
        if chain_has::<rustls::Error>(&error) {
            return Box::new(Self::Tls { url, source: error.into() });
        }
        Box::new(if let Some(unknown) = in_chain::<UnknownHost>(&error) {
            Self::UnknownHost { url, source: unknown.to_string().into() }
        } else if error.is_connect() {
            Self::Connect { url, source: error.into() }
        } else if error.is_builder() {
            Self::Setup { reason: chain_text(&error) }
        } else {
            Self::Broken { url, source: error.into() }
        })
    }
}

/// Statuses that say "not now" rather than "no".
pub(crate) fn is_transient_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn retry_text(retry_after: Option<&Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| format!(" and asks to wait {} s", wait.as_secs()))
}

/// The URL without user name, password, query and fragment: presigned URLs carry their secret in the query.
pub fn redact(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let query = if url.query().is_some() { "?..." } else { "" };
    printable(&format!("{}://{host}{port}{}{query}", url.scheme(), url.path()), 1024)
}

/// `text` with control and bidirectional-override characters escaped and at most `limit` characters long: it comes
/// from outside and goes to a terminal.
pub fn printable(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == limit {
            out.push_str("...");
            break;
        }
        let hidden = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || hidden {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// The texts of an error and its sources, for places that keep text only.
pub(crate) fn chain_text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let _ = write!(text, ": {source}");
        next = source.source();
    }
    printable(&text, 1024)
}

/// Whether `error` or one of its sources is a `T`; looks inside `io::Error`, whose `source` skips what it wraps.
fn chain_has<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    in_chain::<T>(error).is_some()
}

/// The `T` among `error` and its sources, looked for in the same way.
fn in_chain<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<T>() {
            return Some(found);
        }
        next = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => current.source(),
        };
    }
    None
}

/// What a registry said in an error body (OCI distribution spec, "Error Codes"); displayed as `: CODE: message; ...`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Messages(Vec<Message>);

/// One error of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The code, such as `MANIFEST_UNKNOWN`; empty when the registry gave none.
    pub code: String,
    /// The message.
    pub message: String,
}

impl Messages {
    /// The errors, in the registry's order; at most eight, each cut to 512 characters.
    pub fn as_slice(&self) -> &[Message] {
        &self.0
    }

    /// One error as another service states it; cut and made printable like those of registries.
    pub fn one(code: &str, message: &str) -> Self {
        let clean = |text: &str| printable(text.trim(), MESSAGE_CHARACTERS_MAX);
        Self(vec![Message { code: clean(code), message: clean(message) }])
    }

    /// Whether the registry named `code`.
    pub fn has_code(&self, code: &str) -> bool {
        self.0.iter().any(|message| message.code == code)
    }

    /// Reads an error body; one that is not the specification's JSON gives its first line when it is plain text.
    pub(crate) fn parse(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            errors: Vec<Entry>,
            #[serde(default)]
            error: Option<String>,
            #[serde(default)]
            details: Option<String>,
            #[serde(default)]
            message: Option<String>,
        }
        #[derive(Deserialize)]
        struct Entry {
            #[serde(default)]
            code: Option<serde_json::Value>,
            #[serde(default)]
            message: Option<String>,
        }
        let clean = |text: &str| printable(text.trim(), MESSAGE_CHARACTERS_MAX);
        if let Ok(body) = serde_json::from_slice::<Body>(body) {
            let code = |code: Option<serde_json::Value>| match code {
                Some(serde_json::Value::String(text)) => clean(&text),
                Some(serde_json::Value::Number(number)) => number.to_string(),
                _ => String::new(),
            };
            let mut messages: Vec<Message> = body
                .errors
                .into_iter()
                .take(MESSAGES_MAX)
                .map(|entry| Message { code: code(entry.code), message: clean(&entry.message.unwrap_or_default()) })
                .collect();
            if messages.is_empty()
                && let Some(text) = body.message.or(body.details).or(body.error)
            {
                messages.push(Message { code: String::new(), message: clean(&text) });
            }
            return Self(messages);
        }
        let line = std::str::from_utf8(body).unwrap_or("").lines().next().unwrap_or("").trim();
        if line.is_empty() || line.starts_with(['<', '{', '[']) {
            return Self::default();
        }
        Self(vec![Message { code: String::new(), message: clean(line) }])
    }
}

impl std::fmt::Display for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (position, message) in self.0.iter().enumerate() {
            f.write_str(if position == 0 { ": " } else { "; " })?;
            match (message.code.as_str(), message.message.as_str()) {
                ("", text) | (text, "") => f.write_str(text)?,
                (code, text) => write!(f, "{code}: {text}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn urls_are_shown_without_secrets() {
        let url =
            Url::parse("https://user:secret@example.com:8443/v2/a/blobs/x?X-Amz-Signature=secret#secret").unwrap();
        assert_eq!(redact(&url), "https://example.com:8443/v2/a/blobs/x?...");
    }

    #[test]
    fn error_bodies_of_several_registries_are_understood() {
        let show = |body: &str| Messages::parse(body.as_bytes()).to_string();
        assert_eq!(show(r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no such"}]}"#), ": NAME_UNKNOWN: no such");
        assert_eq!(show(r#"{"details":"incorrect username or password"}"#), ": incorrect username or password");
        assert_eq!(show(r#"{"errors":[{"code":404,"message":"x"},{}]}"#), ": 404: x; ");
        assert_eq!(show("toomanyrequests: slow down\nmore"), ": toomanyrequests: slow down");
        assert_eq!(show("<html>no</html>"), "");
        assert_eq!(show(""), "");
    }

    #[test]
    fn terminal_escapes_in_messages_are_escaped() {
        let shown = Messages::parse(b"{\"errors\":[{\"code\":\"A\",\"message\":\"\\u001b[2J\\u202e\"}]}").to_string();
        assert_eq!(shown, ": A: \\u{1b}[2J\\u{202e}");
    }
}
