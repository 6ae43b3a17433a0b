//! Where a registry's API is and how it is spoken to.

use bake_oci::Reference;
use reqwest::Url;

use crate::address::{AddressKind, kind_of, literal_address};
use crate::error::{Outcome, RegistryFailure};
use crate::options::Options;

/// Docker Hub's API is at another host than its references say.
pub(crate) const DOCKER_HUB: &str = "docker.io";
pub(crate) const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// How the connection is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Security {
    /// TLS with a checked certificate.
    Tls,
    /// TLS whose certificate is not checked, because the user named the host as insecure.
    UncheckedTls,
    /// No TLS.
    Plain,
}

/// One server that speaks the distribution API.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// `scheme://host[:port]/`.
    pub(crate) base: Url,
    /// `host[:port]` as the user wrote it: the key of its credentials.
    pub(crate) registry: String,
    pub(crate) security: Security,
    /// The registry this one mirrors, sent as `ns` so that one mirror can serve several.
    pub(crate) mirror_of: Option<String>,
}

/// What is known of an endpoint before anything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Known(Security),
    /// TLS without checks, or plain HTTP when there is no TLS.
    Probe,
}

/// The scheme to use for `registry`, by the user's options and docker's rule for loopback.
pub(crate) fn scheme_of(registry: &str, options: &Options) -> Outcome<Scheme> {
    if names_host(&options.plain_http, registry) {
        return Ok(Scheme::Known(Security::Plain));
    }
    if names_host(&options.insecure, registry) {
        return Ok(Scheme::Probe);
    }
    if options.host_tls.contains_key(registry) {
        return Ok(Scheme::Known(Security::Tls));
    }
    let url = base_url(registry, Security::Plain)?;
    let on_loopback = literal_address(&url).is_some_and(|address| kind_of(address) == AddressKind::Loopback);
    Ok(Scheme::Known(if on_loopback && !names_host(&options.loopback_with_tls, registry) {
        Security::Plain
    } else {
        Security::Tls
    }))
}

/// Whether `list` names `registry`, as `host:port` or as `host` for every port.
pub(crate) fn names_host(list: &[String], registry: &str) -> bool {
    let host = registry.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map(|(h, _)| h);
    list.iter().any(|entry| entry.eq_ignore_ascii_case(registry) || host.is_some_and(|h| entry.eq_ignore_ascii_case(h)))
}

impl Endpoint {
    /// The endpoint of `registry` (`host[:port]`).
    pub(crate) fn new(registry: &str, security: Security, mirror_of: Option<String>) -> Outcome<Self> {
        Ok(Self { base: base_url(registry, security)?, registry: registry.to_owned(), security, mirror_of })
    }

    /// The URL of `path` below `/v2/`; `path` holds only characters that the specification allows in names.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{path}"));
        if let Some(registry) = &self.mirror_of {
            url.query_pairs_mut().append_pair("ns", registry);
        }
        url
    }

    /// Whether `url` is this very server: same scheme, host and port.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        self.base.origin() == url.origin()
    }
}

fn base_url(registry: &str, security: Security) -> Outcome<Url> {
    let invalid =
        || RegistryFailure::request(format!("`{}` is not a registry", crate::error::printable(registry, 256)));
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'_' | b'[' | b']');
    if registry.is_empty() || !registry.bytes().all(allowed) {
        return Err(invalid());
    }
    let host = if registry == DOCKER_HUB || registry == "index.docker.io" { DOCKER_HUB_API } else { registry };
    let scheme = if security == Security::Plain { "http" } else { "https" };
    let url = Url::parse(&format!("{scheme}://{host}/")).map_err(|_| invalid())?;
    if url.host_str().is_none_or(str::is_empty) { Err(invalid()) } else { Ok(url) }
}

/// A repository of a registry, checked so that it can stand in a URL path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Repository {
    pub(crate) registry: String,
    pub(crate) name: String,
}

impl Repository {
    pub(crate) fn of(reference: &Reference) -> Outcome<Self> {
        check_repository(reference.repository())?;
        Ok(Self { registry: reference.registry().to_owned(), name: reference.repository().to_owned() })
    }

    /// The token scope for `actions` on this repository.
    pub(crate) fn scope(&self, actions: &str) -> String {
        format!("repository:{}:{actions}", self.name)
    }
}

/// Refuses a repository name that could change the meaning of a URL or of a scope.
pub(crate) fn check_repository(name: &str) -> Outcome<()> {
    let fine = (1..=255).contains(&name.len())
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/'));
    if fine {
        Ok(())
    } else {
        let shown = crate::error::printable(name, 256);
        Err(RegistryFailure::request(format!("`{shown}` is not the name of a repository")))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn loopback_is_plain_insecure_is_probed_and_the_rest_is_tls() {
        let options = Options {
            insecure: vec!["lab.example".to_owned(), "10.0.0.1:5000".to_owned()],
            loopback_with_tls: vec!["localhost:5443".to_owned()],
            ..Options::default()
        };
        for (registry, scheme) in [
            ("localhost:5000", Scheme::Known(Security::Plain)),
            ("127.0.0.2", Scheme::Known(Security::Plain)),
            ("[::1]:5000", Scheme::Known(Security::Plain)),
            ("localhost:5443", Scheme::Known(Security::Tls)),
            ("docker.io", Scheme::Known(Security::Tls)),
            ("10.0.0.2:5000", Scheme::Known(Security::Tls)),
            ("10.0.0.1:5000", Scheme::Probe),
            ("lab.example", Scheme::Probe),
            ("lab.example:5000", Scheme::Probe),
        ] {
            assert_eq!(scheme_of(registry, &options).unwrap(), scheme, "{registry}");
        }
        for bad in ["", "a/b", "user@host", "host?x", "host#x", "ho st", "a:99999", "[::1"] {
            assert!(scheme_of(bad, &options).is_err(), "{bad}");
        }
    }

    #[test]
    fn urls_are_built_for_the_hub_and_for_mirrors() {
        let hub = Endpoint::new("docker.io", Security::Tls, None).unwrap();
        assert_eq!(
            hub.url("library/alpine/manifests/3").as_str(),
            "https://registry-1.docker.io/v2/library/alpine/manifests/3"
        );
        let mirror = Endpoint::new("localhost:1", Security::Plain, Some("docker.io".to_owned())).unwrap();
        assert_eq!(mirror.url("a/tags/list").as_str(), "http://localhost:1/v2/a/tags/list?ns=docker.io");
    }

    #[test]
    fn names_that_leave_the_repository_are_refused() {
        for bad in ["", "a/../b", "a//b", "a/", "/a", "a?b", "a#b", "a:push", "A", "a b", "."] {
            assert!(check_repository(bad).is_err(), "{bad}");
        }
        assert!(check_repository("library/a.b_c-d").is_ok());
    }
}
