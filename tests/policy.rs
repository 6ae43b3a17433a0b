//! Which images a build may use: rules, and BuildKit's source policies.

mod support;

use std::process::ExitCode;

use support::published::{publish, registry};
use support::{Environment, Outcome, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("images_without_a_digest_are_refused_before_anything_is_asked", &[], unpinned),
    ("every_way_to_name_an_image_is_judged", &[], everywhere),
    ("the_configuration_and_the_command_line_both_count", &[], configured),
    ("a_policy_that_means_nothing_ends_the_build", &[], bad_policy),
    ("signatures_are_wanted_and_verified", &[], signed),
    ("an_image_for_several_platforms_is_signed_and_locked_as_one", &[], platforms),
    ("source_policies_deny_and_convert", &[], source_policy),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

fn unpinned(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let name = format!("{}/base:1", registry.host());
    let digest = publish(environment, &scratch, &name, "x")?;
    scratch.write("policy.toml", "version = 1\ndefault = \"deny\"\n[[rules]]\nimages = [\"**\"]\npinned = true\n")?;
    scratch.write("context/Dockerfile", format!("FROM scratch AS a\nFROM {name}\n"))?;
    let fresh = environment.scratch()?;
    let build = |flags: &[&str]| {
        let mut command = environment.build(&fresh.store());
        command.arg("--policy").arg(scratch.at("policy.toml")).args(flags).arg(scratch.at("context"));
        finish(&mut command)
    };
    registry.take_requests();
    let said = ["policy.toml", &name, "the rule of line 4 wants a digest", "Dockerfile:2:6", "bake pin"];
    expect_failure(&build(&[])?, 2, &said)?;
    equal(&registry.take_requests().len(), &0, "requests about an image that is refused")?;
    // `plan` and `--check` judge as builds do.
    expect_failure(&build(&["--check"])?, 2, &["wants a digest"])?;
    // A lock fixes the digest as well.
    equal(&build(&["--lock"])?.code, &Some(0), "exit code with `--lock`")?;
    equal(&build(&[])?.code, &Some(0), "exit code with a lock")?;
    expect_failure(&build(&["--lock=off"])?, 2, &["wants a digest"])?;
    scratch.write("context/Dockerfile", format!("FROM {name}@{digest}\n"))?;
    equal(&build(&["--lock=off"])?.code, &Some(0), "exit code with a digest")
}

fn everywhere(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let (good, bad) = (format!("{}/good/base:1", registry.host()), format!("{}/bad/base:1", registry.host()));
    publish(environment, &scratch, &good, "good")?;
    publish(environment, &scratch, &bad, "bad")?;
    let rules = format!(
        "version = 1\ndefault = \"allow\"\n[[rules]]\nimages = [\"{}/bad/*\"]\naction = \"deny\"\nmessage = \"use good ones\"\n",
        registry.host()
    );
    scratch.write("policy.toml", rules)?;
    for (dockerfile, line, flags) in [
        (format!("FROM {bad}\n"), "Dockerfile:1:6", vec![]),
        (format!("ARG B={bad}\nFROM $B\n"), "Dockerfile:2:6", vec![]),
        (format!("FROM scratch\nCOPY --from={bad} / /\n"), "Dockerfile:2:", vec![]),
        (format!("FROM {good}\nRUN --mount=from={bad},target=/x true\n"), "Dockerfile:2:", vec![]),
        (
            "FROM base\n".to_owned(),
            "Dockerfile:1:6",
            vec!["--build-context".to_owned(), format!("base=docker-image://{bad}")],
        ),
        (format!("ARG B={good}\nFROM $B\n"), "Dockerfile:2:6", vec!["--build-arg".to_owned(), format!("B={bad}")]),
    ] {
        scratch.write("context/Dockerfile", &dockerfile)?;
        let fresh = environment.scratch()?;
        registry.take_requests();
        let mut command = environment.build(&fresh.store());
        command.arg("--policy").arg(scratch.at("policy.toml")).args(&flags).arg(scratch.at("context"));
        expect_failure(&finish(&mut command)?, 2, &[line, "the rule of line 4 denies it: use good ones"])?;
        let asked = registry.take_requests();
        check(!asked.iter().any(|request| request.path.contains("/bad/")), || format!("{dockerfile}: {asked:?}"))?;
    }
    // A stage that is not needed is not judged: nothing of it is used.
    scratch.write("context/Dockerfile", format!("FROM {bad} AS unused\nFROM {good}\n"))?;
    let mut command = environment.build(&scratch.store());
    command.arg("--policy").arg(scratch.at("policy.toml")).arg(scratch.at("context"));
    succeed(&mut command).map(drop)
}

fn configured(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let name = format!("{}/base:1", registry.host());
    publish(environment, &scratch, &name, "x")?;
    scratch.write("allow.toml", "version = 1\ndefault = \"allow\"\n")?;
    scratch.write("deny.toml", "version = 1\ndefault = \"deny\"\n")?;
    scratch.write("config.toml", format!("policy = \"{}\"\n", scratch.at("deny.toml")))?;
    scratch.write("context/Dockerfile", format!("FROM {name}\n"))?;
    let run = |command: &str, flags: &[&str]| {
        let mut run = environment.command(&scratch.store());
        run.arg(command).args(flags).arg(scratch.at("context")).env("BAKE_CONFIG", scratch.at("config.toml"));
        finish(&mut run)
    };
    for flags in [&[][..], &["--policy", &scratch.at("allow.toml")], &["--policy", "disabled=true"]] {
        expect_failure(&run("build", flags)?, 2, &["deny.toml", "no rule allows it"])?;
        expect_failure(&run("plan", flags)?, 2, &["deny.toml", "no rule allows it"])?;
    }
    scratch.write("config.toml", format!("policy = \"{}\"\n", scratch.at("allow.toml")))?;
    equal(&run("build", &[])?.code, &Some(0), "exit code")?;
    expect_failure(&run("build", &["--policy", &scratch.at("deny.toml")])?, 2, &["deny.toml"])
}

fn signed(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let host = registry.host();
    let name = format!("{host}/team/base:1");
    let digest = publish(environment, &scratch, &name, "x")?;
    let tool = |arguments: &[&str]| {
        let mut command = environment.command(&scratch.store());
        succeed(command.args(arguments).env("COSIGN_PASSWORD", "secret").current_dir(scratch.path()))
    };
    scratch.write(
        "policy/policy.toml",
        format!(
            "version = 1\ndefault = \"allow\"\n[[rules]]\nimages = [\"{host}/team/*\"]\nsigned-by = [\"team.pub\"]\n"
        ),
    )?;
    for key in ["policy/team", "policy/other"] {
        tool(&["keygen", "--output", key])?;
    }
    scratch.write("context/Dockerfile", format!("FROM {name}\n"))?;
    // On a disk that is nearly full, collecting garbage would forget what was verified.
    scratch.write("config.toml", "[gc]\nenabled = false\n")?;
    let fresh = environment.scratch()?;
    let build = || {
        let mut command = environment.build(&fresh.store());
        command.env("BAKE_CONFIG", scratch.at("config.toml"));
        command.arg("--policy").arg(scratch.at("policy/policy.toml")).arg(scratch.at("context"));
        finish(&mut command)
    };
    registry.take_requests();
    let said = ["policy.toml", "line 4 wants a signature by `team.pub`, but it is not signed", "Dockerfile:1:6"];
    expect_failure(&build()?, 2, &said)?;
    // Nothing but the digest and the signature was asked for.
    let asked = registry.take_requests();
    check(!asked.iter().any(|request| request.path.contains("/blobs/")), || format!("{asked:?}"))?;
    tool(&["sign", "--key", "policy/other.key", &name])?;
    expect_failure(&build()?, 2, &["has 1 signature, none of which is valid: it was made by another key"])?;
    tool(&["sign", "--key", "policy/team.key", &name])?;
    build()?.success()?;
    // Once verified it stays so: of an image with a digest nothing is asked again.
    scratch.write("context/Dockerfile", format!("FROM {name}@{digest}\n"))?;
    registry.take_requests();
    build()?.success()?;
    let asked = registry.take_requests();
    check(asked.is_empty(), || format!("asked about what was verified and is there: {asked:?}"))?;
    // The signature is of the image, not of the name: a tag that moves to another image has none.
    publish(environment, &scratch, &name, "evil")?;
    scratch.write("context/Dockerfile", format!("FROM {name}\n"))?;
    expect_failure(&build()?, 2, &["it is not signed"])?;
    // And it does not help to put the signature of one image beside another.
    let evil = publish(environment, &scratch, &name, "evil")?;
    let tag = |digest: &str| format!("{}.sig", digest.replace(':', "-"));
    let (media_type, manifest) = registry.manifest("team/base", &tag(&digest)).ok_or("there is no signature")?;
    registry.put_manifest("team/base", &tag(&evil), &media_type, &manifest);
    expect_failure(&build()?, 2, &["none of which is valid: it is of another image", &digest])?;
    // A key that cannot be read ends the build before anything is asked.
    scratch.write("policy/team.pub", "nothing")?;
    expect_failure(&build()?, 2, &["policy.toml", "team.pub", "no key in PEM form"])
}

fn platforms(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let name = format!("{}/team/base:1", registry.host());
    scratch.write("publish/Dockerfile", "FROM scratch\nCOPY Dockerfile /file\n")?;
    let both = ["--platform", "linux/amd64,linux/arm64"];
    let mut push = environment.build(&scratch.store());
    push.args(both).args(["--push", "--tag", &name]).arg(scratch.at("publish"));
    let index = succeed(&mut push)?.text();
    let tool = |arguments: &[&str]| {
        let mut command = environment.command(&scratch.store());
        succeed(command.args(arguments).env("COSIGN_PASSWORD", "secret").current_dir(scratch.path()))
    };
    tool(&["keygen"])?;
    let signed = tool(&["sign", "--key", "cosign.key", &name])?.text();
    check(signed.ends_with(&format!("@{index}")), || format!("{signed} is not the index {index}"))?;
    scratch.write(
        "policy.toml",
        "version = 1\ndefault = \"deny\"\n[[rules]]\nimages = [\"**\"]\npinned = true\nsigned-by = [\"cosign.pub\"]\n",
    )?;
    scratch.write("context/Dockerfile", format!("FROM {name}\nCOPY --from={name} /file /copy\n"))?;
    let fresh = environment.scratch()?;
    let build = |flags: &[&str]| {
        let mut command = environment.build(&fresh.store());
        command.args(both).args(flags).arg("--policy").arg(scratch.at("policy.toml")).arg(scratch.at("context"));
        finish(&mut command)
    };
    build(&["--lock"])?.success()?;
    let lock = scratch.read("context/bake.lock")?;
    equal(&lock.matches("sha256:").count(), &1, "digests in the lock")?;
    check(lock.contains(&format!("\"{name}\" = \"{index}\"")), || lock.clone())?;
    build(&["--locked"])?.success()?;
    // The index was signed; one of its images alone was not.
    let (_, manifest) = registry.manifest("team/base", "1").ok_or("there is no index")?;
    let text = String::from_utf8_lossy(&manifest).into_owned();
    let one = text.split("\"digest\":\"").nth(1).and_then(|rest| rest.split('"').next()).ok_or("no manifest")?;
    scratch.write("context/Dockerfile", format!("FROM --platform=linux/amd64 {name}@{one}\n"))?;
    expect_failure(&build(&[])?, 2, &["line 4 wants a signature", "it is not signed"])
}

fn bad_policy(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")?;
    scratch.write("policy.toml", "version = 1\ndefault = \"deny\"\n[[rules]]\nimages = [\"debian\"]\n")?;
    let build = |flags: &[&str]| finish(environment.build(&scratch.store()).args(flags).arg(scratch.at("context")));
    let policy = scratch.at("policy.toml");
    expect_failure(&build(&["--policy", &policy])?, 2, &["policy.toml", "line 4", "docker.io/library/debian"])?;
    expect_failure(&build(&["--policy", &scratch.at("none.toml")])?, 2, &["none.toml"])?;
    expect_failure(&build(&["--policy", "filename=x.rego"])?, 2, &["Rego"])?;
    expect_failure(&build(&["--source-policy-file", &policy])?, 2, &["policy.toml", "expected value"])
}

fn source_policy(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let host = registry.host();
    let digest = publish(environment, &scratch, &format!("{host}/mirror/base:1"), "mirrored")?;
    publish(environment, &scratch, &format!("{host}/mirror/base:1"), "moved")?;
    scratch.write(
        "policy.json",
        format!(
            r#"{{"rules":[
                {{"action":"CONVERT","selector":{{"identifier":"docker-image://docker.io/library/base:*"}},
                  "updates":{{"identifier":"docker-image://{host}/mirror/base:$1@{digest}"}}}},
                {{"action":"DENY","selector":{{"identifier":"docker-image://{host}/bad/*"}}}}]}}"#
        ),
    )?;
    let build = || {
        let mut command = environment.build(&scratch.store());
        command.env("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", scratch.at("policy.json"));
        command.arg("--output").arg(scratch.at("out")).arg(scratch.at("context"));
        finish(&mut command)
    };
    scratch.write("context/Dockerfile", "FROM base:1\n")?;
    build()?.success()?;
    equal(&scratch.read("out/file")?.as_str(), &"mirrored", "the file of the image that it was converted to")?;
    scratch.write("context/Dockerfile", format!("FROM {host}/bad/base:1\n"))?;
    expect_failure(&build()?, 2, &["policy.json", "rule 2", "denies it", "Dockerfile:1:6"])?;
    scratch.write("policy.json", r#"{"rules":[{"action":"DENY","selector":{"identifier":"https://*"}}]}"#)?;
    expect_failure(&build()?, 2, &["policy.json", "rule 1", "other sources than images"])
}
