//! The commands for images that are there: lists, descriptions, names, removal, comparison, copies.

mod support;

use std::process::{Command, ExitCode};

use serde_json::Value;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("lists_are_filtered_and_formatted", &[], lists),
    ("inspect_answers_templates_as_docker_does", &[], inspect),
    ("history_tells_sizes_and_instructions", &[], history),
    ("removing_names_and_images", &[], remove),
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
