//! The command line of `bake imagetools`.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};

use super::format::template;
use super::value::truth;
use crate::template::Template;

/// Arguments of `bake imagetools`.
#[derive(Debug, Args)]
pub struct ImagetoolsArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: ImagetoolsCommand,
}

/// The commands of `bake imagetools`.
#[derive(Debug, Subcommand)]
pub enum ImagetoolsCommand {
    /// Show what is behind a name in a registry.
    Inspect(ImagetoolsInspectArguments),
    /// Put a name on images of registries, several of them as one image with several platforms.
    Create(ImagetoolsCreateArguments),
}

/// Arguments of `bake imagetools inspect`.
#[derive(Debug, Args)]
#[command(
    after_help = "Fields of --format: .Name .Manifest .Image .Provenance.SLSA .SBOM.SPDX; with several platforms, the last three are \
        maps by platform.\n\n\
        Examples:\n  bake imagetools inspect alpine:3\n  bake imagetools inspect --raw alpine:3 | jq .\n  \
        bake imagetools inspect -f '{{.Manifest.Digest}}' alpine:3\n  \
        bake imagetools inspect -f '{{json (index .Image \"linux/arm64\").config.Env}}' alpine:3"
)]
pub struct ImagetoolsInspectArguments {
    /// Write the bytes of the manifest or index, exactly.
    #[arg(long, conflicts_with = "format")]
    pub raw: bool,

    /// How it is written: `json` or a template.
    #[arg(short, long, value_name = "FORMAT", value_parser = template)]
    pub format: Option<Template>,

    /// The image.
    #[arg(value_name = "NAME")]
    pub image: String,
}

/// Arguments of `bake imagetools create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake imagetools create -t host/app:1 host/app:1-amd64 host/app:1-arm64\n  \
        bake imagetools create -t host/app:latest host/app:1\n  \
        bake imagetools create -t host/app:1 --append host/app:1-riscv64\n  \
        bake imagetools create --dry-run --annotation index:team=web host/app:1")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct ImagetoolsCreateArguments {
    /// The name that the result gets; may be given several times.
    #[arg(short, long, value_name = "NAME")]
    pub tag: Vec<String>,

    /// Add to what the name stands for already.
    #[arg(long)]
    pub append: bool,

    /// Write the manifest that would be made, and change nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// Add an annotation: `index:NAME=VALUE`, or `manifest-descriptor[PLATFORM]:NAME=VALUE`.
    #[arg(long, value_name = "TYPE:NAME=VALUE")]
    pub annotation: Vec<String>,

    /// Make an index also of a single image; with `=false` such an image stays what it is.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", action = ArgAction::Set, value_parser = truth)]
    pub prefer_index: bool,

    /// Read a source from this file: a descriptor in JSON; may be given several times.
    #[arg(short, long, value_name = "FILE")]
    pub file: Vec<PathBuf>,

    /// Only the images for these platforms.
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub platform: Vec<String>,

    /// Show no progress.
    #[arg(short, long)]
    pub quiet: bool,

    /// Images in registries, also by digest: `NAME@sha256:...`, or `sha256:...` in the repository of the tag.
    #[arg(value_name = "SOURCE")]
    pub sources: Vec<String>,
}
