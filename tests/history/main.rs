//! Past builds: what is recorded of them, `bake history`, and the page about a build.

mod browser;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

use self::browser::{Browser, View};

const TESTS: &[Test] = &[
    ("a_build_is_listed_inspected_and_removed", &[], listed),
    ("what_steps_used_and_needed_is_recorded", &[], recorded),
    ("what_steps_wrote_is_kept_and_pruned", &[], logs),
    ("long_output_keeps_its_beginning_and_its_end", &[], long_output),
    ("builds_that_fail_anywhere_are_recorded", &[], failures),
    ("a_report_is_written_for_any_end", &[], reports),
    ("a_report_that_cannot_be_written_stops_the_build_before_it_begins", &[], unwritable),
    ("a_page_is_opened_by_the_browser_of_the_user", &[], opened),
    ("a_step_that_is_called_like_markup_stays_text", &[], hostile),
    ("an_image_may_be_called_like_a_command", &[], image_names),
    ("traces_have_the_form_that_programs_read", &[], traces),
    ("builds_at_the_same_time_do_not_mix", &[], at_once),
    ("a_killed_build_leaves_a_sound_history", &[], killed),
    ("an_interrupted_build_is_recorded", &[], interrupted),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let environment = match Environment::new() {
        Ok(environment) => Arc::new(environment),
        Err(problem) => return support::failed_to_start(&problem),
    };
    let mut trials: Vec<Trial> = support::trials(TESTS, &environment);
    let obstacle = environment.obstacle(&[]).or_else(browser::missing);
    trials.push(support::trial("a_browser_shows_reports_in_any_width_and_colour", obstacle, move || {
        looked_at(&environment)
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

const DOCKERFILE: &str = "FROM busybox AS tools\n\
    RUN echo made > /tool\n\
    FROM busybox\n\
    COPY file /file\n\
    RUN i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo counted; echo to stderr >&2\n\
    COPY --from=tools /tool /tool\n";

fn project(environment: &Environment, dockerfile: &str) -> Result<Scratch, String> {
    let scratch = environment.scratch()?;
    scratch.write("context/Dockerfile", dockerfile)?;
    scratch.write("context/file", "1")?;
    Ok(scratch)
}

fn build(environment: &Environment, scratch: &Scratch, flags: &[&str]) -> Result<String, String> {
    succeed(environment.build(&scratch.store()).args(flags).arg(scratch.at("context"))).map(|finished| finished.stderr)
}

fn command(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Command {
    let mut command = environment.command(&scratch.store());
    command.arg("history").args(arguments);
    command
}

/// What `bake history` writes to standard output.
fn history(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<String, String> {
    let finished = succeed(&mut command(environment, scratch, arguments))?;
    String::from_utf8(finished.stdout).map_err(|error| error.to_string())
}

fn json(environment: &Environment, scratch: &Scratch, arguments: &[&str]) -> Result<Value, String> {
    let text = history(environment, scratch, arguments)?;
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

/// The step of a record with this text in its name.
fn step<'a>(record: &'a Value, text: &str) -> Result<&'a Value, String> {
    let mut steps = record["steps"].as_array().into_iter().flatten();
    steps
        .find(|step| step["name"].as_str().is_some_and(|name| name.contains(text)))
        .ok_or_else(|| format!("no step has `{text}`: {record}"))
}

fn contains(text: &str, words: &[&str]) -> Outcome {
    words.iter().try_for_each(|word| check(text.contains(word), || format!("`{word}` is not in: {text}")))
}

fn listed(environment: &Environment) -> Outcome {
    let scratch = project(environment, DOCKERFILE)?;
    equal(&history(environment, &scratch, &["ls", "-q"])?, &String::new(), "no store")?;
    expect_failure(&finish(&mut command(environment, &scratch, &["inspect"]))?, 1, &["nothing was built"])?;
    build(environment, &scratch, &["-t", "app:1"])?;
    build(environment, &scratch, &["-t", "app:2"])?;
    let table = history(environment, &scratch, &["ls"])?;
    contains(&table, &["BUILD ID", "DURATION", "2          app:2", "Completed", "4 (4 cached)"])?;
    let rows = history(environment, &scratch, &["ls", "--format", "json", "--filter", "name=app:2"])?;
    let row: Value = serde_json::from_str(&rows).map_err(|error| format!("{error}: {rows}"))?;
    equal(&(&row["ref"], &row["status"]), &(&"2".into(), &"Completed".into()), "row")?;
    equal(&(&row["total_steps"], &row["cached_steps"]), &(&4.into(), &4.into()), "steps")?;
    let format = ["ls", "--format", "{{.Ref}} {{.Status}}", "--filter", "duration<1h"];
    equal(&history(environment, &scratch, &format)?, &"2 Completed\n1 Completed\n".to_owned(), "template")?;
    let unknown = finish(&mut command(environment, &scratch, &["ls", "--filter", "stats=error"]))?;
    expect_failure(&unknown, 2, &["no filter `stats`", "did you mean `status`?"])?;

    for wanted in ["2", "^0", "bake/bake/2"] {
        let text = history(environment, &scratch, &["inspect", wanted])?;
        contains(&text, &["Build:         2\n", "Status:        Completed", "4 cached", "Digest:        sha256:"])?;
    }
    let name = history(environment, &scratch, &["inspect", "^1", "--format", "{{.name}} {{.result}}"])?;
    equal(&name, &"app:1 succeeded\n".to_owned(), "template")?;
    expect_failure(&finish(&mut command(environment, &scratch, &["inspect", "^2"]))?, 1, &["there is no build ^2"])?;
    expect_failure(&finish(&mut command(environment, &scratch, &["inspect", "x"]))?, 2, &["`x` is no build"])?;

    // Nothing is removed where one of them is not there.
    expect_failure(&finish(&mut command(environment, &scratch, &["rm", "1", "9"]))?, 1, &["there is no build 9"])?;
    history(environment, &scratch, &["rm", "1"])?;
    equal(&history(environment, &scratch, &["ls", "-q"])?, &"2\n".to_owned(), "left")?;
    history(environment, &scratch, &["rm", "--all"])?;
    equal(&history(environment, &scratch, &["ls", "-q"])?, &String::new(), "all gone")
}

fn recorded(environment: &Environment) -> Outcome {
    let scratch = project(environment, DOCKERFILE)?;
    build(environment, &scratch, &["-t", "app", "-o", &format!("type=oci,dest={}", scratch.at("out.tar"))])?;
    let record = json(environment, &scratch, &["inspect", "--format", "json"])?;
    let count = step(&record, "RUN i=0")?;
    let usage = &count["usage"];
    check(usage["processor_us"].as_u64() > Some(1000), || format!("processor time: {usage}"))?;
    check(usage["memory_peak_bytes"].as_u64() > Some(100_000), || format!("memory: {usage}"))?;
    check(["all-processes", "largest-process"].contains(&usage["memory_of"].as_str().unwrap_or("")), || {
        usage.to_string()
    })?;
    check(usage["layer_bytes"].as_u64() == Some(0), || format!("the layer holds no files: {usage}"))?;
    let (began, ended) = (count["began_us"].as_u64().unwrap_or(0), count["ended_us"].as_u64().unwrap_or(0));
    check(began > 0 && ended > began + 1000, || format!("times: {count}"))?;
    equal(&count["line"], &5.into(), "line")?;
    let copy = step(&record, "COPY --from=tools")?;
    let needed: Vec<&str> = copy["inputs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|place| record["steps"][usize::try_from(place.as_u64()?).ok()?]["name"].as_str())
        .collect();
    check(needed.iter().any(|name| name.contains("RUN echo made")), || format!("{needed:?}"))?;
    check(needed.iter().any(|name| name.contains("RUN i=0")), || format!("{needed:?}"))?;
    equal(&step(&record, "FROM busybox")?["kind"], &"source".into(), "kind of a source")?;
    equal(&step(&record, "exporting to an OCI layout")?["kind"], &"activity".into(), "kind of an export")?;
    check(record["machine"]["processors"].as_u64() > Some(0), || record["machine"].to_string())?;
    let layers = record["images"][0]["layers"].as_array().map_or(0, Vec::len);
    check(layers >= 3, || format!("layers: {}", record["images"][0]))?;
    check(record["images"][0]["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), || {
        record["images"][0].to_string()
    })?;
    // `bake why` is about steps of the Dockerfile alone.
    let why = succeed(environment.command(&scratch.store()).args(["why", "--all", "--format", "json"]))?.text();
    let why: Value = serde_json::from_str(&why).map_err(|error| format!("{error}: {why}"))?;
    equal(&why["steps"].as_array().map(Vec::len), &Some(4), "steps of bake why")
}

fn logs(environment: &Environment) -> Outcome {
    let dockerfile = "FROM busybox\nRUN printf '\\033[31mred\\033[0m\\n10%%\\r99%%\\n'; echo two >&2\nRUN echo three\n";
    let scratch = project(environment, dockerfile)?;
    build(environment, &scratch, &[])?;
    let text = history(environment, &scratch, &["logs"])?;
    contains(&text, &["#2 red\n#2 99%\n#2 two\n", "#3 three\n"])?;
    check(!text.contains('\u{1b}'), || format!("{text:?}"))?;
    equal(&history(environment, &scratch, &["logs", "--step", "three"])?, &"three\n".to_owned(), "one step")?;
    let raw = history(environment, &scratch, &["logs", "1", "--step", "2", "--raw"])?;
    equal(&raw, &"\u{1b}[31mred\u{1b}[0m\n10%\r99%\ntwo\n".to_owned(), "raw")?;
    let exported = json(environment, &scratch, &["export"])?;
    equal(&step(&exported, "echo three")?["output"], &"three\n".into(), "output in an export")?;

    // A step that is cached wrote nothing in that build.
    build(environment, &scratch, &[])?;
    equal(&history(environment, &scratch, &["logs"])?, &String::new(), "a cached build")?;
    let cached = finish(&mut command(environment, &scratch, &["logs", "--step", "three"]))?;
    expect_failure(&cached, 1, &["the step was cached"])?;
    let absent = finish(&mut command(environment, &scratch, &["logs", "--step", "four"]))?;
    expect_failure(&absent, 2, &["no step of the build contains `four`", "bake history inspect"])?;

    let used = succeed(environment.command(&scratch.store()).arg("df"))?.text();
    let row = used.lines().find(|line| line.starts_with("Build logs")).unwrap_or_default();
    check(row.contains(" 1 "), || used.clone())?;
    succeed(environment.command(&scratch.store()).args(["prune", "--force"]))?;
    history(environment, &scratch, &["logs", "1"])?;
    succeed(environment.command(&scratch.store()).args(["prune", "--all", "--force"]))?;
    let gone = finish(&mut command(environment, &scratch, &["logs", "1"]))?;
    expect_failure(&gone, 1, &["is not kept any more"])?;
    contains(&history(environment, &scratch, &["export", "--format", "html", "1"])?, &["is not kept any more"])
}

fn long_output(environment: &Environment) -> Outcome {
    let dockerfile = "FROM busybox\nRUN echo the beginning; yes 'a line of forty characters for everybody.' | head -c 9000000; echo; echo the end\n";
    let scratch = project(environment, dockerfile)?;
    let finished =
        succeed(environment.build(&scratch.store()).args(["--progress", "quiet"]).arg(scratch.at("context")))?;
    check(finished.stderr.is_empty(), || finished.stderr.clone())?;
    let text = history(environment, &scratch, &["logs", "--step", "2"])?;
    check(text.starts_with("the beginning\na line"), || text.chars().take(80).collect())?;
    check(text.ends_with("\nthe end\n"), || text.chars().rev().take(80).collect())?;
    contains(&text, &["bytes left out ...]\n"])?;
    check(text.len() < 4_300_000 && text.len() > 4_100_000, || format!("{} bytes", text.len()))?;
    let page = history(environment, &scratch, &["export", "--format", "html"])?;
    check(page.len() < 400_000, || format!("a page of {} bytes", page.len()))?;
    contains(&page, &["This is the end of it", "the end\n"])?;
    let kept = std::fs::metadata(scratch.store().join("builds/1")).map_err(|error| error.to_string())?.len();
    check(kept < 100_000, || format!("{kept} bytes are kept"))
}

fn failures(environment: &Environment) -> Outcome {
    let scratch = project(environment, "FROM busybox\nRUN echo said before; exit 7\nRUN echo never\n")?;
    let finished = finish(environment.build(&scratch.store()).arg(scratch.at("context")))?;
    expect_failure(&finished, 1, &["exit code: 7"])?;
    contains(&history(environment, &scratch, &["ls", "--filter", "status=error"])?, &["Error"])?;
    let record = json(environment, &scratch, &["inspect", "--format", "json"])?;
    check(record["error"].as_str().is_some_and(|error| error.contains("exit code: 7")), || record.to_string())?;
    equal(&step(&record, "exit 7")?["outcome"], &"failed".into(), "the step that failed")?;
    equal(&step(&record, "never")?["outcome"], &"not-reached".into(), "the step after it")?;
    contains(
        &history(environment, &scratch, &["logs"])?,
        &["#2 said before\n", "#2 ERROR: process", "exit code: 7\n"],
    )?;
    // Before there are steps.
    for (dockerfile, error) in [
        ("FROM busybox\nRNU echo\n", "RNU"),
        ("FROM registry.invalid/nothing/like:this\nRUN echo\n", "registry.invalid"),
    ] {
        scratch.write("context/Dockerfile", dockerfile)?;
        finish(environment.build(&scratch.store()).arg(scratch.at("context")))?;
        let record = json(environment, &scratch, &["inspect", "--format", "json"])?;
        equal(&record["result"], &"failed".into(), "result")?;
        check(record["error"].as_str().is_some_and(|text| text.contains(error)), || record.to_string())?;
    }
    equal(&history(environment, &scratch, &["ls", "-q"])?, &"3\n2\n1\n".to_owned(), "all of them")
}

fn reports(environment: &Environment) -> Outcome {
    let scratch = project(environment, DOCKERFILE)?;
    let path = scratch.at("report.html");
    build(environment, &scratch, &["-t", "app:1", "--report", &path])?;
    let page = scratch.read("report.html")?;
    contains(
        &page,
        &[
            "<!DOCTYPE html>",
            "✓ Succeeded",
            "app:1",
            "nothing like it was built here before",
            "counted\nto stderr\n",
            "sha256:",
        ],
    )?;
    check(page.len() < 60_000, || format!("{} bytes", page.len()))?;
    equal(&history(environment, &scratch, &["export", "--format", "html"])?, &page, "the page of an export")?;

    scratch.write("context/file", "2")?;
    build(environment, &scratch, &["-t", "app:1", "--report", &path])?;
    contains(&scratch.read("report.html")?, &["why: file changed", "1 cached"])?;

    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo 'what it said'; exit 9\n")?;
    let failed = finish(environment.build(&scratch.store()).args(["--report", &path]).arg(scratch.at("context")))?;
    expect_failure(&failed, 1, &["exit code: 9"])?;
    contains(&scratch.read("report.html")?, &["✗ Failed", "What went wrong", "exit code: 9", "what it said\n"])?;

    scratch.write("context/Dockerfile", "FROM busybox\nRNU echo\n")?;
    finish(environment.build(&scratch.store()).args(["--report", &path]).arg(scratch.at("context")))?;
    contains(&scratch.read("report.html")?, &["✗ Failed", "RNU"])
}

fn unwritable(environment: &Environment) -> Outcome {
    let scratch = project(environment, DOCKERFILE)?;
    for (path, words) in [
        (scratch.at("nowhere/report.html"), "No such file or directory"),
        (scratch.at("context"), "not a regular file"),
    ] {
        let finished =
            finish(environment.build(&scratch.store()).args(["--report", &path]).arg(scratch.at("context")))?;
        expect_failure(&finished, 1, &["cannot write the report", words])?;
        check(!finished.stderr.contains("RUN"), || finished.stderr.clone())?;
    }
    let finished = finish(environment.build(&scratch.store()).args(["--report", "-"]).arg(scratch.at("context")))?;
    expect_failure(&finished, 2, &["`--report` writes to a file"])
}

fn opened(environment: &Environment) -> Outcome {
    let scratch = project(environment, DOCKERFILE)?;
    build(environment, &scratch, &[])?;
    let cache = scratch.at("cache");
    let mut without = command(environment, &scratch, &["open"]);
    let shown = succeed(without.env("XDG_CACHE_HOME", &cache))?.text();
    let page = PathBuf::from(shown.trim());
    equal(&page, &scratch.path().join("cache/bake/build-1.html"), "the path")?;
    contains(&scratch.read("cache/bake/build-1.html")?, &["✓ Succeeded"])?;
    let browser = format!("cp -t {}", scratch.at(""));
    let mut with = command(environment, &scratch, &["open", "1"]);
    succeed(with.env("XDG_CACHE_HOME", &cache).env("BROWSER", browser))?;
    contains(&scratch.read("build-1.html")?, &["✓ Succeeded"])?;
    let mut broken = command(environment, &scratch, &["open"]);
    let finished = finish(broken.env("XDG_CACHE_HOME", &cache).env("BROWSER", "false"))?;
    expect_failure(&finished, 1, &["`false` cannot open the page"])
}

/// What a step may write and be called to get out of its place.
const HOSTILE: &str = "FROM busybox\n\
    RUN echo '</pre></details></script><script>alert(1)</script><img src=x onerror=alert(2)>' && printf '\\000\\033]0;x\\007\\033[31m<i>\\n'\n\
    RUN : '\" onmouseover=\"alert(3)' && echo '&lt;'\n";

fn hostile(environment: &Environment) -> Outcome {
    let scratch = project(environment, HOSTILE)?;
    build(environment, &scratch, &["--report", &scratch.at("report.html"), "--target", "0"])?;
    let page = scratch.read("report.html")?;
    for word in ["<script", "<img", "<i>", "onmouseover=\"", "\u{0}", "\u{1b}"] {
        check(!page.contains(word), || format!("{word:?} is in the page"))?;
    }
    contains(&page, &["&lt;/script&gt;&lt;script&gt;alert(1)", "&amp;lt;", "default-src &#39;none&#39;"])
}

fn image_names(environment: &Environment) -> Outcome {
    let scratch = project(environment, DOCKERFILE)?;
    build(environment, &scratch, &["-t", "ls:latest"])?;
    contains(&history(environment, &scratch, &["ls:latest"])?, &["CREATED BY", "COPY"])?;
    contains(&history(environment, &scratch, &["ls"])?, &["BUILD ID"])?;
    let nothing = finish(&mut command(environment, &scratch, &[]))?;
    expect_failure(&nothing, 2, &["<IMAGE>"])
}

fn traces(environment: &Environment) -> Outcome {
    let scratch = project(environment, DOCKERFILE)?;
    build(environment, &scratch, &["-t", "app"])?;
    let path = scratch.at("trace.json");
    history(environment, &scratch, &["trace", "-o", &path])?;
    let text = scratch.read("trace.json")?;
    let trace: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let events = trace["traceEvents"].as_array().cloned().unwrap_or_default();
    let named = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
    check(named("X") >= 5 && named("M") >= 2, || text.clone())?;
    equal(&named("s"), &named("f"), "arrows have two ends")?;
    let trace = json(environment, &scratch, &["trace", "--format", "otlp"])?;
    let spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned().unwrap_or_default();
    check(spans.len() >= 6, || trace.to_string())?;
    check(spans.iter().skip(1).all(|span| span["parentSpanId"] == spans[0]["spanId"]), || trace.to_string())
}

fn at_once(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let mut running = Vec::new();
    for name in ["one", "two", "three"] {
        let lines = format!("FROM busybox\nRUN for i in 1 2 3 4 5 6 7 8; do echo from {name}; sleep 0.05; done\n");
        scratch.write(&format!("{name}/Dockerfile"), lines)?;
        let mut build = environment.build(&scratch.store());
        build.args(["-t", name]).arg(scratch.at(name)).stdout(Stdio::null()).stderr(Stdio::null());
        running.push(build.spawn().map_err(|error| error.to_string())?);
    }
    for mut child in running {
        check(child.wait().is_ok_and(|status| status.success()), || "a build failed".into())?;
    }
    for name in ["one", "two", "three"] {
        let filter = format!("name={name}:latest");
        let number = history(environment, &scratch, &["ls", "-q", "--filter", &filter])?;
        let text = history(environment, &scratch, &["logs", number.trim(), "--step", "for i in"])?;
        equal(&text, &format!("from {name}\n").repeat(8), "output")?;
    }
    Ok(())
}

/// Starts a build that sleeps, and waits until it does.
fn sleeping(environment: &Environment, scratch: &Scratch) -> Result<std::process::Child, String> {
    let marker = scratch.path().join("started");
    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo said before; sleep 60\n")?;
    let output = std::fs::File::create(&marker).map_err(|error| error.to_string())?;
    let mut build = environment.build(&scratch.store());
    build.arg(scratch.at("context")).stdout(Stdio::null()).stderr(output);
    let child = build.spawn().map_err(|error| error.to_string())?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while !scratch.read("started")?.contains("0 said before") && !scratch.read("started")?.contains(" said before\n") {
        check(Instant::now() < deadline, || "the step did not start".into())?;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(child)
}

fn killed(environment: &Environment) -> Outcome {
    let scratch = project(environment, DOCKERFILE)?;
    build(environment, &scratch, &["-t", "before"])?;
    let mut child = sleeping(environment, &scratch)?;
    child.kill().map_err(|error| error.to_string())?;
    let _ = child.wait();
    scratch.write("context/Dockerfile", DOCKERFILE)?;
    build(environment, &scratch, &["-t", "after", "--no-cache"])?;
    equal(
        &history(environment, &scratch, &["ls", "--format", "{{.Name}}"])?,
        &"after:latest\nbefore:latest\n".to_owned(),
        "builds",
    )?;
    contains(&history(environment, &scratch, &["logs"])?, &["counted"])?;
    succeed(environment.command(&scratch.store()).arg("fsck")).map(drop)
}

fn interrupted(environment: &Environment) -> Outcome {
    let scratch = project(environment, DOCKERFILE)?;
    let mut child = sleeping(environment, &scratch)?;
    succeed(Command::new("kill").args(["-INT", &child.id().to_string()]))?;
    let status = child.wait().map_err(|error| error.to_string())?;
    equal(&status.code(), &Some(130), "exit code")?;
    let record = json(environment, &scratch, &["inspect", "--format", "json"])?;
    equal(&record["result"], &"interrupted".into(), "result")?;
    equal(&step(&record, "sleep 60")?["outcome"], &"not-reached".into(), "the step that was broken off")?;
    contains(&history(environment, &scratch, &["logs"])?, &["#2 said before\n"])?;
    contains(&history(environment, &scratch, &["export", "--format", "html"])?, &["Interrupted", "broken off"])
}

/// Pages as a browser shows them: nothing is asked of the network, nothing complained of, nothing wider than a phone.
fn looked_at(environment: &Environment) -> Outcome {
    let scratch = project(environment, DOCKERFILE)?;
    build(environment, &scratch, &["-t", "app:1", "--report", &scratch.at("good.html")])?;
    scratch.write("context/Dockerfile", HOSTILE)?;
    let name = format!("registry.example.com/{}/app:1", "averylongname".repeat(8));
    build(environment, &scratch, &["-t", &name, "--report", &scratch.at("hostile.html")])?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN echo x; exit 1\n")?;
    finish(
        environment.build(&scratch.store()).args(["--report", &scratch.at("failed.html")]).arg(scratch.at("context")),
    )?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN yes 'a line' | head -c 4000000\n")?;
    build(environment, &scratch, &["--report", &scratch.at("long.html")])?;

    let mut browser = Browser::start(scratch.path())?;
    for page in ["good.html", "hostile.html", "failed.html", "long.html"] {
        for (width, dark) in [(360, false), (360, true), (1280, false), (1280, true)] {
            let began = Instant::now();
            let told = browser.load(&scratch.path().join(page), View { width, dark })?;
            equal(&told, &Vec::new(), &format!("{page} at {width}: requests and complaints"))?;
            check(began.elapsed() < Duration::from_secs(10), || format!("{page} took {:?}", began.elapsed()))?;
            // Folded output counts as soon as somebody opens it.
            browser.value("document.querySelectorAll('details').forEach(fold => fold.open = true)")?;
            let wide = browser.value("document.documentElement.scrollWidth")?;
            equal(&wide, &width.into(), &format!("{page}: the width of what is shown in {width}"))?;
            let outside = browser.value(
                "[...document.querySelectorAll('main *, header *')].filter(part => !part.closest('svg, pre, .what') && \
                 part.getBoundingClientRect().right > innerWidth + 1).map(part => part.outerHTML.slice(0, 80)).join()",
            )?;
            equal(&outside, &"".into(), &format!("{page}: parts that are cut off in {width}"))?;
            let paper = browser.value("getComputedStyle(document.body).backgroundColor")?;
            let expected = if dark { "rgb(21, 20, 18)" } else { "rgb(250, 248, 245)" };
            equal(&paper, &expected.into(), "the colour of the paper, which takes the style of the page")?;
            if let Some(directory) = std::env::var_os("BAKE_SCREENSHOTS") {
                let scheme = if dark { "dark" } else { "light" };
                let path = PathBuf::from(directory).join(format!("{page}-{width}-{scheme}.png"));
                let picture = browser.picture()?;
                std::fs::write(&path, picture).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        let anchors = browser.value(
            "[...document.querySelectorAll('a[href^=\"#\"]')].filter(link => \
             !document.getElementById(link.getAttribute('href').slice(1))).length",
        )?;
        equal(&anchors, &0.into(), "links that lead nowhere")?;
        let scripts = browser.value("document.scripts.length + document.images.length")?;
        equal(&scripts, &0.into(), "scripts and pictures")?;
    }
    Ok(())
}
