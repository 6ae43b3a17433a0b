//! Commands in the documentation as the program's own parser understands them.

use bake::cli::Arguments;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use super::support::{Outcome, check};

/// The simple commands of a shell script, as words without quotes: enough of a shell for what people put into documentation.
pub(crate) fn simple_commands(script: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = script.chars().peekable();
    let mut skip_next_word = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('\n') | None => {}
                Some(next) => word.get_or_insert_default().push(next),
            },
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                while let Some(next) = characters.next().filter(|next| *next != character) {
                    match next {
                        '\\' if character == '"' => word.extend(characters.next()),
                        _ => word.push(next),
                    }
                }
            }
            '#' if word.is_none() => while characters.next_if(|next| *next != '\n').is_some() {},
            ' ' | '\t' | '\n' | ';' | '|' | '&' | '<' | '>' | '(' | ')' => {
                // Digits before a redirection name a descriptor.
                let descriptor = matches!(character, '<' | '>')
                    && word.as_ref().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
                match word.take() {
                    Some(_) if descriptor => {}
                    Some(_) if skip_next_word => skip_next_word = false,
                    Some(word) => words.push(word),
                    None => {}
                }
                if matches!(character, '<' | '>') {
                    skip_next_word = true;
                    while characters.next_if(|next| matches!(next, '<' | '>' | '&')).is_some() {}
                } else if !matches!(character, ' ' | '\t') {
                    commands.push(std::mem::take(&mut words));
                }
            }
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word.filter(|_| !skip_next_word));
    commands.push(words);
    commands.retain(|words| !words.is_empty());
    commands
}

/// That every command of ours in a script can be typed.
pub(crate) fn can_be_typed(script: &str) -> Outcome {
    for words in simple_commands(script) {
        let assigned = |word: &&String| word.split_once('=').is_some_and(|(name, _)| is_name(name));
        let words: Vec<&String> = words.iter().skip_while(assigned).collect();
        let words = if words.first().is_some_and(|word| *word == "sudo") { &words[1..] } else { &words[..] };
        match words {
            [program, ..] if *program == "bake" => {
                if let Err(error) = Arguments::try_parse_from(words)
                    && !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
                {
                    return Err(format!("bake does not understand this command: {words:?}\n{error}"));
                }
            }
            [program, name, command, ..] if *program == "cargo" && *name == "xtask" => {
                // Its commands are variants of a type, which that crate shows to nobody.
                let variant: String = command.split('-').map(capitalized).collect();
                let known = include_str!("../../crates/xtask/src/main.rs").contains(&format!("Command::{variant} "));
                check(known, || format!("there is no `cargo xtask {command}`"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(characters).collect()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// That a command in running text, such as `bake prune --all`, names a command and flags that there are. It need not be complete.
pub(crate) fn is_known(span: &str) -> Outcome {
    let program = Arguments::command();
    let commands = simple_commands(span);
    let mut words = commands.first().map(Vec::as_slice).unwrap_or_default().iter().skip(1).peekable();
    let mut current = &program;
    while let Some(next) = words.peek().and_then(|word| current.find_subcommand(word.as_str())) {
        current = next;
        words.next();
    }
    // Some take a name in place of a command.
    if current.has_subcommands() && current.get_positionals().next().is_none() {
        let placeholder = |word: &&String| word.chars().all(|character| character.is_ascii_uppercase());
        let fine = words.peek().is_none_or(|word| word.starts_with('-') || placeholder(word) || *word == "...");
        check(fine, || format!("`{span}`: bake has no such command"))?;
    }
    if program.get_subcommands().all(|command| command.get_name() != current.get_name()) && !current.has_subcommands() {
        return Ok(());
    }
    for word in words.take_while(|word| *word != "--") {
        let Some(flag) = word.strip_prefix("--").map(|flag| flag.split('=').next().unwrap_or(flag)) else { continue };
        let has = |command: &clap::Command| {
            command.get_arguments().any(|argument| {
                let names = argument.get_long_and_visible_aliases().unwrap_or_default();
                names.contains(&flag) || argument.get_all_aliases().unwrap_or_default().contains(&flag)
            })
        };
        check(flag == "help" || has(current) || has(&program) || current.has_subcommands(), || {
            format!("`{span}`: `bake {}` has no flag `--{flag}`", current.get_name())
        })?;
    }
    Ok(())
}
