//! Arguments of `bake sbom`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `bake sbom`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake sbom myapp:1.0\n  \
        bake sbom --format spdx-json -o myapp.spdx.json myapp:1.0\n  \
        bake sbom --format cyclonedx-json myapp:1.0 | grype")]
pub struct SbomArguments {
    /// How the list is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: SbomFormat,

    /// Write to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// The platform whose packages are listed of an image for several. Without it, that of this machine.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// A reference, image ID or digest.
    #[arg(value_name = "IMAGE")]
    pub image: String,
}

/// How a list of packages is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SbomFormat {
    /// In columns, for people.
    Table,
    /// SPDX 2.3 as JSON.
    #[value(alias = "spdx")]
    SpdxJson,
    /// CycloneDX 1.5 as JSON.
    #[value(alias = "cyclonedx")]
    CyclonedxJson,
}
