//! The command line of `bake diff`.

use clap::Args;

/// Arguments of `bake diff`.
#[derive(Debug, Args)]
#[command(after_help = "A: added, C: changed, D: deleted.\n\n\
        Examples:\n  bake diff myapp:1.0 myapp:1.1\n  bake diff --exit-code -q myapp:ci myapp:released || echo differs\n  \
        bake diff --json a b | jq -r '.Files[] | select(.Change == \"added\") | .Path'")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct DiffArguments {
    /// Write one JSON object.
    #[arg(long)]
    pub json: bool,

    /// End with 1 when the images differ.
    #[arg(long)]
    pub exit_code: bool,

    /// Write nothing, and end with 1 when the images differ.
    #[arg(short, long, conflicts_with = "json")]
    pub quiet: bool,

    /// Compare times too: when files were modified, and when the image was made.
    #[arg(long)]
    pub times: bool,

    /// The platform, of images with several.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// The image that counts as the old one.
    #[arg(value_name = "BEFORE")]
    pub before: String,

    /// The image that counts as the new one.
    #[arg(value_name = "AFTER")]
    pub after: String,
}
