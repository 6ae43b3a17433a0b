//! Reads the Dockerfile and the ignore files, and opens the build context.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bake::error::CommandError;
use bake_dockerfile::{IgnoreFile, IgnorePatterns, SourceText, limits};
use bake_worker::{BuildContext, UnpackedContext};

use crate::settings::{BuildRequest, ContextSpec, DockerfileSpec, NamedSource};
use crate::wiring::Host;

/// The largest ignore file.
const IGNORE_BYTES_MAX: u64 = 5 << 20;
/// The largest `/etc/resolv.conf` that steps are given.
const RESOLV_CONF_BYTES_MAX: u64 = 64 << 10;

/// What a build reads before anything runs.
pub(super) struct Input {
    pub(super) dockerfile: SourceText,
    pub(super) contexts: BTreeMap<String, BuildContext>,
}

pub(super) fn read(request: &BuildRequest, host: &Host) -> Result<Input, CommandError> {
    let mut contexts = BTreeMap::new();
    let context = match &request.context {
        ContextSpec::Directory(path) => {
            check_directory(path, "build context")?;
            Main::Directory(path.clone())
        }
        ContextSpec::Stdin => Main::from_stdin(host)?,
    };
    let (dockerfile, beside) = dockerfile(request, &context)?;
    let directory = context.directory().map(Path::to_owned);
    let ignore = match &directory {
        Some(directory) => ignore_patterns(beside.as_deref(), directory)?,
        None => IgnorePatterns::default(),
    };
    if let Some(directory) = directory {
        let keep = match context {
            Main::Unpacked { unpacked, .. } => Some(unpacked),
            _ => None,
        };
        let path = directory_of(&directory);
        contexts.insert("context".to_owned(), BuildContext { path, ignore, unpacked: keep });
    }
    for (name, source) in &request.named {
        if let NamedSource::Directory(path) = source {
            check_directory(path, &format!("build context `{name}`"))?;
            let ignore = ignore_patterns(None, path)?;
            contexts.insert(name.clone(), BuildContext { path: directory_of(path), ignore, unpacked: None });
        }
    }
    Ok(Input { dockerfile, contexts })
}

/// The main build context.
enum Main {
    Directory(PathBuf),
    /// An archive from standard input.
    Unpacked {
        directory: PathBuf,
        unpacked: UnpackedContext,
    },
    /// Standard input was the Dockerfile; there is no context.
    Dockerfile(Vec<u8>),
}

impl Main {
    fn from_stdin(host: &Host) -> Result<Self, CommandError> {
        let input = std::io::stdin().lock();
        match bake_worker::context_from_stream(&host.store, input).map_err(|error| {
            CommandError::input(format!(
                "cannot read the build context from standard input: {}",
                bake::error::chain_text(&error)
            ))
        })? {
            bake_worker::StreamedContext::Archive(unpacked) => {
                Ok(Self::Unpacked { directory: unpacked.path().to_owned(), unpacked })
            }
            bake_worker::StreamedContext::Text(bytes) => Ok(Self::Dockerfile(bytes)),
        }
    }

    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) | Self::Unpacked { directory: path, .. } => Some(path),
            Self::Dockerfile(_) => None,
        }
    }
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

/// The Dockerfile, and its path where it has one.
fn dockerfile(request: &BuildRequest, context: &Main) -> Result<(SourceText, Option<PathBuf>), CommandError> {
    if let Main::Dockerfile(bytes) = context {
        return Ok((source("Dockerfile", bytes.clone())?, None));
    }
    match &request.dockerfile {
        DockerfileSpec::Stdin => {
            let mut bytes = Vec::new();
            let limit = limits::FILE_BYTES_MAX as u64 + 1;
            std::io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(|error| {
                CommandError::input(format!("cannot read the Dockerfile from standard input: {error}"))
            })?;
            Ok((source("Dockerfile", bytes)?, None))
        }
        DockerfileSpec::Path(path) => {
            // In an archive, paths are those of the archive.
            let path = match context {
                Main::Unpacked { directory, .. } => directory.join(path.strip_prefix("/").unwrap_or(path)),
                _ => path.clone(),
            };
            let bytes = read_file(&path, limits::FILE_BYTES_MAX as u64).map_err(|error| {
                CommandError::input(format!("cannot read the Dockerfile `{}`: {error}", path.display()))
            })?;
            Ok((source(&path.display().to_string(), bytes)?, Some(path)))
        }
        DockerfileSpec::Default => {
            let directory = context.directory().unwrap_or(Path::new("."));
            for name in ["Dockerfile", "dockerfile"] {
                let path = directory.join(name);
                match read_file(&path, limits::FILE_BYTES_MAX as u64) {
                    Ok(bytes) => return Ok((source(name, bytes)?, Some(path))),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => {
                        return Err(CommandError::input(format!(
                            "cannot read the Dockerfile `{}`: {error}",
                            path.display()
                        )));
                    }
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

fn source(name: &str, bytes: Vec<u8>) -> Result<SourceText, CommandError> {
    if bytes.len() > limits::FILE_BYTES_MAX {
        return Err(CommandError::input(format!(
            "the Dockerfile `{name}` is larger than {} MiB",
            limits::FILE_BYTES_MAX >> 20
        )));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(SourceText::new(name, text)),
        Err(error) => {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
            Err(CommandError::input(format!("the Dockerfile `{name}` is not UTF-8 (line {line})")))
        }
    }
}

/// Reads a regular file of at most `limit` bytes (and one more, so that the reader can tell that it is too large).
fn read_file(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // A FIFO must not make the build wait.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `NAME.dockerignore` beside the Dockerfile, else `.dockerignore` of the context.
fn ignore_patterns(dockerfile: Option<&Path>, directory: &Path) -> Result<IgnorePatterns, CommandError> {
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

/// The resolver settings that steps get: the host's. Where only a local stub is named, what stands behind it.
pub(super) fn resolv_conf() -> Vec<u8> {
    let read = |path: &str| read_file(Path::new(path), RESOLV_CONF_BYTES_MAX).unwrap_or_default();
    read("/etc/resolv.conf")
}
