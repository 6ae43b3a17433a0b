//! Caches outside of the store: what one machine exported spares another one its work, and never breaks its build.

mod support;

use std::fs;
use std::process::{Command, ExitCode};

use bake_testkit::program::Finished;
use bake_testkit::registry::{Action, Auth, Config, FakeRegistry, Fault};
use serde_json::Value;

use support::debian_registry::{PASSWORD, log_in, start_debians};
use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("everything_is_found_and_nothing_fetched", &[], nothing_fetched),
    ("only_what_a_step_needs_is_fetched", &[], only_what_is_needed),
    ("modes_differ_in_what_is_exported", &[], modes),
    ("every_output_is_the_same", &[], outputs),
    ("a_push_takes_layers_over_without_fetching_them", &[], pushed_without_fetching),
    ("an_image_carries_its_own_cache", &[], inline),
    ("a_directory_is_a_layout_without_orphans", &["skopeo"], directory),
    ("what_steps_asked_travels", &["fuse"], traces),
    ("cache_mounts_travel", &[], cache_mounts),
    ("cache_mounts_of_cached_steps_are_passed_on", &[], cache_mounts_passed_on),
    ("an_import_that_fails_is_a_warning", &[], failing_imports),
    ("an_export_that_fails_is_an_error", &[], failing_exports),
    ("a_damaged_directory_costs_only_time", &[], damaged_directory),
    ("a_registry_without_the_layers_costs_only_time", &[], missing_layers),
    ("a_document_that_lies_costs_only_time", &[], lying_document),
    ("a_failed_step_is_not_tried_again", &[], failed_step),
    ("other_compressions", &[], compressions),
    ("debians_registry", &["docker-registry", "htpasswd"], debian),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// Steps with the same result every time, so that digests of builds that share nothing can be compared.
const DOCKERFILE: &str = "\
FROM busybox AS tools
RUN echo tool > /tool && echo more > /more && touch -d @1600000000 /tool /more
FROM busybox
RUN echo first > /first && ln /first /second && touch -d @1600000000 /first
COPY --from=tools /tool /tool
COPY last /last
CMD [\"cat\", \"/last\"]
";

/// How many steps that is, and how many of them are in the image.
const STEPS: usize = 4;
const STEPS_IN_IMAGE: usize = 3;

fn context(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", DOCKERFILE)?;
    write_last(&scratch, "last")?;
    Ok(scratch)
}

fn write_last(scratch: &Scratch, content: &str) -> Outcome {
    scratch.write("context/last", content)?;
    let path = scratch.path().join("context/last");
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    file.set_modified(time).map_err(|error| error.to_string())
}

fn registry() -> Result<FakeRegistry, String> {
    FakeRegistry::start(Config { mounts: true, ..Config::default() }).map_err(|error| error.to_string())
}

/// Builds the context of `scratch` with the store called `store`.
fn build(environment: &Environment, scratch: &Scratch, store: &str, flags: &[&str]) -> Result<Finished, String> {
    finish(&mut build_command(environment, scratch, store, flags))
}

fn build_command(environment: &Environment, scratch: &Scratch, store: &str, flags: &[&str]) -> Command {
    let mut command = environment.build(&scratch.path().join(store));
    command.args(flags).arg(scratch.at("context")).env("DOCKER_CONFIG", scratch.path());
    command.current_dir(scratch.path());
    command
}

/// Builds with success and gives the image's digest.
fn digest(environment: &Environment, scratch: &Scratch, store: &str, flags: &[&str]) -> Result<String, String> {
    build(environment, scratch, store, flags)?.success().map(|finished| finished.text())
}

fn fsck(environment: &Environment, scratch: &Scratch, store: &str) -> Outcome {
    let checked = succeed(environment.command(&scratch.path().join(store)).arg("fsck"))?;
    check(checked.stderr.contains("nothing is wrong"), || checked.stderr.clone())
}

fn run_image(environment: &Environment, scratch: &Scratch, store: &str, name: &str) -> Result<String, String> {
    let mut command = environment.command(&scratch.path().join(store));
    succeed(command.args(["run", "--rm", name])).map(|finished| finished.text())
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// The digest of the document that a cache in a registry has, and the document.
fn document(registry: &FakeRegistry, repository: &str, tag: &str) -> Result<(String, Value), String> {
    let (_, manifest) = registry.manifest(repository, tag).ok_or("there is no cache in the registry")?;
    let digest = json(&manifest)?["config"]["digest"].as_str().unwrap_or_default().to_owned();
    let parsed = digest.parse().map_err(|error| format!("{digest}: {error}"))?;
    let bytes = registry.blob(repository, &parsed).ok_or("there is no document in the registry")?;
    Ok((digest, json(&bytes)?))
}

/// The blobs that were fetched since the last time, without the document.
fn fetched(registry: &FakeRegistry, document: &str) -> Vec<String> {
    let requests = registry.take_requests();
    let gets = requests.iter().filter(|request| request.method == "GET" && request.path.contains("/blobs/"));
    gets.map(|request| request.path.clone()).filter(|path| !path.contains(document)).collect()
}

fn all_cached(finished: &Finished) -> Outcome {
    check(finished.stderr.contains("(all cached)"), || finished.stderr.clone())
}

fn nothing_fetched(environment: &Environment) -> Outcome {
    let (registry, scratch) = (registry()?, context(environment)?);
    let cache = format!("{}/team/app:cache", registry.host());
    let wanted = digest(
        environment,
        &scratch,
        "one",
        &["-t", "app", "--cache-to", &format!("type=registry,ref={cache},mode=max")],
    )?;
    let (document, _) = document(&registry, "team/app", "cache")?;
    registry.take_requests();
    let finished = build(environment, &scratch, "two", &["-t", "app", "--cache-from", &cache])?.success()?;
    equal(&finished.text(), &wanted, "digest")?;
    all_cached(&finished)?;
    equal(&fetched(&registry, &document), &Vec::new(), "blobs that were fetched")?;
    // Layers that were left at the registry are no damage, and no reason to fetch them.
    fsck(environment, &scratch, "two")?;
    equal(&fetched(&registry, &document), &Vec::new(), "blobs that were fetched by the check")?;
    // The image is complete as soon as somebody needs it.
    equal(&run_image(environment, &scratch, "two", "app")?.as_str(), &"last", "output")?;
    equal(&fetched(&registry, &document).len(), &STEPS_IN_IMAGE, "number of blobs that were fetched to run the image")?;
    fsck(environment, &scratch, "two")?;
    // And it can be built upon, without the registry.
    drop(registry);
    scratch.write("context/Dockerfile", "FROM app\nRUN cat /first /tool\n")?;
    let finished = build(environment, &scratch, "two", &[])?.success()?;
    check(finished.stderr.contains("first") && finished.stderr.contains("tool"), || finished.stderr.clone())
}

fn only_what_is_needed(environment: &Environment) -> Outcome {
    let (registry, scratch) = (registry()?, context(environment)?);
    let cache = format!("{}/team/app:cache", registry.host());
    digest(environment, &scratch, "one", &["--cache-to", &format!("type=registry,ref={cache},mode=max")])?;
    let (document, _) = document(&registry, "team/app", "cache")?;
    write_last(&scratch, "changed")?;
    let wanted = digest(environment, &scratch, "without", &["-t", "app"])?;
    registry.take_requests();
    let finished = build(environment, &scratch, "two", &["-t", "app", "--cache-from", &cache])?.success()?;
    equal(&finished.text(), &wanted, "digest")?;
    check(finished.stderr.contains("(3 cached)"), || finished.stderr.clone())?;
    equal(&fetched(&registry, &document).len(), &2, "number of blobs that were fetched")?;
    fsck(environment, &scratch, "two")?;
    // What was fetched is known from now on.
    let again = build(environment, &scratch, "two", &["-t", "app"])?.success()?;
    equal(&again.text(), &wanted, "digest")?;
    check(again.stderr.contains("(3 cached)") || again.stderr.contains("(all cached)"), || again.stderr.clone())?;
    equal(&fetched(&registry, &document), &Vec::new(), "blobs that were fetched later")
}

fn modes(environment: &Environment) -> Outcome {
    let (registry, scratch) = (registry()?, context(environment)?);
    for (tag, mode, count) in
        [("max", ",mode=max", STEPS), ("min", ",mode=min", STEPS_IN_IMAGE), ("default", "", STEPS_IN_IMAGE)]
    {
        let spec = format!("type=registry,ref={}/team/app:{tag}{mode}", registry.host());
        digest(environment, &scratch, "one", &["--cache-to", &spec])?;
        let (_, document) = document(&registry, "team/app", tag)?;
        let records = document["records"].as_array().ok_or("no records")?;
        equal(&records.len(), &count, mode)?;
        // The same results are the same document.
        let before = registry.manifest("team/app", tag);
        digest(environment, &scratch, "one", &["--cache-to", &spec])?;
        check(registry.manifest("team/app", tag) == before, || format!("{tag} changed"))?;
    }
    Ok(())
}

fn outputs(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    digest(environment, &scratch, "one", &["--cache-to", "type=local,dest=cache"])?;
    for kind in ["oci", "docker", "tar", "oci,compression=zstd"] {
        let output = |name: &str| format!("type={kind},dest={name}.tar");
        succeed(&mut build_command(environment, &scratch, "one", &["-t", "app", "-o", &output("local")]))?;
        let flags = ["-t", "app", "-o", &output("imported"), "--cache-from", "type=local,src=cache"];
        let store = format!("two-{}", &kind[..3]);
        succeed(&mut build_command(environment, &scratch, &store, &flags))?;
        let read = |name: &str| fs::read(scratch.path().join(name)).map_err(|error| error.to_string());
        check(read("local.tar")? == read("imported.tar")?, || format!("type={kind} differs"))?;
    }
    // A directory of files as well.
    let flags = ["-o", "type=local,dest=files", "--cache-from", "type=local,src=cache"];
    succeed(&mut build_command(environment, &scratch, "three", &flags))?;
    equal(&scratch.read("files/first")?.as_str(), &"first\n", "a file")
}

fn pushed_without_fetching(environment: &Environment) -> Outcome {
    let (registry, scratch) = (registry()?, context(environment)?);
    let cache = format!("{}/team/app:cache", registry.host());
    let name = |repository: &str| format!("{}/{repository}:1", registry.host());
    let (first, second) = (name("team/first"), name("team/second"));
    let spec = format!("type=registry,ref={cache}");
    let wanted = digest(environment, &scratch, "one", &["--push", "-t", &first, "--cache-to", &spec])?;
    let (document, _) = document(&registry, "team/app", "cache")?;
    registry.take_requests();
    let copy = format!("type=registry,ref={}/team/copy:cache", registry.host());
    let flags = ["--push", "-t", &second, "--cache-from", &cache, "--cache-to", &copy];
    let finished = build(environment, &scratch, "two", &flags)?.success()?;
    equal(&finished.text(), &wanted, "digest")?;
    equal(&fetched(&registry, &document), &Vec::new(), "blobs that were fetched")?;
    check(registry.manifest("team/second", &wanted).is_some(), || "the image is not in the registry".into())?;
    // Another registry cannot take anything over, so there the bytes are needed.
    let other = self::registry()?;
    let elsewhere = format!("{}/team/app:1", other.host());
    let flags = ["--push", "-t", &elsewhere, "--cache-from", &cache];
    equal(&digest(environment, &scratch, "three", &flags)?, &wanted, "digest")?;
    equal(&fetched(&registry, &document).len(), &STEPS_IN_IMAGE, "number of blobs that were fetched")
}

fn inline(environment: &Environment) -> Outcome {
    let (registry, scratch) = (registry()?, context(environment)?);
    let name = format!("{}/team/app:1", registry.host());
    let wanted = digest(environment, &scratch, "one", &["--push", "-t", &name, "--cache-to", "type=inline"])?;
    let flags = ["--push", "-t", &name, "--cache-from", &name, "--build-arg", "BUILDKIT_INLINE_CACHE=1"];
    let finished = build(environment, &scratch, "two", &flags)?.success()?;
    equal(&finished.text(), &wanted, "digest")?;
    // Only what is in the image can be found: the stage before it runs again.
    check(finished.stderr.contains("(3 cached)"), || finished.stderr.clone())?;
    // In the local store, the field changes nothing else.
    digest(environment, &scratch, "two", &["-t", "app", "--cache-to", "type=inline"])?;
    equal(&run_image(environment, &scratch, "two", "app")?.as_str(), &"last", "output")?;
    // An image without it is built as before, also on top of one that has it.
    scratch.write("context/Dockerfile", format!("FROM {name}\nLABEL a=b\n"))?;
    let top = digest(environment, &scratch, "two", &["--push", "-t", &format!("{}/top:1", registry.host())])?;
    let (_, manifest) = registry.manifest("top", &top).ok_or("the image is not in the registry")?;
    let config = json(&manifest)?["config"]["digest"]
        .as_str()
        .unwrap_or_default()
        .parse()
        .map_err(|error| format!("{error}"))?;
    let config = json(&registry.blob("top", &config).ok_or("the config is not in the registry")?)?;
    check(config.get("bake.cache.v1").is_none(), || config.to_string())?;
    let refused = build(environment, &scratch, "two", &["--cache-to", "type=inline,mode=max"])?;
    expect_failure(&refused, 2, &["mode=max"])
}

fn blobs_in(scratch: &Scratch, layout: &str) -> Result<usize, String> {
    let entries = fs::read_dir(scratch.path().join(layout).join("blobs/sha256")).map_err(|error| error.to_string())?;
    Ok(entries.count())
}

fn directory(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let wanted = digest(environment, &scratch, "one", &["--cache-to", "type=local,dest=cache,mode=max"])?;
    // A manifest, a document and the layers.
    equal(&blobs_in(&scratch, "cache")?, &(STEPS + 2), "number of blobs")?;
    let shown =
        succeed(Command::new("skopeo").args(["inspect", "--raw"]).arg(format!("oci:{}:latest", scratch.at("cache"))))?;
    check(shown.text().contains("application/vnd.bake.cache.config.v1+json"), || shown.text())?;
    write_last(&scratch, "changed")?;
    let changed = digest(environment, &scratch, "one", &["--cache-to", "type=local,dest=cache,tag=other,mode=max"])?;
    // Another manifest, document and layer beside those of before.
    equal(&blobs_in(&scratch, "cache")?, &(STEPS + 5), "number of blobs with two tags")?;
    let from = |tag: &str| format!("type=local,src=cache,tag={tag}");
    let finished = build(environment, &scratch, "two", &["--cache-from", &from("other")])?.success()?;
    equal(&finished.text(), &changed, "digest")?;
    all_cached(&finished)?;
    write_last(&scratch, "last")?;
    equal(&digest(environment, &scratch, "three", &["--cache-from", &from("latest")])?, &wanted, "digest")?;
    // What no tag leads to any more is removed.
    digest(environment, &scratch, "one", &["--cache-to", "type=local,dest=cache,tag=other,mode=max"])?;
    equal(&blobs_in(&scratch, "cache")?, &(STEPS + 2), "number of blobs with two equal tags")?;
    write_last(&scratch, "once more")?;
    digest(environment, &scratch, "one", &["--cache-to", "type=local,dest=cache,reset=true"])?;
    equal(&blobs_in(&scratch, "cache")?, &(STEPS_IN_IMAGE + 2), "number of blobs after a reset")?;
    let index = json(scratch.read("cache/index.json")?.as_bytes())?;
    equal(&index["manifests"].as_array().map(Vec::len), &Some(1), "number of tags")
}

/// Two layers of copies: one that stays as it is, and one of which the second step reads one file and lists one directory.
const TRACED: &str = "\
FROM busybox
COPY fixed /fixed
COPY src /src
RUN cat /src/read /fixed > /out; echo /src/listed/* >> /out; [ -e /src/absent ] || touch -d @1600000000 /out
";

fn traces(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", TRACED)?;
    for (path, content) in [("fixed", "fixed"), ("src/read", "read"), ("src/other", "other"), ("src/listed/a", "a")] {
        scratch.write(&format!("context/{path}"), content)?;
    }
    let place = format!("{}/app:cache", registry.host());
    let remote = format!("type=registry,ref={place},mode=max");
    let flags = ["--cache-to", &remote, "--cache-to", "type=local,dest=cache,mode=max", "-t", "app"];
    build(environment, &scratch, "one", &flags)?.success()?;
    let (_, of_registry) = document(&registry, "app", "cache")?;
    equal(&of_registry["traces"].as_array().map(Vec::len), &Some(1), "number of traces")?;

    // Machines without anything, and a context in which nothing has changed that the step asked for.
    scratch.write("context/src/other", "another")?;
    scratch.write("context/src/listed/a", "content does not matter")?;
    for (store, from) in [("two", "type=local,src=cache"), ("three", &*place)] {
        let again = format!("type=local,dest=again-{store},mode=max");
        let shown = build(environment, &scratch, store, &["--cache-from", from, "--cache-to", &again])?.success()?;
        check(shown.stderr.contains("built 3 steps (2 cached)"), || shown.stderr.clone())?;
        fsck(environment, &scratch, store)?;
        // What was imported is passed on.
        scratch.write("context/src/other", store)?;
        let from = format!("type=local,src=again-{store}");
        let shown = build(environment, &scratch, &format!("after-{store}"), &["--cache-from", &from])?.success()?;
        check(shown.stderr.contains("built 3 steps (2 cached)"), || shown.stderr.clone())?;
    }
    // What it did ask for makes it run, wherever its trace comes from.
    let changes = [
        ("src/read", "`src/read` changed (content)"),
        ("src/listed/b", "`src/listed` changed (names in it)"),
        ("src/absent", "`src/absent` is new"),
        ("fixed", "`fixed` changed (content)"),
    ];
    for (number, (path, why)) in changes.into_iter().enumerate() {
        let path = format!("context/{path}");
        let before = scratch.read(&path).ok();
        scratch.write(&path, "another")?;
        let flags = ["--cache-from", "type=local,src=cache"];
        let shown = build(environment, &scratch, &format!("changed-{number}"), &flags)?.success()?;
        check(shown.stderr.contains(&format!("#4 ran: {why}\n")), || format!("{path}: {}", shown.stderr))?;
        match before {
            Some(before) => scratch.write(&path, before)?,
            None => fs::remove_file(scratch.path().join(&path)).map_err(|error| error.to_string())?,
        }
    }
    // A cache in an image names no files of the context.
    let inline = ["-t", &format!("{}/app:1", registry.host()), "--push", "--cache-to", "type=inline"];
    build(environment, &scratch, "one", &inline)?.success()?;
    let (_, config) = document(&registry, "app", "1")?;
    let inline = &config["bake.cache.v1"];
    check(!inline.to_string().contains("trace"), || inline.to_string())?;
    check(inline["layers"].to_string().contains("copied"), || inline.to_string())
}

const MOUNTS: &str = "\
FROM busybox
RUN --mount=type=cache,target=/c,id=packages if [ -e /c/here ]; then cat /c/here; stat -c %a:%h /c/here; \
else echo fre''sh; mkdir /c/d; echo kept > /c/here; chmod 640 /c/here; ln /c/here /c/d/link; chmod 1777 /c; fi; stat -c %a /c
COPY last /last
RUN --mount=type=cache,target=/c,id=packages cat /c/d/link
";

fn cache_mounts(environment: &Environment) -> Outcome {
    let (registry, scratch) = (registry()?, context(environment)?);
    scratch.write("context/Dockerfile", MOUNTS)?;
    let mounts = format!("{}/team/app:mounts", registry.host());
    let spec = format!("type=registry,ref={mounts}");
    digest(environment, &scratch, "one", &["--cache-mounts-to", &spec])?;
    // The same content is not sent again.
    registry.take_requests();
    digest(environment, &scratch, "one", &["--cache-mounts-to", &spec])?;
    let sent = registry.take_requests();
    check(!sent.iter().any(|request| request.path.contains("/uploads/")), || format!("{sent:?}"))?;
    let finished = build(environment, &scratch, "two", &["--cache-mounts-from", &mounts])?.success()?;
    check(finished.stderr.contains("kept") && !finished.stderr.contains("fresh"), || finished.stderr.clone())?;
    check(finished.stderr.contains("640:2") && finished.stderr.contains("1777"), || finished.stderr.clone())?;
    fsck(environment, &scratch, "two")?;
    // A mount that cannot be had begins empty.
    registry.inject(Fault::always("/blobs/", Action::CorruptBody).after(1));
    let finished = build(environment, &scratch, "three", &["--cache-mounts-from", &mounts])?.success()?;
    check(finished.stderr.contains("fresh"), || finished.stderr.clone())
}

fn cache_mounts_passed_on(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    scratch.write("context/Dockerfile", MOUNTS)?;
    let flags = ["--cache-to", "type=local,dest=steps", "--cache-mounts-to", "type=local,dest=mounts"];
    digest(environment, &scratch, "one", &flags)?;
    let flags = [
        "--cache-from",
        "type=local,src=steps",
        "--cache-mounts-from",
        "type=local,src=mounts",
        "--cache-mounts-to",
        "type=local,dest=passed",
    ];
    let finished = build(environment, &scratch, "two", &flags)?.success()?;
    all_cached(&finished)?;
    equal(&scratch.read("passed/index.json")?, &scratch.read("mounts/index.json")?, "index")?;
    equal(&blobs_in(&scratch, "passed")?, &3, "number of blobs")?;
    let refused = build(
        environment,
        &scratch,
        "two",
        &["--cache-to", "type=local,dest=x", "--cache-mounts-to", "type=local,dest=x"],
    )?;
    expect_failure(&refused, 2, &["overwrite each other"])
}

/// BuildKit's document as an image manifest and as an index.
fn put_buildkits(registry: &FakeRegistry) {
    let config = registry.put_blob("team/app", b"{}");
    let kind = "application/vnd.buildkit.cacheconfig.v0";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
        "config": {"mediaType": kind, "digest": config, "size": 2},
    });
    let bytes = manifest.to_string();
    registry.put_manifest("team/app", "buildkit", "application/vnd.oci.image.manifest.v1+json", bytes.as_bytes());
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"mediaType": kind, "digest": config, "size": 2}],
    });
    let bytes = index.to_string();
    registry.put_manifest("team/app", "buildkit-index", "application/vnd.oci.image.index.v1+json", bytes.as_bytes());
}

fn failing_imports(environment: &Environment) -> Outcome {
    let (registry, scratch) = (registry()?, context(environment)?);
    let guarded = FakeRegistry::start(Config { auth: Auth::basic("someone", "secret"), ..Config::default() })
        .map_err(|error| error.to_string())?;
    put_buildkits(&registry);
    let image = format!("{}/team/image:1", registry.host());
    digest(environment, &scratch, "one", &["--push", "-t", &image])?;
    let at = |tag: &str| format!("{}/team/app:{tag}", registry.host());
    let document = registry.put_blob("team/app", br#"{"version":2}"#);
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
        "config": {"mediaType": "application/vnd.bake.cache.config.v1+json", "digest": document, "size": 13},
    });
    let (kind, bytes) = ("application/vnd.oci.image.manifest.v1+json", manifest.to_string());
    registry.put_manifest("team/app", "future", kind, bytes.as_bytes());
    scratch.write("damaged/index.json", "{")?;
    let cases = [
        (format!("{}/team/app:cache", guarded.host()), "warning:", "cannot read the cache"),
        (at("buildkit"), "warning:", "BuildKit"),
        (at("buildkit-index"), "warning:", "BuildKit"),
        (at("future"), "warning:", "version 2"),
        (image, "warning:", "without a build cache"),
        ("type=local,src=damaged".to_owned(), "warning:", "damaged"),
        (at("nothing"), "note:", "nothing was exported"),
        ("type=local,src=nowhere".to_owned(), "note:", "nothing was exported"),
    ];
    let wanted = digest(environment, &scratch, "without", &[])?;
    for (number, (spec, kind, words)) in cases.iter().enumerate() {
        let finished = build(environment, &scratch, &format!("case-{number}"), &["--cache-from", spec])?.success()?;
        equal(&finished.text(), &wanted, "digest")?;
        check(finished.stderr.contains(kind) && finished.stderr.contains(words), || finished.stderr.clone())?;
    }
    // Where nothing is missing, nobody waits for a cache or hears of it.
    let finished = build(environment, &scratch, "without", &["--cache-from", &cases[0].0])?.success()?;
    check(!finished.stderr.contains("warning:"), || finished.stderr.clone())?;
    // A cache of BuildKit's is overwritten.
    digest(environment, &scratch, "one", &["--cache-to", &at("buildkit")])?;
    let finished = build(environment, &scratch, "two", &["--cache-from", &at("buildkit")])?.success()?;
    check(finished.stderr.contains("(3 cached)"), || finished.stderr.clone())
}

fn failing_exports(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    scratch.write("file", "in the way")?;
    let failed = build(environment, &scratch, "one", &["-t", "app", "--cache-to", "type=local,dest=file"])?;
    expect_failure(&failed, 1, &["exporting the build cache to `file`"])?;
    // The image is not taken back.
    equal(&run_image(environment, &scratch, "one", "app")?.as_str(), &"last", "output")?;
    let flags = ["-t", "app", "--cache-to", "type=local,dest=file,ignore-error=true"];
    let finished = build(environment, &scratch, "one", &flags)?.success()?;
    check(finished.stderr.contains("warning:"), || finished.stderr.clone())?;
    let refused = build(environment, &scratch, "one", &["--cache-to", "type=registry,ref=x,image-manifest=false"])?;
    expect_failure(&refused, 2, &["image-manifest=false"])
}

/// The layers of the cache in the directory `layout`, by path.
fn layers_in(scratch: &Scratch, layout: &str) -> Result<Vec<std::path::PathBuf>, String> {
    let blob = |digest: &Value| {
        let hex = digest.as_str().unwrap_or_default().trim_start_matches("sha256:").to_owned();
        scratch.path().join(layout).join("blobs/sha256").join(hex)
    };
    let index = json(scratch.read(&format!("{layout}/index.json"))?.as_bytes())?;
    let manifest = fs::read(blob(&index["manifests"][0]["digest"])).map_err(|error| error.to_string())?;
    let manifest = json(&manifest)?;
    Ok(manifest["layers"].as_array().ok_or("no layers")?.iter().map(|layer| blob(&layer["digest"])).collect())
}

fn damaged_directory(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    digest(environment, &scratch, "one", &["--cache-to", "type=local,dest=cache,mode=max"])?;
    for path in layers_in(&scratch, "cache")? {
        let mut bytes = fs::read(&path).map_err(|error| error.to_string())?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).map_err(|error| error.to_string())?;
    }
    write_last(&scratch, "changed")?;
    let wanted = digest(environment, &scratch, "without", &[])?;
    let finished = build(environment, &scratch, "two", &["--cache-from", "type=local,src=cache"])?.success()?;
    equal(&finished.text(), &wanted, "digest")?;
    check(finished.stderr.contains("beginning again without it"), || finished.stderr.clone())?;
    fsck(environment, &scratch, "two")?;
    // What was found to be damaged does not stay in the way of the next export.
    digest(environment, &scratch, "two", &["--cache-to", "type=local,dest=cache,mode=max"])?;
    let finished =
        build(environment, &scratch, "three", &["-t", "app", "--cache-from", "type=local,src=cache"])?.success()?;
    equal(&finished.text(), &wanted, "digest")
}

fn missing_layers(environment: &Environment) -> Outcome {
    let (registry, scratch) = (registry()?, context(environment)?);
    let cache = format!("{}/team/app:cache", registry.host());
    let wanted = digest(environment, &scratch, "one", &["--cache-to", &cache])?;
    let (document, _) = document(&registry, "team/app", "cache")?;
    let (_, manifest) = registry.manifest("team/app", "cache").ok_or("there is no cache")?;
    for layer in json(&manifest)?["layers"].as_array().ok_or("no layers")? {
        let digest = layer["digest"].as_str().unwrap_or_default();
        registry.inject(Fault::always(digest, Action::error(404, "BLOB_UNKNOWN")).on("GET"));
    }
    // Every step is found, and then an archive of the image cannot be written.
    let flags = ["-o", "type=oci,dest=image.tar", "--cache-from", &cache];
    let finished = build(environment, &scratch, "two", &flags)?.success()?;
    check(finished.stderr.contains("beginning again without it"), || finished.stderr.clone())?;
    equal(&digest(environment, &scratch, "two", &[])?, &wanted, "digest")?;
    drop(document);
    fsck(environment, &scratch, "two")
}

fn lying_document(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    digest(environment, &scratch, "one", &["--cache-to", "type=local,dest=cache,mode=max"])?;
    write_last(&scratch, "changed")?;
    let wanted = digest(environment, &scratch, "without", &[])?;
    // All layers are said to be what another one is.
    let index = json(scratch.read("cache/index.json")?.as_bytes())?;
    let path = |digest: &Value| {
        format!("cache/blobs/sha256/{}", digest.as_str().unwrap_or_default().trim_start_matches("sha256:"))
    };
    let mut manifest = json(scratch.read(&path(&index["manifests"][0]["digest"]))?.as_bytes())?;
    let mut document = json(scratch.read(&path(&manifest["config"]["digest"]))?.as_bytes())?;
    let blob = document["layers"][0]["blob"].clone();
    for layer in document["layers"].as_array_mut().ok_or("no layers")? {
        layer["blob"] = blob.clone();
    }
    let put = |bytes: &str| -> Result<String, String> {
        let digest = bake_oci::Digest::of(bytes.as_bytes());
        scratch.write(&format!("cache/blobs/sha256/{}", digest.hex()), bytes)?;
        Ok(digest.to_string())
    };
    let text = document.to_string();
    manifest["config"]["digest"] = put(&text)?.into();
    manifest["config"]["size"] = text.len().into();
    let mut index = index;
    let text = manifest.to_string();
    index["manifests"][0]["digest"] = put(&text)?.into();
    index["manifests"][0]["size"] = text.len().into();
    scratch.write("cache/index.json", index.to_string())?;
    let finished = build(environment, &scratch, "two", &["--cache-from", "type=local,src=cache"])?.success()?;
    equal(&finished.text(), &wanted, "digest")?;
    check(finished.stderr.contains("beginning again without it"), || finished.stderr.clone())?;
    fsck(environment, &scratch, "two")
}

fn failed_step(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    digest(environment, &scratch, "one", &["--cache-to", "type=local,dest=cache,mode=max"])?;
    scratch.write("context/Dockerfile", format!("{DOCKERFILE}RUN echo only once; exit 3\n"))?;
    let failed = build(environment, &scratch, "two", &["--cache-from", "type=local,src=cache"])?;
    expect_failure(&failed, 1, &["exit code: 3"])?;
    check(!failed.stderr.contains("beginning again"), || failed.stderr.clone())
}

fn compressions(environment: &Environment) -> Outcome {
    let scratch = context(environment)?;
    let wanted = digest(environment, &scratch, "one", &["-o", "type=oci,dest=wanted.tar"])?;
    for (number, form) in ["zstd", "uncompressed", "gzip,compression-level=9"].iter().enumerate() {
        let spec = format!("type=local,dest=cache-{number},mode=max,compression={form}");
        digest(environment, &scratch, "one", &["--cache-to", &spec])?;
        let from = format!("type=local,src=cache-{number}");
        let to = format!("type=local,dest=again-{number},mode=max,compression=zstd,force-compression=true");
        let flags = ["-o", "type=oci,dest=image.tar", "--cache-from", &from, "--cache-to", &to];
        let finished = build(environment, &scratch, &format!("two-{number}"), &flags)?.success()?;
        equal(&finished.text(), &wanted, form)?;
        all_cached(&finished)?;
        let again = layers_in(&scratch, &format!("again-{number}"))?;
        for path in again {
            let bytes = fs::read(&path).map_err(|error| error.to_string())?;
            check(bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), || format!("{} is not zstd", path.display()))?;
        }
    }
    Ok(())
}

fn debian(environment: &Environment) -> Outcome {
    let (place, scratch) = (environment.scratch()?, context(environment)?);
    let registry = start_debians(&place)?;
    log_in(&scratch, &registry.host, PASSWORD)?;
    let cache = format!("{}/team/app:cache", registry.host);
    let image = |number: u32| format!("{}/team/image:{number}", registry.host);
    let spec = format!("type=registry,ref={cache},mode=max");
    let wanted = digest(environment, &scratch, "one", &["--push", "-t", &image(1), "--cache-to", &spec])?;
    let finished =
        build(environment, &scratch, "two", &["--push", "-t", &image(2), "--cache-from", &cache, "--cache-to", &spec])?
            .success()?;
    equal(&finished.text(), &wanted, "digest")?;
    all_cached(&finished)?;
    write_last(&scratch, "changed")?;
    let wanted = digest(environment, &scratch, "without", &["-t", "app"])?;
    equal(&digest(environment, &scratch, "three", &["-t", "app", "--cache-from", &cache])?, &wanted, "digest")?;
    equal(&run_image(environment, &scratch, "three", "app")?.as_str(), &"changed", "output")?;
    fsck(environment, &scratch, "three")
}
