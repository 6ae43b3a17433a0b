//! Files that fixes write beside what they check, such as a `.dockerignore`.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use bake::error::CommandError;
use bake_lint::Finding;

use crate::commands::difference;

/// A file to write where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewFileAt {
    path: PathBuf,
    text: String,
}

/// Takes the findings that are mended by writing a file into `directory`, and gives the files.
pub(super) fn take(findings: &mut Vec<Finding>, directory: &Path, include_unsafe: bool) -> Vec<NewFileAt> {
    let mut files: Vec<NewFileAt> = Vec::new();
    findings.retain(|finding| {
        let fix = finding.fix.as_ref().filter(|fix| fix.edits.is_empty() && (fix.safe || include_unsafe));
        let Some(file) = fix.and_then(|fix| fix.new_file.as_ref()) else { return true };
        let path = directory.strip_prefix(".").unwrap_or(directory).join(&file.name);
        if !files.iter().any(|other| other.path == path) {
            files.push(NewFileAt { path, text: file.text.clone() });
        }
        false
    });
    files
}

/// Writes the files. What is there already stays as it is: of several Dockerfiles with one context the first decides.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write<'f>(files: impl Iterator<Item = &'f NewFileAt>) -> Result<(), CommandError> {
    for file in files {
        let made = std::fs::File::options().write(true).create_new(true).open(&file.path);
        match made.and_then(|mut made| made.write_all(file.text.as_bytes())) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(CommandError::input(format!("cannot write `{}`: {error}", file.path.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What [`write`] would write, as differences.
pub(super) fn shown<'f>(files: impl Iterator<Item = &'f NewFileAt>) -> String {
    let mut by_path = BTreeMap::new();
    for file in files {
        by_path.entry(&file.path).or_insert(&file.text);
    }
    by_path.iter().map(|(path, text)| difference::unified(&path.display().to_string(), "", text)).collect()
}
