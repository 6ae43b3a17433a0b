//! What concerns steps that failed: flags of `bake build`, `bake debug`, `bake resume`.

use std::path::PathBuf;

use clap::Args;

use super::value::{Assignment, assignment};

/// Flags of `bake build` about steps that fail.
#[derive(Debug, Args)]
#[command(next_help_heading = "When a step fails")]
pub struct FailureArguments {
    /// Keep the root file systems of this many failed `RUN` steps, for `bake debug` and `bake resume`; 0 for none.
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    pub keep_failed: usize,

    /// Save files of the failed step: `dest=DIR[,src=PATH]...`, or the directory alone for all files. May be given several
    /// times.
    #[arg(long, value_name = "SPEC", value_parser = failure_export)]
    pub on_failure_export: Vec<FailureExport>,
}

/// Which files of a failed step are saved, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureExport {
    /// Absolute paths in the step's root; `/` for everything.
    pub sources: Vec<String>,
    /// The directory, which is made.
    pub destination: PathBuf,
}

/// Reads `dest=DIR[,src=PATH]...`, or `DIR`.
fn failure_export(text: &str) -> Result<FailureExport, String> {
    let everything = || vec!["/".to_owned()];
    if !text.contains('=') && !text.is_empty() {
        return Ok(FailureExport { sources: everything(), destination: PathBuf::from(text) });
    }
    let (mut sources, mut destination) = (Vec::new(), None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("src" | "source", path)) if path.starts_with('/') => sources.push(path.to_owned()),
            Some(("src" | "source", path)) => return Err(format!("the path `{path}` is not absolute")),
            Some(("dest" | "destination", path)) if !path.is_empty() && destination.is_none() => {
                destination = Some(PathBuf::from(path));
            }
            _ => return Err(format!("`{field}` is not src=PATH or dest=DIR")),
        }
    }
    let destination = destination.ok_or("it has no dest=DIR")?;
    Ok(FailureExport { sources: if sources.is_empty() { everything() } else { sources }, destination })
}

/// Arguments of `bake debug`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake debug                       a shell where the last build failed\n  \
        bake debug -- cat /app/test.log  one command there\n  \
        bake debug --list                all failed steps that are kept\n\n\
        The command gets the environment, user, directory and mounts of the step. What it changes stays; `bake resume` goes \
        on with it. Secrets and SSH agents are not kept, so they are there only if they are given again.")]
pub struct DebugArguments {
    /// The failed step, or the first digits of its ID. Without it, the last one.
    #[arg(value_name = "ID")]
    pub id: Option<String>,

    /// List the failed steps that are kept.
    #[arg(short, long)]
    pub list: bool,

    /// Give a secret of the build again.
    #[arg(long, value_name = "SPEC")]
    pub secret: Vec<String>,

    /// Give an SSH agent of the build again.
    #[arg(long, value_name = "SPEC")]
    pub ssh: Vec<String>,

    /// Give a build argument again: values from the command line are not kept.
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = assignment)]
    pub build_arg: Vec<Assignment>,

    /// The command and its arguments. Without it, a shell.
    #[arg(value_name = "COMMAND", last = true)]
    pub command: Vec<String>,
}

/// Arguments of `bake resume`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        bake resume              run the failed instruction again where it failed, then the rest of the build\n  \
        bake resume --accept     take the files as they are now, and go on with the next instruction\n\n\
        The build is the one that failed: same context, arguments and outputs. The result of the step is used by this build \
        only, since nobody could make it from the Dockerfile; it does not get into the cache.")]
pub struct ResumeArguments {
    /// The failed step, or the first digits of its ID. Without it, the last one.
    #[arg(value_name = "ID")]
    pub id: Option<String>,

    /// Take the step's files as they are, without running its command again.
    #[arg(long)]
    pub accept: bool,

    /// Give a secret of the build again.
    #[arg(long, value_name = "SPEC")]
    pub secret: Vec<String>,

    /// Give an SSH agent of the build again.
    #[arg(long, value_name = "SPEC")]
    pub ssh: Vec<String>,

    /// Give a build argument again: values from the command line are not kept.
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = assignment)]
    pub build_arg: Vec<Assignment>,
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn exports_name_paths_and_a_directory() {
        let export = failure_export("dest=out,src=/app/reports,src=/tmp/log").unwrap();
        assert_eq!(export.sources, ["/app/reports", "/tmp/log"]);
        assert_eq!(export.destination, PathBuf::from("out"));
        assert_eq!(failure_export("out").unwrap().sources, ["/"]);
        for wrong in ["", "src=/a", "dest=", "dest=a,src=b", "dest=a,dest=b", "dest=a,x=y"] {
            assert!(failure_export(wrong).is_err(), "{wrong}");
        }
    }
}
