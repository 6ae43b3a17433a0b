//! Options of `bake lint` that are given by variables of the environment.
//!
//! clap can read variables too, but takes an empty one for a value; in workflows an input that was left out becomes an empty variable.

use std::ffi::OsString;

use bake::cli::Arguments;
use bake::error::CommandError;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory as _};

/// How the variables begin.
pub(crate) const VARIABLE_PREFIX: &str = "BAKE_LINT_";

/// What a variable must not do: change files, or ask for something else than checking them.
const TYPED_ONLY: [&str; 8] =
    ["diff", "explain", "fix", "help", "list-rules", "statistics", "stdin-filename", "unsafe-fixes"];

/// The words for yes and no.
pub(crate) const YES: [&str; 4] = ["1", "true", "yes", "on"];
pub(crate) const NO: [&str; 4] = ["0", "false", "no", "off"];

/// The command line `typed` with an option for each variable `BAKE_LINT_OPTION` that is set, unless the option was typed. `None` where
/// nothing is to be added: no variable is set, or the command is another one or is none.
///
/// # Errors
/// The variable of a switch says neither yes nor no.
pub(crate) fn with_variables(
    typed: &[OsString],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Vec<OsString>>, CommandError> {
    if !typed.iter().any(|argument| argument == "lint") {
        return Ok(None);
    }
    let command = Arguments::command();
    let Some(lint) = command.find_subcommand("lint") else { return Ok(None) };
    let given: Vec<(&Arg, &str, String)> = lint
        .get_arguments()
        .filter_map(|argument| {
            let option = argument.get_long().filter(|option| !TYPED_ONLY.contains(option))?;
            let value = variable(&format!("{VARIABLE_PREFIX}{}", option.replace('-', "_").to_uppercase()))?;
            Some((argument, option, value))
        })
        .collect();
    if given.is_empty() {
        return Ok(None);
    }
    // A wrong command line is reported when it is parsed for good.
    let Some(matches) = lint_matches(typed) else { return Ok(None) };
    let Some(place) = (1..typed.len()).find(|end| lint_matches(&typed[..=*end]).is_some()) else { return Ok(None) };
    let was_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let mut added: Vec<OsString> = Vec::new();
    for (argument, option, value) in given {
        let about_files = option == "config" || option == "no-config";
        if was_typed(argument.get_id().as_str()) || (about_files && (was_typed("config") || was_typed("no_config"))) {
            continue;
        }
        if !matches!(argument.get_action(), ArgAction::SetTrue) {
            added.push(format!("--{option}={value}").into());
        } else if YES.contains(&value.to_lowercase().as_str()) {
            added.push(format!("--{option}").into());
        } else if !NO.contains(&value.to_lowercase().as_str()) {
            let name = option.replace('-', "_").to_uppercase();
            return Err(CommandError::usage(format!(
                "`{VARIABLE_PREFIX}{name}` is `{value}`: expected `true` or `false`"
            )));
        }
    }
    let mut all = typed.to_vec();
    all.splice(place + 1..=place, added);
    Ok(Some(all))
}

/// What was typed for `lint`, if that is the command.
fn lint_matches(typed: &[OsString]) -> Option<ArgMatches> {
    let mut matches = Arguments::command().try_get_matches_from(typed).ok()?;
    matches.remove_subcommand().filter(|(name, _)| name == "lint").map(|(_, matches)| matches)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn extended(typed: &[&str], variables: &[(&str, &str)]) -> Option<Vec<String>> {
        let typed: Vec<OsString> = std::iter::once("bake").chain(typed.iter().copied()).map(OsString::from).collect();
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let all = with_variables(&typed, variable).unwrap()?;
        Some(all.into_iter().skip(1).map(|argument| argument.into_string().unwrap()).collect())
    }

    #[test]
    fn variables_become_options_unless_typed() {
        let variables = [("BAKE_LINT_SELECT", "sudo,DL*"), ("BAKE_LINT_FAIL_LEVEL", "error"), ("BAKE_LINT_FIX", "1")];
        let all = extended(&["--root", "lint", "lint", "--fail-level", "info", "--measure", "--", "lint"], &variables)
            .unwrap();
        assert_eq!(
            all,
            ["--root", "lint", "lint", "--select=sudo,DL*", "--fail-level", "info", "--measure", "--", "lint"]
        );
        assert_eq!(extended(&["lint"], &[]), None);
        assert_eq!(extended(&["images"], &variables), None);
    }

    #[test]
    fn switches_are_told_by_words() {
        assert_eq!(extended(&["lint"], &[("BAKE_LINT_NO_FAIL", "Yes")]).unwrap(), ["lint", "--no-fail"]);
        assert_eq!(extended(&["lint"], &[("BAKE_LINT_NO_FAIL", "0")]).unwrap(), ["lint"]);
        let typed = ["bake", "lint"].map(OsString::from);
        assert!(with_variables(&typed, |name| (name == "BAKE_LINT_NO_FAIL").then(|| "maybe".to_owned())).is_err());
    }

    #[test]
    fn one_word_about_files_is_enough() {
        assert_eq!(
            extended(&["lint", "--no-config"], &[("BAKE_LINT_CONFIG", "a.toml")]).unwrap(),
            ["lint", "--no-config"]
        );
    }
}
