//! Images that are made to be misread: what stands in manifests, configs and layouts. Archives of layers have their own
//! tests in `bake-snapshot`.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use bake_oci::Digest;
use bake_testkit::archive_bytes::{archive, file};
use serde_json::{Value, json};

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("a14_a_blob_that_is_no_file", &["mkfifo"], blob_that_is_no_file),
    ("a14_a_blob_behind_a_link", &[], blob_behind_a_link),
    ("a14_too_few_and_too_many_diff_ids", &[], diff_ids),
    ("a14_a_wrong_diff_id", &[], wrong_diff_id),
    ("a15_images_that_differ_in_their_config_alone", &[], configs),
    ("c06_a_manifest_that_is_also_an_index", &[], both),
    ("c06_media_types_that_lie", &[], media_types),
    ("c07_digests_that_are_paths", &[], digests),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// How long a refusal may take, on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(30);

/// An OCI layout with one image of one layer, before it is written.
struct Layout {
    layer: Vec<u8>,
    config: Value,
    manifest: Value,
    /// The digest that the manifest has for the layer, when it is not the right one.
    layer_digest: Option<String>,
    media_type: &'static str,
}

impl Layout {
    fn new() -> Self {
        let layer = archive(&[file("hello", b"hello\n")]);
        let config = json!({
            "architecture": match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other },
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] },
        });
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST });
        Self { layer, config, manifest, layer_digest: None, media_type: MANIFEST }
    }

    /// Writes the layout `name` and gives the manifest's digest.
    fn write(mut self, scratch: &Scratch, name: &str) -> Result<Digest, String> {
        let put = |bytes: &[u8]| -> Result<Digest, String> {
            let digest = Digest::of(bytes);
            scratch.write(&format!("{name}/blobs/sha256/{}", digest.hex()), bytes)?;
            Ok(digest)
        };
        let layer = put(&self.layer)?.to_string();
        let layer = self.layer_digest.unwrap_or(layer);
        let config_bytes = self.config.to_string();
        let config = put(config_bytes.as_bytes())?;
        self.manifest["config"] =
            json!({ "mediaType": CONFIG, "digest": config.to_string(), "size": config_bytes.len() });
        self.manifest["layers"] = json!([{ "mediaType": LAYER, "digest": layer, "size": self.layer.len() }]);
        let bytes = self.manifest.to_string();
        let digest = put(bytes.as_bytes())?;
        let descriptor = json!({ "mediaType": self.media_type, "digest": digest.to_string(), "size": bytes.len() });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor] });
        scratch.write(&format!("{name}/index.json"), index.to_string())?;
        scratch.write(&format!("{name}/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(digest)
    }
}

/// `bake build` of a file of the image, with a layout as the image.
fn build(environment: &Environment, scratch: &Scratch, layout: &str) -> Result<Command, String> {
    scratch.write("context/Dockerfile", "FROM hostile AS base\nFROM scratch\nCOPY --from=base /hello /copied\n")?;
    let mut command = environment.command(&scratch.store());
    command.args(["build", "--progress=plain", "--build-context"]);
    command.arg(format!("hostile=oci-layout://{}", scratch.at(layout))).arg(scratch.at("context"));
    Ok(command)
}

/// That a layout is refused in time, with an error that has `words`.
fn refused(environment: &Environment, scratch: &Scratch, layout: &str, words: &[&str]) -> Outcome {
    let begin = Instant::now();
    let finished = finish(&mut build(environment, scratch, layout)?)?;
    check(finished.code == Some(1) || finished.code == Some(2), || {
        format!("{layout}: exit code {:?}: {}", finished.code, finished.stderr)
    })?;
    for word in words {
        check(finished.stderr.contains(word), || format!("{layout}: `{word}` is not in: {}", finished.stderr))?;
    }
    check(begin.elapsed() < TIME_MAX, || format!("{layout}: took {:?}", begin.elapsed()))
}

fn blob_path(scratch: &Scratch, layout: &str, digest: &Digest) -> std::path::PathBuf {
    scratch.path().join(layout).join("blobs/sha256").join(digest.hex())
}

fn replace_by_link(path: &Path, target: &str) -> Outcome {
    fs::remove_file(path)
        .and_then(|()| std::os::unix::fs::symlink(target, path))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn blob_that_is_no_file(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let pipe = scratch.at("pipe");
    succeed(Command::new("mkfifo").arg(&pipe))?;
    let layer = Digest::of(&Layout::new().layer);
    for (name, target) in [("pipe", pipe.as_str()), ("zero", "/dev/zero"), ("directory", "/"), ("nothing", "/nowhere")]
    {
        let layout = format!("layer-{name}");
        Layout::new().write(&scratch, &layout)?;
        replace_by_link(&blob_path(&scratch, &layout, &layer), target)?;
        refused(environment, &scratch, &layout, &["cannot read", layer.hex()])?;
        let layout = format!("manifest-{name}");
        let manifest = Layout::new().write(&scratch, &layout)?;
        replace_by_link(&blob_path(&scratch, &layout, &manifest), target)?;
        refused(environment, &scratch, &layout, &["cannot read", manifest.hex()])?;
        let layout = format!("index-{name}");
        Layout::new().write(&scratch, &layout)?;
        replace_by_link(&scratch.path().join(&layout).join("index.json"), target)?;
        refused(environment, &scratch, &layout, &["cannot read", "index.json"])?;
    }
    Ok(())
}

/// A link is as good as the bytes behind it: tools that make layouts link blobs to where they have them.
fn blob_behind_a_link(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let layout = Layout::new();
    let layer = Digest::of(&layout.layer);
    scratch.write("kept", &layout.layer)?;
    scratch.write("other", "not the layer")?;
    layout.write(&scratch, "layout")?;
    let path = blob_path(&scratch, "layout", &layer);
    replace_by_link(&path, &scratch.at("other"))?;
    refused(environment, &scratch, "layout", &["digest"])?;
    replace_by_link(&path, &scratch.at("kept"))?;
    succeed(&mut build(environment, &scratch, "layout")?).map(|_| ())
}

fn diff_ids(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let right = Digest::of(&Layout::new().layer).to_string();
    for (name, ids, words) in [
        ("none", json!([]), "0 diff IDs, but its manifest 1 layers"),
        ("two", json!([right.clone(), right.clone()]), "2 diff IDs, but its manifest 1 layers"),
        ("null", Value::Null, "diff"),
        ("no-digest", json!(["../../etc"]), "not a digest"),
    ] {
        let mut layout = Layout::new();
        layout.config["rootfs"]["diff_ids"] = ids;
        layout.write(&scratch, name)?;
        refused(environment, &scratch, name, &[words])?;
    }
    Ok(())
}

fn wrong_diff_id(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut layout = Layout::new();
    layout.config["rootfs"]["diff_ids"] = json!([Digest::of(b"another").to_string()]);
    layout.write(&scratch, "layout")?;
    refused(environment, &scratch, "layout", &["diff ID", "but the config says"])?;
    // Nothing of it may be found by an honest image with that diff ID.
    refused(environment, &scratch, "layout", &["diff ID", "but the config says"])
}

/// CVE-2024-24557: images from scratch with other instructions were taken from the cache.
fn configs(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/file", "file\n")?;
    let mut seen = Vec::new();
    for (name, instruction) in [
        ("plain", ""),
        ("healthcheck", "HEALTHCHECK CMD [\"/check\"]\n"),
        ("other-healthcheck", "HEALTHCHECK --interval=7s CMD [\"/check\"]\n"),
        ("onbuild", "ONBUILD COPY file /trigger\n"),
        ("user", "USER 7\n"),
        ("volume", "VOLUME /data\n"),
        ("stopsignal", "STOPSIGNAL SIGUSR1\n"),
        ("shell", "SHELL [\"/other\"]\n"),
    ] {
        scratch.write("context/Dockerfile", format!("FROM scratch\nCOPY file /file\n{instruction}"))?;
        let mut command = environment.build(&scratch.store());
        let finished = succeed(command.args(["--tag", &format!("app:{name}")]).arg(scratch.at("context")))?;
        let digest = finished.text();
        check(!seen.contains(&digest), || format!("{name} is the image of another Dockerfile"))?;
        seen.push(digest);
    }
    // The trigger of one is no trigger of the other, which has the same layers.
    for (name, expected) in [("plain", false), ("onbuild", true)] {
        scratch.write("context/Dockerfile", format!("FROM app:{name}\n"))?;
        let out = format!("type=local,dest={}", scratch.at(&format!("out-{name}")));
        let mut command = environment.build(&scratch.store());
        succeed(command.args(["--output", &out]).arg(scratch.at("context")))?;
        equal(&scratch.path().join(format!("out-{name}/trigger")).exists(), &expected, name)?;
    }
    Ok(())
}

/// CVE-2021-41190.
fn both(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut layout = Layout::new();
    layout.manifest["manifests"] = json!([]);
    layout.write(&scratch, "layout")?;
    refused(environment, &scratch, "layout", &["manifest"])
}

fn media_types(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut own = Layout::new();
    own.manifest["mediaType"] = json!(INDEX);
    own.write(&scratch, "its-own")?;
    refused(environment, &scratch, "its-own", &["index"])?;
    let mut version = Layout::new();
    version.manifest["schemaVersion"] = json!(1);
    version.write(&scratch, "version")?;
    refused(environment, &scratch, "version", &["schema"])
}

/// CVE-2024-3727.
fn digests(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("secret", "secret")?;
    let right = Digest::of(&Layout::new().layer);
    for (name, digest) in [
        ("traversal", "sha256:../../../../../../../../../../../../../../../../../../../etc/passwd1".to_owned()),
        ("path", scratch.at("secret")),
        ("upper", format!("sha256:{}", right.hex().to_uppercase())),
        ("short", format!("sha256:{}", &right.hex()[..12])),
        ("algorithm", format!("md5:{}", &right.hex()[..32])),
        ("slash", "sha256:/etc/passwd".to_owned()),
        ("empty", String::new()),
    ] {
        let mut layout = Layout::new();
        layout.layer_digest = Some(digest);
        layout.write(&scratch, name)?;
        refused(environment, &scratch, name, &["cannot resolve the image", "is not valid"])?;
    }
    // The same on the command line.
    scratch.write("context/Dockerfile", "FROM busybox@sha256:../../../etc/passwd\n")?;
    let finished = finish(environment.build(&scratch.store()).arg(scratch.at("context")))?;
    expect_failure(&finished, 2, &["sha256:../../../etc/passwd"])
}
