//! Images to and from registries: one in this process that misbehaves on demand, and the one that Debian ships.

mod certificates;
mod login;
#[path = "../support/mod.rs"]
mod support;

use std::net::TcpListener;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use bake_oci::Digest;
use bake_testkit::registry::{Action, Auth, Config, FakeRegistry, Fault, RawServer};

use support::debian_registry::{PASSWORD, USER, log_in, start_debians};
use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("an_image_goes_to_a_registry_and_comes_back", &[], round_trip),
    ("a_base_image_comes_from_a_registry", &[], base_image),
    ("layers_that_are_there_are_not_sent_again", &[], sent_once),
    ("credentials_come_from_dockers_config", &[], credentials),
    ("credentials_come_from_a_variable", &[], credentials_of_variable),
    ("a_registry_that_stumbles_is_tried_again", &[], stumbling),
    ("a_damaged_layer_is_refused", &[], damaged),
    ("r1_urls_of_foreign_layers_are_not_asked", &[], foreign_layers),
    ("an_image_that_does_not_exist", &[], missing),
    ("a_registry_that_does_not_answer", &[], unreachable),
    ("a_registry_whose_name_is_none", &[], unknown_host),
    ("a_login_is_tried_and_kept_as_docker_keeps_it", &[], login::kept),
    ("a_login_that_is_refused_changes_nothing", &[], login::refused),
    ("a_login_leaves_the_rest_of_the_config", &[], login::rest_stays),
    ("a_login_is_kept_by_a_helper", &[], login::helper),
    ("an_identity_token_is_kept_in_place_of_the_password", &[], login::identity_token),
    ("a_login_needs_a_terminal_or_standard_input", &[], login::no_terminal),
    ("a_password_typed_on_a_terminal", &["script"], login::typed),
    ("mirrors_are_asked_first", &[], certificates::mirrors),
    ("a_registry_with_tls_and_a_password", &["docker-registry", "htpasswd"], certificates::authority),
    ("a_registry_that_wants_a_certificate", &["docker-registry", "htpasswd"], certificates::client),
    ("insecure_registries_are_named", &["docker-registry", "htpasswd"], certificates::insecure),
    ("debians_registry_with_a_password", &["docker-registry", "htpasswd"], debian),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

fn registry(config: Config) -> Result<FakeRegistry, String> {
    FakeRegistry::start(config).map_err(|error| error.to_string())
}

/// A build context whose image says hello.
fn context(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo hello > /hello\nCMD [\"cat\", \"/hello\"]\n")?;
    Ok(scratch)
}

fn push(environment: &Environment, scratch: &Scratch, name: &str) -> Command {
    let mut command = environment.build(&scratch.store());
    command.args(["--push", "--tag", name]).arg(scratch.at("context")).env("DOCKER_CONFIG", scratch.path());
    command
}

fn pull(environment: &Environment, scratch: &Scratch, name: &str) -> Command {
    let mut command = environment.command(&scratch.store());
    command.args(["pull", name]).env("DOCKER_CONFIG", scratch.path());
    command
}

fn output_of(environment: &Environment, scratch: &Scratch, name: &str) -> Result<String, String> {
    succeed(environment.command(&scratch.store()).args(["run", "--rm", name])).map(|finished| finished.text())
}

fn round_trip(environment: &Environment) -> Outcome {
    let registry = registry(Config::default())?;
    let name = format!("{}/team/app:1", registry.host());
    let scratch = context(environment)?;
    let digest = succeed(&mut push(environment, &scratch, &name))?.text();
    check(registry.manifest("team/app", &digest).is_some(), || format!("{digest} is not in the registry"))?;
    let other = environment.scratch()?;
    let pulled = succeed(&mut pull(environment, &other, &name))?;
    check(pulled.text().contains(&digest), || pulled.text())?;
    equal(&output_of(environment, &other, &name)?.as_str(), &"hello", "output")?;
    // What was pulled is pushed under another name.
    let copy = format!("{}/team/copy:2", registry.host());
    succeed(environment.command(&other.store()).args(["tag", &name, &copy]))?;
    registry.take_requests();
    let pushed = succeed(environment.command(&other.store()).args(["push", &copy]))?;
    // Its layers are taken over from where they were pulled.
    let sent = registry.take_requests();
    let layer_bytes =
        sent.iter().filter(|request| request.path.contains("/uploads/")).map(|request| request.body_bytes).sum::<u64>();
    check(layer_bytes < 10_000 && sent.iter().any(|request| request.path.contains("from=team%2Fapp")), || {
        format!("{layer_bytes} bytes were sent")
    })?;
    check(pushed.text().contains(&digest), || pushed.text())?;
    check(registry.manifest("team/copy", "2").is_some(), || "the copy is not there".into())
}

fn base_image(environment: &Environment) -> Outcome {
    let registry = registry(Config::default())?;
    let name = format!("{}/base:1", registry.host());
    let scratch = context(environment)?;
    succeed(&mut push(environment, &scratch, &name))?;
    let other = environment.scratch()?;
    other.write("context/Dockerfile", format!("FROM {name}\nRUN cat /hello\nCOPY --from={name} /hello /copy\n"))?;
    let build = || succeed(environment.build(&other.store()).arg(other.at("context")));
    let finished = build()?;
    check(finished.stderr.contains("hello"), || finished.stderr.clone())?;
    // Nothing is asked for again that is in the store.
    registry.take_requests();
    build()?;
    let asked = registry.take_requests();
    check(!asked.iter().any(|request| request.path.contains("/blobs/")), || format!("{asked:?}"))
}

fn sent_once(environment: &Environment) -> Outcome {
    let registry = registry(Config::default())?;
    let name = format!("{}/app:1", registry.host());
    let scratch = context(environment)?;
    succeed(&mut push(environment, &scratch, &name))?;
    registry.take_requests();
    succeed(&mut push(environment, &scratch, &name))?;
    let sent = registry.take_requests();
    check(!sent.iter().any(|request| request.path.contains("/uploads/")), || format!("{sent:?}"))
}

fn credentials(environment: &Environment) -> Outcome {
    let registry = registry(Config { auth: Auth::basic(USER, PASSWORD), ..Config::default() })?;
    let name = format!("{}/app:1", registry.host());
    let scratch = context(environment)?;
    let refused = finish(&mut push(environment, &scratch, &name))?;
    expect_failure(&refused, 1, &[&registry.host()])?;
    log_in(&scratch, &registry.host(), "wrong")?;
    let refused = finish(&mut push(environment, &scratch, &name))?;
    expect_failure(&refused, 1, &[&registry.host()])?;
    check(!refused.stderr.contains("wrong"), || format!("the password is told: {}", refused.stderr))?;
    log_in(&scratch, &registry.host(), PASSWORD)?;
    succeed(&mut push(environment, &scratch, &name))?;
    let other = environment.scratch()?;
    log_in(&other, &registry.host(), PASSWORD)?;
    succeed(&mut pull(environment, &other, &name)).map(drop)
}

fn credentials_of_variable(environment: &Environment) -> Outcome {
    use base64::Engine as _;
    let registry = registry(Config { auth: Auth::basic(USER, PASSWORD), ..Config::default() })?;
    let name = format!("{}/app:1", registry.host());
    let scratch = context(environment)?;
    let config = |host: &str, password: &str| {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{password}"));
        format!("{{\"auths\":{{\"{host}\":{{\"auth\":\"{auth}\"}}}}}}")
    };
    let with = |text: &str| {
        let mut command = push(environment, &scratch, &name);
        command.env("DOCKER_AUTH_CONFIG", text);
        command
    };
    succeed(&mut with(&config(&registry.host(), PASSWORD)))?;
    check(!scratch.path().join("config.json").exists(), || "a login was written down".into())?;
    // It goes before the file for the registries that it names, and leaves others to it.
    log_in(&scratch, &registry.host(), "wrong")?;
    succeed(&mut with(&config(&registry.host(), PASSWORD)))?;
    log_in(&scratch, &registry.host(), PASSWORD)?;
    succeed(&mut with(&config("other.example", "wrong")))?;
    expect_failure(&finish(&mut with(&config(&registry.host(), "wrong")))?, 1, &[&registry.host()])?;
    let malformed = finish(&mut with("{\"auths\": [\"secret\"]}"))?;
    expect_failure(&malformed, 1, &["$DOCKER_AUTH_CONFIG", "malformed at line 1"])?;
    check(!malformed.stderr.contains("secret"), || malformed.stderr.clone())
}

fn stumbling(environment: &Environment) -> Outcome {
    let registry = registry(Config::default())?;
    let name = format!("{}/app:1", registry.host());
    let scratch = context(environment)?;
    registry.inject(Fault::times(2, "/uploads/", Action::retry_after(503, "0")));
    succeed(&mut push(environment, &scratch, &name))?;
    registry.clear_faults();
    registry.inject(Fault::times(2, "/blobs/", Action::retry_after(429, "0")));
    let other = environment.scratch()?;
    succeed(&mut pull(environment, &other, &name)).map(drop)
}

fn damaged(environment: &Environment) -> Outcome {
    let registry = registry(Config::default())?;
    let name = format!("{}/app:1", registry.host());
    let scratch = context(environment)?;
    succeed(&mut push(environment, &scratch, &name))?;
    registry.inject(Fault::always("/blobs/", Action::CorruptBody));
    let other = environment.scratch()?;
    let finished = finish(&mut pull(environment, &other, &name))?;
    check(finished.code == Some(1), || format!("{:?}: {}", finished.code, finished.stderr))?;
    let images = succeed(environment.command(&other.store()).args(["images", "--quiet"]))?;
    equal(&images.text().as_str(), &"", "images in the store")
}

fn foreign_layers(environment: &Environment) -> Outcome {
    let attacker = RawServer::attacker().map_err(|error| error.to_string())?;
    let registry = registry(Config { auth: Auth::basic(USER, PASSWORD), ..Config::default() })?;
    let config = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}}"#;
    let config_digest = registry.put_blob("app", config.as_bytes());
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    let layer = Digest::of(b"elsewhere");
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":{},"digest":"{config_digest}"}},"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":9,"digest":"{layer}","urls":["http://{}/layer"]}}]}}"#,
        config.len(),
        attacker.addr
    );
    registry.put_manifest("app", "1", media_type, manifest.as_bytes());
    let name = format!("{}/app:1", registry.host());
    let scratch = environment.scratch()?;
    log_in(&scratch, &registry.host(), PASSWORD)?;
    expect_failure(&finish(&mut pull(environment, &scratch, &name))?, 1, &[&layer.to_string()])?;
    equal(&attacker.requests().len(), &0, "requests to the URL of the layer")
}

fn missing(environment: &Environment) -> Outcome {
    let registry = registry(Config::default())?;
    let name = format!("{}/nothing:1", registry.host());
    let scratch = environment.scratch()?;
    expect_failure(&finish(&mut pull(environment, &scratch, &name))?, 1, &[&name])?;
    scratch.write("context/Dockerfile", format!("FROM {name}\n"))?;
    let finished = finish(environment.build(&scratch.store()).arg(scratch.at("context")))?;
    check(matches!(finished.code, Some(1 | 2)), || format!("{:?}", finished.code))?;
    check(finished.stderr.contains("Dockerfile:1") && finished.stderr.contains(&name), || finished.stderr.clone())
}

fn unreachable(environment: &Environment) -> Outcome {
    // A port that was free a moment ago.
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string())?;
    let host = listener.local_addr().map_err(|error| error.to_string())?.to_string();
    drop(listener);
    let scratch = environment.scratch()?;
    expect_failure(&finish(&mut pull(environment, &scratch, &format!("{host}/app:1")))?, 1, &[&host])
}

fn unknown_host(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let begin = Instant::now();
    let finished = finish(&mut pull(environment, &scratch, "registry.invalid/app:1"))?;
    // Where a machine has no name server at all, nobody says that the name is none.
    let words: &[&str] =
        if finished.stderr.contains("Temporary failure") { &[] } else { &["no host called `registry.invalid`"] };
    expect_failure(&finished, 1, words)?;
    check(words.is_empty() || begin.elapsed() < Duration::from_secs(5), || {
        "it was asked for again and again".to_owned()
    })
}

fn debian(environment: &Environment) -> Outcome {
    let place = environment.scratch()?;
    let registry = start_debians(&place)?;
    let name = format!("{}/team/app:1", registry.host);
    let scratch = context(environment)?;
    expect_failure(&finish(&mut push(environment, &scratch, &name))?, 1, &[&registry.host])?;
    log_in(&scratch, &registry.host, PASSWORD)?;
    let digest = succeed(&mut push(environment, &scratch, &name))?.text();
    let other = environment.scratch()?;
    log_in(&other, &registry.host, PASSWORD)?;
    let pulled = succeed(&mut pull(environment, &other, &name))?;
    check(pulled.text().contains(&digest), || pulled.text())?;
    equal(&output_of(environment, &other, &name)?.as_str(), &"hello", "output")
}
