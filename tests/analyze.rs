//! `bake analyze` and what builds say of their layers, from the outside, with images made for it.

mod support;

use std::process::ExitCode;

use serde_json::{Value, json};
use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("wasted_bytes_are_told_by_layer", &["userns"], wasted),
    ("archives_are_analyzed_like_the_store", &["userns"], archives),
    ("limits_decide_the_exit_code", &[], limits),
    ("trees_show_what_was_asked_for", &[], trees),
    ("caches_and_setuid_files_are_listed", &["userns"], findings),
    ("builds_tell_what_is_wasted", &["userns"], builds),
    ("programs_are_told_what_is_wasted", &["userns"], programs),
    ("the_linter_judges_what_a_build_measures", &["userns"], linter),
    ("waste_of_base_images_and_of_linked_copies_is_told", &["userns"], bases),
    ("copies_that_no_step_reads_are_told", &["root", "fuse"], unread),
    ("what_may_have_been_read_is_not_told", &["root", "fuse"], perhaps_read),
    ("what_other_stages_take_counts_as_read", &["root", "fuse"], taken),
    ("what_any_of_several_targets_reads_is_read", &["root", "fuse"], targets),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// 3 MB are deleted, 2 MB stored again for an owner, 1 MB replaced, 4 MB stay.
const WASTEFUL: &str = "FROM busybox\n\
    COPY deleted /deleted\n\
    COPY --chmod=644 owner /owner\n\
    COPY replaced /replaced\n\
    COPY kept /kept\n\
    RUN rm /deleted\n\
    RUN chown 5:6 /owner\n\
    RUN echo new > /replaced\n";
const MB: usize = 1_000_000;

fn build(environment: &Environment, scratch: &Scratch, dockerfile: &str) -> Outcome {
    scratch.write("context/Dockerfile", dockerfile)?;
    let mut command = environment.build(&scratch.store());
    command.args(["--tag", "app:1"]).arg(scratch.at("context"));
    succeed(&mut command).map(drop)
}

fn wasteful(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    for (name, bytes, content) in [("deleted", 3, 1), ("owner", 2, 2), ("replaced", 1, 3), ("kept", 4, 4)] {
        scratch.write(&format!("context/{name}"), vec![content; bytes * MB])?;
    }
    build(environment, &scratch, WASTEFUL)?;
    Ok(scratch)
}

fn analyze(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<String, String> {
    succeed(environment.command(&scratch.store()).arg("analyze").args(arguments)).map(|finished| finished.text())
}

fn document(environment: &Environment, scratch: &Scratch, image: &str) -> Result<Value, String> {
    let text = analyze(environment, scratch, &["--json", image])?;
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

/// The wasted files without the numbers of layers, which depend on how many the base has.
fn waste(document: &Value) -> Vec<Value> {
    let files = document["Waste"].as_array().cloned().unwrap_or_default();
    let distance = |file: &Value| file["HiddenBy"].as_u64().zip(file["WrittenBy"].as_u64()).map(|(by, of)| by - of);
    files.iter().map(|file| json!([file["Path"], file["Bytes"], distance(file), file["Cause"]])).collect()
}

fn wasted(environment: &Environment) -> Outcome {
    let scratch = wasteful(environment)?;
    let document = document(environment, &scratch, "app:1")?;
    let expected = [
        json!(["/deleted", 3 * MB, 4, "deleted"]),
        json!(["/owner", 2 * MB, 4, "owner or mode changed"]),
        json!(["/replaced", MB, 4, "replaced"]),
    ];
    equal(&waste(&document), &expected.to_vec(), "waste")?;
    equal(&document["WastedBytes"], &json!(6 * MB), "wasted bytes")?;
    let sum = |key: &str| document[key].as_u64().unwrap_or_default();
    equal(&sum("AddedBytes"), &(sum("VisibleBytes") + sum("WastedBytes")), "the sum")?;
    let layers = document["Layers"].as_array().cloned().unwrap_or_default();
    let last: Vec<Value> =
        layers.iter().rev().take(3).rev().map(|l| json!([l["AddedBytes"], l["HidesBytes"]])).collect();
    equal(&last, &vec![json!([0, 3 * MB]), json!([2 * MB, 2 * MB]), json!([4, MB])], "the last layers")?;
    let texts: Vec<&str> = layers.iter().filter_map(|layer| layer["Instruction"].as_str()).collect();
    check(texts.iter().any(|text| text.contains("rm /deleted")), || format!("{texts:?}"))?;
    let text = analyze(environment, &scratch, &["app:1"])?;
    check(text.contains("6.00MB are not in the image") && text.contains("owner or mode changed   /owner"), || {
        text.clone()
    })
}

fn archives(environment: &Environment) -> Outcome {
    let scratch = wasteful(environment)?;
    let stored = document(environment, &scratch, "app:1")?;
    for (format, place) in [("docker", "docker-archive:"), ("oci", "oci-archive:"), ("oci-dir", "oci:"), ("docker", "")]
    {
        let path = scratch.at(&format!("saved-{format}-{}", place.len()));
        succeed(environment.command(&scratch.store()).args(["save", "--format", format, "--output", &path, "app:1"]))?;
        // A store that knows nothing of it: what is read is the archive.
        let other = scratch.path().join(format!("other-{format}-{}", place.len()));
        let mut command = environment.command(&other);
        let finished = succeed(command.args(["analyze", "--json", &format!("{place}{path}")]))?;
        let found: Value = serde_json::from_str(&finished.text()).map_err(|error| error.to_string())?;
        for key in ["Waste", "WastedBytes", "AddedBytes", "Layers", "Efficiency", "SetId", "Id"] {
            equal(&found[key], &stored[key], &format!("{format} {place} {key}"))?;
        }
    }
    let missing = finish(environment.command(&scratch.store()).args(["analyze", "./no-such-file"]))?;
    expect_failure(&missing, 2, &["cannot open `./no-such-file`"])?;
    let unknown = finish(environment.command(&scratch.store()).args(["analyze", "no-such-image"]))?;
    expect_failure(&unknown, 2, &["no such image", "docker://NAME"])
}

/// 1 MB of 4 is replaced by a layer of the same size.
fn replaced(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/a/d/file", vec![1; MB])?;
    scratch.write("context/b/d/file", vec![2; MB])?;
    scratch.write("context/c/d/other", vec![3; 2 * MB])?;
    build(environment, &scratch, "FROM scratch\nCOPY a /\nCOPY b /\nCOPY c /\n")?;
    Ok(scratch)
}

fn limits(environment: &Environment) -> Outcome {
    let scratch = replaced(environment)?;
    scratch.write(
        "kept",
        "rules:\n  lowestEfficiency: 0.75\n  highestWastedBytes: 1MB\n  highestUserWastedPercent: 0.34\n",
    )?;
    scratch.write("broken", "rules:\n  highestUserWastedPercent: 0.33\n")?;
    scratch.write("wrong", "rules:\n  highestWasted: 1\n")?;
    let (kept, broken, wrong) = (scratch.at("kept"), scratch.at("broken"), scratch.at("wrong"));
    for (arguments, complaint) in [
        (vec!["--min-efficiency", "0.75"], None),
        (vec!["--min-efficiency", "0.76"], Some("an efficiency of 0.7500 is below the limit of 0.76")),
        (vec!["--max-wasted", "1MB"], None),
        (vec!["--max-wasted", "999kB"], Some("1.00MB wasted are more than the limit of 999kB")),
        (vec!["--max-wasted-percent", "25"], None),
        (vec!["--max-wasted-percent", "24"], Some("25.00 % wasted are more than the limit of 24.00 %")),
        (vec!["--ci-config", &kept], None),
        (vec!["--ci-config", &broken], Some("33.33 % of the bytes above the first layer")),
        (vec!["--ci-config", &kept, "--min-efficiency", "0.8"], Some("below the limit of 0.8")),
    ] {
        let finished = finish(environment.command(&scratch.store()).arg("analyze").args(&arguments).arg("app:1"))?;
        match complaint {
            None => check(finished.code == Some(0), || format!("{arguments:?}: {}", finished.stderr))?,
            Some(complaint) => expect_failure(&finished, 1, &[complaint])?,
        }
    }
    let refused = finish(environment.command(&scratch.store()).args(["analyze", "--ci-config", &wrong, "app:1"]))?;
    expect_failure(&refused, 2, &["line 2", "there is no rule `highestWasted`"])
}

fn trees(environment: &Environment) -> Outcome {
    let scratch = replaced(environment)?;
    let tree = |arguments: &[&str]| -> Result<String, String> {
        let text = analyze(environment, &scratch, &[arguments, &["app:1"]].concat())?;
        let start = text.find("Files of").ok_or_else(|| text.clone())?;
        Ok(format!("{}\n", &text[start..]))
    };
    let all = "Files of the image:\n  3.00MB  └─ d/  (2 files)\n  2.00MB     ├─ other\n  1.00MB     └─ file\n";
    equal(&tree(&[])?.as_str(), &all, "the image")?;
    equal(&tree(&["--depth", "1"])?.as_str(), &"Files of the image:\n  3.00MB  └─ d/  (2 files)\n", "one level")?;
    let second = "Files of layer 2:\n  1.00MB  └─ d/\n  1.00MB     └─ file\n";
    equal(&tree(&["--layer", "2"])?.as_str(), &second, "a layer")?;
    let wasted =
        "Files of layers that are not in the image:\n  1.00MB  └─ d/\n  1.00MB     └─ file  (replaced, layer 1 by 2)\n";
    equal(&tree(&["--wasted"])?.as_str(), &wasted, "what is wasted")?;
    let none = analyze(environment, &scratch, &["--depth", "0", "app:1"])?;
    check(!none.contains("Files of"), || none.clone())?;
    let missing = finish(environment.command(&scratch.store()).args(["analyze", "--layer", "4", "app:1"]))?;
    expect_failure(&missing, 2, &["the image has 3 layers, not 4"])
}

fn findings(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let dockerfile = "FROM busybox\n\
        RUN mkdir -p /var/lib/apt/lists /root/.cache/pip && head -c 5000 /dev/zero > /var/lib/apt/lists/a && \
        head -c 700 /dev/zero > /root/.cache/pip/b && cp /bin/busybox /su && chmod 4755 /su\n";
    build(environment, &scratch, dockerfile)?;
    let document = document(environment, &scratch, "app:1")?;
    let caches: Vec<Value> = document["PackageCaches"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|cache| json!([cache["Name"], cache["Directory"], cache["Bytes"], cache["Useless"]]))
        .collect();
    let expected =
        vec![json!(["apt lists", "/var/lib/apt/lists", 5000, true]), json!(["pip", "/root/.cache/pip", 700, true])];
    equal(&caches, &expected, "the caches")?;
    let set_id: Vec<Value> = document["SetId"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|file| file["Path"] == "/su")
        .map(|file| json!([file["Mode"], file["Uid"]]))
        .collect();
    equal(&set_id, &vec![json!(["4755", 0])], "setuid")
}

fn built(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<String, String> {
    let mut command = environment.build(&scratch.store());
    command.args(arguments).arg(scratch.at("context"));
    succeed(&mut command).map(|finished| finished.stderr)
}

/// The lines that tell of layers.
fn told(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.starts_with("layers ") || line.starts_with("warning[layer")).collect()
}

fn builds(environment: &Environment) -> Outcome {
    let scratch = wasteful(environment)?;
    let expected = [
        "layers BASE base image, 3.00MB COPY on line 2, 2.00MB COPY on line 3, 1.00MB COPY on line 4, 4.00MB COPY on line 5, \
         2.00MB RUN on line 7",
        "warning[layer-waste]: `rm` deletes 3.00MB (`/deleted`) that stay in the layer of line 2; delete them in the \
         instruction that writes them, or write them in another stage and copy the result (Dockerfile:6)",
        "warning[layer-chown-copy]: `chown` stores 2.00MB a second time (1 file), with another owner or mode; use \
         `COPY --chown=...` where the files are stored first (Dockerfile:7)",
        "warning[layer-waste]: `RUN` replaces 1.00MB (`/replaced`) that stay in the layer of line 4; write them once, \
         or write them in another stage and copy the result (Dockerfile:8)",
    ];
    // The second build finds everything in the cache, measurements too; the third does not measure less for it.
    for arguments in [&[] as &[&str], &[], &["--no-cache"]] {
        let stderr = built(environment, &scratch, arguments)?;
        let mut told: Vec<String> = told(&stderr).into_iter().map(str::to_owned).collect();
        // How large the base is depends on this machine.
        let line = told.first().ok_or_else(|| stderr.clone())?;
        let (base, _) = line.trim_start_matches("layers ").split_once(' ').ok_or_else(|| stderr.clone())?;
        told[0] = line.replace(base, "BASE");
        equal(&told, &expected.map(str::to_owned).to_vec(), &format!("{arguments:?}"))?;
    }
    let suppressed = WASTEFUL.replace("RUN chown", "# bake: ignore=layer-chown-copy\nRUN chown");
    scratch.write("context/Dockerfile", suppressed)?;
    let stderr = built(environment, &scratch, &[])?;
    check(!stderr.contains("layer-chown-copy") && stderr.contains("layer-waste"), || stderr.clone())?;

    scratch.write("context/.bake-lint.toml", "ignore = [\"layer-waste\"]\n")?;
    let stderr = built(environment, &scratch, &[])?;
    check(told(&stderr).len() == 1, || stderr.clone())?;

    let good = environment.scratch()?;
    good.write("context/Dockerfile", "FROM busybox\nRUN echo a > /a\nRUN rm /a\n")?;
    let stderr = built(environment, &good, &[])?;
    equal(&told(&stderr), &Vec::new(), "a small build")
}

fn programs(environment: &Environment) -> Outcome {
    let scratch = wasteful(environment)?;
    let metadata = scratch.at("metadata.json");
    let stderr = built(environment, &scratch, &["--progress", "quiet", "--metadata-file", &metadata])?;
    equal(&stderr.as_str(), &"", "a quiet build")?;
    let metadata: Value = serde_json::from_str(&scratch.read("metadata.json")?).map_err(|error| error.to_string())?;
    let measured = &metadata["bake.measure"];
    equal(&measured["wastedBytes"], &json!(6 * MB), "wasted bytes")?;
    equal(&measured["baseMeasured"], &json!(true), "the base")?;
    let layers = measured["layers"].as_array().cloned().unwrap_or_default();
    let first = json!({ "line": 2, "instruction": "COPY", "addedBytes": 3 * MB, "hiddenBytes": 3 * MB });
    equal(&layers.get(1), &Some(&first), "the first instruction")?;
    let mut command = environment.build(&scratch.store());
    let finished = succeed(command.args(["--progress", "rawjson"]).arg(scratch.at("context")))?;
    let warnings: Vec<Value> = finished
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|status| status["warnings"].as_array().cloned())
        .flatten()
        .collect();
    let lines: Vec<&Value> = warnings.iter().map(|warning| &warning["range"][0]["start"]["line"]).collect();
    equal(&lines, &vec![&json!(6), &json!(7), &json!(8)], "the lines of warnings")
}

fn bases(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("context/file", vec![7; 2 * MB])?;
    scratch.write("context/other", vec![8; 3 * MB])?;
    let dockerfile = "FROM busybox AS first\n\
        COPY --link file /linked\n\
        COPY other /other\n\
        FROM first\n\
        RUN true && rm /linked\n\
        RUN rm /bin/busybox\n";
    scratch.write("context/Dockerfile", dockerfile)?;
    let stderr = built(environment, &scratch, &[])?;
    let told = told(&stderr);
    check(
        told.iter().any(|line| {
            line.contains("`rm` deletes 2.00MB")
                && line.contains("layer of line 2;")
                && line.ends_with("(Dockerfile:5)")
        }),
        || stderr.clone(),
    )?;
    check(
        told.iter().any(|line| line.contains("that stay in the base image;") && line.ends_with("(Dockerfile:6)")),
        || stderr.clone(),
    )
}

fn linter(environment: &Environment) -> Outcome {
    let scratch = wasteful(environment)?;
    let lint = |store: &str, arguments: &[&str], flags: &[&str]| {
        let mut command = environment.command(&scratch.path().join(store));
        command.args(["lint", "--measure"]).args(arguments).arg("--").args(environment.base_flags()).args(flags);
        finish(command.arg(scratch.at("context")))
    };
    let file = &*scratch.at("context/Dockerfile");
    // With everything in the cache, and in a store where nothing is.
    for store in ["store", "other"] {
        let finished = lint(store, &["--format", "json", file], &["--progress", "quiet"])?;
        equal(&finished.code, &Some(1), "exit code")?;
        let findings: Value = serde_json::from_str(&finished.text()).map_err(|error| error.to_string())?;
        let told: Vec<Value> = findings
            .as_array()
            .into_iter()
            .flatten()
            .filter(|finding| finding["rule"].as_str().is_some_and(|rule| rule.starts_with("layer-")))
            .map(|finding| json!([finding["rule"], finding["line"], finding["column"], finding["bytes"]]))
            .collect();
        let expected = vec![
            json!(["layer-waste", 6, 5, 3 * MB]),
            json!(["layer-chown-copy", 7, 5, 2 * MB]),
            json!(["layer-waste", 8, 1, MB]),
        ];
        equal(&told, &expected, "findings")?;
        let rows: Vec<Vec<&str>> = finished.stderr.lines().map(|line| line.split_whitespace().collect()).collect();
        check(rows.contains(&vec!["2", "COPY", "3.00MB", "3.00MB"]), || finished.stderr.clone())?;
        check(rows.contains(&vec!["5", "COPY", "4.00MB", "-"]), || finished.stderr.clone())?;
    }
    // Nothing was made but results: no image has a name.
    let images = succeed(environment.command(&scratch.path().join("other")).args(["images", "-q"]))?.text();
    equal(&images.as_str(), &"", "images")?;
    let plain = finish(environment.command(&scratch.store()).args(["lint", "--format", "json", file]))?;
    check(!plain.text().contains("layer-"), || plain.text())?;
    let ignored = lint("store", &["--select", "layer-waste", "--ignore", "layer-waste", file], &[])?;
    equal(&ignored.code, &Some(0), "exit code")?;
    for (arguments, flags, words) in [
        (&[file] as &[&str], &["--push"] as &[&str], "`--push` has no meaning"),
        (&[file], &["--no-such-flag"], "arguments of `bake build`"),
        (&[file, file], &[], "one Dockerfile"),
        (&["-"], &[], "one Dockerfile"),
        (&["--fix", file], &[], "cannot be used with"),
    ] {
        expect_failure(&lint("store", arguments, flags)?, 2, &[words])?;
    }
    scratch.write("context/Dockerfile", "FROM busybox\nRUN exit 3\n")?;
    expect_failure(&lint("store", &[file], &[])?, 1, &["exit"])
}

/// 30 MB are read, 20 MB by nobody, nor is the Dockerfile.
const UNREAD: &str = "FROM busybox AS build\n\
    WORKDIR /src\n\
    COPY . .\n\
    RUN ln -s /src/unused/two /alias && wc -c used/* > /out\n\
    FROM scratch\n\
    COPY --from=build /out /\n";

fn with_unread(environment: &Environment) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    for (name, content) in [("used/a", 1), ("used/b", 2), ("used/c", 3), ("unused/deps/one", 4), ("unused/two", 5)] {
        scratch.write(&format!("context/{name}"), vec![content; 10 * MB])?;
    }
    scratch.write("context/Dockerfile", UNREAD)?;
    Ok(scratch)
}

/// What a build tells of copies that nobody reads.
fn told_unread(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<Vec<String>, String> {
    let stderr = built(environment, scratch, arguments)?;
    Ok(stderr.lines().filter(|line| line.contains("[copy-unread]")).map(str::to_owned).collect())
}

fn line_of_unread(bytes: &str, files: &str) -> Vec<String> {
    vec![format!(
        "warning[copy-unread]: of the files that `COPY` copies, {bytes} ({files}`) are read by no later step; list them in \
         `.dockerignore`, or copy only what is needed; `bake trace STEP` lists what a step reads (Dockerfile:3)"
    )]
}

fn unread(environment: &Environment) -> Outcome {
    let scratch = with_unread(environment)?;
    let told = |arguments: &[&str]| told_unread(environment, &scratch, arguments);
    let expected = line_of_unread("20.0MB", "3 of 6 files, the largest part `/src/unused");
    // A result is for whoever gets it.
    equal(&told(&["--target", "build"])?, &Vec::new(), "where the copy is part of the result")?;
    // The step is found in the cache, and what it read in what is kept of its run.
    equal(&told(&[])?, &expected, "after a build that ran the step")?;
    equal(&told(&[])?, &expected, "where everything is cached")?;
    equal(&told(&["--no-cache"])?, &expected, "where the step runs again")?;
    scratch.write("context/unused/two", vec![6; 20 * MB])?;
    let larger = line_of_unread("30.0MB", "3 of 6 files, the largest part `/src/unused");
    equal(&told(&[])?, &larger, "where the step is found by what it read")?;
    equal(&told(&["--trace-run=off"])?, &Vec::new(), "where nothing is to be recorded")?;

    let file = scratch.at("context/Dockerfile");
    let mut command = environment.command(&scratch.store());
    command.args(["lint", "--measure", "--format", "json", &file, "--"]).args(environment.base_flags());
    let finished = finish(command.args(["--progress", "quiet"]).arg(scratch.at("context")))?;
    let findings: Value = serde_json::from_str(&finished.text()).map_err(|error| error.to_string())?;
    let of_rule = findings.as_array().into_iter().flatten().find(|finding| finding["rule"] == "copy-unread");
    let finding = of_rule.ok_or_else(|| finished.text())?;
    let bytes = 30 * MB + UNREAD.len();
    equal(&json!([finding["line"], finding["column"], finding["bytes"]]), &json!([3, 1, bytes]), "the linter")?;
    scratch.write("context/Dockerfile", UNREAD.replace("COPY .", "# bake: ignore=copy-unread\nCOPY ."))?;
    equal(&told(&[])?, &Vec::new(), "where a comment hides it")?;
    scratch.write("context/Dockerfile", UNREAD.replace("COPY . .", "COPY used used"))?;
    equal(&told(&[])?, &Vec::new(), "where all is read")
}

fn perhaps_read(environment: &Environment) -> Outcome {
    let scratch = with_unread(environment)?;
    let last = "FROM scratch\n";
    let more: Vec<String> = (0..16).map(|number| format!("COPY Dockerfile /more/{number}\n")).collect();
    let filling = "FROM busybox AS filled\n\
        RUN --mount=type=cache,readonly,from=build,source=/src,target=/cache cat /cache/unused/two > /two\n\
        FROM scratch\nCOPY --from=filled /two /\n";
    for (dockerfile, what) in [
        (UNREAD.replace("RUN ", &format!("{}RUN ", more.concat())), "more copies than are watched"),
        (UNREAD.replace(last, filling), "a cache mount that is filled with them"),
        (UNREAD.replace("RUN ", "# bake: trace=off\nRUN "), "a step that is not traced"),
        (UNREAD.replace(last, &format!("# bake: trace=off\nRUN true\n{last}")), "a second one that is not traced"),
        (UNREAD.replace("RUN ", "RUN --mount=type=cache,target=/cache "), "a step with a cache mount"),
        (UNREAD.replace("FROM scratch", "FROM build"), "an image that has the files"),
        (
            UNREAD.replace(last, &format!("FROM build AS test\nRUN cat unused/*\n{last}")),
            "a stage that is not built and may read them",
        ),
    ] {
        scratch.write("context/Dockerfile", dockerfile)?;
        equal(&told_unread(environment, &scratch, &[])?, &Vec::new(), what)?;
    }
    // A step that ran without being recorded.
    let other = with_unread(environment)?;
    built(environment, &other, &["--trace-run=off"])?;
    equal(&told_unread(environment, &other, &[])?, &Vec::new(), "a step of which no trace is kept")?;
    // A stage that has nothing to do with them does not matter.
    scratch.write("context/Dockerfile", UNREAD.replace(last, &format!("FROM busybox AS test\nRUN true\n{last}")))?;
    let told = told_unread(environment, &scratch, &[])?;
    equal(&told, &line_of_unread("20.0MB", "3 of 6 files, the largest part `/src/unused"), "another stage")
}

fn taken(environment: &Environment) -> Outcome {
    let scratch = with_unread(environment)?;
    let mounting = |source: &str, path: &str| {
        format!(
            "{}COPY --from=reader /read /\n",
            UNREAD.replace(
                "FROM scratch\n",
                &format!(
                    "FROM busybox AS reader\nRUN --mount=type=bind,from=build,source={source},target=/t cat {path} > /read\n\
                     FROM scratch\n"
                )
            )
        )
    };
    let rest = || line_of_unread("10.0MB", "2 of 6 files, the largest part `/src/unused/deps");
    for (dockerfile, expected, what) in [
        (format!("{UNREAD}COPY --from=build /src /all\n"), Vec::new(), "all of it"),
        (format!("{UNREAD}COPY --from=build /src/un* /some/\n"), Vec::new(), "a pattern"),
        (format!("{UNREAD}COPY --from=build /src/unused/two /\n"), rest(), "a file"),
        (format!("{UNREAD}COPY --from=build /alias /\n"), rest(), "a link"),
        (mounting("/src/unused", "/t/two"), rest(), "a mount"),
        (mounting("/src", "/t/unused/two /t/unused/deps/*"), Vec::new(), "a mount of which all is read"),
    ] {
        scratch.write("context/Dockerfile", dockerfile)?;
        equal(&told_unread(environment, &scratch, &[])?, &expected, what)?;
    }
    Ok(())
}

fn targets(environment: &Environment) -> Outcome {
    let scratch = with_unread(environment)?;
    let stages = "FROM build AS testing\nRUN cat unused/two > /tested\nFROM scratch AS test\nCOPY --from=testing /tested /\n\
                  FROM scratch\n";
    scratch.write("context/Dockerfile", UNREAD.replace("FROM scratch\n", stages))?;
    let base = environment.base("busybox");
    let file = format!(
        "target \"base\" {{\n  context = \"context\"\n  contexts = {{ busybox = \"oci-layout://{}\" }}\n}}\n\
         target \"test\" {{\n  inherits = [\"base\"]\n  target = \"test\"\n}}\n\
         target \"app\" {{\n  inherits = [\"base\"]\n}}\n",
        base.display()
    );
    scratch.write("docker-bake.hcl", file)?;
    let told = |targets: &[&str]| -> Result<Vec<String>, String> {
        let mut command = environment.command(&scratch.store());
        command.current_dir(scratch.path()).args(["up", "--progress", "plain"]).args(targets);
        let lines = succeed(&mut command)?.stderr;
        Ok(lines.lines().filter(|line| line.contains("[copy-unread]")).map(str::to_owned).collect())
    };
    equal(&told(&["app"])?, &Vec::new(), "without the target that may read the rest")?;
    // Both have the stage; that is told once.
    let told = told(&["app", "test"])?;
    let expected = "10.0MB (2 of 6 files, the largest part `/src/unused/deps`)";
    check(told.len() == 1 && told.iter().all(|line| line.contains(expected)), || told.join("\n"))
}
