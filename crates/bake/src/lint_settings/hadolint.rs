//! hadolint's configuration file, read as hadolint reads it.
//!
//! Keys of it are `failure-threshold`, `format`, `ignored`, `label-schema`, `no-color`, `no-fail`, `override`, `strict-labels`,
//! `disable-ignore-pragma`, `trustedRegistries` and `verbose`. What we do not know is named and left out: the file belongs to another
//! program, which may have learnt new words.

use std::collections::BTreeMap;

use bake::cli::{FailLevel, LintFormat, parse_severity};
use bake_lint::{LabelKind, LabelSchema, NameMeaning};
use serde_json::Value;

use super::LintSettings;
use crate::configuration::Problem;

const KEYS: [&str; 12] = [
    "disable-ignore-pragma",
    "failure-threshold",
    "format",
    "ignored",
    "label-schema",
    "no-color",
    "no-fail",
    "override",
    "strict-labels",
    "trustedRegistries",
    "trusted-registries",
    "verbose",
];

/// The levels under `override`.
const LEVELS: [&str; 4] = ["error", "warning", "info", "style"];

/// No value of this file is nested deeper than three levels; these stop documents that are built to be expensive.
const DEPTH_MAX: usize = 16;
const NODES_MAX: usize = 10_000;

/// Reads a document.
pub(super) fn parse(text: &str) -> Result<LintSettings, Problem> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX, max_nodes: NODES_MAX, max_aliases: 100, max_documents: 1 },
        with_snippet: false,
    };
    let document: Option<BTreeMap<String, Value>> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Problem::new(error.to_string().lines().next().unwrap_or_default().to_owned()))?;
    let mut settings = LintSettings::default();
    let mut no_fail = false;
    for (key, value) in document.unwrap_or_default() {
        let wrong = |expected: &str| Problem::new(format!("`{key}`: expected {expected}"));
        let boolean = || value.as_bool().ok_or_else(|| wrong("`true` or `false`"));
        match key.as_str() {
            "ignored" => settings.ignore = texts(&value).ok_or_else(|| wrong("a list of rules"))?,
            "override" => {
                let levels =
                    value.as_object().ok_or_else(|| wrong("lists of rules under error, warning, info and style"))?;
                for (level, rules) in levels {
                    let Some(severity) = LEVELS.contains(&level.as_str()).then(|| parse_severity(level).ok()).flatten()
                    else {
                        settings.remarks.push(format!("`override.{level}` is not known and has no effect"));
                        continue;
                    };
                    let rules = texts(rules)
                        .ok_or_else(|| Problem::new(format!("`override.{level}`: expected a list of rules")))?;
                    settings.severities.extend(rules.into_iter().map(|rule| (rule, severity)));
                }
            }
            "trustedRegistries" | "trusted-registries" => {
                settings.trusted_registries = Some(texts(&value).ok_or_else(|| wrong("a list of registries"))?);
            }
            "label-schema" => settings.label_schema = Some(label_schema(&value)?),
            "strict-labels" => settings.strict_labels = Some(boolean()?),
            "disable-ignore-pragma" => settings.obey_suppressions = Some(!boolean()?),
            "no-fail" => no_fail = boolean()?,
            "no-color" => settings.coloured = Some(!boolean()?),
            // There is nothing more to tell than what is always told.
            "verbose" => drop(boolean()?),
            "failure-threshold" => {
                let level = value.as_str().and_then(fail_level);
                settings.fail_level = Some(level.ok_or_else(|| wrong("error, warning, info, style, ignore or none"))?);
            }
            "format" => {
                let known = value.as_str().and_then(LintFormat::of_hadolint);
                settings.format = Some(known.ok_or_else(|| wrong("a format such as tty, json or sarif"))?);
            }
            other => {
                let near = bake_dockerfile::suggest::did_you_mean(other, KEYS, true);
                settings.remarks.push(format!("the key `{other}` is not known and has no effect{near}"));
            }
        }
    }
    if no_fail {
        settings.fail_level = Some(FailLevel::None);
    }
    for name in settings.ignore.iter().chain(settings.severities.keys()) {
        if bake_lint::meaning(name) == NameMeaning::Unknown {
            settings.remarks.push(format!("there is no rule `{name}`"));
        }
    }
    Ok(settings)
}

/// A list of texts, or one.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn fail_level(text: &str) -> Option<FailLevel> {
    match text {
        "none" => Some(FailLevel::None),
        // Its lowest level, below style; nothing is reported with it.
        "ignore" => Some(FailLevel::Style),
        text => parse_severity(text).ok().map(FailLevel::from),
    }
}

fn label_schema(value: &Value) -> Result<LabelSchema, Problem> {
    let expected = || Problem::new("`label-schema`: expected names of labels with the kinds of their values");
    let kind = |name: &str, kind: &Value| {
        let names = LabelKind::NAMES.map(|(name, _)| name).join(", ");
        kind.as_str()
            .and_then(LabelKind::named)
            .ok_or_else(|| Problem::new(format!("`label-schema.{name}`: expected one of {names}")))
    };
    let schema = value.as_object().ok_or_else(expected)?;
    schema.iter().map(|(name, value)| Ok((name.clone(), kind(name, value)?))).collect()
}
