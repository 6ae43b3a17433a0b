//! `--format` of commands that list.

use crate::template::Template;

/// How rows are written.
#[derive(Debug, Clone, PartialEq)]
pub enum RowFormat {
    /// In the columns of the command, for people.
    Table,
    /// In the columns of a template, with a heading.
    Columns(Template),
    /// One JSON object per line.
    Json,
    /// Each row by a template, with a newline after it.
    Each(Template),
}

/// Parses `table`, `json`, `table TEMPLATE` or `TEMPLATE`. As in docker, `\t` and `\n` outside of actions mean a tab and
/// a newline.
pub(super) fn row_format(text: &str) -> Result<RowFormat, String> {
    let template = |text: &str| Template::parse(&unescaped(text)).map_err(|error| error.to_string());
    match text {
        "" | "table" => Ok(RowFormat::Table),
        "json" => Ok(RowFormat::Json),
        _ if text.starts_with("table ") || text.starts_with("table{{") => {
            template(text["table".len()..].trim_start()).map(RowFormat::Columns)
        }
        // A word alone is more likely a format that is not known than a text to repeat for each row.
        _ if !text.contains("{{") => Err("expected `table`, `json`, or a template such as `{{.ID}}`".to_owned()),
        _ => template(text).map(RowFormat::Each),
    }
}

/// Parses the template of a command that describes single things.
pub(super) fn template(text: &str) -> Result<Template, String> {
    // docker's short form.
    let text = if text == "json" { "{{json .}}" } else { text };
    if !text.contains("{{") {
        return Err("expected `json`, or a template such as `{{.Id}}`".to_owned());
    }
    Template::parse(text).map_err(|error| error.to_string())
}

fn unescaped(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (plain, after) = rest.split_at(rest.find("{{").unwrap_or(rest.len()));
        result.push_str(&plain.replace("\\t", "\t").replace("\\n", "\n"));
        let (action, after) = after.split_at(after.find("}}").map_or(after.len(), |end| end + 2));
        result.push_str(action);
        rest = after;
    }
    result
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        let template = |text: &str| Template::parse(text).unwrap();
        assert_eq!(row_format("table"), Ok(RowFormat::Table));
        assert_eq!(row_format("json"), Ok(RowFormat::Json));
        assert_eq!(row_format("table {{.A}}\\t{{.B}}"), Ok(RowFormat::Columns(template("{{.A}}\t{{.B}}"))));
        assert_eq!(row_format("{{.A}}\\n{{\"\\t\"}}"), Ok(RowFormat::Each(template("{{.A}}\n{{\"\\t\"}}"))));
        assert!(row_format("jsn").unwrap_err().contains("expected `table`"));
        assert!(row_format("{{.A").unwrap_err().contains("column 1"));
    }
}
