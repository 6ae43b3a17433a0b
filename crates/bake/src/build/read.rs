//! Reads the Dockerfile and the ignore files, and opens, unpacks or fetches the build context.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use bake::error::{CommandError, ErrorKind};
use bake::ui::progress::Progress;
use bake_dockerfile::{IgnoreFile, IgnorePatterns, ItemKind, SourceText, limits};
use bake_frontend::MainContext;
use bake_graph::{HttpSource, StepLabel, without_credentials};
use bake_solver::{Layer, StepError, StepErrorKind};
use bake_worker::{BuildContext, ContextDirectory, FetchedContext, LinuxWorker, Report};

use crate::files::read_file;
use crate::settings::{BuildRequest, ContextSpec, DockerfileSpec, NamedSource, SourceDateEpoch};

/// The largest ignore file.
const IGNORE_BYTES_MAX: u64 = 5 << 20;
/// The names under which a Dockerfile is found in a context.
const NAMES: [&str; 2] = ["Dockerfile", "dockerfile"];

/// What a build reads before anything runs.
pub(super) struct Input {
    pub(super) dockerfile: SourceText,
    /// Where it is, if it is a file of the caller.
    pub(super) dockerfile_path: Option<PathBuf>,
    pub(super) contexts: BTreeMap<String, BuildContext>,
    /// Where the main context comes from.
    pub(super) main_context: MainContext,
    /// The time that images get, in seconds since 1970.
    pub(super) source_date_epoch: Option<i64>,
}

/// `source` is the number that the Dockerfile gets in the graph.
pub(super) fn read(
    request: &BuildRequest,
    worker: &LinuxWorker,
    progress: &Progress,
    source: u32,
) -> Result<Input, CommandError> {
    let fetcher = Fetcher { worker, progress, source };
    let main = fetcher.main_context(&request.context)?;
    let (dockerfile, beside) = dockerfile(request, &main, &fetcher)?;
    let source_date_epoch = fetcher.source_date_epoch(request, &main)?;
    let mut contexts = BTreeMap::new();
    let main_context = if matches!(main, Main::Directory(_)) { MainContext::Directory } else { MainContext::Fetched };
    let context = match main {
        // An ignore file counts for directories of the caller only: what is fetched or unpacked is there anyway.
        Main::Directory(path) => directory_context(&path, beside.as_deref())?,
        Main::Archive { files, .. } => BuildContext::Fetched(vec![files]),
        Main::Dockerfile { files, .. } => BuildContext::Fetched(files),
    };
    contexts.insert(bake_frontend::MAIN_CONTEXT.to_owned(), context);
    for (name, source) in &request.named {
        if let NamedSource::Directory(path) = source {
            check_directory(path, &format!("build context `{name}`"))?;
            contexts.insert(name.clone(), directory_context(path, None)?);
        }
    }
    Ok(Input { dockerfile, dockerfile_path: beside, contexts, main_context, source_date_epoch })
}

/// The main build context.
enum Main {
    Directory(PathBuf),
    /// An archive or a repository, unpacked.
    Archive {
        files: Layer,
        /// How it is called in messages.
        name: String,
        /// When it was made, in seconds since 1970, where that is known without asking again.
        made_unix_s: Option<i64>,
        /// Whether it came from a server, rather than from standard input.
        remote: bool,
    },
    /// A Dockerfile came in place of a context.
    Dockerfile {
        bytes: Vec<u8>,
        files: Vec<Layer>,
        name: String,
    },
}

/// Gets what is not a file of the caller.
pub(super) struct Fetcher<'a> {
    pub(super) worker: &'a LinuxWorker,
    pub(super) progress: &'a Progress,
    /// The number of the Dockerfile that it is done for.
    pub(super) source: u32,
}

impl Fetcher<'_> {
    fn main_context(&self, context: &ContextSpec) -> Result<Main, CommandError> {
        match context {
            ContextSpec::Directory(path) => {
                check_directory(path, "build context")?;
                Ok(Main::Directory(path.clone()))
            }
            ContextSpec::Stdin => {
                let name = "standard input".to_owned();
                let fetched = self.shown("read the build context from standard input", |report| {
                    self.worker.context_from_stream(std::io::stdin().lock(), report)
                })?;
                Ok(main_of(fetched, name, false))
            }
            ContextSpec::Http(source) => {
                let name = without_credentials(&source.url);
                Ok(main_of(self.http(source, "load remote build context")?, name, true))
            }
            ContextSpec::Git(source) => {
                let name = without_credentials(&source.url);
                let commit = self
                    .shown(&format!("load git source {name}"), |report| self.worker.context_from_git(source, report))?;
                let made_unix_s = Some(commit.committed_unix_s);
                Ok(Main::Archive { files: commit.layer, name, made_unix_s, remote: true })
            }
        }
    }

    fn source_date_epoch(&self, request: &BuildRequest, main: &Main) -> Result<Option<i64>, CommandError> {
        let name = match &request.source_date_epoch {
            None => return Ok(None),
            Some(SourceDateEpoch::Seconds(seconds)) => return Ok(Some(*seconds)),
            Some(SourceDateEpoch::OfContext(name)) => name,
        };
        let text = format!("read the time of the build context {name}");
        let of_http = |source: &HttpSource| self.shown(&text, |report| self.worker.time_of_http(source, report));
        let is_main = name == bake_frontend::MAIN_CONTEXT;
        let time = match (main, &request.context, request.named.get(name)) {
            // Asked again, the server could mean another commit.
            (Main::Archive { made_unix_s: Some(made), .. }, _, _) if is_main => Some(*made),
            (_, ContextSpec::Http(source), _) if is_main => of_http(source)?,
            (_, _, Some(NamedSource::Http(source))) => of_http(source)?,
            (_, _, Some(NamedSource::Git(source))) => {
                let commit = self.shown(&text, |report| self.worker.context_from_git(source, report))?;
                Some(commit.committed_unix_s)
            }
            _ => {
                let what = "a number of seconds, or a build context from git or HTTP: `context` or the name of one";
                return Err(CommandError::usage(format!("invalid `SOURCE_DATE_EPOCH={name}`: it must be {what}")));
            }
        };
        time.map(Some).ok_or_else(|| {
            CommandError::input(format!("`SOURCE_DATE_EPOCH={name}`: the server says no time, and it is no archive"))
        })
    }

    fn http(&self, source: &HttpSource, text: &str) -> Result<FetchedContext, CommandError> {
        let address = without_credentials(&source.url);
        let fetched =
            self.shown(&format!("{text} {address}"), |report| self.worker.context_from_http(source, report))?;
        match &fetched {
            // What a browser shows of a repository is no repository.
            FetchedContext::Text { bytes, .. } if bytes.trim_ascii_start().starts_with(b"<") => {
                Err(CommandError::input(format!("`{address}` is a web page, neither an archive nor a Dockerfile"))
                    .hint("the address of a git repository ends in `.git`"))
            }
            _ => Ok(fetched),
        }
    }

    /// Does `work` and shows it as a step; it is of no interest unless it takes long or fails.
    pub(super) fn shown<T>(
        &self,
        text: &str,
        work: impl FnOnce(&Report<'_>) -> Result<T, StepError>,
    ) -> Result<T, CommandError> {
        let label = StepLabel { stage: String::new(), number: None, text: text.to_owned(), internal: true };
        let activity = self.progress.begin(label.clone());
        let report = Report { step: activity.id(), label: &label, events: self.progress, source: self.source };
        match work(&report) {
            Ok(done) => {
                activity.done();
                Ok(done)
            }
            Err(error) => {
                activity.failed(error.message.clone());
                let kind = if error.kind == StepErrorKind::Input { ErrorKind::Input } else { ErrorKind::Build };
                Err(CommandError::new(kind, format!("cannot {text}: {}", error.message)).hints(error.hints))
            }
        }
    }
}

fn main_of(fetched: FetchedContext, name: String, remote: bool) -> Main {
    match fetched {
        FetchedContext::Archive(files) => Main::Archive { files, name, made_unix_s: None, remote },
        FetchedContext::Text { bytes, files } => Main::Dockerfile { bytes, files, name },
    }
}

pub(super) fn directory_context(path: &Path, dockerfile: Option<&Path>) -> Result<BuildContext, CommandError> {
    let ignore = ignore_patterns(dockerfile, path)?;
    Ok(BuildContext::Directory(ContextDirectory { path: directory_of(path), ignore }))
}

/// The canonical path: it names the remembered hashes of the files.
fn directory_of(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn check_directory(path: &Path, what: &str) -> Result<(), CommandError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(CommandError::input(format!("the {what} `{}` is not a directory", path.display()))),
        Err(error) => Err(CommandError::input(format!("cannot open the {what} `{}`: {error}", path.display()))),
    }
}

/// The Dockerfile, and its path where it is a file of the caller.
fn dockerfile(
    request: &BuildRequest,
    context: &Main,
    fetcher: &Fetcher<'_>,
) -> Result<(SourceText, Option<PathBuf>), CommandError> {
    match (&request.dockerfile, context) {
        (DockerfileSpec::Inline(text), _) => Ok((source("Dockerfile", text.clone().into_bytes())?, None)),
        (DockerfileSpec::Stdin, _) => {
            let mut bytes = Vec::new();
            let limit = limits::FILE_BYTES_MAX as u64 + 1;
            std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(|error| {
                CommandError::input(format!("cannot read the Dockerfile from standard input: {error}"))
            })?;
            Ok((source("Dockerfile", bytes)?, None))
        }
        (DockerfileSpec::Http(address), _) => {
            let name = without_credentials(&address.url);
            match fetcher.http(address, "load remote Dockerfile")? {
                FetchedContext::Text { bytes, .. } => Ok((source(&name, bytes)?, None)),
                FetchedContext::Archive(_) => {
                    Err(CommandError::input(format!("`{name}` is an archive, not a Dockerfile"))
                        .hint("pass it as the build context instead of with `--file`"))
                }
            }
        }
        (DockerfileSpec::Default, Main::Dockerfile { bytes, .. }) => Ok((source("Dockerfile", bytes.clone())?, None)),
        (DockerfileSpec::Path(path), Main::Dockerfile { name, .. }) => Err(CommandError::usage(format!(
            "ambiguous Dockerfile: {name} holds one in place of a build context, and `--file` names `{}`",
            path.display()
        ))),
        // What comes from a server is somebody else's: only a path that cannot be meant in it is one of the caller.
        (DockerfileSpec::Path(path), Main::Archive { files, name, remote, .. }) if !(*remote && path.is_absolute()) => {
            match fetched_dockerfile(fetcher.worker, files, path)? {
                Some(bytes) => Ok((source(&path.display().to_string(), bytes)?, None)),
                None => Err(CommandError::input(format!(
                    "failed to read dockerfile: `{}` not found in {name}",
                    path.display()
                ))),
            }
        }
        (DockerfileSpec::Default, Main::Archive { files, name, .. }) => {
            for file in NAMES {
                if let Some(bytes) = fetched_dockerfile(fetcher.worker, files, Path::new(file))? {
                    return Ok((source(file, bytes)?, None));
                }
            }
            Err(CommandError::input(format!("failed to read dockerfile: `Dockerfile` not found in {name}"))
                .hint("pass another file with `--file`"))
        }
        (DockerfileSpec::Path(path), _) => {
            let bytes = read_file(path, limits::FILE_BYTES_MAX as u64).map_err(|error| unreadable(path, &error))?;
            Ok((source(&path.display().to_string(), bytes)?, Some(path.clone())))
        }
        (DockerfileSpec::Default, Main::Directory(directory)) => {
            for name in NAMES {
                let path = directory.join(name);
                match read_file(&path, limits::FILE_BYTES_MAX as u64) {
                    Ok(bytes) => return Ok((source(name, bytes)?, Some(path))),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => return Err(unreadable(&path, &error)),
                }
            }
            Err(CommandError::input(format!(
                "failed to read dockerfile: `{}/Dockerfile` not found",
                directory.display()
            ))
            .hint("pass another file with `--file`"))
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> CommandError {
    CommandError::input(format!("cannot read the Dockerfile `{}`: {error}", path.display()))
}

fn fetched_dockerfile(worker: &LinuxWorker, files: &Layer, path: &Path) -> Result<Option<Vec<u8>>, CommandError> {
    worker
        .read_fetched(files, path, limits::FILE_BYTES_MAX as u64)
        .map_err(|error| CommandError::input(format!("cannot read the Dockerfile `{}`: {error}", path.display())))
}

fn source(name: &str, bytes: Vec<u8>) -> Result<SourceText, CommandError> {
    if bytes.len() > limits::FILE_BYTES_MAX {
        return Err(CommandError::input(format!(
            "the Dockerfile `{name}` is larger than {} MiB",
            limits::FILE_BYTES_MAX >> 20
        )));
    }
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok(SourceText::new(name, text)),
        Err(error) => error.into_bytes(),
    };
    // People write their names into comments, in whatever encoding they have; what counts must be what it seems to be.
    let mut text = String::with_capacity(bytes.len());
    let mut replaced = Vec::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            replaced.push(text.len());
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    let parsed = bake_dockerfile::parse(SourceText::new(name, text));
    let in_comment = |place: usize| {
        let following = parsed.items.partition_point(|item| item.span.start <= place);
        following.checked_sub(1).is_some_and(|index| parsed.items[index].kind == ItemKind::Comment)
    };
    match replaced.into_iter().find(|place| !in_comment(*place)) {
        None => Ok(parsed.source),
        Some(place) => {
            let line = parsed.source.position(place).line;
            Err(CommandError::input(format!("the Dockerfile `{name}` is not UTF-8 (line {line})")))
        }
    }
}

/// `NAME.dockerignore` beside the Dockerfile, else `.dockerignore` of the context.
pub(crate) fn ignore_patterns(dockerfile: Option<&Path>, directory: &Path) -> Result<IgnorePatterns, CommandError> {
    let specific = dockerfile.map(|path| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".dockerignore");
        path.with_file_name(name)
    });
    for path in specific.into_iter().chain([directory.join(".dockerignore")]) {
        match read_file(&path, IGNORE_BYTES_MAX) {
            Ok(bytes) if bytes.len() as u64 > IGNORE_BYTES_MAX => {
                return Err(CommandError::input(format!(
                    "`{}` is larger than {IGNORE_BYTES_MAX} bytes",
                    path.display()
                )));
            }
            Ok(bytes) => {
                return IgnoreFile::parse(&bytes)
                    .map_err(|error| CommandError::input(format!("cannot use `{}`: {error}", path.display())));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(CommandError::input(format!("cannot read `{}`: {error}", path.display()))),
        }
    }
    Ok(IgnorePatterns::default())
}
