//! `bake fmt`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bake::cli::FormatArguments;
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake_dockerfile::SourceText;
use bake_format::FormatError;

use super::dockerfile_search::search;
use super::transfer::say;
use super::{difference, dockerfile};
use crate::lint_settings::SettingsFinder;

/// A file with its text as it is and as it should be.
struct Formatted {
    path: PathBuf,
    /// What messages call it.
    name: String,
    before: String,
    after: String,
}

pub(crate) fn run(arguments: &FormatArguments, colour: Colour) -> Result<ExitCode, CommandError> {
    let mut finder = SettingsFinder::new(None, false)?;
    let found = search(&arguments.files)?;
    let mut problems = found.problems;
    let mut files = Vec::new();
    for target in found.targets {
        // What is not to be checked when it is only found is not to be changed either.
        if target.found && is_excluded(&mut finder, &target.path)? {
            continue;
        }
        match format(target.path, arguments) {
            Ok(file) => files.push(file),
            Err(problem) => problems.push(problem),
        }
    }
    let changes: Vec<&Formatted> = files.iter().filter(|file| file.before != file.after).collect();
    if arguments.diff {
        let text: String =
            changes.iter().map(|file| difference::unified(&file.name, &file.before, &file.after)).collect();
        crate::print(&text)?;
    }
    let is_dry = arguments.check || arguments.diff;
    if arguments.check {
        for file in &changes {
            say(&format!("`{}` would be formatted", file.name));
        }
    }
    if !is_dry {
        for file in &files {
            dockerfile::write(&file.path, &file.before, &file.after)?;
        }
        for file in changes.iter().filter(|file| !dockerfile::is_stdin(&file.path)) {
            say(&format!("formatted `{}`", file.name));
        }
    }
    // The worst of what went wrong decides.
    let codes = problems.iter().map(|problem| {
        crate::fail(problem, colour);
        problem.kind().exit_code()
    });
    Ok(match codes.max() {
        Some(code) => ExitCode::from(code),
        None if is_dry && !changes.is_empty() => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}

/// Whether the settings of `bake lint` leave a file out of what a search finds.
fn is_excluded(finder: &mut SettingsFinder, path: &Path) -> Result<bool, CommandError> {
    let settings = finder.for_directory(path.parent().unwrap_or(path))?;
    Ok(settings.excludes(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned())))
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
