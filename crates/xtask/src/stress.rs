//! The stress tests in full: the test program `stress`, which tries a handful of points in every test run, with hundreds of them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::workspace;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// SIGKILL at chosen system calls of a build, a prune and a repair (takes strace)
    Kill,
    /// SIGKILL at random times of four builds and a prune loop in one store
    RandomKill,
    /// Stores on file systems with too few bytes or files (takes root)
    Space,
    /// Sixteen processes that build in one store, beside a prune loop
    Parallel,
    /// Flipped bits in every kind of file of a store
    Flips,
    /// SIGINT at random times
    Interrupt,
    /// A build of very many steps: what it and the machine hold must not grow
    Leaks,
    /// A push and a pull of 1 GB whose connections are cut
    Resume,
    /// Steps that are reused because nothing that they read has changed, carried out after all
    Traces,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::RandomKill => "random-kill",
            Self::Space => "space",
            Self::Parallel => "parallel",
            Self::Flips => "flips",
            Self::Interrupt => "interrupt",
            Self::Leaks => "leaks",
            Self::Resume => "resume",
            Self::Traces => "traces",
        }
    }
}

/// How it is tried.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Decides the places; without it, another one every time, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// How many places (for `parallel`, builds of each process; for `leaks`, steps; for `resume`, cuts; for `traces`, reused steps)
    #[arg(long)]
    count: Option<usize>,
    /// Try this program instead of a release build of the workspace
    #[arg(long)]
    bake: Option<PathBuf>,
    /// Keep the stores that failures left in this directory
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Builds bake, and tries one kind of attack with it. Stores are below `$TMPDIR`.
pub(crate) fn run(kind: Kind, options: &Options) -> Result<(), String> {
    let bake = if let Some(bake) = &options.bake {
        std::path::absolute(bake).map_err(|error| format!("{}: {error}", bake.display()))?
    } else {
        workspace::cargo(&["build", "--release", "--locked", "--package", "bake"], &[])?;
        program()
    };
    let mut arguments: Vec<String> = ["test", "--locked", "--package", "bake", "--test", "stress", "--", "--full"]
        .map(str::to_owned)
        .into_iter()
        .chain([kind.name().to_owned(), "--bake".to_owned(), bake.display().to_string()])
        .collect();
    let mut flag = |name: &str, value: Option<String>| {
        arguments.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    };
    flag("--seed", options.seed.map(|seed| seed.to_string()));
    flag("--count", options.count.map(|count| count.to_string()));
    let keep = options.keep.as_ref().map(std::path::absolute).transpose().map_err(|error| error.to_string())?;
    flag("--keep", keep.map(|keep| keep.display().to_string()));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    workspace::cargo(&arguments, &[])
}

/// The release build, beside this program: `TARGET/PROFILE/xtask`.
fn program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let target = own.ancestors().nth(2).map_or_else(|| workspace::root().join("target"), PathBuf::from);
    target.join("release/bake")
}
