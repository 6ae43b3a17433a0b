//! Which cache of GitHub Actions, and how it is reached.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bake_registry::Secret;
use bake_registry::http::redact;
use reqwest::Url;

use crate::BackendError;
use crate::attributes::{Attributes, refuse};

/// The longest scope, in bytes: keys may have 512, and the scope may be written with three for one.
const SCOPE_BYTES_MAX: usize = 128;

/// Which cache of GitHub Actions, and how it is reached.
#[derive(Clone)]
pub struct GhaOptions {
    /// The service, `ACTIONS_RESULTS_URL` of a job.
    pub url: String,
    /// What lets a job use it, `ACTIONS_RUNTIME_TOKEN` of a job.
    pub token: Secret,
    /// The name of the cache: exports with different scopes do not replace each other.
    pub scope: String,
    /// How long reading the document, fetching one blob, or a whole export may take.
    pub timeout: Duration,
}

impl fmt::Debug for GhaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GhaOptions").field("scope", &self.scope).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl GhaOptions {
    /// A cache with the scope `bake` and ten minutes for each operation.
    pub fn new(url: &str, token: Secret) -> Self {
        Self { url: url.to_owned(), token, scope: "bake".to_owned(), timeout: Duration::from_mins(10) }
    }

    /// Reads the attributes of `type=gha,...`: `url_v2` (or `url`), `token`, `scope`, `timeout`, `version` (only 2).
    ///
    /// Others are errors: the caller takes out those that all types of caches have. `variable` looks up
    /// `ACTIONS_RESULTS_URL` and `ACTIONS_RUNTIME_TOKEN` for what is not given.
    pub fn from_attributes(
        attributes: &BTreeMap<String, String>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, BackendError> {
        let mut given = Attributes::new("gha", attributes, variable);
        if given.take("version").is_some_and(|version| version != "2") {
            return Err(given.refuse("`version` is 2: GitHub has switched version 1 off".to_owned()));
        }
        for name in ["repository", "ghtoken"] {
            if given.take(name).is_some() {
                return Err(given.refuse(format!(
                    "`{name}` is not supported: what is cached already is asked of the cache itself, with `token`"
                )));
            }
        }
        let (first, second) = (given.take("url_v2"), given.take("url"));
        let url = match first.or(second).filter(|url| !url.is_empty()) {
            Some(url) => url,
            None => given.required("url_v2", &["ACTIONS_RESULTS_URL"])?,
        };
        let token = given.required("token", &["ACTIONS_RUNTIME_TOKEN"])?;
        let mut options = Self::new(&url, Secret::new(token));
        if let Some(scope) = given.take("scope").filter(|scope| !scope.is_empty()) {
            options.scope = scope;
        }
        if let Some(timeout) = given.duration("timeout")? {
            options.timeout = timeout;
        }
        given.finish()?;
        Ok(options)
    }

    /// Checks everything that ends up in requests; the URL ends with `/`.
    pub(super) fn service_url(&self) -> Result<Url, BackendError> {
        let invalid = |reason: String| Err(refuse("gha", reason));
        if !(1..=SCOPE_BYTES_MAX).contains(&self.scope.len()) {
            return invalid(format!("`scope` has between 1 and {SCOPE_BYTES_MAX} bytes"));
        }
        if self.token.expose().is_empty() || !self.token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return invalid("`token` cannot be sent in a header".to_owned());
        }
        if self.timeout.is_zero() {
            return invalid("`timeout` leaves no time".to_owned());
        }
        let Ok(mut url) = Url::parse(&self.url) else { return invalid("`url_v2` is not a URL".to_owned()) };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return invalid("`url_v2` is neither http nor https".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return invalid(format!("`{}` holds more than scheme, host, port and path", redact(&url)));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(url)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn read(attributes: &[(&str, &str)]) -> Result<GhaOptions, String> {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let variable = |name: &str| match name {
            "ACTIONS_RESULTS_URL" => Some("https://results.example.com/".to_owned()),
            "ACTIONS_RUNTIME_TOKEN" => Some("hush".to_owned()),
            _ => None,
        };
        GhaOptions::from_attributes(&attributes, &variable)
            .and_then(|options| options.service_url().map(|_| options))
            .map_err(|error| format!("{error}: {}", error.source))
    }

    #[test]
    fn attributes_and_variables() {
        let options = read(&[]).unwrap();
        assert_eq!(options.service_url().unwrap().as_str(), "https://results.example.com/");
        assert_eq!((options.scope.as_str(), options.timeout), ("bake", Duration::from_mins(10)));
        assert!(!format!("{options:?}").contains("hush"));
        let given = [("url_v2", "http://127.0.0.1:1/a"), ("url", "x"), ("scope", "s"), ("timeout", "5m")];
        let options = read(&given).unwrap();
        assert_eq!(options.service_url().unwrap().as_str(), "http://127.0.0.1:1/a/");
        assert_eq!((options.scope.as_str(), options.timeout), ("s", Duration::from_mins(5)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (name, value, part) in [
            ("version", "1", "switched version 1 off"),
            ("repository", "a/b", "`repository` is not supported"),
            ("ghtoken", "hush", "`ghtoken` is not supported"),
            ("url", "ftp://x", "neither http"),
            ("url_v2", "https://me:hush@example.com/", "more than scheme"),
            ("token", "hush\n", "`token` cannot be sent"),
            ("timeout", "0", "no time"),
            ("colour", "red", "no option `colour`"),
        ] {
            let message = read(&[(name, value)]).unwrap_err();
            assert!(message.contains(part) && !message.contains("hush"), "{name}={value}: {message}");
        }
    }
}
