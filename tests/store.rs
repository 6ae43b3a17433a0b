//! The local store from the outside: images by name, what is kept, whose it is.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("images_are_listed_tagged_and_removed", &[], listed_tagged_removed),
    ("an_image_tells_its_config_and_history", &[], inspected),
    ("images_travel_in_archives", &[], archives),
    ("an_image_runs", &[], runs),
    ("pruning_keeps_what_has_a_name", &[], pruning),
    ("a_store_of_somebody_else_is_refused", &["root"], foreign),
    ("a_store_that_others_can_write_is_refused", &[], writable_by_others),
    ("a_directory_that_is_no_store_is_refused", &[], no_store),
    ("a_store_of_another_format_is_refused", &[], other_format),
    ("the_index_can_be_made_again", &[], rebuilt),
    ("a_store_is_its_owners_alone", &[], mode),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// A store with the image `app:1`.
fn built(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch
        .write("context/Dockerfile", "FROM busybox\nRUN echo hello > /hello\nENV A=b\nCMD [\"cat\", \"/hello\"]\n")?;
    build(environment, &scratch)?;
    Ok(scratch)
}

fn build(environment: &Environment, scratch: &Scratch) -> Result<String, String> {
    let mut command = environment.build(&scratch.store());
    command.args(["--tag", "app:1"]).arg(scratch.at("context"));
    succeed(&mut command).map(|finished| finished.stderr)
}

fn output(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<String, String> {
    succeed(environment.command(&scratch.store()).args(arguments)).map(|finished| finished.text())
}

fn listed_tagged_removed(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    let list = |arguments: &[&str]| output(environment, &scratch, arguments);
    let table = list(&["images"])?;
    check(table.starts_with("REPOSITORY") && table.contains("app"), || table.clone())?;
    list(&["tag", "app:1", "registry.example.com/team/app:2"])?;
    let json = list(&["images", "--no-trunc", "--format", "json"])?;
    let ids: Vec<String> = json
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).map(|image| image["ID"].to_string()))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{error}: {json}"))?;
    check(ids.len() == 2 && ids[0] == ids[1] && ids[0].contains("sha256:"), || json.clone())?;
    list(&["rmi", "app:1"])?;
    let table = list(&["images"])?;
    check(table.contains("registry.example.com/team/app"), || table.clone())?;
    let missing = finish(environment.command(&scratch.store()).args(["inspect", "app:1"]))?;
    check(missing.code != Some(0) && missing.stderr.contains("app:1"), || missing.stderr.clone())
}

fn inspected(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    let text = output(environment, &scratch, &["inspect", "app:1"])?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let image = &json[0];
    equal(&image["Config"]["Cmd"][0].as_str(), &Some("cat"), "command")?;
    equal(&image["RootFS"]["Layers"].as_array().map(Vec::len), &Some(2), "layers")?;
    let id = image["Id"].as_str().unwrap_or_default().trim_start_matches("sha256:").to_owned();
    check(output(environment, &scratch, &["inspect", &id[..12]]).is_ok(), || format!("no image {id}"))?;
    let history = output(environment, &scratch, &["history", "--no-trunc", "app:1"])?;
    let lines: Vec<&str> = history.lines().collect();
    check(lines.first().is_some_and(|line| line.contains("CREATED BY")), || history.clone())?;
    check(lines.get(1).is_some_and(|line| line.contains("CMD")), || history.clone())
}

fn archives(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    let archive = scratch.at("app.tar");
    output(environment, &scratch, &["save", "--output", &archive, "app:1"])?;
    let other = environment.scratch()?;
    output(environment, &other, &["load", "--input", &archive])?;
    let id = |scratch: &Scratch| output(environment, scratch, &["images", "--quiet", "--no-trunc", "app"]);
    equal(&id(&other)?, &id(&scratch)?, "image ID")?;
    equal(&output(environment, &other, &["run", "--rm", "app:1"])?.as_str(), &"hello", "output")?;
    let broken = other.at("broken.tar");
    other.write("broken.tar", "no archive")?;
    let finished = finish(environment.command(&other.store()).args(["load", "--input", &broken]))?;
    check(matches!(finished.code, Some(1 | 2)), || format!("{:?}: {}", finished.code, finished.stderr))
}

fn runs(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    equal(&output(environment, &scratch, &["run", "--rm", "app:1"])?.as_str(), &"hello", "output")?;
    let shown = output(environment, &scratch, &["run", "-e", "C=d", "app:1", "sh", "-c", "echo $A $C"])?;
    equal(&shown.as_str(), &"b d", "variables")?;
    let finished = finish(environment.command(&scratch.store()).args(["run", "app:1", "sh", "-c", "exit 42"]))?;
    equal(&finished.code, &Some(42), "exit code")?;
    // What was written is gone.
    output(environment, &scratch, &["run", "app:1", "rm", "/hello"])?;
    equal(&output(environment, &scratch, &["run", "app:1"])?.as_str(), &"hello", "output")
}

fn pruning(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    output(environment, &scratch, &["prune", "--all", "--force"])?;
    equal(&output(environment, &scratch, &["run", "--rm", "app:1"])?.as_str(), &"hello", "output")?;
    output(environment, &scratch, &["rmi", "app:1"])?;
    output(environment, &scratch, &["prune", "--all", "--force"])?;
    output(environment, &scratch, &["fsck"])?;
    let table = output(environment, &scratch, &["df"])?;
    check(!table.is_empty(), || "nothing is told".into())?;
    let said = build(environment, &scratch)?;
    check(said.contains("built 1 step in"), || format!("the step was not carried out again: {said}"))
}

fn foreign(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    std::os::unix::fs::chown(scratch.store(), Some(12_345), Some(12_345)).map_err(|error| error.to_string())?;
    let finished = finish(environment.command(&scratch.store()).arg("images"))?;
    check(finished.code != Some(0), || "the store was used".into())?;
    check(finished.stderr.contains("owned by user 12345"), || finished.stderr.clone())
}

fn writable_by_others(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    fs::set_permissions(scratch.store(), fs::Permissions::from_mode(0o777)).map_err(|error| error.to_string())?;
    let finished = finish(environment.command(&scratch.store()).arg("images"))?;
    check(finished.code != Some(0), || "the store was used".into())?;
    check(finished.stderr.contains("0700"), || finished.stderr.clone())
}

fn no_store(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("store/my-thesis.txt", "do not touch")?;
    fs::set_permissions(scratch.store(), fs::Permissions::from_mode(0o700)).map_err(|error| error.to_string())?;
    let finished = finish(environment.command(&scratch.store()).arg("images"))?;
    check(finished.code != Some(0), || "the directory was used".into())?;
    check(finished.stderr.contains("my-thesis.txt"), || finished.stderr.clone())?;
    equal(&scratch.read("store/my-thesis.txt")?.as_str(), &"do not touch", "the file")
}

fn other_format(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    let is_version = |name: &str| name.contains("version") || name.contains("format");
    let names: Vec<String> = fs::read_dir(scratch.store())
        .map_err(|error| error.to_string())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_version(name))
        .collect();
    let [name] = names.as_slice() else { return Err(format!("the file with the format is not there: {names:?}")) };
    let text = scratch.read(&format!("store/{name}"))?;
    let newer = text.replacen(|character: char| character.is_ascii_digit(), "99", 1);
    scratch.write(&format!("store/{name}"), newer)?;
    expect_failure(&finish(environment.command(&scratch.store()).arg("images"))?, 1, &["format 99"])
}

fn rebuilt(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    for name in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        // Only the first is always there.
        let _ = fs::remove_file(scratch.store().join(name));
    }
    succeed(environment.command(&scratch.store()).args(["fsck", "--rebuild"]))?;
    succeed(environment.command(&scratch.store()).arg("fsck"))?;
    build(environment, &scratch)?;
    equal(&output(environment, &scratch, &["run", "--rm", "app:1"])?.as_str(), &"hello", "output")
}

fn mode(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    let metadata = fs::metadata(scratch.store()).map_err(|error| error.to_string())?;
    equal(&(metadata.permissions().mode() & 0o7777), &0o700, "mode of the store")
}
