//! TOML that people write, with the line of a mistake.

use toml::Table;

/// Parses a document; the error begins with the line.
pub(crate) fn parse(text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or_else(String::new, |before| format!("line {}: ", before.matches('\n').count() + 1));
        format!("{line}{}", error.message())
    })
}
