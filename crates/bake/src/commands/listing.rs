//! Rows in the form that `--format` asks for.

use bake::cli::RowFormat;
use bake::error::CommandError;
use bake::template::{Absent, Template, TemplateError};
use bake::ui::sanitize::sanitize_line;
use serde::Serialize;
use serde_json::{Map, Value};

use super::table::{Table, json_lines};

/// The rows as `format` asks. `headings` has each field with what stands above it; `table` makes the command's own
/// columns.
pub(super) fn render<T: Serialize>(
    rows: &[T],
    headings: &[(&str, &str)],
    format: &RowFormat,
    table: impl FnOnce() -> Table,
) -> Result<String, CommandError> {
    match format {
        RowFormat::Table => Ok(table().render()),
        RowFormat::Json => json_lines(rows),
        RowFormat::Each(template) => {
            let mut text = String::new();
            for row in rows {
                text.push_str(&evaluate(template, &value(row)?, &Absent::default())?);
                text.push('\n');
            }
            Ok(text)
        }
        RowFormat::Columns(template) => {
            let heading: Map<String, Value> =
                headings.iter().map(|(field, heading)| ((*field).to_owned(), (*heading).into())).collect();
            let cells = |text: String| text.split('\t').map(str::to_owned).collect::<Vec<_>>();
            let heading = cells(evaluate(template, &Value::Object(heading), &Absent::default())?);
            let mut table = Table::new(&heading.iter().map(String::as_str).collect::<Vec<_>>());
            for row in rows {
                table.row(
                    cells(evaluate(template, &value(row)?, &Absent::default())?).iter().map(|cell| sanitize_line(cell)),
                );
            }
            Ok(table.render())
        }
    }
}

/// The output of a template; a mistake in it is one of the command line.
pub(super) fn evaluate(template: &Template, value: &Value, absent: &Absent<'_>) -> Result<String, CommandError> {
    template.render(value, absent).map_err(|error| template_failed(&error))
}

fn template_failed(error: &TemplateError) -> CommandError {
    CommandError::usage(format!("`--format`: {error}"))
}

/// A row as a value for templates.
pub(super) fn value<T: Serialize + ?Sized>(row: &T) -> Result<Value, CommandError> {
    serde_json::to_value(row).map_err(|error| CommandError::internal(error.to_string()))
}
