//! Finds the files with targets and reads them, with what they may know of the world.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use bake::cli::UpArguments;
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake_frontend::{is_git_context, is_http_url, parse_git_url};
use bake_oci::Platform;
use bake_targets::{BakeFile, DEFAULT_FILES, Inputs};

use super::HERE;
use crate::build;
use crate::files::read_file;
use crate::settings;
use crate::wiring::Host;

/// The largest file with targets: whatever is larger is something else.
const FILE_BYTES_MAX: u64 = 5 << 20;

/// Files with targets, and what is asked of them.
pub(super) struct Definition {
    pub(super) files: Vec<BakeFile>,
    pub(super) inputs: Inputs,
    /// The targets that were asked for.
    pub(super) targets: Vec<String>,
    /// The address of the repository that the files come from.
    pub(super) remote: Option<String>,
}

impl Definition {
    /// Reads files of this machine; `None` where they are in a repository.
    pub(super) fn read_local(arguments: &UpArguments) -> Result<Option<Self>, CommandError> {
        if arguments.targets.first().is_some_and(|first| is_address(first)) {
            return Ok(None);
        }
        let names = file_names(arguments);
        let files = if names.is_empty() {
            let found = DEFAULT_FILES.iter().filter(|name| Path::new(name).exists());
            found.map(|name| read(name)).collect::<Result<Vec<_>, _>>()?
        } else {
            names.iter().map(|name| read(name.strip_prefix(HERE).unwrap_or(name))).collect::<Result<_, _>>()?
        };
        if files.is_empty() {
            return Err(nothing_found("this directory"));
        }
        let inputs = inputs(arguments, HERE, dotenv()?);
        Ok(Some(Self { files, inputs, targets: arguments.targets.clone(), remote: None }))
    }

    /// Fetches files from the repository that the first argument names.
    pub(super) fn fetch(arguments: &UpArguments, host: &Host, colour: Colour) -> Result<Self, CommandError> {
        let mut targets = arguments.targets.clone();
        let address = targets.remove(0);
        if !is_git_context(&address) {
            return Err(CommandError::usage(format!(
                "`{address}` is no git repository, from which files with targets can come"
            ))
            .hint("the address of a git repository ends in `.git`, or has `#REF` behind it"));
        }
        // A second address is where the files may look for what is meant to be built.
        let built = targets.first().filter(|second| is_address(second)).cloned();
        if built.is_some() {
            targets.remove(0);
        }
        let source = parse_git_url(&address).map_err(|error| CommandError::usage(error.to_string()))?;
        let names = file_names(arguments);
        let in_repository = |name: &&str| !name.starts_with(HERE);
        let wanted: Vec<&str> = if names.is_empty() {
            DEFAULT_FILES.to_vec()
        } else {
            names.iter().map(String::as_str).filter(in_repository).collect()
        };
        let display = settings::display(false, arguments.progress)?;
        let paths: Vec<PathBuf> = wanted.iter().map(PathBuf::from).collect();
        let fetched = build::repository::read_files(&source, &paths, FILE_BYTES_MAX, host, display, colour)?;
        let mut fetched: BTreeMap<&str, Option<Vec<u8>>> = wanted.iter().copied().zip(fetched).collect();
        let mut files = Vec::new();
        if names.is_empty() {
            for name in DEFAULT_FILES {
                files.extend(fetched.remove(name).flatten().map(|bytes| file(name, bytes)).transpose()?);
            }
            if files.is_empty() {
                return Err(nothing_found(&format!("`{}`", bake_graph::without_credentials(&source.url))));
            }
        }
        for name in &names {
            if let Some(here) = name.strip_prefix(HERE) {
                files.push(read(here)?);
                continue;
            }
            let bytes = fetched.remove(name.as_str()).flatten();
            let absent = || CommandError::input(format!("there is no file `{name}` in the repository"));
            files.push(file(name, bytes.ok_or_else(absent)?)?);
        }
        let inputs = inputs(arguments, built.as_deref().unwrap_or(HERE), BTreeMap::new());
        Ok(Self { files, inputs, targets, remote: Some(address) })
    }
}

fn is_address(text: &str) -> bool {
    is_git_context(text) || is_http_url(text)
}

/// The files that were named: by flags, else by `BUILDX_BAKE_FILE`.
fn file_names(arguments: &UpArguments) -> Vec<String> {
    if !arguments.file.is_empty() {
        return arguments.file.clone();
    }
    let Some(names) = settings::variable("BUILDX_BAKE_FILE") else { return Vec::new() };
    let separator = settings::variable("BUILDX_BAKE_FILE_SEPARATOR").unwrap_or_else(|| ":".to_owned());
    names.split(&separator).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn nothing_found(place: &str) -> CommandError {
    CommandError::input(format!("there is no file with targets in {place}")).hint(format!(
        "such a file is called {} or {}; name another one with `--file`",
        DEFAULT_FILES[..7].join(", "),
        DEFAULT_FILES[7]
    ))
}

fn read(name: &str) -> Result<BakeFile, CommandError> {
    let bytes = if name == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map(|_| bytes)
    } else {
        read_file(Path::new(name), FILE_BYTES_MAX)
    };
    let failed = |error: std::io::Error| {
        let failed = CommandError::input(format!("cannot read the file with targets `{name}`: {error}"));
        if is_address(name) {
            failed.hint("give the address of a repository as the first argument, without `--file`")
        } else {
            failed
        }
    };
    file(name, bytes.map_err(failed)?)
}

fn file(name: &str, bytes: Vec<u8>) -> Result<BakeFile, CommandError> {
    let refused = |problem: &str| CommandError::input(format!("cannot use the file with targets `{name}`: {problem}"));
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(refused(&format!("it is larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|_| refused("it is not UTF-8"))?;
    Ok(BakeFile { name: name.to_owned(), text })
}

/// The variables of `.env`, for Compose files.
fn dotenv() -> Result<BTreeMap<String, String>, CommandError> {
    let path = Path::new(".env");
    if !path.is_file() {
        return Ok(BTreeMap::new());
    }
    let file = read(".env").map_err(|error| error.hint("it holds variables for Compose files"))?;
    bake_targets::dotenv(&file.text).map_err(|error| CommandError::input(format!(".env: {error}")))
}

fn inputs(arguments: &UpArguments, built: &str, dotenv: BTreeMap<String, String>) -> Inputs {
    let is_switched_off = settings::variable("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP")
        .is_some_and(|text| bake_dockerfile::parse_boolean(&text) == Some(true));
    let variables = arguments.var.iter().map(|var| (var.name.clone(), var.value.clone().unwrap_or_default()));
    let platform = Platform::host().to_string();
    let built_in = [("BAKE_CMD_CONTEXT", built.to_owned()), ("BAKE_LOCAL_PLATFORM", platform)];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|time| i64::try_from(time.as_secs()).ok());
    Inputs {
        environment: if is_switched_off { BTreeMap::new() } else { settings::environment() },
        dotenv,
        variables: variables.collect(),
        built_in: built_in.map(|(name, value)| (name.to_owned(), value)).into(),
        now: now.unwrap_or(0),
        home: settings::variable("HOME"),
        random,
    }
}

fn random(bytes: &mut [u8]) -> Result<(), String> {
    let filled = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes));
    filled.map_err(|error| format!("no random numbers are to be had: {error}"))
}
