//! `bake lsp`.

use std::path::PathBuf;

use clap::Args;

/// Arguments of `bake lsp`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  bake lsp\n  bake lsp --context services/\n\n\
        The program is started by an editor; docs/editors.md says how each is told to.\n\n\
        Exit codes: 0 the editor ended the session, 1 it went away without a word.")]
pub struct LspArguments {
    /// Speak over standard input and output, which is what happens anyway: many editors pass this flag.
    #[arg(long)]
    pub stdio: bool,

    /// The build context, for the paths after COPY and ADD.
    ///
    /// Without it, the context is the nearest directory at or above the Dockerfile that has a `.dockerignore`, else that of the
    /// Dockerfile.
    #[arg(long, value_name = "DIR")]
    pub context: Option<PathBuf>,
}
