//! One walk over the tree, then every file that tells of packages is read by the source that knows its format.

use std::cell::Cell;
use std::io::{self, Read as _};
use std::rc::Rc;

use crate::files::{Entry, EntryKind, Files, FilesError, RandomAccess, Visit, shown};
use crate::inventory::{Distribution, Inventory, Package, Warning};
use crate::sources::{SOURCES, Source, distribution};

/// The longest name, version or other field of a package that is believed.
const FIELD_BYTES_MAX: usize = 4 << 10;
/// How much a package may say of its licences, all together.
const LICENCES_BYTES_MAX: usize = 64 << 10;
/// How many names of other packages of one package are kept.
pub(crate) const RELATIONS_MAX: usize = 50_000;
/// What a text takes in memory besides its bytes.
const TEXT_OVERHEAD_BYTES: usize = 64;
/// How often a package may be told of, on average: more is an attempt to keep us busy.
const MENTIONS_MAX: usize = 20;
/// How many warnings are kept; a tree of damaged files must not become a document of its own.
const WARNINGS_MAX: usize = 200;

/// How much is read before a tree is refused.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Names in the tree. Debian 12 has 9 thousand, with Java, Ruby and Maven 19 thousand.
    pub entries_max: u64,
    /// Packages.
    pub packages_max: usize,
    /// Bytes of one text: the status file of dpkg, a lock file. A longer one is left out with a warning.
    pub text_bytes_max: u64,
    /// Bytes of what is kept of all packages, which is held in memory: about 1 kilobyte for each.
    pub kept_bytes_max: u64,
    /// Bytes read in all, unpacked ones included. It bounds the time that a scan takes.
    pub bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries_max: 10_000_000,
            packages_max: 200_000,
            text_bytes_max: 32 << 20,
            kept_bytes_max: 256 << 20,
            bytes_max: 8 << 30,
        }
    }
}

/// A tree of which no list can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SbomError {
    /// The tree cannot be walked.
    #[error("cannot look for packages")]
    Walk(#[from] FilesError),
    /// The tree is larger than [`Limits`] allow.
    #[error("the files have more than {limit} {what}, so no list of packages is made")]
    TooMuch {
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

/// Lists the packages in a tree. Equal trees give equal inventories.
///
/// A file that is damaged or too large becomes a warning of the inventory; the others are read nevertheless.
///
/// # Errors
/// [`SbomError::Walk`] when directories cannot be listed, [`SbomError::TooMuch`] beyond [`Limits`].
pub fn scan(files: &dyn Files, limits: &Limits) -> Result<Inventory, SbomError> {
    let mut inventory = Inventory::default();
    inventory.distribution = distribution::read(files)?;
    let mut scan =
        Scan { files, limits, bytes_left: Rc::new(Cell::new(limits.bytes_max)), mentions: 0, kept_bytes: 0, inventory };
    for (source, path) in candidates(files, limits)? {
        match (source.read)(&mut scan, &path) {
            Ok(()) => {}
            Err(Problem::Limit { what, limit }) => return Err(SbomError::TooMuch { what, limit }),
            Err(problem) => scan.warn(&path, &problem.text()),
        }
    }
    scan.inventory.relate();
    Ok(scan.inventory)
}

/// The files that tell of packages, with who reads them, in the order of their paths.
fn candidates(files: &dyn Files, limits: &Limits) -> Result<Vec<(&'static Source, Vec<u8>)>, SbomError> {
    let mut found = Vec::new();
    let mut entries = 0_u64;
    files.walk(&mut |entry: &Entry<'_>| {
        entries += 1;
        if entries > limits.entries_max {
            return Visit::Stop;
        }
        if matches!(entry.kind, EntryKind::File { .. }) {
            let wanting = SOURCES.iter().filter(|source| (source.wants)(entry));
            found.extend(wanting.map(|source| (source, entry.path.to_vec())));
        }
        Visit::Continue
    })?;
    if entries > limits.entries_max {
        return Err(SbomError::TooMuch { what: "names", limit: limits.entries_max });
    }
    Ok(found)
}

/// A scan on its way, as sources see it.
pub(crate) struct Scan<'a> {
    pub(crate) files: &'a dyn Files,
    limits: &'a Limits,
    bytes_left: Rc<Cell<u64>>,
    /// How often packages were added, the same ones included.
    mentions: usize,
    /// The bytes of [`Limits::kept_bytes_max`].
    kept_bytes: u64,
    inventory: Inventory,
}

impl Scan<'_> {
    /// The distribution of the tree.
    pub(crate) fn distribution(&self) -> Option<&Distribution> {
        self.inventory.distribution.as_ref()
    }

    /// Adds a package that `path` tells of.
    pub(crate) fn add(&mut self, path: &[u8], mut package: Package) -> Result<(), Problem> {
        self.mentions += 1;
        let too_many = self.mentions > self.limits.packages_max.saturating_mul(MENTIONS_MAX);
        if too_many || self.inventory.packages().len() >= self.limits.packages_max {
            return Err(Problem::Limit { what: "packages", limit: self.limits.packages_max as u64 });
        }
        if package.name.is_empty() || [&package.name, &package.version].iter().any(|text| text.len() > FIELD_BYTES_MAX)
        {
            return Err(Problem::damaged("a package in it has no name, or one that is far too long"));
        }
        for text in [&mut package.summary, &mut package.supplier, &mut package.homepage, &mut package.download] {
            *text = text.take().filter(|text| !text.is_empty() && text.len() <= FIELD_BYTES_MAX);
        }
        package.licences.retain(|licence| !licence.is_empty() && licence.len() <= FIELD_BYTES_MAX);
        if package.licences.iter().map(String::len).sum::<usize>() > LICENCES_BYTES_MAX {
            self.warn(path, &format!("the licences of `{}` are far too many", package.name));
            package.licences.clear();
        }
        package.relations.provides.retain(|name| name.len() <= FIELD_BYTES_MAX);
        package.found_in.insert(shown(path));
        self.kept_bytes += kept_bytes(&package);
        if self.kept_bytes > self.limits.kept_bytes_max {
            return Err(Problem::Limit { what: "bytes about packages", limit: self.limits.kept_bytes_max });
        }
        self.inventory.add(package);
        Ok(())
    }

    /// Whether a package was added that is this one.
    pub(crate) fn knows(&self, package: &Package) -> bool {
        self.inventory.contains(&package.purl)
    }

    /// Whether packages were added whose own files are below this directory, which ends with a slash.
    pub(crate) fn has_installed_below(&self, directory: &[u8]) -> bool {
        let directory = shown(directory);
        let mut own_files = self.inventory.packages().filter_map(|package| package.own_file.as_ref());
        own_files.any(|file| file.starts_with(&directory))
    }

    /// Notes that something could not be read. The message may have words of the file, so it is cleaned for terminals.
    pub(crate) fn warn(&mut self, path: &[u8], message: &str) {
        if self.inventory.warnings.len() < WARNINGS_MAX {
            self.inventory.warnings.push(Warning { path: shown(path), message: shown(message.as_bytes()) });
        }
    }

    /// Goes on after a problem with a part of a file: it becomes a warning, unless the whole scan ends.
    pub(crate) fn tolerate(&mut self, path: &[u8], result: Result<(), Problem>) -> Result<(), Problem> {
        match result {
            Err(problem) if !problem.ends_scan() => {
                self.warn(path, &problem.text());
                Ok(())
            }
            other => other,
        }
    }

    /// Opens a file. `None` when it is not there.
    pub(crate) fn open(&self, path: &[u8]) -> Result<Option<Input>, Problem> {
        let opened = self.files.open(path).map_err(Problem::Open)?;
        Ok(opened.map(|file| self.input(file)))
    }

    /// Something to read from that is not a file of the tree, but counts like one.
    pub(crate) fn input(&self, source: Box<dyn RandomAccess>) -> Input {
        Input { source, bytes_left: Rc::clone(&self.bytes_left), bytes_max: self.limits.bytes_max }
    }

    /// The text of a file; what is no UTF-8 in it is replaced. `None` when it is not there.
    pub(crate) fn text(&self, path: &[u8]) -> Result<Option<String>, Problem> {
        let Some(input) = self.open(path)? else { return Ok(None) };
        self.text_of(&input).map(Some)
    }

    /// The text of an open file.
    pub(crate) fn text_of(&self, input: &Input) -> Result<String, Problem> {
        let size = input.size_bytes();
        self.check_length(size)?;
        let bytes = input.read(0, size)?;
        Ok(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    /// The text of a file that was seen a moment ago.
    pub(crate) fn seen_text(&self, path: &[u8]) -> Result<String, Problem> {
        self.text(path)?.ok_or_else(|| Problem::damaged("it is not there any more"))
    }

    /// A file that was seen a moment ago.
    pub(crate) fn seen(&self, path: &[u8]) -> Result<Input, Problem> {
        self.open(path)?.ok_or_else(|| Problem::damaged("it is not there any more"))
    }

    /// Refuses what is longer than a text may be, before it is held in memory.
    pub(crate) fn check_length(&self, bytes: u64) -> Result<(), Problem> {
        let limit = self.limits.text_bytes_max;
        if bytes <= limit {
            return Ok(());
        }
        Err(Problem::damaged(format!("it has {bytes} bytes, which is more than the {limit} that are read of one text")))
    }

    /// Unpacks a zlib or deflate stream. What comes out counts as read, and may be as long as a text.
    pub(crate) fn unpacked(&self, input: &Input, stream: impl io::Read) -> Result<Vec<u8>, Problem> {
        let limit = self.limits.text_bytes_max;
        let mut bytes = Vec::new();
        let read = stream.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| Problem::damaged(format!("it cannot be unpacked: {error}")))?;
        if bytes.len() as u64 > limit {
            return Err(Problem::damaged(format!("more than {limit} bytes come out of it")));
        }
        input.count(bytes.len() as u64)?;
        Ok(bytes)
    }
}

/// About how much memory a package takes.
fn kept_bytes(package: &Package) -> u64 {
    let texts = [&package.summary, &package.supplier, &package.homepage, &package.download, &package.own_file];
    let optional: usize = texts.into_iter().flatten().map(String::len).sum();
    let several: usize = package.licences.iter().chain(&package.found_in).map(String::len).sum();
    let relations = &package.relations;
    let related: usize =
        relations.needs.iter().flatten().chain(&relations.provides).map(|name| name.len() + TEXT_OVERHEAD_BYTES).sum();
    let named = package.name.len() + package.version.len() + package.purl.len();
    (optional + several + related + named) as u64 + size_of::<Package>() as u64
}

/// An open file whose bytes are counted as they are read.
pub(crate) struct Input {
    source: Box<dyn RandomAccess>,
    bytes_left: Rc<Cell<u64>>,
    /// What there was to begin with.
    bytes_max: u64,
}

impl Input {
    pub(crate) fn size_bytes(&self) -> u64 {
        self.source.size_bytes()
    }

    /// Counts bytes that come from somewhere else: unpacked ones.
    pub(crate) fn count(&self, bytes: u64) -> Result<(), Problem> {
        let left = self.bytes_left.get().checked_sub(bytes);
        self.bytes_left.set(left.ok_or(Problem::Limit { what: "bytes to read", limit: self.bytes_max })?);
        Ok(())
    }

    /// Exactly `length` bytes from `offset` on. The caller bounds `length`; nothing is reserved beyond the end of the file.
    pub(crate) fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, Problem> {
        let within = offset.checked_add(length).is_some_and(|end| end <= self.size_bytes());
        let length = usize::try_from(length).ok().filter(|_| within);
        let Some(length) = length else { return Err(Problem::damaged("it ends too early")) };
        self.count(length as u64)?;
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.source.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => return Err(Problem::damaged("it ends too early")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Problem::Read(error)),
            }
        }
        Ok(bytes)
    }
}

/// Why a file tells nothing, or the whole scan ends.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The file is not what its name says.
    Damaged(String),
    /// It cannot be opened.
    Open(FilesError),
    /// It cannot be read.
    Read(io::Error),
    /// One of [`Limits`] is reached, so the scan ends.
    Limit {
        /// What was counted.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

impl Problem {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    /// Whether the whole scan ends.
    pub(crate) fn ends_scan(&self) -> bool {
        matches!(self, Self::Limit { .. })
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Damaged(what) => what.clone(),
            Self::Open(error) => format!("it cannot be opened: {}", error.source),
            Self::Read(error) => format!("it cannot be read: {error}"),
            Self::Limit { what, limit } => format!("there are more than {limit} {what}"),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;
    use crate::testing::{inventory, try_inventory};

    fn refused(files: &[(&str, &[u8])], limits: &Limits) -> String {
        try_inventory(files, limits).unwrap_err().to_string()
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let packages = (0..50).map(|index| format!("P:p{index}\nV:1\n\n")).collect::<Vec<_>>().concat();
        let files: [(&str, &[u8]); 2] = [("etc/passwd", b""), ("lib/apk/db/installed", packages.as_bytes())];
        let unlimited = Limits::default();
        assert_eq!(try_inventory(&files, &unlimited).unwrap().packages().len(), 50);
        for (limits, expected) in [
            (Limits { entries_max: 1, ..unlimited.clone() }, "1 names"),
            (Limits { packages_max: 49, ..unlimited.clone() }, "49 packages"),
            (Limits { bytes_max: 100, ..unlimited.clone() }, "100 bytes to read"),
            (Limits { kept_bytes_max: 1000, ..unlimited.clone() }, "1000 bytes about packages"),
        ] {
            let message = refused(&files, &limits);
            assert!(message.contains(&format!("more than {expected},")), "{message}");
        }
        // One package again and again.
        let same = "P:p\nV:1\n\n".repeat(1000);
        let limits = Limits { packages_max: 10, ..unlimited };
        assert!(refused(&[("lib/apk/db/installed", same.as_bytes())], &limits).contains("10 packages"));
    }

    #[test]
    fn a_text_that_is_too_long_is_left_out() {
        let limits = Limits { text_bytes_max: 20, ..Limits::default() };
        let files: [(&str, &[u8]); 2] =
            [("lib/apk/db/installed", b"P:p\nV:1\n"), ("var/lib/dpkg/status", b"Package: much-too-long\n")];
        let found = try_inventory(&files, &limits).unwrap();
        assert_eq!((found.packages().len(), found.warnings.len()), (1, 1));
        assert!(found.warnings[0].message.contains("23 bytes"), "{:?}", found.warnings);
    }

    #[test]
    fn fields_that_are_far_too_long_are_not_believed() {
        let long = "x".repeat(5000);
        let text = format!("P:{long}\nV:1\n\nP:p\nV:1\nT:{long}\nL:MIT\n");
        let found = inventory(&[("lib/apk/db/installed", text.as_bytes())]);
        let package = found.packages().next().unwrap();
        assert_eq!((found.packages().len(), found.warnings.len(), package.summary.as_ref()), (1, 1, None));
        let files = (0..2000).map(|index| format!("Files: {index}\nLicense: licence-{index:0100}\n\n"));
        let copyright = format!("Format: copyright-format/1.0\n\n{}", files.collect::<Vec<_>>().concat());
        let found = inventory(&[
            ("var/lib/dpkg/status", b"Package: p\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n"),
            ("usr/share/doc/p/copyright", copyright.as_bytes()),
        ]);
        let package = found.packages().next().unwrap();
        assert_eq!((package.licences.len(), found.warnings.len()), (0, 1));
    }

    #[test]
    fn messages_have_no_control_characters() {
        let found = inventory(&[
            ("Cargo.lock", b"[[package]]\n\"\\u001b[2J\" = 1\n'\x1b[2J"),
            ("a\n/package-lock.json", b"\x1b"),
        ]);
        assert_eq!(found.warnings.len(), 2);
        for warning in &found.warnings {
            assert!(!format!("{}{}", warning.path, warning.message).contains(char::is_control), "{warning:?}");
        }
    }
}
