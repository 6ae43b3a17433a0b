//! What the options of outputs do to images and files.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use bake_testkit::program::{self, Running};
use bake_testkit::registry::{Config, FakeRegistry};
use serde_json::Value;

use support::published::build;
use support::{Environment, Outcome, SOURCE_DATE_EPOCH, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("annotations_of_every_level_and_platform", &[], annotations),
    ("an_annotation_of_the_index_makes_one", &[], annotation_makes_index),
    ("annotations_that_cannot_be_had_are_refused", &[], annotations_refused),
    ("annotations_survive_a_push_from_the_store", &[], annotations_survive),
    ("dockers_media_types_everywhere", &[], docker_media_types),
    ("pushing_by_digest_leaves_no_tag", &[], push_by_digest),
    ("outputs_have_names_of_their_own", &[], own_names),
    ("an_insecure_registry_is_named_by_the_output", &["docker-registry", "openssl"], insecure),
    ("names_made_of_digests", &[], digest_names),
    ("a_pushed_image_can_be_stored_too", &[], pushed_and_stored),
    ("unpacking_at_once", &[], unpacked),
    ("compression_in_the_local_store", &[], compressed_in_store),
    ("metadata_for_programs", &[], metadata),
    ("image_ids_for_programs", &[], image_ids),
    ("files_of_several_platforms", &[], platform_split),
    ("times_of_files_are_those_of_the_build", &[], file_times),
    ("other_files_are_deleted_when_allowed", &[], delete_others),
    ("times_in_layers_are_rewritten", &[], rewritten),
    ("the_time_of_an_output", &[], own_epoch),
    ("estargz_layers_are_layers_like_others", &["skopeo"], estargz),
    ("estargz_layers_are_unpacked_by_umoci", &["root", "umoci"], estargz_unpacked),
    ("an_image_is_loaded_into_podman", &["root", "podman"], into_podman),
    ("an_image_is_loaded_into_docker", &["root", "dockerd", "docker"], into_docker),
    ("an_image_is_loaded_into_containerd", &["root", "containerd", "ctr"], into_containerd),
    ("a_docker_that_is_not_there_and_one_that_refuses", &[], no_docker),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// A context of two platforms, whose only file says which one it is for.
fn context(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /file\n")?;
    scratch.write("context/amd64", "amd64\n")?;
    scratch.write("context/arm64", "arm64\n")?;
    Ok(scratch)
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// A document of a layout, by its descriptor.
fn document(scratch: &Scratch, layout: &str, descriptor: &Value) -> Result<Value, String> {
    let digest = descriptor["digest"].as_str().unwrap_or_default().replace(':', "/");
    json(scratch.read(&format!("{layout}/blobs/{digest}"))?.as_bytes())
}

fn index(scratch: &Scratch, layout: &str) -> Result<Value, String> {
    json(scratch.read(&format!("{layout}/index.json"))?.as_bytes())
}

fn registry() -> Result<FakeRegistry, String> {
    FakeRegistry::start(Config::default()).map_err(|error| error.to_string())
}

fn annotations(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let output =
        "type=oci,tar=false,dest=layout,annotation.all=option,annotation-manifest-descriptor[linux/arm64].arm=d";
    let mut command = build(environment, &scratch, &[output]);
    command.args(["--platform", "linux/amd64,linux/arm64", "--annotation", "all=flag"]);
    command.args(["--annotation", "manifest[linux/arm64]:all=arm", "--annotation", "index,index-descriptor:i=1"]);
    succeed(&mut command)?;
    let outer = index(&scratch, "layout")?;
    equal(&outer["manifests"][0]["annotations"]["i"].as_str(), &Some("1"), "descriptor of the index")?;
    let inner = document(&scratch, "layout", &outer["manifests"][0])?;
    equal(&inner["annotations"]["i"].as_str(), &Some("1"), "index")?;
    equal(&inner["manifests"][0]["annotations"], &Value::Null, "descriptor for amd64")?;
    equal(&inner["manifests"][1]["annotations"]["arm"].as_str(), &Some("d"), "descriptor for arm64")?;
    for (number, expected) in [(0, "flag"), (1, "arm")] {
        let manifest = document(&scratch, "layout", &inner["manifests"][number])?;
        equal(&manifest["annotations"]["all"].as_str(), &Some(expected), "manifest")?;
    }
    Ok(())
}

fn annotation_makes_index(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let mut command = build(environment, &scratch, &["type=oci,tar=false,dest=layout"]);
    succeed(command.args(["--annotation", "index:a=b"]))?;
    let outer = index(&scratch, "layout")?;
    let inner = document(&scratch, "layout", &outer["manifests"][0])?;
    equal(&inner["annotations"]["a"].as_str(), &Some("b"), "index")?;
    equal(&inner["manifests"].as_array().map(Vec::len), &Some(1), "manifests")
}

fn annotations_refused(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    for (output, annotation, words) in [
        ("type=oci,dest=o.tar", "manifest[linux/s390x]:a=b", "linux/s390x, which is not built"),
        ("type=oci,dest=o.tar,oci-mediatypes=false", "a=b", "OCI media types"),
        ("type=oci,dest=o.tar", "layer:a=b", "`layer`"),
    ] {
        let finished = finish(build(environment, &scratch, &[output]).args(["--annotation", annotation]))?;
        expect_failure(&finished, 2, &[words])?;
    }
    Ok(())
}

fn annotations_survive(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = context(environment)?;
    let name = format!("{}/app:1", registry.host());
    let mut command = build(environment, &scratch, &["type=image,annotation-index.a=i"]);
    succeed(command.args(["--tag", &name, "--annotation", "b=m", "--platform", "linux/amd64,linux/arm64"]))?;
    succeed(environment.command(&scratch.store()).args(["push", &name]))?;
    let (_, index) = registry.manifest("app", "1").ok_or("nothing was pushed")?;
    let index = json(&index)?;
    equal(&index["annotations"]["a"].as_str(), &Some("i"), "index")?;
    let digest = index["manifests"][1]["digest"].as_str().unwrap_or_default();
    let (_, manifest) = registry.manifest("app", digest).ok_or("no manifest")?;
    equal(&json(&manifest)?["annotations"]["b"].as_str(), &Some("m"), "manifest")
}

fn docker_media_types(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = context(environment)?;
    let name = format!("{}/app:1", registry.host());
    let outputs = [
        "type=oci,tar=false,dest=layout,oci-mediatypes=false",
        &format!("type=registry,name={name},oci-mediatypes=false"),
    ];
    succeed(build(environment, &scratch, &outputs).args(["--platform", "linux/amd64,linux/arm64"]))?;
    let outer = index(&scratch, "layout")?;
    let list = &outer["manifests"][0];
    let kind = "application/vnd.docker.distribution.manifest";
    equal(&list["mediaType"].as_str(), &Some(&*format!("{kind}.list.v2+json")), "list")?;
    let inner = document(&scratch, "layout", list)?;
    let manifest = document(&scratch, "layout", &inner["manifests"][0])?;
    equal(&manifest["mediaType"].as_str(), &Some(&*format!("{kind}.v2+json")), "manifest")?;
    let config = manifest["config"]["mediaType"].as_str();
    equal(&config, &Some("application/vnd.docker.container.image.v1+json"), "config")?;
    let layer = manifest["layers"][0]["mediaType"].as_str();
    equal(&layer, &Some("application/vnd.docker.image.rootfs.diff.tar.gzip"), "layer")?;
    let (_, pushed) = registry.manifest("app", "1").ok_or("nothing was pushed")?;
    equal(&json(&pushed)?, &inner, "pushed list")
}

fn push_by_digest(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = context(environment)?;
    let output = format!("type=image,name={}/app,push=true,push-by-digest=true,name-canonical=true", registry.host());
    let digest = succeed(&mut build(environment, &scratch, &[&output]))?.text();
    check(registry.manifest("app", &digest).is_some(), || format!("{digest} is not there"))?;
    check(registry.manifest("app", "latest").is_none(), || "there is a tag".into())?;
    let several = ["--platform", "linux/amd64,linux/arm64"];
    let digest = succeed(build(environment, &scratch, &[&output]).args(several))?.text();
    check(registry.manifest("app", &digest).is_some(), || format!("{digest} is not there"))?;
    check(registry.manifest("app", "latest").is_none(), || "there is a tag".into())
}

fn own_names(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = context(environment)?;
    let host = registry.host();
    let pushes = format!("type=registry,\"name={host}/one:1,{host}/two:2\"");
    succeed(build(environment, &scratch, &[&pushes, "type=image"]).args(["--tag", "app:1"]))?;
    for (repository, tag, there) in [("one", "1", true), ("two", "2", true), ("app", "1", false)] {
        equal(&registry.manifest(repository, tag).is_some(), &there, repository)?;
    }
    let images = succeed(environment.command(&scratch.store()).args(["images", "--format", "json"]))?.text();
    check(images.contains("app") && !images.contains("one"), || images.clone())
}

/// Debian's registry with a certificate that nobody vouches for.
fn registry_with_tls(scratch: &Scratch) -> Result<(Running, String), String> {
    let (certificate, key) = (scratch.at("certificate.pem"), scratch.at("key.pem"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    make.args(["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", &key, "-out", &certificate]);
    succeed(&mut make)?;
    let data = scratch.at("data");
    let (process, address) = program::start_server(|address| {
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: '{data}'}}\n\
             http: {{addr: '{address}', tls: {{certificate: '{certificate}', key: '{key}'}}}}\n"
        );
        scratch.write("registry.yml", text).map_err(std::io::Error::other)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(scratch.at("registry.yml"));
        Ok(command)
    })
    .map_err(|error| format!("docker-registry: {error}"))?;
    Ok((process, address.to_string()))
}

fn insecure(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let (_process, host) = registry_with_tls(&scratch)?;
    let output = format!("type=registry,name={host}/app:1");
    let refused = finish(&mut build(environment, &scratch, &[&output]))?;
    expect_failure(&refused, 1, &[&host])?;
    succeed(&mut build(environment, &scratch, &[&format!("{output},registry.insecure=true")])).map(drop)
}

fn digest_names(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let names = |digest: &str| -> Result<String, String> {
        let inspected = succeed(environment.command(&scratch.store()).args(["inspect", digest]))?;
        let image = &json(&inspected.stdout)?[0];
        Ok(format!("{} {}", image["RepoTags"], image["RepoDigests"]).replace(digest, "DIGEST"))
    };
    let make = |options: &str| succeed(&mut build(environment, &scratch, &[&format!("type=image,{options}")]));
    let digest = make("name=app:1,name-canonical=true")?.text();
    // The name with the digest is there on its own.
    succeed(environment.command(&scratch.store()).args(["rmi", "app:1"]))?;
    equal(&names(&digest)?.as_str(), &r#"[] ["app@DIGEST"]"#, "canonical name")?;
    make("dangling-name-prefix=loose")?;
    equal(&names(&digest)?.as_str(), &r#"[] ["app@DIGEST","loose@DIGEST"]"#, "name of the nameless")?;
    make("name=app:2,dangling-name-prefix=other,danging-name-empty-only=true")?;
    equal(&names(&digest)?.as_str(), &r#"["app:2"] ["app@DIGEST","loose@DIGEST"]"#, "names")?;
    make("name=app:2,dangling-name-prefix=other")?;
    equal(&names(&digest)?.as_str(), &r#"["app:2"] ["app@DIGEST","loose@DIGEST","other@DIGEST"]"#, "all names")
}

fn pushed_and_stored(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = context(environment)?;
    let name = format!("{}/app:1", registry.host());
    let output = format!("type=image,name={name},push=true,store=true");
    let digest = succeed(&mut build(environment, &scratch, &[&output]))?.text();
    check(registry.manifest("app", &digest).is_some(), || "not pushed".into())?;
    let listed = succeed(environment.command(&scratch.store()).args(["images", "--digests"]))?.text();
    check(listed.contains(&digest), || listed.clone())?;
    let unnamed = succeed(&mut build(environment, &scratch, &["type=image,name=other:1,store=false"]))?;
    check(unnamed.text().starts_with("sha256:"), || unnamed.text())?;
    let listed = succeed(environment.command(&scratch.store()).args(["images"]))?.text();
    check(!listed.contains("other"), || listed.clone())
}

fn unpacked(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nENV A=1\n")?;
    let layers = || fs::read_dir(scratch.store().join("snapshots")).map_or(0, Iterator::count);
    succeed(&mut build(environment, &scratch, &["type=image,name=app:1"]))?;
    let before = layers();
    succeed(&mut build(environment, &scratch, &["type=image,name=app:1,unpack=true"]))?;
    check(layers() > before, || format!("{before} layers before, {} after", layers()))
}

fn compressed_in_store(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = context(environment)?;
    let name = format!("{}/app:1", registry.host());
    succeed(&mut build(environment, &scratch, &[&format!("type=image,name={name},compression=zstd")]))?;
    succeed(environment.command(&scratch.store()).args(["push", &name]))?;
    let manifest = json(&registry.manifest("app", "1").ok_or("nothing was pushed")?.1)?;
    let layer = manifest["layers"][0]["mediaType"].as_str().unwrap_or_default().to_owned();
    check(layer.ends_with("zstd"), || layer.clone())
}

fn metadata(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    scratch.write("context/Dockerfile", "FROM scratch AS Base\nCOPY amd64 /file\n")?;
    let mut command = build(environment, &scratch, &["type=oci,dest=o.tar,annotation-index-descriptor.a=b"]);
    command.args(["--tag", "app:1", "--tag", "app:2", "--metadata-file", "metadata.json"]);
    let digest = succeed(command.env("BUILDX_METADATA_WARNINGS", "1"))?.text();
    let metadata = json(scratch.read("metadata.json")?.as_bytes())?;
    equal(&metadata["containerimage.digest"].as_str(), &Some(digest.as_str()), "digest")?;
    let descriptor = &metadata["containerimage.descriptor"];
    equal(&descriptor["digest"].as_str(), &Some(digest.as_str()), "descriptor")?;
    equal(&descriptor["annotations"]["a"].as_str(), &Some("b"), "annotations")?;
    check(descriptor["size"].as_u64() > Some(100), || descriptor.to_string())?;
    check(metadata["containerimage.config.digest"].is_string(), || metadata.to_string())?;
    let names = "docker.io/library/app:1,docker.io/library/app:2";
    equal(&metadata["image.name"].as_str(), &Some(names), "names")?;
    // What it refers to can be looked at.
    let reference = metadata["buildx.build.ref"].as_str().unwrap_or_default().to_owned();
    let number = reference.strip_prefix("bake/bake/").ok_or_else(|| reference.clone())?;
    succeed(environment.command(&scratch.store()).args(["why", "--build", number]))?;
    let warning = &metadata["buildx.build.warnings"][0];
    equal(&warning["range"][0]["start"]["line"].as_u64(), &Some(1), "place of the warning")?;
    check(warning["short"].is_string() && warning["url"].is_string(), || warning.to_string())?;
    // Without an image there is still the build.
    let mut command = build(environment, &scratch, &["type=local,dest=files"]);
    succeed(command.args(["--metadata-file", "metadata.json"]))?;
    let metadata = json(scratch.read("metadata.json")?.as_bytes())?;
    let keys: Vec<&str> = metadata.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    equal(&keys, &vec!["bake.measure", "buildx.build.provenance", "buildx.build.ref"], "keys")
}

fn image_ids(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let outputs = ["type=oci,tar=false,dest=layout"];
    succeed(build(environment, &scratch, &outputs).args(["--iidfile", "id"]))?;
    let outer = index(&scratch, "layout")?;
    let manifest = document(&scratch, "layout", &outer["manifests"][0])?;
    equal(&Some(scratch.read("id")?.as_str()), &manifest["config"]["digest"].as_str(), "image ID")?;
    let several = ["--iidfile", "id", "--platform", "linux/amd64,linux/arm64"];
    let digest = succeed(build(environment, &scratch, &outputs).args(several))?.text();
    equal(&scratch.read("id")?, &digest, "ID of an index")?;
    // Nobody takes that of the last build for that of one that failed.
    scratch.write("context/Dockerfile", "FROM scratch\nCOPY missing /\n")?;
    check(finish(build(environment, &scratch, &outputs).args(["--iidfile", "id"]))?.code == Some(1), || {
        "no error".into()
    })?;
    check(scratch.read("id").is_err(), || "the old image ID is still there".into())
}

fn platform_split(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let several = ["--platform", "linux/amd64,linux/arm64"];
    succeed(build(environment, &scratch, &["type=tar,dest=files.tar"]).args(several))?;
    let list = || succeed(Command::new("tar").args(["-tf", &scratch.at("files.tar")])).map(|finished| finished.text());
    equal(&list()?.as_str(), &"linux_amd64/\nlinux_amd64/file\nlinux_arm64/\nlinux_arm64/file", "split")?;
    succeed(&mut build(environment, &scratch, &["type=tar,dest=files.tar,platform-split=true"]))?;
    check(list()?.starts_with("linux_"), || "one platform is not split".into())?;
    for output in ["type=tar,dest=files.tar,platform-split=false", "type=local,dest=files,platform-split=false"] {
        let finished = finish(build(environment, &scratch, &[output]).args(several))?;
        expect_failure(&finished, 1, &["`file` is a file of linux/amd64 and of linux/arm64"])?;
    }
    scratch.write("context/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /dir/$TARGETARCH\n")?;
    succeed(build(environment, &scratch, &["type=tar,dest=files.tar,platform-split=false"]).args(several))?;
    equal(&list()?.as_str(), &"dir/\ndir/amd64\ndir/arm64", "together")?;
    succeed(build(environment, &scratch, &["type=local,dest=files,platform-split=false"]).args(several))?;
    for architecture in ["amd64", "arm64"] {
        equal(&scratch.read(&format!("files/dir/{architecture}"))?, &format!("{architecture}\n"), architecture)?;
    }
    Ok(())
}

fn file_times(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    succeed(&mut build(environment, &scratch, &["type=local,dest=files", "type=tar,dest=files.tar"]))?;
    let time = fs::metadata(scratch.path().join("files/file")).map_err(|error| error.to_string())?.mtime();
    equal(&time.to_string().as_str(), &SOURCE_DATE_EPOCH, "time of the file")?;
    let tar = succeed(Command::new("tar").args(["--utc", "--full-time", "-tvf", &scratch.at("files.tar")]))?.text();
    check(tar.contains("2023-11-14 22:13:20"), || tar.clone())?;
    let mut command = build(environment, &scratch, &["type=local,dest=files,source-date-epoch=1000"]);
    succeed(command.env_remove("SOURCE_DATE_EPOCH"))?;
    let time = fs::metadata(scratch.path().join("files/file")).map_err(|error| error.to_string())?.mtime();
    equal(&time, &1000, "time of the output")
}

fn delete_others(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    scratch.write("files/old/deep/file", "old\n")?;
    scratch.write("files/file/was/a/directory", "old\n")?;
    let output = ["type=local,dest=files,mode=delete"];
    expect_failure(&finish(&mut build(environment, &scratch, &output))?, 2, &["--allow buildx.local.delete"])?;
    check(scratch.read("files/old/deep/file").is_ok(), || "deleted without being allowed".into())?;
    succeed(build(environment, &scratch, &output).args(["--allow", "buildx.local.delete"]))?;
    let names: Vec<_> = fs::read_dir(scratch.path().join("files"))
        .map_err(|error| error.to_string())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    equal(&names, &vec!["file".to_owned()], "what is there")?;
    equal(&scratch.read("files/file")?.as_str(), &"amd64\n", "file")?;
    // A directory that holds more than results is not taken.
    let mut command = build(environment, &scratch, &["type=local,dest=context,mode=delete"]);
    let finished = finish(command.args(["--allow", "buildx.local.delete"]))?;
    expect_failure(&finished, 2, &["mode=delete would delete"])?;
    check(scratch.read("context/Dockerfile").is_ok(), || "the context is gone".into())?;
    let mut command = environment.build(&scratch.store());
    command.args(["--output", &format!("type=local,mode=delete,dest={}", scratch.store().display())]);
    command.args(["--allow", "buildx.local.delete"]).arg(scratch.at("context"));
    expect_failure(&finish(&mut command)?, 2, &["mode=delete would delete the store"])
}

fn rewritten(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write(
        "context/Dockerfile",
        "FROM busybox\nRUN echo now > /made && touch -d @1000 /old\nCOPY file /copied\n",
    )?;
    scratch.write("context/file", "copied\n")?;
    let digest_of = |store: &str, output: &str| {
        let mut command = environment.build(&scratch.path().join(store));
        command.args(["--output", output]).arg(scratch.at("context")).current_dir(scratch.path());
        succeed(&mut command).map(|finished| finished.text())
    };
    let output = "type=oci,tar=false,dest=layout,rewrite-timestamp=true";
    let first = digest_of("one", output)?;
    equal(&digest_of("two", output)?, &first, "digests of two stores")?;
    equal(&digest_of("two", output)?, &first, "digest of the second time")?;
    check(digest_of("one", "type=oci,tar=false,dest=other")? != first, || "nothing was rewritten".into())?;
    let outer = index(&scratch, "layout")?;
    let manifest = document(&scratch, "layout", &outer["manifests"][0])?;
    let layers = manifest["layers"].as_array().ok_or("no layers")?;
    let mut listed = String::new();
    for layer in &layers[layers.len() - 2..] {
        let digest = layer["digest"].as_str().unwrap_or_default().replace(':', "/");
        let path = scratch.at(&format!("layout/blobs/{digest}"));
        listed += &succeed(Command::new("tar").args(["--utc", "--full-time", "-tzvf", &path]))?.text();
        listed += "\n";
    }
    for line in listed.lines() {
        let expected = if line.ends_with("old") { "1970-01-01 00:16:40" } else { "2023-11-14 22:13:20" };
        check(line.contains(expected), || format!("not {expected}: {line}"))?;
    }
    equal(&listed.lines().count(), &3, "files")?;
    // The local store takes it too, and what it has runs.
    succeed(&mut {
        let mut command = environment.build(&scratch.path().join("one"));
        command.args(["--output", "type=image,name=app:1,rewrite-timestamp=true"]).arg(scratch.at("context"));
        command
    })?;
    let mut run = environment.command(&scratch.path().join("one"));
    let shown = succeed(run.args(["run", "--rm", "app:1", "stat", "-c", "%Y", "/made"]))?.text();
    equal(&shown.as_str(), &SOURCE_DATE_EPOCH, "time in the image")?;
    // Without a time there is nothing to rewrite to.
    let mut command = build(environment, &scratch, &["type=oci,dest=o.tar,rewrite-timestamp=true"]);
    let finished = finish(command.args(["--no-cache"]).env_remove("SOURCE_DATE_EPOCH"))?;
    expect_failure(&finished, 2, &["SOURCE_DATE_EPOCH"])?;
    check(!finished.stderr.contains("RUN echo now"), || "it was built for nothing".into())
}

fn own_epoch(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let outputs = ["type=oci,tar=false,dest=layout,source-date-epoch=1000"];
    succeed(&mut build(environment, &scratch, &outputs))?;
    let outer = index(&scratch, "layout")?;
    let manifest = document(&scratch, "layout", &outer["manifests"][0])?;
    let config = document(&scratch, "layout", &manifest["config"])?;
    for created in [&config["created"], &config["history"][1]["created"]] {
        equal(&created.as_str(), &Some("1970-01-01T00:16:40Z"), "created")?;
    }
    let created = &outer["manifests"][0]["annotations"]["org.opencontainers.image.created"];
    equal(&created.as_str(), &Some("1970-01-01T00:16:40Z"), "annotation")
}

/// A context of a base image with a step.
fn step_context(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo made > /made && chown 7:8 /made && rm /etc/group\n")?;
    Ok(scratch)
}

fn estargz(environment: &Environment) -> Outcome {
    let scratch = step_context(environment)?;
    let output = "type=oci,tar=false,dest=layout,name=app:1,compression=estargz";
    let digest = succeed(&mut build(environment, &scratch, &[output]))?.text();
    let outer = index(&scratch, "layout")?;
    let manifest = document(&scratch, "layout", &outer["manifests"][0])?;
    let layers = manifest["layers"].as_array().ok_or("no layers")?;
    let toc = |layer: &Value| layer["annotations"]["containerd.io/snapshot/stargz/toc.digest"].is_string();
    let made = layers.last().ok_or("no layers")?;
    check(toc(made) && !toc(&layers[0]), || format!("annotations: {layers:?}"))?;
    equal(&made["mediaType"].as_str(), &Some("application/vnd.oci.image.layer.v1.tar+gzip"), "media type")?;
    // The config has the diff ID of what is in the blob.
    let config = document(&scratch, "layout", &manifest["config"])?;
    let path = scratch.at(&format!("layout/blobs/{}", made["digest"].as_str().unwrap_or_default().replace(':', "/")));
    let unpacked = succeed(Command::new("gzip").args(["-dc", &path]))?;
    let last = config["rootfs"]["diff_ids"].as_array().and_then(|ids| ids.last()).cloned().unwrap_or_default();
    equal(&last.as_str(), &Some(bake_oci::Digest::of(&unpacked.stdout).to_string().as_str()), "diff ID")?;
    // With force-compression the base too; the second time all of it is remembered.
    let forced = "type=oci,tar=false,dest=forced,compression=estargz,force-compression=true";
    let again = succeed(&mut build(environment, &scratch, &[output, forced]))?.text();
    equal(&again, &digest, "digest of the second time")?;
    let outer = index(&scratch, "forced")?;
    let manifest = document(&scratch, "forced", &outer["manifests"][0])?;
    check(manifest["layers"].as_array().is_some_and(|layers| layers.iter().all(toc)), || manifest.to_string())?;
    // Others take it, and so does the local store.
    let mut copy = Command::new("skopeo");
    copy.args(["--insecure-policy", "copy", "oci:layout:1", "docker-archive:copy.tar:app:1"]);
    succeed(copy.current_dir(scratch.path()))?;
    succeed(&mut build(environment, &scratch, &["type=image,name=app:1,compression=estargz"]))?;
    let shown = succeed(environment.command(&scratch.store()).args(["run", "--rm", "app:1", "cat", "/made"]))?.text();
    equal(&shown.as_str(), &"made", "file in the image")
}

fn estargz_unpacked(environment: &Environment) -> Outcome {
    let scratch = step_context(environment)?;
    let output = "type=oci,tar=false,dest=layout,name=app:1,compression=estargz,force-compression=true";
    succeed(&mut build(environment, &scratch, &[output]))?;
    succeed(Command::new("umoci").args(["unpack", "--image", "layout:1", "bundle"]).current_dir(scratch.path()))?;
    let made = fs::metadata(scratch.path().join("bundle/rootfs/made")).map_err(|error| error.to_string())?;
    equal(&(made.uid(), made.gid(), made.len()), &(7, 8, 5), "made")?;
    check(!scratch.path().join("bundle/rootfs/etc/group").exists(), || "a deleted file is there".into())
}

/// A program that serves until it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It removes what it mounted when it is asked to end.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        for _ in 0..100 {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program that makes `socket`, and waits for that.
fn serve(command: &mut Command, socket: &Path) -> Result<Server, String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut server = Server(child.map_err(|error| error.to_string())?);
    for _ in 0..300 {
        if UnixStream::connect(socket).is_ok() {
            return Ok(server);
        }
        if let Ok(Some(status)) = server.0.try_wait() {
            let mut said = String::new();
            if let Some(mut stderr) = server.0.stderr.take() {
                let _ = stderr.read_to_string(&mut said);
            }
            return Err(format!("{}: {status}: {said}", command.get_program().display()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(format!("{} does not listen", command.get_program().display()))
}

fn into_podman(environment: &Environment) -> Outcome {
    let scratch = step_context(environment)?;
    let socket = scratch.path().join("podman.sock");
    let podman = |arguments: &[&str]| {
        let mut command = Command::new("podman");
        command.args(["--root", &scratch.at("podman"), "--runroot", &scratch.at("podman-run")]);
        command.args(["--storage-driver", "vfs"]).args(arguments);
        command
    };
    let address = format!("unix://{}", socket.display());
    let _server = serve(&mut podman(&["system", "service", "--time=0", &address]), &socket)?;
    let mut command = build(environment, &scratch, &["type=docker,name=app:1"]);
    let finished = succeed(command.env("DOCKER_HOST", &address))?;
    check(finished.stderr.contains("Loaded image"), || finished.stderr.clone())?;
    let inspected = succeed(&mut podman(&["image", "inspect", "app:1", "--format", "{{.Id}}"]))?.text();
    succeed(build(environment, &scratch, &["type=docker,dest=-,name=app:1"]).args(["--iidfile", "id"]))?;
    equal(&format!("sha256:{inspected}"), &scratch.read("id")?, "image ID")?;
    // The same by a context of docker's.
    let name = bake_oci::Digest::of(b"mine");
    let meta = format!(r#"{{"Name":"mine","Endpoints":{{"docker":{{"Host":"{address}"}}}}}}"#);
    scratch.write(&format!("docker/contexts/meta/{}/meta.json", name.hex()), meta)?;
    let mut command = build(environment, &scratch, &["type=docker,name=other:1,context=mine"]);
    succeed(command.env("DOCKER_CONFIG", scratch.at("docker")))?;
    succeed(&mut podman(&["image", "inspect", "other:1"])).map(drop)
}

fn into_docker(environment: &Environment) -> Outcome {
    let scratch = step_context(environment)?;
    let socket = scratch.path().join("docker.sock");
    let address = format!("unix://{}", socket.display());
    let mut daemon = Command::new("dockerd");
    daemon.args(["--host", &address, "--data-root", &scratch.at("docker"), "--exec-root", &scratch.at("docker-run")]);
    daemon.args(["--pidfile", &scratch.at("docker.pid"), "--storage-driver", "vfs", "--bridge", "none"]);
    let _server = serve(daemon.args(["--iptables=false", "--ip6tables=false"]), &socket)?;
    let mut command = build(environment, &scratch, &["type=docker,name=app:1"]);
    let finished = succeed(command.args(["--iidfile", "id"]).env("DOCKER_HOST", &address))?;
    check(finished.stderr.contains("Loaded image: app:1"), || finished.stderr.clone())?;
    let mut inspect = Command::new("docker");
    let inspected =
        succeed(inspect.args(["image", "inspect", "app:1", "--format", "{{.Id}}"]).env("DOCKER_HOST", &address));
    equal(&inspected?.text(), &scratch.read("id")?, "image ID")
}

fn into_containerd(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let socket = scratch.path().join("containerd.sock");
    let settings = format!(
        "version = 2\nroot = '{}'\nstate = '{}'\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n[grpc]\naddress = '{}'\n",
        scratch.at("containerd"),
        scratch.at("containerd-run"),
        socket.display()
    );
    scratch.write("containerd.toml", settings)?;
    let load = || {
        let mut command = build(environment, &scratch, &["type=docker,context=containerd,name=app:1"]);
        finish(command.env("CONTAINERD_ADDRESS", &socket).env("CONTAINERD_NAMESPACE", "bake"))
    };
    expect_failure(&load()?, 1, &["containerd did not load the image", "CONTAINERD_ADDRESS"])?;
    let mut daemon = Command::new("containerd");
    let _server = serve(daemon.args(["--config", &scratch.at("containerd.toml")]), &socket)?;
    load()?.success()?;
    let mut list = Command::new("ctr");
    list.env("CONTAINERD_ADDRESS", &socket).args(["--namespace", "bake", "images", "list", "--quiet"]);
    equal(&succeed(&mut list)?.text().as_str(), &"docker.io/library/app:1", "images")
}

fn no_docker(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let socket = scratch.path().join("docker.sock");
    let address = format!("unix://{}", socket.display());
    let load = || {
        let mut command = build(environment, &scratch, &["type=docker,name=app:1"]);
        finish(command.env("DOCKER_HOST", &address))
    };
    expect_failure(&load()?, 1, &["cannot connect to docker at", "docker.sock", "dest=FILE"])?;
    // One that hangs up in the middle, having said why.
    let listener = UnixListener::bind(&socket).map_err(|error| error.to_string())?;
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut [0; 100])?;
        stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\n\r\n{\"message\":\"no space left\"}")
    });
    expect_failure(&load()?, 1, &["did not load the image: no space left"])?;
    answering.join().map_err(|_| "the server panicked".to_owned())?.map_err(|error| error.to_string())?;
    let mut command = build(environment, &scratch, &["type=docker,context=nowhere"]);
    expect_failure(&finish(command.env("DOCKER_CONFIG", scratch.path()))?, 2, &["no docker context `nowhere`"])
}
