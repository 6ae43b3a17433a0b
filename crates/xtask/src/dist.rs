//! What is given to users: the program, an archive with what belongs to it, a Debian package, and checksums.
//!
//! 1. build the program, static and without paths of this machine in it (`program`);
//! 2. let it write its completions and manual pages, and collect the licences of what is linked (`files`, `licences`);
//! 3. write the archive and the package (`archive`, `debian`);
//! 4. write checksums of everything.
//!
//! The same sources give the same bytes: entries are in order, belong to root, and have the time of the last commit.

mod archive;
mod debian;
mod files;
mod licences;
mod program;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bake_oci::{Digest, Timestamp};
use clap::ValueEnum;

use crate::workspace;
use files::Files;
use program::Program;

/// The version of bake, and of everything made here.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Product {
    /// The program alone.
    Program,
    /// `bake-VERSION-ARCHITECTURE-linux.tar.zst`.
    Archive,
    /// `bake_VERSION-1_ARCHITECTURE.deb`.
    Deb,
}

/// What is made, from what.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Make only these
    #[arg(long, value_delimiter = ',')]
    only: Vec<Product>,
    /// The target to compile for. Without it, this machine's architecture with musl
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
    /// Take this program instead of compiling one
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    program: Option<PathBuf>,
    /// The directory for the results
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    output: PathBuf,
    /// The time of everything that is made, in seconds since 1970. Without it, that of the last commit
    #[arg(long, env, value_name = "SECONDS")]
    source_date_epoch: Option<i64>,
    /// The name of who makes the package
    #[arg(long, env = "DEBFULLNAME", value_name = "NAME", default_value = "The developers of bake")]
    maintainer: String,
    /// The address of who makes the package
    #[arg(long, env = "DEBEMAIL", value_name = "ADDRESS", default_value = "bake-build@users.noreply.github.com")]
    maintainer_address: String,
}

/// Makes everything, and says what it made.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let program = match &options.program {
        Some(path) => Program::read(path)?,
        None => Program::build(options.target.as_deref())?,
    };
    let time = Timestamp::from_seconds(options.source_date_epoch.map_or_else(commit_time, Ok)?);
    let output = workspace::root().join(&options.output);
    std::fs::create_dir_all(&output).map_err(|error| format!("Failed to make {}: {error}", output.display()))?;
    let wanted = |product| options.only.is_empty() || options.only.contains(&product);
    let files = Files::collect(&program)?;
    let mut made = Vec::new();
    if wanted(Product::Program) {
        made.push((format!("bake-{}", program.place()), program.bytes.clone()));
    }
    if wanted(Product::Archive) {
        let name = format!("bake-{}", program.place());
        made.push((format!("{name}.tar.zst"), archive::archive(&name, &program, &files, time)?));
    }
    if wanted(Product::Deb) {
        let maintainer = format!("{} <{}>", options.maintainer, options.maintainer_address);
        made.push(debian::package(&program, &files, &maintainer, time)?);
    }
    let sums = checksums(&made);
    made.push(("SHA256SUMS".to_owned(), sums.into_bytes()));
    for (name, bytes) in &made {
        let path = output.join(name);
        write(&path, bytes)?;
        println!("{} ({} KB)", workspace::display(&path), bytes.len() / 1000);
    }
    Ok(())
}

/// Lines as `sha256sum --check` reads them.
fn checksums(made: &[(String, Vec<u8>)]) -> String {
    let mut lines = String::new();
    for (name, bytes) in made {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}  {name}", Digest::of(bytes).hex());
    }
    lines
}

/// Writes a file; programs can be executed.
fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |error: std::io::Error| format!("Failed to write {}: {error}", path.display());
    std::fs::write(path, bytes).map_err(failed)?;
    let mode = if bytes.starts_with(program::ELF_MAGIC) { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)
}

/// The time of the last commit.
fn commit_time() -> Result<i64, String> {
    let text =
        workspace::output_text(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(workspace::root()))
            .map_err(|error| format!("{error}\n  outside of a repository, set SOURCE_DATE_EPOCH"))?;
    text.trim().parse().map_err(|_| format!("git says that `{}` is the time of the last commit", text.trim()))
}
