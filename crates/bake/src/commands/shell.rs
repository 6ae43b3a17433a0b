//! `bake completion` and `bake man`.

use bake::cli::{Arguments, CompletionArguments, ManArguments};
use bake::error::CommandError;
use clap::{Command, CommandFactory as _};

use crate::files::replace_file;

/// Writes the completions for a shell to standard output.
pub(crate) fn completion(arguments: &CompletionArguments) -> Result<(), CommandError> {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "bake", &mut text);
    crate::print_bytes(&text)
}

/// Writes the manual pages: one for bake, and one for each command and each of its commands.
pub(crate) fn man(arguments: &ManArguments) -> Result<(), CommandError> {
    let directory = &arguments.directory;
    std::fs::create_dir_all(directory)
        .map_err(|error| CommandError::input(format!("cannot make `{}`: {error}", directory.display())))?;
    let mut command = Arguments::command();
    // Gives commands their full names: `bake imagetools create` instead of `create`.
    command.build();
    for (name, command) in pages(&command, "bake") {
        let path = directory.join(format!("{name}.1"));
        let failed = |error: std::io::Error| CommandError::input(format!("cannot write `{}`: {error}", path.display()));
        let mut page = Vec::new();
        clap_mangen::Man::new(command).title(name.to_uppercase()).render(&mut page).map_err(failed)?;
        replace_file(&path, &page).map_err(failed)?;
    }
    Ok(())
}

/// A command with those below it, each with the name of its page.
fn pages(command: &Command, name: &str) -> Vec<(String, Command)> {
    let mut all = vec![(name.to_owned(), command.clone())];
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        all.extend(pages(inner, &format!("{name}-{}", inner.get_name())));
    }
    all
}
