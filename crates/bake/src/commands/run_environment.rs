//! The environment of `bake run`: the image's, then the files', then what was typed.

use std::io::Read as _;
use std::path::Path;

use bake::cli::RunArguments;
use bake::error::CommandError;

use crate::console::Terminal;
use crate::settings::variable;

/// The largest file of variables: the kernel takes no more of them all together.
const FILE_BYTES_MAX: u64 = 6 << 20;
/// What a command with a terminal is told of it, as by docker.
const TERMINAL_KIND: &str = "xterm";

/// All variables, in order; of several of one name, the last one counts.
pub(super) fn environment(
    arguments: &RunArguments,
    of_image: &[String],
    terminal: Terminal,
) -> Result<Vec<(String, String)>, CommandError> {
    let mut env: Vec<(String, String)> = Vec::new();
    if terminal == Terminal::Given {
        set(&mut env, "TERM", TERMINAL_KIND.to_owned());
    }
    for (name, value) in of_image.iter().filter_map(|entry| entry.split_once('=')) {
        set(&mut env, name, value.to_owned());
    }
    for path in &arguments.env_file {
        for (name, value) in file(path)? {
            set(&mut env, &name, value);
        }
    }
    for assignment in &arguments.env {
        if let Some(value) = assignment.value.clone().or_else(|| variable(&assignment.name)) {
            set(&mut env, &assignment.name, value);
        }
    }
    Ok(env)
}

fn set(env: &mut Vec<(String, String)>, name: &str, value: String) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => env.push((name.to_owned(), value)),
    }
}

fn file(path: &Path) -> Result<Vec<(String, String)>, CommandError> {
    let shown = path.display();
    let unreadable =
        |error: std::io::Error| CommandError::input(format!("cannot read the environment file `{shown}`: {error}"));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(CommandError::input(format!(
            "the environment file `{shown}` has more than {FILE_BYTES_MAX} bytes"
        )));
    }
    parse(&text).map_err(|(line, problem)| {
        CommandError::input(format!("the environment file `{shown}` cannot be used: line {line}: {problem}"))
    })
}

/// Docker's rules: values as they are, quotes included; lines that are empty or begin with `#` mean nothing.
fn parse(text: &str) -> Result<Vec<(String, String)>, (usize, &'static str)> {
    let mut variables = Vec::new();
    for (number, line) in (1..).zip(text.strip_prefix('\u{feff}').unwrap_or(text).lines()) {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line.trim_end(), variable(line.trim_end())),
        };
        if name.is_empty() {
            return Err((number, "a variable has no name"));
        }
        if name.contains(char::is_whitespace) {
            return Err((number, "a variable's name holds white space"));
        }
        variables.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_by_dockers_rules() {
        let text = "# comment\n\nA=1=2\n  B=\"quoted\" \nEMPTY=\nNOT_SET_ANYWHERE_HERE\n";
        let expected = [("A", "1=2"), ("B", "\"quoted\" "), ("EMPTY", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parse(text), Ok(expected.to_vec()));
        assert_eq!(parse("A=1\n=2"), Err((2, "a variable has no name")));
        assert_eq!(parse("A B=2"), Err((1, "a variable's name holds white space")));
    }
}
