//! Test cases that are folders: `testdata/cases/<area>/<case>/`.
//!
//! | file | what it is |
//! |---|---|
//! | `Dockerfile` | the only mandatory file |
//! | `context/` | the build context; without it, the folder itself apart from `expect/` and `case.toml` |
//! | `case.toml` | [`Settings`] |
//! | `expect/NAME` | one [`Expectation`]; the files that are there decide what is checked |
//!
//! An expectation that is empty, and every one when expectations are accepted, is written instead of compared. A file in
//! `expect/` that is no expectation is an error, so that none is forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::program;

/// Files of a case folder that are not part of its build context.
const NOT_CONTEXT: [&str; 2] = ["case.toml", "expect"];

/// The time of every file of a build context, as `touch` takes it: contexts come out of version control without times.
const MODIFIED: &str = "@1577836800";

/// What can be expected of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expectation {
    /// `syntax.txt`: the syntax tree.
    Syntax,
    /// `lint.txt`: the findings as shown.
    Lint,
    /// `fixed.Dockerfile`: the file after all safe fixes.
    Fixed,
    /// `plan.txt`: the build graph, or why there is none.
    Plan,
    /// `events.txt`: what a solver tells, the first and the second time.
    Events,
    /// `image.txt`: the image of a real build.
    Image,
    /// `stderr.txt`: what a real build shows.
    Stderr,
    /// `exit`: the exit code of a real build.
    Exit,
    /// `check.txt`: what `bake build --check` says, and its exit code.
    Check,
    /// `outline.txt`: what `bake build --call=outline` says.
    Outline,
    /// `targets.txt`: what `bake build --call=targets` says.
    Targets,
}

impl Expectation {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Syntax,
        Self::Lint,
        Self::Fixed,
        Self::Plan,
        Self::Events,
        Self::Image,
        Self::Stderr,
        Self::Exit,
        Self::Check,
        Self::Outline,
        Self::Targets,
    ];

    /// The name of its file in `expect/`.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax.txt",
            Self::Lint => "lint.txt",
            Self::Fixed => "fixed.Dockerfile",
            Self::Plan => "plan.txt",
            Self::Events => "events.txt",
            Self::Image => "image.txt",
            Self::Stderr => "stderr.txt",
            Self::Exit => "exit",
            Self::Check => "check.txt",
            Self::Outline => "outline.txt",
            Self::Targets => "targets.txt",
        }
    }

    /// Whether it takes a real build.
    pub fn builds(self) -> bool {
        matches!(self, Self::Image | Self::Stderr | Self::Exit)
    }
}

/// `case.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// What the case shows, in one line.
    pub why: String,
    /// Further flags of `bake build`.
    pub args: Vec<String>,
    /// Build arguments, `NAME=VALUE`.
    pub build_arg: Vec<String>,
    /// The stage to build.
    pub target: Option<String>,
    /// The platforms to build for; the machine's (in plans `linux/amd64`) where there are none.
    pub platform: Vec<String>,
    /// What the machine must be able to do for a real build, see [`crate::host::missing`].
    pub needs: Vec<String>,
    /// Shell commands that finish the build context: modes, links, special files.
    pub setup: Vec<String>,
    /// Whether `image.txt` holds the digests of layers (only for images that hold no file of the machine).
    pub digests: bool,
    /// Builds one after another in one store.
    pub run: Vec<Run>,
}

/// One of several builds in one store.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Run {
    /// What is appended to a file of the build context first.
    pub edit: Option<Edit>,
    /// Shell commands in the build context first.
    pub shell: Vec<String>,
    /// Further flags, besides those of the case.
    pub args: Vec<String>,
    /// How many steps must come from the cache.
    pub cached: Option<usize>,
    /// How many steps must be carried out.
    pub ran: Option<usize>,
    /// The exit code.
    pub exit: i32,
}

/// A change to a file of the build context (or to the Dockerfile).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Its path.
    pub file: String,
    /// What is appended.
    pub append: String,
}

/// A case.
#[derive(Debug, Clone)]
pub struct Case {
    /// `area/case`.
    pub name: String,
    /// Its folder.
    pub directory: PathBuf,
    /// `case.toml`.
    pub settings: Settings,
    /// What is expected, sorted.
    pub expectations: BTreeSet<Expectation>,
}

/// A case that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// A file could not be read or written.
    #[error("Failed to use `{path}`")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `case.toml` makes no sense.
    #[error("Failed to read `{path}`: {reason}")]
    Settings {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A folder is not what a case must be.
    #[error("the case `{name}` {problem}")]
    Shape {
        /// Which.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CaseError {
    let path = path.to_owned();
    move |source| CaseError::Io { path, source }
}

/// All cases below `root`, sorted by name.
pub fn discover(root: &Path) -> Result<Vec<Case>, CaseError> {
    let mut cases = Vec::new();
    for area in directories(root)? {
        for directory in directories(&area)? {
            let name = directory.strip_prefix(root).unwrap_or(&directory).display().to_string();
            cases.push(load(name, directory)?);
        }
    }
    Ok(cases)
}

fn directories(path: &Path) -> Result<Vec<PathBuf>, CaseError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(at(path))? {
        let entry = entry.map_err(at(path))?.path();
        if entry.is_dir() {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

fn load(name: String, directory: PathBuf) -> Result<Case, CaseError> {
    let shape = |problem: String| CaseError::Shape { name: name.clone(), problem };
    if !directory.join("Dockerfile").is_file() {
        return Err(shape("has no Dockerfile".into()));
    }
    let path = directory.join("case.toml");
    let settings: Settings = match fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text)
            .map_err(|error| CaseError::Settings { path: path.clone(), reason: error.to_string() })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Settings::default(),
        Err(error) => return Err(at(&path)(error)),
    };
    if settings.why.is_empty() {
        return Err(shape("does not say why it is there: `why` in case.toml".into()));
    }
    let mut expectations = BTreeSet::new();
    let expect = directory.join("expect");
    if expect.is_dir() {
        for entry in fs::read_dir(&expect).map_err(at(&expect))? {
            let file = entry.map_err(at(&expect))?.file_name();
            let known = Expectation::ALL.into_iter().find(|known| file == known.file_name());
            expectations
                .insert(known.ok_or_else(|| shape(format!("has an unknown expectation `{}`", file.display())))?);
        }
    }
    if expectations.is_empty() && settings.run.is_empty() {
        return Err(shape("expects nothing".into()));
    }
    Ok(Case { name, directory, settings, expectations })
}

impl Case {
    /// The text of the Dockerfile.
    pub fn dockerfile(&self) -> Result<String, CaseError> {
        let path = self.directory.join("Dockerfile");
        fs::read_to_string(&path).map_err(at(&path))
    }

    /// Compares a result with an expectation, or writes it when `accept` is set or the file is empty.
    pub fn check(&self, expectation: Expectation, actual: &str, accept: bool) -> Result<(), String> {
        let path = self.directory.join("expect").join(expectation.file_name());
        let expected =
            fs::read_to_string(&path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
        if expected == actual {
            return Ok(());
        }
        if accept || expected.is_empty() {
            return fs::write(&path, actual).map_err(|error| format!("cannot write `{}`: {error}", path.display()));
        }
        Err(format!(
            "{}/expect/{} differs (BAKE_BLESS=1 accepts it):\n{}",
            self.name,
            expectation.file_name(),
            difference(&expected, actual)
        ))
    }

    /// Copies the Dockerfile and the build context below `directory`, with modes and times that do not depend on the
    /// check-out: `directory/Dockerfile` and `directory/context`.
    pub fn prepare(&self, directory: &Path) -> Result<Prepared, CaseError> {
        let dockerfile = directory.join("Dockerfile");
        fs::copy(self.directory.join("Dockerfile"), &dockerfile).map_err(at(&dockerfile))?;
        let context = directory.join("context");
        let source = self.directory.join("context");
        if source.is_dir() {
            copy(&source, &context, &[])?;
        } else {
            copy(&self.directory, &context, &NOT_CONTEXT)?;
        }
        let prepared = Prepared { dockerfile, context };
        for command in &self.settings.setup {
            prepared.shell(command)?;
        }
        prepared.shell(&format!("find . -exec touch -h -d {MODIFIED} {{}} +"))?;
        Ok(prepared)
    }
}

/// A case's input where it may be changed.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The Dockerfile.
    pub dockerfile: PathBuf,
    /// The build context.
    pub context: PathBuf,
}

impl Prepared {
    /// Runs a shell command in the build context; it must succeed.
    pub fn shell(&self, command: &str) -> Result<(), CaseError> {
        let failed = |reason| CaseError::Shape { name: command.to_owned(), problem: format!("failed: {reason}") };
        program::run(Command::new("sh").args(["-euc", &format!("umask 022\n{command}")]).current_dir(&self.context))
            .map_err(|error| failed(error.to_string()))?
            .success()
            .map_err(failed)?;
        Ok(())
    }

    /// Carries out what a run says is to be done first.
    pub fn change(&self, run: &Run) -> Result<(), CaseError> {
        if let Some(edit) = &run.edit {
            let path = if edit.file == "Dockerfile" { self.dockerfile.clone() } else { self.context.join(&edit.file) };
            let mut text = fs::read_to_string(&path).map_err(at(&path))?;
            text.push_str(&edit.append);
            fs::write(&path, text).map_err(at(&path))?;
        }
        run.shell.iter().try_for_each(|command| self.shell(command))
    }
}

fn copy(source: &Path, target: &Path, without: &[&str]) -> Result<(), CaseError> {
    fs::create_dir_all(target).map_err(at(target))?;
    set_mode(target, 0o755)?;
    for entry in fs::read_dir(source).map_err(at(source))? {
        let entry = entry.map_err(at(source))?;
        let (name, from) = (entry.file_name(), entry.path());
        if without.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let to = target.join(&name);
        let kind = entry.file_type().map_err(at(&from))?;
        if kind.is_symlink() {
            let link = fs::read_link(&from).map_err(at(&from))?;
            std::os::unix::fs::symlink(link, &to).map_err(at(&to))?;
        } else if kind.is_dir() {
            copy(&from, &to, &[])?;
        } else {
            fs::copy(&from, &to).map_err(at(&to))?;
            let executable = fs::metadata(&from).map_err(at(&from))?.permissions().mode() & 0o100 != 0;
            set_mode(&to, if executable { 0o755 } else { 0o644 })?;
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), CaseError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at(path))
}

/// The lines that are only in one of two texts, with two lines around each.
fn difference(expected: &str, actual: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), actual.lines().collect());
    let start = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(old, new)| old == new).count();
    let mut text = String::new();
    let mut show = |mark: char, lines: &[&str]| {
        for line in lines {
            text.push(mark);
            text.push_str(line);
            text.push('\n');
        }
    };
    show(' ', &old[start.saturating_sub(2)..start]);
    show('-', &old[start..old.len() - end]);
    show('+', &new[start..new.len() - end]);
    show(' ', &old[old.len() - end..(old.len() - end + 2).min(old.len())]);
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join("area/one").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        directory
    }

    #[test]
    fn a_forgotten_expectation_is_an_error() {
        let why = ("case.toml", "why = 'it shows'");
        let good = folder(&[("Dockerfile", ""), why, ("expect/exit", "0\n")]);
        let cases = discover(good.path()).unwrap();
        assert_eq!((cases.len(), cases[0].name.as_str()), (1, "area/one"));
        assert_eq!(cases[0].expectations, BTreeSet::from([Expectation::Exit]));
        for bad in [
            folder(&[("Dockerfile", ""), why, ("expect/stderr.text", "")]),
            folder(&[("Dockerfile", ""), why]),
            folder(&[("Dockerfile", ""), ("expect/exit", "0\n")]),
            folder(&[why, ("expect/exit", "0\n")]),
            folder(&[("Dockerfile", ""), ("case.toml", "why = 'x'\nargz = []"), ("expect/exit", "0\n")]),
        ] {
            assert!(discover(bad.path()).is_err());
        }
    }

    #[test]
    fn results_are_compared_or_accepted() {
        let directory = folder(&[("Dockerfile", ""), ("case.toml", "why = 'x'"), ("expect/exit", "0\n")]);
        let case = discover(directory.path()).unwrap().remove(0);
        case.check(Expectation::Exit, "0\n", false).unwrap();
        let problem = case.check(Expectation::Exit, "1\n", false).unwrap_err();
        assert!(problem.ends_with("-0\n+1\n"), "{problem}");
        case.check(Expectation::Exit, "1\n", true).unwrap();
        case.check(Expectation::Exit, "1\n", false).unwrap();
    }

    #[test]
    fn contexts_get_modes_and_times() {
        let settings = "why = 'x'\nsetup = ['chmod 600 a', 'ln -s a b']";
        let case = folder(&[("Dockerfile", "FROM x"), ("case.toml", settings), ("a", "1"), ("expect/exit", "0\n")]);
        let case = discover(case.path()).unwrap().remove(0);
        let directory = tempfile::tempdir().unwrap();
        let prepared = case.prepare(directory.path()).unwrap();
        let metadata = fs::metadata(prepared.context.join("a")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
        let seconds = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(seconds, 1_577_836_800);
        assert!(!prepared.context.join("case.toml").exists() && prepared.context.join("Dockerfile").exists());
        prepared.change(&Run { edit: Some(Edit { file: "a".into(), append: "2".into() }), ..Run::default() }).unwrap();
        assert_eq!(fs::read_to_string(prepared.context.join("a")).unwrap(), "12");
    }

    #[test]
    fn differences_are_cut_to_what_differs() {
        assert_eq!(difference("a\nb\nc\nd\n", "a\nb\nx\nd\n"), " a\n b\n-c\n+x\n d\n");
        assert_eq!(difference("a\n", "a\nb\n"), " a\n+b\n");
    }
}
