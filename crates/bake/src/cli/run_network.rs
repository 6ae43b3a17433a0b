//! The flags of `bake run` that concern the network.

use clap::Args;

use super::NetworkMode;

/// What is seen of the network inside, and from outside of it.
#[derive(Debug, Args)]
pub struct RunNetworkArguments {
    /// The network that is seen inside.
    #[arg(long, value_name = "MODE", default_value = "default")]
    pub network: NetworkMode,

    /// Let a port of this machine lead to one inside, for example `8080:80` or `127.0.0.1:5353:53/udp`.
    #[arg(short, long, value_name = "[IP:]PORT:PORT[/PROTOCOL]")]
    pub publish: Vec<String>,

    /// Add a line to `/etc/hosts`; the address `host-gateway` is that of this machine.
    #[arg(long, value_name = "HOST:IP")]
    pub add_host: Vec<String>,

    /// The host name that is seen inside.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
}
