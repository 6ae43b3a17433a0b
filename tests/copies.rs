//! COPY of many files of which one changed: the new layer shares the others with the layer before, and is the same layer
//! that a build from nothing makes.

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("unchanged_files_are_shared_and_the_layer_is_that_of_a_fresh_build", &[], shared),
    ("files_are_copied_where_sharing_would_show", &[], not_shared),
    ("damage_in_a_shared_file_is_noticed", &[], damaged),
];

/// Enough for what was copied to be remembered.
const FILES: usize = 300;

fn main() -> ExitCode {
    support::run(TESTS)
}

fn context(scratch: &Scratch) -> Outcome {
    scratch.write("context/Dockerfile", "FROM busybox\nCOPY . /\nCOPY --chown=7:8 tree /own\n")?;
    for number in 0..FILES {
        scratch.write(&format!("context/tree/d{}/f{number}", number % 7), format!("content {number}"))?;
    }
    scratch.write("context/top", "top")
}

/// The digest of a build in `store`.
fn build(environment: &Environment, scratch: &Scratch, store: &Path) -> Result<String, String> {
    let built = succeed(environment.build(store).arg(scratch.at("context")))?;
    Ok(String::from_utf8_lossy(&built.stdout).trim().to_owned())
}

/// The same, where nothing was built before.
fn build_afresh(environment: &Environment, scratch: &Scratch) -> Result<String, String> {
    let store = tempfile::tempdir_in(scratch.path()).map_err(|error| error.to_string())?;
    build(environment, scratch, store.path())
}

/// The files called `path` in the layers of a store.
fn in_layers(store: &Path, path: &str) -> Vec<PathBuf> {
    let Ok(layers) = fs::read_dir(store.join("snapshots")) else { return Vec::new() };
    layers.flatten().map(|layer| layer.path().join("fs").join(path)).filter(|file| file.is_file()).collect()
}

fn links(files: &[PathBuf]) -> Vec<u64> {
    files.iter().filter_map(|file| Some(fs::metadata(file).ok()?.nlink())).collect()
}

fn shared(environment: &Environment) -> Outcome {
    let scratch = &environment.scratch()?;
    context(scratch)?;
    let store = scratch.store();
    build(environment, scratch, &store)?;
    scratch.write("context/tree/d0/f0", "CONTENT 0")?;
    let again = build(environment, scratch, &store)?;
    equal(&again, &build_afresh(environment, scratch)?, "digest after a change")?;
    for (path, expected) in [("own/d1/f1", [2, 2]), ("tree/d1/f1", [2, 2]), ("tree/d0/f0", [1, 1])] {
        equal(&links(&in_layers(&store, path)), &expected.to_vec(), path)?;
    }
    // Once more, now from a layer that shares files itself; and with a file less, and one of another mode.
    fs::remove_file(scratch.at("context/tree/d2/f2")).map_err(|error| error.to_string())?;
    let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    fs::set_permissions(scratch.at("context/tree/d3/f3"), mode).map_err(|error| error.to_string())?;
    let third = build(environment, scratch, &store)?;
    equal(&third, &build_afresh(environment, scratch)?, "digest after a second change")?;
    equal(&links(&in_layers(&store, "tree/d1/f1")), &vec![3, 3, 3], "names of a file")?;
    let checked = succeed(environment.command(&store).arg("fsck"))?;
    check(checked.stderr.contains("nothing is wrong"), || checked.stderr)
}

fn not_shared(environment: &Environment) -> Outcome {
    let scratch = &environment.scratch()?;
    context(scratch)?;
    let store = scratch.store();
    // Two names of one file in the context, then two files with equal content and times.
    let (one, two) = (scratch.at("context/tree/one"), scratch.at("context/tree/two"));
    scratch.write("context/tree/one", "same")?;
    fs::hard_link(&one, &two).map_err(|error| error.to_string())?;
    build(environment, scratch, &store)?;
    let time = fs::metadata(&one).and_then(|metadata| metadata.modified()).map_err(|error| error.to_string())?;
    fs::remove_file(&two).map_err(|error| error.to_string())?;
    scratch.write("context/tree/two", "same")?;
    let file = fs::File::options().write(true).open(&two).map_err(|error| error.to_string())?;
    file.set_modified(time).map_err(|error| error.to_string())?;
    // The key of a copy does not tell names from files, so something else has to change as well.
    scratch.write("context/tree/d0/f0", "Content 0")?;
    let apart = build(environment, scratch, &store)?;
    equal(&apart, &build_afresh(environment, scratch)?, "digest of two files")?;
    // And back.
    fs::remove_file(&two).map_err(|error| error.to_string())?;
    fs::hard_link(&one, &two).map_err(|error| error.to_string())?;
    scratch.write("context/tree/d0/f0", "CONTENT 0")?;
    let linked = build(environment, scratch, &store)?;
    equal(&linked, &build_afresh(environment, scratch)?, "digest of one file")
}

fn damaged(environment: &Environment) -> Outcome {
    let scratch = &environment.scratch()?;
    context(scratch)?;
    let store = scratch.store();
    build(environment, scratch, &store)?;
    for file in in_layers(&store, "tree/d1/f1") {
        let before = fs::metadata(&file).and_then(|metadata| metadata.modified()).map_err(|error| error.to_string())?;
        fs::write(&file, "CONTENT 1").map_err(|error| error.to_string())?;
        let opened = fs::File::options().write(true).open(&file).map_err(|error| error.to_string())?;
        opened.set_modified(before).map_err(|error| error.to_string())?;
    }
    scratch.write("context/tree/d0/f0", "CONTENT 0")?;
    let failed = finish(environment.build(&store).arg(scratch.at("context")))?;
    expect_failure(&failed, 1, &["tree/d1/f1", "damaged", "bake fsck"])?;
    finish(environment.command(&store).arg("fsck"))?;
    let healed = build(environment, scratch, &store)?;
    equal(&healed, &build_afresh(environment, scratch)?, "digest after repair")
}
