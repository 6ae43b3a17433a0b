//! Developer commands, run as `cargo xtask COMMAND`.
//!
//! Purpose: everything a contributor or the CI runs besides plain cargo, so that both run the same.
//!
//! Entry points: `ci` runs all gates; `tidy` checks the rules of the workspace that the compiler does not; `docs` writes what is
//! generated from code; `bless` accepts the present output of test cases; `test` runs the tests with every program they compare
//! ours with; `dist` makes what is given to users; `bench` measures builds
//! beside other builders; `stress` kills, interrupts and starves builds; `example` and `base-image` build what is in `testdata/examples`.
//!
//! Invariant: with `--check`, or as part of `ci`, nothing in the repository is changed.
//!
//! Must not: be needed to build or use the program.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command for people: its output is what it is for")]

mod base_image;
mod bench;
mod bless;
mod ci;
mod dist;
mod docs;
mod example;
mod stress;
mod test;
mod tidy;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every gate: format, clippy, tests, documentation, tidy, generated files
    Ci {
        /// Run only these steps (fmt, clippy, test, doc, tidy, docs)
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Check manifests and sources against the rules of the workspace
    Tidy,
    /// Write the files that are generated from code
    Docs {
        /// Only say which files are not up to date
        #[arg(long)]
        check: bool,
    },
    /// Accept the present output of test cases as the expected one
    Bless {
        /// Only cases whose name holds this
        filter: Option<String>,
    },
    /// Run the tests, none left out for want of a program
    Test {
        /// Install missing programs with apt-get
        #[arg(long)]
        install: bool,
    },
    /// Measure builds beside the builders that this machine has
    Bench {
        /// How
        #[command(flatten)]
        options: bench::Options,
    },
    /// Make what is given to users: the static program, an archive, a Debian package, checksums
    Dist {
        /// How
        #[command(flatten)]
        options: dist::Options,
    },
    /// Build bake, and kill, interrupt or starve its builds, or damage their store, at hundreds of places
    Stress {
        /// What is done to them
        kind: stress::Kind,
        /// How
        #[command(flatten)]
        options: stress::Options,
    },
    /// Build bake, and an example with it
    Example {
        /// Which one
        name: example::Example,
        /// How
        #[command(flatten)]
        options: example::Options,
    },
    /// Make a base image from Debian packages, as an OCI layout
    BaseImage {
        /// Which one
        name: base_image::BaseImage,
        /// The directory of the layout; one that is there already stays
        #[arg(long)]
        output: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Ci { only } => ci::run(&only),
        Command::Tidy => tidy::run(),
        Command::Docs { check } => docs::run(check),
        Command::Bless { filter } => bless::run(filter.as_deref()),
        Command::Test { install } => test::run(install),
        Command::Bench { options } => bench::run(&options),
        Command::Dist { options } => dist::run(&options),
        Command::Stress { kind, options } => stress::run(kind, &options),
        Command::Example { name, options } => example::run(name, options),
        Command::BaseImage { name, output } => {
            name.make(&output).map(|origin| println!("{}: {} ({origin})", output.display(), name.reference()))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
