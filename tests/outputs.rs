//! Where results go: every kind of `--output`, read by the programs that will read it.

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, ExitCode};

use bake_testkit::tree::{Listing, describe_archive};

use support::published::build;
use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("oci_archive", &[], oci_archive),
    ("oci_archive_on_standard_output", &[], oci_on_output),
    ("oci_directory_read_by_skopeo", &["skopeo"], oci_directory),
    ("oci_directory_unpacked_by_umoci", &["root", "umoci"], unpacked_by_umoci),
    ("docker_archive_read_by_skopeo", &["skopeo"], docker_archive),
    ("docker_archive_loaded_by_podman", &["root", "podman"], loaded_by_podman),
    ("files_in_a_directory", &["root"], files_in_a_directory),
    ("files_in_an_archive", &["tar"], files_in_an_archive),
    ("several_outputs_at_once", &[], several),
    ("compressions", &[], compressions),
    ("a_layer_is_compressed_once", &[], compressed_once),
    ("what_is_not_compressed_goes_straight_into_archives", &["tar"], straight_into_archives),
    ("an_output_that_cannot_be_written", &[], unwritable),
    ("several_platforms", &[], several_platforms),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

const DOCKERFILE: &str = "FROM layers\n\
    RUN rm /lower/a && echo made > /made && chown app:staff /made && chmod 4750 /made && ln /made /linked && ln -s made /link\n\
    COPY --chown=7:8 file /copied\n\
    CMD [\"cat\", \"/made\"]\n";

fn context(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", DOCKERFILE)?;
    scratch.write("context/file", "copied\n")?;
    Ok(scratch)
}

fn json(bytes: &[u8]) -> Result<serde_json::Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn described(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    describe_archive(file, Listing::default()).map(|image| image.text).map_err(|error| error.to_string())
}

fn oci_archive(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let finished = succeed(build(environment, &scratch, &["type=oci,dest=out.tar"]).args(["--tag", "app:1"]))?;
    let file = File::open(scratch.path().join("out.tar")).map_err(|error| error.to_string())?;
    let image = describe_archive(file, Listing::default()).map_err(|error| error.to_string())?;
    equal(&image.digest, &finished.text(), "digest")?;
    for line in ["f 4750 1000:50 5 made", "h made -> linked", "w lower/a", "f 0644 7:8 7 copied"] {
        let other = line.replace("h made -> linked", "h linked -> made").replace("5 made", "5 linked");
        check(image.text.contains(line) || image.text.contains(&other), || format!("`{line}` in\n{}", image.text))?;
    }
    Ok(())
}

fn oci_on_output(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let finished = succeed(&mut build(environment, &scratch, &["type=oci"]))?;
    describe_archive(finished.stdout.as_slice(), Listing::default()).map_err(|error| error.to_string())?;
    Ok(())
}

fn oci_directory(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let finished = succeed(build(environment, &scratch, &["type=oci,tar=false,dest=layout"]).args(["--tag", "app:1"]))?;
    let mut inspect = Command::new("skopeo");
    let inspected = succeed(inspect.args(["inspect", "oci:layout:1"]).current_dir(scratch.path()))?;
    equal(&json(&inspected.stdout)?["Digest"].as_str(), &Some(finished.text().as_str()), "digest")?;
    let mut copy = Command::new("skopeo");
    copy.args(["--insecure-policy", "copy", "oci:layout:1", "docker-archive:copy.tar:app:1"]);
    succeed(copy.current_dir(scratch.path()))?;
    let text = described(&scratch.path().join("copy.tar"))?;
    check(text.contains("f 0644 7:8 7 copied"), || text.clone())
}

fn unpacked_by_umoci(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    succeed(build(environment, &scratch, &["type=oci,tar=false,dest=layout"]).args(["--tag", "app:1"]))?;
    let mut unpack = Command::new("umoci");
    succeed(unpack.args(["unpack", "--image", "layout:1", "bundle"]).current_dir(scratch.path()))?;
    files_are_right(&scratch.path().join("bundle/rootfs"))
}

/// What [`DOCKERFILE`] leaves, with owners.
fn files_are_right(root: &Path) -> Outcome {
    let stat = |name: &str| fs::symlink_metadata(root.join(name)).map_err(|error| format!("{name}: {error}"));
    let made = stat("made")?;
    equal(&(made.uid(), made.gid(), made.permissions().mode() & 0o7777), &(1000, 50, 0o4750), "made")?;
    equal(&(made.ino(), made.nlink()), &(stat("linked")?.ino(), 2), "links")?;
    let copied = stat("copied")?;
    equal(&(copied.uid(), copied.gid(), copied.len()), &(7, 8, 7), "copied")?;
    check(stat("link")?.is_symlink(), || "link".into())?;
    for gone in ["lower/a", "lower/gone", "lower/dir/sub/z", "lower/opaque/old"] {
        check(stat(gone).is_err(), || format!("`{gone}` is still there"))?;
    }
    equal(&fs::read_to_string(root.join("lower/b")).unwrap_or_default().as_str(), &"second b\n", "lower/b")
}

fn docker_archive(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    succeed(build(environment, &scratch, &["type=docker,dest=docker.tar"]).args(["--tag", "app:1"]))?;
    described(&scratch.path().join("docker.tar"))?;
    let mut inspect = Command::new("skopeo");
    let inspected =
        succeed(inspect.args(["inspect", "--config", "docker-archive:docker.tar:app:1"]).current_dir(scratch.path()))?;
    equal(&json(&inspected.stdout)?["config"]["Cmd"][1].as_str(), &Some("/made"), "command")
}

fn loaded_by_podman(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    succeed(build(environment, &scratch, &["type=docker,dest=docker.tar"]).args(["--tag", "app:1"]))?;
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.args(["--root", &scratch.at("podman"), "--runroot", &scratch.at("podman-run")]);
        command.args(["--storage-driver", "vfs"]).args(arguments).current_dir(scratch.path());
        succeed(&mut command)
    };
    let loaded = podman(&["load", "--input", "docker.tar"])?;
    check(loaded.text().contains("app:1"), || loaded.text())?;
    let inspected = podman(&["image", "inspect", "app:1"])?;
    equal(&json(&inspected.stdout)?[0]["Config"]["Cmd"][0].as_str(), &Some("cat"), "command")?;
    podman(&["image", "rm", "--force", "app:1"]).map(drop)
}

fn files_in_a_directory(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let finished = succeed(&mut build(environment, &scratch, &["out"]))?;
    equal(&finished.text().as_str(), &"", "standard output")?;
    files_are_right(&scratch.path().join("out"))
}

fn files_in_an_archive(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    succeed(&mut build(environment, &scratch, &["type=tar,dest=files.tar"]))?;
    let on_output = succeed(&mut build(environment, &scratch, &["-"]))?;
    let file = fs::read(scratch.path().join("files.tar")).map_err(|error| error.to_string())?;
    check(file == on_output.stdout, || "the file and standard output differ".into())?;
    let listed = succeed(Command::new("tar").args(["--numeric-owner", "-tvf", &scratch.at("files.tar")]))?.text();
    check(listed.contains("-rwsr-x--- 1000/50"), || listed.clone())?;
    check(listed.contains("7/8") && !listed.contains("lower/a\n") && !listed.contains(".wh."), || listed.clone())
}

fn several(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let outputs = ["type=oci,dest=one.tar", "type=docker,dest=two.tar", "type=local,dest=three"];
    succeed(build(environment, &scratch, &outputs).args(["--load", "--tag", "app:1"]))?;
    equal(&described(&scratch.path().join("one.tar"))?, &described(&scratch.path().join("two.tar"))?, "images")?;
    check(scratch.path().join("three/made").exists(), || "no files".into())?;
    let images = succeed(environment.command(&scratch.store()).args(["images", "--format", "json"]))?;
    check(images.text().contains("app"), || images.text())
}

fn compressions(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let mut texts = Vec::new();
    for compression in ["uncompressed", "gzip", "zstd", "gzip,compression-level=9", "zstd,force-compression=true"] {
        let output = format!("type=oci,dest=out.tar,compression={compression}");
        succeed(&mut build(environment, &scratch, &[&output]))?;
        texts.push(described(&scratch.path().join("out.tar"))?);
    }
    check(texts.windows(2).all(|pair| pair[0] == pair[1]), || "compression changes files".into())
}

/// What was compressed is not even read again: it may have changed.
fn compressed_once(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let first = succeed(&mut build(environment, &scratch, &["type=oci,dest=one.tar"]))?.text();
    let mut find = Command::new("find");
    find.arg(scratch.store().join("snapshots")).args(["-name", "made", "-size", "-2", "-type", "f"]);
    let found = succeed(&mut find)?.text();
    let file = found.lines().next().ok_or("the layer is not in the store")?;
    File::options().append(true).open(file).and_then(|file| file.set_len(1)).map_err(|error| error.to_string())?;
    equal(&succeed(&mut build(environment, &scratch, &["type=oci,dest=two.tar"]))?.text(), &first, "digest")?;
    equal(&described(&scratch.path().join("two.tar"))?, &described(&scratch.path().join("one.tar"))?, "image")?;
    // Another form is made of the layer.
    let other = finish(&mut build(environment, &scratch, &["type=oci,dest=three.tar,compression=zstd"]))?;
    expect_failure(&other, 1, &["its directory in the store was changed"])
}

/// The archive of a layer is the same whether it was a blob of the store before or not, and damage is noticed on the way.
fn straight_into_archives(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    succeed(&mut build(environment, &scratch, &["type=oci,dest=straight.tar,compression=uncompressed"]))?;
    fs::create_dir(scratch.path().join("straight")).map_err(|error| error.to_string())?;
    succeed(Command::new("tar").args(["-xf", &scratch.at("straight.tar"), "-C", &scratch.at("straight")]))?;
    let blobs = |directory: &Path| {
        let files = fs::read_dir(directory.join("blobs/sha256")).map_err(|error| error.to_string())?;
        files
            .map(|file| {
                let file = file.map_err(|error| error.to_string())?;
                let content = fs::read(file.path()).map_err(|error| error.to_string())?;
                Ok((file.file_name(), content))
            })
            .collect::<Result<BTreeMap<_, _>, String>>()
    };
    let straight = blobs(&scratch.path().join("straight"))?;
    let kept = blobs(Path::new(&scratch.store()))?;
    let layers = straight.keys().filter(|name| !kept.contains_key(*name)).count();
    check(layers >= 2, || format!("{layers} of {} blobs are not in the store", straight.len()))?;
    succeed(&mut build(environment, &scratch, &["type=oci,tar=false,dest=blobs,compression=uncompressed"]))?;
    check(blobs(&scratch.path().join("blobs"))? == straight, || "a layer through the store is another one".into())?;

    let scratch = context(environment)?;
    succeed(&mut build(environment, &scratch, &["type=cacheonly"]))?;
    let mut find = Command::new("find");
    find.arg(scratch.store().join("snapshots")).args(["-name", "made", "-size", "-2", "-type", "f"]);
    let found = succeed(&mut find)?.text();
    let file = found.lines().next().ok_or("the layer is not in the store")?;
    fs::write(file, "5 MADE").map_err(|error| error.to_string())?;
    let damaged = finish(&mut build(environment, &scratch, &["type=oci,dest=out.tar,compression=uncompressed"]))?;
    expect_failure(&damaged, 1, &["its directory in the store was changed"])?;
    check(!scratch.path().join("out.tar").exists(), || "half an archive".into())
}

fn unwritable(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let finished = finish(&mut build(environment, &scratch, &["type=oci,dest=nowhere/out.tar"]))?;
    expect_failure(&finished, 1, &["nowhere/out.tar"])?;
    // Nothing half-written stays.
    scratch.write("context/Dockerfile", "FROM busybox\nRUN false\n")?;
    expect_failure(&finish(&mut build(environment, &scratch, &["type=oci,dest=out.tar"]))?, 1, &["exit code: 1"])?;
    let names: Vec<String> = fs::read_dir(scratch.path())
        .map_err(|error| error.to_string())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name != "context" && name != "store")
        .collect();
    equal(&names, &Vec::<String>::new(), "files that stay")
}

fn several_platforms(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /file\n")?;
    scratch.write("context/amd64", "amd64\n")?;
    scratch.write("context/arm64", "arm64\n")?;
    let mut command = build(environment, &scratch, &["type=oci,tar=false,dest=layout", "type=local,dest=files"]);
    succeed(command.args(["--platform", "linux/amd64,linux/arm64", "--tag", "app:1"]))?;
    for platform in ["amd64", "arm64"] {
        equal(&scratch.read(&format!("files/linux_{platform}/file"))?, &format!("{platform}\n"), platform)?;
    }
    let index = json(scratch.read("layout/index.json")?.as_bytes())?;
    let digest = index["manifests"][0]["digest"].as_str().unwrap_or_default().replace(':', "/");
    let list = json(scratch.read(&format!("layout/blobs/{digest}"))?.as_bytes())?;
    let platforms: Vec<&str> = list["manifests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|manifest| manifest["platform"]["architecture"].as_str())
        .collect();
    equal(&platforms, &vec!["amd64", "arm64"], "platforms")
}
