//! Networks of steps: a namespace of its own that reaches the outside through the program `pasta` (package `passt`).
//!
//! A helper (`network_init`) owns the namespace and lives in a pid namespace of which it is the first process, in a
//! user namespace without any right on the host. `pasta` is its child, so it ends with the helper, and the helper ends
//! when [`StepNetwork`] is dropped or this process dies, however it dies.
//!
//! The namespace belongs to the helper's user namespace and not to that of a step, so no step can change it: a step has no
//! `CAP_NET_ADMIN` over it even as its root. What a step leaves in it are at most sockets that the kernel
//! is still closing; listening and abstract sockets end with the processes of the step. That is why steps may use one
//! after another, and must not use one at the same time.

use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use bake_sys::Errno;
use bake_sys::descriptor::{MemoryKind, sealed_memory};
use bake_sys::mount::{MountAttrFlags, Recursion, clone_tree, new_tmpfs};
use bake_sys::process::{ChildProcess, Namespaces, wait_pidfd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::error::SandboxError;
use crate::id_map::IdMap;
use crate::message::{Message, Received, Report};
use crate::network_init::NETWORK_NAME;
use crate::spawn::{Start, open_null, start};

/// The address of a step, the same on every machine. Not the machine's own, as `pasta` would have it: a step then reaches what
/// listens on the machine's addresses, as a container does, and nothing that listens on its loopback device only.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
const NETMASK_BITS: u8 = 24;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// From the addresses for private use, so that name look-ups prefer IPv4 where a name has both.
const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xba6e, 0, 0, 0, 0, 0, 0x100);
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xba6e, 0, 0, 0, 0, 0, 2);
/// Where a step finds the machine's own resolver, when that listens on the loopback device only.
pub const RESOLVER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
/// The name of a step's network device.
const DEVICE: &str = "eth0";
/// `pasta` needs some ten milliseconds; a machine so busy that it takes longer than this cannot be worked with.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// How a step's network reaches the outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkOptions {
    /// Whether [`RESOLVER_ADDRESS`] leads to the first resolver of the machine.
    pub forward_resolver: bool,
    /// Ports of the machine that lead into the network.
    pub published: Vec<PublishedPort>,
}

/// A port of the machine that leads to a port of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedPort {
    /// The address to listen on; `None` is all.
    pub address: Option<IpAddr>,
    /// The port of the machine.
    pub host: u16,
    /// The port of the step.
    pub inside: u16,
    /// What is forwarded.
    pub protocol: PortProtocol,
}

/// The protocol of a [`PublishedPort`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A network namespace with a way out. Dropping it ends the program that is the way.
#[derive(Debug)]
pub struct StepNetwork {
    child: ChildProcess,
    status: OwnedFd,
    /// Present until the drop; closing it ends the helper.
    lifeline: Option<OwnedFd>,
    namespace: Option<OwnedFd>,
}

/// What the helper is told; travels in a sealed memory file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NetworkPlan {
    pub(crate) status: i32,
    pub(crate) lifeline: i32,
    /// A device to show at [`TUN`].
    pub(crate) tun: Option<i32>,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// The last group of the user namespace, for the groups that may send echo requests.
    pub(crate) last_group: u32,
}

impl StepNetwork {
    /// Begins to make a network whose helper has the IDs of `id_map`; `program` is `pasta`. Returns before it is ready.
    ///
    /// The calling thread must live until [`Self::namespace`] has returned.
    ///
    /// # Errors
    /// [`SandboxError::Host`]: no process or namespace could be made.
    pub fn start(program: &std::path::Path, id_map: &IdMap, options: &NetworkOptions) -> Result<Self, SandboxError> {
        let pipe = |what: &str| {
            rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
                .map_err(|errno| SandboxError::host(format!("making a pipe for {what}"), errno))
        };
        let (status, status_writer) = pipe("reports of a network")?;
        let (lifeline_reader, lifeline) = pipe("the lifeline of a network")?;
        let groups = id_map.groups.iter().find(|range| range.inside == 0).map_or(1, |range| range.count);
        let tun = tun_for_everybody();
        let plan = NetworkPlan {
            tun: tun.as_ref().map(AsRawFd::as_raw_fd),
            status: status_writer.as_raw_fd(),
            lifeline: lifeline_reader.as_raw_fd(),
            program: program.to_owned(),
            arguments: arguments(options),
            // The kernel keeps groups as signed numbers here.
            last_group: groups.saturating_sub(1).min(i32::MAX.unsigned_abs()),
        };
        let text = serde_json::to_vec(&plan).map_err(|error| SandboxError::InvalidStep {
            reason: format!("the network cannot be serialised (paths must be UTF-8): {error}"),
        })?;
        let file = sealed_memory("network", MemoryKind::Data, &text)
            .map_err(|errno| SandboxError::host("storing the description of a network", errno))?;
        let argument = CString::new(file.as_raw_fd().to_string())
            .map_err(|_| SandboxError::InvalidStep { reason: "a descriptor has no number".to_owned() })?;
        let null = open_null()?;
        let mut inherited = vec![file.as_fd(), status_writer.as_fd(), lifeline_reader.as_fd()];
        inherited.extend(tun.as_ref().map(AsFd::as_fd));
        let child = start(&Start {
            arguments: &[NETWORK_NAME.to_owned(), argument],
            namespaces: Namespaces::USER
                .with(Namespaces::MOUNT)
                .with(Namespaces::PID)
                .with(Namespaces::IPC)
                .with(Namespaces::UTS),
            cgroups: &[],
            id_map,
            null: null.as_fd(),
            inherited: &inherited,
            status: status_writer.as_fd(),
        })?;
        Ok(Self { child, status, lifeline: Some(lifeline), namespace: None })
    }

    /// The namespace, once there is a way out of it.
    ///
    /// # Errors
    /// [`SandboxError::Setup`] with what `pasta` said, [`SandboxError::Died`], [`SandboxError::Host`].
    pub fn namespace(&mut self) -> Result<OwnedFd, SandboxError> {
        if self.namespace.is_none() {
            self.wait_until_ready()?;
            let path = format!("/proc/{}/ns/net", self.child.pid);
            let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| SandboxError::host(format!("opening `{path}`"), errno))?;
            self.namespace = Some(opened);
        }
        let namespace = self.namespace.as_ref().ok_or_else(|| SandboxError::Died { how: "no network".to_owned() })?;
        namespace.try_clone().map_err(|error| SandboxError::host("duplicating a descriptor", error))
    }

    /// Whether the way out is still there: the helper ends when `pasta` does.
    pub fn is_alive(&self) -> bool {
        let mut polled = [PollFd::new(&self.child.pidfd, PollFlags::IN)];
        matches!(poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }

    fn wait_until_ready(&self) -> Result<(), SandboxError> {
        let deadline = std::time::Instant::now() + READY_TIMEOUT;
        let mut received = Received::default();
        let mut buffer = [0_u8; 4096];
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut polled = [PollFd::new(&self.status, PollFlags::IN)];
            match poll(&mut polled, Some(&timeout)) {
                Ok(0) => {
                    return Err(SandboxError::host(
                        "waiting for `pasta`",
                        std::io::Error::from(std::io::ErrorKind::TimedOut),
                    ));
                }
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(SandboxError::host("waiting for `pasta`", errno)),
            }
            let length = rustix::io::read(&self.status, &mut buffer)
                .map_err(|errno| SandboxError::host("reading the reports of a network", errno))?;
            if length == 0 {
                return Err(SandboxError::Died { how: "the network's helper was killed".to_owned() });
            }
            received.extend(buffer.get(..length).unwrap_or_default());
            match received.next() {
                None => {}
                Some(Report::Message(Message::Ready)) => return Ok(()),
                Some(Report::Message(Message::SetupFailed(failure))) => {
                    return Err(SandboxError::Setup {
                        stage: failure.stage,
                        source: std::io::Error::from_raw_os_error(failure.errno),
                        hint: failure.hint,
                    });
                }
                Some(Report::NotStarted(failure)) => {
                    return Err(SandboxError::Setup {
                        stage: "starting the helper of a network".to_owned(),
                        source: failure.errno.into(),
                        hint: None,
                    });
                }
                Some(Report::Message(Message::ExecuteFailed(_) | Message::Ended(_))) => {
                    return Err(SandboxError::Died { how: "the network's helper is confused".to_owned() });
                }
            }
        }
    }
}

impl Drop for StepNetwork {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // It is the first process of its pid namespace: when it is waited for, `pasta` is gone as well.
        let _ = bake_sys::signal::send(&self.child.pidfd, Signal::KILL);
        let _ = wait_pidfd(&self.child.pidfd);
    }
}

/// The device that network devices of programs are made with.
pub(crate) const TUN: &str = "/dev/net/tun";

/// A device like [`TUN`] that everybody may open, as a detached mount, where the machine's own is for root only. Usually
/// it is for everybody: what may be done with it depends on the network namespace. `None` where there is no need or
/// no way; `pasta` then complains if it was needed.
fn tun_for_everybody() -> Option<OwnedFd> {
    let status = rustix::fs::stat(TUN).ok()?;
    if status.st_mode & 0o006 == 0o006 {
        return None;
    }
    let make = || -> Result<OwnedFd, Errno> {
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let directory = new_tmpfs(Some(4096), Mode::from_raw_mode(0o755), attributes)?;
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(&directory, "tun", FileType::CharacterDevice, mode, status.st_rdev)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let device = rustix::fs::openat(&directory, "tun", flags, Mode::empty())?;
        rustix::fs::chmodat(&directory, "tun", mode, rustix::fs::AtFlags::empty())?;
        clone_tree(&device, c"", Recursion::Single)
    };
    make().ok()
}

/// The arguments of `pasta`, without the namespace: only options that its first packaged versions had.
fn arguments(options: &NetworkOptions) -> Vec<String> {
    let mut arguments: Vec<String> = [
        // It goes into the background when all is set up, and complains before that.
        "--quiet",
        "--config-net",
        "--no-dhcp",
        "--no-dhcpv6",
        "--no-ra",
        // Neither the address of the gateway nor ports of its loopback device lead to the machine's loopback device.
        "--no-map-gw",
        "--tcp-ns",
        "none",
        "--udp-ns",
        "none",
        "--ns-ifname",
        DEVICE,
    ]
    .iter()
    .map(|&text| text.to_owned())
    .collect();
    let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    option("--address", ADDRESS.to_string());
    option("--netmask", NETMASK_BITS.to_string());
    option("--gateway", GATEWAY.to_string());
    option("--address", ADDRESS_V6.to_string());
    option("--gateway", GATEWAY_V6.to_string());
    if options.forward_resolver {
        option("--dns-forward", RESOLVER_ADDRESS.to_string());
    }
    for (name, protocol) in [("--tcp-ports", PortProtocol::Tcp), ("--udp-ports", PortProtocol::Udp)] {
        let mut published = options.published.iter().filter(|port| port.protocol == protocol).peekable();
        if published.peek().is_none() {
            option(name, "none".to_owned());
        }
        for port in published {
            let address = port.address.map_or_else(String::new, |address| format!("{address}/"));
            option(name, format!("{address}{}:{}", port.host, port.inside));
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_to_the_host_unless_published() {
        let text = arguments(&NetworkOptions::default()).join(" ");
        for wanted in ["--no-map-gw", "--tcp-ns none", "--udp-ns none", "--tcp-ports none", "--udp-ports none"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(!text.contains("--dns-forward"), "{text}");
    }

    #[test]
    fn published_ports_are_per_protocol() {
        let port = PublishedPort { address: None, host: 8080, inside: 80, protocol: PortProtocol::Tcp };
        let local = PublishedPort {
            address: Some(Ipv4Addr::LOCALHOST.into()),
            host: 53,
            inside: 5353,
            protocol: PortProtocol::Udp,
        };
        let text = arguments(&NetworkOptions { forward_resolver: true, published: vec![port, local] }).join(" ");
        assert!(text.contains("--tcp-ports 8080:80 ") && text.contains("--udp-ports 127.0.0.1/53:5353"), "{text}");
        assert!(text.contains("--dns-forward 10.0.2.3"), "{text}");
    }
}
