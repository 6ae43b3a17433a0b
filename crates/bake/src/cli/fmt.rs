//! `bake fmt`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `bake fmt`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake fmt\n  \
        bake fmt --check services/\n  \
        bake fmt - < Dockerfile\n\n\
        Exit codes: 0 done, 1 with `--check` or `--diff` when something would change, 2 a file could not be read.")]
pub struct FormatArguments {
    /// The Dockerfiles; directories are searched, `-` is standard input. Without any, `Dockerfile` in the current directory.
    #[arg(value_name = "PATH")]
    pub files: Vec<PathBuf>,

    /// Change nothing; list the files that would change.
    #[arg(long)]
    pub check: bool,

    /// Change nothing; show what would change.
    #[arg(long)]
    pub diff: bool,

    /// What messages call standard input.
    #[arg(long, value_name = "PATH")]
    pub stdin_filename: Option<PathBuf>,
}
