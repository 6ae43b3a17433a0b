//! Findings in the form that was asked for, to standard output or a file.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use bake::cli::{LintArguments, LintFormat};
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake::ui::snippet::render_diagnostic;
use bake_lint::report::{self, FileFindings};

use super::{Checked, Fixes, statistics};
use crate::commands::dockerfile;
use crate::commands::transfer::say;
use crate::files::replace_file;
use crate::lint_settings::LintSettings;
use crate::settings;

/// How and where findings are written.
pub(super) struct Form {
    format: LintFormat,
    /// Only how many there are of each rule.
    counts_only: bool,
    output: Option<PathBuf>,
    colour: Colour,
}

impl Form {
    /// # Errors
    /// The format has no way to show what was asked for.
    pub(super) fn new(arguments: &LintArguments, here: &LintSettings, colour: Colour) -> Result<Self, CommandError> {
        let format = format(arguments, here);
        if arguments.statistics && !matches!(format, LintFormat::Text | LintFormat::Json) && arguments.format.is_some()
        {
            return Err(CommandError::usage("`--statistics` can be written as `text` and `json` only"));
        }
        let to_terminal = std::io::stdout().is_terminal() && arguments.output.is_none();
        let colour = if to_terminal && here.coloured != Some(false) { colour } else { Colour::Plain };
        Ok(Self { format, counts_only: arguments.statistics, output: arguments.output.clone(), colour })
    }
}

/// The format: what was typed, or the settings say, or what the place calls for.
fn format(arguments: &LintArguments, here: &LintSettings) -> LintFormat {
    let in_workflow = settings::variable("GITHUB_ACTIONS").as_deref() == Some("true") && arguments.output.is_none();
    let usual = if in_workflow { LintFormat::Github } else { LintFormat::Text };
    arguments.format.or(here.format).unwrap_or(usual)
}

/// Writes the findings. Where a fixed file went to standard output, they go to standard error.
pub(super) fn write(checked: &[Checked], form: &Form, fixes: Fixes) -> Result<(), CommandError> {
    let text = if form.counts_only { statistics::text(checked, form.format) } else { rendered(checked, form) };
    if let Some(path) = &form.output {
        return replace_file(path, text.as_bytes())
            .map_err(|error| CommandError::input(format!("cannot write `{}`: {error}", path.display())));
    }
    let stdin_was_fixed = fixes != Fixes::None && checked.iter().any(|file| dockerfile::is_stdin(&file.path));
    if stdin_was_fixed {
        say(text.trim_end());
        return Ok(());
    }
    crate::print(&text)
}

fn rendered(checked: &[Checked], form: &Form) -> String {
    let found: Vec<FileFindings<'_>> =
        checked.iter().map(|file| FileFindings { source: &file.source, findings: &file.findings }).collect();
    match form.format {
        LintFormat::Json => format!("{}\n", report::json(&found).trim_end()),
        LintFormat::Sarif => format!("{}\n", report::sarif(&found, env!("CARGO_PKG_VERSION")).trim_end()),
        LintFormat::Github => report::github(&found),
        LintFormat::Gitlab => report::gitlab(&found),
        LintFormat::Gnu => report::gnu(&found),
        LintFormat::Checkstyle => report::checkstyle(&found),
        LintFormat::Junit => report::junit(&found),
        LintFormat::Codeclimate => report::codeclimate(&found),
        LintFormat::Sonarqube => report::sonarqube(&found),
        LintFormat::Codacy => report::codacy(&found),
        LintFormat::Text => {
            let rendered: Vec<String> = found
                .iter()
                .flat_map(|file| {
                    file.findings
                        .iter()
                        .map(|finding| render_diagnostic(file.source, &finding.diagnostic(), form.colour))
                        // One that shows a fix ends without a line end.
                        .map(|text| format!("{}\n", text.trim_end_matches('\n')))
                })
                .collect();
            rendered.join("\n")
        }
    }
}
