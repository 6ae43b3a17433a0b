//! `bake up --list`: what files define, in the columns of buildx.

use bake::cli::{Listed, ListedKind};
use bake::error::CommandError;
use bake_targets::Config;
use serde::Serialize;

use crate::commands::table::Table;

/// A target or a group.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    group: bool,
}

/// A variable.
#[derive(Debug, Serialize)]
struct VariableRow<'a> {
    name: &'a str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
}

/// The list that is asked for.
pub(super) fn text(config: &Config, listed: Listed) -> Result<String, CommandError> {
    match listed.what {
        ListedKind::Targets => {
            let rows = targets(config);
            if listed.json {
                return json(&rows);
            }
            let mut table = Table::new(&["TARGET", "DESCRIPTION"]);
            for row in rows {
                table.row([row.name, row.description]);
            }
            Ok(table.render())
        }
        ListedKind::Variables => {
            let rows = variables(config);
            if listed.json {
                return json(&rows);
            }
            let mut table = Table::new(&["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"]);
            let cell = |text: Option<&str>| text.unwrap_or_default().to_owned();
            for row in rows {
                table.row([row.name.to_owned(), cell(row.type_name), cell(row.value), cell(row.description)]);
            }
            Ok(table.render())
        }
    }
}

/// Targets and groups by name; those that begin with `_` are for other targets alone.
fn targets(config: &Config) -> Vec<Row> {
    let description = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut rows: Vec<Row> = Vec::new();
    for group in &config.groups {
        let mut members = group.targets.clone();
        members.sort();
        let members = members.join(", ");
        let own = description(&group.description);
        let description = if own.is_empty() { members } else { format!("{own} ({members})") };
        rows.push(Row { name: group.name.clone(), description, group: true });
    }
    for target in &config.targets {
        if !rows.iter().any(|row| row.name == target.name) {
            let (name, description) = (target.name.clone(), description(&target.description));
            rows.push(Row { name, description, group: false });
        }
    }
    rows.retain(|row| !row.name.starts_with('_'));
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    rows
}

fn variables(config: &Config) -> Vec<VariableRow<'_>> {
    let mut rows: Vec<VariableRow<'_>> = config
        .variables
        .iter()
        .map(|variable| VariableRow {
            name: &variable.name,
            type_name: variable.type_name.as_deref(),
            value: variable.value.as_deref(),
            description: variable.description.as_deref(),
        })
        .collect();
    rows.sort_by(|one, other| one.name.cmp(other.name));
    rows
}

fn json<T: Serialize>(rows: &[T]) -> Result<String, CommandError> {
    let text = serde_json::to_string_pretty(rows).map_err(|error| CommandError::internal(error.to_string()))?;
    Ok(format!("{text}\n"))
}
