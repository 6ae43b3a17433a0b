//! The recipes of `docs/ci.md`: their scripts are run as the CI system would run them, against registries that want a login.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bake_testkit::registry::{Auth, Config, FakeRegistry};
use serde_json::Value;

use super::support::debian_registry::{PASSWORD, USER, start_debians};
use super::support::{Environment, Outcome, Scratch, check, equal, finish, succeed};

const PAGE: &str = include_str!("../../docs/ci.md");

/// What a step says when it runs, and not when it is cached.
const SAID: &str = "the step runs";

/// The block of the page that shows a file.
fn block(name: &str) -> Result<String, String> {
    let (_, after) =
        PAGE.split_once(&format!("`{name}`:\n\n```")).ok_or_else(|| format!("the page shows no {name}"))?;
    let (_, body) = after.split_once('\n').ok_or("a block has lines")?;
    let (body, _) = body.split_once("\n```").ok_or("a block ends")?;
    Ok(format!("{body}\n"))
}

fn yaml(name: &str) -> Result<Value, String> {
    serde_saphyr::from_str(&block(name)?).map_err(|error| format!("{name}: {error}"))
}

/// A machine of a CI system: fresh but for what the repository and the registry hold.
struct Machine<'a> {
    environment: &'a Environment,
    scratch: Scratch,
    variables: BTreeMap<String, String>,
}

impl<'a> Machine<'a> {
    fn new(environment: &'a Environment) -> Result<Self, String> {
        let scratch = environment.scratch()?;
        scratch
            .write("repository/Dockerfile", format!("FROM busybox\nRUN echo {SAID} && echo 1 > /one\nUSER 1000\n"))?;
        std::fs::create_dir_all(scratch.path().join("home")).map_err(|error| error.to_string())?;
        let bases: Vec<String> =
            environment.base_flags().into_iter().filter(|word| word != "--build-context").collect();
        let program = environment.bake.parent().unwrap_or(Path::new("/")).display().to_string();
        let variables = BTreeMap::from([
            ("PATH".to_owned(), format!("{program}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")),
            ("HOME".to_owned(), scratch.at("home")),
            ("BAKE_ROOT".to_owned(), scratch.at("store")),
            ("SOURCE_DATE_EPOCH".to_owned(), "1700000000".to_owned()),
            // The base image is not fetched from the internet; the recipes say nothing of it.
            ("BAKE_BUILD_BUILD_CONTEXT".to_owned(), bases.join("\n")),
        ]);
        Ok(Self { environment, scratch, variables })
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    /// Runs a script in the repository; what it wrote to standard error.
    fn run(&self, shell: &[&str], script: &str) -> Result<String, String> {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(script).env_clear().envs(&self.variables);
        command.current_dir(self.scratch.path().join("repository"));
        succeed(&mut command).map(|finished| finished.stderr).map_err(|problem| format!("{script}\n{problem}"))
    }

    /// What is in the registry under a name.
    fn pulled(&self, name: &str) -> Result<Value, String> {
        let mut command = Command::new(&self.environment.bake);
        command.env_clear().envs(&self.variables).args(["pull", name]);
        succeed(&mut command)?;
        let mut command = Command::new(&self.environment.bake);
        command.env_clear().envs(&self.variables).args(["inspect", name]);
        serde_json::from_slice(&succeed(&mut command)?.stdout).map_err(|error| error.to_string())
    }
}

/// That the first run carries the step out, and the second one, on another machine, takes it from the cache.
fn twice(mut run: impl FnMut() -> Result<String, String>) -> Outcome {
    let first = run()?;
    let runs = format!(" {SAID}\n");
    let is_cached = |log: &str| log.lines().any(|line| line.ends_with("CACHED"));
    check(first.contains(&runs), || format!("the first build does not run the step: {first}"))?;
    let second = run()?;
    check(is_cached(&second) && !second.contains(&runs), || format!("the second build is not cached: {second}"))
}

/// Runners of GitHub: `bash -e` for each step, expressions put in, files for variables and results.
pub(crate) fn github(environment: &Environment) -> Outcome {
    let workflow = yaml(".github/workflows/image.yml")?;
    let registry =
        FakeRegistry::start(Config { auth: Auth::bearer("octocat", "token-of-the-run"), ..Config::default() })
            .map_err(|error| error.to_string())?;
    for event in ["push", "pull_request"] {
        check(workflow["on"].get(event).is_some(), || format!("nothing happens on {event}"))?;
    }
    twice(|| github_run(environment, &workflow, &registry, "push"))?;
    // A pull request reads the cache and pushes nothing.
    let pushes = |registry: &FakeRegistry| registry.requests().iter().filter(|request| request.method == "PUT").count();
    let before = pushes(&registry);
    let log = github_run(environment, &workflow, &registry, "pull_request")?;
    check(!log.contains(&format!(" {SAID}\n")), || format!("a pull request does not use the cache: {log}"))?;
    equal(&pushes(&registry), &before, "what a pull request pushes")
}

fn github_run(
    environment: &Environment,
    workflow: &Value,
    registry: &FakeRegistry,
    event: &str,
) -> Result<String, String> {
    let mut machine = Machine::new(environment)?;
    for (name, value) in [
        ("CI", "true"),
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_ACTOR", "octocat"),
        ("GITHUB_REPOSITORY", "Team/App"),
        ("GITHUB_SHA", "0123456789abcdef0123456789abcdef01234567"),
    ] {
        machine.set(name, value);
    }
    for file in ["GITHUB_ENV", "GITHUB_OUTPUT"] {
        machine.scratch.write(file, "")?;
        machine.set(file, machine.scratch.at(file));
    }
    machine.set("RUNNER_TEMP", machine.scratch.at("temporary"));
    std::fs::create_dir(machine.scratch.path().join("temporary")).map_err(|error| error.to_string())?;
    for (name, value) in object(&workflow["env"]) {
        machine.set(name, text(value)?);
    }
    // The only change: the registry is on this machine.
    machine.set("REGISTRY", registry.host());
    let expressions = BTreeMap::from([("secrets.GITHUB_TOKEN", "token-of-the-run")]);
    let mut log = String::new();
    let steps = workflow["jobs"]["image"]["steps"].as_array().ok_or("a job has steps")?;
    for step in steps {
        if let Some(action) = step["uses"].as_str() {
            match action.split('@').next() {
                Some("actions/checkout") => {}
                Some("github/codeql-action/upload-sarif") => {
                    let path = text(&step["with"]["sarif_file"])?.replace("${{ runner.temp }}", "temporary");
                    let findings = machine.scratch.read(&path)?;
                    let findings: Value = serde_json::from_str(&findings).map_err(|error| error.to_string())?;
                    equal(&findings["version"], &"2.1.0".into(), "SARIF")?;
                }
                other => return Err(format!("the action {other:?} is not known to this test")),
            }
            continue;
        }
        if let Some(condition) = step["if"].as_str() {
            let wanted = condition.strip_prefix("github.event_name == ").ok_or_else(|| condition.to_owned())?;
            if wanted.trim_matches('\'') != event {
                continue;
            }
        }
        // These two change the machine itself.
        if ["Install bake", "Allow user namespaces"].contains(&step["name"].as_str().unwrap_or_default()) {
            continue;
        }
        let mut own = Machine { environment, scratch: machine.scratch, variables: machine.variables.clone() };
        for (name, value) in object(&step["env"]) {
            let value = text(value)?;
            let expression = value.strip_prefix("${{ ").and_then(|rest| rest.strip_suffix(" }}"));
            let value = match expression {
                Some(expression) => {
                    expressions.get(expression).copied().ok_or_else(|| expression.to_owned())?.to_owned()
                }
                None => value,
            };
            own.set(name, value);
        }
        log.push_str(&own.run(&["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"], &text(&step["run"])?)?);
        machine.scratch = own.scratch;
        for line in machine.scratch.read("GITHUB_ENV")?.lines() {
            let (name, value) = line.split_once('=').ok_or("a variable has a value")?;
            machine.variables.insert(name.to_owned(), value.to_owned());
        }
    }
    if event == "push" {
        let output = machine.scratch.read("GITHUB_OUTPUT")?;
        let digest = output.trim().strip_prefix("digest=").unwrap_or_default().to_owned();
        check(digest.starts_with("sha256:"), || format!("no digest: {output}"))?;
        let image = machine.pulled(&format!("{}/team/app@{digest}", registry.host()))?;
        equal(&image[0]["Config"]["User"], &"1000".into(), "what was pushed")?;
    }
    Ok(log)
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} is no text"))
}

/// GitLab's runners: one script of `before_script` and `script`, by `bash -eo pipefail`.
pub(crate) fn gitlab(environment: &Environment) -> Outcome {
    let pipeline = yaml(".gitlab-ci.yml")?;
    let ground = environment.scratch()?;
    let registry = start_debians(&ground)?;
    let job = &pipeline["build-image"];
    twice(|| {
        let mut machine = Machine::new(environment)?;
        let host = registry.host.clone();
        for (name, value) in [
            ("CI", "true"),
            ("GITLAB_CI", "true"),
            ("CI_REGISTRY", &host),
            ("CI_REGISTRY_IMAGE", &format!("{host}/team/app")),
            ("CI_REGISTRY_USER", USER),
            ("CI_REGISTRY_PASSWORD", PASSWORD),
            ("CI_COMMIT_REF_SLUG", "main"),
            ("CI_BUILDS_DIR", &machine.scratch.at("builds")),
        ] {
            machine.set(name, value);
        }
        for (name, value) in object(&job["variables"]) {
            let value = text(value)?.replace("$CI_BUILDS_DIR", &machine.scratch.at("builds"));
            machine.set(name, value);
        }
        let lines = ["before_script", "script"].map(|part| job[part].as_array().cloned().unwrap_or_default()).concat();
        let lines: Vec<String> = lines.iter().map(text).collect::<Result<_, _>>()?;
        let script: Vec<&str> =
            lines.iter().map(String::as_str).filter(|line| !line.starts_with("cargo install")).collect();
        equal(&(script.len() + 1), &lines.len(), "lines that install bake")?;
        let log = machine.run(&["bash", "-eo", "pipefail", "-c"], &script.join("\n"))?;
        let report = text(&job["artifacts"]["reports"]["codequality"])?;
        let report: Value = serde_json::from_str(&machine.scratch.read(&format!("repository/{report}"))?)
            .map_err(|error| error.to_string())?;
        check(report.is_array(), || format!("no code quality report: {report}"))?;
        machine.scratch.read("repository/metadata.json")?;
        let image = machine.pulled(&format!("{host}/team/app:main"))?;
        equal(&image[0]["Config"]["User"], &"1000".into(), "what was pushed")?;
        Ok(log)
    })
}

/// A script that knows a name and a token, and leaves no login behind.
pub(crate) fn shell(environment: &Environment) -> Outcome {
    let script = block("ci.sh")?;
    let ground = environment.scratch()?;
    let registry = start_debians(&ground)?;
    twice(|| {
        let mut machine = Machine::new(environment)?;
        let image = format!("{}/team/app", registry.host);
        for (name, value) in [
            ("REGISTRY", registry.host.as_str()),
            ("IMAGE", &image),
            ("REGISTRY_USER", USER),
            ("REGISTRY_TOKEN", PASSWORD),
        ] {
            machine.set(name, value);
        }
        let log = machine.run(&["sh", "-c"], &script)?;
        check(machine.scratch.read("repository/image-id")?.starts_with("sha256:"), || "no image ID".into())?;
        let left = finish(Command::new("find").arg(machine.scratch.at("home")).args(["-type", "f"]))?;
        equal(&left.text().as_str(), &"", "files in the home")?;
        let stored = finish(Command::new("grep").args(["-rlF", PASSWORD]).arg(machine.scratch.path()))?;
        equal(&stored.text().as_str(), &"", "files with the password")?;
        Ok(log)
    })
}

/// A pod is what Kubernetes takes, and asks for nothing that opens the node.
pub(crate) fn pod(_: &Environment) -> Outcome {
    let pod = yaml("build-pod.yaml")?;
    let container = &pod["spec"]["containers"][0];
    equal(&pod["kind"], &"Pod".into(), "kind")?;
    equal(&pod["spec"]["securityContext"]["runAsNonRoot"], &true.into(), "runAsNonRoot")?;
    equal(&container["securityContext"]["allowPrivilegeEscalation"], &false.into(), "allowPrivilegeEscalation")?;
    equal(&container["securityContext"]["readOnlyRootFilesystem"], &true.into(), "readOnlyRootFilesystem")?;
    equal(&container["securityContext"]["capabilities"], &serde_json::json!({ "drop": ["ALL"] }), "capabilities")?;
    for volume in container["volumeMounts"].as_array().into_iter().flatten() {
        let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        check(volumes.iter().any(|known| known["name"] == volume["name"]), || format!("there is no volume {volume}"))?;
    }
    let script = text(&container["args"][0])?;
    check(script.starts_with("bake build --push"), || script.clone())
}
