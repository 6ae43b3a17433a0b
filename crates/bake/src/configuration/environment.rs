//! Values that the environment says, by one rule: `BAKE_SECTION_KEY` is the key `section.key`, with `_` for `-`.
//!
//! A list has one item on each line, and where the flag itself takes commas, also commas; a table has lines `NAME=VALUE`.
//! The variables of `[lint]` are those of the flags of `bake lint` and read by [`crate::lint_settings`].

use std::path::{Path, PathBuf};

use bake::cli::LintArguments;
use clap::Args as _;
use toml::Value;

use super::Problem;
use super::document::judge;
use super::key::{Key, Section, Shape, keys, variable_name};
use super::values::{Entry, Origin, ValuePath, Values};
use crate::lint_settings::{NO, VARIABLE_PREFIX, YES};
use crate::settings;

/// How all variables of bake begin.
pub(crate) const PREFIX: &str = "BAKE_";
/// Variables that are no keys.
const OTHERS: [&str; 2] = ["BAKE_CONFIG", bake::ui::ci::VARIABLE];

/// What the environment says about some sections.
///
/// # Errors
/// A variable has a value that its key does not have, with the name of the variable.
pub(super) fn read(sections: &[Section]) -> Result<Values, (String, Problem)> {
    let mut values = Values::default();
    // Nearly always there is nothing to look for, and the table of `[build]` takes building the whole definition of that command.
    let is_named = |section: &Section| settings::any_variable(&variable_name(*section, ""));
    let named: Vec<Section> =
        sections.iter().copied().filter(|section| *section != Section::Lint && is_named(section)).collect();
    for key in &keys(&named) {
        let Some(name) = &key.variable else { continue };
        let Some(text) = settings::variable(name) else { continue };
        for (path, value) in parsed(key, &text).map_err(|problem| (name.clone(), problem))? {
            judge(key, &path, &value, Path::new("")).map_err(|problem| (name.clone(), problem))?;
            let origin = Origin::Environment(name.clone());
            values.0.insert(path, Entry { value, origin, directory: PathBuf::new() });
        }
    }
    Ok(values)
}

/// The values that a variable's text means.
fn parsed(key: &Key, text: &str) -> Result<Vec<(ValuePath, Value)>, Problem> {
    let path = |name: &str| ValuePath {
        section: key.section,
        host: String::new(),
        key: key.name.clone(),
        name: name.to_owned(),
    };
    let wrong = |expected: &str| Problem::new(format!("`{text}`: expected {expected}"));
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let value = match &key.shape {
        Shape::Boolean => {
            let word = text.to_lowercase();
            let is_yes = YES.contains(&word.as_str());
            if !is_yes && !NO.contains(&word.as_str()) {
                return Err(wrong("`true` or `false`"));
            }
            Value::Boolean(is_yes)
        }
        Shape::Integer => Value::Integer(text.parse().map_err(|_| wrong("a whole number"))?),
        Shape::Choice(words) if !words.iter().any(|word| word == text) => return Err(wrong(&key.shape.expected())),
        // A path in the environment begins where bake is started.
        Shape::Text if key.section == Section::Top && key.name == "root" => {
            let path = std::path::absolute(text).map_err(|_| wrong("a directory"))?;
            Value::String(path.to_string_lossy().into_owned())
        }
        Shape::Text | Shape::Scalar | Shape::Choice(_) => Value::String(text.to_owned()),
        Shape::Texts | Shape::Scalars => Value::Array(lines().map(Value::from).collect()),
        Shape::Table(_) => {
            let assignments = lines().map(|line| {
                let (name, value) = line.split_once('=').ok_or_else(|| wrong("lines `NAME=VALUE`"))?;
                Ok((path(name.trim()), Value::from(value)))
            });
            return assignments.collect();
        }
        Shape::Keypair => return Err(wrong("a file: this cannot be said by a variable")),
    };
    Ok(vec![(path(""), value)])
}

/// Remarks about variables that look like bake's and are none: such slips are hard to see.
pub(crate) fn unknown_variables() -> Vec<String> {
    let mut given = settings::variables(PREFIX);
    // Those that many have set are told apart without the tables that take time.
    let of_machine: Vec<String> = keys(&[Section::Top]).into_iter().filter_map(|key| key.variable).collect();
    given.retain(|name| !OTHERS.contains(&name.as_str()) && !of_machine.contains(name));
    if given.is_empty() {
        return Vec::new();
    }
    let mut known: Vec<String> = keys(&Section::ALL).into_iter().filter_map(|key| key.variable).collect();
    known.extend(OTHERS.map(str::to_owned));
    let lint = LintArguments::augment_args(clap::Command::new("lint"));
    let options = lint.get_arguments().filter_map(clap::Arg::get_long);
    known.extend(options.map(|option| format!("{VARIABLE_PREFIX}{}", option.replace('-', "_").to_uppercase())));
    let unknown = given.into_iter().filter(|name| !known.contains(name));
    unknown
        .map(|name| {
            let near = bake_dockerfile::suggest(&name, known.iter().map(String::as_str), true);
            let cure = near.map_or_else(
                || "`bake config --help` tells which there are".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            format!("the environment variable `{name}` means nothing to bake; {cure}")
        })
        .collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn of(variable: &str, text: &str) -> Result<Vec<(String, String)>, String> {
        let key =
            keys(&[Section::Build, Section::Gc]).into_iter().find(|key| key.variable.as_deref() == Some(variable));
        let values = parsed(&key.unwrap(), text).map_err(|problem| problem.text)?;
        Ok(values.into_iter().map(|(path, value)| (path.to_string(), value.to_string())).collect())
    }

    #[test]
    fn every_shape_can_be_said() {
        let one = |path: &str, value: &str| Ok(vec![(path.to_owned(), value.to_owned())]);
        assert_eq!(of("BAKE_GC_ENABLED", "No"), one("gc.enabled", "false"));
        assert_eq!(of("BAKE_GC_MAX_USED_SPACE", "20GB"), one("gc.max-used-space", "\"20GB\""));
        assert_eq!(of("BAKE_BUILD_JOBS", "3"), one("build.jobs", "\"3\""));
        assert_eq!(of("BAKE_BUILD_TAG", "a:1\n b:2 \n\n"), one("build.tag", "[\"a:1\", \"b:2\"]"));
        assert_eq!(of("BAKE_BUILD_PROGRESS", "plain"), one("build.progress", "\"plain\""));
        let arguments = of("BAKE_BUILD_BUILD_ARG", "A=1=2\nB=\n").unwrap();
        let expected = [("build.build-arg.A", "\"1=2\""), ("build.build-arg.B", "\"\"")];
        assert_eq!(arguments, expected.map(|(path, value)| (path.to_owned(), value.to_owned())));
        for (variable, text) in
            [("BAKE_GC_ENABLED", "maybe"), ("BAKE_BUILD_PROGRESS", "plian"), ("BAKE_BUILD_BUILD_ARG", "A")]
        {
            assert!(of(variable, text).unwrap_err().contains("expected"), "{variable}");
        }
    }
}
