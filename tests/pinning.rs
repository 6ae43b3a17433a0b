//! Images that are fixed by their digests: `bake pin`.

mod support;

use std::process::{Command, ExitCode};

use bake_testkit::registry::{Action, Config, FakeRegistry, Fault};

use support::debian_registry::{PASSWORD, log_in, start_debians};
use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("digests_are_written_and_renewed", &[], pinned),
    ("pinning_shows_and_checks_without_writing", &[], shown),
    ("what_cannot_be_pinned_is_told", &[], unpinned),
    ("debians_registry_tells_digests", &["docker-registry", "htpasswd"], debian),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

fn registry() -> Result<FakeRegistry, String> {
    FakeRegistry::start(Config::default()).map_err(|error| error.to_string())
}

/// Builds an image with one file, pushes it, and tells its digest.
fn publish(environment: &Environment, scratch: &Scratch, name: &str, content: &str) -> Result<String, String> {
    scratch.write("publish/Dockerfile", "FROM scratch\nCOPY file /file\n")?;
    scratch.write("publish/file", content)?;
    let mut command = environment.build(&scratch.store());
    command.args(["--push", "--tag", name]).arg(scratch.at("publish")).env("DOCKER_CONFIG", scratch.path());
    succeed(&mut command).map(|finished| finished.text())
}

/// `bake pin`, which needs no store.
fn pin(environment: &Environment, scratch: &Scratch) -> Command {
    let mut command = environment.command(&scratch.path().join("no-store"));
    command.arg("pin").env("DOCKER_CONFIG", scratch.path());
    command
}

fn pinned(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let base = format!("{}/base", registry.host());
    let old = publish(environment, &scratch, &format!("{base}:1"), "old")?;
    let latest = publish(environment, &scratch, &base, "latest")?;
    let text = |base_1: &str, base_latest: &str| {
        format!(
            "# syntax=docker/dockerfile:1\r\nARG V=1{base_1}\r\nFROM {base}:$V AS a\r\nFROM {base}:1{base_1}\r\n\
             RUN <<E\r\nFROM {base}:1\r\nE\r\nCOPY --from={base}{base_latest} /file /x\r\nCOPY --from=a / /\r\n"
        )
    };
    scratch.write("Dockerfile", text("", ""))?;
    registry.take_requests();
    succeed(pin(environment, &scratch).arg(scratch.at("Dockerfile")))?;
    let asked = registry.take_requests();
    let heads = asked.iter().filter(|request| request.method == "HEAD").count();
    check(asked.len() <= 4 && heads == 2, || format!("each name is asked for once, by HEAD: {asked:?}"))?;
    let once = text(&format!("@{old}"), &format!(":latest@{latest}"));
    equal(&scratch.read("Dockerfile")?, &once, "the Dockerfile")?;
    check(!scratch.path().join("no-store").exists(), || "a store was made".into())?;

    // The tag moves; only `--update` follows it.
    let new = publish(environment, &scratch, &format!("{base}:1"), "new")?;
    check(new != old, || "the image has not changed".into())?;
    succeed(pin(environment, &scratch).arg(scratch.at("Dockerfile")))?;
    equal(&scratch.read("Dockerfile")?, &once, "the Dockerfile, pinned again")?;
    succeed(pin(environment, &scratch).arg("--check").arg(scratch.at("Dockerfile")))?;
    let outdated = finish(pin(environment, &scratch).args(["--check", "--update"]).arg(scratch.at("Dockerfile")))?;
    expect_failure(&outdated, 1, &[&format!("means `{new}` now"), "Dockerfile:3"])?;
    succeed(pin(environment, &scratch).arg("--update").arg(scratch.at("Dockerfile")))?;
    equal(&scratch.read("Dockerfile")?, &text(&format!("@{new}"), &format!(":latest@{latest}")), "the new Dockerfile")
}

fn shown(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let name = format!("{}/base:1", registry.host());
    let digest = publish(environment, &scratch, &name, "x")?;
    let text = format!("FROM {name}\n");
    scratch.write("Dockerfile", &text)?;
    let shown = finish(pin(environment, &scratch).arg("--diff").arg(scratch.at("Dockerfile")))?;
    expect_failure(&shown, 1, &["1 image would be pinned"])?;
    check(shown.text().contains(&format!("-FROM {name}\n+FROM {name}@{digest}")), || shown.text())?;
    registry.take_requests();
    let checked = finish(pin(environment, &scratch).arg("--check").arg(scratch.at("Dockerfile")))?;
    expect_failure(&checked, 1, &["has no digest", "Dockerfile:1:6", "1 image without a digest"])?;
    check(registry.take_requests().is_empty(), || "`--check` asks registries".into())?;
    equal(&scratch.read("Dockerfile")?, &text, "the Dockerfile")
}

fn unpinned(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let base = format!("{}/base", registry.host());
    let digest = publish(environment, &scratch, &format!("{base}:1"), "x")?;
    scratch.write("Dockerfile", format!("FROM {base}:1\nFROM {base}:2\nARG V=1\nFROM \"{base}:1\"\n"))?;
    let finished = finish(pin(environment, &scratch).arg(scratch.at("Dockerfile")))?;
    let said =
        ["Dockerfile:2", "has no such image", "Dockerfile:4", "quotes", "1 image pinned", "2 images without a digest"];
    expect_failure(&finished, 1, &said)?;
    let after = format!("FROM {base}:1@{digest}\nFROM {base}:2\nARG V=1\nFROM \"{base}:1\"\n");
    equal(&scratch.read("Dockerfile")?, &after, "the Dockerfile")?;
    // A registry that refuses is told with its answer.
    scratch.write("Dockerfile", format!("FROM {base}:1\n"))?;
    registry.inject(Fault::always("/manifests/", Action::error(403, "DENIED")));
    let finished = finish(pin(environment, &scratch).arg(scratch.at("Dockerfile")))?;
    expect_failure(&finished, 1, &["Dockerfile:1", "403"])
}

fn debian(environment: &Environment) -> Outcome {
    let place = environment.scratch()?;
    let registry = start_debians(&place)?;
    let scratch = environment.scratch()?;
    let name = format!("{}/team/base:1", registry.host);
    log_in(&scratch, &registry.host, PASSWORD)?;
    let digest = publish(environment, &scratch, &name, "x")?;
    scratch.write("Dockerfile", format!("FROM {name}"))?;
    succeed(pin(environment, &scratch).arg(scratch.at("Dockerfile")))?;
    equal(&scratch.read("Dockerfile")?, &format!("FROM {name}@{digest}"), "the Dockerfile")?;
    // Without the password nothing is found out.
    log_in(&scratch, &registry.host, "wrong")?;
    let refused = finish(pin(environment, &scratch).arg("--update").arg(scratch.at("Dockerfile")))?;
    expect_failure(&refused, 1, &["is not renewed", "1 digest not renewed"])
}
