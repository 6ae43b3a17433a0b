//! One HTTP request and the head of its response: connections, proxies, TLS, time limits.
//!
//! Nothing here follows redirects, retries or knows credentials.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RANGE};
use reqwest::{Certificate, Client, Identity, Method, NoProxy, Proxy, Response, Url};
use tokio::sync::mpsc;

use crate::address::{AddressKind, GuardedResolver, Reach, kind_of, literal_address};
use crate::endpoint::{DOCKER_HUB, DOCKER_HUB_API, Security};
use crate::error::{Outcome, RegistryFailure, chain_text, redact};
use crate::options::{HostTls, Options, Proxies, Timeouts};

/// The most bytes of response headers that are accepted; registries send well below 4 KiB.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// The most response headers that are accepted.
const HEADERS_MAX: usize = 100;
/// The size of the pieces a body is sent in.
const PIECE_BYTES: usize = 256 * 1024;
/// How many pieces are read ahead of the network: reading and sending overlap, memory stays bounded.
const PIECES_AHEAD: usize = 4;

/// Opens the bytes to send from their start; called again when they have to be sent again.
pub type Reopen = Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// A request that can be sent more than once.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "headers and queries may hold secrets")]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Where it goes.
    pub url: Url,
    /// Its headers, besides those that the connection needs.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body.
    pub payload: Payload,
}

/// What a request sends.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it may hold secrets")]
pub enum Payload {
    /// No body, and no `Content-Length`.
    None,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes from a reader.
    Reader {
        /// How many; the reader must have as many, and only so many are read.
        size_bytes: u64,
        /// Opens the reader, on a thread that may block.
        reopen: Reopen,
    },
}

impl Payload {
    fn size_bytes(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Reader { size_bytes, .. } => *size_bytes,
        }
    }
}

impl Call {
    /// A request without headers and body.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Vec::new(), payload: Payload::None }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// Asks for the bytes from `offset` on only; 0 asks for everything without a `Range`.
    #[must_use]
    pub fn from_byte(self, offset: u64) -> Self {
        if offset == 0 {
            return self;
        }
        let range = HeaderValue::from_str(&format!("bytes={offset}-")).expect("digits are ASCII");
        self.header(RANGE, range)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    security: Security,
    reach: Reach,
    direct: bool,
    /// The host and port whose own certificates are used.
    own_tls: Option<String>,
}

/// The connections of one client, pooled by what they may reach and how they are secured.
pub(crate) struct Transport {
    user_agent: String,
    certificates: Vec<Certificate>,
    /// By `host` or `host:port`, as in URLs.
    host_tls: BTreeMap<String, HostTls>,
    proxies: Proxies,
    proxy_hosts: Arc<[String]>,
    pub(crate) timeouts: Timeouts,
    clients: Mutex<HashMap<ClientKey, Client>>,
}

impl Transport {
    pub(crate) fn new(options: &Options) -> Outcome<Self> {
        // Another part of the program may have chosen a provider already; that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut certificates = Vec::new();
        for pem in &options.ca_certificates {
            certificates.extend(read_certificates(pem)?);
        }
        let api_host = |registry: &String| if registry == DOCKER_HUB { DOCKER_HUB_API } else { registry }.to_owned();
        let urls = [&options.proxies.http, &options.proxies.https].into_iter().flatten();
        let host = |url: &String| Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
        let transport = Self {
            user_agent: options.user_agent.clone(),
            certificates,
            host_tls: options.host_tls.iter().map(|(registry, tls)| (api_host(registry), tls.clone())).collect(),
            proxies: options.proxies.clone(),
            proxy_hosts: urls.filter_map(host).collect(),
            timeouts: options.timeouts,
            clients: Mutex::new(HashMap::new()),
        };
        // Bad proxies and user agents show at once, not at the first request.
        transport.client(ClientKey { security: Security::Plain, reach: Reach::Any, direct: false, own_tls: None })?;
        Ok(transport)
    }

    /// Sends `call` and waits for the head of the response.
    pub(crate) async fn send(
        &self,
        call: &Call,
        security: Security,
        reach: Reach,
        authorization: Option<&HeaderValue>,
    ) -> Outcome<Response> {
        let literal = literal_address(&call.url);
        if literal.is_some_and(|address| !reach.allows(address)) {
            return Err(Box::new(RegistryFailure::Refused {
                from: "a response".to_owned(),
                to: redact(&call.url),
                reason: "a response of this registry may not lead to that address",
            }));
        }
        let direct = literal.is_some_and(|address| kind_of(address) == AddressKind::Loopback);
        let own_tls = self.own_tls(&call.url).filter(|_| security != Security::Plain);
        let client = self.client(ClientKey { security, reach, direct, own_tls })?;
        let mut request = client.request(call.method.clone(), call.url.clone()).header(ACCEPT_ENCODING, "identity");
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let sent = Arc::new(AtomicU64::new(0));
        let (request, failed_read) = attach(request, &call.payload, &sent);
        let request = request.build().map_err(|error| RegistryFailure::from_http(&call.url, error))?;
        let waiting = pin!(client.execute(request));
        let result = self.wait_for_head(call, waiting, &sent).await;
        // An unreadable source breaks the request; say that, not that the connection broke.
        if result.is_err()
            && let Some(source) = failed_read.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            return Err(Box::new(RegistryFailure::Source { what: "the blob to send".to_owned(), source }));
        }
        let response = result?;
        check_headers(&call.url, response.headers())?;
        Ok(response)
    }

    /// Waits as long as the body makes progress, then for the answer.
    async fn wait_for_head(
        &self,
        call: &Call,
        mut waiting: Pin<&mut impl Future<Output = reqwest::Result<Response>>>,
        sent: &AtomicU64,
    ) -> Outcome<Response> {
        let size = call.payload.size_bytes();
        let timeout = |what, limit| Box::new(RegistryFailure::Timeout { url: redact(&call.url), what, limit });
        loop {
            let before = sent.load(Ordering::Relaxed);
            let all_sent = before >= size;
            let limit = if all_sent && size > 0 { self.timeouts.commit } else { self.timeouts.idle };
            let result = tokio::select! {
                result = &mut waiting => Some(result),
                () = tokio::time::sleep(limit) => None,
            };
            match result {
                Some(result) => return result.map_err(|error| RegistryFailure::from_http(&call.url, error)),
                None if all_sent => return Err(timeout("the answer", limit)),
                None => {
                    let now = sent.load(Ordering::Relaxed);
                    if now < size && now - before < Timeouts::IDLE_BYTES_MIN {
                        return Err(timeout("sending", limit));
                    }
                }
            }
        }
    }

    /// The key of the certificates that are for the host of `url` only.
    fn own_tls(&self, url: &Url) -> Option<String> {
        let host = url.host_str()?;
        // Port 443 is not written in URLs, but may be in what the user wrote.
        let with_port = format!("{host}:{}", url.port_or_known_default()?);
        let found = if self.host_tls.contains_key(&with_port) { with_port } else { host.to_owned() };
        (self.host_tls.contains_key(&found) && (found != host || url.port().is_none())).then_some(found)
    }

    fn client(&self, key: ClientKey) -> Outcome<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(&key)?;
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn build(&self, key: &ClientKey) -> Outcome<Client> {
        let mut certificates = self.certificates.clone();
        let mut identity = None;
        if let Some((host, tls)) = key.own_tls.as_ref().and_then(|host| self.host_tls.get_key_value(host)) {
            let unusable = |reason: &str| {
                Box::new(RegistryFailure::Setup { reason: format!("certificates for `{host}`: {reason}") })
            };
            if let Some(reason) = &tls.unusable {
                return Err(unusable(reason));
            }
            for pem in &tls.ca_certificates {
                certificates.extend(read_certificates(pem).map_err(|failure| unusable(&failure.to_string()))?);
            }
            if let Some(pem) = &tls.client_certificate {
                identity = Some(Identity::from_pem(pem).map_err(|error| unusable(&chain_text(&error)))?);
            }
        }
        let mut builder = Client::builder()
            .user_agent(&self.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(self.timeouts.connect)
            .pool_idle_timeout(Duration::from_mins(1))
            .http1_max_headers(HEADERS_MAX)
            .http2_max_header_list_size(u32::try_from(HEADER_BYTES_MAX).expect("64 KiB fit"))
            .dns_resolver(Arc::new(GuardedResolver::new(key.reach, Arc::clone(&self.proxy_hosts))));
        builder = match key.security {
            Security::Tls if certificates.is_empty() => builder.https_only(true),
            Security::Tls => builder.https_only(true).tls_certs_merge(certificates),
            Security::UncheckedTls => builder.https_only(true).tls_danger_accept_invalid_certs(true),
            // Loading the system's certificates takes milliseconds that plain HTTP need not spend.
            Security::Plain => builder.tls_certs_only([]),
        };
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        if !key.direct {
            let exceptions = || self.proxies.no_proxy.as_deref().and_then(NoProxy::from_string);
            if let Some(url) = &self.proxies.http {
                builder = builder.proxy(Proxy::http(url).map_err(|error| setup(&error))?.no_proxy(exceptions()));
            }
            if let Some(url) = &self.proxies.https {
                builder = builder.proxy(Proxy::https(url).map_err(|error| setup(&error))?.no_proxy(exceptions()));
            }
        }
        builder.build().map_err(|error| setup(&error))
    }
}

fn read_certificates(pem: &[u8]) -> Outcome<Vec<Certificate>> {
    let found = Certificate::from_pem_bundle(pem).map_err(|error| setup(&error))?;
    if found.is_empty() {
        let reason = "a file of CA certificates holds no PEM certificate".to_owned();
        return Err(Box::new(RegistryFailure::Setup { reason }));
    }
    Ok(found)
}

fn setup(error: &reqwest::Error) -> Box<RegistryFailure> {
    Box::new(RegistryFailure::Setup { reason: chain_text(error) })
}

fn check_headers(url: &Url, headers: &HeaderMap) -> Outcome<()> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > HEADER_BYTES_MAX {
        let what = format!("the header of the response of {}", redact(url));
        return Err(Box::new(RegistryFailure::TooLarge { what, limit: HEADER_BYTES_MAX as u64 }));
    }
    Ok(())
}

/// Where the reading thread leaves the error that made it stop.
type FailedRead = Arc<Mutex<Option<io::Error>>>;

fn attach(
    request: reqwest::RequestBuilder,
    payload: &Payload,
    sent: &Arc<AtomicU64>,
) -> (reqwest::RequestBuilder, FailedRead) {
    let failed = FailedRead::default();
    let source = match payload {
        Payload::None => return (request, failed),
        Payload::Bytes(bytes) => Pieces::Memory(bytes.clone()),
        Payload::Reader { size_bytes, reopen } => {
            let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
            let (reopen, size, failed) = (Arc::clone(reopen), *size_bytes, Arc::clone(&failed));
            tokio::task::spawn_blocking(move || read_pieces(&reopen, size, &sender, &failed));
            Pieces::Thread(receiver)
        }
    };
    let body = UploadBody { source, left: payload.size_bytes(), sent: Arc::clone(sent) };
    (request.body(reqwest::Body::wrap(body)), failed)
}

/// Reads exactly `size` bytes into the channel; ends early when the other side is gone.
fn read_pieces(reopen: &Reopen, size: u64, sender: &mpsc::Sender<io::Result<Bytes>>, failed: &FailedRead) {
    let fail = |error: io::Error| {
        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        let _ = sender.blocking_send(Err(io::Error::other("the source of the upload failed")));
    };
    let mut reader = match reopen() {
        Ok(reader) => reader,
        Err(error) => return fail(error),
    };
    let mut left = size;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let mut piece = vec![0; want];
        if let Err(error) = reader.read_exact(&mut piece) {
            return fail(error);
        }
        left -= want as u64;
        if sender.blocking_send(Ok(Bytes::from(piece))).is_err() {
            return;
        }
    }
}

enum Pieces {
    Memory(Bytes),
    Thread(mpsc::Receiver<io::Result<Bytes>>),
}

/// A body of known size that counts what the connection has taken.
struct UploadBody {
    source: Pieces,
    left: u64,
    sent: Arc<AtomicU64>,
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = match &mut self.source {
            Pieces::Memory(bytes) => {
                let size = bytes.len().min(PIECE_BYTES);
                bytes.split_to(size)
            }
            Pieces::Thread(receiver) => match ready!(receiver.poll_recv(context)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
            },
        };
        self.left = self.left.saturating_sub(piece.len() as u64);
        self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
