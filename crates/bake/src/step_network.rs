//! What this machine offers to the networks of steps, and what the configuration says about that.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use bake_worker::{StepNetworkOptions, find_pasta};

/// The largest resolver settings that are handed on, in bytes.
const RESOLV_CONF_BYTES_MAX: u64 = 64 << 10;

/// The section `network` of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NetworkConfiguration {
    /// The program to use instead of the one that is installed.
    pub(crate) pasta: Option<PathBuf>,
    /// Whether steps may never share the machine's network unasked.
    pub(crate) isolation_required: bool,
}

/// Looks at the machine.
pub(crate) fn options(configuration: &NetworkConfiguration) -> StepNetworkOptions {
    StepNetworkOptions {
        pasta: match &configuration.pasta {
            Some(path) => Some(path.clone()).filter(|path| path.is_file()),
            None => find_pasta(),
        },
        isolation_required: configuration.isolation_required,
        resolv_conf: resolver_settings("/etc/resolv.conf"),
        // Where systemd's resolver answers on the loopback device, it writes down whom it asks.
        upstream_resolv_conf: resolver_settings("/run/systemd/resolve/resolv.conf"),
    }
}

/// Without the file there is no way to resolve names, here as inside.
fn resolver_settings(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        let _ = file.take(RESOLV_CONF_BYTES_MAX).read_to_end(&mut bytes);
    }
    bytes
}
