//! HTTP sources: the file of `ADD https://...`.
//!
//! The result is a layer with one file. What the server said of it (entity tag, time of last change) is remembered, so
//! that the next build asks whether it changed instead of fetching it again.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bake_graph::{HttpSource, without_credentials};
use bake_oci::{Digest, Digester};
use bake_solver::{BuildEvent, Layer, StepError};
use reqwest::header::{AUTHORIZATION, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use serde::{Deserialize, Serialize};

use crate::grants::StepGrants;
use crate::worker::{LinuxWorker, Report, store_failed};

/// The largest file that is fetched.
const BYTES_MAX: u64 = 64 << 30;
/// How long a server may be silent.
const IDLE: Duration = Duration::from_mins(1);
/// How often a redirect is followed.
const REDIRECTS_MAX: usize = 10;
/// The part of the store's memory where fetched files are noted.
const FETCHED: &str = "http-files";

/// What is remembered of a file.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    etag: Option<String>,
    last_modified: Option<String>,
    layer: Layer,
    /// Of its bytes; unknown where an earlier version fetched it.
    #[serde(default)]
    digest: Option<Digest>,
}

impl LinuxWorker {
    pub(crate) fn http(&self, source: &HttpSource, report: &Report<'_>) -> Result<Layer, StepError> {
        self.http_file(source, report).map(|file| file.layer)
    }

    /// When the server says that a file was last changed, in seconds since 1970.
    pub(crate) fn http_last_modified(
        &self,
        source: &HttpSource,
        report: &Report<'_>,
    ) -> Result<Option<i64>, StepError> {
        let time = self.http_file(source, report)?.last_modified.as_deref().and_then(http_date);
        Ok(time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).and_then(|age| i64::try_from(age.as_secs()).ok()))
    }

    fn http_file(&self, source: &HttpSource, report: &Report<'_>) -> Result<Remembered, StepError> {
        let name = format!("{} {}", source.url, source.checksum.as_ref().map(ToString::to_string).unwrap_or_default());
        let known = self.recall_layer(FETCHED, &name)?;
        let known = known.and_then(|(_, value)| serde_json::from_slice::<Remembered>(&value).ok());
        // Content that was checked against a checksum cannot have changed.
        let known = match (known, &source.checksum) {
            (Some(known), Some(digest)) => {
                self.fetched.note_file(source, digest.clone());
                return Ok(known);
            }
            (known, _) => known,
        };
        let (runtime, _) = self
            .options
            .network
            .start()
            .map_err(|error| StepError::environment(crate::images::chain_of(&error), error.to_string()))?;
        let fetched = runtime.block_on(self.fetch(source, known.as_ref(), report))?;
        let Some((layer, digest, headers)) = fetched else {
            return match known {
                Some(known) => {
                    if let Some(digest) = &known.digest {
                        self.fetched.note_file(source, digest.clone());
                    }
                    Ok(known)
                }
                None => Err(StepError::input(format!(
                    "`{}` answered that nothing changed, but nothing was fetched before",
                    source.url
                ))),
            };
        };
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
        self.fetched.note_file(source, digest.clone());
        let remembered =
            Remembered { etag: text(ETAG), last_modified: text(LAST_MODIFIED), layer, digest: Some(digest) };
        self.remember_layer(FETCHED, &name, &remembered)?;
        Ok(remembered)
    }

    async fn fetch(
        &self,
        source: &HttpSource,
        known: Option<&Remembered>,
        report: &Report<'_>,
    ) -> Result<Option<(Layer, Digest, HeaderMap)>, StepError> {
        let shown = redacted(&source.url);
        let failed = |error: reqwest::Error| {
            StepError::environment(
                format!("cannot fetch `{shown}`: {}", crate::images::chain_of(&error.without_url())),
                "the transfer failed",
            )
        };
        let redirects = reqwest::redirect::Policy::custom(|attempt| {
            let downgrade = attempt.previous().last().is_some_and(|from| from.scheme() == "https")
                && attempt.url().scheme() != "https";
            if downgrade {
                attempt.error("refused to follow a redirect from https to http")
            } else if attempt.previous().len() > REDIRECTS_MAX {
                attempt.error("too many redirects")
            } else {
                attempt.follow()
            }
        });
        let client = reqwest::Client::builder()
            .redirect(redirects)
            .connect_timeout(IDLE)
            .read_timeout(IDLE)
            .user_agent(concat!("bake/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(failed)?;
        let mut request = client.get(&source.url);
        if let Some(header) = http_authorization(self.grants(report.source), &source.url)? {
            request = request.header(AUTHORIZATION, header);
        }
        if let Some(known) = known {
            if let Some(etag) = &known.etag {
                request = request.header(IF_NONE_MATCH, etag);
            }
            if let Some(time) = &known.last_modified {
                request = request.header(IF_MODIFIED_SINCE, time);
            }
        }
        let mut response = request.send().await.map_err(failed)?;
        if response.status() == reqwest::StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        if !response.status().is_success() {
            return Err(StepError::input(format!("cannot fetch `{shown}`: the server answered {}", response.status())));
        }
        let headers = response.headers().clone();
        let snapshot = self.options.store.begin_snapshot().map_err(|error| store_failed(&error))?;
        let path = snapshot.fs().join(HttpSource::FILE_NAME);
        let write_failed =
            |error: std::io::Error| StepError::environment(format!("cannot write `{shown}` to the store"), error);
        let mut file = File::create_new(&path).map_err(write_failed)?;
        let mut digester = Digester::new();
        let mut bytes = 0u64;
        let total = response.content_length();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            bytes += chunk.len() as u64;
            if bytes > BYTES_MAX {
                return Err(StepError::input(format!("`{shown}` is larger than {BYTES_MAX} bytes")));
            }
            digester.update(&chunk);
            file.write_all(&chunk).map_err(write_failed)?;
            let id = shown.clone();
            report.events.send(BuildEvent::Transfer { step: report.step, id, current: bytes, total });
        }
        let digest = digester.finish();
        if let Some(expected) = &source.checksum
            && *expected != digest
        {
            return Err(StepError::input(format!("digest mismatch of `{shown}`: expected {expected}, got {digest}")));
        }
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(write_failed)?;
        let modified =
            headers.get(LAST_MODIFIED).and_then(|value| value.to_str().ok()).and_then(http_date).unwrap_or(UNIX_EPOCH);
        file.set_modified(modified).map_err(write_failed)?;
        drop(file);
        let layer = self.publish_source(snapshot, report)?;
        Ok(Some((layer, digest, headers)))
    }
}

/// The value of the `Authorization` header for an address, where the caller of the build gave the secret `HTTP_AUTH_HEADER_HOST` or
/// `HTTP_AUTH_TOKEN_HOST`. It goes to this host only: a redirect to another one is followed without it.
fn http_authorization(grants: &StepGrants, url: &str) -> Result<Option<HeaderValue>, StepError> {
    let Ok(address) = reqwest::Url::parse(url) else { return Ok(None) };
    let Some(host) = address.host_str() else { return Ok(None) };
    let with_port = address.port().map(|port| format!("{host}:{port}"));
    let ids = |base: &str| -> Vec<String> {
        with_port.iter().map(String::as_str).chain([host]).map(|host| format!("{base}_{host}")).collect()
    };
    let header = grants
        .first_secret(&ids("HTTP_AUTH_HEADER"))
        .or_else(|| grants.first_secret(&ids("HTTP_AUTH_TOKEN")).map(|token| format!("Bearer {token}")));
    let Some(header) = header else { return Ok(None) };
    let mut value = HeaderValue::from_str(&header)
        .map_err(|_| StepError::input(format!("the secret for `{host}` cannot be the value of a header")))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The address without user name, password and query.
fn redacted(url: &str) -> String {
    without_credentials(url.split(['?', '#']).next().unwrap_or_default())
}

/// A date of HTTP in one of its three forms (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`, and the obsolete
/// `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`.
fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = text.split([' ', '-']).filter(|part| !part.is_empty()).collect();
    let ([_, day, month, year, time, "GMT"] | [_, month, day, time, year]) = parts[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let (day, year) = (day.parse::<u8>().ok()?, year.parse::<u16>().ok()?);
    let year = match year {
        0..69 => year + 2000,
        69..100 => year + 1900,
        _ => year,
    };
    let rfc3339 = format!("{year:04}-{month:02}-{day:02}T{time}Z");
    let stamp = bake_oci::Timestamp::parse_rfc3339(&rfc3339).ok()?;
    Some(UNIX_EPOCH + Duration::new(u64::try_from(stamp.seconds).ok()?, stamp.nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http() {
        let date = http_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date, Some(UNIX_EPOCH + Duration::from_secs(784_111_777)));
        assert_eq!(http_date("Sunday, 06-Nov-94 08:49:37 GMT"), date);
        assert_eq!(http_date("Sun Nov  6 08:49:37 1994"), date);
        assert_eq!(http_date("yesterday"), None);
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(redacted("https://user:secret@host:1/a?token=x"), "https://host:1/a");
    }
}
