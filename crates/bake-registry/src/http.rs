//! HTTP as this crate speaks it, for other services that keep blobs: object stores, the cache of a CI service.
//!
//! Connections, proxies, TLS, time limits, retries, resumed downloads and redacted errors are those of
//! [`crate::RegistryClient`]. What is not: such a service is one that the user named, so it may be at any address; its
//! requests are authenticated by whoever makes them; redirects are answers like others.

use reqwest::{Response, StatusCode, Url};

use crate::address::Reach;
use crate::endpoint::Security;
use crate::error::{ERROR_BODY_BYTES_MAX, Messages, RegistryError, RegistryFailure};
use crate::options::{Options, Retries};
use crate::pull::{BlobDescriptor, FETCH_STATUSES, Fetch, Writer};
use crate::sink::BlobSink;
use crate::transport::Transport;

pub use crate::error::{printable, redact};
pub use crate::retry::{Attempts, parse_http_date, retry_after};
pub use crate::transport::{Call, Payload, Reopen};

/// A client of services that are no registries. All methods need a tokio runtime with time and I/O enabled.
pub struct HttpClient {
    transport: Transport,
    retries: Retries,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient").field("retries", &self.retries).finish_non_exhaustive()
    }
}

impl HttpClient {
    /// Makes a client; nothing is connected yet. Of `options` it uses certificates, proxies, user agent, timeouts and
    /// retries. Fails for unusable certificates, proxies or user agents.
    pub fn new(options: &Options) -> Result<Self, RegistryError> {
        use crate::error::Attempt;
        let transport = Transport::new(options).attempt(|| "set up the HTTP client".to_owned())?;
        Ok(Self { transport, retries: options.retries })
    }

    /// Allows this many attempts, the first one included, instead of those of the options.
    #[must_use]
    pub fn with_attempts_max(mut self, attempts_max: u32) -> Self {
        self.retries.retries_max = attempts_max.saturating_sub(1);
        self
    }

    /// The limits on trying again.
    pub fn retries(&self) -> Retries {
        self.retries
    }

    /// Counts the attempts of an operation that is about to begin.
    pub fn attempts(&self) -> Attempts {
        Attempts::new(self.retries)
    }

    /// Sends one request, once, and waits for the head of its response, whatever its status is.
    pub async fn send(&self, call: &Call) -> Result<Response, Box<RegistryFailure>> {
        let security = if call.url.scheme() == "http" { Security::Plain } else { Security::Tls };
        self.transport.send(call, security, Reach::Any, None).await
    }

    /// Reads a response of at most `limit` bytes; `what` names it in the error for a longer one.
    pub async fn read_small(
        &self,
        url: &Url,
        response: Response,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>, Box<RegistryFailure>> {
        crate::client::read_small(&self.transport, url, response, limit, what).await
    }

    /// What a response with an unwanted status means; `messages` reads the service's own words from its body, of which
    /// it is shown 64 KiB at most.
    pub async fn failure_of(
        &self,
        url: &Url,
        response: Response,
        messages: impl Fn(&[u8]) -> Messages,
    ) -> Box<RegistryFailure> {
        let status = response.status();
        let wait = retry_after(response.headers());
        // The status is what counts; a body that breaks off says nothing more.
        let body = crate::client::read_prefix(&self.transport, url, response, ERROR_BODY_BYTES_MAX).await;
        RegistryFailure::of_status(url, status, wait, true, messages(&body.unwrap_or_default()))
    }

    /// Fetches a blob into `sink`, as [`crate::RegistryClient::fetch_blob`] does.
    ///
    /// `open` asks for the bytes from an offset on (see [`Call::from_byte`]) and gives the URL that was asked and a
    /// response that [`HttpClient::may_be_fetched`]. It is called again after broken connections and failures that pass.
    pub async fn fetch<S, O, F>(
        &self,
        blob: &BlobDescriptor,
        sink: S,
        progress: &(dyn Fn(u64) + Send + Sync),
        open: O,
    ) -> Result<S::Output, Box<RegistryFailure>>
    where
        S: BlobSink,
        O: Fn(u64) -> F,
        F: Future<Output = Result<(Url, Response), Box<RegistryFailure>>>,
    {
        let mut writer = Writer::start(sink, &blob.digest);
        if writer.held > blob.size_bytes {
            writer.restart().await?;
        }
        let idle = self.transport.timeouts.idle;
        Fetch { open, retries: self.retries, idle, blob, progress }.run(&mut writer).await
    }

    /// Whether a response with this status goes on in [`HttpClient::fetch`]: 200, 206 and 416.
    pub fn may_be_fetched(status: StatusCode) -> bool {
        FETCH_STATUSES.contains(&status)
    }
}
