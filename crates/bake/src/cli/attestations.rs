//! Arguments of `bake attestations`.

use clap::Args;

use super::format::{RowFormat, row_format};

/// Arguments of `bake attestations`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake attestations myapp:1.0\n  \
        bake attestations --remote registry.example.com/myapp:1.0\n  \
        bake attestations --show provenance myapp:1.0 | jq .predicate.buildDefinition\n  \
        bake attestations --show sbom myapp:1.0 | jq .predicate > myapp.spdx.json")]
pub struct AttestationsArguments {
    /// How the list is written: `table`, `json`, or a template with the fields `Type`, `Platform`, `Size`, `Digest`, `Form`.
    #[arg(long, value_name = "FORMAT", default_value = "table", value_parser = row_format)]
    pub format: RowFormat,

    /// Write the statements of this kind instead, each as a line of JSON: `provenance`, `sbom`, or the address of a predicate.
    #[arg(long, value_name = "KIND", conflicts_with = "format")]
    pub show: Option<String>,

    /// Only what is said of the image for this platform.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// Ask the registry that the name leads to, and not the local store.
    #[arg(long)]
    pub remote: bool,

    /// A reference; in the local store also an image ID or digest.
    #[arg(value_name = "IMAGE")]
    pub image: String,
}
