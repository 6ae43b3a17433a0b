//! Certificates, mirrors and registries without either, by files and by flags.

use std::process::Command;

use bake_testkit::registry::{Auth, Config, FakeRegistry};

use crate::login::log_in;
use crate::support::debian_registry::{self, DebianRegistry, PASSWORD, Tls};
use crate::support::{Environment, Outcome, Scratch, check, expect_failure, finish, succeed};

const CA: &str = include_str!("../../crates/bake-registry/tests/registry/tls/ca.pem");
const CLIENT: &str = include_str!("../../crates/bake-registry/tests/registry/tls/client.pem");
const CLIENT_KEY: &str = include_str!("../../crates/bake-registry/tests/registry/tls/client.key");

/// The registry with TLS, by its name: its certificate holds that and the address.
fn start(place: &Scratch, tls: Tls) -> Result<(DebianRegistry, String), String> {
    let registry = debian_registry::start(place, Some(tls))?;
    let host = registry.host.replace("127.0.0.1", "localhost");
    Ok((registry, host))
}

/// A command in an environment whose configuration is in `scratch`.
fn command(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = environment.command(&scratch.store());
    command.args(arguments).env("DOCKER_CONFIG", scratch.path()).env("XDG_CONFIG_HOME", scratch.path());
    command
}

fn push(environment: &Environment, scratch: &Scratch, name: &str) -> Result<String, String> {
    scratch.write("context/Dockerfile", "FROM scratch\nLABEL a=b\n")?;
    let build = ["build", "--push", "--tag", name, &scratch.at("context")];
    succeed(&mut command(environment, scratch, &build)).map(|finished| finished.text())
}

pub(crate) fn authority(environment: &Environment) -> Outcome {
    let place = environment.scratch()?;
    let (_registry, host) = start(&place, Tls::OfServer)?;
    let (name, scratch) = (format!("{host}/team/app:1"), environment.scratch()?);
    // Without its authority it is not even spoken to in TLS, as nothing on this machine is; the registry says so.
    let finished = log_in(environment, &scratch, &host, PASSWORD)?;
    expect_failure(&finished, 1, &[&host, "HTTPS server", "certs.d/HOST/ca.crt"])?;
    scratch.write(&format!("containers/certs.d/{host}/ca.crt"), CA)?;
    let finished = log_in(environment, &scratch, &host, PASSWORD)?;
    check(finished.code == Some(0), || finished.stderr.clone())?;
    let digest = push(environment, &scratch, &name)?;
    let other = environment.scratch()?;
    other.write("config.json", scratch.read("config.json")?)?;
    // The same by the configuration.
    other.write("ca.pem", CA)?;
    other.write("bake/config.toml", format!("[registry.\"{host}\"]\nca = [\"{}\"]\n", other.at("ca.pem")))?;
    let mut pull = command(environment, &other, &["pull", &name]);
    pull.env("BAKE_CONFIG", other.at("bake/config.toml"));
    let pulled = succeed(&mut pull)?;
    check(pulled.text().contains(&digest), || pulled.text())
}

pub(crate) fn client(environment: &Environment) -> Outcome {
    let place = environment.scratch()?;
    let (_registry, host) = start(&place, Tls::OfServerAndClients)?;
    let scratch = environment.scratch()?;
    let file = |name: &str, content: &str| scratch.write(&format!("docker/certs.d/{host}/{name}"), content);
    file("ca.crt", CA)?;
    let finished = log_in(environment, &scratch, &host, PASSWORD)?;
    expect_failure(&finished, 1, &[&host])?;
    file("client.cert", CLIENT)?;
    expect_failure(&log_in(environment, &scratch, &host, PASSWORD)?, 1, &["no `.key` beside it"])?;
    file("client.key", CLIENT_KEY)?;
    let finished = log_in(environment, &scratch, &host, PASSWORD)?;
    check(finished.code == Some(0), || finished.stderr.clone())?;
    push(environment, &scratch, &format!("{host}/app:1")).map(drop)
}

pub(crate) fn insecure(environment: &Environment) -> Outcome {
    let place = environment.scratch()?;
    let (_registry, host) = start(&place, Tls::OfServer)?;
    let (name, scratch) = (format!("{host}/app:1"), environment.scratch()?);
    let run = |flags: &[&str]| {
        let arguments = [&["login", "-u", debian_registry::USER, "-p", PASSWORD, &host], flags].concat();
        finish(&mut command(environment, &scratch, &arguments))
    };
    // Another host's name is no permission for this one.
    check(run(&["--insecure-registry", "localhost:1"])?.code == Some(1), || "it went through".to_owned())?;
    let finished = run(&["--insecure-registry", &host])?;
    check(finished.code == Some(0), || finished.stderr.clone())?;
    scratch.write("context/Dockerfile", "FROM scratch\nLABEL a=b\n")?;
    let build = ["build", "--push", "--insecure-registry", &host, "--tag", &name, &scratch.at("context")];
    succeed(&mut command(environment, &scratch, &build))?;
    // In the configuration, and for every port.
    scratch.write("bake/config.toml", "[registry.\"localhost\"]\ninsecure = true\n")?;
    let mut pull = command(environment, &scratch, &["pull", &name]);
    succeed(pull.env("BAKE_CONFIG", scratch.at("bake/config.toml"))).map(drop)
}

pub(crate) fn mirrors(environment: &Environment) -> Outcome {
    let mirror = FakeRegistry::start(Config::default()).map_err(|error| error.to_string())?;
    let scratch = environment.scratch()?;
    push(environment, &scratch, &format!("{}/library/thing:1", mirror.host()))?;
    mirror.take_requests();
    let other = environment.scratch()?;
    // The first mirror is not there.
    let mirrors = format!("[registry.\"docker.io\"]\nmirrors = [\"127.0.0.1:1\", \"{}\"]\n", mirror.host());
    other.write("config.toml", mirrors)?;
    let mut pull = command(environment, &other, &["pull", "thing:1"]);
    succeed(pull.env("BAKE_CONFIG", other.at("config.toml")))?;
    let asked = mirror.take_requests();
    check(!asked.is_empty() && asked.iter().all(|request| request.path.contains("ns=docker.io")), || {
        format!("{asked:?}")
    })?;
    other.write("config.toml", "[registry.\"docker.io\"]\nmirors = []\n")?;
    let mut pull = command(environment, &other, &["pull", "thing:1"]);
    let finished = finish(pull.env("BAKE_CONFIG", other.at("config.toml")))?;
    expect_failure(&finished, 1, &["mirors", "docker.io"])?;
    // A mirror that wants a login is told of: the registry behind it is not what the user has to look at.
    mirror.configure(|config| config.auth = Auth::basic("u", "p"));
    let nowhere = format!("[registry.\"registry.invalid\"]\nmirrors = [\"{}\"]\n", mirror.host());
    other.write("config.toml", nowhere)?;
    let mut pull = command(environment, &other, &["pull", "registry.invalid/library/thing:2"]);
    let finished = finish(pull.env("BAKE_CONFIG", other.at("config.toml")))?;
    expect_failure(&finished, 1, &[&format!("the mirror `{}` could not help", mirror.host()), "401 Unauthorized"])
}
