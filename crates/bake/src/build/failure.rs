//! A failed step: its root is kept, chosen files of it are saved, and a build can go on from it.
//!
//! What is kept names no value that could be a secret: secrets, agents, proxies, build arguments of the command line and
//! addresses with credentials are left out, and have to be given again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bake::cli::{BuildArguments, FailureExport};
use bake::error::CommandError;
use bake_graph::VertexId;
use bake_oci::DefinitionDigest;
use bake_solver::Layer;
use bake_store::{KeptRoot, Store};
use bake_worker::{BuildContext, FailedRoot, FailedStep, LinuxWorker};
use serde::{Deserialize, Serialize};

use crate::settings::{BuildRequest, ContextSpec, DockerfileSpec};
use crate::wiring::{Host, store_failed};

/// What is known of a failed step beside its root.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) step: FailedStep,
    /// What went wrong.
    pub(crate) error: String,
    /// Where its instruction stands: `Dockerfile:3`.
    pub(crate) location: Option<String>,
    /// Build arguments whose values were given on the command line.
    pub(crate) withheld: Vec<String>,
    /// The secrets that were given.
    pub(crate) secrets: Vec<String>,
    /// The SSH agents that were given.
    pub(crate) agents: Vec<String>,
    /// The directories of the caller that were copied from.
    pub(crate) contexts: BTreeMap<String, KeptContext>,
    /// How the build can be repeated, or why it cannot.
    pub(crate) build: Result<Typed, String>,
    /// Results that only builds which went on from failures have.
    pub(crate) layers: Vec<(DefinitionDigest, Layer)>,
}

/// A directory that was copied from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeptContext {
    pub(crate) directory: PathBuf,
    /// The Dockerfile beside which its ignore file may be.
    pub(crate) dockerfile: Option<PathBuf>,
}

/// What was typed, without what is not kept, and where.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Typed {
    pub(crate) arguments: Vec<String>,
    pub(crate) directory: PathBuf,
    /// `SOURCE_DATE_EPOCH` of the environment.
    pub(crate) source_date_epoch: Option<String>,
}

/// What `bake build` does about failed steps.
#[derive(Debug, Default)]
pub(crate) struct FailureRequest {
    /// How many roots are kept.
    pub(crate) keep: usize,
    pub(crate) exports: Vec<FailureExport>,
    /// Build arguments whose values come from the command line or the environment.
    pub(crate) withheld: Vec<String>,
    pub(crate) typed: Option<Result<Typed, String>>,
}

impl FailureRequest {
    /// Of the arguments of a build, and how they were typed.
    pub(crate) fn new(arguments: &BuildArguments) -> Self {
        let names = arguments.build_arg.iter().map(|argument| argument.name.clone());
        Self {
            keep: arguments.failure.keep_failed,
            exports: arguments.failure.on_failure_export.clone(),
            withheld: names.filter(|name| !is_plain(name)).collect(),
            typed: None,
        }
    }
}

/// Build arguments that bake itself obeys, and that are no secrets.
fn is_plain(name: &str) -> bool {
    name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

/// What is kept of the arguments that bake was started with.
pub(crate) fn typed(
    arguments: impl Iterator<Item = std::ffi::OsString>,
    source_date_epoch: Option<String>,
) -> Result<Typed, String> {
    let directory = std::env::current_dir().map_err(|error| format!("the working directory is not known: {error}"))?;
    let mut kept = Vec::new();
    let mut arguments = arguments
        .map(|argument| argument.into_string().map_err(|_| "an argument of the build is not UTF-8".to_owned()));
    while let Some(argument) = arguments.next().transpose()? {
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
            _ => (argument.clone(), None),
        };
        if !matches!(flag.as_str(), "--secret" | "--ssh" | "--build-arg") {
            if has_credentials(&argument) {
                return Err("its arguments hold credentials, which are not kept".to_owned());
            }
            kept.push(argument);
            continue;
        }
        let value = match value {
            Some(value) => value,
            None => arguments.next().transpose()?.unwrap_or_default(),
        };
        if flag == "--build-arg" && is_plain(value.split('=').next().unwrap_or_default()) {
            kept.push(format!("{flag}={value}"));
        }
    }
    Ok(Typed { arguments: kept, directory, source_date_epoch })
}

/// Whether an argument holds a password, token or key: in an address, or as a field of a cache.
pub(crate) fn has_credentials(argument: &str) -> bool {
    let fields = ["secret_access_key", "access_key_id", "session_token", "token", "sig", "signature", "password"];
    let named = argument.split([',', '?', '&']).skip(1).any(|field| {
        let name = field.split('=').next().unwrap_or_default().to_ascii_lowercase();
        fields.iter().any(|known| name == *known || name.ends_with(&format!("-{known}")))
    });
    let in_address = argument.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':') || !argument.contains("ssh://"))
    });
    named || in_address
}

/// The directories that a build copies from.
pub(super) fn contexts(
    request: &BuildRequest,
    contexts: &BTreeMap<String, BuildContext>,
) -> BTreeMap<String, KeptContext> {
    let beside = match (&request.dockerfile, &request.context) {
        (DockerfileSpec::Path(path), _) => std::path::absolute(path).ok(),
        (DockerfileSpec::Default, ContextSpec::Directory(directory)) => {
            std::path::absolute(directory.join("Dockerfile")).ok()
        }
        _ => None,
    };
    let directories = contexts.iter().filter_map(|(name, context)| match context {
        BuildContext::Directory(directory) => {
            let dockerfile = beside.clone().filter(|_| name == bake_frontend::MAIN_CONTEXT);
            Some((name.clone(), KeptContext { directory: directory.path.clone(), dockerfile }))
        }
        BuildContext::Fetched(_) => None,
    });
    directories.collect()
}

/// A step that failed in a build.
pub(super) struct Failed<'a> {
    pub(super) request: &'a BuildRequest,
    pub(super) host: &'a Host,
    pub(super) worker: &'a LinuxWorker,
    pub(super) contexts: &'a BTreeMap<String, KeptContext>,
    pub(super) step: VertexId,
    pub(super) error: &'a str,
    pub(super) location: Option<String>,
}

impl Failed<'_> {
    /// Saves what was asked for and keeps the root; what to say about it.
    pub(super) fn handle(&self) -> Vec<String> {
        let Some(failed) = self.worker.take_failed(self.step) else { return Vec::new() };
        let mut hints = Vec::new();
        for export in &self.request.failure.exports {
            hints.extend(self.save(&failed, export));
        }
        if self.request.failure.keep > 0 {
            hints.push(match self.keep(failed) {
                Ok(()) if self.typed().is_err() => "`bake debug` opens a shell where the step failed".to_owned(),
                Ok(()) => {
                    "`bake debug` opens a shell where the step failed, `bake resume` goes on from there".to_owned()
                }
                Err(error) => format!("the failed step could not be kept for `bake debug`: {error}"),
            });
        }
        hints
    }

    /// Saves what was asked for; what to say about each path.
    fn save(&self, failed: &FailedRoot, export: &FailureExport) -> Vec<String> {
        let told = |source: &String| match self.worker.export_failed(failed, source, &export.destination) {
            Ok(()) => format!("saved {source} of the failed step to {}", export.destination.display()),
            Err(error) => bake::error::chain_text(&error),
        };
        export.sources.iter().map(told).collect()
    }

    fn keep(&self, failed: FailedRoot) -> Result<(), String> {
        let FailedRoot { root, mut step } = failed;
        let withheld: Vec<String> = self.request.failure.withheld.clone();
        let is_argument =
            |step: &FailedStep, name: &String| withheld.contains(name) && step.op.build_args.contains(name);
        let arguments: Vec<String> =
            step.op.env.iter().map(|(name, _)| name).filter(|name| is_argument(&step, name)).cloned().collect();
        step.op.env.retain(|(name, _)| !arguments.contains(name));
        let layers: Vec<(DefinitionDigest, Layer)> = self.worker.continued_layers().into_iter().collect();
        let mut snapshots = step.snapshots();
        snapshots.extend(layers.iter().map(|(_, layer)| layer.snapshot.clone()));
        let description = step.name.clone();
        let record = Record {
            step,
            error: self.error.to_owned(),
            location: self.location.clone(),
            withheld,
            secrets: self.request.secrets.keys().cloned().collect(),
            agents: self.request.ssh.keys().cloned().collect(),
            contexts: self.contexts.clone(),
            build: self.typed(),
            layers,
        };
        let document = serde_json::to_string(&record).map_err(|error| error.to_string())?;
        self.host
            .store
            .keep_root(root, &snapshots, &description, &document, self.request.failure.keep)
            .map(drop)
            .map_err(|error| bake::error::chain_text(&error))
    }

    fn typed(&self) -> Result<Typed, String> {
        if matches!(self.request.context, ContextSpec::Stdin)
            || matches!(self.request.dockerfile, DockerfileSpec::Stdin)
        {
            return Err("it read standard input, which is not kept".to_owned());
        }
        self.request.failure.typed.clone().unwrap_or_else(|| Err("it was not started from a command line".to_owned()))
    }
}

/// A kept root and what is known of it.
pub(crate) struct Kept {
    pub(crate) root: KeptRoot,
    pub(crate) record: Record,
}

/// Finds a failed step by the first digits of its ID, or the last one.
pub(crate) fn find(store: &Store, id: Option<&str>) -> Result<Kept, CommandError> {
    let roots = store.kept_roots().map_err(|error| store_failed(&error))?;
    if roots.is_empty() {
        return Err(CommandError::input("no failed step is kept")
            .hint("`bake build` keeps the last steps that failed, until `bake prune` removes them"));
    }
    let root = match id {
        None => roots.into_iter().next(),
        Some(id) => {
            let found: Vec<KeptRoot> = roots.into_iter().filter(|root| root.id.starts_with(id)).collect();
            if found.len() > 1 {
                return Err(CommandError::input(format!("several failed steps begin with `{id}`")));
            }
            found.into_iter().next()
        }
    };
    let root = root.ok_or_else(|| {
        CommandError::input(format!("there is no failed step `{}`", id.unwrap_or_default()))
            .hint("`bake debug --list` shows those that are kept")
    })?;
    let record = read(&root).ok_or_else(|| {
        CommandError::input(format!("the failed step `{}` was kept by another version of bake", root.id))
    })?;
    Ok(Kept { root, record })
}

/// What is known of a kept root, if this version can read it.
pub(crate) fn read(root: &KeptRoot) -> Option<Record> {
    serde_json::from_str(&root.document).ok()
}

/// Opens the contexts of a failed step that are still there.
pub(crate) fn reopened(record: &Record) -> BTreeMap<String, BuildContext> {
    let there = record.contexts.iter().filter_map(|(name, context)| {
        let opened = context.directory.is_dir().then(|| reopen(context))?;
        Some((name.clone(), opened.ok()?))
    });
    there.collect()
}

fn reopen(context: &KeptContext) -> Result<BuildContext, CommandError> {
    super::read::directory_context(&context.directory, context.dockerfile.as_deref().map(Path::new))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn kept(arguments: &[&str]) -> Result<Vec<String>, String> {
        typed(arguments.iter().map(std::ffi::OsString::from), None).map(|typed| typed.arguments)
    }

    #[test]
    fn what_could_be_a_secret_is_not_kept() {
        let arguments =
            ["build", "--secret", "id=a,env=A", "--ssh=default", "--build-arg", "A=1", "--build-arg=B", "-t", "x", "."];
        assert_eq!(kept(&arguments).unwrap(), ["build", "-t", "x", "."]);
        let plain = ["build", "--build-arg", "SOURCE_DATE_EPOCH=1", "."];
        assert_eq!(kept(&plain).unwrap(), ["build", "--build-arg=SOURCE_DATE_EPOCH=1", "."]);
        for secret in [
            "https://user:word@example.com/a.git",
            "https://token@example.com/a.git",
            "https://example.com/a.tar?X-Amz-Signature=1&X-Amz-Security-Token=2&token=3",
            "type=s3,bucket=b,secret_access_key=k",
        ] {
            assert!(kept(&["build", secret]).is_err(), "{secret}");
        }
        for harmless in ["https://example.com/a.git#v1:dir", "type=registry,ref=a@sha256:00", "ssh://git@example.com/a"]
        {
            assert!(kept(&["build", harmless]).is_ok(), "{harmless}");
        }
    }
}
