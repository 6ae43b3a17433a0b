//! `bake pin`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `bake pin`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake pin\n  \
        bake pin --diff services/*/Dockerfile\n  \
        bake pin --update\n  \
        bake pin --check\n\n\
        Exit codes: 0 every image has its digest, 1 some have none, 2 a file could not be read.")]
pub struct PinArguments {
    /// The Dockerfiles; `-` for standard input. Without any, `Dockerfile` in the current directory.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Change nothing and ask no registry: tell which images have no digest. With `--update`, ask registries and tell also which
    /// digests are no longer those of their tags.
    #[arg(long)]
    pub check: bool,

    /// Show what would be changed, without changing it. Ends with 1 where there is something to change.
    #[arg(long, conflicts_with = "check")]
    pub diff: bool,

    /// Give images that have a digest the one that their tag means now.
    #[arg(long)]
    pub update: bool,
}
