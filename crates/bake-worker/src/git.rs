//! Git sources: a commit of a repository, checked out by the `git` program.
//!
//! `git` is given nothing that it could take for an option, no configuration of the machine or the user, no terminal to ask
//! on, and only the transports that a Dockerfile may name. The program is looked up in fixed directories.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use bake_graph::{GitSource, GitTimes, without_credentials};
use bake_solver::{BuildEvent, Layer, StepError, Stream};
use bake_sys::signal::unblock_in_child;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::fs::{AtFlags, Timespec, Timestamps, utimensat};
use serde::{Deserialize, Serialize};

use crate::copy::{CopyOptions, copy};
use crate::destination::Destination;
use crate::grants::StepGrants;
use crate::reuse::Copied;
use crate::select::select_path;
use crate::source_tree::{SourceTree, TreeError, io, split};
use crate::worker::{LinuxWorker, Report, open_directory, store_failed};

/// Where `git` is looked for.
const PROGRAMS: [&str; 3] = ["/usr/bin/git", "/usr/local/bin/git", "/bin/git"];
/// The part of the store's memory where fetched commits are noted.
const FETCHED: &str = "git";
/// The most that is kept of what `git` prints.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// A commit whose files are in the store.
#[derive(Debug, Serialize, Deserialize)]
pub struct FetchedCommit {
    /// Its files.
    pub layer: Layer,
    /// When it was made, in seconds since 1970.
    pub committed_unix_s: i64,
}

impl LinuxWorker {
    pub(crate) fn git(&self, source: &GitSource, report: &Report<'_>) -> Result<Layer, StepError> {
        self.git_commit(source, report).map(|commit| commit.layer)
    }

    /// The files of a commit, fetched if they are not here, and its time.
    pub(crate) fn git_commit(&self, source: &GitSource, report: &Report<'_>) -> Result<FetchedCommit, StepError> {
        let git = Git::find(self, self.grants(report.source), source)?;
        let commit = git.resolve()?;
        self.fetched.note_commit(source, commit.clone());
        let name = format!(
            "{} {commit} {:?} {} {} {:?}",
            source.url, source.subdirectory, source.keep_git_directory, source.submodules, source.times
        );
        if let Some((_, value)) = self.recall_layer(FETCHED, &name)?
            && let Ok(known) = serde_json::from_slice::<FetchedCommit>(&value)
        {
            return Ok(known);
        }
        let fetched = self.check_out(&git, &commit, report)?;
        self.remember_layer(FETCHED, &name, &fetched)?;
        Ok(fetched)
    }

    fn check_out(&self, git: &Git<'_>, commit: &str, report: &Report<'_>) -> Result<FetchedCommit, StepError> {
        let store = &self.options.store;
        let source = git.source;
        // The repository goes beside the layer's directory and is thrown away with it.
        let scratch = store.begin_snapshot().map_err(|error| store_failed(&error))?;
        let tree = scratch.fs().to_owned();
        let run = |arguments: &[&str]| -> Result<Vec<u8>, StepError> {
            let text = format!("git {}\n", arguments.first().unwrap_or(&""));
            report.events.send(BuildEvent::Log { step: report.step, stream: Stream::Stderr, bytes: text.into_bytes() });
            let output = git.run(&tree, arguments)?;
            if output.status.success() { Ok(output.stdout) } else { Err(git.failed(&output.stderr)) }
        };
        // Without a template there are no sample hooks, which would be part of a kept `.git`.
        run(&["init", "--quiet", "--template=", "--initial-branch=master", "--", "."])?;
        // Submodules may be named relative to it.
        run(&["config", "remote.origin.url", &source.url])?;
        // Servers need not give single commits; then the reference is fetched and must hold the commit.
        let by_commit = run(&["fetch", "--quiet", "--depth=1", "--no-tags", "--", &source.url, commit]);
        if let Err(error) = by_commit {
            if source.fetch_by_commit {
                return Err(error);
            }
            let reference = source.reference.as_deref().unwrap_or("HEAD");
            run(&["fetch", "--quiet", "--", &source.url, reference])?;
        }
        run(&["checkout", "--quiet", "--detach", commit])?;
        if source.submodules && tree.join(".gitmodules").is_file() {
            let update = ["submodule", "update", "--quiet", "--init", "--recursive"];
            // Here too, not every server gives less than everything.
            run(&[&update[..], &["--depth=1"]].concat()).or_else(|_| run(&update))?;
        }
        let committed_unix_s = commit_time(&run(&["show", "--no-patch", "--format=%ct", commit])?)?;
        if source.keep_git_directory {
            run(&["config", "remote.origin.url", &without_credentials(&source.url)])?;
            // They hold times, and the first the address with its password.
            for name in ["FETCH_HEAD", "ORIG_HEAD", "logs"] {
                remove(&tree.join(".git").join(name))?;
            }
        }
        let open = |path: &Path| open_directory(path, "cannot open a directory of the store");
        let snapshot = store.begin_snapshot().map_err(|error| store_failed(&error))?;
        let files = SourceTree::new(open(&tree)?, None);
        if source.times == GitTimes::Commit {
            set_times(&files, committed_unix_s)
                .map_err(|error| StepError::environment("cannot set times in a checkout", error))?;
        }
        let subdirectory = source.subdirectory.as_deref().unwrap_or("/");
        let mut selection = select_path(&files, subdirectory.as_bytes(), None)
            .map_err(|error| StepError::input(format!("`{}`: {error}", without_credentials(&source.url))))?;
        if !selection.is_directory {
            return Err(StepError::input(format!(
                "`{subdirectory}` of `{}` is not a directory",
                without_credentials(&source.url)
            )));
        }
        if !source.keep_git_directory {
            // That of a submodule is a file, and stays as BuildKit has it.
            selection.items.retain(|item| item.relative.split(|b| *b == b'/').next() != Some(b".git"));
        }
        let destination = Destination::new(open(snapshot.fs())?, open(snapshot.fs())?, self.format.ownership);
        let options = CopyOptions { owner: Some((0, 0)), root_owned: true, mode: None, file_name: None, xattrs: false };
        copy(&files, &selection, &destination, "/", &options, &mut Copied::default(), &|_| {})
            .map_err(|error| StepError::input(error.to_string()))?;
        Ok(FetchedCommit { layer: self.publish_source(snapshot, report)?, committed_unix_s })
    }
}

/// `git`, and what it is asked about.
struct Git<'a> {
    program: &'static Path,
    environment: Vec<(OsString, OsString)>,
    source: &'a GitSource,
}

impl<'a> Git<'a> {
    fn find(worker: &LinuxWorker, grants: &StepGrants, source: &'a GitSource) -> Result<Self, StepError> {
        let program = PROGRAMS.iter().map(Path::new).find(|path| path.is_file()).ok_or_else(|| {
            StepError::input(format!("cannot fetch `{}`: `git` is not installed", without_credentials(&source.url)))
        })?;
        let mut environment = worker.options.git_environment.clone();
        if let Some(agent) = grants.agents.get("default") {
            environment.push(("SSH_AUTH_SOCK".into(), agent.socket().into()));
        }
        if let Some((address, header)) = git_authorization(grants, &source.url) {
            // In the environment, since everybody on the machine can read the arguments of a process.
            environment.push(("GIT_CONFIG_COUNT".into(), "1".into()));
            environment.push(("GIT_CONFIG_KEY_0".into(), format!("http.{address}.extraHeader").into()));
            environment.push(("GIT_CONFIG_VALUE_0".into(), format!("Authorization: {header}").into()));
        }
        Ok(Self { program, environment, source })
    }

    /// The commit that the source means.
    fn resolve(&self) -> Result<String, StepError> {
        let source = self.source;
        let full = source.checksum.as_deref().map(str::to_ascii_lowercase).filter(|checksum| is_commit(checksum));
        if let (true, Some(commit)) = (source.fetch_by_commit, &full) {
            return Ok(commit.clone());
        }
        // A full checksum alone says which commit; a short one is compared with that of the default branch.
        let reference = source.reference.as_deref().or(full.as_deref()).unwrap_or("HEAD");
        let commit = if is_commit(reference) {
            reference.to_owned()
        } else {
            let output = self.run(Path::new("/"), &["ls-remote", "--", &source.url])?;
            if !output.status.success() {
                return Err(self.failed(&output.stderr));
            }
            let listing = String::from_utf8_lossy(&output.stdout).into_owned();
            find_reference(&listing, reference).ok_or_else(|| {
                StepError::input(format!(
                    "repository `{}` does not contain the reference `{reference}`",
                    without_credentials(&source.url)
                ))
            })?
        };
        match &source.checksum {
            Some(checksum) if !commit.starts_with(&checksum.to_ascii_lowercase()) => Err(StepError::input(format!(
                "expected checksum of `{}` to be {checksum}, but `{reference}` is {commit}",
                without_credentials(&source.url)
            ))),
            _ => Ok(commit),
        }
    }

    fn run(&self, directory: &Path, arguments: &[&str]) -> Result<std::process::Output, StepError> {
        let mut command = Command::new(self.program);
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("PATH", "/usr/bin:/bin:/usr/local/bin")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "http:https:ssh:git")
            .env("GIT_SSH_COMMAND", "ssh -F /dev/null -o BatchMode=yes")
            .env("LC_ALL", "C")
            .args(["-c", "core.hooksPath=/dev/null", "-c", "core.symlinks=true", "-c", "advice.detachedHead=false"])
            // A server that stops sending must not hold the build for ever.
            .args(["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60", "-c", "safe.directory=*"])
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null());
        let mut output = unblock_in_child(&mut command)
            .output()
            .map_err(|error| StepError::environment(format!("cannot run `{}`", self.program.display()), error))?;
        output.stderr.truncate(OUTPUT_BYTES_MAX);
        Ok(output)
    }

    fn failed(&self, stderr: &[u8]) -> StepError {
        // What git prints may repeat the address with its password.
        let address = without_credentials(&self.source.url);
        let said = String::from_utf8_lossy(stderr).replace(&self.source.url, &address);
        let last: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = last[last.len().saturating_sub(3)..].join("; ");
        let failed = StepError::input(format!("cannot fetch `{address}`: {last}"));
        if ["terminal prompts disabled", "Authentication failed", "403"].iter().any(|sign| last.contains(sign)) {
            return failed.hint("a token for it can be given with `--secret id=GIT_AUTH_TOKEN,env=NAME`");
        }
        failed
    }
}

/// The address that a secret is for (scheme, host and port), and the value of the `Authorization` header, where the caller of the build
/// gave the secret `GIT_AUTH_HEADER` or `GIT_AUTH_TOKEN`, alone or followed by `.HOST`.
fn git_authorization(grants: &StepGrants, url: &str) -> Option<(String, String)> {
    let (scheme, rest) = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))?;
    let authority = rest.split('/').next().unwrap_or_default();
    // An address with a name and a password in it says how it wants to be asked.
    if authority.is_empty() || authority.contains('@') {
        return None;
    }
    // A secret for no host in particular is not sent where everybody on the way can read it.
    let ids = |base: &str| -> Vec<String> {
        let general = (scheme == "https").then(|| base.to_owned());
        [format!("{base}.{authority}")].into_iter().chain(general).collect()
    };
    let basic = |token: String| format!("basic {}", BASE64_STANDARD.encode(format!("x-access-token:{token}")));
    let header = grants
        .first_secret(&ids("GIT_AUTH_HEADER"))
        .or_else(|| grants.first_secret(&ids("GIT_AUTH_TOKEN")).map(basic))?;
    // A line end would begin another header.
    (!header.contains(['\r', '\n'])).then(|| (format!("{scheme}://{authority}/"), header))
}

/// Seconds since 1970, as git prints them.
fn commit_time(output: &[u8]) -> Result<i64, StepError> {
    let text = String::from_utf8_lossy(output).trim().to_owned();
    text.parse().map_err(|_| StepError::input(format!("`git` gave no time of the commit but `{text}`")))
}

/// Sets the modification time of everything in a tree.
fn set_times(tree: &SourceTree, seconds: i64) -> Result<(), TreeError> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    for item in select_path(tree, b"/", None)?.items {
        let path = &item.node.path;
        let (parent, name) = split(path);
        let Some(directory) = tree.open_directory(parent)? else { continue };
        let name = if path.is_empty() { b".".as_slice() } else { name };
        utimensat(&directory, name, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(io("set the time of", path))?;
    }
    Ok(())
}

/// Removes a file or directory of a checkout that need not be there.
fn remove(path: &Path) -> Result<(), StepError> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StepError::environment("cannot tidy a checkout", error))
        }
        _ => Ok(()),
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
}
