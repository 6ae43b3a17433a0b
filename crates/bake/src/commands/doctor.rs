//! `bake doctor`: what this host offers for builds, what that means, and how to get the rest.
//!
//! Each check is a function that returns a [`Finding`]; nothing is changed on the host.

mod host;
mod surroundings;

use std::path::Path;
use std::process::ExitCode;

use bake::cli::{DoctorArguments, ListFormat};
use bake::error::CommandError;
use bake::ui::sanitize::sanitize_line;
use serde::Serialize;

use crate::settings;

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// All of it is there.
    Ok,
    /// Builds run, but something is slower, weaker or not to be had.
    Limited,
    /// It is not there.
    Missing,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Finding {
    /// What was looked at, in one or two words.
    name: &'static str,
    state: State,
    /// Builds with RUN cannot be carried out without it.
    required: bool,
    /// What was found, and what it means.
    meaning: String,
    /// What to do about it.
    cure: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, meaning: impl Into<String>) -> Self {
        Self { name, state: State::Ok, required: false, meaning: meaning.into(), cure: None }
    }

    fn limited(name: &'static str, meaning: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { state: State::Limited, cure: Some(cure.into()), ..Self::ok(name, meaning) }
    }

    fn missing(name: &'static str, meaning: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { state: State::Missing, cure: Some(cure.into()), ..Self::ok(name, meaning) }
    }

    /// Something that builds cannot do without.
    fn required(self) -> Self {
        Self { required: true, ..self }
    }

    fn line(&self) -> String {
        let state = match self.state {
            State::Ok => "ok",
            State::Limited => "limited",
            State::Missing => "missing",
        };
        let cure = self.cure.as_ref().map(|cure| format!("; {cure}")).unwrap_or_default();
        format!("{state:<8} {:<18} {}\n", self.name, sanitize_line(&format!("{}{cure}", self.meaning)))
    }
}

/// Looks at everything. Ends with 1 when builds cannot run here.
pub(crate) fn run(arguments: &DoctorArguments, root: Option<&Path>) -> Result<ExitCode, CommandError> {
    let user = rustix::process::geteuid();
    let store = settings::store_root(root, user.is_root())?;
    let mut findings = host::findings(user);
    findings.extend(surroundings::findings(&store, user));
    let prevented = findings.iter().any(|finding| finding.required && finding.state == State::Missing);
    if arguments.format == ListFormat::Json {
        crate::print(&super::table::json_lines(&findings)?)?;
    } else {
        let mut text: String = findings.iter().map(Finding::line).collect();
        text.push_str(if prevented { "builds with RUN cannot run here\n" } else { "builds can run here\n" });
        crate::print(&text)?;
    }
    Ok(if prevented { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_it_means_and_how_to_cure_it() {
        let line = Finding::missing("pasta", "not installed", "install `passt`\u{1b}[31m").line();
        assert!(line.starts_with("missing  pasta              not installed; install `passt`"), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
}
