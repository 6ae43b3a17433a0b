//! What installations put beside the program: completions of shells, and manual pages.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Arguments of `bake completion`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake completion bash > /usr/share/bash-completion/completions/bake\n  \
        bake completion zsh > /usr/share/zsh/vendor-completions/_bake\n  \
        bake completion fish > ~/.config/fish/completions/bake.fish\n  \
        source <(bake completion bash)")]
pub struct CompletionArguments {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Arguments of `bake man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake man /usr/local/share/man/man1\n\n\
        There is a page for bake and one for each command: bake.1, bake-build.1, ...")]
pub struct ManArguments {
    /// The directory for the pages; it is made if it is not there.
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}
