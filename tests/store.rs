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
    ("files_of_a_damaged_layer_are_not_exported", &[], damaged_layer),
    ("merged_layers_are_sound", &[], merged_layers),
    ("disk_usage_is_what_du_says_and_prune_frees", &[], disk_usage),
    ("prune_removes_what_filters_and_goals_say", &[], prune_choices),
    ("the_store_is_kept_within_its_budget", &[], budget),
    ("mistakes_in_the_configuration_are_told", &[], configuration),
    ("fsck_finds_damage_and_heals_it", &[], healing),
    ("fsck_tells_which_image_is_lost", &[], lost),
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

/// A row of `bake df`.
fn usage(environment: &Environment, scratch: &Scratch, kind: &str) -> Result<(u64, u64), String> {
    let text = output(environment, scratch, &["df", "--format", "json"])?;
    for line in text.lines() {
        let row: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if row["Type"] == kind {
            let number = |name: &str| row[name].as_u64().ok_or_else(|| format!("no {name} in {line}"));
            return Ok((number("SizeBytes")?, number("ReclaimableBytes")?));
        }
    }
    Err(format!("no {kind} in {text}"))
}

/// What `du` says of the store, in bytes.
fn du(scratch: &Scratch) -> Result<u64, String> {
    let mut command = std::process::Command::new("du");
    let text = succeed(command.args(["--summarize", "--block-size=1"]).arg(scratch.store()))?.text();
    let number = text.split_whitespace().next().and_then(|number| number.parse().ok());
    number.ok_or_else(|| format!("du says {text}"))
}

/// That two figures differ by one per cent at most.
fn near(actual: u64, expected: u64, what: &str) -> Outcome {
    check(actual.abs_diff(expected) * 100 <= expected, || format!("{what}: {actual} instead of {expected}"))
}

/// Lets the next build look whether there is garbage.
fn make_due(scratch: &Scratch) -> Outcome {
    let path = scratch.store().join("locks/collect");
    let hours_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(2);
    let file = fs::File::options().write(true).open(path).map_err(|error| error.to_string())?;
    file.set_modified(hours_ago).map_err(|error| error.to_string())
}

/// Builds an image `app:1` with a layer of 40 megabytes, beside which the index and its log are small.
fn build_large(environment: &Environment, scratch: &Scratch, byte: u8) -> Result<String, String> {
    let recipe =
        format!("FROM busybox\nRUN yes {byte} | head -c 40000000 > /large && mkdir -p /d && ln /large /d/link\n");
    scratch.write("context/Dockerfile", recipe)?;
    build(environment, scratch)
}

fn disk_usage(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    build_large(environment, &scratch, 1)?;
    build_large(environment, &scratch, 2)?;
    near(usage(environment, &scratch, "Total")?.0, du(&scratch)?, "total")?;
    let (_, reclaimable) = usage(environment, &scratch, "Total")?;
    check(reclaimable > 40_000_000, || format!("the first image is not reclaimable: {reclaimable}"))?;
    let before = du(&scratch)?;
    let dry = output(environment, &scratch, &["prune", "--all", "--dry-run"])?;
    near(du(&scratch)?, before, "after a dry run")?;
    let text = output(environment, &scratch, &["prune", "--all", "--force"])?;
    let said = |text: &str| text.lines().last().and_then(|line| line.split(": ").nth(1)).map(str::to_owned);
    equal(&said(&text), &said(&dry), "reclaimed space")?;
    near(before - du(&scratch)?, reclaimable, "freed")?;
    equal(&usage(environment, &scratch, "Total")?.1, &0, "reclaimable after a prune of everything")?;
    near(usage(environment, &scratch, "Total")?.0, du(&scratch)?, "total after the prune")?;
    let details = output(environment, &scratch, &["df", "--verbose"])?;
    check(details.contains("UNIQUE SIZE") && details.contains("RUN yes 2"), || details.clone())
}

fn prune_choices(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    build_large(environment, &scratch, 1)?;
    build_large(environment, &scratch, 2)?;
    let prune = |arguments: &[&str]| output(environment, &scratch, &[&["prune", "--force"], arguments].concat());
    let text = prune(&["--filter", "description~=yes [3-9]"])?;
    equal(&text.as_str(), &"Total reclaimed space: 0B", "nothing matches")?;
    let text = prune(&["--filter", "until=1h", "--all"])?;
    check(!text.contains("RUN yes 1"), || format!("recent cache was removed: {text}"))?;
    let total = usage(environment, &scratch, "Total")?.0;
    let goal = total - 1_000_000;
    let text = prune(&["--max-used-space", &goal.to_string()])?;
    check(text.contains("RUN yes 1") && !text.contains("RUN yes 2"), || text.clone())?;
    check(du(&scratch)? <= goal, || format!("{} bytes are left, not {goal}", du(&scratch).unwrap_or_default()))?;
    output(environment, &scratch, &["run", "app:1", "test", "-s", "/d/link"])?;
    let refused = finish(environment.command(&scratch.store()).args(["prune", "-f", "--filter", "parents=a"]))?;
    expect_failure(&refused, 2, &["parents", "the filters are"])
}

fn budget(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "[gc]\nmax-used-space = \"12MB\"\nmin-free-space = \"0\"\nreserved-space = \"0\"\n";
    scratch.write("config.toml", text)?;
    let build = |byte: u8| {
        let recipe = format!("FROM busybox\nRUN yes {byte} | head -c 8000000 > /large\n");
        scratch.write("context/Dockerfile", recipe)?;
        let mut command = environment.build(&scratch.store());
        command.env("BAKE_CONFIG", scratch.at("config.toml")).args(["--tag", "app:1"]).arg(scratch.at("context"));
        succeed(&mut command).map(|finished| finished.stderr)
    };
    // What a build uses itself stays, however small the budget.
    check(!build(1)?.contains("removed"), || "the build's own layers were removed".into())?;
    // Not due again.
    check(!build(2)?.contains("removed"), || "the store was looked at again at once".into())?;
    make_due(&scratch)?;
    let said = build(3)?;
    check(said.contains("from the cache to keep the store small"), || said.clone())?;
    check(du(&scratch)? < 18_000_000, || format!("{} bytes are left", du(&scratch).unwrap_or_default()))?;
    output(environment, &scratch, &["run", "app:1", "test", "-s", "/large"])?;
    succeed(environment.command(&scratch.store()).arg("fsck")).map(drop)
}

fn configuration(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    let build = |path: &str| {
        let mut command = environment.build(&scratch.store());
        finish(command.env("BAKE_CONFIG", path).arg(scratch.at("context")))
    };
    scratch.write("config.toml", "[gc]\nmax-used-spce = \"20GB\"\n")?;
    expect_failure(&build(&scratch.at("config.toml"))?, 2, &["max-used-spce", "did you mean `max-used-space`?"])?;
    scratch.write("config.toml", "[gc]\nenabled = false\n")?;
    build(&scratch.at("config.toml"))?.success()?;
    expect_failure(&build(&scratch.at("absent.toml"))?, 2, &["absent.toml"])
}

/// Changes a bit in the middle of a file.
fn flip(path: &std::path::Path) -> Outcome {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = fs::read(path).map_err(failed)?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).ok_or("an empty file has no bits")? ^= 4;
    // Blobs are read-only.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::write(path, bytes).map_err(failed)
}

/// The one file below a directory of the store for which `wanted` says so.
fn stored_file(scratch: &Scratch, directory: &str, wanted: &str) -> Result<std::path::PathBuf, String> {
    let mut command = std::process::Command::new("find");
    command.arg(scratch.store().join(directory)).args(["-path", wanted, "-type", "f"]);
    let text = succeed(&mut command)?.text();
    text.lines().next().map(std::path::PathBuf::from).ok_or_else(|| format!("no {wanted} in {directory}"))
}

fn healing(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    // The layer of the step now exists compressed as well.
    let archive = scratch.at("before.tar");
    output(environment, &scratch, &["save", "--output", &archive, "app:1"])?;
    for (directory, wanted) in [
        ("snapshots", "*/step-*/record.json"),
        ("snapshots", "*/step-*/fs/hello"),
        ("tags", "*"),
        ("snapshots", "*/layer-*/fs/bin/busybox"),
    ] {
        let path = match stored_file(&scratch, directory, wanted) {
            Ok(path) => path,
            // An unpacked layer that was taken out is unpacked again when it is needed.
            Err(_) if wanted.contains("layer-") => continue,
            Err(problem) => return Err(problem),
        };
        flip(&path)?;
        let found = succeed(environment.command(&scratch.store()).arg("fsck"))
            .map_err(|problem| format!("{wanted}: {problem}"))?;
        check(found.stdout.starts_with(b"repaired: "), || format!("{wanted} is not noticed: {}", found.stderr))?;
        let again = succeed(environment.command(&scratch.store()).arg("fsck"))?;
        check(again.stderr.contains("nothing is wrong"), || again.stderr.clone())?;
        equal(&output(environment, &scratch, &["run", "--rm", "app:1"])?.as_str(), &"hello", wanted)?;
    }
    let other = environment.scratch()?;
    output(environment, &scratch, &["save", "--output", &archive, "app:1"])?;
    output(environment, &other, &["load", "--input", &archive])?;
    let id = |scratch: &Scratch| output(environment, scratch, &["images", "--quiet", "--no-trunc", "app"]);
    equal(&id(&other)?, &id(&scratch)?, "image ID")?;
    equal(&output(environment, &other, &["run", "--rm", "app:1"])?.as_str(), &"hello", "output elsewhere")
}

fn lost(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    flip(&stored_file(&scratch, "snapshots", "*/step-*/fs/hello")?)?;
    let saved = finish(environment.command(&scratch.store()).args(["save", "-o", &scratch.at("app.tar"), "app:1"]))?;
    check(saved.code == Some(1), || format!("wrong bytes left the store: {}", saved.stderr))?;
    let finished = finish(environment.command(&scratch.store()).arg("fsck"))?;
    equal(&finished.code, &Some(1), "exit code")?;
    check(finished.text().contains("app:1` cannot be used completely any more"), || finished.text())?;
    build(environment, &scratch)?;
    succeed(environment.command(&scratch.store()).arg("fsck"))?;
    equal(&output(environment, &scratch, &["run", "--rm", "app:1"])?.as_str(), &"hello", "output")
}

/// A path in the layer directories of a store.
fn in_layers(scratch: &Scratch, name: &str) -> Result<std::path::PathBuf, String> {
    let layers = fs::read_dir(scratch.store().join("snapshots")).map_err(|error| error.to_string())?;
    let mut paths = layers.filter_map(|layer| Some(layer.ok()?.path().join("fs").join(name)));
    paths.find(|path| path.exists()).ok_or_else(|| format!("no layer holds {name}"))
}

fn damaged_layer(environment: &Environment) -> Outcome {
    let scratch = built(environment)?;
    let export = |name: &str| {
        let mut command = environment.build(&scratch.store());
        command.arg("--output").arg(format!("type=tar,dest={}", scratch.at(name))).arg(scratch.at("context"));
        finish(&mut command)
    };
    export("good.tar")?.success()?;
    let good = fs::read(scratch.at("good.tar")).map_err(|error| error.to_string())?;
    // Of a step's layer, and of the base's, which no tree digest of the index describes. The sizes stay.
    // Nobody could bring the step's layer back for an image.
    output(environment, &scratch, &["rmi", "app:1"])?;
    for name in ["etc/passwd", "hello"] {
        let path = in_layers(&scratch, name)?;
        let mut content = fs::read(&path).map_err(|error| error.to_string())?;
        content[0] ^= 1;
        fs::write(&path, content).map_err(|error| error.to_string())?;
        expect_failure(&export("bad.tar")?, 1, &["is damaged", "bake fsck"])?;
        let checked = output(environment, &scratch, &["fsck"])?;
        check(checked.contains("repaired: snapshot"), || checked.clone())?;
        export("again.tar")?.success()?;
        let again = fs::read(scratch.at("again.tar")).map_err(|error| error.to_string())?;
        // A step that ran again has other times.
        check(name == "hello" || again == good, || format!("other files after {name} was damaged"))?;
    }
    Ok(())
}

fn merged_layers(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let copies: Vec<String> = (0..210).map(|number| format!("COPY file /{number}\n")).collect();
    let copies = copies.concat();
    scratch.write("context/Dockerfile", format!("FROM busybox\n{copies}RUN test -f /0 && test -f /209\n"))?;
    scratch.write("context/file", "x")?;
    build(environment, &scratch)?;
    let checked = succeed(environment.command(&scratch.store()).arg("fsck"))?;
    check(checked.stderr.contains("nothing is wrong"), || format!("{}{}", checked.text(), checked.stderr))
}
