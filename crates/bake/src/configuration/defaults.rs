//! `[build]` and `BAKE_BUILD_*`: what flags of `bake build` are when they are not typed.
//!
//! A value becomes a flag of the command line, which is then parsed once more: so a value means exactly what it would mean typed.
//! A flag that was typed replaces what is configured, except that tables (`--build-arg`, `--label`, ...) are put together by name.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bake::cli::{Arguments, BuildArguments, Command};
use bake::error::CommandError;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _};
use toml::Value;

use super::key::Section;
use super::values::{Entry, ValuePath, Values, items, text};

/// The arguments of a build together with what is configured.
#[derive(Debug)]
pub(crate) struct Configured {
    pub(crate) arguments: Arguments,
    /// What is to be said where the build cannot be made from them.
    pub(crate) hint: String,
}

/// Puts what is configured into the arguments of a build, of which `line` is what was typed, with the program's name. `None` where
/// nothing is configured, or the command builds nothing.
///
/// # Errors
/// A file or variable cannot be read, or says something that no build can be made from.
pub(crate) fn configured(
    arguments: &Arguments,
    line: &[OsString],
    is_root: bool,
) -> Result<Option<Configured>, CommandError> {
    let (name, build): (&str, &BuildArguments) = match &arguments.command {
        Command::Build(build) => ("build", build),
        Command::Plan(plan) => ("plan", &plan.build),
        _ => return Ok(None),
    };
    let values = super::of_build(project_start(build).as_deref(), is_root)?;
    with_values(line, name, &values)
}

/// What is configured for the targets of bake files: the file of the project has no say in them.
///
/// # Errors
/// A file or variable cannot be read.
pub(crate) fn of_targets(is_root: bool) -> Result<Values, CommandError> {
    super::of_build(None, is_root)
}

/// The same as [`configured`] for such a target, whose `line` nobody typed.
pub(crate) fn configured_for_target(line: &[OsString], values: &Values) -> Result<Option<Configured>, CommandError> {
    with_values(line, "build", values)
}

/// The directory from which on the file of a project is looked for: that of the Dockerfile. A context that is fetched has none.
fn project_start(build: &BuildArguments) -> Option<PathBuf> {
    match &build.file {
        Some(file) if file.is_file() => file.parent().map(Path::to_owned),
        Some(_) => None,
        None => Some(PathBuf::from(&build.context)).filter(|context| context.is_dir()),
    }
}

/// That a build can be made from what is configured.
///
/// # Errors
/// A value is none that its flag takes.
pub(crate) fn check(values: &Values) -> Result<(), CommandError> {
    with_values(&["bake", "build", "."].map(OsString::from), "build", values).map(drop)
}

fn with_values(line: &[OsString], name: &str, values: &Values) -> Result<Option<Configured>, CommandError> {
    // Nearly always: the definition of the command line takes longer to make than many a build.
    if values.of(Section::Build).next().is_none() {
        return Ok(None);
    }
    let command = Arguments::command();
    let Some(build) = command.find_subcommand(name) else { return Ok(None) };
    // It was parsed before, so that it can be.
    let Ok(matches) = command.clone().try_get_matches_from(line) else { return Ok(None) };
    let Some((_, typed)) = matches.subcommand() else { return Ok(None) };
    let mut flags: Vec<(OsString, &ValuePath, &Entry)> = Vec::new();
    for (path, entry) in values.of(Section::Build) {
        let Some(argument) = build.get_arguments().find(|argument| argument.get_long() == Some(path.key.as_str()))
        else {
            continue;
        };
        if is_replaced(build, argument, typed, path) {
            continue;
        }
        let with_value = |value: &str| OsString::from(format!("--{}={value}", path.key));
        let is_switch = matches!(argument.get_action(), ArgAction::SetTrue);
        match &entry.value {
            Value::Boolean(is_set) if is_switch => {
                if *is_set {
                    flags.push((format!("--{}", path.key).into(), path, entry));
                }
            }
            value if !path.name.is_empty() => {
                flags.push((with_value(&format!("{}={}", path.name, text(value))), path, entry));
            }
            value => flags.extend(items(value).iter().map(|item| (with_value(&text(item)), path, entry))),
        }
    }
    if flags.is_empty() {
        return Ok(None);
    }
    for (flag, path, entry) in &flags {
        tracing::debug!(flag = %flag.to_string_lossy(), %path, origin = %entry.origin, "configured");
    }
    let added = flags.iter().map(|(flag, ..)| flag.clone());
    match command.clone().try_get_matches_from(joined(line, added)) {
        Ok(mut matches) => {
            let arguments = Arguments::from_arg_matches_mut(&mut matches)
                .map_err(|error| CommandError::usage(first_line(&error)))?;
            Ok(Some(Configured { arguments, hint: hint(&flags) }))
        }
        Err(error) => Err(explained(&command, name, &flags, &error)),
    }
}

/// Whether something that was typed takes the place of a value.
fn is_replaced(build: &clap::Command, argument: &clap::Arg, typed: &ArgMatches, path: &ValuePath) -> bool {
    let was_typed = |id: &str| typed.value_source(id) == Some(ValueSource::CommandLine);
    let id = argument.get_id().as_str();
    // Every policy has to allow an image.
    if path.key == "policy" {
        return false;
    }
    if was_typed(id) {
        let names = typed.get_raw(id).into_iter().flatten().map(|value| value.to_string_lossy().into_owned());
        return path.name.is_empty() || names.into_iter().any(|typed| typed.split('=').next() == Some(&path.name));
    }
    // `--locked` was typed, and `lock` is configured: what is typed holds.
    let conflicts = |of: &clap::Arg, with: &str| {
        build.get_arg_conflicts_with(of).iter().any(|other| other.get_id().as_str() == with)
    };
    build.get_arguments().any(|other| {
        let other_id = other.get_id().as_str();
        was_typed(other_id) && (conflicts(argument, other_id) || conflicts(other, id))
    })
}

/// The command line with more flags, before a `--` if there is one.
fn joined(line: &[OsString], added: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let end = line.iter().position(|argument| argument == "--").unwrap_or(line.len());
    line[..end].iter().cloned().chain(added).chain(line[end..].iter().cloned()).collect()
}

/// Which configured value makes the command line wrong.
fn explained(
    command: &clap::Command,
    name: &str,
    flags: &[(OsString, &ValuePath, &Entry)],
    error: &clap::Error,
) -> CommandError {
    for (flag, path, entry) in flags {
        let alone = ["bake".into(), name.into(), flag.clone(), ".".into()];
        if let Err(error) = command.clone().try_get_matches_from(alone) {
            return super::unusable(&entry.origin, format!("`{path}`: {}", first_line(&error)), None);
        }
    }
    let origins: Vec<String> = flags.iter().map(|(_, path, entry)| format!("`{path}` ({})", entry.origin)).collect();
    CommandError::usage(format!("what is configured does not fit together: {}", first_line(error)))
        .hint(format!("configured are {}", origins.join(", ")))
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// The keys that are in use, for failures whose cause may be one of them.
fn hint(flags: &[(OsString, &ValuePath, &Entry)]) -> String {
    let mut used: Vec<String> = flags.iter().map(|(_, path, entry)| format!("`{path}` ({})", entry.origin)).collect();
    used.dedup();
    let more = used.len().saturating_sub(HINT_KEYS_MAX);
    used.truncate(HINT_KEYS_MAX);
    let more = if more > 0 { format!(" and {more} more, see `bake config`") } else { String::new() };
    format!("configured are {}{more}", used.join(", "))
}

/// The most keys that a hint names.
const HINT_KEYS_MAX: usize = 5;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;
    use crate::configuration::document::{self, Owner};

    fn build(file: &str, typed: &[&str]) -> BuildArguments {
        let values = document::read(file, "f", Path::new("/p"), &Owner::User, &[Section::Build]).unwrap();
        let line: Vec<OsString> = ["bake", "build"].iter().chain(typed).map(OsString::from).collect();
        let arguments = match with_values(&line, "build", &values).unwrap() {
            Some(configured) => configured.arguments,
            None => clap::Parser::try_parse_from(&line).unwrap(),
        };
        match arguments.command {
            Command::Build(build) => *build,
            other => panic!("parsed as {other:?}"),
        }
    }

    const FILE: &str = "[build]\nplatform = [\"linux/amd64\", \"linux/arm64\"]\ntarget = \"app\"\nquiet = true\npull = true\n\
                        jobs = 3\nshm-size = \"64m\"\nlock = \"add\"\ntag = \"a:1\"\nload = false\nsbom = true\n\
                        build-arg = { A = \"1\", B = 2 }\n[build.label]\n\"a.b\" = \"c\"\n";

    #[test]
    fn values_are_flags() {
        let build = build(FILE, &["."]);
        assert_eq!(build.platform, ["linux/amd64", "linux/arm64"]);
        assert_eq!((build.target.as_deref(), build.quiet, build.pull, build.load), (Some("app"), true, true, false));
        assert_eq!((build.jobs.unwrap().get(), build.shm_size), (3, Some(64 << 20)));
        assert_eq!((build.tag, build.supply_chain.sbom.as_deref()), (vec!["a:1".to_owned()], Some("true")));
        let arguments: Vec<_> =
            build.build_arg.iter().map(|argument| (argument.name.as_str(), argument.value.as_deref())).collect();
        assert_eq!(arguments, [("A", Some("1")), ("B", Some("2"))]);
        assert_eq!((build.label[0].name.as_str(), build.label[0].value.as_deref()), ("a.b", Some("c")));
    }

    #[test]
    fn what_is_typed_wins() {
        let build = build(
            FILE,
            &["--platform=linux/386", "--build-arg", "A=9", "--pull=false", "--locked", "-t", "b", "--", "."],
        );
        assert_eq!(
            (build.platform.as_slice(), build.tag.as_slice()),
            (&["linux/386".to_owned()][..], &["b".to_owned()][..])
        );
        let arguments: Vec<_> =
            build.build_arg.iter().map(|argument| (argument.name.as_str(), argument.value.as_deref())).collect();
        assert_eq!(arguments, [("A", Some("9")), ("B", Some("2"))]);
        assert!(!build.pull && build.lock.locked && build.lock.lock.is_none());
        assert_eq!(build.context, ".");
    }

    #[test]
    fn every_policy_holds() {
        let build = build("[build]\npolicy = [\"a.toml\"]\n", &["--policy", "b.toml", "."]);
        assert_eq!(build.policy.policy.len(), 2);
    }

    #[test]
    fn a_wrong_value_is_told_with_its_place() {
        for (text, expected) in [
            ("[build]\njobs = 0\n", "`f:2:1`: `build.jobs`: invalid value '0'"),
            ("[build]\nshm-size = \"64q\"\n", "`f:2:1`: `build.shm-size`"),
            ("[build]\nlocked = true\nlock = \"add\"\n", "does not fit together"),
        ] {
            let values = document::read(text, "f", Path::new("/p"), &Owner::User, &[Section::Build]).unwrap();
            let error = with_values(&["bake", "build", "."].map(OsString::from), "build", &values).unwrap_err();
            assert!(error.message().contains(expected), "{error}");
        }
    }
}
