//! The keys of `[lint]` in `bake.toml`, and of `.bake-lint.toml`.

use std::path::Path;

use bake::cli::{FailLevel, parse_severity};
use bake_lint::{LabelKind, Profile};
use clap::ValueEnum as _;
use toml::Value;

use super::{LintSettings, PathPattern, VARIABLE_PREFIX, patterns};
use crate::configuration::document::{self, Owner};
use crate::configuration::key::{Key, Section, Setter, Shape};
use crate::configuration::project::{Project, ProjectRule};
use crate::configuration::values::Values;
use crate::configuration::{PROJECT_FILE, Problem};

/// The keys, and what each does to the settings.
pub(crate) fn keys() -> Vec<Key> {
    let words = |words: &[&str]| Shape::Choice(words.iter().map(|word| (*word).to_owned()).collect());
    let levels = ["error", "warning", "info", "style", "none"];
    let profiles = Profile::NAMES.map(|(name, _)| name);
    let kinds = LabelKind::NAMES.map(|(name, _)| name);
    let key = |name: &str, shape, summary: &str, set| Key {
        section: Section::Lint,
        name: name.to_owned(),
        shape,
        summary: summary.to_owned(),
        default: None,
        project: ProjectRule::Free,
        variable: variable(name),
        setter: Setter::Lint(set),
    };
    let with_default = |default: Value, key: Key| Key { default: Some(default), ..key };
    vec![
        with_default(
            "default".into(),
            key("profile", words(&profiles), "Which rules there are: a set with a name.", |to, _, value, _| {
                to.profile = value.as_str().and_then(Profile::named);
                Ok(())
            }),
        ),
        key("edition", Shape::Integer, "The year whose default rules hold.", |to, _, value, _| {
            let year = value.as_integer().and_then(|year| u16::try_from(year).ok()).filter(|year| *year > 2000);
            to.edition = Some(year.ok_or("expected a year")?);
            Ok(())
        }),
        key("select", Shape::Texts, "Only these rules; `*` stands for any characters.", |to, _, value, _| {
            to.select = Some(texts(value));
            Ok(())
        }),
        key("extend-select", Shape::Texts, "These rules too.", |to, _, value, _| {
            to.extend_select = texts(value);
            Ok(())
        }),
        key("ignore", Shape::Texts, "Not these rules.", |to, _, value, _| {
            to.ignore = texts(value);
            Ok(())
        }),
        with_default(
            "warning".into(),
            key(
                "fail-level",
                words(&levels),
                "From which severity on findings make the command fail.",
                |to, _, value, _| {
                    to.fail_level = value.as_str().and_then(|text| FailLevel::from_str(text, false).ok());
                    Ok(())
                },
            ),
        ),
        key("trusted-registries", Shape::Texts, "Registries that images may come from.", |to, _, value, _| {
            to.trusted_registries = Some(texts(value));
            Ok(())
        }),
        with_default(
            false.into(),
            key(
                "strict-labels",
                Shape::Boolean,
                "Whether labels outside of `label-schema` are findings.",
                |to, _, value, _| {
                    to.strict_labels = value.as_bool();
                    Ok(())
                },
            ),
        ),
        with_default(
            false.into(),
            key("require-reason", Shape::Boolean, "Whether suppressions have to say why.", |to, _, value, _| {
                to.require_reason = value.as_bool();
                Ok(())
            }),
        ),
        with_default(
            false.into(),
            key("disable-ignore-pragma", Shape::Boolean, "Whether suppressions are not obeyed.", |to, _, value, _| {
                to.obey_suppressions = value.as_bool().map(|disabled| !disabled);
                Ok(())
            }),
        ),
        key(
            "exclude",
            Shape::Texts,
            "Files that a search leaves out, as in `.gitignore`.",
            |to, _, value, directory| {
                to.exclude = patterns(directory, &texts(value))?;
                Ok(())
            },
        ),
        key(
            "severity",
            Shape::Table(Box::new(words(&levels[..4]))),
            "The severity of a rule, by its name.",
            |to, name, value, _| {
                let severity = parse_severity(value.as_str().unwrap_or_default())?;
                to.severities.insert(name.to_owned(), severity);
                Ok(())
            },
        ),
        key(
            "label-schema",
            Shape::Table(Box::new(words(&kinds))),
            "Labels that an image has to have, and what their values are.",
            |to, name, value, _| {
                let kind = value.as_str().and_then(LabelKind::named).ok_or("expected a kind of label")?;
                to.label_schema.get_or_insert_default().insert(name.to_owned(), kind);
                Ok(())
            },
        ),
        key(
            "per-file-ignores",
            Shape::Table(Box::new(Shape::Texts)),
            "Rules that are ignored in the files that a pattern matches.",
            |to, name, value, directory| {
                to.per_file_ignores.push((PathPattern::new(directory, name)?, texts(value)));
                Ok(())
            },
        ),
    ]
}

/// The variable of the flag that says the same, where there is one.
fn variable(name: &str) -> Option<String> {
    let flag = match name {
        "severity" | "label-schema" | "per-file-ignores" => return None,
        "trusted-registries" => "trusted-registry",
        other => other,
    };
    Some(format!("{VARIABLE_PREFIX}{}", flag.replace('-', "_").to_uppercase()))
}

/// Reads a file of which all is `[lint]`, or in which that is the only section, or a `bake.toml`, which may have others; its patterns are
/// relative to `directory`.
pub(super) fn parse(text: &str, name: &str, directory: &Path) -> Result<LintSettings, Problem> {
    let table = crate::toml_text::parse_document(text)?;
    let owner = Owner::Project(Project { directory: directory.to_owned(), root: directory.to_owned() });
    let is_project_file = Path::new(name).file_name().is_some_and(|name| name == PROJECT_FILE);
    let values = if is_project_file {
        document::read(text, name, directory, &owner, &[Section::Lint])?
    } else if table.contains_key(Section::Lint.name()) {
        if let Some(other) = table.keys().find(|name| *name != Section::Lint.name()) {
            return Err(Problem::unknown("section", other, "", &[Section::Lint.name()]));
        }
        document::read(text, name, directory, &owner, &[Section::Lint])?
    } else {
        document::read_section(text, name, directory, &owner, Section::Lint)?
    };
    of_values(&values)
}

/// The settings that values come to.
pub(super) fn of_values(values: &Values) -> Result<LintSettings, Problem> {
    document::lint_settings(values, &keys())
}

/// The items of a list of texts.
fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}
