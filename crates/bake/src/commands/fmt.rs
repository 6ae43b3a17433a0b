//! `bake fmt`.

use std::path::PathBuf;
use std::process::ExitCode;

use bake::cli::FormatArguments;
use bake::error::CommandError;
use bake_dockerfile::SourceText;
use bake_format::FormatError;

use super::transfer::say;
use super::{difference, dockerfile};

/// A file with its text as it is and as it should be.
struct Formatted {
    path: PathBuf,
    /// What messages call it.
    name: String,
    before: String,
    after: String,
}

pub(crate) fn run(arguments: &FormatArguments) -> Result<ExitCode, CommandError> {
    let mut files = Vec::new();
    for path in dockerfile::paths(&arguments.files)? {
        files.push(format(path, arguments)?);
    }
    if !arguments.check && !arguments.diff {
        for file in &files {
            dockerfile::write(&file.path, &file.before, &file.after)?;
        }
        let changed = files.iter().filter(|file| file.before != file.after);
        for file in changed.filter(|file| !dockerfile::is_stdin(&file.path)) {
            say(&format!("formatted `{}`", file.name));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let changes: Vec<&Formatted> = files.iter().filter(|file| file.before != file.after).collect();
    if arguments.diff {
        let text: String =
            changes.iter().map(|file| difference::unified(&file.name, &file.before, &file.after)).collect();
        crate::print(&text)?;
    }
    if arguments.check {
        for file in &changes {
            say(&format!("`{}` would be formatted", file.name));
        }
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn format(path: PathBuf, arguments: &FormatArguments) -> Result<Formatted, CommandError> {
    let before = dockerfile::read(&path)?;
    let name = match (&arguments.stdin_filename, dockerfile::is_stdin(&path)) {
        (Some(name), true) => name.display().to_string(),
        (None, true) => "<stdin>".to_owned(),
        (_, false) => path.display().to_string(),
    };
    let parsed = bake_dockerfile::parse(SourceText::new(name.clone(), before.as_str()));
    let after = match bake_format::format(&parsed) {
        Ok(after) => after,
        Err(error @ FormatError::OtherFrontend) => {
            say(&format!("`{name}` is left as it is: {error}"));
            before.clone()
        }
        Err(error @ FormatError::MeaningChanged) => {
            return Err(CommandError::internal(format!("cannot format `{name}`: {error}"))
                .hint("the file was not changed; please report it with the file"));
        }
    };
    Ok(Formatted { path, name, before, after })
}
