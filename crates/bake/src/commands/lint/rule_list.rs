//! The rules, and which of them would run.

use std::fmt::Write as _;
use std::path::Path;

use bake::cli::LintFormat;
use bake::error::CommandError;
use bake_lint::{FixSafety, RULES};
use serde::Serialize;

use crate::lint_settings::LintSettings;

/// A rule as it is listed.
#[derive(Debug, Serialize)]
struct Row {
    rule: &'static str,
    aliases: &'static [&'static str],
    severity: String,
    /// Whether it would run with the settings of this directory.
    enabled: bool,
    /// `none`, `safe` or `unsafe`.
    fix: &'static str,
    since: u16,
    summary: &'static str,
}

/// Prints the rules in the order of their names: a table, or as JSON a list of objects.
pub(super) fn print(settings: &LintSettings, format: LintFormat) -> Result<(), CommandError> {
    let options = settings.options_for(Path::new(""));
    let rows = RULES.iter().map(|rule| Row {
        rule: rule.id,
        aliases: rule.aliases,
        severity: options.severity(rule).unwrap_or(rule.severity).to_string(),
        enabled: options.is_enabled(rule),
        fix: match rule.fix {
            FixSafety::None => "none",
            FixSafety::Safe => "safe",
            FixSafety::Unsafe => "unsafe",
        },
        since: rule.since,
        summary: rule.summary,
    });
    match format {
        LintFormat::Json => {
            let rows: Vec<Row> = rows.collect();
            // Only maps with keys that are no strings could fail, and there are none.
            crate::print(&format!("{}\n", serde_json::to_string_pretty(&rows).unwrap_or_default()))
        }
        LintFormat::Text => {
            let width = RULES.iter().map(|rule| rule.id.len()).max().unwrap_or_default();
            let mut text = String::new();
            for row in rows {
                let state = if row.enabled { "on" } else { "off" };
                let (rule, severity, fix) = (row.rule, row.severity, row.fix);
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{rule:<width$}  {state:<3}  {severity:<7}  {fix:<6}  {}", row.summary);
            }
            crate::print(&text)
        }
        _ => Err(CommandError::usage("rules can be listed as `text` and `json` only")),
    }
}
