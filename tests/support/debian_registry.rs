//! The registry that Debian ships, with one user.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Outcome, Scratch, check, succeed};

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
    process: Child,
    /// Where it listens.
    pub(crate) host: String,
}

impl Drop for DebianRegistry {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts it, with everything it has in a scratch directory.
pub(crate) fn start_debians(scratch: &Scratch) -> Result<DebianRegistry, String> {
    let users = succeed(Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]))?;
    fs::write(scratch.path().join("users"), users.stdout).map_err(|error| error.to_string())?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    let host = listener.local_addr().map_err(|error| error.to_string())?.to_string();
    drop(listener);
    let (data, users) = (scratch.at("data"), scratch.at("users"));
    scratch.write(
        "registry.yml",
        format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: '{data}'}}\n\
             http: {{addr: '{host}'}}\nauth:\n  htpasswd: {{realm: test, path: '{users}'}}\n"
        ),
    )?;
    let process = Command::new("docker-registry")
        .arg("serve")
        .arg(scratch.at("registry.yml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let registry = DebianRegistry { process, host };
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(&registry.host).is_err() {
        check(Instant::now() < deadline, || "the registry did not start".into())?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(registry)
}
