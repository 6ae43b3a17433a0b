//! What the caller decides about connections. Nothing here is read from the environment.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::credentials::Credentials;

/// How a [`crate::RegistryClient`] connects.
#[derive(Debug)]
pub struct Options {
    /// The credentials to use, by registry.
    pub credentials: Credentials,
    /// Registries, as `host` or `host:port`, whose certificate is not checked and which may speak plain HTTP.
    /// An entry without a port covers every port of the host.
    pub insecure: Vec<String>,
    /// Registries, as `host` or `host:port`, that are spoken to in plain HTTP without asking whether they have TLS.
    pub plain_http: Vec<String>,
    /// Loopback registries, as `host` or `host:port`, that speak TLS; others on loopback are spoken to in plain HTTP.
    pub loopback_with_tls: Vec<String>,
    /// By registry, as `host` or `host:port`: the hosts that may receive its credentials as its token server, although they
    /// are not part of its own domain.
    pub token_hosts: BTreeMap<String, Vec<String>>,
    /// Certificates to trust besides the system's: PEM files' content, each with one or more certificates.
    pub ca_certificates: Vec<Vec<u8>>,
    /// What else holds for TLS with single registries, as `host` or `host:port`. One on loopback that is here speaks TLS.
    pub host_tls: BTreeMap<String, HostTls>,
    /// Proxies. Loopback registries are always reached directly.
    pub proxies: Proxies,
    /// Where to look first when pulling, in order.
    pub mirrors: Vec<Mirror>,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How often to try again.
    pub retries: Retries,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            credentials: Credentials::none(),
            insecure: Vec::new(),
            plain_http: Vec::new(),
            loopback_with_tls: Vec::new(),
            token_hosts: BTreeMap::new(),
            ca_certificates: Vec::new(),
            host_tls: BTreeMap::new(),
            proxies: Proxies::default(),
            mirrors: Vec::new(),
            user_agent: concat!("bake/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeouts: Timeouts::default(),
            retries: Retries::default(),
        }
    }
}

/// TLS with one registry.
#[derive(Clone, Default)]
pub struct HostTls {
    /// Certificates to trust for it besides those that are trusted for all: PEM files' content.
    pub ca_certificates: Vec<Vec<u8>>,
    /// Who we are to it: PEM with our certificate, those that lead to its authority, and our key. Sent to no other host.
    pub client_certificate: Option<Vec<u8>>,
    /// Why the certificates are not here although there are some: told by whatever needs this host.
    pub unusable: Option<String>,
}

impl fmt::Debug for HostTls {
    /// The key of the certificate is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostTls")
            .field("ca_certificates", &self.ca_certificates.len())
            .field("client_certificate", &self.client_certificate.is_some())
            .field("unusable", &self.unusable)
            .finish()
    }
}

/// A registry that holds copies of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The registry it mirrors, as it stands in a canonical reference, such as `docker.io`.
    pub of: String,
    /// Where it is: `host` or `host:port`.
    pub host: String,
}

/// Proxy URLs, as in the environment variables `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http` URLs.
    pub http: Option<String>,
    /// For `https` URLs.
    pub https: Option<String>,
    /// Hosts that are reached directly.
    pub no_proxy: Option<String>,
}

impl fmt::Debug for Proxies {
    /// Proxy URLs may hold a password, so only their presence is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// Limits on waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// For the head of a response, and for a body (either way) to make progress: fewer than
    /// [`Timeouts::IDLE_BYTES_MIN`] bytes in this time count as none.
    pub idle: Duration,
    /// For the answer after a whole blob has been sent: the registry may be copying it to where it keeps blobs.
    pub commit: Duration,
    /// For a manifest, token or tag list as a whole.
    pub small: Duration,
    /// For one operation as a whole, retries included; `None` for no limit.
    pub total: Option<Duration>,
}

impl Timeouts {
    /// The fewest bytes per `idle` that count as progress: 1 KiB in 30 s is slower than any line people still use,
    /// and stops a server that sends a byte a second to keep us for ever.
    pub const IDLE_BYTES_MIN: u64 = 1024;
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            idle: Duration::from_secs(30),
            commit: Duration::from_mins(5),
            small: Duration::from_mins(2),
            total: None,
        }
    }
}

/// Limits on trying again, after a broken connection or a status that says "not now" (408, 429, 5xx).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How often to try again after the first attempt. A blob that made at least 1 MiB of progress starts counting anew.
    pub retries_max: u32,
    /// The wait before the first retry; it doubles each time, and a random half of it is taken off.
    pub wait: Duration,
    /// The longest wait of our own choice.
    pub wait_max: Duration,
    /// The longest wait a registry may ask for by `Retry-After`; a longer one is an error at once.
    pub retry_after_max: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            retries_max: 5,
            wait: Duration::from_millis(500),
            wait_max: Duration::from_secs(20),
            retry_after_max: Duration::from_mins(2),
        }
    }
}
