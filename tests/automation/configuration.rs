//! `bake.toml`, the user's file, variables of the environment, and `bake config`.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Environment, Outcome, Scratch, check, equal, expect_failure, finish, succeed};

/// How long a command may take that has nothing to do.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A repository whose image tells two build arguments.
fn repository(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("repository/.git/HEAD", "ref: refs/heads/main\n")?;
    scratch.write(
        "repository/Dockerfile",
        "FROM busybox AS one\nARG A=unset\nARG B=unset\nRUN echo \"stage one $A-$B\"\nFROM one AS two\nRUN echo stage two\n",
    )?;
    Ok(scratch)
}

/// `bake build` of the repository, from within.
fn build(environment: &Environment, scratch: &Scratch) -> Command {
    let mut command = environment.build(&scratch.store());
    command.arg(".").current_dir(scratch.path().join("repository"));
    command
}

/// `bake config` in the repository.
fn config(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = environment.command(&scratch.store());
    command.arg("config").args(arguments).current_dir(scratch.path().join("repository"));
    command
}

fn said(command: &mut Command, words: &[&str]) -> Outcome {
    let finished = succeed(command)?;
    for word in words {
        check(finished.stderr.contains(word), || format!("`{word}` is not in: {}", finished.stderr))?;
    }
    Ok(())
}

pub(crate) fn project(environment: &Environment) -> Outcome {
    let scratch = repository(environment)?;
    scratch.write(
        "repository/bake.toml",
        "[build]\ntarget = \"one\"\nbuild-arg = { A = \"from the project\", B = 2 }\n[build.label]\n\"org.example\" = \"yes\"\n",
    )?;
    let mut command = build(environment, &scratch);
    let finished = succeed(command.args(["--tag", "app"]))?;
    check(finished.stderr.contains("stage one from the project-2"), || finished.stderr.clone())?;
    check(!finished.stderr.contains("stage two"), || finished.stderr.clone())?;
    let image = succeed(environment.command(&scratch.store()).args(["inspect", "app"]))?;
    check(image.text().contains("\"org.example\": \"yes\""), || image.text())?;
    // A plan is one of the same build.
    let mut plan = environment.command(&scratch.store());
    plan.args(["plan"]).args(environment.base_flags()).arg(".").current_dir(scratch.path().join("repository"));
    let planned = succeed(&mut plan)?;
    check(!planned.text().contains("stage two") && !planned.stderr.contains("stage two"), || planned.text())?;
    // The file is found from a directory below, and one that is nearer holds in its place.
    scratch.write("repository/service/Dockerfile", "FROM busybox AS one\nARG A\nRUN echo \"service $A\"\n")?;
    let mut below = build(environment, &scratch);
    said(below.current_dir(scratch.path().join("repository/service")), &["service from the project"])?;
    scratch.write("repository/service/bake.toml", "[build]\nbuild-arg = { A = \"nearer\" }\n")?;
    let mut below = build(environment, &scratch);
    said(below.current_dir(scratch.path().join("repository/service")), &["service nearer"])?;
    // What a linter measures is what a build makes.
    let mut measure = environment.command(&scratch.store());
    measure.args(["lint", "--measure", "--no-fail", "Dockerfile", "--"]).args(environment.base_flags()).arg(".");
    said(measure.current_dir(scratch.path().join("repository/service")), &["ADDED"])?;
    // A Dockerfile elsewhere, relative to the file that names it.
    scratch.write("repository/docker/app.dockerfile", "FROM busybox\nRUN echo elsewhere\n")?;
    scratch.write("repository/bake.toml", "[build]\nfile = \"docker/app.dockerfile\"\n")?;
    let mut command = environment.build(&scratch.store());
    said(command.arg(scratch.at("repository")).current_dir("/"), &["elsewhere"])
}

pub(crate) fn order(environment: &Environment) -> Outcome {
    let scratch = repository(environment)?;
    scratch.write(
        "repository/bake.toml",
        "[build]\ntarget = \"one\"\nbuild-arg = { A = \"project\", B = \"project\" }\n",
    )?;
    said(&mut build(environment, &scratch), &["stage one project-project"])?;
    scratch.write("user.toml", "[build]\nbuild-arg = { A = \"user\" }\n")?;
    let mut of_user = build(environment, &scratch);
    said(of_user.env("BAKE_CONFIG", scratch.at("user.toml")), &["stage one user-project"])?;
    let mut of_environment = build(environment, &scratch);
    of_environment.env("BAKE_CONFIG", scratch.at("user.toml")).env("BAKE_BUILD_BUILD_ARG", "A=variable\nB=variable");
    said(&mut of_environment, &["stage one variable-variable"])?;
    let mut typed = build(environment, &scratch);
    typed.env("BAKE_CONFIG", scratch.at("user.toml")).env("BAKE_BUILD_BUILD_ARG", "A=variable\nB=variable");
    said(typed.args(["--build-arg", "A=typed"]), &["stage one typed-variable"])?;
    let mut typed = build(environment, &scratch);
    said(typed.args(["--target", "two"]), &["stage two"])?;
    // A list that is typed replaces the one that is configured.
    let mut tags = build(environment, &scratch);
    succeed(tags.env("BAKE_BUILD_TAG", "a:1\nb:1"))?;
    let names = |environment: &Environment| -> Result<String, String> {
        succeed(environment.command(&scratch.store()).arg("images")).map(|finished| finished.text())
    };
    let listed = names(environment)?;
    check(listed.contains("/a ") || listed.contains("a "), || listed.clone())?;
    let mut tags = build(environment, &scratch);
    succeed(tags.env("BAKE_BUILD_TAG", "never:1").args(["-t", "typed:1"]))?;
    let listed = names(environment)?;
    check(listed.contains("typed") && !listed.contains("never"), || listed.clone())
}

pub(crate) fn origins(environment: &Environment) -> Outcome {
    let scratch = repository(environment)?;
    scratch
        .write("repository/bake.toml", "[build]\n# why\nplatform = [\"linux/amd64\"]\n[lint]\nignore = [\"sudo\"]\n")?;
    scratch.write(
        "user.toml",
        "[gc]\nmax-used-space = \"20GB\"\n[build]\ncache-to = [\"type=s3,bucket=b,secret_access_key=hush\"]\n[registry.\"docker.io\"]\nmirrors = [\"mirror.example\"]\n",
    )?;
    let with = |arguments: &[&str]| {
        let mut command = config(environment, &scratch, arguments);
        command.env("BAKE_CONFIG", scratch.at("user.toml")).env("BAKE_GC_KEEP_DURATION", "48h");
        command.env("BAKE_LINT_FAIL_LEVEL", "error");
        command
    };
    let shown = succeed(&mut with(&[]))?.text();
    let user = scratch.at("user.toml");
    for line in [
        "platform = [\"linux/amd64\"]  # bake.toml:3".to_owned(),
        "ignore = [\"sudo\"]  # bake.toml:5".to_owned(),
        format!("max-used-space = \"20GB\"  # {user}:2"),
        "keep-duration = \"48h\"  # environment BAKE_GC_KEEP_DURATION".to_owned(),
        "fail-level = \"error\"  # environment BAKE_LINT_FAIL_LEVEL".to_owned(),
        "min-free-space = \"10%\"  # default".to_owned(),
        format!("[registry.\"docker.io\"]\nmirrors = [\"mirror.example\"]  # {user}:6"),
    ] {
        check(shown.contains(&line), || format!("`{line}` is not in:\n{shown}"))?;
    }
    check(!shown.contains("hush") && shown.contains("not shown"), || shown.clone())?;
    // What is shown can be used as a file.
    scratch.write("again.toml", shown.replace("[\"(not shown: it holds credentials)\"]", "[]"))?;
    let mut again = config(environment, &scratch, &["get", "gc.max-used-space"]);
    equal(&succeed(again.env("BAKE_CONFIG", scratch.at("again.toml")))?.text().as_str(), &"20GB", "again")?;

    let document: Value = json(&with(&["--format", "json"]))?;
    let values = document["values"].as_array().cloned().unwrap_or_default();
    let of = |key: &str| values.iter().find(|value| value["key"] == key).cloned().unwrap_or_default();
    equal(&of("build.platform")["value"], &serde_json::json!(["linux/amd64"]), "value")?;
    let origin = serde_json::json!({ "kind": "file", "path": "bake.toml", "line": 3, "column": 1 });
    equal(&of("build.platform")["origin"], &origin, "origin")?;
    equal(&of("gc.keep-duration")["origin"]["variable"], &"BAKE_GC_KEEP_DURATION".into(), "variable")?;
    equal(&of("gc.min-free-space")["origin"]["kind"], &"default".into(), "default")?;

    equal(&succeed(&mut with(&["get", "build.platform"]))?.text().as_str(), &"linux/amd64", "one value")?;
    equal(&succeed(&mut with(&["get", "lint"]))?.text().lines().count(), &6, "one section")?;
    expect_failure(&finish(&mut with(&["get", "build.target"]))?, 1, &["has no value"])?;
    expect_failure(&finish(&mut with(&["get", "build.tagret"]))?, 2, &["did you mean `build.target`?"])?;
    let files = succeed(&mut with(&["files"]))?.text();
    let expected = [format!("project  found   {}", "/repository/bake.toml"), format!("user     found   {user}")];
    for (line, part) in files.lines().zip(expected) {
        let words: Vec<&str> = part.split_whitespace().collect();
        check(words.iter().all(|word| line.contains(word)), || format!("`{part}` is not `{line}`"))?;
    }
    equal(&files.lines().count(), &2, "files")
}

fn json(command: &Command) -> Result<Value, String> {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            again.env(name, value);
        }
    }
    if let Some(directory) = command.get_current_dir() {
        again.current_dir(directory);
    }
    serde_json::from_slice(&succeed(&mut again)?.stdout).map_err(|error| error.to_string())
}

pub(crate) fn hostile_keys(environment: &Environment) -> Outcome {
    let scratch = repository(environment)?;
    for (text, key) in [
        ("runtime = \"/tmp/evil\"", "runtime"),
        ("root = \"/tmp/store\"", "root"),
        ("policy = \"/p\"", "policy"),
        ("[gc]\nenabled = false", "[gc]"),
        ("[network]\npasta = \"/tmp/evil\"", "[network]"),
        ("[registry.\"docker.io\"]\nmirrors = [\"evil.example\"]", "[registry]"),
        ("[build]\npush = true", "build.push"),
        ("[build]\ntag = \"corp/base:1\"", "build.tag"),
        ("[build]\noutput = [\"type=local,dest=/\"]", "build.output"),
        ("[build]\ncache-to = \"corp/base:1\"", "build.cache-to"),
        ("[build]\nsecret = [\"id=a,env=TOKEN\"]", "build.secret"),
        ("[build]\nssh = [\"default\"]", "build.ssh"),
        ("[build]\nallow = [\"security.insecure\"]", "build.allow"),
        ("[build]\nnetwork = \"host\"", "build.network"),
        ("[build]\nadd-host = [\"a:host-gateway\"]", "build.add-host"),
        ("[build]\nlock = \"add\"", "build.lock"),
        ("[build]\non-failure-export = \"/\"", "build.on-failure-export"),
        ("[build]\nmetadata-file = \"/x\"", "build.metadata-file"),
    ] {
        scratch.write("repository/bake.toml", text)?;
        let finished = finish(&mut build(environment, &scratch))?;
        expect_failure(&finished, 2, &["bake.toml:", key, "a project's file cannot", "hint:"])
            .map_err(|problem| format!("{text}: {problem}"))?;
        expect_failure(&finish(&mut config(environment, &scratch, &[]))?, 2, &["bake.toml:", key, "hint:"])
            .map_err(|problem| format!("{text}: {problem}"))?;
    }
    Ok(())
}

pub(crate) fn hostile_paths(environment: &Environment) -> Outcome {
    let scratch = repository(environment)?;
    scratch.write("outside/Dockerfile", "FROM scratch\n")?;
    std::os::unix::fs::symlink("/etc", scratch.path().join("repository/etc")).map_err(|error| error.to_string())?;
    std::os::unix::fs::symlink("loop", scratch.path().join("repository/loop")).map_err(|error| error.to_string())?;
    for text in [
        "file = \"../outside/Dockerfile\"",
        "file = \"/etc/passwd\"",
        "file = \"etc/passwd\"",
        "file = \"loop\"",
        "file = \"-\"",
        "file = \"https://evil.example/Dockerfile\"",
        "policy = [\"etc/passwd\"]",
        "lock-file = \"../outside/lock\"",
        "build-context = { a = \"/home\" }",
        "build-context = { a = \"etc\" }",
        "build-context = { a = \"oci-layout://../outside\" }",
        "build-context = { a = \"ssh://git@example.com/secret.git\" }",
        "build-context = { a = \"git@example.com:secret.git\" }",
        "cache-from = [\"type=local,src=/home\"]",
        "cache-from = [\"type=registry,ref=a.example/b,registry.insecure=true\"]",
    ] {
        scratch.write("repository/bake.toml", format!("[build]\n{text}\n"))?;
        expect_failure(&finish(&mut build(environment, &scratch))?, 2, &["bake.toml:2:1"])
            .map_err(|problem| format!("{text}: {problem}"))?;
    }
    Ok(())
}

pub(crate) fn hostile_files(environment: &Environment) -> Outcome {
    let scratch = repository(environment)?;
    let path = scratch.path().join("repository/bake.toml");
    let refused = |words: &[&str]| -> Outcome {
        let began = Instant::now();
        expect_failure(&finish(&mut build(environment, &scratch))?, 2, words)?;
        expect_failure(&finish(&mut config(environment, &scratch, &[]))?, 2, words)?;
        let mut lint = environment.command(&scratch.store());
        expect_failure(&finish(lint.arg("lint").current_dir(scratch.path().join("repository")))?, 2, words)?;
        check(began.elapsed() < AT_ONCE, || format!("it took {:?}", began.elapsed()))
    };
    succeed(Command::new("mkfifo").arg(&path))?;
    refused(&["bake.toml", "not a regular file"])?;
    let remove = || std::fs::remove_file(&path).map_err(|error| error.to_string());
    remove()?;
    std::os::unix::fs::symlink("bake.toml", &path).map_err(|error| error.to_string())?;
    refused(&["bake.toml"])?;
    remove()?;
    std::os::unix::fs::symlink("/dev/zero", &path).map_err(|error| error.to_string())?;
    refused(&["bake.toml", "not a regular file"])?;
    remove()?;
    scratch.write("repository/bake.toml", vec![b'#'; (1 << 20) + 1])?;
    refused(&["larger than"])?;
    scratch.write("repository/bake.toml", [b'#', 0xff])?;
    refused(&["UTF-8"])?;
    scratch.write("repository/bake.toml", format!("[lint]\nselect = {}", "[".repeat(500_000)))?;
    refused(&["bake.toml:2:"])?;
    remove()?;
    std::fs::create_dir(&path).map_err(|error| error.to_string())?;
    refused(&["not a regular file"])
}

pub(crate) fn planted(environment: &Environment) -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = environment.scratch()?;
    scratch.write("shared/work/Dockerfile", "FROM busybox\nARG A=unset\nRUN echo \"A is $A\"\n")?;
    scratch.write("shared/bake.toml", "[build]\nbuild-arg = { A = \"planted\" }\n[lint]\nselect = [\"sudo\"]\n")?;
    let in_work = |words: &str| {
        let mut command = environment.build(&scratch.store());
        said(command.args(["--no-cache", "."]).current_dir(scratch.path().join("shared/work")), &[words])
    };
    in_work("A is planted")?;
    std::fs::set_permissions(scratch.path().join("shared"), std::fs::Permissions::from_mode(0o1777))
        .map_err(|error| error.to_string())?;
    in_work("A is unset")?;
    // Nor is one above the repository.
    std::fs::set_permissions(scratch.path().join("shared"), std::fs::Permissions::from_mode(0o755))
        .map_err(|error| error.to_string())?;
    scratch.write("shared/work/.git/HEAD", "ref: refs/heads/main\n")?;
    in_work("A is unset")
}

pub(crate) fn slips(environment: &Environment) -> Outcome {
    let scratch = repository(environment)?;
    for (text, words) in [
        ("[build]\nplatfrom = \"x\"\n", &["`bake.toml:2:1`", "did you mean `platform`?"][..]),
        ("[biuld]\n", &["`bake.toml:1:2`", "did you mean `build`?"]),
        ("[build]\n\n  pull = \"yes\"\n", &["`bake.toml:3:3`", "expected `true` or `false`"]),
        ("[build]\ntimeout = \"soon\"\n", &["`bake.toml:2:1`", "`build.timeout`", "such as `24h`"]),
        ("[build\n", &["`bake.toml:1:7`"]),
        (
            "[build]\nplatform = [\"windows/amd64\"]\n",
            &["Linux images", "hint: configured are `build.platform` (bake.toml:2)"],
        ),
        ("[build]\nlocked = true\nlock = \"use\"\n", &["does not fit together", "`build.lock` (bake.toml:3)"]),
    ] {
        scratch.write("repository/bake.toml", text)?;
        expect_failure(&finish(&mut build(environment, &scratch))?, 2, words)?;
    }
    scratch.write("repository/bake.toml", "")?;
    let mut variable = build(environment, &scratch);
    expect_failure(
        &finish(variable.env("BAKE_BUILD_PROGRESS", "plian"))?,
        2,
        &["cannot use the environment variable `BAKE_BUILD_PROGRESS`", "expected one of auto"],
    )?;
    let mut unknown = build(environment, &scratch);
    said(
        unknown.env("BAKE_BUILD_PLATFROM", "linux/amd64").env("BAKE_LINT_FAIL_LEVEL", "none"),
        &[
            "warning: the environment variable `BAKE_BUILD_PLATFROM` means nothing to bake; did you mean `BAKE_BUILD_PLATFORM`?",
        ],
    )?;
    let mut known = build(environment, &scratch);
    let known = succeed(known.env("BAKE_CI", "off").env("BAKE_ROOT", scratch.store()).env("BAKE_BUILD_PULL", "false"))?;
    check(!known.stderr.contains("means nothing"), || known.stderr.clone())?;
    let mut raw = build(environment, &scratch);
    let raw = succeed(raw.args(["--progress", "rawjson"]).env("BAKE_X", "y"))?;
    check(raw.stderr.lines().all(|line| line.starts_with('{')), || raw.stderr.clone())?;
    scratch.write("repository/bake.toml", "[build]\ntarget = \"\\u001b[2J\"\n")?;
    let hostile = succeed(&mut config(environment, &scratch, &["get", "build.target"]))?;
    check(!hostile.text().contains('\u{1b}') && hostile.text().contains("[2J"), || hostile.text())?;
    check(!succeed(&mut config(environment, &scratch, &[]))?.text().contains('\u{1b}'), || "it is shown".into())?;
    scratch.write("repository/bake.toml", "")?;
    let mut quiet = build(environment, &scratch);
    equal(&succeed(quiet.env("BAKE_BUILD_QUIET", "true").env("BAKE_X", "y"))?.stderr.as_str(), &"", "a quiet build")
}

pub(crate) fn shared_file(environment: &Environment) -> Outcome {
    let scratch = repository(environment)?;
    scratch.write("repository/Dockerfile", "FROM busybox:1.36\nRUN sudo true || echo built\n")?;
    scratch.write("repository/bake.toml", "[build]\npull = false\n[lint]\nselect = [\"sudo\"]\n")?;
    let lint = |environment: &Environment| {
        let mut command = environment.command(&scratch.store());
        command.args(["lint", "Dockerfile"]).current_dir(scratch.path().join("repository"));
        command
    };
    let found = finish(&mut lint(environment))?;
    check(found.code == Some(1) && found.text().contains("sudo"), || format!("{found:?}"))?;
    let mut slip = lint(environment);
    let warned = finish(slip.env("BAKE_LINT_FAIL_LEVLE", "none"))?;
    expect_failure(&warned, 1, &["did you mean `BAKE_LINT_FAIL_LEVEL`?"])?;
    // The user's file is put over the project's.
    scratch.write("user.toml", "[lint]\nfail-level = \"none\"\n")?;
    succeed(lint(environment).env("BAKE_CONFIG", scratch.at("user.toml")))?;
    // The file can also be named.
    scratch.write("elsewhere/bake.toml", "[build]\npull = true\n[lint]\nignore = [\"*\"]\n")?;
    succeed(lint(environment).args(["--config", &scratch.at("elsewhere/bake.toml")]))?;
    // A slip in the section of somebody else is theirs to find.
    scratch.write("repository/bake.toml", "[build]\nplatfrom = 1\n[lint]\nselect = [\"maintainer\"]\n")?;
    succeed(&mut lint(environment))?;
    scratch.write("repository/bake.toml", "[build]\n[lint]\nselct = []\n")?;
    expect_failure(&finish(&mut lint(environment))?, 2, &["bake.toml:3:1", "`select`"])
}

pub(crate) fn resumed(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nARG A=unset\nRUN echo \"first $A\"\nRUN test -e /there\n")?;
    scratch.write("context/bake.toml", "[build]\nbuild-arg = { A = \"configured\" }\n")?;
    let mut command = environment.build(&scratch.store());
    let failed = finish(command.arg(".").current_dir(scratch.path().join("context")))?;
    expect_failure(&failed, 1, &["first configured"])?;
    let accepted = succeed(environment.command(&scratch.store()).args(["resume", "--accept"]).current_dir("/"))?;
    check(accepted.text().starts_with("sha256:"), || format!("{accepted:?}"))
}

pub(crate) fn root(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM scratch\nLABEL a=b\n")?;
    scratch.write("user.toml", format!("root = \"{}\"\n", scratch.at("elsewhere")))?;
    let mut command = Command::new(&environment.bake);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("HOME", scratch.path())
        .env("BAKE_CONFIG", scratch.at("user.toml"))
        .args(["build", "-q", "-t", "a"])
        .arg(scratch.at("context"));
    succeed(&mut command)?;
    check(scratch.path().join("elsewhere/index.sqlite").exists(), || "the store is elsewhere".into())?;
    scratch.write("user.toml", "root = \"relative\"\n")?;
    expect_failure(&finish(&mut command)?, 2, &["`root`: expected an absolute path"])
}

pub(crate) fn schema(environment: &Environment) -> Outcome {
    let scratch = repository(environment)?;
    let of = |arguments: &[&str]| json(&config(environment, &scratch, arguments));
    let all = of(&["schema"])?;
    check(all["properties"]["build"]["properties"]["push"]["type"] == "boolean", || all.to_string())?;
    let project = of(&["schema", "--project"])?;
    let build = &project["properties"]["build"]["properties"];
    check(build["platform"].is_object() && build["push"].is_null(), || project.to_string())?;
    // A file that names a schema, for editors that look there.
    scratch.write("repository/bake.toml", "\"$schema\" = \"./bake.schema.json\"\n[build]\ntarget = \"one\"\n")?;
    equal(&succeed(&mut config(environment, &scratch, &["get", "build.target"]))?.text().as_str(), &"one", "target")
}
