//! Which network addresses a response may lead to.
//!
//! The registry that the user named is reached wherever it is. Everywhere else that a response points to (redirects,
//! token servers, upload locations) must be a public address, or of the same kind as the registry's own: otherwise a
//! registry could make bake talk to services of the local host or network. Names are checked when they are resolved
//! for the connection itself, so a name that changes its address between check and use gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What an address can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum AddressKind {
    /// The internet.
    Public,
    /// A private network: RFC 1918, RFC 4193, RFC 6598 and other special-purpose blocks.
    Private,
    /// This host.
    Loopback,
    /// The local link, where cloud hosts keep their metadata service (169.254.169.254).
    LinkLocal,
}

/// Sorts an address; addresses that embed an IPv4 address count as that one.
pub(crate) fn kind_of(address: IpAddr) -> AddressKind {
    match address {
        IpAddr::V4(address) => kind_of_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(inner) => kind_of_v4(inner),
            None => kind_of_v6(address),
        },
    }
}

fn kind_of_v4(address: Ipv4Addr) -> AddressKind {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        // 0.0.0.0/8 reaches the local host on Linux.
        (0 | 127, _, _) => AddressKind::Loopback,
        (169, 254, _) => AddressKind::LinkLocal,
        (10 | 224..=255, _, _)
        | (172, 16..=31, _)
        | (192, 168, _)
        | (100, 64..=127, _)
        | (192, 0, 0 | 2)
        | (198, 18..=19, _)
        | (198, 51, 100)
        | (203, 0, 113) => AddressKind::Private,
        _ => AddressKind::Public,
    }
}

fn kind_of_v6(address: Ipv6Addr) -> AddressKind {
    let first = address.segments()[0];
    if address.is_loopback() || address.is_unspecified() {
        AddressKind::Loopback
    } else if first & 0xffc0 == 0xfe80 {
        AddressKind::LinkLocal
    } else if first & 0xe000 == 0x2000 && !(first == 0x2001 && address.segments()[1] == 0x0db8) {
        // Only 2000::/3 is assigned to the internet.
        AddressKind::Public
    } else {
        AddressKind::Private
    }
}

/// The IPv4 address inside a mapped, compatible, NAT64 (`64:ff9b::/96`) or 6to4 (`2002::/16`) address.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        // `::` and `::1` are in the block of the compatible form but are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, _] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, _, _, _, _, _] => Some(join(high, low)),
        _ => None,
    }
}

/// The address that stands literally in a URL, or the loopback address for `localhost`.
pub(crate) fn literal_address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    if is_localhost(host) {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    host == "localhost" || host.ends_with(".localhost")
}

/// The addresses that a connection may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// Any: the registry itself.
    Any,
    /// Public ones and those of one more kind.
    PublicAnd(AddressKind),
}

impl Reach {
    /// Whether a connection to `address` may be made.
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::PublicAnd(kind) => matches!(kind_of(address), AddressKind::Public) || kind_of(address) == kind,
        }
    }

    /// What responses of the registry at `registry` may lead to. A name counts as private when it resolves to a
    /// private address; only a literal address (or `localhost`) opens loopback and link-local ones, because a
    /// hostile name server could claim those for its registry.
    pub(crate) async fn from_registry(registry: &Url) -> Self {
        if let Some(address) = literal_address(registry) {
            return Self::PublicAnd(kind_of(address));
        }
        let host = registry.host_str().unwrap_or_default();
        // A registry behind a proxy may have no address here; then only public addresses are allowed.
        let addresses = tokio::net::lookup_host((host, 0)).await;
        let private =
            addresses.is_ok_and(|mut found| found.any(|address| kind_of(address.ip()) == AddressKind::Private));
        Self::PublicAnd(if private { AddressKind::Private } else { AddressKind::Public })
    }
}

/// A name resolved to addresses of which none may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` has no address that a response of this registry may lead to")]
pub(crate) struct AddressRefused {
    name: String,
}

/// The name servers know no host of this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no host called `{name}`")]
pub(crate) struct UnknownHost {
    name: String,
}

impl UnknownHost {
    /// What the C library says when the answer is "no such name", and not "no answer". Its number does not come through
    /// the standard library, so its words tell: of glibc, and of musl.
    const WORDS: [&str; 2] = ["Name or service not known", "Name does not resolve"];

    fn is_meant_by(error: &std::io::Error) -> bool {
        let text = error.to_string();
        Self::WORDS.iter().any(|words| text.contains(words))
    }
}

/// Resolves names for connections, leaving out addresses out of reach.
#[derive(Debug)]
pub(crate) struct GuardedResolver {
    reach: Reach,
    /// The hosts of the user's own proxies, which may be anywhere.
    proxies: Arc<[String]>,
}

impl GuardedResolver {
    pub(crate) fn new(reach: Reach, proxies: Arc<[String]>) -> Self {
        Self { reach, proxies }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let reach = if self.proxies.contains(&name) { Reach::Any } else { self.reach };
        Box::pin(async move {
            // `localhost` is not left to name servers (RFC 6761, section 6.3).
            if is_localhost(&name) {
                let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                let allowed: Vec<_> =
                    loopback.into_iter().filter(|ip| reach.allows(*ip)).map(|ip| SocketAddr::new(ip, 0)).collect();
                return finish(name, allowed);
            }
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            if found.as_ref().is_err_and(UnknownHost::is_meant_by) {
                return Err(UnknownHost { name: name.clone() }.into());
            }
            let found = found?;
            let allowed = found.filter(|address| reach.allows(address.ip())).collect();
            finish(name, allowed)
        })
    }
}

fn finish(name: String, allowed: Vec<SocketAddr>) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
    if allowed.is_empty() {
        return Err(Box::new(AddressRefused { name }));
    }
    Ok(Box::new(allowed.into_iter()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    #[test]
    fn addresses_are_sorted() {
        for (text, kind) in [
            ("8.8.8.8", AddressKind::Public),
            ("2606:4700::1", AddressKind::Public),
            ("10.1.2.3", AddressKind::Private),
            ("172.31.0.1", AddressKind::Private),
            ("172.32.0.1", AddressKind::Public),
            ("192.168.1.1", AddressKind::Private),
            ("100.64.0.1", AddressKind::Private),
            ("fd00::1", AddressKind::Private),
            ("127.9.9.9", AddressKind::Loopback),
            ("0.0.0.0", AddressKind::Loopback),
            ("::1", AddressKind::Loopback),
            ("::", AddressKind::Loopback),
            ("::ffff:127.0.0.1", AddressKind::Loopback),
            ("64:ff9b::a9fe:a9fe", AddressKind::LinkLocal),
            ("2002:7f00:1::", AddressKind::Loopback),
            ("169.254.169.254", AddressKind::LinkLocal),
            ("fe80::1", AddressKind::LinkLocal),
        ] {
            assert_eq!(kind_of(text.parse().unwrap()), kind, "{text}");
        }
    }

    #[test]
    fn literal_addresses_are_seen_in_every_spelling() {
        for text in
            ["http://2130706433/", "http://0x7f.1/", "http://127.1/", "http://localhost./", "http://a.localhost/"]
        {
            let address = literal_address(&Url::parse(text).unwrap()).unwrap();
            assert_eq!(kind_of(address), AddressKind::Loopback, "{text}");
        }
        assert_eq!(literal_address(&Url::parse("http://[::1]:5/").unwrap()), Some("::1".parse().unwrap()));
        assert_eq!(literal_address(&Url::parse("http://example.com/").unwrap()), None);
    }

    #[tokio::test]
    async fn a_registry_on_loopback_reaches_loopback_but_not_the_metadata_service() {
        let reach = Reach::from_registry(&Url::parse("http://127.0.0.1:5000").unwrap()).await;
        assert!(reach.allows("127.0.0.1".parse().unwrap()) && reach.allows("1.1.1.1".parse().unwrap()));
        assert!(!reach.allows("169.254.169.254".parse().unwrap()) && !reach.allows("10.0.0.1".parse().unwrap()));
    }
}
