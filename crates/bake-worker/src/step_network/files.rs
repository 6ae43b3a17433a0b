//! `/etc/resolv.conf` and `/etc/hosts` of a step.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use bake_sandbox::{MountSource, RESOLVER_ADDRESS, StepMount};
use bake_solver::StepError;

/// What stands for the address of this machine in `--add-host`.
pub const HOST_GATEWAY: &str = "host-gateway";

/// The names that a step knows by itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostNames<'a> {
    /// The host name of the step.
    pub(crate) own: Option<&'a str>,
    /// Further names and their addresses, of which one may be [`HOST_GATEWAY`].
    pub(crate) extra: &'a [(String, String)],
}

/// The two files.
#[derive(Debug)]
pub(crate) struct NetworkFiles {
    resolv_conf: Vec<u8>,
    hosts: String,
}

impl NetworkFiles {
    pub(crate) fn new(resolv_conf: Vec<u8>, names: &HostNames<'_>) -> Result<Self, StepError> {
        Ok(Self { resolv_conf, hosts: hosts(names)? })
    }

    /// The files as mounts: a step sees them, and no layer does.
    pub(crate) fn mounts(self) -> [StepMount; 2] {
        let file = |content| MountSource::File { content, mode: 0o644, uid: 0, gid: 0 };
        [
            StepMount::read_only("/etc/resolv.conf", file(self.resolv_conf)),
            StepMount::read_only("/etc/hosts", file(self.hosts.into_bytes())),
        ]
    }
}

fn hosts(names: &HostNames<'_>) -> Result<String, StepError> {
    let name = names.own.unwrap_or(bake_sandbox::HOST_NAME);
    let mut text = format!("127.0.0.1\tlocalhost {name}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (host, address) in names.extra {
        if address == HOST_GATEWAY {
            let address = host_address().ok_or_else(|| {
                StepError::input(format!("`{host}:{HOST_GATEWAY}`: this machine has no address on a network"))
            })?;
            let _ = writeln!(text, "{address}\t{host}");
        } else {
            let _ = writeln!(text, "{address}\t{host}");
        }
    }
    Ok(text)
}

/// The address from which this machine speaks to others.
fn host_address() -> Option<IpAddr> {
    // Connecting a socket for datagrams sends nothing: it only asks for the route. The addresses are for documentation.
    let from = |local: &str, remote: &str| {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(remote).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    from("0.0.0.0:0", "198.51.100.1:9").or_else(|| from("[::]:0", "[2001:db8::1]:9"))
}

/// What a line of resolver settings means here.
fn name_server(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace();
    if words.next() == Some("nameserver") { words.next() } else { None }
}

/// Whether a server can be reached from another network namespace: not on the loopback device, and not by a device's name.
fn is_reachable(server: &str) -> bool {
    server.parse::<IpAddr>().is_ok_and(|address| {
        let address = address.to_canonical();
        !address.is_loopback() && !address.is_unspecified()
    })
}

fn has_reachable_server(settings: &str) -> bool {
    settings.lines().filter_map(name_server).any(is_reachable)
}

/// Whether steps with a network of their own need the machine's resolver forwarded, because it has an address that
/// nobody else reaches, and what it asks itself is not known.
pub(super) fn needs_forwarding(settings: &[u8], upstream: &[u8]) -> bool {
    let settings = String::from_utf8_lossy(settings);
    !has_reachable_server(&settings) && !has_reachable_server(&String::from_utf8_lossy(upstream))
}

/// The settings for a network of its own. As docker does it: where the machine asks itself (`127.0.0.53`), the
/// step gets the servers behind that; options and search domains stay. Where nobody knows them, the machine's
/// resolver is forwarded, so that names which only it knows are found too.
pub(super) fn for_own_network(settings: &[u8], upstream: &[u8]) -> Vec<u8> {
    let (settings, upstream) = (String::from_utf8_lossy(settings), String::from_utf8_lossy(upstream));
    let forwarded = Ipv4Addr::to_string(&RESOLVER_ADDRESS);
    let servers: Vec<&str> = if has_reachable_server(&settings) {
        settings.lines().filter_map(name_server).filter(|server| is_reachable(server)).collect()
    } else if has_reachable_server(&upstream) {
        upstream.lines().filter_map(name_server).filter(|server| is_reachable(server)).collect()
    } else {
        vec![&forwarded]
    };
    let mut text = String::new();
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    for line in settings.lines().filter(|line| name_server(line).is_none() && !line.trim().is_empty()) {
        let _ = writeln!(text, "{line}");
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    fn own(settings: &str, upstream: &str) -> (String, bool) {
        let forwards = needs_forwarding(settings.as_bytes(), upstream.as_bytes());
        (String::from_utf8(for_own_network(settings.as_bytes(), upstream.as_bytes())).unwrap(), forwards)
    }

    #[test]
    fn servers_that_steps_reach_stay() {
        let settings = "search example.com\nnameserver 192.0.2.53\nnameserver ::1\noptions ndots:2\n";
        let wanted = "nameserver 192.0.2.53\nsearch example.com\noptions ndots:2\n";
        assert_eq!(own(settings, "nameserver 198.51.100.1\n"), (wanted.to_owned(), false));
    }

    #[test]
    fn a_local_resolver_is_replaced_by_what_it_asks() {
        let stub = "nameserver 127.0.0.53\noptions edns0\nsearch lan\n";
        let wanted = "nameserver 198.51.100.1\noptions edns0\nsearch lan\n";
        assert_eq!(own(stub, "nameserver 198.51.100.1\nsearch other\n"), (wanted.to_owned(), false));
    }

    #[test]
    fn a_local_resolver_that_nobody_knows_is_forwarded() {
        let wanted = format!("nameserver {RESOLVER_ADDRESS}\nsearch lan\n");
        assert_eq!(own("nameserver ::1\nnameserver fe80::1%eth0\nsearch lan\n", ""), (wanted, true));
        assert!(own("", "").1);
    }

    #[test]
    fn names_have_their_addresses() {
        let extra = [("db".to_owned(), "192.0.2.7".to_owned())];
        let text = hosts(&HostNames { own: Some("box"), extra: &extra }).unwrap();
        assert!(text.starts_with("127.0.0.1\tlocalhost box\n") && text.ends_with("192.0.2.7\tdb\n"), "{text}");
    }
}
