//! `bake login` and `bake logout`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use bake_testkit::program::{self, Finished};
use bake_testkit::registry::{Auth, Config, FakeRegistry};

use crate::support::debian_registry::{PASSWORD, USER};
use crate::support::{Environment, Outcome, Scratch, check, equal, expect_failure, finish, succeed};

/// `bake login`, with the password on standard input.
pub(crate) fn log_in(
    environment: &Environment,
    scratch: &Scratch,
    host: &str,
    password: &str,
) -> Result<Finished, String> {
    let mut command = environment.command(&scratch.store());
    command.args(["login", "--username", USER, "--password-stdin", host]);
    with_input(command.env("DOCKER_CONFIG", scratch.path()).env("XDG_CONFIG_HOME", scratch.path()), password)
}

/// Runs a command with something on its standard input.
fn with_input(command: &mut Command, input: &str) -> Result<Finished, String> {
    let finished = program::run_with_input(command, input.as_bytes().to_vec());
    finished.map_err(|error| error.to_string())
}

fn log_out(environment: &Environment, scratch: &Scratch, host: &str) -> Result<Finished, String> {
    succeed(environment.command(&scratch.store()).args(["logout", host]).env("DOCKER_CONFIG", scratch.path()))
}

fn expect_success(finished: &Finished) -> Outcome {
    check(finished.code == Some(0) && finished.text() == "Login Succeeded", || {
        format!("{:?}: {}{}", finished.code, finished.text(), finished.stderr)
    })
}

fn registry(auth: Auth) -> Result<FakeRegistry, String> {
    FakeRegistry::start(Config { auth, ..Config::default() }).map_err(|error| error.to_string())
}

fn auths(scratch: &Scratch) -> Result<serde_json::Value, String> {
    let config: serde_json::Value =
        serde_json::from_str(&scratch.read("config.json")?).map_err(|error| error.to_string())?;
    Ok(config["auths"].clone())
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

pub(crate) fn kept(environment: &Environment) -> Outcome {
    let registry = registry(Auth::basic(USER, PASSWORD))?;
    let (host, scratch) = (registry.host(), environment.scratch()?);
    // A newline at the end is not part of the password.
    let finished = log_in(environment, &scratch, &format!("http://{host}/v2/"), &format!("{PASSWORD}\r\n"))?;
    expect_success(&finished)?;
    check(finished.stderr.contains("unencrypted") && !finished.stderr.contains(PASSWORD), || finished.stderr.clone())?;
    let auth = base64(&format!("{USER}:{PASSWORD}"));
    let text = format!("{{\n\t\"auths\": {{\n\t\t\"{host}\": {{\n\t\t\t\"auth\": \"{auth}\"\n\t\t}}\n\t}}\n}}");
    equal(&scratch.read("config.json")?, &text, "config.json")?;
    let mode = fs::metadata(scratch.at("config.json")).map_err(|error| error.to_string())?.permissions().mode();
    equal(&(mode & 0o777), &0o600, "mode")?;
    // Who is logged in is not asked again.
    let mut again = environment.command(&scratch.store());
    again.args(["login", &host]).env("DOCKER_CONFIG", scratch.path()).stdin(Stdio::null());
    expect_success(&finish(&mut again)?)?;

    equal(&log_out(environment, &scratch, &host)?.text(), &format!("Removing login credentials for {host}"), "logout")?;
    equal(&auths(&scratch)?, &serde_json::json!({}), "auths")?;
    equal(&log_out(environment, &scratch, &host)?.text(), &format!("Not logged in to {host}"), "logout")
}

pub(crate) fn refused(environment: &Environment) -> Outcome {
    for auth in [Auth::basic(USER, PASSWORD), Auth::bearer(USER, PASSWORD)] {
        let registry = registry(auth)?;
        let scratch = environment.scratch()?;
        let before = "{\"auths\":{\"other.example\":{}}}";
        scratch.write("config.json", before)?;
        let finished = log_in(environment, &scratch, &registry.host(), "wrong-one")?;
        expect_failure(&finished, 1, &[&registry.host(), "refused", "hint: "])?;
        check(!finished.stderr.contains("wrong-one"), || finished.stderr.clone())?;
        equal(&scratch.read("config.json")?.as_str(), &before, "config.json")?;
    }
    Ok(())
}

pub(crate) fn rest_stays(environment: &Environment) -> Outcome {
    let registry = registry(Auth::basic(USER, PASSWORD))?;
    let (host, scratch) = (registry.host(), environment.scratch()?);
    // The config is a link to a file with other things in it.
    let elsewhere = environment.scratch()?;
    let text = r#"{"psFormat":"table","auths":{"other.example":{"auth":"dTpw"}},"plugins":{"x":{"y":"z"}}}"#;
    elsewhere.write("docker.json", text)?;
    std::os::unix::fs::symlink(elsewhere.at("docker.json"), scratch.at("config.json"))
        .map_err(|error| error.to_string())?;
    expect_success(&log_in(environment, &scratch, &host, PASSWORD)?)?;
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).map_err(|error| error.to_string());
    let config = parse(&elsewhere.read("docker.json")?)?;
    let mut expected = parse(text)?;
    expected["auths"][&host] = serde_json::json!({ "auth": base64(&format!("{USER}:{PASSWORD}")) });
    equal(&config, &expected, "config")?;
    log_out(environment, &scratch, &host)?;
    equal(&parse(&elsewhere.read("docker.json")?)?, &parse(text)?, "config after logout")?;
    // What cannot be understood is not overwritten.
    elsewhere.write("docker.json", "{\"auths\": []}")?;
    expect_failure(&log_in(environment, &scratch, &host, PASSWORD)?, 1, &["malformed"])?;
    equal(&elsewhere.read("docker.json")?.as_str(), &"{\"auths\": []}", "config")
}

pub(crate) fn helper(environment: &Environment) -> Outcome {
    let registry = registry(Auth::basic(USER, PASSWORD))?;
    let (host, scratch) = (registry.host(), environment.scratch()?);
    scratch.write("config.json", "{\"credsStore\":\"test\"}")?;
    let kept = scratch.at("kept");
    scratch.write(
        "bin/docker-credential-test",
        format!(
            "#!/bin/sh\ncase $1 in\nstore) cat > '{kept}';;\nerase) rm '{kept}';;\n\
             get) cat '{kept}' 2>/dev/null || {{ echo 'credentials not found in native keychain'; exit 1; }};;\nesac\n"
        ),
    )?;
    fs::set_permissions(scratch.at("bin/docker-credential-test"), fs::Permissions::from_mode(0o755))
        .map_err(|error| error.to_string())?;
    let path = format!("{}:/usr/bin:/bin", scratch.at("bin"));
    let run = |arguments: &[&str], input: &str| {
        let mut command = environment.command(&scratch.store());
        command.args(arguments).env("DOCKER_CONFIG", scratch.path()).env("PATH", &path);
        with_input(&mut command, input)
    };
    let finished = run(&["login", "-u", USER, "--password-stdin", &host], PASSWORD)?;
    expect_success(&finished)?;
    check(!finished.stderr.contains("unencrypted"), || finished.stderr.clone())?;
    let config = scratch.read("config.json")?;
    check(!config.contains("auth\"") && config.contains("credsStore"), || config.clone())?;
    equal(&auths(&scratch)?, &serde_json::json!({ &host: {} }), "auths")?;
    check(scratch.read("kept")?.contains(PASSWORD), || "the helper keeps nothing".to_owned())?;
    // What the helper keeps is used.
    expect_success(&run(&["login", &host], "")?)?;
    equal(&run(&["logout", &host], "")?.text(), &format!("Removing login credentials for {host}"), "logout")?;
    check(fs::metadata(&kept).is_err(), || "the helper still keeps it".to_owned())?;
    equal(&auths(&scratch)?, &serde_json::json!({}), "auths")
}

pub(crate) fn identity_token(environment: &Environment) -> Outcome {
    let registry = registry(Auth::bearer(USER, PASSWORD))?;
    let (host, scratch) = (registry.host(), environment.scratch()?);
    expect_success(&log_in(environment, &scratch, &host, PASSWORD)?)?;
    let expected = serde_json::json!({
        &host: { "auth": base64(&format!("{USER}:")), "identitytoken": format!("refresh-{PASSWORD}") }
    });
    equal(&auths(&scratch)?, &expected, "auths")?;
    scratch.write("context/Dockerfile", "FROM scratch\nLABEL a=b\n")?;
    let mut build = environment.build(&scratch.store());
    build.args(["--push", "-t", &format!("{host}/app:1")]).arg(scratch.at("context"));
    succeed(build.env("DOCKER_CONFIG", scratch.path()))?;
    check(registry.manifest("app", "1").is_some(), || "nothing was pushed".to_owned())
}

pub(crate) fn no_terminal(environment: &Environment) -> Outcome {
    let registry = registry(Auth::basic(USER, PASSWORD))?;
    let (host, scratch) = (registry.host(), environment.scratch()?);
    for (arguments, words) in [
        (&["login", host.as_str()][..], &["no terminal", "--password-stdin"][..]),
        (&["login", "-u", "me", &host], &["no terminal"]),
        (&["login", "--password-stdin", &host], &["--username"]),
        (&["login", "-p", "x", &host], &["--username"]),
        (&["login", "-u", "me", "-p", "x", "--password-stdin", &host], &["--password"]),
        (&["login", "-u", "me", "--password-stdin", &host], &["must not be empty"]),
        (&["login", "not a host"], &["expected a registry"]),
    ] {
        let mut command = environment.command(&scratch.store());
        command.args(arguments).env("DOCKER_CONFIG", scratch.path()).stdin(Stdio::null());
        expect_failure(&finish(&mut command)?, 2, words)?;
    }
    check(fs::metadata(scratch.at("config.json")).is_err(), || "a config was written".to_owned())
}

pub(crate) fn typed(environment: &Environment) -> Outcome {
    let registry = registry(Auth::basic(USER, PASSWORD))?;
    let (host, scratch) = (registry.host(), environment.scratch()?);
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command"]);
    command.arg(format!("'{}' login {host}", environment.bake.display())).arg("/dev/null");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("DOCKER_CONFIG", scratch.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut keys = child.stdin.take().ok_or("no standard input")?;
    let mut shown = child.stdout.take().ok_or("no standard output")?;
    let mut seen = String::new();
    for (question, answer) in [("Username", USER), ("Password", PASSWORD)] {
        read_until(&mut shown, &mut seen, question)?;
        keys.write_all(format!("{answer}\n").as_bytes()).map_err(|error| error.to_string())?;
    }
    read_until(&mut shown, &mut seen, "Login Succeeded")?;
    drop(keys);
    check(child.wait().is_ok_and(|status| status.success()), || seen.clone())?;
    check(!seen.contains(PASSWORD), || format!("the password is shown: {seen}"))?;
    check(auths(&scratch)?.get(&host).is_some(), || "nothing was kept".to_owned())
}

fn read_until(shown: &mut impl std::io::Read, seen: &mut String, text: &str) -> Outcome {
    let mut buffer = [0; 1024];
    while !seen.contains(text) {
        let count = shown.read(&mut buffer).map_err(|error| format!("{error} after: {seen}"))?;
        check(count > 0, || format!("it ended after: {seen}"))?;
        seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    // What it shows before it takes keys is over when the question is complete.
    std::thread::sleep(std::time::Duration::from_millis(100));
    Ok(())
}
