//! The registry that Debian ships, with one user.

use std::fs;
use std::process::Command;

use bake_testkit::program::{self, Running};

use super::{Outcome, Scratch, succeed};

/// The user.
pub(crate) const USER: &str = "someone";
/// Their password.
pub(crate) const PASSWORD: &str = "correct horse";

/// Writes docker's config for `host` into a scratch directory.
pub(crate) fn log_in(scratch: &Scratch, host: &str, password: &str) -> Outcome {
    log_in_as(scratch, host, USER, password)
}

/// The same for any user.
pub(crate) fn log_in_as(scratch: &Scratch, host: &str, user: &str, password: &str) -> Outcome {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    scratch.write("config.json", format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"{auth}\"}}}}}}"))
}

/// `docker-registry`, with one user. It ends when this is dropped.
pub(crate) struct DebianRegistry {
    _process: Running,
    /// Where it listens.
    pub(crate) host: String,
}

/// How it has TLS; its certificate is for `localhost`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    /// It shows a certificate.
    OfServer,
    /// It also wants one of its clients.
    OfServerAndClients,
}

/// Starts it without TLS, with everything it has in a scratch directory.
pub(crate) fn start_debians(scratch: &Scratch) -> Result<DebianRegistry, String> {
    start(scratch, None)
}

/// Starts it, with everything it has in a scratch directory.
pub(crate) fn start(scratch: &Scratch, tls: Option<Tls>) -> Result<DebianRegistry, String> {
    let certificates = concat!(env!("CARGO_MANIFEST_DIR"), "/../bake-registry/tests/registry/tls");
    let clients = format!(", clientcas: ['{certificates}/clients-ca.pem']");
    let clients = if tls == Some(Tls::OfServerAndClients) { clients } else { String::new() };
    let server =
        format!(", tls: {{certificate: '{certificates}/valid.pem', key: '{certificates}/server.key'{clients}}}");
    let tls = tls.map_or_else(String::new, |_| server);
    let users = succeed(Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]))?;
    fs::write(scratch.path().join("users"), users.stdout).map_err(|error| error.to_string())?;
    let (data, users) = (scratch.at("data"), scratch.at("users"));
    let (process, address) = program::start_server(|address| {
        scratch
            .write(
                "registry.yml",
                format!(
                    "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: '{data}'}}\n\
                     http: {{addr: '{address}'{tls}}}\nauth:\n  htpasswd: {{realm: test, path: '{users}'}}\n"
                ),
            )
            .map_err(std::io::Error::other)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(scratch.at("registry.yml"));
        Ok(command)
    })
    .map_err(|error| format!("docker-registry: {error}"))?;
    Ok(DebianRegistry { _process: process, host: address.to_string() })
}
