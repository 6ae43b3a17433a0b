//! Which file holds the settings of a Dockerfile.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bake::error::CommandError;

use super::{LintSettings, document, hadolint};
use crate::configuration::key::Section;
use crate::configuration::project::search_directories;
use crate::configuration::{self, Problem, of_files, of_project_directory};
use crate::settings::{self, Presence};

/// The file that goes before `bake.toml` of the same directory.
const OWN_NAME: &str = ".bake-lint.toml";

/// Finds and reads files with settings, each once.
#[derive(Debug)]
pub(crate) struct SettingsFinder {
    rule: FinderRule,
    /// What the files of machine and user say; it is put over what is found.
    over: Arc<LintSettings>,
    /// By directory: what its nearest file says.
    found: HashMap<PathBuf, Option<Arc<LintSettings>>>,
}

#[derive(Debug)]
enum FinderRule {
    /// The same settings for every Dockerfile.
    Fixed(Arc<LintSettings>),
    /// The nearest file, or else these settings.
    Nearest(Arc<LintSettings>),
}

impl SettingsFinder {
    /// With `file`, that file holds for all; with `ignore_files`, none does.
    ///
    /// # Errors
    /// A file cannot be read or understood.
    pub(crate) fn new(file: Option<&Path>, ignore_files: bool) -> Result<Self, CommandError> {
        let mut over = LintSettings::default();
        let rule = if ignore_files {
            FinderRule::Fixed(Arc::default())
        } else if let Some(path) = file {
            let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            let read = if is_yaml { read_hadolint(path)? } else { read_document(path)? };
            let missing = || Problem::new("there is no such file").into_error(path);
            FinderRule::Fixed(Arc::new(read.ok_or_else(missing)?))
        } else {
            let of_user = of_files(rustix::process::geteuid().is_root(), &[Section::Lint])?;
            over = document::of_values(&of_user).map_err(|problem| CommandError::usage(problem.text))?;
            FinderRule::Nearest(Arc::new(hadolint_settings()?))
        };
        Ok(Self { rule, over: Arc::new(over), found: HashMap::new() })
    }

    /// The settings for the Dockerfiles in `directory`.
    ///
    /// # Errors
    /// The nearest file with settings cannot be read or understood.
    pub(crate) fn for_directory(&mut self, directory: &Path) -> Result<Arc<LintSettings>, CommandError> {
        let fallback = match &self.rule {
            FinderRule::Fixed(settings) => return Ok(Arc::clone(settings)),
            FinderRule::Nearest(fallback) => Arc::clone(fallback),
        };
        let found = self.nearest(directory)?.unwrap_or(fallback);
        Ok(if self.over.is_silent() { found } else { Arc::new(found.with(&self.over)) })
    }

    fn nearest(&mut self, start: &Path) -> Result<Option<Arc<LintSettings>>, CommandError> {
        let mut passed = Vec::new();
        let mut result = None;
        for directory in search_directories(start) {
            if let Some(known) = self.found.get(&directory) {
                result.clone_from(known);
                break;
            }
            passed.push(directory.clone());
            if let Some(settings) = read_directory(&directory)? {
                result = Some(Arc::new(settings));
                break;
            }
        }
        for directory in passed {
            self.found.insert(directory, result.clone());
        }
        Ok(result)
    }
}

fn read_directory(directory: &Path) -> Result<Option<LintSettings>, CommandError> {
    if let Some(settings) = read_document(&directory.join(OWN_NAME))? {
        return Ok(Some(settings));
    }
    let Some(values) = of_project_directory(directory, &[Section::Lint])? else { return Ok(None) };
    document::of_values(&values)
        .map(Some)
        .map_err(|problem| problem.into_error(&directory.join(configuration::PROJECT_FILE)))
}

fn read_document(path: &Path) -> Result<Option<LintSettings>, CommandError> {
    let Some(text) = configuration::read_text(path, Presence::Optional)? else { return Ok(None) };
    let directory = path.parent().unwrap_or_else(|| Path::new(""));
    document::parse(&text, &path.display().to_string(), directory).map(Some).map_err(|problem| problem.into_error(path))
}

fn read_hadolint(path: &Path) -> Result<Option<LintSettings>, CommandError> {
    let Some(text) = configuration::read_text(path, Presence::Optional)? else { return Ok(None) };
    let mut settings = hadolint::parse(&text).map_err(|problem| problem.into_error(path))?;
    for remark in &mut settings.remarks {
        *remark = format!("{}: {remark}", path.display());
    }
    Ok(Some(settings))
}

/// What hadolint would read: the first file in the order of its documentation.
fn hadolint_settings() -> Result<LintSettings, CommandError> {
    let home = settings::variable("HOME").map(PathBuf::from);
    let configuration = settings::variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let of_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let places = [
        Some(PathBuf::from(".hadolint")),
        configuration.map(|directory| directory.join("hadolint")),
        of_home(".config/hadolint"),
        of_home(".hadolint/hadolint"),
        of_home("hadolint/config"),
        of_home(".hadolint"),
    ];
    for place in places.into_iter().flatten() {
        for extension in ["yaml", "yml"] {
            let mut path = place.clone().into_os_string();
            path.push(".");
            path.push(extension);
            if let Some(settings) = read_hadolint(Path::new(&path))? {
                return Ok(settings);
            }
        }
    }
    Ok(LintSettings::default())
}
