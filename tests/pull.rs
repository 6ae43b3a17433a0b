//! Layers of base images on their way from a registry into a root file system.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use bake_oci::Digest;
use bake_testkit::archive_bytes::{archive, file, link};
use bake_testkit::registry::{Action, Config, FakeRegistry, Fault};
use serde_json::json;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("layers_are_unpacked_while_they_come", &[], while_they_come),
    ("layers_that_need_what_is_below_them_wait_for_it", &[], what_is_below),
    ("what_was_held_and_is_wrong_comes_again", &[], wrong_before),
    ("what_comes_wrong_is_not_unpacked", &[], wrong_now),
    ("an_archive_that_is_refused_leaves_nothing", &[], refused),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn start() -> Result<FakeRegistry, String> {
    FakeRegistry::start(Config::default()).map_err(|error| error.to_string())
}

/// Puts an image of these layers into a registry.
fn put_image(registry: &FakeRegistry, layers: &[Vec<u8>]) -> Vec<Digest> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let digests: Vec<Digest> = layers.iter().map(|layer| registry.put_blob("app", layer)).collect();
    let ids: Vec<String> = digests.iter().map(Digest::to_string).collect();
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let config = config.to_string();
    let config_digest = registry.put_blob("app", config.as_bytes()).to_string();
    let descriptors: Vec<_> = layers
        .iter()
        .zip(&ids)
        .map(|(layer, digest)| {
            json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": layer.len() })
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "layers": descriptors,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len(),
        },
    });
    registry.put_manifest("app", "1", MANIFEST, manifest.to_string().as_bytes());
    digests
}

/// Bytes without a pattern.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    })
    .take(count)
    .collect()
}

/// `bake build` of the files `copied` of the image, into the directory `out`.
fn build(
    environment: &Environment,
    scratch: &Scratch,
    registry: &FakeRegistry,
    copied: &str,
) -> Result<Command, String> {
    let name = format!("{}/app:1", registry.host());
    scratch
        .write("context/Dockerfile", format!("FROM {name} AS base\nFROM scratch\nCOPY --from=base {copied} /out/\n"))?;
    let mut command = environment.build(&scratch.store());
    command.args(["--output", &format!("type=local,dest={}", scratch.at("out"))]).arg(scratch.at("context"));
    Ok(command)
}

/// The files called `name` below a directory.
fn find(directory: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name() == name {
            found.push(path);
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(find(&path, name));
        }
    }
    found
}

fn while_they_come(environment: &Environment) -> Outcome {
    let (registry, scratch) = (start()?, environment.scratch()?);
    let layer = archive(&[file("early", b"early\n"), file("late", &noise(4 << 20))]);
    let digests = put_image(&registry, &[layer]);
    // Three seconds, unless the network is not what is waited for.
    registry.inject(Fault::always(
        digests[0].hex(),
        Action::SlowBody { bytes: 64 << 10, pause: Duration::from_millis(50) },
    ));
    let mut command = build(environment, &scratch, &registry, "/early /late")?;
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| error.to_string())?;
    let begin = Instant::now();
    let mut early = false;
    while !early && begin.elapsed() < Duration::from_mins(1) && matches!(child.try_wait(), Ok(None)) {
        early = !find(&scratch.store(), "early").is_empty();
        std::thread::sleep(Duration::from_millis(10));
    }
    let is_complete = !find(&scratch.store().join("blobs"), digests[0].hex()).is_empty();
    let status = child.wait().map_err(|error| error.to_string())?;
    check(status.success(), || format!("{status}"))?;
    check(early && !is_complete, || "the first file was there only when the whole blob was".into())?;
    equal(&scratch.read("out/out/early")?.as_str(), &"early\n", "early")?;
    check(fs::read(scratch.path().join("out/out/late")).is_ok_and(|bytes| bytes == noise(4 << 20)), || "late".into())
}

fn what_is_below(environment: &Environment) -> Outcome {
    let (registry, scratch) = (start()?, environment.scratch()?);
    // Each layer needs the one below: a hard link to its file, and its directory's attributes.
    let mut layers = vec![archive(&[file("d/f0", b"lowest\n"), file("large", &noise(1 << 20))])];
    for number in 1..8 {
        layers.push(archive(&[
            link(&format!("d/f{number}"), b'1', &format!("d/f{}", number - 1)),
            file(&format!("d/only{number}"), b"x"),
        ]));
    }
    let digests = put_image(&registry, &layers);
    // The lowest comes last.
    registry.inject(Fault::always(digests[0].hex(), Action::Delay(Duration::from_millis(500))));
    succeed(&mut build(environment, &scratch, &registry, "/d/")?)?;
    equal(&scratch.read("out/out/f7")?.as_str(), &"lowest\n", "the hard link of the highest layer")?;
    check(scratch.path().join("out/out/only1").exists(), || "only1".into())
}

fn wrong_before(environment: &Environment) -> Outcome {
    let (registry, scratch) = (start()?, environment.scratch()?);
    let layer = archive(&[file("a", &noise(100_000)), file("b", &noise(3 << 20))]);
    let digests = put_image(&registry, &[layer]);
    registry.inject(Fault::always(digests[0].hex(), Action::ResetBodyAfter(2 << 20)));
    // Each attempt goes on where the last one broke off; the whole would come in two.
    registry.inject(Fault { skip: 1, ..Fault::always(digests[0].hex(), Action::Drop { processed: false }) });
    let finished = finish(&mut build(environment, &scratch, &registry, "/a /b")?)?;
    check(finished.code == Some(1), || format!("{:?}: {}", finished.code, finished.stderr))?;
    registry.clear_faults();
    // What is held has become something else.
    let held = fs::read_dir(scratch.store().join("ingest")).map_err(|error| error.to_string())?;
    let held = held
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.metadata().is_ok_and(|status| status.len() > 1 << 20));
    let held = held.ok_or("nothing is held of a fetch that broke off")?;
    let mut bytes = fs::read(&held).map_err(|error| error.to_string())?;
    bytes[600] ^= 1;
    bytes[150_000] ^= 1;
    fs::write(&held, bytes).map_err(|error| error.to_string())?;
    succeed(&mut build(environment, &scratch, &registry, "/a /b")?)?;
    check(fs::read(scratch.path().join("out/out/a")).is_ok_and(|bytes| bytes == noise(100_000)), || "a".into())
}

/// What is unpacked or being unpacked in a store.
fn snapshots(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.store().join("snapshots")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn wrong_now(environment: &Environment) -> Outcome {
    let (registry, scratch) = (start()?, environment.scratch()?);
    let layer = archive(&[file("a", &noise(100_000)), file("b", &noise(1 << 20))]);
    let digests = put_image(&registry, &[layer]);
    registry.inject(Fault::always(digests[0].hex(), Action::CorruptBody));
    let finished = finish(&mut build(environment, &scratch, &registry, "/a /b")?)?;
    // It is the transfer that is wrong, not the archive.
    expect_failure(&finished, 1, &["digest", digests[0].hex()])?;
    check(!finished.stderr.contains("cannot unpack"), || finished.stderr.clone())?;
    equal(&snapshots(&scratch), &Vec::<String>::new(), "unpacked layers")
}

fn refused(environment: &Environment) -> Outcome {
    let (registry, scratch) = (start()?, environment.scratch()?);
    let layers =
        [archive(&[file("fine", &noise(1 << 20))]), archive(&[file("good", b"x"), file("../../canary", b"x")])];
    let digests = put_image(&registry, &layers);
    let finished = finish(&mut build(environment, &scratch, &registry, "/fine")?)?;
    expect_failure(&finished, 1, &["cannot unpack layer", digests[1].hex(), "../../canary", "`..` component"])?;
    check(find(&scratch.store(), "canary").is_empty() && find(&scratch.store(), "good").is_empty(), || {
        "something of the layer is left".into()
    })
}
