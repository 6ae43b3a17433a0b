//! The networks of steps: which one a step gets, and the resolver settings and host names that go with it.
//!
//! A network of its own takes some ten milliseconds to make, so it is made when the first step asks for one, while that
//! step is being prepared, and is used again by a later step: by one at a time, so that steps cannot see one another.

mod files;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bake_graph::NetworkMode;
use bake_sandbox::{IdMap, NetworkOptions, PublishedPort, SandboxError, StepNetwork};
use bake_solver::StepError;

use crate::images::chain_of;

pub use files::HOST_GATEWAY;
pub(crate) use files::{HostNames, NetworkFiles};

/// Where `pasta` is looked for: never in a search path, which the image or the environment could set.
const PROGRAM_DIRECTORIES: &[&str] = &["/usr/bin", "/bin", "/usr/local/bin", "/run/current-system/sw/bin"];

/// How steps reach the network.
#[derive(Debug, Clone, Default)]
pub struct StepNetworkOptions {
    /// The absolute path of `pasta`; `None` where it is not installed.
    pub pasta: Option<PathBuf>,
    /// Whether a step that should have a network of its own fails where that is impossible, instead of sharing the host's.
    pub isolation_required: bool,
    /// The resolver settings of this machine.
    pub resolv_conf: Vec<u8>,
    /// Those of the servers that a local resolver asks, where that is known.
    pub upstream_resolv_conf: Vec<u8>,
}

/// The program `pasta` of this machine, from a fixed list of directories.
pub fn find_pasta() -> Option<PathBuf> {
    PROGRAM_DIRECTORIES.iter().map(|directory| Path::new(directory).join("pasta")).find(|path| path.is_file())
}

/// Hands networks out and takes them back.
#[derive(Debug)]
pub(crate) struct StepNetworks {
    options: StepNetworkOptions,
    /// Networks that no step uses at the moment; there are never more than steps that ran at the same time.
    idle: Mutex<Vec<StepNetwork>>,
    noticed: AtomicBool,
}

/// What a step is going to get. When it is dropped the network goes back to be used again.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    networks: &'a StepNetworks,
    kind: Kind,
    reusable: bool,
}

#[derive(Debug)]
enum Kind {
    Host,
    None,
    Own(StepNetwork),
}

/// The network of a step that is about to start.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) network: bake_sandbox::Network,
    /// What is in `/etc` because of it.
    pub(crate) files: NetworkFiles,
}

impl StepNetworks {
    pub(crate) fn new(options: StepNetworkOptions) -> Self {
        Self { options, idle: Mutex::default(), noticed: AtomicBool::new(false) }
    }

    /// Begins to get a network for a step with the IDs of `id_map`; `notice` is told what a user has to know, once.
    pub(crate) fn lease(
        &self,
        mode: NetworkMode,
        id_map: &IdMap,
        published: &[PublishedPort],
        notice: &dyn Fn(String),
    ) -> Result<Lease<'_>, StepError> {
        let lease = |kind| Lease { networks: self, kind, reusable: published.is_empty() };
        match mode {
            NetworkMode::None => return Ok(lease(Kind::None)),
            NetworkMode::Host => return Ok(lease(Kind::Host)),
            NetworkMode::Default => {}
        }
        if published.is_empty() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(network) = idle.pop() {
                if network.is_alive() {
                    return Ok(lease(Kind::Own(network)));
                }
            }
        }
        // What failed once is not tried again for every step; what it was has been said.
        if self.noticed.load(Ordering::SeqCst) {
            return Ok(lease(Kind::Host));
        }
        if !has_a_way_out() {
            return Ok(lease(Kind::None));
        }
        let Some(program) = &self.options.pasta else {
            self.fall_back("the program `pasta` is not installed (Debian's package `passt`)", None, notice)?;
            return Ok(lease(Kind::Host));
        };
        let options = NetworkOptions {
            forward_resolver: files::needs_forwarding(&self.options.resolv_conf, &self.options.upstream_resolv_conf),
            published: published.to_vec(),
        };
        match StepNetwork::start(program, id_map, &options) {
            Ok(network) => Ok(lease(Kind::Own(network))),
            Err(error) => {
                self.failed(&error, notice)?;
                Ok(lease(Kind::Host))
            }
        }
    }

    fn failed(&self, error: &SandboxError, notice: &dyn Fn(String)) -> Result<(), StepError> {
        let said = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        self.fall_back(&format!("`pasta` does not work here: {}{said}", chain_of(error)), error.hint(), notice)
    }

    /// Says that steps share the host's network, or fails where that is not wanted.
    fn fall_back(&self, why: &str, hint: Option<&str>, notice: &dyn Fn(String)) -> Result<(), StepError> {
        if self.options.isolation_required {
            let failed = StepError::input(format!("steps cannot have a network of their own: {why}"));
            let failed = failed.hint("`--network=host` or `--network=none` do without, and so does `require-isolation = false` in the configuration");
            return Err(match hint {
                Some(hint) => failed.hint(hint),
                None => failed,
            });
        }
        if !self.noticed.swap(true, Ordering::SeqCst) {
            notice(format!("steps share the network of this machine, its loopback services included: {why}"));
        }
        Ok(())
    }
}

impl Lease<'_> {
    /// Whether ports can lead to it.
    pub(crate) fn takes_published(&self) -> bool {
        matches!(self.kind, Kind::Own(_))
    }

    /// Waits until the network is there.
    pub(crate) fn ready(&mut self, names: &HostNames<'_>, notice: &dyn Fn(String)) -> Result<Ready, StepError> {
        let mut own: Option<OwnedFd> = None;
        if let Kind::Own(network) = &mut self.kind {
            match network.namespace() {
                Ok(namespace) => own = Some(namespace),
                Err(error) => {
                    if !self.reusable {
                        // Ports that were to lead to it are the likely reason, and without it they lead nowhere.
                        let failed = StepError::environment(chain_of(&error), error.to_string());
                        return Err(match error.hint() {
                            Some(hint) => failed.hint(hint),
                            None => failed,
                        });
                    }
                    self.networks.failed(&error, notice)?;
                    self.kind = Kind::Host;
                }
            }
        }
        let options = &self.networks.options;
        let resolv_conf = match &own {
            Some(_) => files::for_own_network(&options.resolv_conf, &options.upstream_resolv_conf),
            None => options.resolv_conf.clone(),
        };
        let network = match (own, &self.kind) {
            (Some(namespace), _) => bake_sandbox::Network::Namespace(namespace),
            (None, Kind::None) => bake_sandbox::Network::None,
            (None, _) => bake_sandbox::Network::Host,
        };
        Ok(Ready { network, files: NetworkFiles::new(resolv_conf, names)? })
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let kind = std::mem::replace(&mut self.kind, Kind::None);
        if let Kind::Own(network) = kind
            && self.reusable
            && network.is_alive()
        {
            self.networks.idle.lock().unwrap_or_else(PoisonError::into_inner).push(network);
        }
    }
}

/// Whether this machine has a route to anywhere but itself. Without, there is nothing that `pasta` could lead to.
fn has_a_way_out() -> bool {
    // An unreadable file says nothing.
    let Ok(v4) = std::fs::read_to_string("/proc/net/route") else { return true };
    let v6 = std::fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let v4 = v4.lines().skip(1).any(|line| line.split_ascii_whitespace().next().is_some_and(|device| device != "lo"));
    let v6 = v6.lines().any(|line| line.split_ascii_whitespace().next_back().is_some_and(|device| device != "lo"));
    v4 || v6
}
