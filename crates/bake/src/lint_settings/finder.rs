//! Which file holds the settings of a Dockerfile.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bake::error::CommandError;

use super::{LintSettings, document, hadolint};
use crate::configuration::Problem;
use crate::settings;

/// The files that are looked for in each directory, the first one wins.
const NAMES: [&str; 2] = [".bake-lint.toml", "bake.toml"];

/// Far more than such a file needs.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Finds and reads files with settings, each once.
#[derive(Debug)]
pub(crate) struct SettingsFinder {
    rule: FinderRule,
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
        let rule = if ignore_files {
            FinderRule::Fixed(Arc::default())
        } else if let Some(path) = file {
            let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            let read = if is_yaml { read_hadolint(path)? } else { read_document(path, false)? };
            let missing = || Problem::new("there is no such file").into_error(path);
            FinderRule::Fixed(Arc::new(read.ok_or_else(missing)?))
        } else {
            FinderRule::Nearest(Arc::new(hadolint_settings()?))
        };
        Ok(Self { rule, found: HashMap::new() })
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
        // A path through a link has the parents of what it leads to.
        let start = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let start =
            std::fs::canonicalize(start).or_else(|_| std::path::absolute(start)).unwrap_or_else(|_| start.to_owned());
        Ok(self.nearest(&start)?.unwrap_or(fallback))
    }

    fn nearest(&mut self, start: &Path) -> Result<Option<Arc<LintSettings>>, CommandError> {
        let mut passed = Vec::new();
        let mut result = None;
        for directory in start.ancestors() {
            if let Some(known) = self.found.get(directory) {
                result.clone_from(known);
                break;
            }
            passed.push(directory.to_owned());
            if let Some(settings) = read_directory(directory)? {
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
    for name in NAMES {
        if let Some(settings) = read_document(&directory.join(name), name == "bake.toml")? {
            return Ok(Some(settings));
        }
    }
    Ok(None)
}

fn read_document(path: &Path, has_sections: bool) -> Result<Option<LintSettings>, CommandError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    let directory = path.parent().unwrap_or_else(|| Path::new(""));
    document::parse(&text, directory, has_sections).map_err(|problem| problem.into_error(path))
}

fn read_hadolint(path: &Path) -> Result<Option<LintSettings>, CommandError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
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

/// The text of a file; `None` if there is none.
fn read_text(path: &Path) -> Result<Option<String>, CommandError> {
    let failed = |problem: String| Problem::new(problem).into_error(path);
    let bytes = match crate::files::read_file(path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| failed("it is not UTF-8".to_owned()))
}
