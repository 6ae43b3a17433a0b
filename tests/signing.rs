//! Signatures of images: made and verified here, by skopeo, and with keys of openssl.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, ExitCode};

use bake_oci::Digest;
use base64::Engine as _;
use serde_json::Value;

use support::debian_registry::{PASSWORD, log_in, start_debians};
use support::published::{publish, registry};
use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("what_was_signed_is_verified", &[], signed),
    ("keys_are_files_that_are_not_overwritten", &[], keys),
    ("signatures_can_refer_to_their_image", &[], referrer),
    ("a_key_of_openssl_signs", &["openssl"], openssl),
    ("skopeo_verifies_what_was_signed_here", &["sigstore"], skopeo_verifies),
    ("what_skopeo_signed_is_verified_here", &["sigstore"], skopeo_signs),
    ("signatures_are_in_debians_registry", &["docker-registry", "htpasswd"], debian),
];

const KEY_PASSWORD: &str = "correct horse battery staple";

fn main() -> ExitCode {
    support::run(TESTS)
}

/// A command of bake in the scratch directory, with the password of keys and without a store.
fn tool(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = environment.command(&scratch.path().join("no-store"));
    command.args(arguments).current_dir(scratch.path());
    command.env("COSIGN_PASSWORD", KEY_PASSWORD).env("DOCKER_CONFIG", scratch.path());
    command
}

fn signed(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let run = |arguments: &[&str]| finish(&mut tool(environment, &scratch, arguments));
    let name = format!("{}/team/app:1", registry.host());
    let digest = publish(environment, &scratch, &name, "x")?;
    let pinned = format!("{}/team/app@{digest}", registry.host());
    run(&["keygen"])?.success()?;
    run(&["keygen", "--output", "second"])?.success()?;
    let unsigned = run(&["verify", "--key", "cosign.pub", &name])?;
    expect_failure(&unsigned, 1, &["cannot verify", &name, "it is not signed", &pinned])?;
    equal(&unsigned.text().as_str(), &"", "standard output of a failure")?;

    equal(&run(&["sign", "--key", "cosign.key", &name])?.success()?.text(), &pinned, "what was signed")?;
    check(!scratch.path().join("no-store").exists(), || "a store was made".into())?;
    let verified = run(&["verify", "--key", "cosign.pub", &name])?.success()?;
    equal(&verified.text(), &pinned, "what was verified")?;
    run(&["verify", "--key", "cosign.pub", &pinned])?.success()?;
    let other = run(&["verify", "--key", "second.pub", &name])?;
    expect_failure(&other, 1, &["1 signature, none of which is valid: it was made by another key"])?;
    let either = run(&["verify", "--key", "second.pub", "--key", "cosign.pub", &name])?.success()?;
    check(either.stderr.contains("signed by `cosign.pub`"), || either.stderr.clone())?;

    // A second signature keeps the first; one that is there is not made again.
    run(&["sign", "--key", "second.key", &name])?.success()?;
    for key in ["cosign.pub", "second.pub"] {
        run(&["verify", "--key", key, &name])?.success()?;
    }
    registry.take_requests();
    let again = run(&["sign", "--key", "cosign.key", &name])?.success()?;
    check(again.stderr.contains("already"), || again.stderr.clone())?;
    let sent = registry.take_requests();
    check(!sent.iter().any(|request| request.method == "PUT"), || format!("{sent:?}"))?;

    // The name means another image now.
    publish(environment, &scratch, &name, "y")?;
    expect_failure(&run(&["verify", "--key", "cosign.pub", &name])?, 1, &["it is not signed"])?;
    run(&["verify", "--key", "cosign.pub", &pinned])?.success()?;
    let nothing = format!("{}/team/nothing:1", registry.host());
    expect_failure(&run(&["sign", "--key", "cosign.key", &nothing])?, 1, &["cannot sign", &nothing])
}

fn keys(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let run = |arguments: &[&str]| finish(&mut tool(environment, &scratch, arguments));
    run(&["keygen", "--output", "k"])?.success()?;
    let mode = |name: &str| std::fs::metadata(scratch.path().join(name)).map(|file| file.permissions().mode() & 0o777);
    equal(&mode("k.key").map_err(|error| error.to_string())?, &0o600, "permissions of the private key")?;
    let private = scratch.read("k.key")?;
    check(private.starts_with("-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n"), || private.clone())?;
    expect_failure(&run(&["keygen", "--output", "k"])?, 2, &["`k.key` is there already"])?;
    equal(&scratch.read("k.key")?, &private, "the private key")?;

    let sign = |password: Option<&str>, key: &str| {
        let mut command = tool(environment, &scratch, &["sign", "--key", key, "127.0.0.1:9/app:1"]);
        match password {
            Some(password) => command.env("COSIGN_PASSWORD", password),
            None => command.env_remove("COSIGN_PASSWORD"),
        };
        finish(command.env("SOME_KEY", &private))
    };
    expect_failure(&sign(Some("wrong"), "k.key")?, 2, &["`k.key`", "the password is wrong"])?;
    expect_failure(&sign(None, "k.key")?, 2, &["no terminal", "COSIGN_PASSWORD"])?;
    expect_failure(&sign(Some("wrong"), "env://SOME_KEY")?, 2, &["the password is wrong"])?;
    expect_failure(&sign(Some(""), "env://NO_KEY")?, 2, &["there is no such variable"])?;
    expect_failure(&sign(Some(""), "awskms:///alias/x")?, 2, &["keys of `awskms` are not supported"])?;
    expect_failure(&sign(Some(""), "k.pub")?, 2, &["it holds a `PUBLIC KEY`"])?;
    expect_failure(&sign(Some(""), "nothing.key")?, 2, &["nothing.key", "No such file"])?;
    // The right password gets as far as the registry, which is not there.
    expect_failure(&sign(Some(KEY_PASSWORD), "env://SOME_KEY")?, 1, &["cannot sign", "127.0.0.1:9"])
}

fn referrer(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let run = |arguments: &[&str]| finish(&mut tool(environment, &scratch, arguments));
    run(&["keygen"])?.success()?;
    let registry = registry()?;
    let name = format!("{}/team/app:1", registry.host());
    let digest = publish(environment, &scratch, &name, "x")?;
    run(&["sign", "--key", "cosign.key", "--place", "referrer", &name])?.success()?;
    let tag = format!("{}.sig", digest.replace(':', "-"));
    check(registry.manifest("team/app", &tag).is_none(), || "the signature has a tag".into())?;
    run(&["verify", "--key", "cosign.pub", &name])?.success()?;
    let again = run(&["sign", "--key", "cosign.key", "--place", "referrer", &name])?.success()?;
    check(again.stderr.contains("already"), || again.stderr.clone())?;
    run(&["keygen", "--output", "second"])?.success()?;
    let other = run(&["verify", "--key", "second.pub", &name])?;
    expect_failure(&other, 1, &["1 signature, none of which is valid: it was made by another key"])?;
    // Each place is one of its own.
    let tagged = run(&["sign", "--key", "cosign.key", &name])?.success()?;
    check(!tagged.stderr.contains("already"), || tagged.stderr.clone())?;
    check(registry.manifest("team/app", &tag).is_some(), || "the signature has no tag".into())
}

fn openssl(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let name = format!("{}/app:1", registry.host());
    let digest = publish(environment, &scratch, &name, "x")?;
    let openssl = |arguments: &[&str]| succeed(Command::new("openssl").args(arguments).current_dir(scratch.path()));
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "plain.key"])?;
    openssl(&["pkey", "-in", "plain.key", "-pubout", "-out", "plain.pub"])?;
    let run = |arguments: &[&str]| finish(tool(environment, &scratch, arguments).env_remove("COSIGN_PASSWORD"));
    run(&["sign", "--key", "plain.key", &name])?.success()?;
    run(&["verify", "--key", "plain.pub", &name])?.success()?;
    // What is in the registry is what cosign's specification says, and openssl verifies it by itself.
    let tag = format!("{}.sig", digest.replace(':', "-"));
    let (media_type, manifest) = registry.manifest("app", &tag).ok_or("there is no signature")?;
    equal(&media_type.as_str(), &"application/vnd.oci.image.manifest.v1+json", "media type")?;
    let manifest: Value = serde_json::from_slice(&manifest).map_err(|error| error.to_string())?;
    let layer = &manifest["layers"][0];
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("{manifest} lacks a text"));
    equal(&text(&layer["mediaType"])?.as_str(), &"application/vnd.dev.cosign.simplesigning.v1+json", "layer")?;
    let payload = Digest::parse(&text(&layer["digest"])?).map_err(|error| error.to_string())?;
    scratch.write("payload", registry.blob("app", &payload).ok_or("there is no document")?)?;
    check(scratch.read("payload")?.contains(&digest), || "the document is not of the image".into())?;
    let signature = text(&layer["annotations"]["dev.cosignproject.cosign/signature"])?;
    let signature = base64::engine::general_purpose::STANDARD.decode(signature).map_err(|error| error.to_string())?;
    scratch.write("signature", signature)?;
    openssl(&["dgst", "-sha256", "-verify", "plain.pub", "-signature", "signature", "payload"])?;
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", "other.key"])?;
    expect_failure(&run(&["sign", "--key", "other.key", &name])?, 2, &["only ECDSA keys on the curve P-256"])
}

/// skopeo with a policy that wants signatures of `registry` by the key `cosign.pub`.
fn skopeo(scratch: &Scratch, registry: &str) -> Result<Command, String> {
    scratch.write(
        "policy.json",
        format!(
            r#"{{"default":[{{"type":"reject"}}],"transports":{{"docker":{{"{registry}":[{{"type":"sigstoreSigned",
                "keyPath":"{}","signedIdentity":{{"type":"matchRepository"}}}}]}},
                "dir":{{"":[{{"type":"insecureAcceptAnything"}}]}}}}}}"#,
            scratch.at("cosign.pub")
        ),
    )?;
    let attachments = format!("docker:\n  {registry}:\n    use-sigstore-attachments: true\n");
    scratch.write("registries.d/test.yaml", attachments)?;
    let mut command = Command::new("skopeo");
    command.arg("--policy").arg(scratch.at("policy.json")).arg("--registries.d").arg(scratch.at("registries.d"));
    command.args(["copy", "--src-tls-verify=false", "--dest-tls-verify=false"]);
    Ok(command)
}

fn skopeo_verifies(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let run = |arguments: &[&str]| finish(&mut tool(environment, &scratch, arguments));
    let name = format!("{}/team/app:1", registry.host());
    publish(environment, &scratch, &name, "x")?;
    run(&["keygen"])?.success()?;
    run(&["keygen", "--output", "second"])?.success()?;
    let copy = |out: &str| {
        let out = format!("dir:{}", scratch.at(out));
        finish(skopeo(&scratch, &registry.host())?.args(["--remove-signatures", &format!("docker://{name}"), &out]))
    };
    check(copy("unsigned")?.code != Some(0), || "skopeo takes an image that is not signed".into())?;
    run(&["sign", "--key", "second.key", &name])?.success()?;
    check(copy("other")?.code != Some(0), || "skopeo takes an image that somebody else signed".into())?;
    run(&["sign", "--key", "cosign.key", &name])?.success()?;
    copy("signed")?.success().map(drop)
}

fn skopeo_signs(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let run = |arguments: &[&str]| finish(&mut tool(environment, &scratch, arguments));
    let (name, copy) = (format!("{}/team/app:1", registry.host()), format!("{}/team/copy:1", registry.host()));
    publish(environment, &scratch, &name, "x")?;
    run(&["keygen"])?.success()?;
    run(&["keygen", "--output", "second"])?.success()?;
    run(&["sign", "--key", "cosign.key", &name])?.success()?;
    scratch.write("password", KEY_PASSWORD)?;
    let mut signing = skopeo(&scratch, &registry.host())?;
    signing.arg("--sign-by-sigstore-private-key").arg(scratch.at("second.key"));
    signing.arg("--sign-passphrase-file").arg(scratch.at("password"));
    succeed(signing.args([format!("docker://{name}"), format!("docker://{copy}")]))?;
    // The key that was made here was unlocked there, and both signatures came along.
    run(&["verify", "--key", "second.pub", &copy])?.success()?;
    run(&["verify", "--key", "cosign.pub", &copy])?.success()?;
    expect_failure(&run(&["verify", "--key", "second.pub", &name])?, 1, &["another key"])
}

fn debian(environment: &Environment) -> Outcome {
    let place = environment.scratch()?;
    let registry = start_debians(&place)?;
    let scratch = environment.scratch()?;
    log_in(&scratch, &registry.host, PASSWORD)?;
    let run = |arguments: &[&str]| finish(&mut tool(environment, &scratch, arguments));
    let name = format!("{}/team/app:1", registry.host);
    publish(environment, &scratch, &name, "x")?;
    run(&["keygen"])?.success()?;
    run(&["keygen", "--output", "second"])?.success()?;
    run(&["sign", "--key", "cosign.key", &name])?.success()?;
    // That registry knows no referrers; they get a tag of their own.
    run(&["sign", "--key", "second.key", "--place", "referrer", &name])?.success()?;
    for key in ["cosign.pub", "second.pub"] {
        run(&["verify", "--key", key, &name])?.success()?;
    }
    log_in(&scratch, &registry.host, "wrong")?;
    expect_failure(
        &run(&["verify", "--key", "cosign.pub", &name])?,
        1,
        &["cannot verify", "the credentials were refused"],
    )
}
