//! The commands for images that are there: lists, descriptions, names, removal, comparison, copies.

mod support;

use std::process::{Command, ExitCode};

use bake_testkit::program;
use bake_testkit::registry::{Action, Config, FakeRegistry, Fault};
use serde_json::Value;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("lists_are_filtered_and_formatted", &[], lists),
    ("inspect_answers_templates_as_docker_does", &[], inspect),
    ("history_tells_sizes_and_instructions", &[], history),
    ("removing_names_and_images", &[], remove),
    ("diff_tells_what_differs", &[], diff),
    ("copies_between_registries_leave_the_store_alone", &[], copy_between_registries),
    ("a_damaged_blob_is_not_copied", &[], copy_damaged),
    ("attestations_go_where_their_image_goes", &[], attestations),
    ("copies_go_through_layouts_and_archives", &[], copy_through_files),
    ("images_are_saved_and_loaded_in_every_form", &["gzip", "zstd", "xz", "bzip2"], save_and_load),
    ("all_tags_travel_together", &[], all_tags),
    ("imagetools_tell_what_a_registry_has", &[], imagetools_inspect),
    ("imagetools_put_images_together", &[], imagetools_create),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// `bake` with words after it.
fn bake(environment: &Environment, scratch: &Scratch, words: &[&str]) -> Command {
    let mut command = environment.command(&scratch.store());
    command.args(words).current_dir(scratch.path()).env("DOCKER_CONFIG", scratch.path());
    command
}

/// What `bake` says on standard output when it succeeds.
fn said(environment: &Environment, scratch: &Scratch, words: &[&str]) -> Result<String, String> {
    let finished = succeed(&mut bake(environment, scratch, words)).map_err(|error| format!("{words:?}: {error}"))?;
    Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))
}

/// Builds `Dockerfile` text with these flags; the digest.
fn build(environment: &Environment, scratch: &Scratch, dockerfile: &str, flags: &[&str]) -> Result<String, String> {
    scratch.write("context/Dockerfile", dockerfile)?;
    let mut command = environment.build(&scratch.store());
    command.args(flags).arg(scratch.at("context")).current_dir(scratch.path());
    Ok(succeed(&mut command)?.text())
}

/// `app:1` is also `host.example/team/app:2`; `other:1` is later; one image has no name.
fn three_images(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/file", "content\n")?;
    let app = "FROM scratch\nCOPY file /file\nLABEL kind=app dotted.key=\"two words\"\nENV A=1\nCMD [\"/file\"]\n";
    build(environment, &scratch, app, &["-t", "app:1", "-t", "host.example/team/app:2"])?;
    scratch.write("context/Dockerfile", "FROM scratch\nCOPY file /other\n")?;
    let mut later = environment.build(&scratch.store());
    later.args(["-t", "other:1"]).arg(scratch.at("context")).env("SOURCE_DATE_EPOCH", "1700001000");
    succeed(&mut later)?;
    build(environment, &scratch, "FROM scratch\nCOPY file /nameless\n", &[])?;
    Ok(scratch)
}

fn lists(environment: &Environment) -> Outcome {
    let scratch = three_images(environment)?;
    let names = |words: &[&str]| {
        let words = [&["images", "--format", "{{.Repository}}:{{.Tag}}"], words].concat();
        said(environment, &scratch, &words).map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>().join(" "))
    };
    let both = "app:1 host.example/team/app:2";
    for (words, expected) in [
        (&[][..], "other:1 app:1 host.example/team/app:2"),
        (&["-a"], "other:1 app:1 host.example/team/app:2 <none>:<none>"),
        (&["app"], "app:1"),
        (&["app:1"], "app:1"),
        (&["host.example/*/*"], "host.example/team/app:2"),
        (&["--filter", "reference=*:1"], "other:1 app:1"),
        (&["--filter", "reference=app", "--filter", "reference=other:*"], "other:1 app:1"),
        (&["--filter", "label=kind"], both),
        (&["--filter", "label=dotted.key=two words"], both),
        (&["--filter", "label=kind=other"], ""),
        (&["--filter", "before=other:1"], both),
        (&["--filter", "since=app:1"], "other:1"),
        (&["--filter", "until=2023-11-14T22:20:00Z"], both),
        (&["--filter", "dangling=true"], "<none>:<none>"),
        (&["-a", "--filter", "dangling=false"], "other:1 app:1 host.example/team/app:2"),
    ] {
        equal(&names(words)?.as_str(), &expected, &format!("{words:?}"))?;
    }
    for (words, code, problem) in [
        (&["images", "--filter", "lable=x"][..], 2, "did you mean `label`?"),
        (&["images", "--filter", "before=nothing"], 2, "no such image: nothing"),
        (&["images", "--format", "{{.Repo}}"], 2, "line 1, column 3: there is no field `.Repo`"),
        (&["images", "--format", "yaml"], 2, "expected `table`, `json`, or a template"),
    ] {
        expect_failure(&finish(&mut bake(environment, &scratch, words))?, code, &[problem])?;
    }
    let ids = said(environment, &scratch, &["images", "-q", "--no-trunc"])?;
    equal(&ids.lines().count(), &2, "an image with two names has one ID")?;
    check(ids.lines().all(|id| id.len() == "sha256:".len() + 64), || ids.clone())?;
    let table = said(environment, &scratch, &["images", "--format", r"table {{.Tag}}\t{{.Repository}}", "app"])?;
    equal(&table.as_str(), &"TAG   REPOSITORY\n1     app\n", "table of a template")?;
    let row = json(said(environment, &scratch, &["images", "--format", "json", "app"])?.trim_end())?;
    equal(&(row["Repository"].as_str(), row["Tag"].as_str()), &(Some("app"), Some("1")), "JSON")?;
    let tree = said(environment, &scratch, &["images", "--tree", "app"])?;
    check(tree.contains("app:1 ") && tree.contains("└─ linux/"), || tree.clone())
}

fn inspect(environment: &Environment) -> Outcome {
    let scratch = three_images(environment)?;
    let described = json(&said(environment, &scratch, &["inspect", "app:1", "other:1"])?)?;
    let app = &described[0];
    equal(&described.as_array().map(Vec::len), &Some(2), "images")?;
    equal(&app["RepoTags"], &serde_json::json!(["app:1", "host.example/team/app:2"]), "names")?;
    equal(&app["Config"]["Cmd"], &serde_json::json!(["/file"]), "command")?;
    equal(&app["Config"]["Entrypoint"], &Value::Null, "entrypoint")?;
    equal(&app["RootFS"]["Layers"].as_array().map(Vec::len), &Some(1), "layers")?;
    equal(&app["Parent"].as_str(), &Some(""), "parent")?;
    let id = app["Id"].as_str().unwrap_or_default();
    equal(&said(environment, &scratch, &["images", "-q", "--no-trunc", "app"])?.trim_end(), &id, "ID")?;
    for (template, expected) in [
        ("{{.Id}}", id),
        ("{{.Os}}/{{.Architecture}}", &format!("linux/{}", app["Architecture"].as_str().unwrap_or_default())),
        ("{{json .Config.Cmd}}", r#"["/file"]"#),
        ("{{.Config.Entrypoint}}{{.Config.Volumes}}", "[]map[]"),
        ("{{index .Config.Labels \"dotted.key\"}}", "two words"),
        ("{{range .RepoTags}}{{.}};{{end}}", "app:1;host.example/team/app:2;"),
        ("{{if .Config.Healthcheck}}yes{{else}}no{{end}}", "no"),
        ("{{join .Config.Cmd \" \"}}|{{len .RootFS.Layers}}", "/file|1"),
    ] {
        let text = said(environment, &scratch, &["inspect", "--format", template, id])?;
        equal(&text.trim_end(), &expected, template)?;
    }
    // What is there is told, what is not there makes it fail.
    let missing = finish(&mut bake(environment, &scratch, &["inspect", "-f", "{{.Id}}", "nothing", "app:1"]))?;
    expect_failure(&missing, 2, &["no such image: nothing"])?;
    equal(&missing.text().as_str(), &id, "the other one")?;
    let wrong = finish(&mut bake(environment, &scratch, &["inspect", "-f", "{{.Config.Cmdd}}", "app:1"]))?;
    expect_failure(&wrong, 2, &["column 10", "did you mean `.Cmd`?"])?;
    let platform = finish(&mut bake(environment, &scratch, &["inspect", "--platform", "linux/s390x", "app:1"]))?;
    expect_failure(&platform, 2, &["not in the store for linux/s390x"])
}

fn history(environment: &Environment) -> Outcome {
    let scratch = three_images(environment)?;
    let rows = said(environment, &scratch, &["history", "--format", "{{.CreatedBy}}|{{.Size}}", "app:1"])?;
    let rows: Vec<&str> = rows.lines().collect();
    equal(&rows.len(), &4, "entries")?;
    equal(&rows.first(), &Some(&"CMD [\"/file\"]|0B"), "the newest comes first")?;
    equal(&rows.last(), &Some(&"COPY file /file # buildkit|8B"), "the oldest comes last")?;
    let exact = said(environment, &scratch, &["history", "--human=false", "--no-trunc", "app:1"])?;
    check(exact.contains("2023-11-14T22:13:20Z") && exact.contains("sha256:"), || exact.clone())?;
    let ids = said(environment, &scratch, &["history", "-q", "app:1"])?;
    equal(&ids.lines().skip(1).collect::<Vec<_>>(), &vec!["<missing>"; 3], "IDs")
}

fn remove(environment: &Environment) -> Outcome {
    let scratch = three_images(environment)?;
    let id = said(environment, &scratch, &["images", "-q", "app"])?.trim_end().to_owned();
    let digest = said(environment, &scratch, &["images", "--format", "{{.Digest}}", "app"])?.trim_end().to_owned();
    let rmi = |words: &[&str]| bake(environment, &scratch, &[&["rmi"], words].concat());
    expect_failure(&finish(&mut rmi(&[&id]))?, 2, &["several names: app:1, host.example/team/app:2", "--force"])?;
    // By digest: the names in that repository.
    said(environment, &scratch, &["tag", "app:1", "third:3"])?;
    let pinned = format!("third@{digest}");
    equal(
        &said(environment, &scratch, &["inspect", "-f", "{{len .RepoTags}}", &pinned])?.trim_end(),
        &"3",
        "by digest",
    )?;
    let untagged = succeed(&mut rmi(&[&pinned]))?.text();
    equal(&untagged, &format!("Untagged: third:3\nUntagged: {pinned}"), "the names in one repository")?;
    let untagged = succeed(&mut rmi(&["app:1"]))?.text();
    equal(&untagged, &format!("Untagged: app:1\nUntagged: app@{digest}"), "one name of two")?;
    succeed(&mut bake(environment, &scratch, &["inspect", &id]))?;
    // By the first digits of its ID, with a single name left.
    let deleted = succeed(&mut rmi(&[&id[..8]]))?.text();
    check(deleted.starts_with("Untagged: host.example/team/app:2\n"), || deleted.clone())?;
    check(deleted.contains(&format!("Deleted: sha256:{id}")), || deleted.clone())?;
    check(deleted.contains(&format!("Deleted: {digest}")), || deleted.clone())?;
    expect_failure(&finish(&mut bake(environment, &scratch, &["inspect", &id]))?, 2, &["no such image"])?;
    // What is missing does not keep the others from going.
    let partly = finish(&mut rmi(&["nothing", "other:1"]))?;
    expect_failure(&partly, 2, &["no such image: nothing"])?;
    check(partly.text().contains("Untagged: other:1"), || partly.text())?;
    succeed(&mut rmi(&["--force", "nothing"]))?;
    let nameless = said(environment, &scratch, &["images", "-aq"])?;
    equal(&nameless.lines().count(), &1, "the image without a name is left")?;
    let kept = succeed(&mut rmi(&["--no-prune", nameless.trim_end()]))?;
    equal(&kept.text().as_str(), &"", "nothing is removed with --no-prune")?;
    succeed(&mut rmi(&[nameless.trim_end()]))?;
    equal(&said(environment, &scratch, &["images", "-aq"])?.as_str(), &"", "nothing is left")?;
    // The layers are still what the next build finds.
    let again = environment.build(&scratch.store()).args(["--require-cached", &scratch.at("context")]).output();
    let again = again.map_err(|error| error.to_string())?;
    check(again.status.success(), || String::from_utf8_lossy(&again.stderr).into_owned())
}

fn diff(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/file", "same\n")?;
    let one = "FROM busybox\nRUN mkdir /d && echo old > /d/changed && echo x > /gone && echo same > /mode && ln -s a /link\n\
        COPY file /same\nENV A=1 B=2\nLABEL only=before\n";
    let two = "FROM busybox\nRUN mkdir /d && echo new > /d/changed && echo same > /mode && chmod 600 /mode && ln -s b /link\n\
        RUN echo added > /d/added\nCOPY file /same\nENV A=1 B=3\n";
    build(environment, &scratch, one, &["-t", "one"])?;
    build(environment, &scratch, two, &["-t", "two"])?;
    // The same files in other layers.
    let moved = two.replace(" \n", "\n").replace("\nRUN echo added", " && echo added");
    build(environment, &scratch, &moved, &["-t", "moved"])?;

    let text = said(environment, &scratch, &["diff", "one", "two"])?;
    for line in [
        "Env B         2        3",
        "Labels only   before   -",
        "A   6B     /d/added",
        "C   4B     /d/changed   content",
        "D   -2B    /gone",
        "C   0B     /link        target a → b",
        "C   5B     /mode        mode 0644 → 0600",
        "Files: 1 added (+6B), 3 changed (+0B), 1 deleted (-2B)",
    ] {
        check(text.lines().any(|told| told.trim_end() == line), || format!("`{line}` is not in\n{text}"))?;
    }
    check(!text.contains("/same") && !text.contains("Env A"), || text.clone())?;

    let json = json(&said(environment, &scratch, &["diff", "--json", "two", "one"])?)?;
    let files = json["Files"].as_array().ok_or("no files")?;
    let added = files.iter().find(|file| file["Path"] == "/d/added").ok_or("no /d/added")?;
    equal(&(added["Change"].as_str(), added["Before"]["Size"].as_u64()), &(Some("deleted"), Some(6)), "JSON")?;
    equal(&json["Config"][0]["Field"].as_str(), &Some("Env B"), "config in JSON")?;

    let code = |words: &[&str]| finish(&mut bake(environment, &scratch, words)).map(|finished| finished.code);
    equal(&code(&["diff", "one", "two"])?, &Some(0), "without --exit-code")?;
    equal(&code(&["diff", "--exit-code", "one", "two"])?, &Some(1), "with --exit-code")?;
    let quiet = finish(&mut bake(environment, &scratch, &["diff", "-q", "one", "two"]))?;
    equal(&(quiet.code, quiet.stdout.len(), quiet.stderr.as_str()), &(Some(1), 0, ""), "quiet")?;
    equal(&code(&["diff", "--exit-code", "two", "moved"])?, &Some(0), "the same files in other layers")?;
    expect_failure(
        &finish(&mut bake(environment, &scratch, &["diff", "one", "nothing"]))?,
        2,
        &["no such image: nothing"],
    )
}

fn registry() -> Result<FakeRegistry, String> {
    registry_of(Config::default())
}

fn registry_of(config: Config) -> Result<FakeRegistry, String> {
    FakeRegistry::start(config).map_err(|error| error.to_string())
}

/// An index of two platforms in `registry` as `team/app:1`; its digest.
fn two_platforms(environment: &Environment, registry: &FakeRegistry) -> Result<String, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/file", "content\n".repeat(1000))?;
    let name = format!("{}/team/app:1", registry.host());
    let flags = ["--platform", "linux/amd64,linux/arm64", "--push", "-t", &name];
    build(environment, &scratch, "FROM scratch\nARG TARGETARCH\nCOPY file /$TARGETARCH\n", &flags)
}

fn copy_between_registries(environment: &Environment) -> Outcome {
    let (from, to) = (registry()?, registry()?);
    let digest = two_platforms(environment, &from)?;
    let scratch = environment.scratch()?;
    let source = format!("{}/team/app:1", from.host());
    let target = format!("docker://{}/copy/app:2", to.host());
    let copied = succeed(&mut bake(environment, &scratch, &["copy", &source, &target]))?;
    equal(&copied.text(), &digest, "digest")?;
    check(copied.stderr.contains("4 new"), || copied.stderr.clone())?;
    let (_, index) = to.manifest("copy/app", "2").ok_or("the copy is not there")?;
    equal(&Some(index), &from.manifest("team/app", "1").map(|(_, bytes)| bytes), "index")?;
    equal(&said(environment, &scratch, &["images", "-aq"])?.as_str(), &"", "images in the store")?;
    let blobs = std::fs::read_dir(scratch.store().join("blobs/sha256")).map_err(|error| error.to_string())?;
    equal(&blobs.count(), &0, "blobs in the store")?;
    // Again: nothing is fetched, nothing is sent.
    from.take_requests();
    let again = succeed(&mut bake(environment, &scratch, &["copy", "-q", &source, &target]))?;
    equal(&again.stderr.as_str(), &"", "standard error of a quiet copy")?;
    let asked = from.take_requests();
    check(!asked.iter().any(|request| request.path.contains("/blobs/")), || format!("{asked:?}"))?;
    // Within one registry blobs are taken over.
    let near = format!("{}/other/app:1", from.host());
    let near = succeed(&mut bake(environment, &scratch, &["copy", &source, &near]))?;
    check(near.stderr.contains("4 mounted; 0B sent"), || near.stderr.clone())?;
    // One platform of two.
    let one = format!("{}/one/app", to.host());
    let one = said(environment, &scratch, &["copy", "-q", "--platform", "linux/arm64", &source, &one])?;
    check(one.trim_end() != digest && to.manifest("one/app", "latest").is_some(), || one.clone())?;
    let none = format!("{}/none/app", to.host());
    let refused = finish(&mut bake(environment, &scratch, &["copy", "--platform", "linux/s390x", &source, &none]))?;
    expect_failure(&refused, 2, &["no image for platform linux/s390x", "linux/amd64, linux/arm64"])?;
    let missing = finish(&mut bake(environment, &scratch, &["copy", &format!("{}/nothing", from.host()), &none]))?;
    expect_failure(&missing, 1, &["nothing:latest"])
}

fn copy_damaged(environment: &Environment) -> Outcome {
    let (from, to) = (registry()?, registry()?);
    two_platforms(environment, &from)?;
    from.inject(Fault::always("/blobs/", Action::CorruptBody));
    let scratch = environment.scratch()?;
    let (source, target) = (format!("{}/team/app:1", from.host()), format!("{}/app:1", to.host()));
    let refused = finish(&mut bake(environment, &scratch, &["copy", &source, &target]))?;
    check(refused.code == Some(1), || format!("{:?}: {}", refused.code, refused.stderr))?;
    check(to.manifest("app", "1").is_none(), || "a damaged image was published".into())?;
    // One that stumbles is tried again.
    from.clear_faults();
    from.inject(Fault::times(1, "/blobs/", Action::retry_after(503, "0")));
    succeed(&mut bake(environment, &scratch, &["copy", &source, &target])).map(drop)
}

fn copy_through_files(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let digest = two_platforms(environment, &registry)?;
    let scratch = environment.scratch()?;
    let source = format!("{}/team/app:1", registry.host());
    let copy = |words: &[&str]| {
        said(environment, &scratch, &[&["copy", "-q"], words].concat()).map(|text| text.trim_end().to_owned())
    };
    equal(&copy(&[&source, "oci:layout:both"])?, &digest, "layout")?;
    let arm = copy(&["--platform", "linux/arm64", &source, "oci:layout:arm"])?;
    check(arm != digest, || "one platform is not two".into())?;
    equal(&copy(&["oci:layout:both", "oci-archive:both.tar"])?, &digest, "OCI archive")?;
    equal(&copy(&["oci-archive:both.tar", "docker-archive:docker.tar:app:3"])?, &digest, "docker archive")?;
    equal(&copy(&["docker-archive:docker.tar", "store:loaded"])?, &digest, "store")?;
    equal(&copy(&["store:loaded", &format!("{}/back", registry.host())])?, &digest, "registry")?;
    check(registry.manifest("back", "latest").is_some(), || "it did not come back".into())?;
    let names = said(environment, &scratch, &["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
    equal(&names.as_str(), &"loaded:latest\n", "only the destination has a name")?;
    scratch.write("other/file", "")?;
    for (words, code, problem) in [
        (&["copy", "oci:layout", "store:x"][..], 2, "`layout` has 2 images"),
        (&["copy", "oci:layout:none", "store:x"], 2, "has no image called `none`"),
        (&["copy", "oci:nowhere", "store:x"], 2, "cannot read `nowhere`"),
        (&["copy", "store:loaded", "oci:other"], 1, "`other` is no OCI layout"),
        (&["copy", "docker-daemon:app", "store:x"], 2, "`docker-daemon:` is not supported"),
        (&["copy", "store:nothing", "oci:layout"], 2, "no such image: nothing"),
    ] {
        let refused = finish(&mut bake(environment, &scratch, words))?;
        expect_failure(&refused, code, &[problem]).map_err(|error| format!("{words:?}: {error}"))?;
    }
    Ok(())
}

fn imagetools_inspect(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let digest = two_platforms(environment, &registry)?;
    let scratch = environment.scratch()?;
    let name = format!("{}/team/app:1", registry.host());
    let inspect = |words: &[&str]| said(environment, &scratch, &[&["imagetools", "inspect"], words, &[&name]].concat());
    let text = inspect(&[])?;
    check(
        text.starts_with(&format!("Name:      {name}\nMediaType: application/vnd.oci.image.index.v1+json\n")),
        || text.clone(),
    )?;
    for line in [format!("Digest:    {digest}"), "  Platform:  linux/arm64".to_owned()] {
        check(text.contains(&format!("  Name:      {name}@sha256:")), || text.clone())?;
        check(text.lines().any(|told| told == line), || format!("`{line}` is not in\n{text}"))?;
    }
    let raw = inspect(&["--raw"])?;
    equal(&Some(raw.into_bytes()), &registry.manifest("team/app", "1").map(|(_, bytes)| bytes), "raw")?;
    registry.take_requests();
    equal(&inspect(&["-f", "{{.Manifest.Digest}}"])?.trim_end(), &digest.as_str(), "digest")?;
    let asked = registry.take_requests();
    check(!asked.iter().any(|request| request.path.contains("/blobs/")), || format!("{asked:?}"))?;
    let platforms = inspect(&["-f", "{{range $name, $image := .Image}}{{$name}}={{$image.Architecture}} {{end}}"])?;
    equal(&platforms.trim_end(), &"linux/amd64=amd64 linux/arm64=arm64", "configs")?;
    let wrong = finish(&mut bake(environment, &scratch, &["imagetools", "inspect", "-f", "{{.Layers}}", &name]))?;
    expect_failure(&wrong, 2, &["there is no field `.Layers`"])
}

fn imagetools_create(environment: &Environment) -> Outcome {
    let (registry, other) = (registry()?, registry_of(Config { mounts: false, ..Config::default() })?);
    let both = two_platforms(environment, &registry)?;
    let scratch = environment.scratch()?;
    let at = |name: &str| format!("{}/{name}", registry.host());
    let run = |words: &[&str]| {
        let words = [&["imagetools", "create", "-q"], words].concat();
        said(environment, &scratch, &words).map(|text| text.trim_end().to_owned())
    };
    let platforms = |name: &str| {
        let template = "{{range .Manifest.Manifests}}{{.Platform.Architecture}} {{end}}";
        said(environment, &scratch, &["imagetools", "inspect", "-f", template, name])
            .map(|text| text.trim_end().to_owned())
    };
    for platform in ["amd64", "arm64"] {
        let (flag, target) = (format!("linux/{platform}"), at(&format!("team/app:{platform}")));
        said(environment, &scratch, &["copy", "-q", "--platform", &flag, &at("team/app:1"), &target])?;
    }
    // In another registry, under two names.
    let (joined, second) = (format!("{}/joined:1", other.host()), format!("{}/second", other.host()));
    let digest = run(&["-t", &joined, "-t", &second, &at("team/app:arm64"), &at("team/app:amd64")])?;
    equal(&platforms(&joined)?.as_str(), &"arm64 amd64", "platforms")?;
    let described = said(environment, &scratch, &["imagetools", "inspect", "-f", "{{.Manifest.Digest}}", &second])?;
    equal(&described.trim_end(), &digest.as_str(), "the second name")?;
    succeed(&mut bake(environment, &scratch, &["pull", "-q", "--platform", "linux/arm64", &joined]))?;
    // A single index gets another name as it is.
    equal(&run(&["-t", &at("team/app:latest"), &at("team/app:1")])?, &both, "another name")?;
    // One after the other.
    run(&["-t", &at("grown:1"), &at("team/app:amd64")])?;
    equal(&platforms(&at("grown:1"))?.as_str(), &"amd64", "an index around one image")?;
    run(&["-t", &at("grown:1"), "--append", &at("team/app:arm64")])?;
    equal(&platforms(&at("grown:1"))?.as_str(), &"amd64 arm64", "an image more")?;
    run(&["-t", &at("less:1"), "--platform", "linux/arm64", &at("team/app:1")])?;
    equal(&platforms(&at("less:1"))?.as_str(), &"arm64", "one platform of two")?;
    let told = ["--annotation", "index:team=web", "--annotation", "manifest-descriptor[linux/arm64]:tested=yes"];
    let planned = run(&[&["--dry-run"], &told[..], &[&at("team/app:1")]].concat())?;
    let planned = json(&planned)?;
    equal(&planned["annotations"]["team"].as_str(), &Some("web"), "annotation of the index")?;
    equal(&planned["manifests"][0]["annotations"], &Value::Null, "annotation of the other descriptor")?;
    equal(&planned["manifests"][1]["annotations"]["tested"].as_str(), &Some("yes"), "annotation of a descriptor")?;
    let single = json(&run(&["--dry-run", "--prefer-index=false", &at("team/app:arm64")])?)?;
    check(single["layers"].is_array(), || single.to_string())?;
    for (words, code, problem) in [
        (&["team/app"][..], 2, "the result has no name"),
        (&["-t", "x"], 2, "there is no source"),
        (&["-t", "x@sha256:0000000000000000000000000000000000000000000000000000000000000000", "y"], 2, "has a digest"),
        (&["--dry-run", "--annotation", "a=b", "y"], 2, "does not say what it is for"),
        (&["--dry-run", "--platform", "linux/s390x", &at("team/app:1")], 2, "no source has an image for linux/s390x"),
        (&["-t", &at("absent:1"), "--append", &at("team/app:1")], 1, "absent:1"),
    ] {
        let refused = finish(&mut bake(environment, &scratch, &[&["imagetools", "create"], words].concat()))?;
        expect_failure(&refused, code, &[problem]).map_err(|error| format!("{words:?}: {error}"))?;
    }
    Ok(())
}

fn save_and_load(environment: &Environment) -> Outcome {
    let scratch = three_images(environment)?;
    let id = |name: &str, scratch: &Scratch| said(environment, scratch, &["inspect", "-f", "{{.Id}}", name]);
    let (app, other) = (id("app:1", &scratch)?, id("other:1", &scratch)?);
    for (output, words) in [
        ("docker.tar", &["-o", "docker.tar"][..]),
        ("oci.tar", &["--format", "oci", "-o", "oci.tar"]),
        ("layout", &["--format", "oci-dir", "-o", "layout"]),
    ] {
        said(environment, &scratch, &[&["save"], words, &["app:1", "other:1"]].concat())?;
        let into = environment.scratch()?;
        let loaded = said(environment, &into, &["load", "-q", "-i", &scratch.at(output)])?;
        equal(&loaded.as_str(), &"Loaded image: app:1\nLoaded image: other:1\n", output)?;
        equal(&(id("app:1", &into)?, id("other:1", &into)?), &(app.clone(), other.clone()), output)?;
    }
    // A further image goes beside the others.
    said(environment, &scratch, &["save", "--format", "oci-dir", "-o", "layout", "host.example/team/app:2"])?;
    let into = environment.scratch()?;
    let loaded = said(environment, &into, &["load", "-i", &scratch.at("layout")])?;
    equal(&loaded.lines().count(), &3, "images in the layout")?;
    for (program, name) in
        [("gzip", "docker.tar.gz"), ("zstd", "docker.tar.zst"), ("xz", "docker.tar.xz"), ("bzip2", "docker.tar.bz2")]
    {
        let packed = succeed(Command::new(program).args(["-q", "-c"]).arg(scratch.at("docker.tar")))?;
        scratch.write(name, &packed.stdout)?;
        let into = environment.scratch()?;
        said(environment, &into, &["load", "-i", &scratch.at(name)]).map_err(|error| format!("{name}: {error}"))?;
        equal(&id("app:1", &into)?, &app, name)?;
        // And from standard input.
        let into = environment.scratch()?;
        let mut command = bake(environment, &into, &["load"]);
        let loaded = program::run_with_input(&mut command, packed.stdout).map_err(|error| error.to_string())?;
        check(loaded.success()?.text().contains("Loaded image: app:1"), || format!("{name} from standard input"))?;
    }
    // One platform of several.
    let flags = ["--platform", "linux/amd64,linux/arm64", "-t", "both"];
    build(environment, &scratch, "FROM scratch\nARG TARGETARCH\nCOPY file /$TARGETARCH\n", &flags)?;
    said(environment, &scratch, &["save", "-o", "both.tar", "both"])?;
    said(environment, &scratch, &["save", "--platform", "linux/arm64", "-o", "arm.tar", "both"])?;
    let architecture = |scratch: &Scratch| said(environment, scratch, &["inspect", "-f", "{{.Architecture}}", "both"]);
    for words in [&["load", "-i", "arm.tar"][..], &["load", "--platform", "linux/arm64", "-i", "both.tar"]] {
        let into = environment.scratch()?;
        for name in ["arm.tar", "both.tar"] {
            std::fs::copy(scratch.path().join(name), into.path().join(name)).map_err(|error| error.to_string())?;
        }
        said(environment, &into, words)?;
        equal(&architecture(&into)?.as_str(), &"arm64\n", &format!("{words:?}"))?;
    }
    for (words, problem) in [
        (&["save", "--format", "oci-dir", "app:1"][..], "a directory cannot be written to standard output"),
        (&["save", "--platform", "linux/s390x", "app:1"], "not in the store for linux/s390x"),
        (&["load", "-i", "nowhere.tar"], "cannot read `nowhere.tar`"),
        (&["load", "-i", "context"], "cannot load `context`"),
        (&["load", "--platform", "linux/s390x", "-i", "both.tar"], "not in the store for linux/s390x"),
    ] {
        let refused = finish(&mut bake(environment, &scratch, words))?;
        expect_failure(&refused, 2, &[problem]).map_err(|error| format!("{words:?}: {error}"))?;
    }
    Ok(())
}

fn all_tags(environment: &Environment) -> Outcome {
    let registry = registry()?;
    let scratch = three_images(environment)?;
    let repository = format!("{}/team/app", registry.host());
    for (image, tag) in [("app:1", "1"), ("other:1", "2")] {
        said(environment, &scratch, &["tag", image, &format!("{repository}:{tag}")])?;
    }
    let pushed = said(environment, &scratch, &["push", "-q", "--all-tags", &repository])?;
    equal(&pushed.lines().count(), &2, "pushed")?;
    check(["1", "2"].iter().all(|tag| registry.manifest("team/app", tag).is_some()), || "a tag is missing".into())?;
    let into = environment.scratch()?;
    equal(&said(environment, &into, &["pull", "-q", "-a", &repository])?, &pushed, "pulled")?;
    let names = said(environment, &into, &["images", "--format", "{{.Tag}}", &repository])?;
    equal(&names.lines().count(), &2, "names")?;
    // Under another name in the same registry nothing is sent again.
    let near = format!("{}/near/app:1", registry.host());
    said(environment, &into, &["tag", &format!("{repository}:1"), &near])?;
    let pushed = succeed(&mut bake(environment, &into, &["push", &near]))?;
    check(
        pushed.stderr.contains("mounted")
            && !pushed.stderr.contains("push sha256")
            && !pushed.stderr.contains(" push "),
        || pushed.stderr.clone(),
    )?;
    for (words, problem) in [
        (&["push", "-a", &format!("{repository}:1")][..], "the name has no tag"),
        (&["pull", "-a", &format!("{repository}:1")], "neither tag nor digest"),
        (&["push", "-a", "nothing"], "no tag of `nothing` is here"),
    ] {
        expect_failure(&finish(&mut bake(environment, &into, words))?, 2, &[problem])?;
    }
    // One platform of an image with several.
    let both = two_platforms(environment, &registry)?;
    let all = format!("store:{repository}:both");
    said(environment, &into, &["copy", "-q", &format!("{repository}:1"), &all])?;
    let one = said(environment, &into, &["push", "-q", "--platform", "linux/arm64", &format!("{repository}:both")])?;
    check(one.trim_end() != both, || one.clone())?;
    let told = "{{.Manifest.MediaType}}";
    let kind = said(environment, &into, &["imagetools", "inspect", "-f", told, &format!("{repository}:both")])?;
    equal(&kind.trim_end(), &"application/vnd.oci.image.manifest.v1+json", "what was pushed")
}

fn attestations(environment: &Environment) -> Outcome {
    let (from, to) = (registry()?, registry()?);
    let scratch = environment.scratch()?;
    scratch.write("context/file", "content\n")?;
    let at = |registry: &FakeRegistry, name: &str| format!("{}/{name}", registry.host());
    let image =
        build(environment, &scratch, "FROM scratch\nCOPY file /\n", &["--push", "-t", &at(&from, "app:plain")])?;
    let (media_type, bytes) = from.manifest("app", "plain").ok_or("the image was not pushed")?;
    // An index as BuildKit makes it: the image, and a manifest whose layer is a statement about it.
    let (config, statement) = (b"{}".as_slice(), b"{\"predicate\":{\"buildType\":\"test\"}}".as_slice());
    let described = |media_type: &str, bytes: &[u8], digest: &str| serde_json::json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
    let attestation = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("application/vnd.oci.image.config.v1+json", config, &from.put_blob("app", config).to_string()),
        "layers": [{
            "mediaType": "application/vnd.in-toto+json",
            "digest": from.put_blob("app", statement).to_string(),
            "size": statement.len(),
            "annotations": { "in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2" },
        }],
    });
    let attestation = attestation.to_string().into_bytes();
    let about = from.put_manifest("app", "attestation", "application/vnd.oci.image.manifest.v1+json", &attestation);
    let mut second = described("application/vnd.oci.image.manifest.v1+json", &attestation, &about.to_string());
    second["platform"] = serde_json::json!({ "os": "unknown", "architecture": "unknown" });
    second["annotations"] = serde_json::json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image,
    });
    let mut first = described(&media_type, &bytes, &image);
    first["platform"] = serde_json::json!({ "os": "linux", "architecture": "amd64" });
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [first, second],
    });
    let index = index.to_string().into_bytes();
    let digest = from.put_manifest("app", "1", "application/vnd.oci.image.index.v1+json", &index).to_string();

    let other = environment.scratch()?;
    let run = |words: &[&str]| said(environment, &other, words).map(|text| text.trim_end().to_owned());
    equal(
        &run(&["copy", "-q", &at(&from, "app:1"), &format!("store:{}", at(&to, "app:1"))])?,
        &digest,
        "to the store",
    )?;
    equal(&run(&["push", "-q", &at(&to, "app:1")])?, &digest, "pushed")?;
    check(to.manifest("app", &about.to_string()).is_some(), || "the attestation was not pushed".into())?;
    run(&["save", "-o", "saved.tar", &at(&to, "app:1")])?;
    equal(&run(&["copy", "-q", "oci-archive:saved.tar", &at(&to, "again:1")])?, &digest, "saved")?;
    check(to.manifest("again", &about.to_string()).is_some(), || "the attestation was not saved".into())?;
    let told = |template: &str| run(&["imagetools", "inspect", "-f", template, &at(&from, "app:1")]);
    equal(&told("{{json .Provenance}}")?.as_str(), &r#"{"SLSA":{"buildType":"test"}}"#, "provenance")?;
    equal(
        &told("{{.Provenance.SLSA.buildType}} {{if .SBOM}}some{{else}}none{{end}}")?.as_str(),
        &"test none",
        "fields",
    )?;
    equal(&told("{{.Image.Os}}")?.as_str(), &"linux", "the config of a single image")?;
    // It is chosen with its image.
    let chosen = run(&["imagetools", "create", "--dry-run", "--platform", "linux/amd64", &at(&from, "app:1")])?;
    equal(&json(&chosen)?["manifests"].as_array().map(Vec::len), &Some(2), "chosen")?;
    let single = run(&["copy", "-q", "--platform", "linux/amd64", &at(&from, "app:1"), &at(&to, "single")])?;
    equal(&single, &image, "one platform is the image alone")
}
