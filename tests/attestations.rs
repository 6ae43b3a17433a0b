//! What is said of images: provenance beside them, in an index around them, and beside their files.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode};

use bake_oci::Digest;
use bake_testkit::registry::{Config, FakeRegistry, RawServer};
use serde_json::Value;

use support::debian_registry::{PASSWORD, USER, log_in_as, start_debians};
use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("an_image_keeps_its_digest", &[], same_digest),
    ("provenance_beside_an_image", &[], referrer),
    ("provenance_in_an_index", &[], in_an_index),
    ("provenance_of_several_platforms", &[], several_platforms),
    ("provenance_beside_files", &[], beside_files),
    ("provenance_of_the_same_build_is_the_same", &[], same_bytes),
    ("provenance_in_the_metadata_file", &[], metadata),
    ("a_layout_with_provenance_is_read_by_skopeo", &["skopeo"], read_by_skopeo),
    ("provenance_goes_to_a_registry", &[], pushed),
    ("provenance_goes_to_debians_registry", &["docker-registry", "htpasswd", "skopeo"], pushed_to_debians),
    ("provenance_in_an_index_goes_to_a_registry", &[], index_pushed),
    ("a_layout_with_provenance_is_a_base", &[], layout_as_base),
    ("packages_of_an_image", &[], packages),
    ("packages_of_stages_and_the_context", &[], scanned),
    ("provenance_names_what_was_fetched", &["git"], fetched),
    ("what_is_said_of_an_image_is_shown", &[], shown),
    ("what_is_said_of_an_image_goes_with_it", &[], carried_over),
    ("what_is_said_of_an_image_ends_with_it", &[], removed),
    ("what_has_no_place_is_refused", &[], refused),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

const DOCKERFILE: &str = "ARG TOKEN\nARG VERSION\nFROM busybox\nARG TOKEN\nARG VERSION\nRUN --network=none echo made > /made\n\
    COPY file /file\n";

fn context(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", DOCKERFILE)?;
    scratch.write("context/file", "copied\n")?;
    Ok(scratch)
}

fn build(environment: &Environment, scratch: &Scratch, flags: &[&str]) -> Command {
    let mut command = environment.build(&scratch.store());
    command.args(flags).arg(scratch.at("context")).current_dir(scratch.path());
    command
}

fn json(bytes: impl AsRef<[u8]>) -> Result<Value, String> {
    serde_json::from_slice(bytes.as_ref()).map_err(|error| error.to_string())
}

fn blob(layout: &Path, digest: &Value) -> Result<Value, String> {
    let name = digest.as_str().unwrap_or_default().replace(':', "/");
    let path = layout.join("blobs").join(name);
    json(fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// What `index.json` of a layout lists.
fn listed(layout: &Path) -> Result<Vec<Value>, String> {
    let index = json(fs::read(layout.join("index.json")).map_err(|error| error.to_string())?)?;
    Ok(index["manifests"].as_array().cloned().unwrap_or_default())
}

fn same_digest(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let mut digests = Vec::new();
    for flags in [&[][..], &["--provenance", "mode=min"], &["--attest", "type=provenance"], &["--provenance=false"]] {
        let built = succeed(build(environment, &scratch, &["-t", "app"]).args(flags))?;
        digests.push(built.text());
    }
    check(digests.iter().all(|digest| digest.starts_with("sha256:") && *digest == digests[0]), || {
        format!("digests differ: {digests:?}")
    })
}

fn referrer(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let flags = [
        "--provenance",
        "mode=max,builder-id=https://ci.example.com/1",
        "--build-arg",
        "TOKEN=canary",
        "--build-arg",
        "VERSION=1.2",
        "--provenance-args",
        "VERSION",
        "-t",
        "app:1",
        "-o",
        "type=oci,dest=out,tar=false",
        "-o",
        "type=oci,dest=plain,tar=false,attestation-form=none",
    ];
    // With times, which there are only where no time was asked for.
    let started = std::time::SystemTime::now();
    succeed(build(environment, &scratch, &flags).env_remove("SOURCE_DATE_EPOCH"))?;
    let layout = scratch.path().join("out");
    let listed = self::listed(&layout)?;
    equal(&listed.len(), &2, "manifests of the layout")?;
    let (image, referrer) = (&listed[0], &listed[1]);
    equal(&image["annotations"]["org.opencontainers.image.ref.name"], &"1".into(), "the name")?;
    equal(&self::listed(&scratch.path().join("plain"))?, &vec![image.clone()], "the layout without")?;
    check(!listed.iter().any(|entry| entry.to_string().contains("unknown")), || format!("{listed:?}"))?;

    equal(&referrer["artifactType"], &"application/vnd.in-toto+json".into(), "its type")?;
    let predicate_type = &referrer["annotations"]["in-toto.io/predicate-type"];
    equal(predicate_type, &"https://slsa.dev/provenance/v1".into(), "its annotation")?;
    let manifest = blob(&layout, &referrer["digest"])?;
    equal(&manifest["subject"]["digest"], &image["digest"], "the subject")?;
    equal(&manifest["config"]["mediaType"], &"application/vnd.oci.empty.v1+json".into(), "the config")?;
    let statement = blob(&layout, &manifest["layers"][0]["digest"])?;
    equal(&statement["_type"], &"https://in-toto.io/Statement/v1".into(), "the type of the statement")?;
    equal(&statement["predicateType"], predicate_type, "the predicate")?;
    let hex = image["digest"].as_str().unwrap_or_default().trim_start_matches("sha256:");
    equal(&statement["subject"][0]["digest"]["sha256"], &hex.into(), "the digest of the subject")?;
    check(
        statement["subject"][0]["name"].as_str().unwrap_or_default().starts_with("pkg:docker/app@1?platform="),
        || format!("{}", statement["subject"]),
    )?;

    let predicate = &statement["predicate"];
    let definition = &predicate["buildDefinition"];
    let base = self::listed(&environment.base("busybox"))?;
    let base_manifest = base[0]["digest"].as_str().unwrap_or_default().trim_start_matches("sha256:");
    equal(&definition["resolvedDependencies"][0]["digest"]["sha256"], &base_manifest.into(), "the base")?;
    let arguments = &definition["externalParameters"]["request"]["args"];
    equal(&arguments["build-arg:VERSION"], &"1.2".into(), "a named argument")?;
    equal(&arguments["build-arg:TOKEN"], &"<redacted>".into(), "another argument")?;
    equal(&definition["externalParameters"]["configSource"]["path"], &"Dockerfile".into(), "the Dockerfile")?;
    let steps = definition["internalParameters"]["buildConfig"]["steps"].as_array().cloned().unwrap_or_default();
    let run = steps.iter().find(|step| step["name"] == "RUN --network=none echo made > /made");
    let run = run.ok_or_else(|| format!("no such step in {steps:?}"))?;
    equal(&run["lines"], &serde_json::json!([6, 6]), "its lines")?;
    equal(&run["network"], &"none".into(), "its network")?;
    let details = &predicate["runDetails"];
    equal(&details["builder"]["id"], &"https://ci.example.com/1".into(), "the builder")?;
    equal(&details["metadata"]["buildkit_hermetic"], &true.into(), "whether it had no network")?;
    let time = |name: &str| {
        let text = details["metadata"][name].as_str().unwrap_or_default();
        bake_oci::Timestamp::parse_rfc3339(text).map_err(|error| format!("{name}: {error}"))
    };
    let (first, last) = (time("startedOn")?, time("finishedOn")?);
    let started = started.duration_since(std::time::UNIX_EPOCH).map_err(|error| error.to_string())?.as_secs();
    check(first.seconds >= started.cast_signed() && first <= last, || format!("{details}"))?;
    check(!statement.to_string().contains("canary"), || "a build argument got in".into())
}

fn in_an_index(environment: &Environment) -> Outcome {
    for (option, is_artifact) in
        [("attestation-inline=true", false), ("attestation-form=index", false), ("oci-artifact=true", true)]
    {
        let scratch = context(environment)?;
        let output = format!("type=oci,dest=out,tar=false,{option}");
        let built = succeed(&mut build(environment, &scratch, &["--provenance=true", "-t", "app:1", "-o", &output]))?;
        let layout = scratch.path().join("out");
        let listed = self::listed(&layout)?;
        equal(&listed.len(), &1, "entries of the layout")?;
        equal(&listed[0]["digest"], &built.text().into(), "the digest that is told")?;
        let index = blob(&layout, &listed[0]["digest"])?;
        equal(&index["mediaType"], &"application/vnd.oci.image.index.v1+json".into(), "its type")?;
        let (image, attestation) = (&index["manifests"][0], &index["manifests"][1]);
        check(image["platform"]["os"] == "linux", || format!("{index}"))?;
        equal(&attestation["platform"], &serde_json::json!({"architecture": "unknown", "os": "unknown"}), "platform")?;
        let annotations = &attestation["annotations"];
        equal(&annotations["vnd.docker.reference.type"], &"attestation-manifest".into(), "the type of the reference")?;
        equal(&annotations["vnd.docker.reference.digest"], &image["digest"], "the reference")?;
        let manifest = blob(&layout, &attestation["digest"])?;
        let layer = &manifest["layers"][0];
        equal(&layer["mediaType"], &"application/vnd.in-toto+json".into(), "the media type")?;
        let predicate_type = "https://slsa.dev/provenance/v1";
        equal(&layer["annotations"]["in-toto.io/predicate-type"], &predicate_type.into(), "the annotation")?;
        equal(&blob(&layout, &layer["digest"])?["predicateType"], &predicate_type.into(), "the predicate")?;
        if is_artifact {
            equal(&manifest["subject"]["digest"], &image["digest"], "the subject")?;
            let artifact_type = "application/vnd.docker.attestation.manifest.v1+json";
            equal(&manifest["artifactType"], &artifact_type.into(), "the artifact type")?;
        } else {
            check(manifest["subject"].is_null(), || format!("{manifest}"))?;
            let config = blob(&layout, &manifest["config"]["digest"])?;
            equal(&config["rootfs"]["diff_ids"][0], &layer["digest"], "the diff ID")?;
        }
    }
    Ok(())
}

fn several_platforms(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")?;
    let flags = [
        "--platform",
        "linux/amd64,linux/arm64",
        "--provenance=true",
        "-o",
        "type=oci,dest=index,tar=false,attestation-form=index",
        "-o",
        "type=oci,dest=beside,tar=false",
        "-o",
        "type=local,dest=files",
    ];
    succeed(&mut build(environment, &scratch, &flags))?;
    let layout = scratch.path().join("index");
    let index = blob(&layout, &listed(&layout)?[0]["digest"])?;
    let manifests = index["manifests"].as_array().cloned().unwrap_or_default();
    let architectures: Vec<&str> =
        manifests.iter().map(|entry| entry["platform"]["architecture"].as_str().unwrap_or_default()).collect();
    equal(&architectures, &vec!["amd64", "arm64", "unknown", "unknown"], "the platforms")?;
    for (image, attestation) in [(0, 2), (1, 3)] {
        let reference = &manifests[attestation]["annotations"]["vnd.docker.reference.digest"];
        equal(reference, &manifests[image]["digest"], "the reference")?;
    }
    let layout = scratch.path().join("beside");
    let listed = listed(&layout)?;
    equal(&listed.len(), &3, "entries of the layout")?;
    for (entry, platform) in [(1, 0), (2, 1)] {
        let subject = &blob(&layout, &listed[entry]["digest"])?["subject"]["digest"];
        equal(subject, &manifests[platform]["digest"], "the subject")?;
    }
    scratch.write("context/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n")?;
    let together = "type=local,dest=together,platform-split=false";
    succeed(&mut build(environment, &scratch, &[&flags[..3], &["-o", together]].concat()))?;
    for platform in ["linux_amd64", "linux_arm64"] {
        json(scratch.read(&format!("together/provenance.{platform}.json"))?)?;
        let statement = json(scratch.read(&format!("files/{platform}/provenance.json"))?)?;
        let shown =
            statement["predicate"]["buildDefinition"]["externalParameters"]["request"]["args"]["platform"].clone();
        equal(&shown, &platform.replace('_', "/").into(), "the platform")?;
    }
    Ok(())
}

fn beside_files(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let flags = [
        "--provenance=mode=min",
        "-o",
        "type=local,dest=files",
        "-o",
        "type=tar,dest=files.tar,attestation-prefix=app.",
        "-o",
        "type=local,dest=plain,attestation-form=none",
    ];
    succeed(&mut build(environment, &scratch, &flags))?;
    let statement = json(scratch.read("files/provenance.json")?)?;
    let subjects = statement["subject"].as_array().cloned().unwrap_or_default();
    let digest = |name: &str| {
        subjects.iter().find(|subject| subject["name"] == name).map(|subject| subject["digest"]["sha256"].clone())
    };
    let of = |bytes: &[u8]| Some(Value::from(Digest::of(bytes).hex()));
    equal(&digest("file"), &of(b"copied\n"), "the digest of a file")?;
    equal(&digest("made"), &of(b"made\n"), "the digest of another file")?;
    check(digest("provenance.json").is_none(), || "it speaks of itself".into())?;
    check(statement["predicate"]["buildDefinition"]["internalParameters"]["buildConfig"].is_null(), || {
        "not min".into()
    })?;
    let in_archive = succeed(Command::new("tar").args(["-xOf", &scratch.at("files.tar"), "app.provenance.json"]))?;
    equal(&json(in_archive.stdout)?, &statement, "the statement in the archive")?;
    check(!scratch.path().join("plain/provenance.json").exists(), || "it was written".into())?;

    // A second time, over what is there.
    succeed(&mut build(environment, &scratch, &flags[..3]))?;
    let flags = ["--provenance=inline-only=true", "-o", "type=local,dest=inline"];
    succeed(&mut build(environment, &scratch, &flags))?;
    check(!scratch.path().join("inline/provenance.json").exists(), || "it was written".into())?;

    scratch.write("context/Dockerfile", "FROM scratch\nCOPY file /provenance.json\n")?;
    let failed = finish(&mut build(environment, &scratch, &["--provenance=true", "-o", "type=local,dest=taken"]))?;
    expect_failure(&failed, 1, &["`provenance.json`", "attestation-prefix="])?;
    let flags = ["--provenance=filename=other.json", "-o", "type=local,dest=renamed"];
    succeed(&mut build(environment, &scratch, &flags))?;
    equal(&scratch.read("renamed/provenance.json")?, &"copied\n".to_owned(), "the file of the image")?;
    json(scratch.read("renamed/other.json")?).map(drop)
}

fn same_bytes(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    // Without steps: what they write has the time of the step.
    scratch.write("context/Dockerfile", "FROM busybox\nCOPY file /\n")?;
    let mut indexes = Vec::new();
    for store in ["one", "two"] {
        let mut command = environment.build(&scratch.path().join(store));
        command.args(["--provenance=true", "-t", "app:1", "-o", "type=oci,dest=out,tar=false,attestation-form=index"]);
        succeed(command.arg(scratch.at("context")).current_dir(scratch.path()))?;
        indexes.push(scratch.read("out/index.json")?);
    }
    equal(&indexes[0], &indexes[1], "the index of the second build")
}

fn metadata(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let read = |variable: Option<&str>, flags: &[&str]| {
        let mut command = build(environment, &scratch, &["--metadata-file", "metadata.json"]);
        command.args(flags).envs(variable.map(|value| ("BUILDX_METADATA_PROVENANCE", value)));
        succeed(&mut command)?;
        json(scratch.read("metadata.json")?)
    };
    let config = |metadata: &Value| {
        let definition = metadata["buildx.build.provenance"]["buildDefinition"].clone();
        (definition["buildType"].is_string(), definition["internalParameters"]["buildConfig"].is_object())
    };
    equal(&config(&read(None, &[])?), &(true, false), "a little provenance")?;
    equal(&config(&read(Some("max"), &[])?), &(true, true), "all provenance")?;
    equal(&config(&read(Some("disabled"), &["--provenance=true"])?), &(false, false), "no provenance")?;
    let several = read(None, &["--build-arg", "BUILDKIT_MULTI_PLATFORM=1"])?;
    let keys: Vec<&String> = several.as_object().map(|map| map.keys().collect()).unwrap_or_default();
    check(keys.iter().any(|key| key.starts_with("buildx.build.provenance/linux/")), || format!("{keys:?}"))?;
    let wrong = finish(
        build(environment, &scratch, &["--metadata-file", "m.json"]).env("BUILDX_METADATA_PROVENANCE", "everything"),
    )?;
    expect_failure(&wrong, 2, &["BUILDX_METADATA_PROVENANCE=everything"])
}

fn read_by_skopeo(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    for (number, form) in ["referrer", "index"].into_iter().enumerate() {
        let output = format!("type=oci,dest=out{number},tar=false,attestation-form={form}");
        succeed(&mut build(environment, &scratch, &["--provenance=true", "-t", "app:1", "-o", &output]))?;
        let source = format!("oci:{}:1", scratch.at(&format!("out{number}")));
        let inspected =
            succeed(Command::new("skopeo").args(["inspect", "--format", "{{.Os}} {{len .Layers}}", &source]))?;
        check(inspected.text().starts_with("linux "), || inspected.text())?;
        let copy = format!("oci:{}:1", scratch.at(&format!("copy{number}")));
        succeed(Command::new("skopeo").args(["copy", "--all", &source, &copy]))?;
    }
    Ok(())
}

fn refused(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    for (flags, words) in [
        (&["--provenance=true", "-o", "type=docker,dest=x.tar"][..], "attestation-form=none"),
        (&["--provenance=version=v0.2"], "only `v1` is"),
        (&["--attest", "type=sbom,generator=docker/scout"], "is not run"),
        (&["--attest", "mode=max"], "no type="),
        (&["--provenance-args", "A"], "none was asked for"),
        (&["--provenance=true", "-o", "type=image,attestation-form=index"], "keeps attestations beside images"),
    ] {
        expect_failure(&finish(&mut build(environment, &scratch, flags))?, 2, &[words])?;
    }
    let flags = ["--provenance=true", "-o", "type=docker,dest=x.tar,attestation-form=none"];
    succeed(&mut build(environment, &scratch, &flags)).map(drop)
}

/// What a registry answers.
fn get(host: &str, path: &str) -> Result<Value, String> {
    let exchange = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(host)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| format!("{path}: {error}"))?;
    json(answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default())
}

/// The only referrer of `digest` in a list: it is provenance, and says so to who looks at the list only.
fn only_referrer(list: &Value) -> Result<Digest, String> {
    let manifests = list["manifests"].as_array().cloned().unwrap_or_default();
    equal(&manifests.len(), &1, "referrers")?;
    equal(&manifests[0]["artifactType"], &"application/vnd.in-toto+json".into(), "the artifact type")?;
    let predicate = &manifests[0]["annotations"]["in-toto.io/predicate-type"];
    equal(predicate, &"https://slsa.dev/provenance/v1".into(), "the predicate")?;
    Digest::parse(manifests[0]["digest"].as_str().unwrap_or_default()).map_err(|error| error.to_string())
}

fn pushed(environment: &Environment) -> Outcome {
    for has_api in [true, false] {
        let config = Config { referrers: has_api, ..Config::default() };
        let registry = FakeRegistry::start(config).map_err(|error| error.to_string())?;
        let name = format!("{}/team/app:1", registry.host());
        let scratch = context(environment)?;
        let plain = succeed(&mut build(environment, &scratch, &["-t", &name, "--push"]))?.text();
        let built = succeed(&mut build(environment, &scratch, &["-t", &name, "--push", "--provenance=true"]))?.text();
        equal(&built, &plain, "the digest with provenance")?;
        let list = if has_api {
            get(&registry.host(), &format!("/v2/team/app/referrers/{built}"))?
        } else {
            let (_, bytes) = registry.manifest("team/app", &built.replace(':', "-")).ok_or("no tag for referrers")?;
            json(bytes)?
        };
        let referrer = only_referrer(&list)?;
        let (_, manifest) = registry.manifest("team/app", &referrer.to_string()).ok_or("it is not there")?;
        let manifest = json(manifest)?;
        equal(&manifest["subject"]["digest"], &built.as_str().into(), "the subject")?;
        let layer = Digest::parse(manifest["layers"][0]["digest"].as_str().unwrap_or_default());
        let layer = layer.map_err(|error| error.to_string())?;
        let statement = json(registry.blob("team/app", &layer).ok_or("the statement is not there")?)?;
        let hex = built.trim_start_matches("sha256:");
        equal(&statement["subject"][0]["digest"]["sha256"], &hex.into(), "the subject of the statement")?;
    }
    Ok(())
}

fn pushed_to_debians(environment: &Environment) -> Outcome {
    let place = environment.scratch()?;
    let registry = start_debians(&place)?;
    let name = format!("{}/team/app:1", registry.host);
    let scratch = context(environment)?;
    log_in_as(&scratch, &registry.host, USER, PASSWORD)?;
    let mut command = build(environment, &scratch, &["-t", &name, "--push", "--provenance=true"]);
    let digest = succeed(command.env("DOCKER_CONFIG", scratch.path()))?.text();
    let inspect = |reference: &str| {
        let image = format!("docker://{}/team/app{reference}", registry.host);
        let mut command = Command::new("skopeo");
        command.args(["inspect", "--raw", "--tls-verify=false", "--creds", &format!("{USER}:{PASSWORD}"), &image]);
        json(succeed(&mut command)?.stdout)
    };
    let referrer = only_referrer(&inspect(&format!(":{}", digest.replace(':', "-")))?)?;
    let manifest = inspect(&format!("@{referrer}"))?;
    equal(&manifest["subject"]["digest"], &digest.as_str().into(), "the subject")?;
    // The image itself is what it is without provenance.
    check(inspect(":1")?["config"]["digest"].is_string(), || "the tag is no image".into())
}

fn index_pushed(environment: &Environment) -> Outcome {
    for option in ["attestation-form=index", "oci-artifact=true"] {
        let registry = FakeRegistry::start(Config::default()).map_err(|error| error.to_string())?;
        let name = format!("{}/team/app:1", registry.host());
        let scratch = context(environment)?;
        let output = format!("type=registry,{option}");
        let flags = ["-t", &name, "--provenance=true", "-o", &output];
        let built = succeed(&mut build(environment, &scratch, &flags))?.text();
        let (media_type, index) = registry.manifest("team/app", "1").ok_or("no such tag")?;
        equal(&media_type.as_str(), &"application/vnd.oci.image.index.v1+json", "the media type")?;
        equal(&Digest::of(&index).to_string(), &built, "the digest that is told")?;
        let index = json(index)?;
        for entry in index["manifests"].as_array().cloned().unwrap_or_default() {
            let digest = entry["digest"].as_str().unwrap_or_default();
            registry.manifest("team/app", digest).ok_or_else(|| format!("{digest} is not there"))?;
        }
        let attestation = &index["manifests"][1];
        equal(&attestation["annotations"]["vnd.docker.reference.type"], &"attestation-manifest".into(), "its type")?;
        let referrers = get(&registry.host(), &format!("/v2/team/app/referrers/{}", attestation_subject(&index)))?;
        let count = referrers["manifests"].as_array().map_or(0, Vec::len);
        equal(&count, &usize::from(option == "oci-artifact=true"), "referrers")?;
        // Who wants the image gets the image.
        let other = environment.scratch()?;
        let mut pull = environment.command(&other.store());
        succeed(pull.args(["pull", &name]).env("DOCKER_CONFIG", scratch.path()))?;
        let shown = succeed(environment.command(&other.store()).args(["run", "--rm", &name, "cat", "/made"]))?;
        equal(&shown.text().as_str(), &"made", "what a container reads")?;
    }
    Ok(())
}

/// What the attestation of an index is about.
fn attestation_subject(index: &Value) -> String {
    let reference = &index["manifests"][1]["annotations"]["vnd.docker.reference.digest"];
    reference.as_str().unwrap_or_default().to_owned()
}

fn layout_as_base(environment: &Environment) -> Outcome {
    for platforms in ["", "linux/amd64,linux/arm64"] {
        let scratch = environment.scratch()?;
        scratch.write("context/Dockerfile", "FROM scratch\nCOPY Dockerfile /first\n")?;
        let flags = ["--platform", platforms, "--provenance=true", "-o", "type=oci,dest=base,tar=false"];
        succeed(&mut build(environment, &scratch, &flags))?;
        scratch.write("context/Dockerfile", "FROM base\nCOPY Dockerfile /second\n")?;
        let flags = ["--build-context", "base=oci-layout://base", "-o", "type=local,dest=files"];
        succeed(&mut build(environment, &scratch, &flags))?;
        check(scratch.path().join("files/first").exists(), || "the base is not there".into())?;
    }
    Ok(())
}

/// What a package manager knows of one package.
fn dpkg_status(package: &str) -> String {
    format!(
        "Package: {package}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.2-3\n\
         Maintainer: Somebody <somebody@example.com>\nDescription: something\n\n"
    )
}

/// The names of the packages in an SPDX document.
fn package_names(statement: &Value) -> Vec<String> {
    let packages = statement["predicate"]["packages"].as_array().cloned().unwrap_or_default();
    packages.iter().filter_map(|package| package["name"].as_str()).map(str::to_owned).collect()
}

fn packages(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/status", dpkg_status("canary-package"))?;
    scratch.write("context/Dockerfile", "FROM busybox\nCOPY status /var/lib/dpkg/status\n")?;
    let plain = succeed(&mut build(environment, &scratch, &["-t", "app:1"]))?.text();
    let with_list = succeed(&mut build(environment, &scratch, &["-t", "app:1", "--sbom=true"]))?.text();
    equal(&with_list, &plain, "the digest with a list of packages")?;
    let flags = [
        "-t",
        "app:1",
        "--attest",
        "type=sbom",
        "--provenance=true",
        "-o",
        "type=oci,dest=out,tar=false",
        "-o",
        "type=oci,dest=index,tar=false,attestation-form=index",
        "-o",
        "type=local,dest=files",
        "-o",
        "type=tar,dest=files.tar",
    ];
    succeed(&mut build(environment, &scratch, &flags))?;

    let layout = scratch.path().join("out");
    let listed = self::listed(&layout)?;
    equal(&listed.len(), &3, "entries of the layout")?;
    let spdx = |entry: &Value| entry["annotations"]["in-toto.io/predicate-type"] == "https://spdx.dev/Document";
    let referrer = listed.iter().find(|entry| spdx(entry)).ok_or("no referrer with packages")?;
    let manifest = blob(&layout, &referrer["digest"])?;
    let statement = blob(&layout, &manifest["layers"][0]["digest"])?;
    equal(&statement["predicateType"], &"https://spdx.dev/Document".into(), "the predicate")?;
    equal(&statement["predicate"]["spdxVersion"], &"SPDX-2.3".into(), "the version of SPDX")?;
    let hex = listed[0]["digest"].as_str().unwrap_or_default().trim_start_matches("sha256:");
    equal(&statement["subject"][0]["digest"]["sha256"], &hex.into(), "the subject")?;
    let names = package_names(&statement);
    check(names.iter().any(|name| name == "canary-package"), || format!("{names:?}"))?;
    check(statement["predicate"].to_string().contains(hex), || "the document does not name the image".into())?;

    // BuildKit has one manifest with all statements.
    let layout = scratch.path().join("index");
    let index = blob(&layout, &self::listed(&layout)?[0]["digest"])?;
    let layers = blob(&layout, &index["manifests"][1]["digest"])?["layers"].as_array().cloned().unwrap_or_default();
    let kinds: Vec<&str> =
        layers.iter().filter_map(|layer| layer["annotations"]["in-toto.io/predicate-type"].as_str()).collect();
    equal(&kinds, &vec!["https://spdx.dev/Document", "https://slsa.dev/provenance/v1"], "the statements")?;

    let beside = json(scratch.read("files/sbom.spdx.json")?)?;
    check(package_names(&beside).iter().any(|name| name == "canary-package"), || beside.to_string())?;
    let in_archive = succeed(Command::new("tar").args(["-xOf", &scratch.at("files.tar"), "sbom.spdx.json"]))?;
    equal(&json(in_archive.stdout)?, &beside, "the list in the archive")?;
    check(scratch.path().join("files/provenance.json").exists(), || "no provenance".into())
}

fn scanned(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/base-status", dpkg_status("of-the-base"))?;
    scratch.write("context/status", dpkg_status("of-the-image"))?;
    scratch.write("context/var/lib/dpkg/status", dpkg_status("of-the-context"))?;
    scratch.write("context/lib/apk/db/installed", "P:ignored\nV:1.0-r0\nA:x86_64\n\n")?;
    scratch.write("context/.dockerignore", "lib\n")?;
    let dockerfile = "ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nFROM busybox AS base\nARG BUILDKIT_SBOM_SCAN_STAGE=true\n\
        COPY base-status /var/lib/dpkg/status\nRUN test -z \"$BUILDKIT_SBOM_SCAN_STAGE\"\nFROM busybox\n\
        COPY --from=base /var/lib/dpkg/status /x\nCOPY status /var/lib/dpkg/status\n";
    scratch.write("context/Dockerfile", dockerfile)?;
    // The second time everything is cached.
    for _ in 0..2 {
        succeed(&mut build(environment, &scratch, &["--sbom=true", "-o", "type=local,dest=files"]))?;
        for (file, package) in
            [("sbom", "of-the-image"), ("sbom-base", "of-the-base"), ("sbom-context", "of-the-context")]
        {
            let names = package_names(&json(scratch.read(&format!("files/{file}.spdx.json"))?)?);
            check(names.iter().any(|name| name == package), || format!("{file}: {names:?}"))?;
            let others = ["of-the-image", "of-the-base", "of-the-context", "ignored"];
            let others = others.iter().filter(|other| **other != package && names.iter().any(|name| name == *other));
            equal(&others.count(), &0, "packages of others")?;
        }
    }
    Ok(())
}

fn bake(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<String, String> {
    let mut command = environment.command(&scratch.store());
    succeed(command.args(arguments).current_dir(scratch.path()).env("DOCKER_CONFIG", scratch.path()))
        .map(|finished| finished.text())
}

/// The types and platforms that `bake attestations` lists.
fn types(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<Vec<String>, String> {
    let arguments = [&["attestations", "--format", "{{.Type}} {{.Form}}"], arguments].concat();
    let listed = bake(environment, scratch, &arguments)?;
    let mut types: Vec<String> = listed.lines().map(str::to_owned).collect();
    types.sort();
    Ok(types)
}

fn shown(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    succeed(&mut build(environment, &scratch, &["-t", "app:1"]))?;
    equal(&types(environment, &scratch, &["app:1"])?, &Vec::new(), "what is said of an image without")?;
    // The second time replaces the first: the times differ.
    for _ in 0..2 {
        let mut command = build(environment, &scratch, &["-t", "app:1", "--provenance=true", "--sbom=true"]);
        succeed(command.env_remove("SOURCE_DATE_EPOCH"))?;
    }
    let both = vec!["provenance referrer".to_owned(), "sbom referrer".to_owned()];
    equal(&types(environment, &scratch, &["app:1"])?, &both, "what is said")?;
    let statement = json(bake(environment, &scratch, &["attestations", "--show", "provenance", "app:1"])?)?;
    equal(&statement["predicateType"], &"https://slsa.dev/provenance/v1".into(), "the predicate")?;
    let by_address = ["attestations", "--show", "https://spdx.dev/Document", "app:1"];
    equal(&json(bake(environment, &scratch, &by_address)?)?["predicate"]["spdxVersion"], &"SPDX-2.3".into(), "SPDX")?;
    let absent = ["attestations", "--show", "vex", "app:1"];
    let mut command = environment.command(&scratch.store());
    expect_failure(&finish(command.args(absent))?, 2, &["nothing of kind `vex`"])?;

    // As others have made it, in a registry.
    let registry = FakeRegistry::start(Config::default()).map_err(|error| error.to_string())?;
    for form in ["referrer", "index"] {
        let name = format!("{}/{form}/app:1", registry.host());
        let output = format!("type=registry,attestation-form={form}");
        let flags = ["-t", &name, "--provenance=true", "--sbom=true", "-o", &output];
        succeed(&mut build(environment, &scratch, &flags))?;
        let expected = vec![format!("provenance {form}"), format!("sbom {form}")];
        equal(&types(environment, &scratch, &["--remote", &name])?, &expected, "what the registry has")?;
        let statement = json(bake(environment, &scratch, &["attestations", "--remote", "--show", "sbom", &name])?)?;
        equal(&statement["predicateType"], &"https://spdx.dev/Document".into(), "the predicate")?;
    }
    Ok(())
}

fn carried_over(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let registry = FakeRegistry::start(Config::default()).map_err(|error| error.to_string())?;
    let name = format!("{}/team/app:1", registry.host());
    let here = succeed(&mut build(environment, &scratch, &["-t", &name, "--provenance=true", "--sbom=true"]))?.text();

    // Pushed, its layers are compressed, so it is another manifest: that one is spoken of.
    let there = bake(environment, &scratch, &["push", "--quiet", &name])?;
    let there = there.lines().last().unwrap_or_default().to_owned();
    check(here != there, || "the test shows nothing: the digests are the same".into())?;
    let referrers = get(&registry.host(), &format!("/v2/team/app/referrers/{there}"))?;
    equal(&referrers["manifests"].as_array().map_or(0, Vec::len), &2, "referrers")?;
    let hex = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    for kind in ["provenance", "sbom"] {
        let statement = bake(environment, &scratch, &["attestations", "--remote", "--show", kind, &name])?;
        equal(&json(&statement)?["subject"][0]["digest"]["sha256"], &hex(&there).into(), "the subject")?;
        check(!statement.contains(&hex(&here)), || format!("it speaks of the other form: {statement}"))?;
    }

    // As an OCI layout, and from there into another store.
    bake(environment, &scratch, &["save", "--format", "oci", "--output", "app.tar", &name])?;
    let other = environment.scratch()?;
    bake(environment, &other, &["load", "--input", &scratch.at("app.tar")])?;
    let both = vec!["provenance referrer".to_owned(), "sbom referrer".to_owned()];
    equal(&types(environment, &other, &[&name])?, &both, "what was loaded")?;
    // There it is a manifest over blobs, which goes on as it is.
    let again = bake(environment, &other, &["push", "--quiet", &name])?;
    equal(&again.lines().last().unwrap_or_default(), &there.as_str(), "the digest from there")?;
    let mut command = environment.command(&scratch.store());
    let saved = succeed(command.args(["save", "--output", "docker.tar", &name]).current_dir(scratch.path()))?;
    check(saved.stderr.contains("no place in a docker archive"), || saved.stderr.clone())?;
    succeed(Command::new("tar").args(["-tf", &scratch.at("docker.tar"), "manifest.json"])).map(drop)
}

fn removed(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    succeed(&mut build(environment, &scratch, &["-t", "app:1", "--provenance=true"]))?;
    let digest = || -> Result<String, String> {
        bake(environment, &scratch, &["attestations", "--format", "{{.Digest}}", "app:1"])
    };
    let path = scratch.store().join("blobs").join(digest()?.replace(':', "/"));
    check(path.exists(), || format!("{} is not there", path.display()))?;
    // What belongs to a named image stays whatever is pruned.
    bake(environment, &scratch, &["prune", "--all", "--force"])?;
    check(path.exists() && !digest()?.is_empty(), || "it went before the image".into())?;
    let checked = bake(environment, &scratch, &["fsck"])?;
    check(path.exists(), || checked)?;
    bake(environment, &scratch, &["rmi", "app:1"])?;
    check(!path.exists(), || "it stayed after the image".into())?;
    bake(environment, &scratch, &["prune", "--all", "--force"])?;
    let left = fs::read_dir(scratch.store().join("referrers")).map_err(|error| error.to_string())?.count();
    equal(&left, &0, "lists of referrers")
}

/// Serves the files below `root`; what did not change is not sent again.
fn serve(root: std::path::PathBuf) -> Result<RawServer, String> {
    let answer = move |request: &bake_testkit::registry::RecordedRequest| {
        let path = request.path.split('?').next().unwrap_or_default().trim_start_matches('/');
        let (status, body) = match fs::read(root.join(path)) {
            Ok(_) if request.header("if-none-match").is_some() => ("304 Not Modified", Vec::new()),
            Ok(bytes) => ("200 OK", bytes),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let head =
            format!("HTTP/1.1 {status}\r\nETag: \"1\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    };
    RawServer::start(answer).map_err(|error| error.to_string())
}

fn fetched(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("served/file", "served\n")?;
    let server = serve(scratch.path().join("served"))?;
    // What is written in a Dockerfile is told with it; the value of an argument is not.
    let address = format!("http://{}/file?signature=$SIGNATURE", server.host());
    scratch.write("work/sub/Dockerfile", format!("FROM scratch\nARG SIGNATURE\nADD {address} /file\n"))?;
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=T", "-c", "user.email=t@example.com"]).args(arguments);
        succeed(command.current_dir(scratch.path()).env("GIT_CONFIG_GLOBAL", "/dev/null")).map(|done| done.text())
    };
    git(&["init", "--quiet", "--initial-branch=main", "work"])?;
    git(&["-C", "work", "add", "--all"])?;
    git(&["-C", "work", "commit", "--quiet", "--message=one"])?;
    git(&["clone", "--quiet", "--bare", "work", "served/repository.git"])?;
    git(&["-C", "served/repository.git", "update-server-info"])?;
    let commit = git(&["-C", "work", "rev-parse", "HEAD"])?;
    let context = format!("http://someone:hush@{}/repository.git#main:sub", server.host());
    // The second time nothing is sent again, and the same is told.
    for _ in 0..2 {
        let mut command = environment.build(&scratch.store());
        command.args(["--provenance=true", "--build-arg", "SIGNATURE=hush", "-o"]);
        command.args([&format!("type=local,dest={}", scratch.at("out")), &context]);
        succeed(&mut command)?;
        let statement = scratch.read("out/provenance.json")?;
        check(!statement.contains("hush"), || format!("a secret got in: {statement}"))?;
        let definition = json(statement)?["predicate"]["buildDefinition"].clone();
        let dependencies = &definition["resolvedDependencies"];
        equal(&dependencies.as_array().map_or(0, Vec::len), &2, "dependencies")?;
        equal(&dependencies[0]["digest"]["sha256"], &Digest::of(b"served\n").hex().into(), "the file")?;
        let shown = format!("http://{}/file?signature=xxxxx", server.host());
        equal(&dependencies[0]["uri"], &shown.into(), "the address of the file")?;
        equal(&dependencies[1]["digest"]["sha1"], &commit.as_str().into(), "the commit")?;
        let source = &definition["externalParameters"]["configSource"];
        equal(&source["digest"]["sha1"], &commit.as_str().into(), "the commit of the Dockerfile")?;
        let shown = format!("http://{}/repository.git#main:sub", server.host());
        equal(&source["uri"], &shown.into(), "the address of the Dockerfile")?;
        equal(&source["path"], &"Dockerfile".into(), "its path")?;
    }
    Ok(())
}
