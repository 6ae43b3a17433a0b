//! `bake lsp`: the language server, with the files of this machine around it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bake::cli::LspArguments;
use bake::error::{CommandError, ErrorKind};
use bake_dockerfile::IgnorePatterns;
use bake_lint::LintOptions;
use bake_lsp::{ContextEntry, SessionEnd, Workspace};

use crate::build::ignore_patterns;

/// Most entries of a directory that are offered: nobody reads longer lists.
const ENTRIES_MAX: usize = 1_000;

/// Most directories above a Dockerfile that are asked for a `.dockerignore`.
const PARENTS_MAX: usize = 32;

pub(crate) fn run(arguments: &LspArguments) -> Result<ExitCode, CommandError> {
    let context = arguments.context.as_deref().map(std::path::absolute).transpose();
    let context = context.map_err(|error| CommandError::usage(format!("cannot use the build context: {error}")))?;
    if let Some(directory) = context.as_ref().filter(|directory| !directory.is_dir()) {
        return Err(CommandError::usage(format!("`{}` is no directory", directory.display()))
            .hint("`--context` takes the directory that the Dockerfiles are built with"));
    }
    let files = Files { context };
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
}

impl Workspace for Files {
    fn lint_options(&self, _document: Option<&Path>) -> Result<LintOptions, String> {
        Ok(LintOptions::default())
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
        [".dockerignore"].map(str::to_owned).to_vec()
    }
}

/// Whether a path, or something below it, is sent to a build.
fn is_sent(patterns: &IgnorePatterns, path: &str, is_directory: bool) -> bool {
    !patterns.matches(path) || (is_directory && patterns.may_match_below(path))
}
