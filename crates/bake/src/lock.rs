//! `bake.lock`: what the names of images meant in an earlier build, so that they mean the same in the next one.
//!
//! ```toml
//! version = 1
//!
//! [images]
//! "debian:12" = "sha256:..."
//! ```
//!
//! Names are familiar ones with their tag, after build arguments were put in; names that hold a digest need no entry. The digest is
//! that of the index of an image for several platforms. Entries are sorted, and none is ever removed: a file may serve several
//! Dockerfiles, targets and arguments. Older versions of bake refuse another version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bake::cli::{LockArguments, LockMode};
use bake::error::CommandError;
use bake::ui::progress::Progress;
use bake_frontend::MetaError;
use bake_oci::{Digest, Reference};
use bake_store::Store;
use bake_worker::{Network, NetworkError};
use toml::{Table, Value};

use crate::files::{read_file, replace_file};
use crate::wiring::Host;

/// The file beside the Dockerfile.
const FILE_NAME: &str = "bake.lock";
/// Ten thousand images and more.
const FILE_BYTES_MAX: u64 = 2 << 20;
/// The format that this version reads and writes.
const VERSION: i64 = 1;
const HEADER: &str =
    "# What the names of images mean, as `bake build --lock` found out. To be committed with the Dockerfile.\n";

/// What a user asked for.
#[derive(Debug, Default)]
pub(crate) struct LockRequest {
    /// `None`: a file beside the Dockerfile is used, if there is one.
    mode: Option<LockMode>,
    file: Option<PathBuf>,
}

impl LockRequest {
    pub(crate) fn new(arguments: &LockArguments) -> Self {
        // A file that was named has to be there.
        let named = arguments.lock_file.as_ref().map(|_| LockMode::Use);
        let mode = if arguments.locked { Some(LockMode::Require) } else { arguments.lock.or(named) };
        Self { mode, file: arguments.lock_file.clone() }
    }
}

/// The lock of a build.
#[derive(Debug)]
pub(crate) struct ImageLock {
    path: PathBuf,
    mode: LockMode,
    network: Arc<Network>,
    store: Store,
    /// What the file says.
    images: BTreeMap<String, Digest>,
    found: Mutex<Found>,
}

/// What a build found out about the images it uses.
#[derive(Debug, Default)]
struct Found {
    /// Names whose digest is the file's.
    used: BTreeSet<String>,
    /// Names that were looked up.
    new: BTreeMap<String, Digest>,
    /// Names that the file lacks.
    missing: BTreeSet<String>,
}

impl ImageLock {
    /// The lock of a build whose Dockerfile is the file at `dockerfile`, if it has one.
    ///
    /// # Errors
    /// A file that cannot be read or means nothing, that should be there and is not, or that has no place.
    pub(crate) fn open(
        request: &LockRequest,
        dockerfile: Option<&Path>,
        host: &Host,
    ) -> Result<Option<Self>, CommandError> {
        let mode = request.mode.unwrap_or(LockMode::Use);
        if mode == LockMode::Off {
            return Ok(None);
        }
        let beside = || dockerfile.map(|path| path.with_file_name(FILE_NAME));
        let Some(path) = request.file.clone().or_else(beside) else {
            return match request.mode {
                None => Ok(None),
                Some(_) => {
                    Err(CommandError::usage("there is no place for `bake.lock`: the Dockerfile is no file here")
                        .hint("name a file with `--lock-file`"))
                }
            };
        };
        let images = match (read(&path)?, mode, request.mode) {
            (Some(images), ..) => images,
            (None, LockMode::Add | LockMode::Update, _) => BTreeMap::new(),
            (None, _, None) => return Ok(None),
            (None, _, Some(_)) => {
                return Err(CommandError::input(format!("there is no lock file `{}`", path.display()))
                    .hint("`--lock` writes one"));
            }
        };
        let (network, store) = (Arc::clone(&host.network), host.store.clone());
        Ok(Some(Self { path, mode, network, store, images, found: Mutex::default() }))
    }

    /// What `reference` means by this lock: the same name with a digest. `None` if nothing is said about it: it has a digest, or is
    /// not in the file, which is then no error.
    ///
    /// # Errors
    /// The file lacks a name that it has to have, or nobody can tell what a name means that is to be added.
    pub(crate) fn look_up(&self, reference: &Reference) -> Result<Option<Reference>, MetaError> {
        if reference.digest().is_some() {
            return Ok(None);
        }
        let reference = reference.or_latest();
        let name = reference.familiar();
        if self.mode != LockMode::Update
            && let Some(digest) = self.images.get(&name)
        {
            self.found().used.insert(name);
            return Ok(Some(reference.with_digest(digest.clone())));
        }
        match self.mode {
            LockMode::Require => Err(MetaError {
                message: format!("the image `{name}` is not in `{}`", self.path.display()),
                hint: Some("build with `--lock` instead of `--locked` to add it".to_owned()),
                source: None,
            }),
            LockMode::Add | LockMode::Update => self.find_out(&reference, name),
            LockMode::Use | LockMode::Off => {
                self.found().missing.insert(name);
                Ok(None)
            }
        }
    }

    /// Whether [`Self::look_up`] gives a digest for `reference`, or fails.
    pub(crate) fn fixes(&self, reference: &Reference) -> bool {
        match self.mode {
            LockMode::Add | LockMode::Update | LockMode::Require => true,
            LockMode::Use | LockMode::Off => self.images.contains_key(&reference.or_latest().familiar()),
        }
    }

    fn find_out(&self, reference: &Reference, name: String) -> Result<Option<Reference>, MetaError> {
        if let Some(digest) = self.found().new.get(&name) {
            return Ok(Some(reference.with_digest(digest.clone())));
        }
        match self.ask(reference) {
            Ok(Some(digest)) => {
                // Another platform's answer may have come first; all platforms get the same image.
                let digest = self.found().new.entry(name).or_insert(digest).clone();
                Ok(Some(reference.with_digest(digest)))
            }
            // What was built here and never pushed has a digest that nobody else could do anything with.
            Ok(None) if self.is_local(reference) => {
                self.found().missing.insert(name);
                Ok(None)
            }
            Ok(None) => Err(MetaError {
                message: format!("cannot lock the image `{name}`: `{}` has no such image", reference.registry()),
                hint: None,
                source: None,
            }),
            Err(error) => Err(MetaError {
                message: format!("cannot lock the image `{name}`"),
                hint: Some("the lock holds digests of registries, which have to be asked for them".to_owned()),
                source: Some(Box::new(error)),
            }),
        }
    }

    /// The digest at the registry; `None` if it says that there is no such image.
    fn ask(&self, reference: &Reference) -> Result<Option<Digest>, NetworkError> {
        let (runtime, client) = self.network.start()?;
        match runtime.block_on(client.head_manifest(reference)) {
            Ok(head) => Ok(head.map(|head| head.digest)),
            // Registries also say this of what does not exist.
            Err(error) if error.is_unauthorized() && self.is_local(reference) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn is_local(&self, reference: &Reference) -> bool {
        self.store.resolve(&reference.to_string()).is_ok_and(|tag| tag.is_some())
    }

    /// What to do about a digest of the file that nobody has any more.
    pub(crate) fn hint(&self) -> String {
        format!("its digest is that of `{}`; `--lock=update` takes what the tag means now", self.path.display())
    }

    /// Says which images are those of the file, and which are not.
    pub(crate) fn tell(&self, progress: &Progress) {
        let found = self.found();
        let note = progress.colour().warning("note:");
        let path = self.path.display();
        if !found.used.is_empty() {
            let images = if found.used.len() == 1 {
                "1 image is".to_owned()
            } else {
                format!("{} images are", found.used.len())
            };
            progress.print(format!("{note} {images} taken from `{path}`"));
        }
        for name in &found.missing {
            let why = match self.mode {
                LockMode::Use => "`--lock` adds it",
                _ => "it is only in the local store",
            };
            progress.print(format!("{note} the image `{name}` is not in `{path}`; {why}"));
        }
    }

    /// Writes what was found out into the file. What another build has added in the meantime stays.
    pub(crate) fn write(&self) -> Result<(), CommandError> {
        let new = std::mem::take(&mut self.found().new);
        if new.is_empty() {
            return Ok(());
        }
        let before = read(&self.path)?;
        let mut images = before.clone().unwrap_or_default();
        images.extend(new);
        if before.as_ref() == Some(&images) {
            return Ok(());
        }
        replace_file(&self.path, render(&images).as_bytes()).map_err(|error| {
            CommandError::build(format!("cannot write the lock file `{}`: {error}", self.path.display()))
        })
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The images of a lock file; `None` if it is not there.
fn read(path: &Path) -> Result<Option<BTreeMap<String, Digest>>, CommandError> {
    let failed = |problem: &str| {
        CommandError::input(format!("cannot use the lock file `{}`: {problem}", path.display()))
            .hint("remove it and build with `--lock` to make it anew, or build with `--lock=off` without it")
    };
    let bytes = match read_file(path, FILE_BYTES_MAX) {
        Ok(bytes) if bytes.len() as u64 > FILE_BYTES_MAX => {
            return Err(failed(&format!("it is larger than {FILE_BYTES_MAX} bytes")));
        }
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error.to_string())),
    };
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is not UTF-8"))?;
    parse(text).map(Some).map_err(|problem| failed(&problem))
}

fn parse(text: &str) -> Result<BTreeMap<String, Digest>, String> {
    let mut table = crate::toml_text::parse(text)?;
    match table.remove("version") {
        Some(Value::Integer(VERSION)) => {}
        Some(Value::Integer(other)) => {
            return Err(format!("it has version {other}, and this bake knows version {VERSION}"));
        }
        _ => return Err("it does not say `version = 1`".to_owned()),
    }
    let images = match table.remove("images") {
        None => Table::new(),
        Some(Value::Table(images)) => images,
        Some(_) => return Err("`images` is a section, written `[images]`".to_owned()),
    };
    if let Some((unknown, _)) = table.iter().next() {
        return Err(format!("there is nothing called `{unknown}` in a lock file"));
    }
    let entry = |(name, value): (String, Value)| {
        let wrong = |problem: &str| format!("`{name}`: {problem}");
        let reference = Reference::parse(&name).map_err(|error| wrong(&error.to_string()))?;
        if reference.digest().is_some() || reference.or_latest().familiar() != name {
            return Err(wrong("it is not the name of an image with its tag, as bake writes it"));
        }
        let digest = value.as_str().ok_or_else(|| wrong("expected a digest in quotes"))?;
        let digest = Digest::parse(digest).map_err(|error| wrong(&error.to_string()))?;
        Ok((name, digest))
    };
    images.into_iter().map(entry).collect()
}

fn render(images: &BTreeMap<String, Digest>) -> String {
    let mut text = format!("{HEADER}version = {VERSION}\n\n[images]\n");
    for (name, digest) in images {
        // Writing to a string cannot fail. Neither names nor digests hold what would have to be escaped.
        let _ = writeln!(text, "\"{name}\" = \"{digest}\"");
    }
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let images: BTreeMap<String, Digest> = [("debian:12", "a"), ("127.0.0.1:5000/a/b:x", "b")]
            .map(|(name, bytes)| (name.to_owned(), Digest::of(bytes.as_bytes())))
            .into();
        let text = render(&images);
        assert!(text.find("127.0.0.1").unwrap() < text.find("debian").unwrap(), "{text}");
        assert_eq!(parse(&text).unwrap(), images);
        assert_eq!(parse("version = 1").unwrap(), BTreeMap::new());
    }

    #[test]
    fn mistakes_are_told() {
        let digest = Digest::of(b"");
        for (text, problem) in [
            (String::new(), "`version = 1`"),
            ("version = 2\n".to_owned(), "version 2"),
            ("version = \"1\"\n".to_owned(), "`version = 1`"),
            ("version = 1\nimages = 1\n".to_owned(), "`[images]`"),
            ("version = 1\n[image]\n".to_owned(), "`image`"),
            ("version = 1\n[images]\n\"debian\" = \"sha256:1\"\n".to_owned(), "`debian`: it is not"),
            ("version = 1\n[images]\n\"debian:12\" = \"sha256:1\"\n".to_owned(), "`debian:12`"),
            ("version = 1\n[images]\n\"debian:12\" = 1\n".to_owned(), "in quotes"),
            (format!("version = 1\n[images]\n\"docker.io/library/debian:12\" = \"{digest}\"\n"), "as bake writes it"),
            (format!("version = 1\n[images]\n\"Debian:12\" = \"{digest}\"\n"), "lowercase"),
            (format!("version = 1\n[images]\n\"a:1\" = \"{digest}\"\n\"a:1\" = \"{digest}\"\n"), "line 4"),
            ("version = 1\n<<<<<<< HEAD\n".to_owned(), "line 2"),
        ] {
            let found = parse(&text).unwrap_err();
            assert!(found.contains(problem), "{text}: {found}");
        }
    }
}
