//! Flags of `bake build` about what is said of an image, and which images it may be made from.

use clap::Args;

/// What is said of the image.
#[derive(Debug, Args)]
#[command(next_help_heading = "Supply chain")]
pub struct SupplyChainArguments {
    /// Say something of the image that can be checked later: `type=provenance`, `type=sbom`, each with parameters. May be given
    /// several times.
    #[arg(long, value_name = "SPEC")]
    pub attest: Vec<String>,

    /// Say how the image was made: `true`, `false`, or parameters such as `mode=min`; short for `--attest type=provenance`.
    #[arg(long, value_name = "SPEC")]
    pub provenance: Option<String>,

    /// List the packages in the image: `true` or `false`; short for `--attest type=sbom`.
    #[arg(long, value_name = "BOOL")]
    pub sbom: Option<String>,

    /// The build arguments whose values `--provenance mode=max` tells, separated by commas; `*` for all. Of others it tells the
    /// names only.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub provenance_args: Vec<String>,
}
