//! Proving who we are: Basic, and Bearer by the distribution token specification.
//!
//! A secret goes to the registry's own scheme, host and port, or to a token server that belongs to it; a token goes to
//! the registry that it was asked for and nowhere else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::address::{Reach, literal_address};
use crate::challenge::{self, Challenge};
use crate::client::{failure_of, follow, is_redirect, read_small};
use crate::credentials::{Credential, Credentials, Secret};
use crate::endpoint::{Endpoint, Security, names_host};
use crate::error::{Outcome, RegistryFailure, printable, redact};
use crate::options::{Options, Retries};
use crate::retry::Attempts;
use crate::transport::{Call, Payload, Transport};

/// The largest answer of a token server; the largest tokens seen have some kilobytes.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;
/// How long a token is good for when the server does not say (distribution token specification).
const TOKEN_LIFE_DEFAULT: Duration = Duration::from_mins(1);
/// The longest life that is believed.
const TOKEN_LIFE_MAX: Duration = Duration::from_hours(24);
/// A token is not used in the last part of its life: the request has to arrive while it is still good.
const TOKEN_LIFE_MARGIN: Duration = Duration::from_secs(10);
/// The most redirects within the token server.
const TOKEN_REDIRECTS_MAX: usize = 5;
/// What we call ourselves to token servers.
const CLIENT_ID: &str = "bake";
/// The longest scope of a challenge that is passed on.
const SCOPE_BYTES_MAX: usize = 256;

/// Token servers outside the registry's own domain that belong to the same operator, as (domain, token server).
const TOKEN_SERVERS: [(&str, &str); 1] = [("redhat.io", "sso.redhat.com")];

/// Domains in which anybody can get a name, so two names below them need not belong to one operator.
const SHARED_DOMAINS: [&str; 14] = [
    "amazonaws.com",
    "azurecr.io",
    "azurewebsites.net",
    "cloudfront.net",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "herokuapp.com",
    "netlify.app",
    "ngrok.io",
    "pages.dev",
    "run.app",
    "vercel.app",
    "workers.dev",
];

/// Second-level labels below which country registries sell names.
const COUNTRY_LABELS: [&str; 10] = ["ac", "co", "com", "edu", "go", "gov", "ne", "net", "or", "org"];

/// Holds the credentials and the tokens got with them.
pub(crate) struct Authenticator {
    credentials: Credentials,
    token_hosts: BTreeMap<String, Vec<String>>,
    insecure: Vec<String>,
    retries: Retries,
    challenges: Mutex<HashMap<Endpoint, Challenge>>,
    tokens: Mutex<HashMap<(Endpoint, Vec<String>), TokenSlot>>,
    /// Whether token servers are asked for an identity token, as at a login.
    identity_token_wanted: bool,
    identity_token: Mutex<Option<Secret>>,
}

/// Several requests that need the same token wait for one fetch.
type TokenSlot = Arc<tokio::sync::Mutex<Option<Token>>>;

struct Token {
    header: HeaderValue,
    good_until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    refresh_token: Option<Secret>,
}

impl Authenticator {
    pub(crate) fn new(
        credentials: Credentials,
        token_hosts: BTreeMap<String, Vec<String>>,
        insecure: Vec<String>,
        retries: Retries,
    ) -> Self {
        Self {
            credentials,
            token_hosts,
            insecure,
            retries,
            challenges: Mutex::new(HashMap::new()),
            tokens: Mutex::new(HashMap::new()),
            identity_token_wanted: false,
            identity_token: Mutex::new(None),
        }
    }

    /// Asks token servers for an identity token from now on.
    pub(crate) fn wants_identity_token(&mut self) {
        self.identity_token_wanted = true;
    }

    /// The identity token that the last token server gave.
    pub(crate) fn identity_token(&self) -> Option<Secret> {
        self.identity_token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn from_options(options: &mut Options) -> Self {
        let credentials = std::mem::replace(&mut options.credentials, Credentials::none());
        Self::new(credentials, options.token_hosts.clone(), options.insecure.clone(), options.retries)
    }

    /// The header for a request that needs `scopes`, as far as the endpoint has said what it wants.
    pub(crate) async fn header(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        reach: Reach,
        scopes: &[String],
    ) -> Outcome<Option<HeaderValue>> {
        let challenge = self.challenges.lock().unwrap_or_else(PoisonError::into_inner).get(endpoint).cloned();
        match challenge {
            Some(challenge) => self.prove(transport, endpoint, reach, scopes, &challenge, None).await,
            None => Ok(None),
        }
    }

    /// Whether there are credentials for the endpoint: an anonymous token is none.
    pub(crate) async fn has_credentials(&self, endpoint: &Endpoint) -> bool {
        matches!(self.credentials.lookup(&endpoint.registry).await, Ok(Some(_)))
    }

    /// Takes in the challenge of a 401; whether the request is worth sending again. `rejected` is the header it was
    /// sent with.
    pub(crate) async fn challenged(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        reach: Reach,
        scopes: &[String],
        headers: &HeaderMap,
        rejected: Option<&HeaderValue>,
    ) -> Outcome<bool> {
        let Some(challenge) = challenge::choose(headers) else { return Ok(false) };
        let header = self.prove(transport, endpoint, reach, scopes, &challenge, rejected).await?;
        self.challenges.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.clone(), challenge);
        Ok(header.is_some_and(|header| Some(&header) != rejected))
    }

    async fn prove(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        reach: Reach,
        scopes: &[String],
        challenge: &Challenge,
        rejected: Option<&HeaderValue>,
    ) -> Outcome<Option<HeaderValue>> {
        let found = self.credentials.lookup(&endpoint.registry).await;
        let credential = found
            .map_err(|source| Box::new(RegistryFailure::Credentials { registry: endpoint.registry.clone(), source }))?;
        if let Some(Credential::RegistryToken(token)) = credential.as_deref() {
            return secret_header(endpoint, &format!("Bearer {}", token.expose())).map(Some);
        }
        match challenge {
            Challenge::Basic => match credential.as_deref() {
                Some(Credential::Login { user, secret }) => {
                    secret_header(endpoint, &basic(user, secret.expose())).map(Some)
                }
                _ => Ok(None),
            },
            Challenge::Bearer { realm, service, scope } => {
                let ask = TokenRequest {
                    endpoint,
                    reach,
                    scopes,
                    realm,
                    service: service.as_deref(),
                    scope: scope.as_deref(),
                };
                self.token(transport, &ask, credential.as_deref(), rejected).await.map(Some)
            }
        }
    }

    /// The cached token unless it was `rejected` or is about to expire, else a new one.
    async fn token(
        &self,
        transport: &Transport,
        ask: &TokenRequest<'_>,
        credential: Option<&Credential>,
        rejected: Option<&HeaderValue>,
    ) -> Outcome<HeaderValue> {
        let key = (ask.endpoint.clone(), ask.all_scopes());
        let slot = {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(tokens.entry(key).or_default())
        };
        let mut slot = slot.lock().await;
        if let Some(token) = slot.as_ref().filter(|token| Some(&token.header) != rejected)
            && token.good_until > Instant::now()
        {
            return Ok(token.header.clone());
        }
        *slot = None;
        let realm = self.check_realm(ask, credential.is_some())?;
        let mut attempts = Attempts::new(self.retries);
        let token = loop {
            match self.fetch(transport, ask, &realm, credential).await {
                Ok(token) => break token,
                Err(failure) => attempts.wait_after(failure).await?,
            }
        };
        let header = token.header.clone();
        *slot = Some(token);
        Ok(header)
    }

    async fn fetch(
        &self,
        transport: &Transport,
        ask: &TokenRequest<'_>,
        realm: &Url,
        credential: Option<&Credential>,
    ) -> Outcome<Token> {
        let started = Instant::now();
        let (mut call, authorization) = token_call(ask, realm, credential)?;
        if self.identity_token_wanted && call.method == Method::GET {
            call.url.query_pairs_mut().append_pair("offline_token", "true").append_pair("client_id", CLIENT_ID);
        }
        // The token server is often the registry itself, which may be anywhere.
        let reach = if ask.endpoint.owns(realm) { Reach::Any } else { ask.reach };
        let mut redirects = 0;
        let response = loop {
            let security = self.security_of(ask.endpoint, &call.url);
            let response = transport.send(&call, security, reach, authorization.as_ref()).await?;
            if !is_redirect(&call.method, response.status()) {
                break response;
            }
            let next = follow(&call.url, response.headers())?;
            redirects += 1;
            if next.origin() != realm.origin() || redirects > TOKEN_REDIRECTS_MAX || call.method != Method::GET {
                let reason = "a token server may redirect only within itself";
                return Err(Box::new(RegistryFailure::Refused { from: redact(&call.url), to: redact(&next), reason }));
            }
            call.url = next;
        };
        if !response.status().is_success() {
            return Err(failure_of(transport, &call.url, response, credential.is_some()).await);
        }
        let what = format!("the token of {}", redact(&call.url));
        let body = read_small(transport, &call.url, response, TOKEN_BYTES_MAX, &what).await?;
        let invalid = |reason: &str| {
            Box::new(RegistryFailure::Authentication { url: redact(&call.url), reason: reason.to_owned() })
        };
        let answer: TokenAnswer =
            serde_json::from_slice(&body).map_err(|_| invalid("the token server sent no valid JSON"))?;
        let text = answer.token.filter(|token| !token.is_empty()).or(answer.access_token).unwrap_or_default();
        if text.is_empty() {
            return Err(invalid("the token server sent no token"));
        }
        let header = secret_header(ask.endpoint, &format!("Bearer {text}"))?;
        if self.identity_token_wanted {
            let token = answer.refresh_token.filter(|token| !token.expose().is_empty());
            *self.identity_token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        }
        let life = answer.expires_in.map_or(TOKEN_LIFE_DEFAULT, Duration::from_secs).min(TOKEN_LIFE_MAX);
        let margin = TOKEN_LIFE_MARGIN.min(life / 4);
        Ok(Token { header, good_until: started + life.saturating_sub(margin) })
    }

    fn security_of(&self, endpoint: &Endpoint, url: &Url) -> Security {
        security_of(endpoint, url, &self.insecure)
    }

    /// Decides whether the token server that a registry names may be talked to, and with credentials.
    fn check_realm(&self, ask: &TokenRequest<'_>, has_credentials: bool) -> Outcome<Url> {
        let base = &ask.endpoint.base;
        let refused = |to: String, reason| Box::new(RegistryFailure::Refused { from: redact(base), to, reason });
        let realm = Url::parse(ask.realm)
            .map_err(|_| refused(printable(ask.realm, 256), "the token server's address is not a URL"))?;
        let refused = |reason| Err(refused(redact(&realm), reason));
        if !matches!(realm.scheme(), "http" | "https") || realm.host_str().is_none_or(str::is_empty) {
            return refused("a token server is reached by http or https");
        }
        if !realm.username().is_empty() || realm.password().is_some() {
            return refused("the token server's address holds a user name");
        }
        if base.scheme() == "https" && realm.scheme() != "https" {
            return refused("a token server of a registry with TLS must have TLS");
        }
        if !ask.endpoint.owns(&realm) && literal_address(&realm).is_some_and(|address| !ask.reach.allows(address)) {
            return refused("a token server of this registry may not be at that address");
        }
        let named = self.token_hosts.get(&ask.endpoint.registry).map_or(&[][..], Vec::as_slice);
        if has_credentials && !belongs_to(&realm, base) && !names_host(named, &host_and_port(&realm)) {
            return refused("credentials are not sent to a token server outside the registry's domain");
        }
        Ok(realm)
    }
}

/// What a token is asked for.
struct TokenRequest<'a> {
    endpoint: &'a Endpoint,
    reach: Reach,
    scopes: &'a [String],
    realm: &'a str,
    service: Option<&'a str>,
    scope: Option<&'a str>,
}

impl TokenRequest<'_> {
    /// Our scopes, and those words of the challenge's scope that are not in the specification's form: some registries
    /// have one word for everything. Anything else a registry suggests is not asked for.
    fn all_scopes(&self) -> Vec<String> {
        let mut scopes = self.scopes.to_vec();
        let suggested = self.scope.filter(|scope| scope.len() <= SCOPE_BYTES_MAX).unwrap_or_default();
        scopes.extend(suggested.split(' ').filter(|word| !word.is_empty() && !word.contains(':')).map(str::to_owned));
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }
}

fn token_call(
    ask: &TokenRequest<'_>,
    realm: &Url,
    credential: Option<&Credential>,
) -> Outcome<(Call, Option<HeaderValue>)> {
    let scopes = ask.all_scopes();
    let json = HeaderValue::from_static("application/json");
    if let Some(Credential::IdentityToken { token, .. }) = credential {
        // The form is built by a URL's query encoder: both are application/x-www-form-urlencoded.
        let mut form = realm.clone();
        form.query_pairs_mut()
            .clear()
            .append_pair("grant_type", "refresh_token")
            .append_pair("service", ask.service.unwrap_or_default())
            .append_pair("client_id", CLIENT_ID)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("refresh_token", token.expose());
        let body = form.query().unwrap_or_default().to_owned();
        let call = Call::new(Method::POST, realm.clone())
            .header(ACCEPT, json)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .payload(Payload::Bytes(Bytes::from(body)));
        return Ok((call, None));
    }
    let mut url = realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = ask.service {
            query.append_pair("service", service);
        }
        for scope in &scopes {
            query.append_pair("scope", scope);
        }
        if let Some(Credential::Login { user, .. }) = credential {
            query.append_pair("account", user);
        }
    }
    let authorization = match credential {
        Some(Credential::Login { user, secret }) => Some(secret_header(ask.endpoint, &basic(user, secret.expose()))?),
        _ => None,
    };
    Ok((Call::new(Method::GET, url).header(ACCEPT, json), authorization))
}

fn basic(user: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{secret}")))
}

/// A header value that is marked as secret, so that the HTTP library neither logs nor compresses it.
fn secret_header(endpoint: &Endpoint, text: &str) -> Outcome<HeaderValue> {
    let invalid = |_| {
        let reason = "the token has characters that cannot be sent".to_owned();
        Box::new(RegistryFailure::Authentication { url: redact(&endpoint.base), reason })
    };
    let mut value = HeaderValue::from_str(text).map_err(invalid)?;
    value.set_sensitive(true);
    Ok(value)
}

/// How `url` is spoken to: the registry's own way, and for other hosts by their scheme and the user's list.
pub(crate) fn security_of(endpoint: &Endpoint, url: &Url, insecure: &[String]) -> Security {
    if endpoint.owns(url) {
        endpoint.security
    } else if url.scheme() == "http" {
        Security::Plain
    } else if names_host(insecure, &host_and_port(url)) {
        Security::UncheckedTls
    } else {
        Security::Tls
    }
}

fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether the token server at `realm` belongs to the registry at `base`: it is the registry itself, or both have TLS
/// and a name in the same domain. Addresses and `localhost` are no domains: there the port makes the difference.
fn belongs_to(realm: &Url, base: &Url) -> bool {
    if realm.origin() == base.origin() {
        return true;
    }
    if realm.scheme() != "https" || base.scheme() != "https" {
        return false;
    }
    if literal_address(realm).is_some() || literal_address(base).is_some() {
        return false;
    }
    let (Some(realm), Some(base)) = (realm.host_str(), base.host_str()) else { return false };
    let (realm, base) = (realm.trim_end_matches('.'), base.trim_end_matches('.'));
    let within = |host: &str, domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
    if realm == base || TOKEN_SERVERS.iter().any(|(domain, server)| within(base, domain) && realm == *server) {
        return true;
    }
    match (own_domain(realm), own_domain(base)) {
        (Some(realm), Some(base)) => realm == base,
        _ => false,
    }
}

/// The part of a host name that one operator owns, by rule of thumb: two labels, three below shared domains and below
/// labels such as `co.uk`. `None` for a single label.
fn own_domain(host: &str) -> Option<&str> {
    let ends: Vec<usize> = host.rmatch_indices('.').map(|(position, _)| position + 1).collect();
    let label_count = ends.len() + 1;
    let tail = |labels: usize| {
        if labels == label_count { Some(host) } else { ends.get(labels - 1).map(|start| &host[*start..]) }
    };
    let two = tail(2)?;
    let (second, top) = two.split_once('.')?;
    if SHARED_DOMAINS.contains(&two) || (top.len() == 2 && COUNTRY_LABELS.contains(&second)) {
        // Below shared domains services such as `x.dkr.ecr.region.amazonaws.com` have more levels: only equal hosts.
        return if SHARED_DOMAINS.contains(&two) { Some(host) } else { tail(3) };
    }
    Some(two)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn token_servers_belong_to_registries() {
        let check = |realm: &str, base: &str| belongs_to(&Url::parse(realm).unwrap(), &Url::parse(base).unwrap());
        for (realm, base) in [
            ("https://auth.docker.io/token", "https://registry-1.docker.io/"),
            ("https://gitlab.com/jwt/auth", "https://registry.gitlab.com/"),
            ("https://ghcr.io/token", "https://ghcr.io/"),
            ("https://corp.example:5001/auth", "https://corp.example:5000/"),
            ("https://sso.redhat.com/auth", "https://registry.redhat.io/"),
            ("http://127.0.0.1:5000/token", "http://127.0.0.1:5000/"),
            ("https://a.b.co.uk/", "https://c.b.co.uk/"),
        ] {
            assert!(check(realm, base), "{realm} {base}");
        }
        for (realm, base) in [
            ("https://evil.example/token", "https://registry-1.docker.io/"),
            ("https://docker.io.evil.example/", "https://registry-1.docker.io/"),
            ("https://evildocker.io/", "https://registry-1.docker.io/"),
            ("http://auth.docker.io/token", "https://registry-1.docker.io/"),
            ("http://auth.corp.example/", "http://registry.corp.example/"),
            ("http://127.0.0.1:5001/token", "http://127.0.0.1:5000/"),
            ("https://127.0.0.1:5001/token", "https://127.0.0.1:5000/"),
            ("https://localhost:5001/token", "https://localhost:5000/"),
            ("https://other.azurecr.io/", "https://mine.azurecr.io/"),
            ("https://evil.co.uk/", "https://b.co.uk/"),
            ("https://com/", "https://registry.example.com/"),
        ] {
            assert!(!check(realm, base), "{realm} {base}");
        }
    }

    #[test]
    fn only_odd_scopes_of_a_challenge_are_passed_on() {
        let endpoint = Endpoint::new("a.example", Security::Tls, None).unwrap();
        let scopes = ["repository:a:pull".to_owned()];
        let ask = |scope| TokenRequest {
            endpoint: &endpoint,
            reach: Reach::Any,
            scopes: &scopes,
            realm: "",
            service: None,
            scope,
        };
        assert_eq!(ask(Some("aws")).all_scopes(), ["aws", "repository:a:pull"]);
        assert_eq!(ask(Some("repository:other:pull,push registry:catalog:*")).all_scopes(), scopes);
        assert_eq!(ask(None).all_scopes(), scopes);
    }
}
