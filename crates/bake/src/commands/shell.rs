//! `bake completion`, `bake man` and `--help`.

use std::ffi::OsString;
use std::fmt::Write as _;

use bake::cli::help::{self, Part};
use bake::cli::{Arguments, CompletionArguments, ManArguments};
use bake::error::CommandError;
use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::files::replace_file;
use crate::settings;

/// What is written instead of what parsing ended with: where that is a help text, the one that is laid out.
pub(crate) fn help(typed: &[OsString], ended: clap::Error) -> clap::Error {
    match ended.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            help::command(settings::help_width()).try_get_matches_from(typed).err().unwrap_or(ended)
        }
        _ => ended,
    }
}

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
        let page = page(command, &name).map_err(failed)?;
        replace_file(&path, &page).map_err(failed)?;
    }
    Ok(())
}

/// One page. Only what stands below the options in the help is laid out here: examples are a section of their own.
fn page(command: Command, name: &str) -> std::io::Result<Vec<u8>> {
    let below = help::below(&command);
    let holds_others = command.has_subcommands();
    let man = Man::new(command).title(name.to_uppercase()).source(concat!("bake ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if holds_others {
        man.render_subcommands_section(&mut page)?;
    }
    let mut text = String::new();
    for part in help::parts(&below) {
        let (section, lines) = match &part {
            Part::Examples(lines) => ("EXAMPLES", lines),
            Part::Text(lines) => ("NOTES", lines),
        };
        if !text.contains(&format!(".SH {section}\n")) {
            let _ = writeln!(text, ".SH {section}");
        }
        // What is indented is a table, and an example is a line of its own.
        let as_it_is = matches!(part, Part::Examples(_)) || lines.iter().any(|line| line.starts_with(' '));
        text.push_str(if as_it_is { ".PP\n.nf\n" } else { ".PP\n" });
        for line in lines {
            text.push_str(&roff(line));
        }
        text.push_str(if as_it_is { ".fi\n" } else { "" });
    }
    page.extend_from_slice(text.as_bytes());
    Ok(page)
}

/// A line as roff shows it unchanged.
fn roff(line: &str) -> String {
    let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
    format!("{guard}{}\n", line.replace('\\', "\\e").replace('-', "\\-"))
}

/// A command with those below it, each with the name of its page.
fn pages(command: &Command, name: &str) -> Vec<(String, Command)> {
    let mut all = vec![(name.to_owned(), command.clone())];
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        all.extend(pages(inner, &format!("{name}-{}", inner.get_name())));
    }
    all
}
