//! Which programs are shells, what their options switch on, and which words only wrap another command.

use super::{Dialect, ShellWord, base_name};

/// A shell about to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShellProgram {
    pub(crate) dialect: Dialect,
    pub(crate) pipefail: bool,
    pub(crate) errexit: bool,
    pub(crate) input: ShellInput,
}

/// Where a shell reads its commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShellInput {
    /// The argument with this index (`-c`), counted from the word after the program.
    Argument(usize),
    /// Standard input.
    Standard,
    /// A file in the image: what runs there is unknown.
    File,
}

/// Reads a shell's command line (program and arguments); `None` when the program is not a POSIX-like shell.
pub(crate) fn shell_program<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Option<ShellProgram> {
    let dialect = match base_name(program).trim_end_matches(".exe") {
        "sh" | "dash" | "ash" => Dialect::Posix,
        "bash" | "zsh" | "ksh" | "mksh" => Dialect::Bash,
        _ => return None,
    };
    let mut shell = ShellProgram { dialect, pipefail: false, errexit: false, input: ShellInput::Standard };
    let mut command_wanted = false;
    let mut option_names_wanted = 0_usize;
    for (index, argument) in arguments.into_iter().enumerate() {
        if option_names_wanted > 0 {
            option_names_wanted -= 1;
            match argument {
                "pipefail" => shell.pipefail = true,
                "errexit" => shell.errexit = true,
                _ => {}
            }
        } else if argument == "-" || argument == "--" {
            // Ends the options; what follows is read by the branch below.
        } else if let Some(long) = argument.strip_prefix("--") {
            option_names_wanted += usize::from(matches!(long, "rcfile" | "init-file"));
        } else if let Some(letters) = argument.strip_prefix('-').or_else(|| argument.strip_prefix('+')) {
            let on = argument.starts_with('-');
            command_wanted |= on && letters.contains('c');
            shell.errexit |= on && letters.contains('e');
            option_names_wanted += letters.matches(['o', 'O']).count();
        } else {
            shell.input = if command_wanted { ShellInput::Argument(index) } else { ShellInput::File };
            return Some(shell);
        }
    }
    if command_wanted {
        // `SHELL ["bash", "-c"]`: the command follows from elsewhere.
        shell.input = ShellInput::Standard;
    }
    Some(shell)
}

/// What `set ARGUMENTS` does to option `name`: on, off, or nothing.
pub(crate) fn set_option(arguments: &[ShellWord], name: &str) -> Option<bool> {
    let letter = match name {
        "errexit" => Some('e'),
        _ => None,
    };
    let mut result = None;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let Some(on) = word.text.chars().next().and_then(|c| match c {
            '-' => Some(true),
            '+' => Some(false),
            _ => None,
        }) else {
            break;
        };
        let letters = &word.text[1..];
        if letters == "-" {
            break;
        }
        if letter.is_some_and(|letter| letters.contains(letter)) {
            result = Some(on);
        }
        for _ in letters.matches('o') {
            if words.next().is_some_and(|option| option.text == name) {
                result = Some(on);
            }
        }
    }
    result
}

/// The index of the word that is the program, after words that only run another command.
pub(crate) fn program_index(words: &[ShellWord]) -> usize {
    let mut index = 0;
    while let Some(word) = words.get(index) {
        let valued: &[&str] = match base_name(&word.text) {
            "sudo" => &["-u", "-g", "-h", "-p", "-C", "-r", "-t", "--user", "--group"],
            "env" => &["-u", "-C", "--unset", "--chdir"],
            "nice" => &["-n"],
            "ionice" => &["-c", "-n"],
            "timeout" => &["-s", "-k", "--signal", "--kill-after"],
            "xargs" => &["-a", "-n", "-P", "-I", "-d", "-L", "-s", "-E"],
            "exec" | "command" | "builtin" | "nohup" | "time" | "eatmydata" | "setarch" => &[],
            _ => return index,
        };
        let wrapper = base_name(&word.text);
        let mut next = index + 1;
        let mut operands_left = usize::from(wrapper == "timeout");
        while let Some(argument) = words.get(next) {
            if matches!(wrapper, "command") && matches!(argument.text.as_str(), "-v" | "-V") {
                // `command -v make` asks whether make exists; it runs nothing.
                return index;
            }
            if valued.contains(&argument.text.as_str()) {
                next += 2;
            } else if argument.text.starts_with('-')
                || (matches!(wrapper, "env" | "sudo") && is_assignment(&argument.text))
            {
                next += 1;
            } else if operands_left > 0 {
                operands_left -= 1;
                next += 1;
            } else {
                break;
            }
        }
        if next >= words.len() {
            return index;
        }
        index = next;
    }
    0
}

/// Whether `text` is `NAME=...` or `NAME[index]=...`.
pub(crate) fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        let name = name.trim_end_matches('+');
        let name = name.split_once('[').filter(|(_, index)| index.ends_with(']')).map_or(name, |(name, _)| name);
        is_name(name)
    })
}

/// Whether `text` is a shell variable name.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
}
