//! `bake keygen`, `bake sign` and `bake verify`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `bake keygen`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake keygen\n  bake keygen -o keys/release\n\n\
        The private key is locked with the password in `$COSIGN_PASSWORD`, which may be empty; without that variable \
        bake asks for one. Existing files are not overwritten.")]
pub struct KeygenArguments {
    /// The files are called PREFIX.key and PREFIX.pub.
    #[arg(short, long, value_name = "PREFIX", default_value = "cosign")]
    pub output: PathBuf,
}

/// Arguments of `bake sign`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake sign --key cosign.key registry.example.com/team/app:1.0\n  \
        bake sign --key env://COSIGN_PRIVATE_KEY registry.example.com/team/app@sha256:...\n\n\
        The image has to be in its registry. A key that a password locks takes that of `$COSIGN_PASSWORD`, or asks for it.\n\
        NAME@DIGEST of what was signed is written to standard output.")]
pub struct SignArguments {
    /// The private key: a file as `bake keygen` or `cosign generate-key-pair` make it, or `env://NAME` for a variable that
    /// holds such a text.
    #[arg(long, value_name = "KEY")]
    pub key: String,

    /// Where the signature is put.
    #[arg(long, value_name = "PLACE", default_value = "tag")]
    pub place: SignPlace,

    /// References; an image for several platforms is signed as a whole.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Where a signature is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SignPlace {
    /// Under the tag `sha256-DIGEST.sig`, where every verifier looks.
    Tag,
    /// In a manifest that refers to the image (OCI 1.1), as a bundle of sigstore: what cosign writes since version 3.
    Referrer,
}

/// Arguments of `bake verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake verify --key cosign.pub registry.example.com/team/app:1.0\n\n\
        NAME@DIGEST of what was verified is written to standard output: use that, for the tag may move.\n\
        Exit codes: 0 every image is signed by one of the keys, 1 one is not, 2 usage or input.")]
pub struct VerifyArguments {
    /// A public key: a file or `env://NAME`. Of several, one has to have signed an image.
    #[arg(long, value_name = "KEY", required = true)]
    pub key: Vec<String>,

    /// References; they may have a digest.
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}
