//! `bake lint`.

use std::ffi::OsString;
use std::path::PathBuf;

use bake_dockerfile::Severity;
use bake_lint::{LabelKind, Profile};
use clap::{Args, ValueEnum};

/// Arguments of `bake lint`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(after_help = "Examples:\n  \
        bake lint\n  \
        bake lint --fix services/\n  \
        bake lint --format sarif --output findings.sarif .\n  \
        bake lint --measure -- --target final .\n  \
        bake lint --explain unknown-instruction\n\n\
        Options can be set by variables: BAKE_LINT_FAIL_LEVEL=error is --fail-level=error. What is typed wins.\n\n\
        Exit codes: 0 nothing to complain about, 1 findings of the level given by `--fail-level`, 2 usage, or a file could not be read.")]
pub struct LintArguments {
    /// The Dockerfiles; directories are searched, `-` is standard input. Without any, `Dockerfile` in the current directory.
    #[arg(value_name = "PATH")]
    pub files: Vec<PathBuf>,

    /// How findings are written [default: text, or github in a workflow of GitHub].
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<LintFormat>,

    /// Write the findings to this file.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Change the files: apply every fix that cannot change what is built.
    #[arg(long)]
    pub fix: bool,

    /// Change the files: apply also fixes that may change what is built.
    #[arg(long)]
    pub unsafe_fixes: bool,

    /// Show what the fixes would change, without changing it.
    #[arg(long)]
    pub diff: bool,

    /// Report only these rules, separated by commas: names, names other linters use, or patterns such as `apt-*`.
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub select: Vec<String>,

    /// Report these rules besides the selected ones.
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub extend_select: Vec<String>,

    /// Do not report these rules, separated by commas.
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub ignore: Vec<String>,

    /// Build, and judge also what the instructions weigh. Behind `--` stand arguments of `bake build`; without any, `.` is built.
    #[arg(long, conflicts_with_all = ["fix", "unsafe_fixes", "diff", "explain", "context"])]
    pub measure: bool,

    /// Arguments of `bake build`, with the build context.
    #[arg(last = true, value_name = "BUILD ARGUMENTS", requires = "measure")]
    pub build: Vec<OsString>,

    /// Give rules another severity, such as `sudo=error`.
    #[arg(long, value_name = "RULE=LEVEL", value_delimiter = ',', value_parser = parse_change)]
    pub severity: Vec<SeverityChange>,

    /// Also run `ShellCheck`, which has to be installed, on the shell text of every RUN.
    #[arg(long, value_name = "PROGRAM", num_args = 0..=1, require_equals = true, default_missing_value = "shellcheck")]
    pub shellcheck: Option<PathBuf>,

    /// The set of rules and their severities.
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<LintProfile>,

    /// Run the default rules of this year, so that a new version of bake finds nothing new.
    #[arg(long, value_name = "YEAR", value_parser = clap::value_parser!(u16).range(2001..))]
    pub edition: Option<u16>,

    /// Registries that images may come from, separated by commas, `*` for any text.
    #[arg(long, value_name = "REGISTRY", value_delimiter = ',')]
    pub trusted_registry: Vec<String>,

    /// Labels that images must have, with the kind of their values: text, url, semver, hash, rfc3339, spdx or email.
    #[arg(long, value_name = "LABEL:KIND", value_delimiter = ',', value_parser = parse_label)]
    pub require_label: Vec<RequiredLabel>,

    /// Report labels other than those.
    #[arg(long)]
    pub strict_labels: bool,

    /// Report comments that hide findings without saying why.
    #[arg(long)]
    pub require_reason: bool,

    /// Report also what comments in the file would hide.
    #[arg(long)]
    pub disable_ignore_pragma: bool,

    /// Fail from this severity on [default: warning].
    #[arg(long, visible_alias = "failure-threshold", value_name = "LEVEL")]
    pub fail_level: Option<FailLevel>,

    /// Do not fail because of findings.
    #[arg(long)]
    pub no_fail: bool,

    /// Take the settings from this file: like `.bake-lint.toml`, or like `.hadolint.yaml` if its name ends so.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Use no file with settings.
    #[arg(long, conflicts_with = "config")]
    pub no_config: bool,

    /// The build context: what is copied from it is looked up, ignore files included. Without it only the directory of a file called
    /// `Dockerfile` or `Containerfile` is looked at, for a missing ignore file.
    #[arg(long, value_name = "DIR")]
    pub context: Option<PathBuf>,

    /// Leave out files and directories that match, when a directory or a pattern is searched.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub exclude: Vec<String>,

    /// What standard input is called in messages, and whose settings hold for it.
    #[arg(long, value_name = "FILE")]
    pub stdin_filename: Option<PathBuf>,

    /// Count the findings of each rule instead of showing them.
    #[arg(long, conflicts_with = "diff")]
    pub statistics: bool,

    /// Say what a rule is about, instead of checking files.
    #[arg(long, value_name = "RULE", conflicts_with_all = ["files", "fix", "unsafe_fixes", "diff"])]
    pub explain: Option<String>,

    /// List the rules and whether they would run, instead of checking files.
    #[arg(long, conflicts_with_all = ["files", "fix", "unsafe_fixes", "diff", "explain", "statistics"])]
    pub list_rules: bool,
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LintFormat {
    /// With the source lines, for people.
    Text,
    /// A list of objects.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations in a workflow of GitHub.
    Github,
    /// A code quality report for GitLab.
    Gitlab,
    /// `FILE:LINE:COLUMN: SEVERITY: MESSAGE [RULE]`.
    Gnu,
    /// Checkstyle's XML.
    Checkstyle,
    /// The XML of `JUnit`: a failed test for each finding.
    Junit,
    /// Code Climate's issues.
    Codeclimate,
    /// Generic issues of `SonarQube`.
    Sonarqube,
    /// Codacy's results.
    Codacy,
}

impl LintFormat {
    /// The format that hadolint knows by this name.
    pub fn of_hadolint(name: &str) -> Option<Self> {
        match name {
            "tty" => Some(Self::Text),
            "gitlab_codeclimate" => Self::from_str("gitlab", false).ok(),
            name => Self::from_str(name, false).ok(),
        }
    }
}

/// The severity from which on findings make the command fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailLevel {
    /// Errors.
    Error,
    /// Warnings and errors.
    Warning,
    /// All but findings of style.
    Info,
    /// Any finding.
    Style,
    /// Never.
    None,
}

impl FailLevel {
    /// Whether a finding of this severity makes the command fail.
    pub fn includes(self, severity: Severity) -> bool {
        match self {
            Self::Error => severity <= Severity::Error,
            Self::Warning => severity <= Severity::Warning,
            Self::Info => severity <= Severity::Info,
            Self::Style => true,
            Self::None => false,
        }
    }
}

impl From<Severity> for FailLevel {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Error => Self::Error,
            Severity::Warning => Self::Warning,
            Severity::Info => Self::Info,
            Severity::Style => Self::Style,
        }
    }
}

/// The set of rules and their severities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LintProfile {
    /// What nearly every Dockerfile should obey.
    Default,
    /// Also what costs effort: pinned digests, health checks.
    Strict,
    /// What hadolint reports, with its severities.
    Hadolint,
}

impl From<LintProfile> for Profile {
    fn from(profile: LintProfile) -> Self {
        match profile {
            LintProfile::Default => Self::Default,
            LintProfile::Strict => Self::Strict,
            LintProfile::Hadolint => Self::Hadolint,
        }
    }
}

/// `RULE=LEVEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeverityChange {
    /// A name of a rule, or a pattern.
    pub rule: String,
    /// What its findings become.
    pub severity: Severity,
}

fn parse_change(text: &str) -> Result<SeverityChange, String> {
    let (rule, level) = text.rsplit_once('=').ok_or("expected RULE=LEVEL")?;
    Ok(SeverityChange { rule: rule.trim().to_owned(), severity: parse_severity(level.trim())? })
}

/// A severity by its name.
///
/// # Errors
/// There is none of this name.
pub fn parse_severity(text: &str) -> Result<Severity, String> {
    match text {
        "error" => Ok(Severity::Error),
        "warning" => Ok(Severity::Warning),
        "info" => Ok(Severity::Info),
        "style" => Ok(Severity::Style),
        _ => Err(format!("`{text}` is not a level; it is error, warning, info or style")),
    }
}

/// `LABEL:KIND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredLabel {
    /// The key.
    pub name: String,
    /// What its value is to be.
    pub kind: LabelKind,
}

fn parse_label(text: &str) -> Result<RequiredLabel, String> {
    let (name, kind) = text.rsplit_once(':').filter(|(name, _)| !name.is_empty()).ok_or("expected LABEL:KIND")?;
    let names = LabelKind::NAMES.map(|(name, _)| name).join(", ");
    let kind =
        LabelKind::named(kind).ok_or_else(|| format!("`{kind}` is not a kind of value; it is one of {names}"))?;
    Ok(RequiredLabel { name: name.to_owned(), kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_include_what_is_worse() {
        let all = [Severity::Error, Severity::Warning, Severity::Info, Severity::Style];
        let counts = [FailLevel::Error, FailLevel::Warning, FailLevel::Info, FailLevel::Style, FailLevel::None]
            .map(|level| all.iter().filter(|severity| level.includes(**severity)).count());
        assert_eq!(counts, [1, 2, 3, 4, 0]);
    }

    #[test]
    fn pairs_are_read() {
        assert_eq!(parse_change("a=b=error").map(|change| change.rule), Ok("a=b".to_owned()));
        assert!(parse_change("sudo").is_err() && parse_change("sudo=fatal").is_err());
        assert_eq!(parse_label("a:b:url"), Ok(RequiredLabel { name: "a:b".to_owned(), kind: LabelKind::Url }));
        assert!(parse_label(":url").is_err() && parse_label("a").is_err() && parse_label("a:any").is_err());
    }
}
