//! Lists in columns, and as one JSON object per line.

use bake::error::CommandError;
use bake::ui::sanitize::sanitize_line;
use serde::Serialize;

/// What stands between two columns.
const GAP: &str = "   ";

/// Rows of equal length under a heading. Cells come from images and registries, so they are cleaned here.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| sanitize_line(&cell)).collect());
    }

    /// The text, each column as wide as its widest cell; the last one ends with its text.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cells = |column: usize| self.rows.iter().filter_map(move |row| row.get(column));
        let widths: Vec<usize> =
            (0..columns).map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let padded: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text.push_str(padded.join(GAP).trim_end());
            text.push('\n');
        }
        text
    }
}

/// One line for each text.
pub(crate) fn lines<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for line in texts {
        text.push_str(line.as_ref());
        text.push('\n');
    }
    text
}

/// One object per line.
pub(crate) fn json_lines<T: Serialize>(rows: &[T]) -> Result<String, CommandError> {
    let mut text = String::new();
    for row in rows {
        text.push_str(&serde_json::to_string(row).map_err(|error| CommandError::internal(error.to_string()))?);
        text.push('\n');
    }
    Ok(text)
}

/// The first `length` characters; what is cut off is shown by an ellipsis.
pub(crate) fn shortened(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", "SIZE"]);
        table.row(["a".into(), "1B".into()]);
        table.row(["longer".into(), "\u{1b}[2J".into()]);
        assert_eq!(table.render(), "NAME     SIZE\na        1B\nlonger   \\x1b[2J\n");
    }

    #[test]
    fn long_texts_are_cut_at_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüx", 3), "äö…");
        assert_eq!(shortened("", 0), "");
    }
}
