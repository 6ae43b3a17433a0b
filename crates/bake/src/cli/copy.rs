//! The command line of `bake copy`.

use clap::Args;

/// Arguments of `bake copy`.
#[derive(Debug, Args)]
#[command(after_help = "Places:\n  \
        NAME, docker://NAME          an image in a registry\n  \
        store:NAME                   an image in the local store; as a source also an image ID\n  \
        oci:DIR[:NAME]               an OCI layout in a directory; as a destination beside what is in it\n  \
        oci-archive:FILE[:NAME]      an OCI layout in an archive\n  \
        docker-archive:FILE[:NAME]   an archive for `docker load`\n\n\
        Examples:\n  bake copy host.example/team/app:1 registry.example/app:1\n  \
        bake copy --platform linux/arm64 alpine:3 oci:layout:arm\n  \
        bake copy oci-archive:app.tar host.example/team/app:1")]
pub struct CopyArguments {
    /// Copy only the image for this platform. Without it, all platforms are copied.
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,

    /// Show no progress.
    #[arg(short, long)]
    pub quiet: bool,

    /// Where the image is.
    #[arg(value_name = "SOURCE")]
    pub source: String,

    /// Where the copy goes.
    #[arg(value_name = "DESTINATION")]
    pub destination: String,
}
