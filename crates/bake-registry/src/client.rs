//! The client: which endpoint is asked, with which credentials, where redirects may lead, and when to try again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bake_oci::Digest;
use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};

use crate::address::Reach;
use crate::auth::{Authenticator, security_of};
use crate::endpoint::{Endpoint, Scheme, Security, scheme_of};
use crate::error::{ERROR_BODY_BYTES_MAX, Messages, Outcome, RegistryFailure, redact};
use crate::options::{Options, Retries};
use crate::push::Sending;
use crate::retry::{Attempts, retry_after};
use crate::transport::{Call, Transport};

/// The most redirects that are followed; registries use one, to their blob storage.
const REDIRECTS_MAX: usize = 5;
/// The longest `Location` that is read; presigned URLs have up to some kilobytes.
const LOCATION_BYTES_MAX: usize = 16 * 1024;

/// A client of registries. It may be used from many tasks at once; connections and tokens are shared between them.
///
/// All methods need a tokio runtime with time and I/O enabled.
pub struct RegistryClient {
    pub(crate) transport: Transport,
    pub(crate) options: Options,
    pub(crate) authenticator: Authenticator,
    probed: tokio::sync::Mutex<HashMap<String, Security>>,
    reaches: Mutex<HashMap<Endpoint, Reach>>,
    /// Blobs that were or are being pushed, by registry.
    pub(crate) sending: Mutex<HashMap<(String, Digest), Sending>>,
    /// Held while a referrers tag is read, changed and written.
    pub(crate) referrers_tag_writing: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryClient").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A response and how it came about.
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// Where it came from, after redirects.
    pub(crate) url: Url,
    /// Whether the request carried an `Authorization` header.
    pub(crate) authorized: bool,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }
}

impl RegistryClient {
    /// Makes a client; nothing is connected yet. Fails for unusable certificates, proxies or user agents.
    pub fn new(mut options: Options) -> Result<Self, crate::RegistryError> {
        use crate::error::Attempt;
        let transport = Transport::new(&options).attempt(|| "set up the registry client".to_owned())?;
        let authenticator = Authenticator::from_options(&mut options);
        Ok(Self {
            transport,
            options,
            authenticator,
            probed: tokio::sync::Mutex::default(),
            reaches: Mutex::default(),
            sending: Mutex::default(),
            referrers_tag_writing: tokio::sync::Mutex::default(),
        })
    }

    /// How it connects; the credentials are not among them any more.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The places to pull `registry`'s content from, in order: its mirrors, then itself.
    pub(crate) async fn pull_endpoints(&self, registry: &str) -> Outcome<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        for mirror in self.options.mirrors.iter().filter(|mirror| mirror.of == registry) {
            match self.security(&mirror.host).await {
                Ok(security) => endpoints.push(Endpoint::new(&mirror.host, security, Some(registry.to_owned()))?),
                Err(failure) => tracing::warn!(mirror = mirror.host, %failure, "the mirror is left out"),
            }
        }
        endpoints.push(self.endpoint(registry).await?);
        Ok(endpoints)
    }

    /// The registry itself.
    pub(crate) async fn endpoint(&self, registry: &str) -> Outcome<Endpoint> {
        Endpoint::new(registry, self.security(registry).await?, None)
    }

    async fn security(&self, registry: &str) -> Outcome<Security> {
        match scheme_of(registry, &self.options)? {
            Scheme::Known(security) => Ok(security),
            Scheme::Probe => {
                // Held while probing, so that one probe serves all who wait.
                let mut probed = self.probed.lock().await;
                if let Some(security) = probed.get(registry) {
                    return Ok(*security);
                }
                let security = self.probe(registry).await?;
                probed.insert(registry.to_owned(), security);
                Ok(security)
            }
        }
    }

    /// TLS when the host speaks it at all, else plain HTTP. Only hosts the user called insecure are probed.
    async fn probe(&self, registry: &str) -> Outcome<Security> {
        let endpoint = Endpoint::new(registry, Security::UncheckedTls, None)?;
        let call = Call::new(Method::GET, endpoint.url(""));
        match self.transport.send(&call, Security::UncheckedTls, Reach::Any, None).await {
            Ok(_) => Ok(Security::UncheckedTls),
            Err(failure) => match *failure {
                RegistryFailure::Tls { .. } | RegistryFailure::Connect { .. } | RegistryFailure::Broken { .. } => {
                    Ok(Security::Plain)
                }
                other => Err(Box::new(other)),
            },
        }
    }

    /// How often to try an endpoint: mirrors once more only, since there is somewhere else to go.
    pub(crate) fn retries_for(&self, endpoint: &Endpoint) -> Retries {
        let retries = self.options.retries;
        if endpoint.mirror_of.is_some() {
            Retries { retries_max: retries.retries_max.min(1), ..retries }
        } else {
            retries
        }
    }

    /// What responses of `endpoint` may lead to; found out once, when the first response leads elsewhere.
    async fn reach(&self, endpoint: &Endpoint) -> Reach {
        if let Some(reach) = self.reaches.lock().unwrap_or_else(PoisonError::into_inner).get(endpoint) {
            return *reach;
        }
        let reach = Reach::from_registry(&endpoint.base).await;
        self.reaches.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.clone(), reach);
        reach
    }

    /// Sends one request, answers one challenge, follows redirects. Any status is an `Ok`.
    ///
    /// The URL may be at another host than the endpoint (an upload location): then it gets no credentials.
    pub(crate) async fn exchange(&self, endpoint: &Endpoint, scopes: &[String], call: &Call) -> Outcome<Answer> {
        let mut challenged = false;
        loop {
            let authorization = if endpoint.owns(&call.url) {
                let reach = self.reach(endpoint).await;
                self.authenticator.header(&self.transport, endpoint, reach, scopes).await?
            } else {
                None
            };
            let (answer, left) = self.send_and_follow(endpoint, call, authorization.as_ref()).await?;
            // Only the registry itself may ask for its credentials, and only once per request.
            if answer.status() != StatusCode::UNAUTHORIZED || left || challenged {
                return Ok(answer);
            }
            challenged = true;
            let reach = self.reach(endpoint).await;
            let headers = answer.response.headers();
            let again = self
                .authenticator
                .challenged(&self.transport, endpoint, reach, scopes, headers, authorization.as_ref())
                .await?;
            if !again {
                return Ok(answer);
            }
        }
    }

    /// Sends the request and follows redirects; also says whether the answer came from outside the endpoint.
    async fn send_and_follow(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        authorization: Option<&HeaderValue>,
    ) -> Outcome<(Answer, bool)> {
        let mut call = call.clone();
        // Once a redirect has left the registry the header stays off, even if another one leads back: whoever stands
        // between must not be able to choose what is asked with our credentials.
        let mut left = !endpoint.owns(&call.url);
        let mut redirects = 0;
        loop {
            let reach = if left { self.reach(endpoint).await } else { Reach::Any };
            let security = security_of(endpoint, &call.url, &self.options.insecure);
            let header = authorization.filter(|_| !left);
            let response = self.transport.send(&call, security, reach, header).await?;
            if !is_redirect(&call.method, response.status()) {
                let authorized = header.is_some();
                return Ok((Answer { response, url: call.url, authorized }, left));
            }
            let next = follow(&call.url, response.headers())?;
            redirects += 1;
            if redirects > REDIRECTS_MAX {
                let reason = "there are too many redirects";
                return Err(Box::new(RegistryFailure::Refused { from: redact(&call.url), to: redact(&next), reason }));
            }
            left |= !endpoint.owns(&next);
            call.url = next;
        }
    }

    /// Like [`Self::exchange`], but a status outside `accepted` is a failure, and transient failures are tried again.
    pub(crate) async fn request(
        &self,
        endpoint: &Endpoint,
        scopes: &[String],
        call: &Call,
        accepted: &[StatusCode],
    ) -> Outcome<Answer> {
        let mut attempts = Attempts::new(self.retries_for(endpoint));
        loop {
            match self.request_once(endpoint, scopes, call, accepted).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => attempts.wait_after(failure).await?,
            }
        }
    }

    /// Like [`Self::request`], once.
    pub(crate) async fn request_once(
        &self,
        endpoint: &Endpoint,
        scopes: &[String],
        call: &Call,
        accepted: &[StatusCode],
    ) -> Outcome<Answer> {
        let answer = self.exchange(endpoint, scopes, call).await?;
        if accepted.contains(&answer.status()) {
            return Ok(answer);
        }
        Err(self.failure(endpoint, answer).await)
    }

    /// What an answer with an unwanted status means.
    pub(crate) async fn failure(&self, endpoint: &Endpoint, answer: Answer) -> Box<RegistryFailure> {
        let authorized = answer.authorized && self.authenticator.has_credentials(endpoint).await;
        failure_of(&self.transport, &answer.url, answer.response, authorized).await
    }

    /// A request whose response is at most `limit` bytes, which are read whole; tried again when they break off.
    pub(crate) async fn request_small(
        &self,
        endpoint: &Endpoint,
        scopes: &[String],
        call: &Call,
        limit: u64,
        what: &str,
    ) -> Outcome<(Url, HeaderMap, Vec<u8>)> {
        let mut attempts = Attempts::new(self.retries_for(endpoint));
        loop {
            let attempt = async {
                let mut answer = self.request_once(endpoint, scopes, call, &[StatusCode::OK]).await?;
                let headers = std::mem::take(answer.response.headers_mut());
                let body = read_small(&self.transport, &answer.url, answer.response, limit, what).await?;
                Ok((answer.url, headers, body))
            };
            match attempt.await {
                Ok(result) => return Ok(result),
                Err(failure) => attempts.wait_after(failure).await?,
            }
        }
    }

    /// Applies the limit on one operation as a whole.
    pub(crate) async fn within_total<T>(&self, registry: &str, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let Some(limit) = self.options.timeouts.total else { return work.await };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Box::new(RegistryFailure::Timeout { url: registry.to_owned(), what: "the operation", limit }))
        })
    }
}

/// Whether this response sends us elsewhere. 303 and the old forms of 301 and 302 would change a request with a body
/// into a `GET`, which no registry means.
pub(crate) fn is_redirect(method: &Method, status: StatusCode) -> bool {
    match status.as_u16() {
        301..=303 => matches!(*method, Method::GET | Method::HEAD),
        307 | 308 => true,
        _ => false,
    }
}

/// The place that `Location` names, checked: http or https, no user name, and never from https to http.
pub(crate) fn follow(from: &Url, headers: &HeaderMap) -> Outcome<Url> {
    let invalid = |reason: &str| RegistryFailure::protocol(from, reason);
    let value = headers.get(LOCATION).ok_or_else(|| invalid("it has no `Location`"))?;
    let text = value.to_str().map_err(|_| invalid("its `Location` is not text"))?;
    if text.len() > LOCATION_BYTES_MAX {
        return Err(invalid("its `Location` is too long"));
    }
    let mut next = from.join(text).map_err(|_| invalid("its `Location` is not a URL"))?;
    let refused =
        |next: &Url, reason| Err(Box::new(RegistryFailure::Refused { from: redact(from), to: redact(next), reason }));
    if !matches!(next.scheme(), "http" | "https") || next.host_str().is_none_or(str::is_empty) {
        return refused(&next, "it is neither http nor https");
    }
    if from.scheme() == "https" && next.scheme() == "http" {
        return refused(&next, "it would leave TLS");
    }
    if !next.username().is_empty() || next.password().is_some() {
        return refused(&next, "it holds a user name");
    }
    next.set_fragment(None);
    Ok(next)
}

/// Turns a response with an unwanted status into a failure, with what the registry says about it.
pub(crate) async fn failure_of(
    transport: &Transport,
    url: &Url,
    response: Response,
    authorized: bool,
) -> Box<RegistryFailure> {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    // The status is what counts; a body that breaks off says nothing more.
    let body = read_prefix(transport, url, response, ERROR_BODY_BYTES_MAX).await.unwrap_or_default();
    RegistryFailure::of_status(url, status, retry_after, authorized, Messages::parse(&body))
}

/// Reads a response of at most `limit` bytes.
pub(crate) async fn read_small(
    transport: &Transport,
    url: &Url,
    response: Response,
    limit: u64,
    what: &str,
) -> Outcome<Vec<u8>> {
    let too_large = || Box::new(RegistryFailure::TooLarge { what: what.to_owned(), limit });
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let body = read_prefix(transport, url, response, limit + 1).await?;
    if body.len() as u64 > limit { Err(too_large()) } else { Ok(body) }
}

/// Reads up to `limit` bytes of a response and leaves the rest.
pub(crate) async fn read_prefix(
    transport: &Transport,
    url: &Url,
    mut response: Response,
    limit: u64,
) -> Outcome<Vec<u8>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let read = async {
        let mut body = Vec::new();
        while body.len() < limit {
            let chunk = response.chunk().await.map_err(|error| RegistryFailure::from_http(url, error))?;
            let Some(chunk) = chunk else { break };
            let take = chunk.len().min(limit - body.len());
            body.extend_from_slice(&chunk[..take]);
        }
        Ok(body)
    };
    let limit = transport.timeouts.small;
    tokio::time::timeout(limit, read)
        .await
        .unwrap_or_else(|_| Err(Box::new(RegistryFailure::Timeout { url: redact(url), what: "the response", limit })))
}
