//! `bake lsp`: the language server, with the files of this machine around it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bake::cli::LspArguments;
use bake::error::{CommandError, ErrorKind};
use bake_dockerfile::{Dockerfile, IgnorePatterns};
use bake_lint::{BuildContext, Found, IgnoreFile, LintOptions, UnwantedPath};
use bake_lsp::{ContextEntry, SessionEnd, Workspace};

use super::lint::surroundings::Surroundings;
use crate::build::ignore_patterns;
use crate::lint_settings::SettingsFinder;

/// Most entries of a directory that are offered: nobody reads longer lists.
const ENTRIES_MAX: usize = 1_000;

/// Most directories above a Dockerfile that are asked for a `.dockerignore`.
const PARENTS_MAX: usize = 32;

pub(crate) fn run(arguments: &LspArguments, root: Option<&Path>) -> Result<ExitCode, CommandError> {
    let context = arguments.context.as_deref().map(std::path::absolute).transpose();
    let context = context.map_err(|error| CommandError::usage(format!("cannot use the build context: {error}")))?;
    let surroundings = Surroundings::new(context.as_deref(), root)?;
    let files = Files { context, surroundings, remembered: RefCell::default() };
    let end = bake_lsp::serve(std::io::stdin(), std::io::stdout(), &files, env!("CARGO_PKG_VERSION"))
        .map_err(|error| CommandError::from_error(ErrorKind::Build, &error))?;
    Ok(match end {
        SessionEnd::Orderly => ExitCode::SUCCESS,
        SessionEnd::Abrupt => ExitCode::FAILURE,
    })
}

/// The files of this machine.
#[derive(Debug)]
struct Files {
    /// The build context of all Dockerfiles, where one was given.
    context: Option<PathBuf>,
    surroundings: Surroundings,
    /// By document: its settings, and the build context with what was found out about it.
    remembered: RefCell<HashMap<Option<PathBuf>, LintOptions>>,
}

impl Files {
    /// The settings for a document.
    fn settings(document: Option<&Path>) -> Result<LintOptions, String> {
        let failed = |error: CommandError| error.message().to_owned();
        // What is on no disk may be saved where the editor was started.
        let path = document.unwrap_or(Path::new("Dockerfile"));
        let mut finder = SettingsFinder::new(None, false).map_err(failed)?;
        let settings = finder.for_directory(path.parent().unwrap_or(path)).map_err(failed)?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(settings.options_for(&absolute))
    }
}

impl Workspace for Files {
    fn lint_options(&self, document: Option<&Path>, tree: &Dockerfile) -> Result<LintOptions, String> {
        let key = document.map(Path::to_owned);
        let known = self.remembered.borrow().get(&key).cloned();
        let is_known = known.is_some();
        let mut options = match known {
            Some(options) => options,
            None => Self::settings(document)?,
        };
        let context = options.context.take();
        self.surroundings.add_to(&mut options, tree, document);
        if is_known {
            options.context = context;
        } else {
            options.context = options.context.map(|context| Arc::new(RememberedContext::new(context)) as _);
            self.remembered.borrow_mut().insert(key, options.clone());
        }
        Ok(options)
    }

    fn forget(&self) {
        self.remembered.borrow_mut().clear();
    }

    fn context_entries(&self, document: &Path, directory: &str) -> Vec<ContextEntry> {
        let Some(context) = self.context_directory(document) else { return Vec::new() };
        let directory = directory.trim_start_matches('/').trim_start_matches("./");
        // Nothing outside of the context can be copied.
        if directory.split('/').any(|part| part == "..") {
            return Vec::new();
        }
        let patterns = ignore_patterns(Some(document), &context).unwrap_or_default();
        let Ok(entries) = std::fs::read_dir(context.join(directory)) else { return Vec::new() };
        let mut found: Vec<ContextEntry> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter_map(|name| {
                let path = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
                let is_directory = context.join(&path).is_dir();
                is_sent(&patterns, &path, is_directory).then_some(ContextEntry { name, is_directory })
            })
            .take(ENTRIES_MAX)
            .collect();
        found.sort();
        found
    }

    fn context_directory(&self, document: &Path) -> Option<PathBuf> {
        if let Some(context) = &self.context {
            return Some(context.clone());
        }
        let own = document.parent()?;
        let marked = own.ancestors().take(PARENTS_MAX).find(|directory| directory.join(".dockerignore").is_file());
        Some(marked.unwrap_or(own).to_owned())
    }

    fn watched_files(&self) -> Vec<String> {
        [".bake-lint.toml", "bake.toml", ".hadolint.yaml", "*.dockerignore"].map(str::to_owned).to_vec()
    }
}

/// A build context that is asked each question once: a directory is not to be searched at every key.
#[derive(Debug)]
struct RememberedContext {
    context: Arc<dyn BuildContext>,
    ignore_file: OnceLock<Option<IgnoreFile>>,
    unwanted: OnceLock<Vec<UnwantedPath>>,
    found: Mutex<HashMap<String, Found>>,
}

impl RememberedContext {
    /// Most sources that are remembered; a file that people write has fewer.
    const SOURCES_MAX: usize = 10_000;

    fn new(context: Arc<dyn BuildContext>) -> Self {
        Self { context, ignore_file: OnceLock::new(), unwanted: OnceLock::new(), found: Mutex::default() }
    }
}

impl BuildContext for RememberedContext {
    fn ignore_file(&self) -> Option<IgnoreFile> {
        self.ignore_file.get_or_init(|| self.context.ignore_file()).clone()
    }

    fn find(&self, source: &str) -> Found {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = found.get(source) {
            return known.clone();
        }
        let answer = self.context.find(source);
        if found.len() < Self::SOURCES_MAX {
            found.insert(source.to_owned(), answer.clone());
        }
        answer
    }

    fn unwanted(&self) -> Vec<UnwantedPath> {
        self.unwanted.get_or_init(|| self.context.unwanted()).clone()
    }
}

/// Whether a path, or something below it, is sent to a build.
fn is_sent(patterns: &IgnorePatterns, path: &str, is_directory: bool) -> bool {
    !patterns.matches(path) || (is_directory && patterns.may_match_below(path))
}
