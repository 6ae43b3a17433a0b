//! Runs the cases of `testdata/cases`: one test for each expectation of each folder.
//!
//! `BAKE_BLESS=1` writes expectations instead of comparing them; see `bake_testkit::case` for what a folder holds.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bake::ui::colour::Colour;
use bake::ui::snippet::render_diagnostics;
use bake_dockerfile::{Dockerfile, SourceText};
use bake_frontend::{Plan, PlanOptions, plan};
use bake_graph::BuildGraph;
use bake_oci::Platform;
use bake_solver::{Parallelism, SolveOptions, solve};
use bake_testkit::case::{Case, Expectation, Prepared, discover};
use bake_testkit::fake_resolver::FakeResolver;
use bake_testkit::fake_worker::{FakeCache, FakeWorker, RecordingSink};
use bake_testkit::program::Finished;
use bake_testkit::sanitize::Sanitizer;
use bake_testkit::tree::{DescribedImage, Listing, describe_archive};
use libtest_mimic::{Arguments, Trial};

use support::{Environment, Outcome, SOURCE_DATE_EPOCH, Scratch, equal, failed_to_start, finish, succeed, trial};

/// Where the cases are.
const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/cases");

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let accept = std::env::var_os("BAKE_BLESS").is_some();
    let cases = match discover(Path::new(CASES)) {
        Ok(cases) => cases,
        Err(error) => return failed_to_start(&text_of(&error)),
    };
    let environment = match Environment::new() {
        Ok(environment) => Arc::new(environment),
        Err(problem) => return failed_to_start(&problem),
    };
    let trials = cases.into_iter().flat_map(|case| trials(Arc::new(case), &environment, accept)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials(case: Arc<Case>, environment: &Arc<Environment>, accept: bool) -> Vec<Trial> {
    let needs: Vec<&str> = case.settings.needs.iter().map(String::as_str).collect();
    let obstacle = environment.obstacle(&needs);
    let mut trials = Vec::new();
    for expectation in case.expectations.clone() {
        let obstacle = obstacle.clone().filter(|_| expectation.builds());
        let name = format!("{}/{}", case.name, expectation.file_name());
        let (case, environment) = (Arc::clone(&case), Arc::clone(environment));
        trials.push(trial(&name, obstacle, move || {
            let actual = result(&case, expectation, &environment)?;
            case.check(expectation, &actual, accept)
        }));
    }
    if !case.settings.run.is_empty() {
        let name = format!("{}/runs", case.name);
        let (case, environment) = (case, Arc::clone(environment));
        trials.push(trial(&name, obstacle, move || runs(&case, &environment)));
    }
    trials
}

fn result(case: &Case, expectation: Expectation, environment: &Environment) -> Result<String, String> {
    match expectation {
        Expectation::Syntax => Ok(parsed(case)?.dump()),
        Expectation::Lint => lint(case, environment),
        Expectation::Fixed => fixed(case, environment),
        Expectation::Plan => planned(case),
        Expectation::Events => events(case, environment),
        Expectation::Image => image(case, environment),
        Expectation::Stderr => {
            let (finished, sanitizer) = one_build(case, environment)?;
            // What ordinary users without subordinate IDs are told besides.
            let lines =
                finished.stderr.lines().filter(|line| !line.starts_with("hint: this user has no subordinate IDs"));
            Ok(sanitizer.sanitize(&lines.collect::<Vec<_>>().join("\n")))
        }
        Expectation::Exit => {
            let (finished, _) = one_build(case, environment)?;
            Ok(format!("{}\n", finished.code.map_or("signal".to_owned(), |code| code.to_string())))
        }
        Expectation::Check => called(case, "check", environment),
        Expectation::Outline => called(case, "outline", environment),
        Expectation::Targets => called(case, "targets", environment),
    }
}

/// An error with all its sources, as one line.
fn text_of(error: &dyn std::error::Error) -> String {
    bake::error::chain_text(error)
}

fn parsed(case: &Case) -> Result<Dockerfile, String> {
    let text = case.dockerfile().map_err(|error| text_of(&error))?;
    Ok(bake_dockerfile::parse(SourceText::new("Dockerfile", text)))
}

fn prepared(case: &Case, scratch: &Scratch) -> Result<Prepared, String> {
    case.prepare(scratch.path()).map_err(|error| text_of(&error))
}

fn lint(case: &Case, environment: &Environment) -> Result<String, String> {
    let scratch = environment.scratch()?;
    prepared(case, &scratch)?;
    let finished = finish(linter(environment, &scratch).arg("Dockerfile"))?;
    let findings = String::from_utf8_lossy(&finished.stdout).into_owned();
    Ok(format!("{findings}exit {}\n", finished.code.unwrap_or(-1)))
}

fn fixed(case: &Case, environment: &Environment) -> Result<String, String> {
    let scratch = environment.scratch()?;
    prepared(case, &scratch)?;
    finish(linter(environment, &scratch).args(["--fix", "Dockerfile"]))?;
    scratch.read("Dockerfile")
}

fn linter(environment: &Environment, scratch: &Scratch) -> Command {
    let mut command = environment.command(&scratch.store());
    command.arg("lint").current_dir(scratch.path());
    command
}

fn make_plan(case: &Case) -> Result<Result<(BuildGraph, Plan), String>, String> {
    let dockerfile = parsed(case)?;
    let mut build_args = BTreeMap::new();
    for argument in &case.settings.build_arg {
        let (name, value) = argument.split_once('=').ok_or_else(|| format!("`{argument}` is not NAME=VALUE"))?;
        build_args.insert(name.to_owned(), value.to_owned());
    }
    let platform = Platform::new("linux", "amd64", None);
    let targets = case.settings.platform.iter().map(|text| Platform::parse(text).map_err(|error| error.to_string()));
    let targets = targets.collect::<Result<Vec<_>, _>>()?;
    let mut options =
        PlanOptions { target: case.settings.target.clone(), build_args, ..PlanOptions::for_platform(platform) };
    if !targets.is_empty() {
        options.target_platforms = targets;
    }
    let errors = |diagnostics: &[bake_dockerfile::Diagnostic]| {
        render_diagnostics(&dockerfile.source, diagnostics.iter(), Colour::Plain)
    };
    if dockerfile.has_errors() {
        return Ok(Err(errors(&dockerfile.diagnostics)));
    }
    let mut graph = BuildGraph::new();
    let planned = plan(&mut graph, &dockerfile, &options, &FakeResolver::new());
    Ok(planned.map(|plan| (graph, plan)).map_err(|diagnostics| errors(&diagnostics)))
}

fn planned(case: &Case) -> Result<String, String> {
    let (graph, plan) = match make_plan(case)? {
        Ok(planned) => planned,
        Err(errors) => return Ok(errors),
    };
    let targets: Vec<_> = plan.images.iter().map(|image| image.root).collect();
    let mut text = graph.dump(&targets);
    for image in &plan.images {
        let _ = writeln!(text, "image {} of {}", image.platform, image.root);
        for entry in &image.history {
            let kind = if entry.layer { "layer" } else { "empty" };
            let _ = writeln!(text, "    {kind} {}", entry.created_by.replace('\n', "\\n"));
        }
        let config = serde_json::to_string_pretty(&image.config.config).map_err(|error| error.to_string())?;
        for line in config.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning: {}: {}", warning.code, warning.message);
    }
    for name in &plan.unused_build_args {
        let _ = writeln!(text, "unused build argument: {name}");
    }
    Ok(text)
}

/// What the solver tells when everything is new, and when nothing is.
fn events(case: &Case, environment: &Environment) -> Result<String, String> {
    let scratch = environment.scratch()?;
    let prepared = prepared(case, &scratch)?;
    let (graph, plan) = make_plan(case)??;
    let targets: Vec<_> = plan.images.iter().map(|image| image.root).collect();
    let worker = FakeWorker::with_context(&prepared.context);
    let cache = FakeCache::new();
    let mut text = String::new();
    for title in ["first build", "second build"] {
        let sink = RecordingSink::new();
        let options = SolveOptions {
            parallelism: Parallelism::Fixed(NonZeroUsize::MIN),
            require_cached: false,
            continued: None,
            trace_run: bake_solver::TraceRun::default(),
            verify: bake_solver::VerifyShare::default(),
            cancelled: &AtomicBool::new(false),
        };
        let solved = solve(&graph, &targets, &worker, &cache, &sink, &options)
            .map_err(|error| bake::error::chain_text(&error))?;
        let _ = writeln!(text, "{title}: {} ran, {} cached", solved.ran, solved.cached);
        for line in sink.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    Ok(text)
}

/// `bake build` with the settings of a case.
fn build(case: &Case, prepared: &Prepared, environment: &Environment, store: &Path) -> Command {
    let mut command = environment.build(store);
    command.arg("--file").arg(&prepared.dockerfile).args(&case.settings.args);
    for argument in &case.settings.build_arg {
        command.args(["--build-arg", argument]);
    }
    if let Some(target) = &case.settings.target {
        command.args(["--target", target]);
    }
    if !case.settings.platform.is_empty() {
        command.args(["--platform", &case.settings.platform.join(",")]);
    }
    command.current_dir(&prepared.context).arg(&prepared.context);
    command
}

/// What `bake build --call` says on standard output, then on standard error, and how it ends.
fn called(case: &Case, method: &str, environment: &Environment) -> Result<String, String> {
    let scratch = environment.scratch()?;
    let prepared = prepared(case, &scratch)?;
    let mut command = build(case, &prepared, environment, &scratch.store());
    let finished = finish(command.args(["--call", method]))?;
    let sanitizer = Sanitizer::new().path(&prepared.context, "CONTEXT").path(scratch.path(), "DIRECTORY");
    let answer = String::from_utf8_lossy(&finished.stdout);
    let text = format!("{answer}{}exit {}", finished.stderr, finished.code.unwrap_or(-1));
    Ok(sanitizer.sanitize(&text))
}

fn one_build(case: &Case, environment: &Environment) -> Result<(Finished, Sanitizer), String> {
    let scratch = environment.scratch()?;
    let prepared = prepared(case, &scratch)?;
    let finished = finish(&mut build(case, &prepared, environment, &scratch.store()))?;
    let sanitizer = Sanitizer::new().path(&prepared.context, "CONTEXT").path(scratch.path(), "DIRECTORY");
    Ok((finished, sanitizer))
}

/// The image, after two builds in two stores have shown that it does not depend on anything else.
///
/// Files that a step makes have the time of the clock unless the build is told to rewrite times; digests of images with
/// such files differ.
fn image(case: &Case, environment: &Environment) -> Result<String, String> {
    let first = built_image(case, environment)?;
    let second = built_image(case, environment)?;
    if second.text != first.text {
        return Err(format!("two builds made different files:\n{}\nand\n{}", first.text, second.text));
    }
    let epoch: i64 = SOURCE_DATE_EPOCH.parse().map_err(|_| "SOURCE_DATE_EPOCH is a number")?;
    if first.modified_seconds.max(second.modified_seconds) <= epoch {
        equal(&second.digest, &first.digest, "two builds made different digests")?;
    }
    Ok(first.text)
}

fn built_image(case: &Case, environment: &Environment) -> Result<DescribedImage, String> {
    let scratch = environment.scratch()?;
    let prepared = prepared(case, &scratch)?;
    let archive = scratch.at("image.tar");
    let mut command = build(case, &prepared, environment, &scratch.store());
    succeed(command.args(["--output", &format!("type=oci,dest={archive}")]))?;
    let file = std::fs::File::open(&archive).map_err(|error| format!("{archive}: {error}"))?;
    describe_archive(file, Listing { digests: case.settings.digests }).map_err(|error| text_of(&error))
}

/// Builds in one store, one after another, and counts what came from the cache.
fn runs(case: &Case, environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    let prepared = prepared(case, &scratch)?;
    for (number, run) in case.settings.run.iter().enumerate() {
        prepared.change(run).map_err(|error| text_of(&error))?;
        let mut command = build(case, &prepared, environment, &scratch.store());
        let finished = finish(command.args(&run.args).args(["--output", "type=cacheonly"]))?;
        let shown = format!("run {}", number + 1);
        if finished.code != Some(run.exit) {
            return Err(format!("{shown} ended with {:?}:\n{}", finished.code, finished.stderr));
        }
        if run.exit != 0 {
            continue;
        }
        let (ran, cached) =
            counts(&finished.stderr).ok_or_else(|| format!("{shown} reports nothing:\n{}", finished.stderr))?;
        for (what, expected, actual) in [("cached", run.cached, cached), ("ran", run.ran, ran)] {
            if let Some(expected) = expected {
                equal(&actual, &expected, &format!("{shown}, steps that were {what}"))
                    .map_err(|problem| format!("{problem}\n{}", finished.stderr))?;
            }
        }
    }
    Ok(())
}

/// The numbers of the last line of a build: `built 5 steps (3 cached) in 2.3s`.
fn counts(stderr: &str) -> Option<(usize, usize)> {
    let line = stderr.lines().rev().find_map(|line| line.strip_prefix("built "))?;
    let steps: usize = line.split(' ').next()?.parse().ok()?;
    let cached = match line.split_once('(') {
        None => 0,
        Some((_, rest)) if rest.starts_with("all ") => steps,
        Some((_, rest)) => rest.split(' ').next()?.parse().ok()?,
    };
    Some((steps - cached, cached))
}
