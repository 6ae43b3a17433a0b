//! `bake lint`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `bake lint`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake lint\n  \
        bake lint --fix services/*/Dockerfile\n  \
        bake lint --format sarif > findings.sarif\n  \
        bake lint --measure -- --target final .\n  \
        bake lint --explain unknown-instruction\n\n\
        Exit codes: 0 nothing to complain about, 1 findings, 2 a file could not be read.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct LintArguments {
    /// The Dockerfiles; `-` for standard input. Without any, `Dockerfile` in the current directory.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// How findings are written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: LintFormat,

    /// Change the files: apply every fix that cannot change what is built.
    #[arg(long)]
    pub fix: bool,

    /// Change the files: apply also fixes that may change what is built.
    #[arg(long)]
    pub unsafe_fixes: bool,

    /// Show what the fixes would change, without changing it.
    #[arg(long)]
    pub diff: bool,

    /// Report only these rules, separated by commas.
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub select: Vec<String>,

    /// Do not report these rules, separated by commas.
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub ignore: Vec<String>,

    /// Build, and judge also what the instructions weigh. Behind `--` stand arguments of `bake build`; without any, `.` is built.
    #[arg(long, conflicts_with_all = ["fix", "unsafe_fixes", "diff", "explain", "context"])]
    pub measure: bool,

    /// Arguments of `bake build`, with the build context.
    #[arg(last = true, value_name = "BUILD ARGUMENTS", requires = "measure")]
    pub build: Vec<OsString>,

    /// The build context: what is copied from it is looked up, ignore files included. Without it only the directory of a file called
    /// `Dockerfile` or `Containerfile` is looked at, for a missing ignore file.
    #[arg(long, value_name = "DIR")]
    pub context: Option<PathBuf>,

    /// Say what a rule is about, instead of checking files.
    #[arg(long, value_name = "RULE", conflicts_with_all = ["files", "fix", "unsafe_fixes", "diff"])]
    pub explain: Option<String>,
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
}
