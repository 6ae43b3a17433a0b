//! What the tests of the program share: where it is, base images for it, a fresh store for every test.

#![expect(dead_code, reason = "every test program uses another part of it")]

pub(crate) mod debian_registry;
pub(crate) mod engines;
pub(crate) mod published;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use bake_testkit::base_image::BaseImages;
use bake_testkit::host;
use bake_testkit::program::{self, Finished};
use libtest_mimic::{Arguments, Trial};
use tempfile::TempDir;

/// The time that images of tests are made at.
pub(crate) const SOURCE_DATE_EPOCH: &str = "1700000000";

/// What a test comes to: the message says what is wrong.
pub(crate) type Outcome = Result<(), String>;

/// The program under test and what it needs.
#[derive(Debug)]
pub(crate) struct Environment {
    /// The program.
    pub(crate) bake: PathBuf,
    directory: TempDir,
    bases: Result<BaseImages, String>,
}

impl Environment {
    /// Finds the program and makes the base images.
    pub(crate) fn new() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let bases = BaseImages::write(&directory.path().join("bases"), cache).map_err(|error| error.to_string());
        Ok(Self { bake: PathBuf::from(env!("CARGO_BIN_EXE_bake")), directory, bases })
    }

    /// Why real builds cannot be tested here, `None` if they can.
    pub(crate) fn obstacle(&self, needs: &[&str]) -> Option<String> {
        let base = self.bases.as_ref().err().cloned();
        base.or_else(|| ["userns"].iter().chain(needs).find_map(|need| host::missing(need)))
    }

    /// A directory for one test.
    pub(crate) fn scratch(&self) -> Result<Scratch, String> {
        let directory = tempfile::tempdir_in(self.directory.path()).map_err(|error| error.to_string())?;
        Ok(Scratch { directory })
    }

    /// The program with a store, in an environment that holds nothing of the one who runs the tests.
    pub(crate) fn command(&self, store: &Path) -> Command {
        let mut command = Command::new(&self.bake);
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.directory.path())
            .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH)
            .arg("--root")
            .arg(store);
        command
    }

    /// `bake build` with the base images, of one step at a time so that what is shown has one order.
    pub(crate) fn build(&self, store: &Path) -> Command {
        let mut command = self.command(store);
        command.args(["build", "--progress", "plain", "--jobs", "1"]).args(self.base_flags());
        command
    }

    /// The flags that name the base images.
    pub(crate) fn base_flags(&self) -> Vec<String> {
        self.bases.as_ref().map(BaseImages::flags).unwrap_or_default()
    }

    /// The layout of a base image.
    pub(crate) fn base(&self, name: &str) -> PathBuf {
        self.bases.as_ref().map(|bases| bases.layout(name)).unwrap_or_default()
    }
}

/// A directory for one test, with a store in it. It is removed at the end.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: TempDir,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Overlayfs leaves directories that an ordinary user has to open before they can be removed.
        if !host::is_root() {
            let _ = finish(Command::new("chmod").args(["--recursive", "u+rwX"]).arg(self.directory.path()));
        }
    }
}

impl Scratch {
    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The store.
    pub(crate) fn store(&self) -> PathBuf {
        self.path().join("store")
    }

    /// A path in it, as text for the command line.
    pub(crate) fn at(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    /// Writes a file, with the directories it is in.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Outcome {
        let path = self.path().join(name);
        let parent = path.parent().ok_or("a file is in a directory")?;
        std::fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        std::fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Reads a file as text.
    pub(crate) fn read(&self, name: &str) -> Result<String, String> {
        std::fs::read_to_string(self.path().join(name)).map_err(|error| format!("{name}: {error}"))
    }
}

/// Runs a program that must succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<Finished, String> {
    finish(command)?.success()
}

/// Runs a program to its end.
pub(crate) fn finish(command: &mut Command) -> Result<Finished, String> {
    program::run(command).map_err(|error| format!("{}: {error}", command.get_program().display()))
}

/// That a command ended with `code` and said `words` on standard error.
pub(crate) fn expect_failure(finished: &Finished, code: i32, words: &[&str]) -> Outcome {
    check(finished.code == Some(code), || format!("exit code {:?}, not {code}: {}", finished.code, finished.stderr))?;
    for word in words {
        check(finished.stderr.contains(word), || format!("`{word}` is not in: {}", finished.stderr))?;
    }
    Ok(())
}

/// That something holds.
pub(crate) fn check(holds: bool, message: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(message()) }
}

/// That two things are equal.
pub(crate) fn equal<T: PartialEq + std::fmt::Debug>(actual: &T, expected: &T, what: &str) -> Outcome {
    check(actual == expected, || format!("{what}: {actual:?} instead of {expected:?}"))
}

/// A test of the program, with what it needs besides steps and base images.
pub(crate) type Test = (&'static str, &'static [&'static str], fn(&Environment) -> Outcome);

/// Runs tests; those whose needs are not met are shown as ignored, with the reason.
pub(crate) fn run(tests: &'static [Test]) -> ExitCode {
    let arguments = Arguments::from_args();
    let environment = match Environment::new() {
        Ok(environment) => Arc::new(environment),
        Err(problem) => return failed_to_start(&problem),
    };
    libtest_mimic::run(&arguments, trials(tests, &environment)).exit_code()
}

/// The trials of tests.
pub(crate) fn trials(tests: &'static [Test], environment: &Arc<Environment>) -> Vec<Trial> {
    tests
        .iter()
        .map(|(name, needs, test)| {
            let obstacle = environment.obstacle(needs);
            let environment = Arc::clone(environment);
            trial(name, obstacle, move || test(&environment))
        })
        .collect()
}

/// A trial that is ignored, with the reason, if there is an obstacle.
pub(crate) fn trial(name: &str, obstacle: Option<String>, test: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    let trial = Trial::test(name, move || test().map_err(libtest_mimic::Failed::from));
    match obstacle {
        Some(reason) => trial.with_ignored_flag(true).with_kind(format!("ignored: {reason}")),
        None => trial,
    }
}

/// Takes a measurement, which is what a benchmark does.
pub(crate) fn measured(measure: fn(&Environment) -> Outcome) -> ExitCode {
    match Environment::new().and_then(|environment| measure(&environment)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => failed_to_start(&problem),
    }
}

/// A test program that cannot even start.
#[expect(clippy::print_stderr, reason = "a test program reports by printing")]
pub(crate) fn failed_to_start(problem: &str) -> ExitCode {
    eprintln!("error: {problem}");
    ExitCode::FAILURE
}
