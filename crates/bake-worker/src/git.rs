//! Git sources: a commit of a repository, checked out by the `git` program.
//!
//! `git` is given nothing that it could take for an option, no configuration of the machine or the user, no terminal to ask
//! on, and only the transports that a Dockerfile may name. The program is looked up in fixed directories.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bake_graph::GitSource;
use bake_snapshot::Active;
use bake_solver::{BuildEvent, Layer, StepError, Stream, Task};
use serde::{Deserialize, Serialize};

use crate::copy::{CopyOptions, copy};
use crate::destination::Destination;
use crate::select::select_path;
use crate::source_tree::SourceTree;
use crate::worker::{LinuxWorker, open_directory, snapshot_failed, store_failed};

/// Where `git` is looked for.
const PROGRAMS: [&str; 3] = ["/usr/bin/git", "/usr/local/bin/git", "/bin/git"];
/// The part of the store's memory where fetched commits are noted.
const FETCHED: &str = "git";
/// The most that is kept of what `git` prints.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// What is remembered of a commit.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    layer: Layer,
}

impl LinuxWorker {
    pub(crate) fn git(&self, source: &GitSource, task: &Task<'_>) -> Result<Layer, StepError> {
        let program = PROGRAMS.iter().map(Path::new).find(|path| path.is_file()).ok_or_else(|| {
            StepError::input(format!("cannot fetch `{}`: `git` is not installed", shown(&source.url)))
        })?;
        let store = &self.options.store;
        let commit = resolve(program, &self.options.git_environment, source)?;
        let name = format!(
            "{} {commit} {:?} {} {}",
            source.url, source.subdirectory, source.keep_git_directory, source.submodules
        );
        if let Some(known) = store.recall(FETCHED, &name, Duration::MAX).map_err(|error| store_failed(&error))?
            && let Ok(known) = serde_json::from_slice::<Remembered>(&known.value)
            && store.snapshot(&known.layer.snapshot).map_err(|error| store_failed(&error))?.is_some()
        {
            return Ok(known.layer);
        }
        let layer = self.check_out(program, source, &commit, task)?;
        if let Ok(bytes) = serde_json::to_vec(&Remembered { layer: layer.clone() }) {
            store.remember(FETCHED, &name, &bytes).map_err(|error| store_failed(&error))?;
        }
        Ok(layer)
    }

    fn check_out(&self, program: &Path, source: &GitSource, commit: &str, task: &Task<'_>) -> Result<Layer, StepError> {
        let store = &self.options.store;
        // The repository goes beside the layer's directory and is thrown away with it.
        let scratch = store.begin_snapshot().map_err(|error| store_failed(&error))?;
        let tree = scratch.fs().to_owned();
        let run = |arguments: &[&str]| -> Result<(), StepError> {
            let output = git(program, &self.options.git_environment, &tree, arguments)?;
            let text = format!("git {}\n", arguments.first().unwrap_or(&""));
            task.events.send(BuildEvent::Log { step: task.id, stream: Stream::Stderr, bytes: text.into_bytes() });
            if output.status.success() {
                return Ok(());
            }
            Err(failed(source, &output.stderr))
        };
        run(&["init", "--quiet", "--", "."])?;
        // Servers need not give single commits; then the reference is fetched and must hold the commit.
        let by_commit = run(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", &source.url, commit]);
        if by_commit.is_err() {
            let reference = source.reference.as_deref().unwrap_or("HEAD");
            run(&["fetch", "--quiet", "--", &source.url, reference])?;
        }
        run(&["checkout", "--quiet", "--detach", commit])?;
        if source.submodules && tree.join(".gitmodules").is_file() {
            run(&["submodule", "update", "--quiet", "--init", "--recursive", "--depth=1"])?;
        }
        let open = |path: &Path| open_directory(path, "cannot open a directory of the store");
        let snapshot = store.begin_snapshot().map_err(|error| store_failed(&error))?;
        let files = SourceTree::new(open(&tree)?, None);
        let subdirectory = source.subdirectory.as_deref().unwrap_or("/");
        let mut selection = select_path(&files, subdirectory.as_bytes(), None)
            .map_err(|error| StepError::input(format!("`{}`: {error}", shown(&source.url))))?;
        if !selection.is_directory {
            return Err(StepError::input(format!("`{subdirectory}` of `{}` is not a directory", shown(&source.url))));
        }
        if !source.keep_git_directory {
            selection.items.retain(|item| !item.relative.split(|b| *b == b'/').any(|part| part == b".git"));
        }
        let destination = Destination::new(open(snapshot.fs())?, open(snapshot.fs())?, self.format.ownership);
        let options = CopyOptions { owner: Some((0, 0)), root_owned: true, mode: None, file_name: None, xattrs: false };
        copy(&files, &selection, &destination, "/", &options).map_err(|error| StepError::input(error.to_string()))?;
        let active = Active { upper: snapshot.fs(), work: snapshot.work() };
        let none: [&Path; 0] = [];
        let committed = self.options.isolation.files.commit(&none, active).map_err(|error| snapshot_failed(&error))?;
        self.publish(snapshot, &committed, task)
    }
}

/// The commit that the source means.
fn resolve(program: &Path, environment: &[(OsString, OsString)], source: &GitSource) -> Result<String, StepError> {
    let reference = source.reference.as_deref().unwrap_or("HEAD");
    let commit = if is_commit(reference) {
        reference.to_owned()
    } else {
        let output = git(program, environment, Path::new("/"), &["ls-remote", "--", &source.url])?;
        if !output.status.success() {
            return Err(failed(source, &output.stderr));
        }
        let listing = String::from_utf8_lossy(&output.stdout).into_owned();
        find_reference(&listing, reference).ok_or_else(|| {
            StepError::input(format!(
                "repository `{}` does not contain the reference `{reference}`",
                shown(&source.url)
            ))
        })?
    };
    match &source.checksum {
        Some(checksum) if !commit.starts_with(&checksum.to_ascii_lowercase()) => Err(StepError::input(format!(
            "expected checksum of `{}` to be {checksum}, but `{reference}` is {commit}",
            shown(&source.url)
        ))),
        _ => Ok(commit),
    }
}

/// Looks a reference up in what `git ls-remote` lists; what a tag points to comes before the tag itself.
fn find_reference(listing: &str, reference: &str) -> Option<String> {
    let lines: Vec<(&str, &str)> = listing.lines().filter_map(|line| line.split_once('\t')).collect();
    let candidates = [
        format!("{reference}^{{}}"),
        reference.to_owned(),
        format!("refs/tags/{reference}^{{}}"),
        format!("refs/tags/{reference}"),
        format!("refs/heads/{reference}"),
        format!("refs/{reference}"),
    ];
    let find = |wanted: &String| lines.iter().find(|(_, name)| name == wanted).map(|(commit, _)| (*commit).to_owned());
    candidates.iter().find_map(find).filter(|commit| is_commit(commit))
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn git(
    program: &Path,
    environment: &[(OsString, OsString)],
    directory: &Path,
    arguments: &[&str],
) -> Result<std::process::Output, StepError> {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("PATH", "/usr/bin:/bin:/usr/local/bin")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", "http:https:ssh:git")
        .env("GIT_SSH_COMMAND", "ssh -F /dev/null -o BatchMode=yes")
        .env("LC_ALL", "C")
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.symlinks=true",
            "-c",
            "advice.detachedHead=false",
            "-c",
            "safe.directory=*",
        ])
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null());
    let mut output = command
        .output()
        .map_err(|error| StepError::environment(format!("cannot run `{}`", PathBuf::from(program).display()), error))?;
    output.stderr.truncate(OUTPUT_BYTES_MAX);
    Ok(output)
}

fn failed(source: &GitSource, stderr: &[u8]) -> StepError {
    // What git prints may repeat the address with its password.
    let said = String::from_utf8_lossy(stderr).replace(&source.url, &shown(&source.url));
    let last: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = last[last.len().saturating_sub(3)..].join("; ");
    StepError::input(format!("cannot fetch `{}`: {last}", shown(&source.url)))
}

/// The address without user name and password.
fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}/{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_as_git_does() {
        let a = "a".repeat(40);
        let b = "b".repeat(40);
        let listing = format!("{a}\tHEAD\n{a}\trefs/heads/main\n{b}\trefs/tags/v1\n{a}\trefs/tags/v1^{{}}\n");
        assert_eq!(find_reference(&listing, "main").as_deref(), Some(a.as_str()));
        assert_eq!(find_reference(&listing, "v1").as_deref(), Some(a.as_str()));
        assert_eq!(find_reference(&listing, "HEAD").as_deref(), Some(a.as_str()));
        assert_eq!(find_reference(&listing, "nope"), None);
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("https://u:p@host/x.git"), "https://host/x.git");
    }
}
