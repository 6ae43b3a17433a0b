//! What `--publish` means: `[IP:]PORT:PORT[/PROTOCOL]`, also with ranges of ports.

use std::net::IpAddr;

use bake::error::CommandError;
use bake_sandbox::{PortProtocol, PublishedPort};

/// The ports that one `--publish` names.
pub(super) fn ports(text: &str) -> Result<Vec<PublishedPort>, CommandError> {
    let invalid = |problem: &str| {
        CommandError::usage(format!("the port `{text}` cannot be published: {problem}"))
            .hint("it is written `PORT-HERE:PORT-INSIDE`, for example `8080:80`, `127.0.0.1:8080:80` or `5353:53/udp`")
    };
    let (ports, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.strip_suffix("/tcp").unwrap_or(text), PortProtocol::Tcp),
        Some((ports, "udp")) => (ports, PortProtocol::Udp),
        Some((_, other)) => return Err(invalid(&format!("the protocol `{other}` is neither `tcp` nor `udp`"))),
    };
    let (outside, inside) =
        ports.rsplit_once(':').ok_or_else(|| invalid("it does not say which port of this machine"))?;
    let (address, host) = match outside.rsplit_once(':') {
        None => (None, outside),
        Some((address, host)) => {
            let address = address.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(address);
            let parsed = address.parse::<IpAddr>().map_err(|_| invalid(&format!("`{address}` is no IP address")))?;
            (Some(parsed), host)
        }
    };
    let range = |text: &str| -> Option<(u16, u16)> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first > 0 && first <= last).then_some((first, last))
    };
    let (host_first, host_last) = range(host).ok_or_else(|| invalid(&format!("`{host}` is no port")))?;
    let (inside_first, inside_last) = range(inside).ok_or_else(|| invalid(&format!("`{inside}` is no port")))?;
    if host_last - host_first != inside_last - inside_first {
        return Err(invalid("the two ranges are not of the same length"));
    }
    let pairs = (host_first..=host_last).zip(inside_first..=inside_last);
    Ok(pairs.map(|(host, inside)| PublishedPort { address, host, inside, protocol }).collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        let tcp = |address: Option<&str>, host, inside| PublishedPort {
            address: address.map(|text| text.parse().unwrap()),
            host,
            inside,
            protocol: PortProtocol::Tcp,
        };
        assert_eq!(ports("8080:80").unwrap(), [tcp(None, 8080, 80)]);
        assert_eq!(ports("127.0.0.1:8080:80/tcp").unwrap(), [tcp(Some("127.0.0.1"), 8080, 80)]);
        assert_eq!(ports("[::1]:8080:80").unwrap(), [tcp(Some("::1"), 8080, 80)]);
        assert_eq!(ports("8000-8001:80-81").unwrap(), [tcp(None, 8000, 80), tcp(None, 8001, 81)]);
        assert_eq!(ports("53:53/udp").unwrap()[0].protocol, PortProtocol::Udp);
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for text in ["80", "a:80", "8080:0", "0:80", "70000:80", "x:8080:80", "8080:80/sctp", "1-2:3", "2-1:2-1", ""] {
            assert!(ports(text).is_err(), "{text}");
        }
    }
}
