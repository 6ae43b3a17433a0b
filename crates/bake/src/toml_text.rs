//! TOML that people write, with the place of a mistake.

use toml::Table;

use crate::configuration::Problem;

/// Parses a document; the error begins with the line.
pub(crate) fn parse(text: &str) -> Result<Table, String> {
    parse_document(text).map_err(|problem| match problem.place {
        Some((line, _)) => format!("line {line}: {}", problem.text),
        None => problem.text,
    })
}

/// Parses a document; the error knows line and column.
pub(crate) fn parse_document(text: &str) -> Result<Table, Problem> {
    text.parse().map_err(|error: toml::de::Error| {
        let place = error.span().and_then(|span| crate::configuration::position(text, span.start));
        Problem { place, ..Problem::new(error.message()) }
    })
}
