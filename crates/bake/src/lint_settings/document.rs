//! The keys of `[lint]` in `bake.toml`, and of `.bake-lint.toml`.

use std::path::Path;

use bake::cli::{FailLevel, parse_severity};
use bake_lint::{LabelKind, LabelSchema, Profile};
use clap::ValueEnum as _;
use toml::{Table, Value};

use super::{LintSettings, PathPattern, patterns};
use crate::configuration::Problem;

const KEYS: [&str; 14] = [
    "disable-ignore-pragma",
    "edition",
    "exclude",
    "extend-select",
    "fail-level",
    "ignore",
    "label-schema",
    "per-file-ignores",
    "profile",
    "require-reason",
    "select",
    "severity",
    "strict-labels",
    "trusted-registries",
];

/// Reads a document; its patterns are relative to `directory`. Without a section `lint` all of it is that section, except in a
/// `bake.toml` (`has_sections`), which then says nothing about linting: `None`.
pub(super) fn parse(text: &str, directory: &Path, has_sections: bool) -> Result<Option<LintSettings>, Problem> {
    let table = crate::toml_text::parse(text).map_err(Problem::new)?;
    let section = match table.get("lint") {
        Some(Value::Table(section)) => Some(section),
        Some(_) => return Err(Problem::new("`lint` is a section, written `[lint]`")),
        None => None,
    };
    if (section.is_some() || has_sections)
        && let Some(other) = table.keys().find(|name| name.as_str() != "lint")
    {
        return Err(Problem::unknown("section", other, &["lint"]));
    }
    let section = match section {
        Some(section) => section,
        None if has_sections => return Ok(None),
        None => &table,
    };
    let settings = read(section, directory)?;
    settings.check_names().map_err(|(problem, hint)| Problem::with_hint(problem, hint))?;
    Ok(Some(settings))
}

fn read(section: &Table, directory: &Path) -> Result<LintSettings, Problem> {
    let mut settings = LintSettings::default();
    for (key, value) in section {
        let wrong = |expected: &str| Problem::new(format!("`{key}`: expected {expected}"));
        let boolean = || value.as_bool().ok_or_else(|| wrong("`true` or `false`"));
        let list = || texts(value).ok_or_else(|| wrong("a list of texts"));
        let table = || value.as_table().ok_or_else(|| wrong("a section"));
        match key.as_str() {
            "profile" => {
                let names = Profile::NAMES.map(|(name, _)| name).join(", ");
                let profile = value.as_str().and_then(Profile::named);
                settings.profile = Some(profile.ok_or_else(|| wrong(&format!("one of {names}")))?);
            }
            "edition" => {
                let year = value.as_integer().and_then(|year| u16::try_from(year).ok()).filter(|year| *year > 2000);
                settings.edition = Some(year.ok_or_else(|| wrong("a year"))?);
            }
            "select" => settings.select = Some(list()?),
            "extend-select" => settings.extend_select = list()?,
            "ignore" => settings.ignore = list()?,
            "trusted-registries" => settings.trusted_registries = Some(list()?),
            "exclude" => {
                settings.exclude = patterns(directory, &list()?).map_err(|problem| wrong_pattern(key, &problem))?;
            }
            "strict-labels" => settings.strict_labels = Some(boolean()?),
            "require-reason" => settings.require_reason = Some(boolean()?),
            "disable-ignore-pragma" => settings.obey_suppressions = Some(!boolean()?),
            "fail-level" => {
                let level = value.as_str().and_then(|text| FailLevel::from_str(text, false).ok());
                settings.fail_level = Some(level.ok_or_else(|| wrong("error, warning, info, style or none"))?);
            }
            "severity" => {
                for (rule, level) in table()? {
                    let severity = level.as_str().and_then(|text| parse_severity(text).ok());
                    let wrong = || Problem::new(format!("`{key}.{rule}`: expected error, warning, info or style"));
                    settings.severities.insert(rule.clone(), severity.ok_or_else(wrong)?);
                }
            }
            "label-schema" => settings.label_schema = Some(label_schema(table()?)?),
            "per-file-ignores" => {
                for (pattern, rules) in table()? {
                    let wrong = || Problem::new(format!("`{key}.{pattern}`: expected a list of rules"));
                    let matcher =
                        PathPattern::new(directory, pattern).map_err(|problem| wrong_pattern(key, &problem))?;
                    settings.per_file_ignores.push((matcher, texts(rules).ok_or_else(wrong)?));
                }
            }
            other => return Err(Problem::unknown("key", other, &KEYS)),
        }
    }
    Ok(settings)
}

fn wrong_pattern(key: &str, problem: &str) -> Problem {
    Problem::new(format!("`{key}`: {problem}"))
}

/// A list of texts.
fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn label_schema(table: &Table) -> Result<LabelSchema, Problem> {
    table
        .iter()
        .map(|(name, kind)| {
            let known = kind.as_str().and_then(LabelKind::named);
            let names = LabelKind::NAMES.map(|(name, _)| name).join(", ");
            let wrong = || Problem::new(format!("`label-schema.{name}`: expected one of {names}"));
            Ok((name.clone(), known.ok_or_else(wrong)?))
        })
        .collect()
}
