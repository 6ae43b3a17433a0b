//! What the server has to be told by its surroundings.

use std::fmt;
use std::path::Path;

use bake_dockerfile::Dockerfile;
use bake_lint::LintOptions;

/// The files around a document: this crate opens none.
pub trait Workspace: fmt::Debug {
    /// How `bake lint` would check the file: its configuration and what is known of the build context and of the images that it
    /// names. `document` is where it is on disk, if it is. Asked at every change: what takes time is to be remembered until
    /// [`Self::forget`].
    ///
    /// # Errors
    /// What is wrong with the configuration, for a message to the user. The defaults are used then.
    fn lint_options(&self, document: Option<&Path>, tree: &Dockerfile) -> Result<LintOptions, String>;

    /// Files may have changed: what is remembered of them no longer counts. Called when a document is opened or saved, and when the
    /// editor tells of a change.
    fn forget(&self);

    /// What a directory of the build context holds, without what the ignore file excludes. `directory` is relative to the context,
    /// and empty for the context itself.
    fn context_entries(&self, document: &Path, directory: &str) -> Vec<ContextEntry>;

    /// The directory that files of fixes (`.dockerignore`) are written to: the build context.
    fn context_directory(&self, document: &Path) -> Option<std::path::PathBuf>;

    /// Names of files that `lint_options` depends on, with `*` as a wildcard: when one changes, documents are checked again.
    fn watched_files(&self) -> Vec<String>;
}

/// A file or directory of the build context.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContextEntry {
    /// Its name, without directories.
    pub name: String,
    /// Whether it is a directory.
    pub is_directory: bool,
}
