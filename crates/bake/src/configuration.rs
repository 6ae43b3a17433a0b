//! The configuration: what holds for every build of a project, a user or a machine.
//!
//! Values come from five places, and each is put over those before it: defaults, `bake.toml` of the project, the machine's file, the
//! user's file, variables of the environment. What is typed is put over all. The table of keys is in [`key`]; which of them a
//! project may set, in [`project`].

pub(crate) mod defaults;
pub(crate) mod document;
pub(crate) mod environment;
pub(crate) mod json_schema;
pub(crate) mod key;
pub(crate) mod project;
pub(crate) mod values;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bake::error::CommandError;
use bake_store::Budget;

use crate::registries::section::{self, RegistrySections};
use crate::settings::{self, Presence};
use crate::step_network::NetworkConfiguration;
use document::Owner;
pub(crate) use document::position;
use key::{Section, Setter, keys};
use project::{project_of, search_directories};
use values::{Origin, Values};

/// Far more than a configuration needs.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The name of a project's file.
pub(crate) const PROJECT_FILE: &str = "bake.toml";

/// What is said about the machine, with defaults for what is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// Whether anybody is to look at what the store takes.
    collects: bool,
    /// What the store may take.
    budget: Budget,
    /// The networks of steps.
    pub(crate) network: NetworkConfiguration,
    /// How registries are talked to.
    pub(crate) registries: RegistrySections,
    /// The OCI runtime of steps, by name or absolute path.
    pub(crate) runtime: Option<String>,
    /// The file with the policy of all builds, an absolute path.
    pub(crate) policy: Option<PathBuf>,
    /// The directory of the store, an absolute path.
    pub(crate) root: Option<PathBuf>,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            collects: true,
            budget: Budget::default(),
            network: NetworkConfiguration::default(),
            registries: RegistrySections::new(),
            runtime: None,
            policy: None,
            root: None,
        }
    }
}

impl Configuration {
    /// Reads the configuration of this machine and user, with the environment's.
    ///
    /// # Errors
    /// A file or variable cannot be read or understood.
    pub(crate) fn read(is_root: bool) -> Result<Self, CommandError> {
        let mut values = of_files(is_root, &Section::OF_MACHINE)?;
        values.put_over(of_environment(&Section::OF_MACHINE)?);
        Self::of_values(&values)
    }

    /// What the store may take; `None` if nobody is to look.
    pub(crate) fn budget(&self) -> Option<&Budget> {
        self.collects.then_some(&self.budget)
    }

    fn of_values(values: &Values) -> Result<Self, CommandError> {
        let mut configuration = Self::default();
        let keys = keys(&Section::OF_MACHINE);
        for (path, entry) in &values.0 {
            let setter = keys.iter().find(|key| key.section == path.section && key.name == path.key);
            let set = match setter.map(|key| key.setter) {
                Some(Setter::Machine(set)) => set(&mut configuration, &entry.value),
                Some(Setter::Registry(set)) => {
                    set(configuration.registries.entry(path.host.clone()).or_default(), &entry.value)
                }
                _ => Ok(()),
            };
            set.map_err(|problem| unusable(&entry.origin, format!("`{path}`: {problem}"), None))?;
        }
        for (host, section) in &configuration.registries {
            section::check(host, section).map_err(CommandError::usage)?;
        }
        Ok(configuration)
    }
}

/// That the values of the machine can be used together.
pub(crate) fn check(values: &Values) -> Result<(), CommandError> {
    Configuration::of_values(values).map(drop)
}

/// What the files of the machine and of the user say about some sections.
pub(crate) fn of_files(is_root: bool, sections: &[Section]) -> Result<Values, CommandError> {
    let mut values = Values::default();
    for file in settings::configuration_files(is_root) {
        if let Some(text) = read_text(&file.path, file.presence)? {
            values.put_over(read_values(&text, &file.path, &Owner::User, sections)?);
        }
    }
    Ok(values)
}

/// What the environment says about some sections.
pub(crate) fn of_environment(sections: &[Section]) -> Result<Values, CommandError> {
    environment::read(sections)
        .map_err(|(name, problem)| unusable(&Origin::Environment(name), problem.text, problem.hint))
}

/// Everything about builds: the project's file that is found from `start` upwards, those of machine and user, the environment.
fn of_build(start: Option<&Path>, is_root: bool) -> Result<Values, CommandError> {
    let sections = [Section::Build];
    let mut values = match start {
        Some(start) => of_project(start, &sections)?.unwrap_or_default(),
        None => Values::default(),
    };
    values.put_over(of_files(is_root, &sections)?);
    values.put_over(of_environment(&sections)?);
    Ok(values)
}

/// What the nearest file of a project with one of these sections says about them.
pub(crate) fn of_project(start: &Path, sections: &[Section]) -> Result<Option<Values>, CommandError> {
    for directory in search_directories(start) {
        if let Some(values) = of_project_directory(&directory, sections)? {
            return Ok(Some(values));
        }
    }
    Ok(None)
}

/// What the `bake.toml` in a directory says; `None` if there is none, or none with one of these sections.
pub(crate) fn of_project_directory(directory: &Path, sections: &[Section]) -> Result<Option<Values>, CommandError> {
    let path = directory.join(PROJECT_FILE);
    let Some(text) = read_text(&path, Presence::Optional)? else { return Ok(None) };
    let shown = shown(&path);
    let table = crate::toml_text::parse_document(&text).map_err(|problem| problem.into_error(&shown))?;
    let values = read_values(&text, &shown, &Owner::Project(project_of(directory)), sections)?;
    Ok(sections.iter().any(|section| table.contains_key(section.name())).then_some(values))
}

/// A path as messages show it: from the current directory on, if it is below that.
pub(crate) fn shown(path: &Path) -> PathBuf {
    let below = std::env::current_dir().ok().and_then(|current| path.strip_prefix(current).ok().map(Path::to_owned));
    below.filter(|below| !below.as_os_str().is_empty()).unwrap_or_else(|| path.to_owned())
}

fn read_values(text: &str, path: &Path, owner: &Owner, sections: &[Section]) -> Result<Values, CommandError> {
    let directory = match owner {
        Owner::Project(project) => project.directory.clone(),
        Owner::User => path.parent().map(Path::to_owned).unwrap_or_default(),
    };
    document::read(text, &path.display().to_string(), &directory, owner, sections)
        .map_err(|problem| problem.into_error(path))
}

/// The text of a file; `None` if there is none and none has to be there.
pub(crate) fn read_text(path: &Path, presence: Presence) -> Result<Option<String>, CommandError> {
    let failed = |problem: String| Problem::new(problem).into_error(path);
    let bytes = match crate::files::read_file(path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error)
            if presence == Presence::Optional
                && matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error.to_string())),
    };
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| failed("it is not UTF-8".to_owned()))
}

/// The error of a command that cannot use what comes from somewhere.
pub(crate) fn unusable(origin: &Origin, problem: String, hint: Option<String>) -> CommandError {
    match origin {
        Origin::Environment(name) => {
            let error = CommandError::usage(format!("cannot use the environment variable `{name}`: {problem}"));
            error.hints(hint)
        }
        Origin::File { path, line, column } => {
            Problem { text: problem, hint, place: Some((*line, *column)) }.into_error(Path::new(&**path))
        }
        Origin::Default => Problem { text: problem, hint, place: None }.into_error(Path::new("default")),
    }
}

/// What is wrong with a configuration.
#[derive(Debug)]
pub(crate) struct Problem {
    /// What it is.
    pub(crate) text: String,
    pub(crate) hint: Option<String>,
    /// Line and column, counted from 1.
    pub(crate) place: Option<(usize, usize)>,
}

impl Problem {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::with_hint(text, None)
    }

    pub(crate) fn with_hint(text: impl Into<String>, hint: Option<String>) -> Self {
        Self { text: text.into(), hint, place: None }
    }

    /// The error of a command that could not use the configuration at `path`.
    pub(crate) fn into_error(self, path: &Path) -> CommandError {
        let place = self.place.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
        let error = format!("cannot use the configuration `{}{place}`: {}", path.display(), self.text);
        CommandError::usage(error).hints(self.hint)
    }

    /// That `what` of this name does not exist, `place` being where it was looked for, such as ` in section ...`.
    pub(crate) fn unknown(what: &str, name: &str, place: &str, known: &[&str]) -> Self {
        let hint = match bake_dockerfile::suggest(name, known.iter().copied(), true) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it may hold {}", known.join(", ")),
        };
        Self::with_hint(format!("there is no {what} `{name}`{place}"), Some(hint))
    }
}

#[cfg(test)]
mod tests;
