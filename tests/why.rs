//! Why steps ran, what would run, and refusing to run.

mod support;

use std::process::ExitCode;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("a_changed_file_is_named_wherever_one_looks", &[], changed_file),
    ("what_a_step_read_is_told_and_listed", &["fuse"], reads),
    ("what_is_not_recorded_has_a_reason", &["fuse"], unrecorded),
    ("a_step_that_differs_from_run_to_run_is_found_out", &["fuse"], verified),
    ("arguments_are_named_and_secrets_hidden", &[], arguments),
    ("a_pruned_result_is_told_from_a_change", &[], pruned),
    ("a_failed_build_is_explained", &[], failed),
    ("builds_are_listed_and_earlier_ones_explained", &[], listed),
    ("a_plan_says_what_would_run_and_runs_nothing", &[], planned),
    ("a_plan_fetches_no_layers", &[], planned_without_layers),
    ("required_results_are_used_or_their_absence_explained", &[], required),
    ("a_filter_names_stages_in_any_case", &[], filter),
    ("another_proxy_is_no_reason_to_run", &[], proxy),
    ("a_store_of_the_version_before_goes_on_working", &[], version_before),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

const DOCKERFILE: &str = "FROM busybox\n\
    ARG VERSION=1\n\
    COPY src /src\n\
    RUN cat /src/* > /all\n\
    RUN wc -c /all > /count\n";

fn sources(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", DOCKERFILE)?;
    for name in ["a", "b", "c"] {
        scratch.write(&format!("context/src/{name}"), name)?;
    }
    Ok(scratch)
}

/// What a build writes to standard error.
fn build(environment: &Environment, scratch: &Scratch, flags: &[&str]) -> Result<String, String> {
    succeed(environment.build(&scratch.store()).args(flags).arg(scratch.at("context"))).map(|finished| finished.stderr)
}

/// What another command writes to standard output.
fn output(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<String, String> {
    succeed(environment.command(&scratch.store()).args(arguments)).map(|finished| finished.text())
}

fn plan(environment: &Environment, scratch: &Scratch, flags: &[&str]) -> Result<String, String> {
    let mut command = environment.command(&scratch.store());
    command.arg("plan").args(environment.base_flags()).args(flags).arg(scratch.at("context"));
    succeed(&mut command).map(|finished| finished.text())
}

fn contains(text: &str, words: &[&str]) -> Outcome {
    for word in words {
        check(text.contains(word), || format!("`{word}` is not in: {text}"))?;
    }
    Ok(())
}

/// A step that reads one of three files, and looks for one that is not there.
fn reader(environment: &Environment, dockerfile: &str) -> Result<Scratch, String> {
    let scratch = sources(environment)?;
    scratch.write("context/Dockerfile", dockerfile)?;
    Ok(scratch)
}

const READER: &str = "FROM busybox\n\
    WORKDIR /app\n\
    COPY src .\n\
    RUN cat a; test -e none || true\n";

fn reads(environment: &Environment) -> Outcome {
    let scratch = reader(environment, READER)?;
    let first = build(environment, &scratch, &[])?;
    check(!first.contains("reused:") && !first.contains("ran:"), || first.clone())?;
    let paths = |text: &str| -> Result<Vec<serde_json::Value>, String> {
        text.lines().map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))).collect()
    };
    let listed = paths(&output(environment, &scratch, &["trace", "cat", "--json"])?)?;
    let answer = |name: &str| {
        let row = listed.iter().find(|row| row["path"] == name && row["asked"] == "node");
        row.map(|row| row["answer"].clone()).unwrap_or_default()
    };
    let expected = ["file", "absent"].map(serde_json::Value::from);
    equal(&[answer("a"), answer("none")], &expected, "what is there")?;
    equal(&answer("b"), &serde_json::Value::Null, "what it did not look at")?;
    contains(&output(environment, &scratch, &["why", "cat"])?, &["paths of what was copied for it (`bake trace"])?;

    scratch.write("context/src/b", "changed")?;
    let planned = plan(environment, &scratch, &[])?;
    contains(&planned, &["runs      [3/4] COPY src .", "depends   [4/4] RUN cat"])?;
    let second = build(environment, &scratch, &[])?;
    contains(&second, &["reused: none of the ", " paths it read changed", "built 3 steps (2 cached)"])?;
    contains(
        &output(environment, &scratch, &["why", "cat"])?,
        &["was cached; its result was made", "reused: none of the"],
    )?;
    contains(&output(environment, &scratch, &["why", "--all"])?, &["reused: none of the"])?;
    contains(&output(environment, &scratch, &["history", "inspect"])?, &["Reused:", "1 step, since"])?;
    let text = output(environment, &scratch, &["trace", "cat"])?;
    contains(&text, &["was not run", "[3/4] COPY src .:", "absent", "file        0644"])?;
    // All of it is cached by its inputs: the build before tells what the step read.
    build(environment, &scratch, &[])?;
    contains(&output(environment, &scratch, &["trace", "cat"])?, &["in build 2, ", "the last one that tells"])?;

    scratch.write("context/src/a", "changed")?;
    let third = build(environment, &scratch, &[])?;
    contains(&third, &["ran: `a` changed (content)"])?;
    contains(&output(environment, &scratch, &["why", "cat"])?, &["1 path that it read:", "    a changed (content)"])?;
    scratch.write("context/src/none", "not any more")?;
    contains(&build(environment, &scratch, &[])?, &["ran: `none` is new"])
}

fn unrecorded(environment: &Environment) -> Outcome {
    let reasons = [
        (READER.replace("RUN", "# bake: trace=off\nRUN"), &[][..], "a comment above it says `# bake: trace=off`"),
        (READER.replace("RUN", "RUN --mount=type=cache,target=/c"), &[], "it has a cache mount that it may write to"),
        (READER.replace("COPY src .", "RUN true"), &[], "no files were copied or mounted for it"),
        (READER.to_owned(), &["--trace-run=off"], "recording was switched off (`--trace-run=off`)"),
    ];
    for (dockerfile, flags, reason) in reasons {
        let scratch = reader(environment, &dockerfile)?;
        build(environment, &scratch, flags)?;
        let told = finish(environment.command(&scratch.store()).args(["trace", "cat"]))?;
        expect_failure(&told, 1, &["what `[4/4] RUN", "read is not known: ", reason])?;
        scratch.write("context/src/b", "changed")?;
        let again = build(environment, &scratch, flags)?;
        check(!again.contains("reused:"), || again.clone())?;
    }
    let scratch = reader(environment, &READER.replace("RUN", "# bake: trace=on\nRUN"))?;
    let wrong = finish(environment.build(&scratch.store()).arg(scratch.at("context")))?;
    expect_failure(&wrong, 2, &["`trace=on` is not a setting of a RUN: there is only `trace=off`", "Dockerfile:4"])
}

fn verified(environment: &Environment) -> Outcome {
    let scratch = reader(environment, &READER.replace("cat a", "cat a /proc/uptime > /out"))?;
    build(environment, &scratch, &[])?;
    scratch.write("context/src/b", "changed")?;
    let told = build(environment, &scratch, &["--verify-trace=100%"])?;
    contains(&told, &["warning: run again to verify it, this step left another `out`", "`# bake: trace=off`"])?;
    check(!told.contains("reused:"), || told.clone())?;
    let scratch = reader(environment, READER)?;
    build(environment, &scratch, &[])?;
    scratch.write("context/src/b", "changed")?;
    let told = build(environment, &scratch, &["--verify-trace=100"])?;
    contains(&told, &["reused: none of the"])?;
    let wrong = finish(environment.build(&scratch.store()).args(["--verify-trace=0.5%"]).arg(scratch.at("context")))?;
    expect_failure(&wrong, 2, &["fractions are not supported"])
}

fn changed_file(environment: &Environment) -> Outcome {
    let scratch = sources(environment)?;
    // Why results are not found by their inputs is what this is about.
    let build = |environment: &Environment, scratch: &Scratch, flags: &[&str]| {
        build(environment, scratch, &[&["--trace-run=off"][..], flags].concat())
    };
    let first = build(environment, &scratch, &[])?;
    check(!first.contains("why:"), || first.clone())?;
    contains(&output(environment, &scratch, &["why"])?, &["3 ran", "nothing like it was built here before"])?;
    build(environment, &scratch, &[])?;
    let cached = output(environment, &scratch, &["why"])?;
    contains(&cached, &["3 cached"])?;
    check(!cached.contains("STEP"), || cached.clone())?;
    contains(&output(environment, &scratch, &["why", "COPY"])?, &["was cached; its result was made"])?;

    scratch.write("context/src/b", "changed")?;
    scratch.write("context/src/d", "new")?;
    std::fs::remove_file(scratch.path().join("context/src/a")).map_err(|error| error.to_string())?;
    let second = build(environment, &scratch, &[])?;
    contains(
        &second,
        &[
            "#2 why: src/b changed, and 2 more files (record from",
            "#3 why: `[2/4] COPY src /src` left other files: src/b changed",
            "#4 why: since `[2/4] COPY src /src`: src/b changed",
        ],
    )?;
    let step = output(environment, &scratch, &["why", "2"])?;
    contains(
        &step,
        &[
            "#2 [2/4] COPY src /src ran in",
            "compared with `[2/4] COPY src /src`, made",
            "3 files of the build context changed",
            "src/b changed",
            "src/d is new",
            "src/a is gone",
        ],
    )?;
    let json = output(environment, &scratch, &["why", "copy SRC", "--format", "json"])?;
    let step: serde_json::Value = serde_json::from_str(&json).map_err(|error| format!("{error}: {json}"))?;
    equal(&step["explanation"]["differences"][0]["kind"], &"files".into(), "kind")?;
    equal(&step["explanation"]["differences"][0]["changes"][0]["path"], &"src/b".into(), "path")?;

    scratch.write("context/src/b", "again")?;
    let raw = build(environment, &scratch, &["--progress", "rawjson"])?;
    contains(&raw, &[r#""why":{"nearest":{"step":"[2/4] COPY src /src""#])
}

fn arguments(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "FROM busybox\nARG VERSION=1\nARG API_TOKEN=sesame1\nRUN echo $VERSION\n";
    scratch.write("context/Dockerfile", text)?;
    build(environment, &scratch, &[])?;
    let shown = build(environment, &scratch, &["--build-arg", "VERSION=2"])?;
    contains(&shown, &["why: build argument VERSION changed from `1` to `2`"])?;
    let shown = build(environment, &scratch, &["--build-arg", "API_TOKEN=sesame2"])?;
    contains(&shown, &["why: build argument API_TOKEN changed (record"])?;
    for arguments in [&["why", "echo"][..], &["why", "--format", "json"]] {
        let told = output(environment, &scratch, arguments)?;
        contains(&told, &["API_TOKEN"])?;
        check(!told.contains("sesame"), || told.clone())?;
    }
    scratch.write("context/Dockerfile", text.replace("RUN echo", "USER 5\nRUN --network=none echo"))?;
    let told = build(environment, &scratch, &[])?;
    contains(&told, &["why: user changed from nothing to `5` (and 1 more)"])?;
    let told = output(environment, &scratch, &["why", "echo"])?;
    contains(&told, &["network changed", "from default", "to   none", "user changed", "to   5"])
}

fn pruned(environment: &Environment) -> Outcome {
    let scratch = sources(environment)?;
    build(environment, &scratch, &[])?;
    output(environment, &scratch, &["prune", "--all", "--force"])?;
    let told = build(environment, &scratch, &[])?;
    contains(&told, &["#2 why: its result was removed by bake prune"])?;
    contains(&output(environment, &scratch, &["why", "2"])?, &["that result was removed by bake prune"])
}

fn failed(environment: &Environment) -> Outcome {
    let scratch = sources(environment)?;
    build(environment, &scratch, &[])?;
    scratch.write("context/Dockerfile", DOCKERFILE.replace("wc -c /all", "wc -c /nothing"))?;
    let finished = finish(environment.build(&scratch.store()).arg(scratch.at("context")))?;
    expect_failure(&finished, 1, &["why: the command changed"])?;
    contains(&output(environment, &scratch, &["why"])?, &["failed", "1 failed, 2 cached", "the command changed"])?;
    contains(
        &output(environment, &scratch, &["why", "wc"])?,
        &["failed after", "from wc -c /all > /count", "to   wc -c /nothing > /count"],
    )?;
    contains(&output(environment, &scratch, &["why", "cat"])?, &["was cached; its result was made"])
}

fn listed(environment: &Environment) -> Outcome {
    let scratch = sources(environment)?;
    let nothing = finish(environment.command(&scratch.store()).arg("why"))?;
    expect_failure(&nothing, 1, &["nothing was built"])?;
    build(environment, &scratch, &["--tag", "app:1"])?;
    build(environment, &scratch, &[])?;
    let list = output(environment, &scratch, &["why", "--list"])?;
    contains(&list, &["3 ran", "3 cached", "app:1", "/context"])?;
    contains(&output(environment, &scratch, &["why", "--build", "1"])?, &["build 1 of app:1 succeeded"])?;
    let all = output(environment, &scratch, &["why", "--all"])?;
    contains(&all, &["#2", "cached, made"])?;
    let absent = finish(environment.command(&scratch.store()).args(["why", "--build", "7"]))?;
    expect_failure(&absent, 1, &["there is no build 7", "--list"])?;
    let unclear = finish(environment.command(&scratch.store()).args(["why", "/src"]))?;
    expect_failure(&unclear, 2, &["several steps contain `/src`", "#3"])
}

fn planned(environment: &Environment) -> Outcome {
    let scratch = sources(environment)?;
    let first = plan(environment, &scratch, &[])?;
    contains(&first, &["runs      [2/4] COPY src /src", "depends   [3/4] RUN cat", "3 steps: 1 would run, 2 may run"])?;
    let why = finish(environment.command(&scratch.store()).arg("why"))?;
    expect_failure(&why, 1, &["nothing was built"])?;
    build(environment, &scratch, &[])?;
    contains(&plan(environment, &scratch, &[])?, &["3 steps: 3 cached"])?;
    scratch.write("context/src/b", "changed")?;
    contains(&plan(environment, &scratch, &[])?, &["src/b changed", "depends on [2/4] COPY src /src"])?;
    let json = plan(environment, &scratch, &["--format", "json"])?;
    let steps: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}")))
        .collect::<Result<_, _>>()?;
    let forecasts: Vec<_> = steps.iter().filter_map(|step| step["forecast"].as_str()).collect();
    equal(&forecasts, &vec!["runs", "depends", "depends"], "forecasts")?;
    equal(&steps[1]["depends_on"][0], &"[2/4] COPY src /src".into(), "what a step depends on")?;
    contains(&build(environment, &scratch, &[])?, &["built 3 steps in"])?;
    contains(&plan(environment, &scratch, &["--no-cache"])?, &["1 would run", "the cache was not to be used"])
}

fn planned_without_layers(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox AS tools\nFROM scratch\nCOPY --from=tools /bin /bin\n")?;
    contains(&plan(environment, &scratch, &[])?, &["would have to be fetched first", "1 cannot be told"])?;
    let strict = finish(environment.build(&scratch.store()).arg("--require-cached").arg(scratch.at("context")))?;
    expect_failure(&strict, 1, &["is not cached: the files that it copies would have to be fetched first"])?;
    let snapshots = std::fs::read_dir(scratch.store().join("snapshots")).map_err(|error| error.to_string())?;
    equal(&snapshots.count(), &0, "unpacked layers")?;
    build(environment, &scratch, &[])?;
    contains(&plan(environment, &scratch, &[])?, &["1 step: 1 cached"])
}

fn required(environment: &Environment) -> Outcome {
    let scratch = sources(environment)?;
    let strict = |flags: &[&str]| {
        let mut command = environment.build(&scratch.store());
        finish(command.arg("--require-cached").args(flags).arg(scratch.at("context")))
    };
    expect_failure(&strict(&[])?, 1, &["`[2/4] COPY src /src` is not cached: nothing like it was built"])?;
    build(environment, &scratch, &[])?;
    let finished = strict(&[])?.success()?;
    contains(&finished.stderr, &["built 3 steps (all cached)"])?;
    scratch.write("context/src/b", "changed")?;
    let refused = strict(&[])?;
    expect_failure(&refused, 1, &["error: `[2/4] COPY src /src` is not cached: src/b changed", ">>> COPY src /src"])?;
    contains(&output(environment, &scratch, &["why"])?, &["1 failed, 2 not reached", "src/b changed"])?;
    // Nothing was made: the build itself still has to.
    contains(&build(environment, &scratch, &[])?, &["built 3 steps in"])?;
    expect_failure(&strict(&["--no-cache"])?, 1, &["is not cached: the cache was not to be used"])
}

fn filter(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let text = "FROM busybox AS Tools\nRUN echo tools > /tools\nFROM busybox\nCOPY --from=tools /tools /\nRUN true\n";
    scratch.write("context/Dockerfile", text)?;
    build(environment, &scratch, &[])?;
    let shown = build(environment, &scratch, &["--no-cache-filter", "tOOLS"])?;
    contains(&shown, &["built 3 steps (2 cached)"])?;
    check(!shown.contains("no such stage"), || shown.clone())?;
    let shown = build(environment, &scratch, &["--no-cache-filter", "stage-1,tool"])?;
    contains(&shown, &["`--no-cache-filter tool`: there is no such stage", "built 3 steps (1 cached)"])?;
    check(!shown.contains("filter stage-1"), || shown.clone())
}

fn proxy(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo done\n")?;
    build(environment, &scratch, &["--build-arg", "HTTP_PROXY=http://one.example.com:1"])?;
    let shown = build(environment, &scratch, &["--build-arg", "HTTP_PROXY=http://two.example.com:2"])?;
    contains(&shown, &["(all cached)"])
}

fn version_before(environment: &Environment) -> Outcome {
    let scratch = sources(environment)?;
    build(environment, &scratch, &[])?;
    // What versions 2 and 3 have added goes.
    let connection =
        rusqlite::Connection::open(scratch.store().join("index.sqlite")).map_err(|error| error.to_string())?;
    connection
        .execute_batch(
            "DROP INDEX record_by_step; ALTER TABLE record DROP COLUMN step; ALTER TABLE record DROP COLUMN inputs;
             ALTER TABLE record DROP COLUMN selections; DROP TABLE evicted; DROP TABLE selection; DROP TABLE build;
             DROP TABLE trace; DROP TABLE trace_key; DROP TABLE heavy;
             CREATE INDEX record_by_description ON record (description, created); PRAGMA user_version = 1;",
        )
        .map_err(|error| error.to_string())?;
    drop(connection);
    contains(&build(environment, &scratch, &[])?, &["(all cached)"])?;
    scratch.write("context/src/b", "changed")?;
    // Which file it was is not known of a record of that time.
    contains(&build(environment, &scratch, &[])?, &["#2 why: files of the build context changed (record from"])?;
    scratch.write("context/src/b", "changed again")?;
    contains(&build(environment, &scratch, &[])?, &["#2 why: src/b changed (record from"])
}
