//! `bake up`: many targets in one graph, from bake files and Compose files.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use bake_testkit::program::Finished;
use serde_json::Value;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("groups_matrices_and_links_are_one_build", &[], one_build),
    ("equal_steps_of_different_files_run_once", &[], equal_steps),
    ("files_of_each_context_stay_apart", &[], contexts),
    ("secrets_belong_to_their_target", &[], secrets),
    ("a_failed_target_leaves_no_result_of_others", &[], failure),
    ("what_lies_beyond_the_directory_has_to_be_allowed", &[], entitlements),
    ("printed_targets_are_built_again", &[], printed),
    ("overrides_variables_and_environment", &[], overrides),
    ("a_compose_file_is_built", &[], compose),
    ("the_metadata_file_tells_of_each_target", &[], metadata),
    ("the_report_tells_of_each_target", &[], report),
    ("outputs_and_caches_of_each_target", &[], outputs),
    ("calls_are_answered_for_each_target", &[], calls),
    ("lists_name_targets_and_variables", &[], lists),
    ("links_follow_platforms", &[], platforms),
    ("a_repository_defines_targets", &["git"], repository),
    ("mistakes_are_told_with_their_place", &[], mistakes),
    ("print_is_what_buildx_prints", &["docker-buildx"], peer),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// `bake up` in a scratch directory. Base images are contexts of targets, as the test's files say.
fn up(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<Finished, String> {
    finish(&mut command(environment, scratch, arguments))
}

fn command(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = environment.command(&scratch.store());
    command.args(["up", "--progress", "plain", "--allow", "fs.read=*"]).args(arguments);
    if let Ok(work) = work(scratch) {
        command.current_dir(work);
    }
    command
}

/// The directory with the files of a test.
fn work(scratch: &Scratch) -> Result<std::path::PathBuf, String> {
    let work = scratch.path().join("work");
    std::fs::create_dir_all(&work).map_err(|error| error.to_string())?;
    Ok(work)
}

/// The context that is busybox, as an attribute.
fn busybox(environment: &Environment) -> String {
    format!("busybox = \"oci-layout://{}\"", environment.base("busybox").display())
}

fn write(scratch: &Scratch, files: &[(&str, &str)]) -> Outcome {
    files.iter().try_for_each(|(name, content)| scratch.write(&format!("work/{name}"), content))
}

/// In how many different lines a text was shown: a step whose output comes between that of others is named again, with its number.
fn count(finished: &Finished, text: &str) -> usize {
    finished.stderr.lines().filter(|line| line.contains(text)).collect::<BTreeSet<_>>().len()
}

fn run(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<String, String> {
    Ok(succeed(environment.command(&scratch.store()).args(["run", "--rm"]).args(arguments))?.text())
}

/// A shared base, two targets of a matrix on top of it, one that copies from it, in a group.
fn small_project(environment: &Environment, scratch: &Scratch) -> Outcome {
    let bake_file = format!(
        "group \"default\" {{ targets = [\"app\", \"web\"] }}\n\
         target \"base\" {{\n  dockerfile = \"base.Dockerfile\"\n  contexts = {{ {} }}\n}}\n\
         target \"app\" {{\n  matrix = {{ v = [\"1\", \"2\"] }}\n  name = \"app-${{v}}\"\n  context = \"app\"\n  \
         contexts = {{ base = \"target:base\" }}\n  args = {{ V = v }}\n  tags = [\"app:${{v}}\"]\n}}\n\
         target \"web\" {{\n  context = \"web\"\n  contexts = {{ base = \"target:base\" }}\n  tags = [\"web:1\"]\n}}\n",
        busybox(environment)
    );
    write(
        scratch,
        &[
            ("docker-bake.hcl", &bake_file),
            ("base.Dockerfile", "FROM busybox\nENV BASE=yes\nRUN echo base-ran > /base\n"),
            ("app/Dockerfile", "FROM base\nARG V\nCOPY file /file\nRUN echo app-$V-$BASE > /app\n"),
            ("app/file", "of app\n"),
            ("web/Dockerfile", "FROM base AS build\nRUN cat /base > /web\nFROM base\nCOPY --from=build /web /web\n"),
        ],
    )
}

fn one_build(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    small_project(environment, &scratch)?;
    let finished = up(environment, &scratch, &[])?.success()?;
    equal(&count(&finished, "] RUN echo base-ran"), &1, "times that the shared step ran")?;
    for label in ["[base 2/2] RUN", "[app-1 ", "[app-2 ", "[web build 1/1] RUN", "tagged app:1", "tagged web:1"] {
        check(finished.stderr.contains(label), || format!("`{label}` is not in: {}", finished.stderr))?;
    }
    let names: Vec<String> =
        finished.text().lines().filter_map(|line| Some(line.split_once(" sha256:")?.0.to_owned())).collect();
    equal(&names, &["app-1", "app-2", "web"].map(str::to_owned).to_vec(), "targets with their digests")?;
    equal(
        &run(environment, &scratch, &["app:2", "cat", "/app", "/file", "/base"])?.as_str(),
        &"app-2-yes\nof app\nbase-ran",
        "app",
    )?;
    equal(&run(environment, &scratch, &["web:1", "cat", "/web"])?.as_str(), &"base-ran", "web")?;
    // The layers of the base are part of the image, as if its Dockerfile stood above.
    let history = succeed(environment.command(&scratch.store()).args(["history", "--no-trunc", "app:1"]))?.text();
    check(history.contains("base-ran") && history.contains("app-$V"), || history.clone())?;
    let again = up(environment, &scratch, &[])?.success()?;
    check(again.stderr.contains("(all cached)"), || again.stderr.clone())?;
    equal(&again.text(), &finished.text(), "digests of the second build")?;
    // A target alone is the same image.
    let alone = up(environment, &scratch, &["app-1"])?.success()?;
    equal(&alone.text().lines().next(), &finished.text().lines().next(), "one target alone")?;
    let why = succeed(environment.command(&scratch.store()).args(["why", "--list"]))?.text();
    check(why.contains("base, app-1, app-2, web"), || why.clone())
}

fn equal_steps(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = |own: &str| format!("FROM busybox\nCOPY common /common\nRUN echo shared-step\nRUN echo own-{own}\n");
    let mut bake_file = String::new();
    for name in ["one", "two", "three", "four"] {
        write(&scratch, &[(&format!("{name}.Dockerfile"), &text(name))])?;
        // Writing to a string cannot fail.
        let _ = writeln!(
            bake_file,
            "target \"{name}\" {{\n  dockerfile = \"{name}.Dockerfile\"\n  contexts = {{ {} }}\n}}",
            busybox(environment)
        );
    }
    write(&scratch, &[("docker-bake.hcl", &bake_file), ("common", "x")])?;
    let finished = up(environment, &scratch, &["*"])?.success()?;
    equal(&count(&finished, "] RUN echo shared-step"), &1, "times that the shared step is shown")?;
    equal(&count(&finished, "] RUN echo own-"), &4, "steps of their own")?;
    equal(&count(&finished, "] COPY common"), &1, "copies from the shared context")?;
    // With `no-cache` for one of them, the others keep what they have.
    let one = up(environment, &scratch, &["*", "--set", "two.no-cache=true"])?.success()?;
    check(one.stderr.contains("built 8 steps (5 cached)"), || one.stderr.clone())
}

fn contexts(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let target = |name: &str, context: &str| {
        format!(
            "target \"{name}\" {{\n  context = \"{context}\"\n  dockerfile = \"cwd://Dockerfile\"\n  tags = [\"{name}\"]\n  \
             contexts = {{ {}\n  extra = \"{context}/extra\" }}\n}}\n",
            busybox(environment)
        )
    };
    let bake_file = target("one", "a") + &target("two", "b") + &target("three", "a");
    write(
        &scratch,
        &[
            ("docker-bake.hcl", &bake_file),
            ("Dockerfile", "FROM busybox\nCOPY . /files/\nCOPY --from=extra x /x\n"),
            ("a/name", "a"),
            ("b/name", "b"),
            ("b/ignored", "b"),
            ("b/.dockerignore", "ignored\n"),
            ("a/extra/x", "xa"),
            ("b/extra/x", "xb"),
        ],
    )?;
    up(environment, &scratch, &["*"])?.success()?;
    for (image, expected) in [("one", "a xa"), ("two", "b xb"), ("three", "a xa")] {
        let seen = run(environment, &scratch, &[image, "sh", "-c", "echo $(cat /files/name) $(cat /x)"])?;
        equal(&seen.as_str(), &expected, image)?;
    }
    let ignored = run(environment, &scratch, &["two", "sh", "-c", "ls /files"])?;
    check(!ignored.contains("ignored"), || ignored.clone())
}

fn secrets(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let target = |name: &str| {
        format!(
            "target \"{name}\" {{\n  contexts = {{ {} }}\n  secret = [\"id=token,env=TOKEN_{name}\"]\n  shm-size = \"{name}m\"\n  \
             args = {{ N = \"{name}\" }}\n}}\n",
            busybox(environment)
        )
    };
    let text = "FROM busybox\nARG N\nRUN --mount=type=secret,id=token test $(cat /run/secrets/token) = secret-$N && df -m /dev/shm | grep -q \" $N \"\n";
    write(&scratch, &[("docker-bake.hcl", &(target("7") + &target("9"))), ("Dockerfile", text)])?;
    let mut command = command(environment, &scratch, &["7", "9"]);
    succeed(command.env("TOKEN_7", "secret-7").env("TOKEN_9", "secret-9"))?;
    // What one target has is nothing that another may use.
    let other = "target \"other\" {\n  contexts = { BUSYBOX }\n  dockerfile-inline = \"FROM busybox\\nRUN --mount=type=secret,id=token,required=true true\\n\"\n}\n"
        .replace("BUSYBOX", &busybox(environment));
    write(&scratch, &[("docker-bake.hcl", &(target("7") + &other))])?;
    let mut refused = self::command(environment, &scratch, &["7", "other"]);
    expect_failure(&finish(refused.env("TOKEN_7", "secret-7"))?, 1, &["[other 2/2]", "token"])
}

fn failure(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let bake_file = format!(
        "target \"good\" {{\n  contexts = {{ {0} }}\n  dockerfile-inline = \"FROM busybox\\nRUN echo good\\n\"\n  tags = [\"good\"]\n  \
         output = [\"type=image\", \"out\"]\n}}\n\
         target \"bad\" {{\n  context = \"bad\"\n  contexts = {{ {0}\n good = \"target:good\" }}\n  tags = [\"bad\"]\n}}\n",
        busybox(environment)
    );
    write(
        &scratch,
        &[("docker-bake.hcl", &bake_file), ("bad/Dockerfile", "FROM good\n\nRUN echo before\nRUN echo told; exit 3\n")],
    )?;
    let failed = up(environment, &scratch, &["good", "bad"])?;
    expect_failure(
        &failed,
        1,
        &["> [bad 2/2] RUN echo told", "bad/Dockerfile:4", ">>> RUN echo told; exit 3", "exit code: 3 (line 4)"],
    )?;
    check(failed.text().is_empty(), || failed.text())?;
    check(!work(&scratch)?.join("out").exists(), || "the output of a complete target was written".to_owned())?;
    let images = succeed(environment.command(&scratch.store()).args(["images", "-q"]))?.text();
    check(images.is_empty(), || images.clone())?;
    check(!failed.stderr.contains("bake resume"), || failed.stderr.clone())?;
    let debug = succeed(environment.command(&scratch.store()).args(["debug", "--list"]))?.text();
    check(debug.contains("bad/Dockerfile:4"), || debug.clone())
}

fn entitlements(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let bake_file = "target \"default\" {\n  dockerfile-inline = \"FROM scratch\\nCOPY --from=up file /\\n\"\n  contexts = { up = \"../outside\" }\n  \
                     network = \"host\"\n  output = [\"type=local,dest=../written\"]\n}\n";
    scratch.write("outside/file", "x")?;
    write(&scratch, &[("docker-bake.hcl", bake_file)])?;
    let asked = |allowed: &[&str]| {
        let mut command = environment.command(&scratch.store());
        finish(command.arg("up").args(allowed).current_dir(work(&scratch)?))
    };
    let root = scratch.path().canonicalize().map_err(|error| error.to_string())?;
    let outside = format!("--allow fs.read={}/outside", root.display());
    let written = format!("--allow fs.write={}/written", root.display());
    expect_failure(&asked(&[])?, 2, &["--allow network.host", &outside, &written])?;
    check(!scratch.path().join("written").exists(), || "it was written all the same".to_owned())?;
    let partly = asked(&["--allow", "network.host", "--allow=fs.read=../outside"])?;
    expect_failure(&partly, 2, &[&written])?;
    check(!partly.stderr.contains("network.host"), || partly.stderr.clone())?;
    // The target's own list allows nothing.
    expect_failure(&asked(&["--set", "default.entitlements=network.host"])?, 2, &["network.host"])?;
    asked(&["--allow", "network.host", "--allow", "fs=.."])?.success()?;
    equal(&scratch.read("written/file")?.as_str(), &"x", "what was written")?;
    expect_failure(&asked(&["--allow", "device"])?, 2, &["`--allow device` is unknown"])
}

fn printed(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    small_project(environment, &scratch)?;
    let printed = up(environment, &scratch, &["--print"])?.success()?.text();
    let document: Value = serde_json::from_str(&printed).map_err(|error| error.to_string())?;
    equal(&document["target"]["app-2"]["args"]["V"], &"2".into(), "an argument")?;
    equal(&document["target"]["base"]["output"][0]["type"], &"cacheonly".into(), "the output of a linked target")?;
    check(!scratch.store().exists(), || "a store was made for nothing".to_owned())?;
    let built = up(environment, &scratch, &[])?.success()?.text();
    write(&scratch, &[("again.json", &printed)])?;
    let again = up(environment, &scratch, &["-f", "again.json", "app-1", "app-2", "web"])?.success()?;
    equal(&again.text(), &built, "images of what was printed")?;
    let mut command = command(environment, &scratch, &["-f", "-", "--print", "web"]);
    let from_input = bake_testkit::program::run_with_input(&mut command, printed.into_bytes());
    let from_input = from_input.map_err(|error| error.to_string())?.success()?;
    check(from_input.text().contains("\"web:1\""), || from_input.text())
}

fn overrides(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let bake_file = format!(
        "variable \"TAG\" {{ default = \"file\" }}\ntarget \"default\" {{\n  contexts = {{ {} }}\n  args = {{ A = \"file\" }}\n  \
         dockerfile-inline = \"FROM busybox\\nARG A\\nRUN echo value-$A\\n\"\n  tags = [\"x:${{TAG}}\"]\n}}\n",
        busybox(environment)
    );
    write(&scratch, &[("docker-bake.hcl", &bake_file)])?;
    let tags = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = command(environment, &scratch, arguments);
        let finished = succeed(command.envs(variables.iter().copied()))?;
        Ok::<_, String>(finished.stderr)
    };
    check(tags(&[], &[])?.contains("tagged x:file"), || "the default of a variable".to_owned())?;
    check(tags(&[], &[("TAG", "env")])?.contains("tagged x:env"), || "the environment".to_owned())?;
    let told = tags(&["--var", "TAG=flag"], &[("TAG", "env")])?;
    check(told.contains("tagged x:flag"), || told.clone())?;
    let off = [("TAG", "env"), ("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", "1")];
    check(tags(&[], &off)?.contains("tagged x:file"), || "variables are not looked up".to_owned())?;
    let set = tags(&["--set", "*.args.A=set", "--set", "default.tags+=y:1"], &[])?;
    check(set.contains("value-set") && set.contains("tagged y:1") && set.contains("tagged x:file"), || set.clone())?;
    write(&scratch, &[("other.hcl", "target \"default\" { args = { A = \"merged\" } }\n")])?;
    // What people configure for their builds counts, what a project configures does not.
    write(&scratch, &[("bake.toml", "[build]\nbuild-arg = { A = \"project\" }\n")])?;
    let configured =
        tags(&["--set", "default.args.A="], &[("BAKE_BUILD_LABEL", "a=b"), ("BAKE_BUILD_SHM_SIZE", "7m")])?;
    check(configured.contains("value-\n") && !configured.contains("project"), || configured.clone())?;
    let label = succeed(environment.command(&scratch.store()).args(["inspect", "x:file"]))?.text();
    check(label.contains("\"a\": \"b\""), || label.clone())?;
    let named = tags(&[], &[("BUILDX_BAKE_FILE", "docker-bake.hcl:other.hcl")])?;
    check(named.contains("value-merged"), || named.clone())
}

fn compose(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = format!(
        "services:\n  app:\n    image: shop/app:${{TAG}}\n    build:\n      context: app\n      target: run\n      args:\n        A: one\n      \
         additional_contexts:\n        busybox: oci-layout://{0}\n  db:\n    image: postgres\n  web:\n    build:\n      context: .\n      \
         dockerfile_inline: |\n        FROM busybox\n        RUN echo web-$$TAG\n      additional_contexts:\n        busybox: oci-layout://{0}\n    \
         x-bake:\n      tags: [web:x]\n",
        environment.base("busybox").display()
    );
    let dockerfile = "FROM busybox AS run\nARG A\nRUN echo app-$A > /app\nFROM run\nRUN false\n";
    write(&scratch, &[("compose.yaml", &text), ("app/Dockerfile", dockerfile), (".env", "TAG=of-dotenv\n")])?;
    let finished = up(environment, &scratch, &[])?.success()?;
    check(finished.stderr.contains("tagged shop/app:of-dotenv"), || finished.stderr.clone())?;
    check(!finished.text().lines().any(|line| line.starts_with("db")), || finished.text())?;
    equal(&run(environment, &scratch, &["shop/app:of-dotenv", "cat", "/app"])?.as_str(), &"app-one", "the service")
}

fn metadata(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    small_project(environment, &scratch)?;
    let finished = up(environment, &scratch, &["--metadata-file", "m.json", "--provenance", "true", "web", "app-1"])?;
    let finished = finished.success()?;
    let document: Value = serde_json::from_str(&scratch.read("work/m.json")?).map_err(|error| error.to_string())?;
    for line in finished.text().lines() {
        let (name, digest) = line.split_once(' ').ok_or("a line has a name and a digest")?;
        equal(&document[name]["containerimage.digest"], &digest.into(), name)?;
    }
    equal(&document["web"]["image.name"], &"docker.io/library/web:1".into(), "the name of an image")?;
    let source = &document["app-1"]["buildx.build.provenance"]["buildDefinition"]["externalParameters"]["configSource"];
    equal(&source["path"], &"Dockerfile".into(), "the Dockerfile of a target")
}

fn report(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    small_project(environment, &scratch)?;
    let finished = up(environment, &scratch, &["--report", "r.html", "web", "app-1"])?.success()?;
    let page = scratch.read("work/r.html")?;
    for line in finished.text().lines() {
        let (name, digest) = line.split_once(' ').ok_or("a line has a name and a digest")?;
        check(page.contains(digest), || format!("no digest of {name}: {page}"))?;
        check(page.contains(&format!("<h3>{name}</h3>")), || format!("no layers of {name}: {page}"))?;
    }
    Ok(())
}

fn outputs(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let bake_file = format!(
        "target \"files\" {{\n  contexts = {{ {0} }}\n  dockerfile-inline = \"FROM busybox AS build\\nRUN echo made > /made\\nFROM scratch\\nCOPY --from=build /made /\\n\"\n  \
         output = [\"type=local,dest=files\"]\n  cache-to = [\"type=local,dest=cache-files,mode=max\"]\n}}\n\
         target \"archive\" {{\n  contexts = {{ {0} }}\n  dockerfile-inline = \"FROM busybox\\nRUN echo archive\\n\"\n  \
         output = [\"type=oci,dest=image.tar\"]\n  cache-to = [\"type=local,dest=cache-archive,mode=max\"]\n}}\n",
        busybox(environment)
    );
    write(&scratch, &[("docker-bake.hcl", &bake_file)])?;
    up(environment, &scratch, &["files", "archive"])?.success()?;
    equal(&scratch.read("work/files/made")?.as_str(), &"made\n", "files")?;
    check(work(&scratch)?.join("image.tar").is_file(), || "there is no archive".to_owned())?;
    // Each cache holds the results of its target alone.
    let store = scratch.path().join("elsewhere");
    let elsewhere = |cache: &str, targets: &[&str]| {
        let mut command = environment.command(&store);
        command.args(["up", "--progress", "plain", "--allow", "fs=*", "--require-cached", "--set"]);
        command.arg(format!("*.cache-from=type=local,src={cache}")).args(["--set", "*.cache-to="]).args(targets);
        finish(command.current_dir(work(&scratch)?))
    };
    expect_failure(&elsewhere("cache-archive", &["files"])?, 1, &["[files build 2/2] RUN echo made"])?;
    elsewhere("cache-archive", &["archive"])?.success()?;
    elsewhere("cache-files", &["files"])?.success()?;
    Ok(())
}

fn calls(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let bake_file = format!(
        "target \"base\" {{\n  contexts = {{ {} }}\n  dockerfile-inline = \"FROM busybox\\n\"\n}}\n\
         target \"bad\" {{\n  description = \"the bad one\"\n  contexts = {{ base = \"target:base\" }}\n  dockerfile-inline = \"FROM base as x\\n\"\n}}\n\
         target \"good\" {{\n  contexts = {{ base = \"target:base\" }}\n  dockerfile-inline = \"FROM base\\nRUN true\\n\"\n}}\n",
        busybox(environment)
    );
    write(&scratch, &[("docker-bake.hcl", &bake_file)])?;
    let checked = up(environment, &scratch, &["--check", "bad", "good"])?;
    equal(&checked.code, &Some(1), "the exit code of a check with findings")?;
    for text in ["bad\nthe bad one\n\n", "FromAsCasing", "\ngood\n\nCheck complete, no warnings found."] {
        check(checked.text().contains(text), || format!("`{text}` is not in: {}", checked.text()))?;
    }
    up(environment, &scratch, &["--check", "good"])?.success()?;
    let json = up(environment, &scratch, &["--call", "outline,format=json", "good"])?.success()?.text();
    let document: Value = serde_json::from_str(&json).map_err(|error| format!("{error}: {json}"))?;
    equal(&document["target"]["good"]["build"]["context"], &".".into(), "what would be built")?;
    check(document["target"]["good"]["outline"]["sources"].is_array(), || json.clone())
}

fn lists(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let bake_file = "variable \"N\" {\n  type = number\n  default = 3\n  description = \"how many\"\n}\n\
                     group \"all\" {\n  description = \"everything\"\n  targets = [\"b\", \"a\"]\n}\n\
                     target \"_hidden\" {}\ntarget \"a\" { description = \"first\" }\ntarget \"b\" {}\n";
    write(&scratch, &[("docker-bake.hcl", bake_file)])?;
    let list = |what: &str| Ok::<_, String>(up(environment, &scratch, &["--list", what])?.success()?.text());
    equal(
        &list("targets")?.as_str(),
        &"TARGET   DESCRIPTION\na        first\nall      everything (a, b)\nb",
        "targets",
    )?;
    equal(
        &list("variables")?.as_str(),
        &"VARIABLE   TYPE     VALUE   DESCRIPTION\nN          number   3       how many",
        "variables",
    )?;
    let json: Value = serde_json::from_str(&list("type=targets,format=json")?).map_err(|error| error.to_string())?;
    equal(&json[1], &serde_json::json!({"name": "all", "description": "everything (a, b)", "group": true}), "a row")
}

fn platforms(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let bake_file = "target \"base\" {\n  dockerfile-inline = \"FROM scratch\\nARG TARGETARCH\\nCOPY ${TARGETARCH} /base\\n\"\n  platforms = PLATFORMS\n}\n\
                     target \"default\" {\n  contexts = { base = \"target:base\" }\n  dockerfile-inline = \"FROM base\\nCOPY own /own\\n\"\n  \
                     platforms = [\"linux/amd64\", \"linux/arm64\"]\n  output = [\"type=local,dest=out\"]\n}\n"
        .replace("${TARGETARCH}", "$${TARGETARCH}");
    write(&scratch, &[("amd64", "A"), ("arm64", "B"), ("own", "o")])?;
    write(&scratch, &[("docker-bake.hcl", &bake_file.replace("PLATFORMS", "[\"linux/amd64\", \"linux/arm64\"]"))])?;
    up(environment, &scratch, &[])?.success()?;
    equal(&scratch.read("work/out/linux_amd64/base")?.as_str(), &"A", "one platform")?;
    equal(&scratch.read("work/out/linux_arm64/base")?.as_str(), &"B", "the other")?;
    write(&scratch, &[("docker-bake.hcl", &bake_file.replace("PLATFORMS", "[\"linux/amd64\", \"linux/386\"]"))])?;
    expect_failure(&up(environment, &scratch, &[])?, 2, &["linux/arm64"])
}

fn repository(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let bake_file = format!(
        "target \"default\" {{\n  contexts = {{ {} }}\n  dockerfile-inline = \"FROM busybox\\nCOPY . /f\\nRUN ls /f\\n\"\n}}\n\
         target \"sub\" {{\n  inherits = [\"default\"]\n  context = \"sub\"\n}}\n\
         target \"here\" {{\n  inherits = [\"default\"]\n  context = BAKE_CMD_CONTEXT\n}}\n",
        busybox(environment)
    );
    write(&scratch, &[("local-file", "x")])?;
    scratch.write("origin/docker-bake.hcl", &bake_file)?;
    scratch.write("origin/root-file", "x")?;
    scratch.write("origin/sub/sub-file", "x")?;
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"];
        let mut command = Command::new("git");
        command.args(identity).args(arguments).current_dir(scratch.path().join("origin"));
        succeed(command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1"))
    };
    git(&["init", "--quiet", "--initial-branch=main"])?;
    git(&["add", "--all"])?;
    git(&["commit", "--quiet", "--message=one"])?;
    git(&["clone", "--quiet", "--bare", ".", &scratch.at("served/a.git")])?;
    let mut update = Command::new("git");
    succeed(update.args(["update-server-info"]).current_dir(scratch.path().join("served/a.git")))?;
    let server = serve(scratch.path().join("served"))?;
    let address = format!("http://{}/a.git#main", server.host());
    let root = up(environment, &scratch, &[&address])?.success()?;
    check(root.stderr.contains("root-file"), || root.stderr.clone())?;
    let sub = up(environment, &scratch, &[&address, "sub"])?.success()?;
    check(sub.stderr.contains("sub-file") && !sub.stderr.contains("root-file"), || sub.stderr.clone())?;
    let here = up(environment, &scratch, &[&address, "here"])?.success()?;
    check(here.stderr.contains("local-file"), || here.stderr.clone())?;
    let printed = up(environment, &scratch, &[&address, "--print"])?.success()?;
    check(printed.text().contains(&format!("\"context\": \"{address}\"")), || printed.text())?;
    let absent = up(environment, &scratch, &[&address, "-f", "no.hcl"])?;
    expect_failure(&absent, 2, &["there is no file `no.hcl` in the repository"])
}

/// Serves the files below `root`.
fn serve(root: std::path::PathBuf) -> Result<bake_testkit::registry::RawServer, String> {
    let answer = move |request: &bake_testkit::registry::RecordedRequest| {
        let path = request.path.split('?').next().unwrap_or_default().trim_start_matches('/');
        let (status, body) = match std::fs::read(root.join(path)) {
            Ok(bytes) => ("200 OK", bytes),
            Err(_) => ("404 Not Found", Vec::new()),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    };
    bake_testkit::registry::RawServer::start(answer).map_err(|error| error.to_string())
}

fn mistakes(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    expect_failure(&up(environment, &scratch, &[])?, 2, &["there is no file with targets", "docker-bake.hcl"])?;
    let refused = |text: &str, arguments: &[&str], words: &[&str]| {
        write(&scratch, &[("docker-bake.hcl", text)])?;
        expect_failure(&up(environment, &scratch, arguments)?, 2, words)
    };
    refused(
        "target \"a\" {\n  args = { x = foo(1) }\n}\n",
        &["a"],
        &["no function `foo`", "docker-bake.hcl:2", "line 2"],
    )?;
    refused("target \"a\" { policy = [] }\n", &["a"], &["`policy` is not supported", "docker-bake.hcl"])?;
    refused("target \"abc\" {}\n", &["abd"], &["there is no target `abd`", "abc"])?;
    refused("target \"a\" { network = \"slow\" }\n", &["a"], &["target `a`", "slow"])?;
    refused("target \"a\" { context = \"nowhere\" }\n", &["a"], &["target `a`", "nowhere"])?;
    refused("target \"a\" { secret = [\"id=x,env=UNSET\"] }\n", &["a"], &["target `a`", "UNSET"])?;
    refused("target \"a\" {}\n", &["a", "--set", "a.colour=red"], &["`--set a.colour=red`", "colour"])?;
    refused("target \"a\" {}\n", &["a", "--builder", "x"], &["`--builder` is not supported"])?;
    write(&scratch, &[("docker-bake.hcl", "target \"a\" { dockerfile-inline = \"FROM scratch\\n\\nRUNN x\\n\" }\n")])?;
    expect_failure(&up(environment, &scratch, &["a"])?, 2, &["target `a`", "RUNN", "line 3"])
}

/// Cases that come out otherwise, as `docs/targets.md` says: a number of 512 bits, overrides that buildx ignores.
const DIFFERENT: [&str; 2] = ["variables", "override-set"];

/// How often buildx is asked for the same.
const ATTEMPTS: usize = 20;

/// Every case of the reader, with the real program and the real buildx.
fn peer(environment: &Environment) -> Outcome {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bake-targets/tests/cases");
    let scratch = environment.scratch()?;
    let agent = scratch.path().join("agent");
    let _socket = std::os::unix::net::UnixListener::bind(&agent).map_err(|error| error.to_string())?;
    let mut different = String::new();
    let mut compared = 0;
    let entries = std::fs::read_dir(&cases).map_err(|error| error.to_string())?;
    for entry in entries {
        let directory = entry.map_err(|error| error.to_string())?.path();
        let text = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap_or_default();
        let (arguments, environment_text) = (text("arguments"), text("environment"));
        let arguments: Vec<&str> = arguments.lines().collect();
        let variables = environment_text.lines().filter_map(|line| line.split_once('='));
        let here = scratch.path().join("case");
        copy(&directory, &here)?;
        let prepare = |command: &mut Command| {
            command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", scratch.path());
            // Without one, buildx prints nothing of targets that use an agent.
            command.env("SSH_AUTH_SOCK", &agent);
            command.envs(variables.clone()).current_dir(&here).args(["--print"]).args(&arguments);
            finish(command)
        };
        let ours = prepare(Command::new(&environment.bake).arg("up"))?;
        let mut theirs = prepare(Command::new("docker-buildx").arg("bake"))?;
        // The variables of a matrix take turns in a random order there.
        for _ in 0..ATTEMPTS {
            if theirs.code == Some(0) && theirs.text() != ours.text() && ours.code == Some(0) {
                theirs = prepare(Command::new("docker-buildx").arg("bake"))?;
            }
        }
        // It looks for keys even to print, and those of the case are nowhere.
        if theirs.stderr.contains("failed to convert agent config") {
            std::fs::remove_dir_all(&here).map_err(|error| error.to_string())?;
            continue;
        }
        compared += 1;
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let same = match (ours.code, theirs.code) {
            _ if DIFFERENT.contains(&name.as_str()) => true,
            (Some(0), Some(0)) => ours.text() == theirs.text(),
            (Some(0), _) | (_, Some(0)) => false,
            _ => true,
        };
        if !same {
            // Writing to a string cannot fail.
            let _ = writeln!(
                different,
                "=== {name}\n--- bake\n{}{}\n--- buildx\n{}{}",
                ours.text(),
                ours.stderr,
                theirs.text(),
                theirs.stderr
            );
        }
        std::fs::remove_dir_all(&here).map_err(|error| error.to_string())?;
    }
    check(compared > 80, || format!("only {compared} cases"))?;
    check(different.is_empty(), || different.clone())
}

/// Copies the files of a case; `dotenv` gets its real name.
fn copy(from: &Path, to: &Path) -> Outcome {
    let failed = |error: std::io::Error| error.to_string();
    std::fs::create_dir_all(to).map_err(failed)?;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else {
            let name = if name == "dotenv" { std::ffi::OsStr::new(".env") } else { name };
            std::fs::copy(&path, to.join(name)).map_err(failed)?;
        }
    }
    Ok(())
}
