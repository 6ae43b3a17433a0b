//! What `bake build` does about `bake.lock`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of builds about the file that fixes images.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Images")]
pub struct LockArguments {
    /// Fix the images that the Dockerfile names by a lock file: `use` takes what it says, `add` (meant by `--lock` alone) also adds
    /// images that it lacks, `update` looks all of them up anew, `require` fails where it lacks one, `off` ignores it. Without
    /// this, a file `bake.lock` beside the Dockerfile is used.
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "add")]
    pub lock: Option<LockMode>,

    /// Fail where the lock file lacks an image; short for `--lock=require`.
    #[arg(long, conflicts_with = "lock")]
    pub locked: bool,

    /// The lock file. Without it, `bake.lock` beside the Dockerfile.
    #[arg(long, value_name = "FILE")]
    pub lock_file: Option<PathBuf>,
}

/// What is done about a lock file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LockMode {
    /// Take what it says.
    Use,
    /// Take what it says, and add what it lacks.
    Add,
    /// Look everything up anew, and write it.
    Update,
    /// Take what it says, and fail where it lacks something.
    Require,
    /// Ignore it.
    Off,
}
