//! The examples of `testdata/examples`, built before your eyes: every command is shown before it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use clap::ValueEnum;

use crate::base_image::BaseImage;
use crate::workspace;

/// How long a registry gets to deliver a base image of some 50 MB before one is made here instead.
const PULL_TIME_MAX: Duration = Duration::from_mins(2);

/// How often it is looked whether it has.
const PULL_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// An example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Example {
    /// A program compiled with busybox's tools alone, in an image that holds nothing else.
    Hello,
    /// A service in C: a compiler from Debian's packages, a small final image, the cache on later builds.
    Cservice,
}

/// How it is built.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(crate) struct Options {
    /// Make the base image here instead of asking a registry for it
    #[arg(long)]
    offline: bool,
    /// Build the program without optimisation
    #[arg(long)]
    debug: bool,
}

/// Builds the program, then the example with it, and runs the result.
pub(crate) fn run(example: Example, options: Options) -> Result<(), String> {
    let program = Program::build(options.debug)?;
    match example {
        Example::Hello => hello(&program, options),
        Example::Cservice => cservice(&program, options),
    }
}

fn hello(program: &Program, options: Options) -> Result<(), String> {
    let flags = provide(program, BaseImage::Busybox, options)?;
    program.run(&Build { tag: "hello:1.0", flags, context: "testdata/examples/hello".into() }.arguments())?;
    program.run(&["run", "hello:1.0"].map(OsString::from))
}

fn cservice(program: &Program, options: Options) -> Result<(), String> {
    let mut flags = provide(program, BaseImage::Debian, options)?;
    flags.extend(proxies());
    let mut build = Build { tag: "cservice:1.0", flags, context: "testdata/examples/cservice".into() };
    program.run(&build.arguments())?;
    program.run(&["run", "cservice:1.0", "--self-test"].map(OsString::from))?;

    say("once more: every step is in the cache");
    let steps = program.run_steps(&build.arguments())?;
    let done = steps.carried_out();
    if !done.is_empty() {
        return Err(format!("these steps are carried out again although nothing changed: {}", done.join(", ")));
    }

    say("with one changed C file: COPY and what follows are carried out, the compiler is not installed again");
    let changed = workspace::root().join("target/examples/cservice-changed");
    copy_changed(&workspace::root().join(&build.context), &changed)?;
    build.context = workspace::display(&changed).into();
    let steps = program.run_steps(&build.arguments())?;
    let done = steps.carried_out();
    if done.iter().any(|step| step.contains("apt-get")) || !done.iter().any(|step| step.contains("RUN make")) {
        return Err(format!("after the change, other steps are carried out than should be: {}", done.join(", ")));
    }
    program.run(&["run", "cservice:1.0", "--self-test"].map(OsString::from))
}

/// A build of an example.
struct Build {
    tag: &'static str,
    /// What makes the base image known, and what else its steps need.
    flags: Vec<OsString>,
    /// Relative to the workspace.
    context: PathBuf,
}

impl Build {
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ["build", "--progress=plain", "-t", self.tag].map(OsString::from).to_vec();
        arguments.extend(self.flags.iter().cloned());
        arguments.push(self.context.clone().into());
        arguments
    }
}

/// Sees to it that the base image is there, and says how. Gives the flags that a build needs for it.
fn provide(program: &Program, base: BaseImage, options: Options) -> Result<Vec<OsString>, String> {
    let reference = base.reference();
    if options.offline {
        say(&format!("{reference}: no registry is asked"));
    } else {
        match program.pull(reference) {
            Ok(()) => {
                say(&format!("{reference} is the public image"));
                return Ok(Vec::new());
            }
            Err(reason) => say(&format!("{reference} cannot be pulled ({reason})")),
        }
    }
    let name = format!("{base:?}").to_lowercase();
    let directory = Path::new("target/examples").join(name);
    let whole = workspace::root().join(&directory);
    say(&format!("making an image to stand in for {reference} in {} ...", directory.display()));
    let origin = base.make(&whole)?;
    say(&format!("the image that stands in for {reference}: {origin}"));
    Ok(vec!["--build-context".into(), format!("{reference}=oci-layout://{}", directory.display()).into()])
}

/// Lets steps use the proxy through which this machine gets its packages. Proxies are not part of the cache key.
fn proxies() -> Vec<OsString> {
    let asked = Command::new("apt-config").args(["shell", "PROXY", "Acquire::http::Proxy"]).output();
    let answer = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let proxy = answer.trim().strip_prefix("PROXY='").and_then(|rest| rest.strip_suffix('\''));
    // A name alone stands for the variable of the environment, if there is one.
    let http =
        proxy.filter(|proxy| *proxy != "DIRECT").map_or("http_proxy".to_owned(), |proxy| format!("http_proxy={proxy}"));
    [http, "https_proxy".to_owned(), "no_proxy".to_owned()]
        .into_iter()
        .flat_map(|argument| ["--build-arg".into(), argument.into()])
        .collect()
}

/// Copies the example with another greeting in one of its files, one that no earlier build has seen.
fn copy_changed(from: &Path, to: &Path) -> Result<(), String> {
    const FILE: &str = "src/pages.c";
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let greeting = format!("Hello number {seconds}");
    let failed = |path: &Path, error: std::io::Error| format!("Failed to copy to {}: {error}", path.display());
    if to.exists() {
        std::fs::remove_dir_all(to).map_err(|error| failed(to, error))?;
    }
    for (path, text) in workspace::text_files(from)? {
        let relative = path.strip_prefix(from).unwrap_or(&path);
        let place = to.join(relative);
        let parent = place.parent().unwrap_or(to);
        std::fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        let text = if relative == Path::new(FILE) { text.replace("Hello", &greeting) } else { text };
        std::fs::write(&place, text).map_err(|error| failed(&place, error))?;
    }
    Ok(())
}

/// The program of this workspace.
struct Program {
    path: PathBuf,
}

impl Program {
    fn build(debug: bool) -> Result<Self, String> {
        say(if debug {
            "building bake without optimisation"
        } else {
            "building bake; the first time takes some minutes"
        });
        let profile = if debug { "dev" } else { "release" };
        workspace::cargo(&["build", "--locked", "--profile", profile, "--package", "bake"], &[])?;
        // Beside this program, so that it is found wherever cargo puts its output.
        let own = std::env::current_exe().map_err(|error| format!("Failed to find this program: {error}"))?;
        let output = own.ancestors().nth(2).unwrap_or(&own);
        Ok(Self { path: output.join(if debug { "debug" } else { "release" }).join("bake") })
    }

    fn command(&self, arguments: &[OsString]) -> Command {
        let shown: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        println!("$ {} {}", workspace::display(&self.path), shown.join(" "));
        let mut command = Command::new(&self.path);
        command.args(arguments).current_dir(workspace::root()).stdin(Stdio::null());
        command
    }

    fn start(&self, command: &mut Command) -> Result<Child, String> {
        command.spawn().map_err(|error| format!("Failed to start {}: {error}", self.path.display()))
    }

    fn run(&self, arguments: &[OsString]) -> Result<(), String> {
        let mut child = self.start(&mut self.command(arguments))?;
        self.wait(&mut child)
    }

    /// Runs a build, and tells which of its steps were carried out.
    fn run_steps(&self, arguments: &[OsString]) -> Result<Steps, String> {
        let mut child = self.start(self.command(arguments).stderr(Stdio::piped()))?;
        let stderr = child.stderr.take().ok_or("bake has no standard error")?;
        let mut steps = Steps::default();
        for line in BufReader::new(stderr).lines() {
            let line = line.map_err(|error| format!("Failed to read what bake said: {error}"))?;
            eprintln!("{line}");
            steps.read(&line);
        }
        self.wait(&mut child)?;
        Ok(steps)
    }

    fn wait(&self, child: &mut Child) -> Result<(), String> {
        let status = child.wait().map_err(|error| format!("Failed to wait for {}: {error}", self.path.display()))?;
        if status.success() { Ok(()) } else { Err(format!("{} failed: {status}", workspace::display(&self.path))) }
    }

    /// Pulls an image; what bake says about a failure becomes the error.
    fn pull(&self, reference: &str) -> Result<(), String> {
        let mut child = self.start(self.command(&["pull".into(), reference.into()]).stderr(Stdio::piped()))?;
        let stderr = child.stderr.take().ok_or("bake has no standard error")?;
        // Read elsewhere, so that a full pipe does not stop the pull.
        let reader = std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).find(|line| line.starts_with("error"))
        });
        let start = Instant::now();
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if start.elapsed() > PULL_TIME_MAX => {
                    // It may have ended just now; then there is nothing to end.
                    let _ = child.kill();
                    let _ = child.wait();
                    break Err(format!("no image after {} s", PULL_TIME_MAX.as_secs()));
                }
                Ok(None) => std::thread::sleep(PULL_LOOK_INTERVAL),
                Err(error) => break Err(format!("Failed to wait for bake: {error}")),
            }
        }?;
        if status.success() {
            return Ok(());
        }
        let said = reader.join().ok().flatten().unwrap_or_default();
        Err(said.trim_start_matches("error").trim_start_matches(':').trim().to_owned())
    }
}

/// The steps of a build, from its plain progress.
#[derive(Debug, Default)]
struct Steps {
    names: BTreeMap<u32, String>,
    cached: BTreeSet<u32>,
}

impl Steps {
    fn read(&mut self, line: &str) {
        let Some((number, text)) = line.strip_prefix('#').and_then(|rest| rest.split_once(' ')) else { return };
        let Ok(number) = number.parse() else { return };
        if text == "CACHED" {
            self.cached.insert(number);
        } else if text.starts_with('[') && !text.starts_with("[internal]") {
            self.names.entry(number).or_insert_with(|| text.to_owned());
        }
    }

    /// The instructions that were carried out; base images, which only have to be there, do not count.
    fn carried_out(&self) -> Vec<&str> {
        let steps = self.names.iter().filter(|(number, _)| !self.cached.contains(number));
        steps.map(|(_, name)| name.as_str()).filter(|name| !name.contains("] FROM ")).collect()
    }
}

fn say(text: &str) {
    println!("== {text}");
}

#[cfg(test)]
mod tests {
    use super::Steps;

    #[test]
    fn steps_are_read_from_progress() {
        let mut steps = Steps::default();
        for line in [
            "#1 [internal] load build definition",
            "#2 [build 1/3] FROM debian:12",
            "#3 [build 2/3] RUN apt-get update",
            "#3 CACHED",
            "#4 [build 3/3] RUN make",
            "#4 0.1 [cc] CACHED",
            "#4 DONE 0.3s",
            "#x",
        ] {
            steps.read(line);
        }
        assert_eq!(steps.carried_out(), ["[build 3/3] RUN make"]);
    }
}
