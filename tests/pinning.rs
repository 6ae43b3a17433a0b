//! Images that are fixed by their digests: `bake pin` and `bake.lock`.

mod support;

use std::process::{Command, ExitCode};

use bake_testkit::registry::{Action, Fault};

use support::debian_registry::{PASSWORD, log_in, start_debians};
use support::published::{publish, registry};
use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("digests_are_written_and_renewed", &[], pinned),
    ("pinning_shows_and_checks_without_writing", &[], shown),
    ("what_cannot_be_pinned_is_told", &[], unpinned),
    ("a_lock_fixes_what_tags_mean", &[], locked),
    ("a_lock_can_be_required_renewed_and_ignored", &[], lock_modes),
    ("images_that_no_registry_has_are_not_locked", &[], local_images),
    ("a_lock_that_means_nothing_ends_the_build", &[], bad_lock),
    ("debians_registry_tells_digests", &["docker-registry", "htpasswd"], debian),
];

fn main() -> ExitCode {
    support::run(TESTS)
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

/// A build in a store of its own that writes the file of its base image to `out`, and tells that content.
fn content(environment: &Environment, scratch: &Scratch, flags: &[&str]) -> Result<(String, String), String> {
    let fresh = environment.scratch()?;
    let mut command = environment.build(&fresh.store());
    command.args(flags).arg("--output").arg(scratch.at("out")).arg(scratch.at("context"));
    let finished = succeed(&mut command)?;
    Ok((scratch.read("out/file")?, finished.stderr))
}

fn locked(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let base = format!("{}/base", registry.host());
    let one = publish(environment, &scratch, &format!("{base}:1"), "old")?;
    let two = publish(environment, &scratch, &format!("{base}:2"), "two")?;
    scratch.write("context/Dockerfile", format!("ARG V=1\nFROM {base}:$V\nCOPY --from={base}:2 /file /two\n"))?;
    // Nothing is written unless it is asked for.
    equal(&content(environment, &scratch, &[])?.0.as_str(), &"old", "the file")?;
    check(!scratch.path().join("context/bake.lock").exists(), || "a lock was made".into())?;
    equal(&content(environment, &scratch, &["--lock"])?.0.as_str(), &"old", "the file")?;
    let lock = scratch.read("context/bake.lock")?;
    let body = format!("version = 1\n\n[images]\n\"{base}:1\" = \"{one}\"\n\"{base}:2\" = \"{two}\"\n");
    check(lock.starts_with('#') && lock.ends_with(&body), || lock.clone())?;

    publish(environment, &scratch, &format!("{base}:1"), "new")?;
    let (file, said) = content(environment, &scratch, &[])?;
    equal(&file.as_str(), &"old", "the file after the tag has moved")?;
    check(said.contains("2 images are taken from") && said.contains("bake.lock"), || said)?;
    equal(&content(environment, &scratch, &["--lock"])?.0.as_str(), &"old", "the file with `--lock`")?;
    equal(&scratch.read("context/bake.lock")?, &lock, "the lock, which has everything")?;
    // What is in the store is not asked for.
    let fresh = environment.scratch()?;
    succeed(environment.build(&fresh.store()).arg(scratch.at("context")))?;
    registry.take_requests();
    succeed(environment.build(&fresh.store()).arg("--locked").arg(scratch.at("context")))?;
    equal(&registry.take_requests().len(), &0, "requests for what is locked and there")?;
    equal(&content(environment, &scratch, &["--lock=off"])?.0.as_str(), &"new", "the file without the lock")
}

fn lock_modes(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let base = format!("{}/base", registry.host());
    publish(environment, &scratch, &format!("{base}:1"), "old")?;
    scratch.write("context/Dockerfile", format!("# one\nFROM {base}:1\n"))?;
    let build = |flags: &[&str]| {
        let fresh = environment.scratch()?;
        finish(environment.build(&fresh.store()).args(flags).arg(scratch.at("context")))
    };
    expect_failure(&build(&["--locked"])?, 2, &["there is no lock file", "bake.lock", "--lock"])?;
    let elsewhere = scratch.at("images.lock");
    expect_failure(&build(&["--lock-file", &elsewhere])?, 2, &["images.lock"])?;
    content(environment, &scratch, &["--lock", "--lock-file", &elsewhere])?;
    check(scratch.read("images.lock")?.contains(&format!("{base}:1")), || "the lock is empty".into())?;
    content(environment, &scratch, &["--locked", "--lock-file", &elsewhere])?;
    // A failed build does not move what was tested.
    let new = publish(environment, &scratch, &format!("{base}:1"), "new")?;
    let lock = scratch.read("images.lock")?;
    scratch.write("broken/Dockerfile", format!("FROM {base}:1\nCOPY nothing /\n"))?;
    let fresh = environment.scratch()?;
    let update = ["--lock=update", "--lock-file", elsewhere.as_str()];
    let failed = finish(environment.build(&fresh.store()).args(update).arg(scratch.at("broken")))?;
    check(failed.code != Some(0), || "the build has not failed".into())?;
    equal(&scratch.read("images.lock")?, &lock, "the lock after a failure")?;
    equal(&content(environment, &scratch, &update)?.0.as_str(), &"new", "the file, renewed")?;
    check(scratch.read("images.lock")?.contains(&new), || "the lock was not renewed".into())?;
    // What the lock lacks.
    publish(environment, &scratch, &format!("{base}:3"), "three")?;
    scratch.write("context/Dockerfile", format!("FROM {base}:1\nFROM {base}:3\n"))?;
    let required = ["--locked", "--lock-file", elsewhere.as_str()];
    // The first stage is not needed, and so its image is not asked for.
    expect_failure(&build(&required)?, 2, &["Dockerfile:2:6", &format!("`{base}:3` is not in"), "images.lock"])?;
    let (_, said) = content(environment, &scratch, &["--lock-file", &elsewhere])?;
    check(said.contains(&format!("`{base}:3` is not in")), || said)?;
    expect_failure(&build(&["--lock", "--locked"])?, 2, &["--locked"])
}

fn local_images(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    let local = format!("{}/only-here:1", registry.host());
    scratch.write("base/Dockerfile", "FROM scratch\nCOPY Dockerfile /file\n")?;
    succeed(environment.build(&scratch.store()).args(["--tag", &local]).arg(scratch.at("base")))?;
    scratch.write("context/Dockerfile", format!("FROM {local}\n"))?;
    let finished = succeed(environment.build(&scratch.store()).arg("--lock").arg(scratch.at("context")))?;
    check(finished.stderr.contains("it is only in the local store"), || finished.stderr.clone())?;
    check(!scratch.path().join("context/bake.lock").exists(), || "a lock was made".into())?;
    let fresh = environment.scratch()?;
    let failed = finish(environment.build(&fresh.store()).arg("--lock").arg(scratch.at("context")))?;
    expect_failure(&failed, 2, &["cannot lock the image", "Dockerfile:1"])
}

fn bad_lock(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")?;
    let build = |flags: &[&str]| finish(environment.build(&scratch.store()).args(flags).arg(scratch.at("context")));
    for (text, problem) in [("version = 1\n<<<<<<<\n", "line 2"), ("version = 7\n", "version 7"), ("\u{0}", "line 1")] {
        scratch.write("context/bake.lock", text)?;
        expect_failure(&build(&[])?, 2, &["bake.lock", problem, "--lock=off"])?;
        expect_failure(&build(&["--lock"])?, 2, &["bake.lock", problem])?;
        equal(&scratch.read("context/bake.lock")?.as_str(), &text, "the lock")?;
        equal(&build(&["--lock=off"])?.code, &Some(0), "exit code without the lock")?;
    }
    // A digest that no registry has is said to come from the lock.
    let registry = registry()?;
    let name = format!("{}/base:1", registry.host());
    publish(environment, &scratch, &name, "x")?;
    let digest = format!("sha256:{}", "0".repeat(64));
    scratch.write("context/Dockerfile", format!("FROM {name}\n"))?;
    scratch.write("context/bake.lock", format!("version = 1\n[images]\n\"{name}\" = \"{digest}\"\n"))?;
    expect_failure(&build(&[])?, 2, &[&digest, "--lock=update", "Dockerfile:1"])
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
