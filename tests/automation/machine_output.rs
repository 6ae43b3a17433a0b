//! What `docs/machine-output.md` promises: every code and every field of the page, compared with what the program does.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use bake_testkit::program;
use serde_json::Value;

use super::support::{Environment, Outcome, Scratch, check, equal, finish, succeed};

const PAGE: &str = include_str!("../../docs/machine-output.md");

/// The rows of the table whose heading begins with these words, without back quotes.
fn table(first: &str) -> Vec<Vec<String>> {
    let mut lines = PAGE.lines().skip_while(|line| !line.starts_with(&format!("| {first} |"))).skip(2);
    let cells = |line: &str| {
        let cells = line.trim().trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    std::iter::from_fn(|| lines.next().filter(|line| line.starts_with('|')).map(cells)).collect()
}

/// Two images, one with statements about it, and Dockerfiles of several kinds.
fn ground(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    let text = "FROM scratch\nARG A=1\nCOPY a /a\nCOPY b /b\nEXPOSE 80\nUSER 1\nCMD [\"/a\"]\n";
    scratch.write("context/Dockerfile", text)?;
    scratch.write("context/a", "a")?;
    scratch.write("context/b", "b")?;
    scratch.write("bad/Dockerfile", "FROM scratch\nMAINTAINER someone\n")?;
    scratch.write("ugly/Dockerfile", "from scratch\ncopy a /a\n")?;
    scratch.write(
        "docker-bake.hcl",
        "variable \"V\" {\n  default = \"1\"\n}\ngroup \"default\" {\n  targets = [\"small\"]\n}\n\
         target \"small\" {\n  context = \"context\"\n  tags = [\"small:${V}\"]\n}\n",
    )?;
    scratch.write("fails/Dockerfile", "FROM busybox\nRUN exit 7\n")?;
    scratch.write("slow/Dockerfile", "FROM busybox\nRUN echo begun; sleep 600\n")?;
    scratch.write("waste/Dockerfile", "FROM busybox\nRUN echo long > /x\nRUN rm /x\n")?;
    scratch.write("box/Dockerfile", "FROM busybox\nRUN echo x > /x\n")?;
    scratch.write("reads/Dockerfile", "FROM busybox\nCOPY a /data/\nRUN cat /data/* /data/.none || true\n")?;
    scratch.write("reads/a", "a")?;
    for arguments in [
        &["build", "-q", "-t", "other:1", "--build-arg", "A=2", "--label", "a=b", "context"][..],
        &["build", "-q", "-t", "box:1", "box"],
        &["build", "-q", "-t", "waste:1", "waste"],
        // The fourth, which the page names.
        &["build", "-q", "-t", "reads:1", "reads"],
        // The last one is the one that `bake why` tells of.
        &["build", "-q", "-t", "app:1", "--provenance=true", "--sbom=true", "context"],
    ] {
        succeed(&mut bake(environment, &scratch, arguments))?;
    }
    Ok(scratch)
}

fn bake(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = environment.command(&scratch.store());
    let (first, rest) = arguments.split_first().map_or(("--help", arguments), |(first, rest)| (*first, rest));
    command.arg(first);
    if matches!(first, "build" | "plan") {
        command.args(environment.base_flags());
    }
    command.args(rest).current_dir(scratch.path()).env("BUILDX_METADATA_WARNINGS", "1");
    command
}

pub(crate) fn exit_codes(environment: &Environment) -> Outcome {
    let scratch = ground(environment)?;
    // By the command of the page: one that says yes, and one that says no.
    let answers: BTreeMap<&str, [&str; 2]> = BTreeMap::from([
        ("bake lint", ["lint context", "lint --fail-level style bad"]),
        ("bake fmt --check", ["fmt --check context/Dockerfile", "fmt --check ugly/Dockerfile"]),
        ("bake build --check", ["build --check context", "build --check bad"]),
        ("bake up --check", ["up --check small", "up --check small --set small.context=bad"]),
        (
            "bake build --require-cached",
            ["build --require-cached context", "build --require-cached --build-arg A=3 fails"],
        ),
        ("bake diff --exit-code", ["diff --exit-code app:1 app:1", "diff --exit-code app:1 other:1"]),
        ("bake analyze --max-wasted", ["analyze --max-wasted 1GB app:1", "analyze --max-wasted 0B waste:1"]),
        ("bake config get", ["config get gc.enabled", "config get build.target"]),
        ("bake verify", ["", ""]),
        ("bake doctor", ["doctor", ""]),
        ("bake fsck", ["fsck", ""]),
    ]);
    let on_page: BTreeSet<String> =
        table("command").into_iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    let known: BTreeSet<String> = answers.keys().map(|name| (*name).to_owned()).collect();
    equal(&known, &on_page, "commands that answer a question")?;
    for (command, answers) in answers {
        for (code, line) in [0, 1].into_iter().zip(answers) {
            // What takes a registry, a broken machine or a broken store is in the tests of those commands.
            if !line.is_empty() {
                let arguments: Vec<&str> = line.split(' ').collect();
                let finished = finish(&mut bake(environment, &scratch, &arguments))?;
                let told = || format!("`{command}`, `{line}`: {finished:?}");
                check(finished.code == Some(code), told)?;
            }
        }
    }
    for (code, arguments) in [
        (0, &["images"][..]),
        (1, &["build", "fails"]),
        (2, &["build", "--platform", "windows/amd64", "context"]),
        (2, &["build", "nowhere"]),
        (2, &["bulid"]),
        (2, &["inspect", "no such name"]),
        (7, &["run", "--rm", "box:1", "sh", "-c", "exit 7"]),
        (137, &["run", "--rm", "box:1", "sh", "-c", "kill -KILL $$"]),
        (125, &["run", "--rm", "--pull=never", "registry.invalid/nothing:1"]),
        (2, &["run", "--publish", "nonsense", "box:1"]),
        (126, &["run", "--rm", "box:1", "/x"]),
        (127, &["run", "--rm", "box:1", "no-such-command"]),
    ] {
        let finished = finish(&mut bake(environment, &scratch, arguments))?;
        check(finished.code == Some(code), || format!("{arguments:?}: not {code} but {finished:?}"))?;
    }
    let codes: Vec<String> = table("code").into_iter().map(|row| row[0].clone()).collect();
    // The code for a bug of ours is tested where errors are made: no command line leads to one.
    equal(&codes, &["0", "1", "2", "70", "130"].map(str::to_owned).to_vec(), "codes")?;
    let codes: Vec<String> = table("code of `bake run`").into_iter().map(|row| row[0].clone()).collect();
    equal(&codes, &["125", "126", "127"].map(str::to_owned).to_vec(), "codes of `bake run`")
}

pub(crate) fn interrupted(environment: &Environment) -> Outcome {
    let scratch = ground(environment)?;
    for signal in ["-INT", "-TERM"] {
        let mut command = bake(environment, &scratch, &["build", "--no-cache", "--progress", "plain", "slow"]);
        let running = program::start(&mut command).map_err(|error| error.to_string())?;
        let began = Instant::now();
        while !running.said().contains(" begun") {
            check(began.elapsed() < program::TIME_LIMIT, || format!("the step does not begin: {}", running.said()))?;
            std::thread::sleep(Duration::from_millis(20));
        }
        succeed(Command::new("kill").args([signal, &running.id().to_string()]))?;
        let finished = running.wait(program::TIME_LIMIT).map_err(|error| error.to_string())?;
        equal(&finished.code, &Some(130), signal)?;
        equal(&finished.text().as_str(), &"", "standard output")?;
    }
    Ok(())
}

pub(crate) fn streams(environment: &Environment) -> Outcome {
    let scratch = ground(environment)?;
    let built = succeed(&mut bake(environment, &scratch, &["build", "--iidfile", "id", "context"]))?;
    check(built.text().starts_with("sha256:") && built.text().lines().count() == 1, || built.text())?;
    check(!built.stderr.is_empty(), || "no progress".into())?;
    let id = scratch.read("id")?;
    check(id.starts_with("sha256:") && id.len() == 71, || format!("{id:?}"))?;
    let targets = succeed(&mut bake(environment, &scratch, &["up"]))?.text();
    check(targets.starts_with("small sha256:") && targets.lines().count() == 1, || targets.clone())?;
    let quiet = succeed(&mut bake(environment, &scratch, &["build", "--quiet", "context"]))?;
    equal(&(quiet.text(), quiet.stderr), &(built.text(), String::new()), "a quiet build")?;
    for arguments in [&["build", "fails"][..], &["history", "nothing:1"], &["df", "--nonsense"]] {
        let failed = finish(&mut bake(environment, &scratch, arguments))?;
        check(failed.code != Some(0) && failed.stdout.is_empty() && failed.stderr.contains("error:"), || {
            format!("{arguments:?}: {failed:?}")
        })?;
    }
    Ok(())
}

/// The documents of the page: the command, and its fields with their types.
fn sections() -> Vec<(String, Vec<[String; 2]>)> {
    let mut sections: Vec<(String, Vec<[String; 2]>)> = Vec::new();
    for line in PAGE.lines() {
        if let Some(command) = line.strip_prefix("### `bake ") {
            sections.push((command.trim_end_matches('`').to_owned(), Vec::new()));
        } else if line.starts_with("## ") {
            // Tables that follow are about something else, until the next document.
            sections.push((String::new(), Vec::new()));
        } else if let (Some(row), Some((_, fields))) = (line.strip_prefix("| `"), sections.last_mut())
            && let Some((name, rest)) = row.split_once("` | ")
            && let Some((kind, _)) = rest.split_once(" |")
        {
            fields.push([name.to_owned(), kind.to_owned()]);
        }
    }
    sections.retain(|(command, _)| !command.is_empty());
    sections
}

pub(crate) fn documents(environment: &Environment) -> Outcome {
    let scratch = ground(environment)?;
    let sections = sections();
    check(sections.len() > 15, || format!("{} documents", sections.len()))?;
    for (command, fields) in &sections {
        let arguments: Vec<&str> = command.split(' ').collect();
        if arguments.first() == Some(&"trace") && environment.obstacle(&["fuse"]).is_some() {
            continue;
        }
        let finished = succeed(&mut bake(environment, &scratch, &arguments))?;
        let text = if command.contains("--metadata-file") {
            scratch.read("m.json")?
        } else if command.contains("rawjson") {
            finished.stderr.clone()
        } else {
            finished.text()
        };
        let objects = objects(&text).map_err(|problem| format!("{command}: {problem}\n{text}"))?;
        check(!fields.is_empty() && !objects.is_empty(), || format!("{command}: nothing to compare\n{text}"))?;
        for object in &objects {
            compare(object, fields).map_err(|problem| format!("{command}: {problem}\n{object:#}"))?;
        }
    }
    let fields =
        sections.iter().find(|(command, _)| command == "why --format json").ok_or("the page has no `bake why`")?;
    let record = succeed(&mut bake(environment, &scratch, &["history", "inspect", "--format", "json"]))?.text();
    for object in objects(&record)? {
        compare(&object, &fields.1).map_err(|problem| format!("history inspect: {problem}\n{object:#}"))?;
    }
    Ok(())
}

/// One object, a list of them, or one on each line.
fn objects(text: &str) -> Result<Vec<Value>, String> {
    let documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let documents = documents.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    Ok(documents
        .into_iter()
        .flat_map(|document| match document {
            Value::Array(list) => list,
            other => vec![other],
        })
        .collect())
}

fn compare(object: &Value, fields: &[[String; 2]]) -> Outcome {
    for [path, kind] in fields {
        for value in values(object, path) {
            let kinds: Vec<&str> = kind.split(" or ").collect();
            let is_one = kinds.iter().any(|kind| match *kind {
                "text" => value.as_ref().is_some_and(Value::is_string),
                "number" => value.as_ref().is_some_and(Value::is_number),
                "boolean" => value.as_ref().is_some_and(Value::is_boolean),
                "list" => value.as_ref().is_some_and(Value::is_array),
                "object" => value.as_ref().is_some_and(Value::is_object),
                "null" => value.as_ref().is_some_and(Value::is_null),
                "any" => value.is_some(),
                "absent" => value.is_none(),
                _ => false,
            });
            check(is_one, || format!("`{path}` is {value:?}, not {kind}"))?;
        }
    }
    // And nothing that the page does not tell.
    let known = |parent: &str| -> BTreeSet<&str> {
        let below = fields.iter().map(|[path, _]| path.as_str());
        below.filter_map(|path| path.strip_prefix(parent)).filter(|rest| !rest.contains("[].")).collect()
    };
    let parents: BTreeSet<&str> =
        fields.iter().filter_map(|[path, _]| path.split_once("[].").map(|(parent, _)| parent)).collect();
    for parent in std::iter::once("").chain(parents) {
        let prefix = if parent.is_empty() { String::new() } else { format!("{parent}[].") };
        let holders: Vec<&Value> = match parent {
            "" => vec![object],
            parent => object[parent].as_array().into_iter().flatten().collect(),
        };
        for name in holders.into_iter().filter_map(Value::as_object).flat_map(|holder| holder.keys()) {
            check(known(&prefix).contains(name.as_str()), || format!("`{prefix}{name}` is not on the page"))?;
        }
    }
    Ok(())
}

/// The values that a path leads to; `NAME[].FIELD` leads to one in each item of a list. Names may hold dots.
fn values(object: &Value, path: &str) -> Vec<Option<Value>> {
    match path.split_once("[].") {
        None => vec![object.get(path).cloned()],
        Some((list, field)) => {
            object[list].as_array().into_iter().flatten().map(|item| item.get(field).cloned()).collect()
        }
    }
}
