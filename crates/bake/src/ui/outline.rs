//! What a Dockerfile offers, as tables and as JSON: `--call=outline` and `--call=targets`.

use bake_dockerfile::SourceText;
use bake_frontend::{Outline, OutlineAccess, OutlineArgument, Target};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::location::{Location, location};
use super::sanitize::sanitize_line;

/// Blanks between the columns of an outline's tables.
const TABLE_GAP: usize = 3;

/// The outline as tables, each followed by an empty line.
pub fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let mut rows = vec![vec!["TARGET:".to_owned(), outline.name.clone()]];
        if !outline.description.is_empty() {
            rows.push(vec!["DESCRIPTION:".to_owned(), outline.description.clone()]);
        }
        text.push_str(&table(&rows, 1));
        text.push('\n');
    }
    let argument =
        |argument: &OutlineArgument| vec![argument.name.clone(), argument.value.clone(), argument.description.clone()];
    let arguments = outline.arguments.iter().map(argument).collect();
    text.push_str(&section(&["BUILD ARG", "VALUE", "DESCRIPTION"], arguments));
    for (heading, list) in [("SECRET", &outline.secrets), ("SSH", &outline.agents)] {
        let row = |access: &OutlineAccess| {
            let required = if access.required { "true" } else { "" };
            vec![access.id.clone(), required.to_owned()]
        };
        text.push_str(&section(&[heading, "REQUIRED"], list.iter().map(row).collect()));
    }
    text
}

/// A table with a heading and an empty line after it; nothing without rows.
fn section(heading: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut all = vec![heading.iter().map(|&cell| cell.to_owned()).collect::<Vec<_>>()];
    all.extend(rows);
    format!("{}\n", table(&all, TABLE_GAP))
}

/// The stages as a table.
pub fn targets_text(targets: &[Target]) -> String {
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    for target in targets {
        let name = match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        rows.push(vec![name, target.description.clone()]);
    }
    table(&rows, 1)
}

/// Columns as wide as their widest cell and `gap` blanks; the last one ends with its text.
fn table(rows: &[Vec<String>], gap: usize) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| sanitize_line(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0) + gap
    };
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', width(column) - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

#[derive(Debug, Serialize)]
struct OutlineJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<ArgumentJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<AccessJson<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<AccessJson<'a>>,
    /// Base64, as Go writes byte slices.
    sources: [String; 1],
}

#[derive(Debug, Serialize)]
struct ArgumentJson<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
    location: Location,
}

#[derive(Debug, Serialize)]
struct AccessJson<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

/// The outline as JSON in the form of BuildKit's `outline` request.
///
/// # Errors
/// None that could happen with these types.
pub fn outline_json(source: &SourceText, outline: &Outline) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&OutlineJson {
        name: &outline.name,
        description: &outline.description,
        args: outline
            .arguments
            .iter()
            .map(|found| ArgumentJson {
                name: &found.name,
                description: &found.description,
                value: &found.value,
                location: location(source, found.span),
            })
            .collect(),
        secrets: accesses(source, &outline.secrets),
        ssh: accesses(source, &outline.agents),
        sources: [STANDARD.encode(source.text())],
    })
}

fn accesses<'a>(source: &SourceText, list: &'a [OutlineAccess]) -> Vec<AccessJson<'a>> {
    let access = |access: &'a OutlineAccess| AccessJson {
        name: &access.id,
        required: access.required,
        location: location(source, access.span),
    };
    list.iter().map(access).collect()
}

#[derive(Debug, Serialize)]
struct TargetsJson<'a> {
    targets: Vec<TargetJson<'a>>,
    /// Base64, as Go writes byte slices.
    sources: [String; 1],
}

#[derive(Debug, Serialize)]
struct TargetJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    base: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    platform: &'a str,
    location: Location,
}

/// The stages as JSON in the form of BuildKit's `targets` request.
///
/// # Errors
/// None that could happen with these types.
pub fn targets_json(source: &SourceText, targets: &[Target]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&TargetsJson {
        targets: targets
            .iter()
            .map(|found| TargetJson {
                name: &found.name,
                default: found.default,
                description: &found.description,
                base: &found.base,
                platform: &found.platform,
                location: location(source, found.span),
            })
            .collect(),
        sources: [STANDARD.encode(source.text())],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_filled_but_the_last() {
        let rows = |rows: &[&[&str]]| -> Vec<Vec<String>> {
            rows.iter().map(|row| row.iter().map(|&cell| cell.to_owned()).collect()).collect()
        };
        assert_eq!(
            table(&rows(&[&["A", "B"], &["long", ""], &["ü", "\u{1b}[2J"]]), 3),
            "A      B\nlong   \nü      \\x1b[2J\n"
        );
    }
}
